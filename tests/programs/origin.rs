//! Tests origin detection with senders in control groups, as container engines create them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tallyd_harness::Daemon;
use tallyd_harness::process::Running;
use tempfile::TempDir;

/// The places where control groups can be: those of version 2, of version 2 beside version 1, or of version 1.
const ROOTS: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The control group of a container of a pod. It is removed at the end.
struct Group(PathBuf);

impl Group {
    fn create() -> Self {
        let root = ROOTS.iter().find(|root| Path::new(root).join("cgroup.procs").exists()).unwrap();
        let name =
            format!("tallyd-test-{}-pod2d3da189_6407_48e3_9ab6_78188d75e609.slice", std::process::id());
        let group = Path::new(root).join(name).join(format!("cri-containerd-{CONTAINER}.scope"));
        fs::create_dir_all(&group)
            .unwrap_or_else(|error| panic!("{}: {error}; run as root", group.display()));
        Self(group)
    }

    /// Starts a program that sends a line to a socket from within the group, and stays until it is stopped.
    fn send(&self, kind: &str, path: &str, line: &str) -> Running {
        let code = "import os, socket, sys\n\
                    open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()))\n\
                    client = socket.socket(socket.AF_UNIX, getattr(socket, sys.argv[2]))\n\
                    client.connect(sys.argv[3])\n\
                    client.send(sys.argv[4].encode())\n\
                    sys.stdin.read()";
        let group = self.0.display().to_string();
        let mut python = Command::new("python3");
        Running::start(python.args(["-c", code, &group, kind, path, line]).stdin(Stdio::piped()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group is busy until its processes have ended.
        _ = fs::remove_dir(&self.0);
        _ = fs::remove_dir(self.0.parent().unwrap());
    }
}

fn tags(daemon: &mut Daemon, name: &str) -> Value {
    daemon.wait_for(|row| row["name"] == name)["tags"].clone()
}

#[test]
#[ignore = "needs to create control groups; run make test"]
fn senders_over_unix_sockets_get_the_tags_of_their_container_and_pod() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let settings = [
        "flush.interval=100ms",
        "protocol.origin_detection=true",
        "listeners.unix_datagram.enabled=true",
        &format!("listeners.unix_datagram.path={}", path("datagrams")),
        "listeners.unix_stream.enabled=true",
        "listeners.unix_stream.framing=lines",
        &format!("listeners.unix_stream.path={}", path("stream")),
    ];
    let mut daemon = Daemon::start(&settings);
    let group = Group::create();
    let pod = "2d3da189-6407-48e3-9ab6-78188d75e609";
    let detected = serde_json::json!({ "container_id": CONTAINER, "pod_uid": pod, "zone": "b" });

    let _datagram = group.send("SOCK_DGRAM", &path("datagrams"), "one:1|c|#zone:b\none:2|c|#zone:b");
    assert_eq!(tags(&mut daemon, "one"), detected);
    let _stream = group.send("SOCK_STREAM", &path("stream"), "two:1|c|#zone:b\n");
    assert_eq!(tags(&mut daemon, "two"), detected);
    // What a client says wins, and a client may want no tags.
    let _own = group.send("SOCK_DGRAM", &path("datagrams"), "three:1|c|c:own\nfour:1|c|card:none");
    assert_eq!(tags(&mut daemon, "three"), serde_json::json!({ "container_id": "own" }));
    assert_eq!(tags(&mut daemon, "four"), serde_json::json!({}));
    // UDP tells nothing about the sender, and a process of the machine has no container.
    daemon.send("five:1|c");
    assert_eq!(tags(&mut daemon, "five"), serde_json::json!({}));
    let outside = std::os::unix::net::UnixDatagram::unbound().unwrap();
    outside.send_to(b"one:4|c|#zone:b", path("datagrams")).unwrap();
    daemon.wait_for_next(|row| row["name"] == "one" && row["tags"] == serde_json::json!({ "zone": "b" }));
    let finished = daemon.stop();
    assert_eq!(finished.sum("one", "value"), 7.0);
    assert_eq!(finished.sum("tallyd.lines_rejected", "value"), 0.0);
}
