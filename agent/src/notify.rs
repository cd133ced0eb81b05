//! Tells systemd how the agent is, where systemd wants to know (`Type=notify`): sd_notify's protocol, which is a
//! datagram of lines to the socket that `NOTIFY_SOCKET` names.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends lines such as `READY=1`. That nobody wants them is no error, and that they can't be sent is only told.
pub(crate) fn notify(lines: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(name.as_bytes(), lines) {
        tracing::warn!(%error, "systemd can't be told how it goes (NOTIFY_SOCKET)");
    }
}

fn send(name: &[u8], lines: &str) -> io::Result<()> {
    let address = match name.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(name)))?,
    };
    UnixDatagram::unbound()?.send_to_addr(lines.as_bytes(), &address)?;
    Ok(())
}
