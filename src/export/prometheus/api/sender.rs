//! Shows the senders of lines.

use procfs::process::Process;
use serde::Serialize;

use crate::model::Sender;

/// The length of a container id, in hexadecimal digits.
const CONTAINER_ID: usize = 64;

/// A sender in an answer; `null` if the kernel does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum SenderFields {
    Unknown,
    /// An address, with or without a port.
    Address {
        address: String,
    },
    Process {
        pid: i32,
        uid: u32,
        /// The id of its container. `None` if it is in none, has ended, or is hidden from tallyd.
        container: Option<String>,
    },
}

/// Looks up the container of a process, so this should be done soon after the line came.
impl From<Sender> for SenderFields {
    fn from(sender: Sender) -> Self {
        match sender {
            Sender::Unknown => SenderFields::Unknown,
            Sender::Address(_) | Sender::Host(_) => SenderFields::Address { address: sender.to_string() },
            Sender::Process { pid, uid } => SenderFields::Process { pid, uid, container: container_of(pid) },
        }
    }
}

/// Returns the id of the container in which a process runs.
fn container_of(pid: i32) -> Option<String> {
    // The kernel tells no number of a process that tallyd cannot see.
    let groups =
        Process::new(Some(pid).filter(|pid| *pid > 0)?).and_then(|process| process.cgroups()).ok()?;
    groups.into_iter().find_map(|group| container_in(&group.pathname).map(str::to_owned))
}

/// Returns the container id in the path of a control group. All container engines put the id of a container into it.
fn container_in(path: &str) -> Option<&str> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let words = path.rsplit(|character: char| !character.is_ascii_alphanumeric());
    words.into_iter().find(|word| word.len() == CONTAINER_ID && word.bytes().all(is_hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_control_group_has_the_container_id() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/kubepods/burstable/pod2d3da189-6407-48e3-9ab6-78188d75e609/ID",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod2d3da189.slice/cri-containerd-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
        ] {
            assert_eq!(container_in(&path.replace("ID", &id)), Some(&*id), "{path}");
        }
        for path in [
            "/",
            "/system.slice/tallyd.service",
            "/user.slice/user-1000.slice/session-2.scope",
            "/docker/0123",
        ] {
            assert_eq!(container_in(path), None, "{path}");
        }
    }
}
