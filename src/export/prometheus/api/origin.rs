//! Recognizes requests that a web page of another site sends through the browser of somebody who may use the endpoint.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, ORIGIN};

/// The header in which a browser says how the page that sent a request is related to its target.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns true if the address that the client used has an IP address or `localhost` in it. Any other name can belong to a
/// stranger, whose DNS server says that it is this machine (DNS rebinding).
pub(super) fn names_this_machine(headers: &HeaderMap) -> bool {
    // Only old clients, and no browsers, send none.
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let without_port =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = without_port.map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

/// Returns true if a page of another site sent the request. Browsers send such a request, and only keep its answer back.
pub(in super::super) fn is_of_another_site(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_foreign = |origin: &str| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_none() || host != text(HOST)
    };
    text(SITE).is_some_and(|site| !matches!(site, "same-origin" | "none"))
        || text(ORIGIN).is_some_and(is_foreign)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_this_machine_are_accepted() {
        let names = |host: &str| {
            names_this_machine(&HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).unwrap())]))
        };
        for host in [
            "localhost",
            "localhost:9102",
            "a.localhost",
            "127.0.0.1:9102",
            "[::1]:9102",
            "[::1]",
            "10.0.0.1",
        ] {
            assert!(names(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:9102", "localhost.evil.example", "127.0.0.1.evil.example:80"]
        {
            assert!(!names(host), "{host}");
        }
        assert!(names_this_machine(&HeaderMap::new()));
    }
}
