//! Opens the port and the control socket.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use tokio::net::{TcpListener, UnixListener, UnixSocket};

use super::HttpError;

/// What `sun_path` takes, less the closing zero.
pub(super) const LONGEST_PATH: usize = 107;
/// So many connections wait to be accepted.
const BACKLOG: u32 = 128;

/// Opens the port. Must run within the runtime.
pub(super) fn tcp(address: SocketAddr) -> Result<TcpListener, HttpError> {
    let open = || {
        // The standard library sets SO_REUSEADDR, so a restart needs no wait.
        let listener = StdTcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    open().map_err(|reason| HttpError::Port { address, reason })
}

/// The control socket's file while it is ours.
#[derive(Debug)]
pub(super) struct Owned {
    path: PathBuf,
    file: Option<(u64, u64)>,
}

impl Owned {
    /// Takes the file away, unless somebody has put another in its place.
    pub(super) fn remove(&self) {
        if self.file.is_some() && identity(&self.path).ok() == self.file {
            // Gone already is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes the control socket, for its owner only, in place of one that a dead process left. Must run within the
/// runtime.
pub(super) fn unix(path: &Path) -> Result<(UnixListener, Owned), HttpError> {
    if path.as_os_str().as_bytes().len() > LONGEST_PATH {
        return Err(HttpError::TooLong(path.to_owned()));
    }
    let failed = |reason: io::Error| HttpError::Socket { path: path.to_owned(), reason };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(HttpError::NotASocket(path.to_owned()));
        }
        Ok(_) => match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(failed(error)),
            // Where it would block, somebody is so busy that connections queue up.
            Ok(_) | Err(_) => return Err(HttpError::Running(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let bind = || {
        let socket = UnixSocket::new_stream()?;
        // The file gets the mode that its socket has when it is bound, so that it is nobody else's at any moment.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(path)?;
        let file = identity(path)?;
        Ok((socket.listen(BACKLOG)?, Owned { path: path.to_owned(), file: Some(file) }))
    };
    bind().map_err(failed)
}
