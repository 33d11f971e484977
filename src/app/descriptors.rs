//! Raises the limit of open files, and keeps some of them from connections, so that exporters can always open theirs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::ServerOptions;
use crate::listen::ListenOptions;

/// The descriptors that connections leave to exporters, logs, listening sockets and runtimes. tallyd has about 30 open
/// files with all listeners and exporters.
const RESERVED: usize = 64;

/// Raises the soft limit of open files to the hard one. Returns the limit in force.
pub(super) fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit =
        if current == maximum || setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    tracing::debug!(limit, soft = current, "the limit of open files");
    limit
}

/// Lowers the limits of connections so that all of them together fit into this limit of open files. Logs it if they do
/// not fit.
pub(super) fn limit_connections(
    limit: usize,
    listening: &mut ListenOptions,
    serving: &mut Option<ServerOptions>,
) {
    let udp_sockets = listening.udp.as_ref().map_or(0, |udp| udp.addresses.len() * udp.receivers);
    let available = limit.saturating_sub(RESERVED + udp_sockets);
    let mut limits: Vec<(&str, &mut usize)> = Vec::new();
    limits.extend(serving.iter_mut().map(|http| ("http", &mut http.max_connections)));
    limits.extend(listening.tcp.iter_mut().map(|(_, tcp)| ("tcp", &mut tcp.max_connections)));
    limits.extend(
        listening.unix_stream.iter_mut().map(|(_, stream)| ("unix_stream", &mut stream.max_connections)),
    );
    let wanted: Vec<_> = limits.iter().map(|(_, limit)| **limit).collect();
    let shares = shares(available, &wanted);
    let lowered = limits.iter_mut().zip(shares).filter_map(|((name, limit), share)| {
        let wanted = std::mem::replace(*limit, share);
        (share < wanted).then(|| format!("{name}: {share} instead of {wanted}"))
    });
    let lowered: Vec<_> = lowered.collect();
    if !lowered.is_empty() {
        tracing::warn!(
            open_files = limit,
            "the limit of open files permits fewer connections than max_connections ({}); raise it (LimitNOFILE= of \
             the service, or ulimit -n)",
            lowered.join(", ")
        );
    }
}

/// Shares descriptors out. A server that wants no more than an equal share gets all that it wants, and leaves the rest to
/// the others. Each gets at least one.
fn shares(mut available: usize, wanted: &[usize]) -> Vec<usize> {
    let mut shares = vec![0; wanted.len()];
    let mut order: Vec<_> = (0..wanted.len()).collect();
    order.sort_by_key(|&index| wanted[index]);
    for (done, &index) in order.iter().enumerate() {
        let equal = available / (wanted.len() - done);
        shares[index] = wanted[index].min(equal).max(1);
        available = available.saturating_sub(shares[index]);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_wishes_are_granted_and_the_rest_is_shared_equally() {
        for (available, wanted, granted) in [
            (10_000, vec![128, 1024, 1024], vec![128, 1024, 1024]),
            (1000, vec![1024, 128, 1024], vec![436, 128, 436]),
            (100, vec![1024, 10, 40], vec![50, 10, 40]),
            (100, vec![65_536], vec![100]),
            (0, vec![1024, 128], vec![1, 1]),
            (0, vec![], vec![]),
        ] {
            assert_eq!(shares(available, &wanted), granted);
        }
    }
}
