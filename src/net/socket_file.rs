//! Opens Unix sockets. The file of a socket exists as long as the process that serves it.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use super::bind::BACKLOG;
use super::owner::Owner;

/// The longest wait for the lock of a directory. Another tallyd holds it for less than a millisecond while it starts.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The file of a Unix socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketFile {
    /// The path, at most 107 bytes long.
    pub path: PathBuf,
    /// The mode. Permission to write is permission to send.
    pub mode: u32,
    /// The owner.
    pub owner: Owner,
}

/// The file of a socket of this process. Dropping the value removes the file.
#[derive(Debug)]
pub(crate) struct BoundFile {
    path: PathBuf,
    id: FileId,
    /// The owner as numbers, so that binding again looks up no names.
    owner: Owner,
}

/// The identity of a file on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn at(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

impl SocketFile {
    /// Returns the file with this identity if the path names it.
    pub(crate) fn find(&self, id: FileId) -> Option<BoundFile> {
        let is_there = FileId::at(&self.path).is_ok_and(|found| found == id);
        is_there.then(|| BoundFile { path: self.path.clone(), id, owner: self.owner.clone() })
    }
}

impl BoundFile {
    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// Returns the owner, as numbers.
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Returns true if the path names another file or none. If the path cannot be looked up, this returns false.
    pub(crate) fn has_moved(&self) -> bool {
        match FileId::at(&self.path) {
            Ok(found) => found != self.id,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Drop for BoundFile {
    fn drop(&mut self) {
        // If another process has replaced the file, the path belongs to that process.
        if FileId::at(&self.path).is_ok_and(|found| found == self.id)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the socket file; the next start will do so");
        }
    }
}

/// A socket file that cannot be created.
#[derive(Debug)]
pub(crate) struct SocketFileError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Directory(io::Error),
    Locked,
    NotASocket,
    Served,
    /// tallyd cannot find out whether a process serves the socket.
    Unclear(io::Error),
    Stale(io::Error),
    Bind(io::Error),
    Owner(String),
    Mode(io::Error),
}

impl fmt::Display for SocketFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.path.display())?;
        match &self.cause {
            Cause::Directory(error) if error.kind() == io::ErrorKind::NotFound => f.write_str(
                "its directory does not exist; create it, or let systemd create it with RuntimeDirectory=tallyd",
            ),
            Cause::Directory(error) => write!(f, "its directory cannot be opened: {error}"),
            Cause::Locked => f.write_str(
                "another process keeps its directory locked (see `lslocks`); stop that process, or choose another directory",
            ),
            Cause::NotASocket => f.write_str(
                "a file with this path is not a socket; move it away, or choose another path",
            ),
            Cause::Served => f.write_str(
                "another process serves this socket (see `ss -lxp`); stop that process, or choose another path",
            ),
            Cause::Unclear(error) => write!(
                f,
                "a socket with this path exists, and tallyd cannot find out whether a process serves it: {error}; remove it if \
                 none does"
            ),
            Cause::Stale(error) => {
                write!(f, "no process serves the socket with this path, but the socket cannot be removed: {error}")
            }
            Cause::Bind(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                f.write_str("permission denied; let tallyd's user write in its directory, or choose another path")
            }
            Cause::Bind(error) => write!(f, "{error}"),
            Cause::Owner(problem) => f.write_str(problem),
            Cause::Mode(error) => write!(f, "its mode cannot be set: {error}"),
        }
    }
}

impl std::error::Error for SocketFileError {}

/// Opens a socket that receives datagrams. Waits up to `patience` while another tallyd opens a socket in the same
/// directory.
///
/// # Errors
///
/// Fails if the path cannot be used. A file that is in use or is not a socket stays unchanged.
pub(crate) fn bind_datagram(
    file: &SocketFile,
    patience: Duration,
) -> Result<(UnixDatagram, BoundFile), SocketFileError> {
    bind(file, patience, Type::DGRAM, |_| Ok(())).map(|(socket, bound)| (socket.into(), bound))
}

/// Opens a socket that accepts connections and does not block. Waits up to `patience` while another tallyd opens a
/// socket in the same directory.
///
/// # Errors
///
/// Fails if the path cannot be used. A file that is in use or is not a socket stays unchanged.
pub(crate) fn bind_stream(
    file: &SocketFile,
    patience: Duration,
) -> Result<(UnixListener, BoundFile), SocketFileError> {
    let listen = |socket: &Socket| {
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)
    };
    bind(file, patience, Type::STREAM, listen).map(|(socket, bound)| (socket.into(), bound))
}

fn bind(
    file: &SocketFile,
    patience: Duration,
    kind: Type,
    listen: impl FnOnce(&Socket) -> io::Result<()>,
) -> Result<(Socket, BoundFile), SocketFileError> {
    let failed = |cause| SocketFileError { path: file.path.clone(), cause };
    // The lock is held until this function returns. Otherwise one tallyd could remove the socket that another has just
    // created.
    let _lock = lock_directory(&file.path, patience).map_err(failed)?;
    remove_stale(&file.path).map_err(failed)?;
    let (socket, mut bound) = create(&file.path, kind).map_err(|error| failed(Cause::Bind(error)))?;
    let (user, group) = file.owner.numbers().map_err(|problem| failed(Cause::Owner(problem)))?;
    bound.owner = Owner::from_numbers(user, group);
    if user.is_some() || group.is_some() {
        lchown(&file.path, user, group).map_err(|error| {
            failed(Cause::Owner(format!(
                "its owner cannot become \"{}\": {error}; only root may do that, except that a member of a group may give the file to that group",
                file.owner
            )))
        })?;
    }
    fs::set_permissions(&file.path, Permissions::from_mode(file.mode))
        .map_err(|error| failed(Cause::Mode(error)))?;
    listen(&socket).map_err(|error| failed(Cause::Bind(error)))?;
    Ok((socket, bound))
}

fn lock_directory(path: &Path, patience: Duration) -> Result<Flock<File>, Cause> {
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    let mut directory = File::open(directory).map_err(Cause::Directory)?;
    let deadline = Instant::now() + patience;
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() >= deadline => return Err(Cause::Locked),
            Err((unlocked, Errno::EWOULDBLOCK | Errno::EINTR)) => directory = unlocked,
            Err((_, error)) => return Err(Cause::Directory(error.into())),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Removes a socket that a killed process left behind.
fn remove_stale(path: &Path) -> Result<(), Cause> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Cause::Directory(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(Cause::NotASocket),
        Ok(_) => {}
    }
    // The process that serves the socket does not notice this probe. Connecting a datagram socket sends nothing, and a
    // stream socket refuses it because of its type.
    match UnixDatagram::unbound().and_then(|probe| probe.connect(path)) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(Cause::Stale)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Cause::Unclear(error)),
        _ => Err(Cause::Served),
    }
}

fn create(path: &Path, kind: Type) -> io::Result<(Socket, BoundFile)> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    // The file inherits the mode of the socket, so no other user can connect before mode and owner are as configured.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    if kind == Type::DGRAM {
        // The kernel notes the sender of a datagram when it arrives, so this comes before the first one.
        socket.set_passcred(true)?;
    }
    socket.bind(&SockAddr::unix(path)?)?;
    let bound = BoundFile { path: path.to_owned(), id: FileId::at(path)?, owner: Owner::default() };
    Ok((socket, bound))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;

    use super::*;

    fn bind_datagram(file: &SocketFile) -> Result<(UnixDatagram, BoundFile), SocketFileError> {
        super::bind_datagram(file, LOCK_PATIENCE)
    }

    fn bind_stream(file: &SocketFile) -> Result<(UnixListener, BoundFile), SocketFileError> {
        super::bind_stream(file, LOCK_PATIENCE)
    }

    fn file(path: PathBuf) -> SocketFile {
        SocketFile { path, mode: 0o620, owner: Owner::default() }
    }

    #[test]
    fn the_file_has_the_configured_mode_and_is_removed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path().join("s"));
        let (_socket, bound) = bind_datagram(&file).unwrap();
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o620);
        drop(bound);
        assert!(!file.path.exists());
    }

    #[test]
    fn no_other_user_can_connect_before_mode_and_owner_are_set() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_socket, _bound) = create(&path, Type::STREAM).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_file_gets_the_configured_owner() {
        let directory = tempfile::tempdir().unwrap();
        let own = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        // Only root may give files away. Any other user tests with itself as the owner.
        let (user, group) = if own.0 == 0 { (65_534, 65_533) } else { own };
        let owner = Owner::try_from(format!("{user}:{group}")).unwrap();
        let file = SocketFile { owner, ..file(directory.path().join("s")) };
        let (_socket, _bound) = bind_stream(&file).unwrap();
        let metadata = fs::metadata(&file.path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (user, group));
    }

    #[test]
    fn a_file_that_another_process_created_meanwhile_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path().join("s"));
        let (_socket, bound) = bind_datagram(&file).unwrap();
        // The moved file keeps its inode, so the next file gets another one.
        fs::rename(&file.path, directory.path().join("moved")).unwrap();
        fs::write(&file.path, "").unwrap();
        drop(bound);
        assert!(file.path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path().join("s"));
        drop(UnixDatagram::bind(&file.path).unwrap());
        let (socket, _bound) = bind_stream(&file).unwrap();
        for error in [bind_stream(&file).unwrap_err(), bind_datagram(&file).unwrap_err()] {
            assert!(error.to_string().contains("ss -lxp"), "{error}");
        }
        assert!(socket.accept().is_err(), "the serving process did not notice the probe");
        UnixStream::connect(&file.path).unwrap();
        drop(socket);
        let (_datagrams, _bound) = bind_datagram(&file).unwrap();
        assert!(bind_stream(&file).is_err());
    }

    #[test]
    fn a_file_that_is_not_a_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "data").unwrap();
        std::os::unix::fs::symlink(&path, directory.path().join("link")).unwrap();
        for name in ["precious", "link"] {
            let error = bind_datagram(&file(directory.path().join(name))).unwrap_err();
            assert!(error.to_string().contains("is not a socket"), "{error}");
        }
        assert_eq!(fs::read_to_string(path).unwrap(), "data");
    }

    #[test]
    fn exactly_one_of_many_concurrent_starts_gets_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path().join("s"));
        for round in 0..20 {
            drop(UnixDatagram::bind(&file.path).unwrap());
            let barrier = Barrier::new(4);
            let start = || {
                barrier.wait();
                bind_stream(&file)
            };
            let winners: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
            });
            assert_eq!(winners.len(), 1, "round {round}");
        }
    }

    #[test]
    fn a_missing_directory_and_a_missing_user_are_reported_with_advice() {
        let directory = tempfile::tempdir().unwrap();
        let error = bind_stream(&file(directory.path().join("none/s"))).unwrap_err();
        assert!(error.to_string().contains("RuntimeDirectory=tallyd"), "{error}");
        let owner = Owner::try_from("no-such-user".to_owned()).unwrap();
        let file = SocketFile { owner, ..file(directory.path().join("s")) };
        let error = bind_stream(&file).unwrap_err();
        assert!(error.to_string().contains("no-such-user"), "{error}");
        assert!(!file.path.exists(), "nothing is left behind");
    }
}
