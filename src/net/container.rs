//! Finds the containers in which processes of this machine run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procfs::process::Process;

use crate::model::{Container, Sender};

/// The length of a container id, in hexadecimal digits.
const CONTAINER_ID: usize = 64;

/// How long tallyd takes a process to be in the same container, or in none. A process may end, and the kernel may give its
/// number to another one much later.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The largest number of processes that are remembered.
const MOST: usize = 4096;

/// Returns the container in which a process runs. `None` if it is in none, has ended, or is hidden from tallyd.
pub(crate) fn container_of(pid: i32) -> Option<Container> {
    // The kernel tells no number of a process that tallyd cannot see.
    let groups =
        Process::new(Some(pid).filter(|pid| *pid > 0)?).and_then(|process| process.cgroups()).ok()?;
    groups.into_iter().find_map(|group| container_in(&group.pathname))
}

/// Returns the container in the path of a control group. All container engines put the id of a container into it, and
/// Kubernetes also that of the pod.
fn container_in(path: &str) -> Option<Container> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let mut words = path.rsplit(|character: char| !character.is_ascii_alphanumeric());
    let id = words.find(|word| word.len() == CONTAINER_ID && word.bytes().all(is_hex))?;
    Some(Container { id: id.to_owned(), pod_uid: pod_in(path).unwrap_or_default() })
}

/// Returns the UID of the pod in a path such as `/kubepods/burstable/pod2d3da189-…/…` or, from systemd,
/// `/kubepods.slice/kubepods-burstable-pod2d3da189_….slice/…`.
fn pod_in(path: &str) -> Option<String> {
    const LENGTH: usize = "2d3da189-6407-48e3-9ab6-78188d75e609".len();
    let is_uid = |uid: &&str| {
        let mut digits = uid.bytes().enumerate();
        digits.all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => b"-_".contains(&byte),
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let begins = path.match_indices("pod").map(|(at, pod)| at + pod.len());
    let mut words = begins.filter_map(|begin| path.get(begin..begin + LENGTH));
    words.find(is_uid).map(|uid| uid.replace('_', "-"))
}

/// Remembers the containers of processes.
#[derive(Debug, Default)]
pub(crate) struct Containers(HashMap<i32, (Option<Arc<Container>>, Instant)>);

impl Containers {
    /// Returns the container in which a sender runs, if it does.
    pub(crate) fn of(&mut self, sender: Sender) -> Option<Arc<Container>> {
        let Sender::Process { pid, .. } = sender else { return None };
        let now = Instant::now();
        match self.0.get(&pid) {
            Some((container, since)) if now - *since < REMEMBERED => return container.clone(),
            _ => {}
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, since)| now - *since < REMEMBERED);
            if self.0.len() >= MOST {
                self.0.clear();
            }
        }
        let container = container_of(pid).map(Arc::new);
        self.0.insert(pid, (container.clone(), now));
        container
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_control_group_has_the_container_and_the_pod() {
        let id = "0123456789abcdef".repeat(4);
        let uid = "2d3da189-6407-48e3-9ab6-78188d75e609";
        for (path, pod) in [
            ("/docker/ID", ""),
            ("/system.slice/docker-ID.scope", ""),
            ("/kubepods/burstable/pod2d3da189-6407-48e3-9ab6-78188d75e609/ID", uid),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod2d3da189_6407_48e3_9ab6_78188d75e609.slice/cri-containerd-ID.scope",
                uid,
            ),
            ("/machine.slice/libpod-ID.scope/container", ""),
        ] {
            let found = container_in(&path.replace("ID", &id));
            assert_eq!(found, Some(Container { id: id.clone(), pod_uid: pod.to_owned() }), "{path}");
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

    #[test]
    fn processes_are_remembered_up_to_a_number() {
        let mut containers = Containers::default();
        // No process has these numbers.
        for pid in (1..i32::MAX).rev().take(2 * MOST) {
            assert!(containers.of(Sender::Process { pid, uid: 0 }).is_none());
        }
        assert!(containers.0.len() <= MOST);
    }
}
