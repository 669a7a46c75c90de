//! Takes the socket's place in the file system, and gives it back.

use std::fs::{self, DirBuilder, File, Metadata, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::Instant;

/// Connections that wait in the kernel to be accepted.
pub(crate) const BACKLOG: u32 = 1024;

/// What the kernel has room for, less the closing zero.
const PATH_MAX: usize = 107;

/// Two daemons that start at once queue here; each needs a few system calls.
const LOCK_TRIES: u32 = 1_000;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Until a daemon that answers is asked again whether it still lives.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Why the socket is not ours. Worded for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("another daemon answers on {}; use it, stop it, or choose another socket with --socket", .socket.display())]
    InUse { socket: PathBuf },
    #[error("{} is in the way and is no socket; move it, or choose another socket with --socket", .socket.display())]
    NotASocket { socket: PathBuf },
    #[error("the socket's path {} has over {PATH_MAX} bytes, the limit of the operating system; choose a shorter one with --socket", .socket.display())]
    PathTooLong { socket: PathBuf },
    #[error("the socket's directory {} belongs to user {owner}, who could put another socket there; choose one of your own with --socket", .directory.display())]
    ForeignDirectory { directory: PathBuf, owner: u32 },
    #[error("others can write to the socket's directory {} (mode {mode:04o}); run `chmod go-w {}` or choose another with --socket", .directory.display(), .directory.display())]
    OpenDirectory { directory: PathBuf, mode: u32 },
    #[error(
        "{address} can be reached from other machines and there is no certificate; set one in [http.tls], or listen on 127.0.0.1"
    )]
    Unprotected { address: SocketAddr },
    #[error("another program listens on {address}; stop it, or choose another port with http.listen")]
    PortInUse { address: SocketAddr },
    #[error("cannot listen on {address}, is it an address of this machine? choose it with http.listen")]
    Address { address: SocketAddr, source: io::Error },
    #[error("cannot {doing} {}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// A listening socket and the claim to its path.
#[derive(Debug)]
pub struct Bound {
    pub listener: UnixListener,
    pub claim: Claim,
}

/// Removes the socket's file when dropped, if it is still ours.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    file: (u64, u64),
}

impl Claim {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, socket = %self.path.display(), "the socket's file stays behind");
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Listens on `path`, for the owner of this process alone.
///
/// A directory that is missing is made, with mode 0700. A socket that a dead daemon left behind is replaced; one that was
/// killed seems to live for as long as the system takes to clear up after it, hence the `patience`.
///
/// # Errors
/// See [`BindError`]; nothing is left behind.
pub async fn bind(path: &Path, patience: Duration) -> Result<Bound, BindError> {
    let asked = Instant::now();
    loop {
        match bind_now(path).await {
            Err(BindError::InUse { .. }) if asked.elapsed() < patience => tokio::time::sleep(ASK_AGAIN_AFTER).await,
            bound => return bound,
        }
    }
}

async fn bind_now(path: &Path) -> Result<Bound, BindError> {
    let path = std::path::absolute(path).map_err(failed("resolve", path))?;
    if PATH_MAX < path.as_os_str().len() {
        return Err(BindError::PathTooLong { socket: path });
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("make the directory", directory))?;
    check(directory)?;
    // Two that both found a dead socket would each remove the other's new one; so one looks and binds at a time.
    let _turn = lock(directory).await?;
    clear(&path).await?;

    let socket = UnixSocket::new_stream().map_err(failed("make a socket for", &path))?;
    socket.bind(&path).map_err(failed("bind", &path))?;
    let found = fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
    let claim = Claim { file: identity(&found), path };
    // Before `listen` nobody can connect, so there is no moment with a wider mode.
    fs::set_permissions(&claim.path, Permissions::from_mode(0o600)).map_err(failed("set the mode of", &claim.path))?;
    let listener = socket.listen(BACKLOG).map_err(failed("listen on", &claim.path))?;
    Ok(Bound { listener, claim })
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::Io { doing, path, source }
}

/// Nobody but us and root may be able to put another file in the socket's place. A sticky directory such as `/tmp` is
/// good enough: there, only its owner can remove a file.
fn check(directory: &Path) -> Result<(), BindError> {
    let us = rustix::process::geteuid().as_raw();
    let link = fs::symlink_metadata(directory).map_err(failed("look at", directory))?;
    let found = fs::metadata(directory).map_err(failed("look at", directory))?;
    if let Some(owner) = [link.uid(), found.uid()].into_iter().find(|owner| *owner != us && *owner != 0) {
        return Err(BindError::ForeignDirectory { directory: directory.to_owned(), owner });
    }
    let mode = found.mode() & 0o7777;
    let (others_write, sticky) = (mode & 0o022 != 0, mode & 0o1000 != 0);
    if others_write && !sticky {
        return Err(BindError::OpenDirectory { directory: directory.to_owned(), mode });
    }
    Ok(())
}

async fn lock(directory: &Path) -> Result<File, BindError> {
    let file = File::open(directory).map_err(failed("open", directory))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(failed("lock", directory)(error)),
        }
    }
    Err(failed("lock", directory)(io::Error::from(ErrorKind::WouldBlock)))
}

/// Makes way for a new socket, if what is there is a dead one.
async fn clear(path: &Path) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket { socket: path.to_owned() });
    }
    match UnixStream::connect(path).await {
        // A daemon whose queue is full is alive too.
        Ok(_) => Err(BindError::InUse { socket: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(BindError::InUse { socket: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the dead socket", path))
        }
        Err(error) => Err(failed("ask who answers on", path)(error)),
    }
}
