//! Speaks to a running firewall over its control socket. Blocking, one connection a call: for commands.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::views::ErrorView;

/// The control socket's name in the state folder.
pub const SOCKET: &str = "control.sock";

/// The state folder of a service.
const SERVICE_STATE: &str = "/var/lib/ccfirewall";

/// An order is answered when it is kept, which a slow disk may take seconds for.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Nothing that the program answers is longer.
const LONGEST: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "ccfirewall isn't running: {reason} at {} (start it with `ccfirewall run`, or name the state folder of the \
         one that runs: --state DIR)",
        socket.display()
    )]
    NotRunning {
        /// The control socket.
        socket: PathBuf,
        /// How one can tell.
        reason: &'static str,
    },
    /// The socket belongs to somebody else.
    #[error("no right to use {}: only the user that ccfirewall runs as, and root, may (try sudo)", .0.display())]
    Denied(PathBuf),
    /// The program understood and won't.
    #[error("{0}")]
    Refused(String),
    /// The program answers that something is wrong, with the request or with itself.
    #[error("ccfirewall says: {0}")]
    Failed(String),
    /// There was no answer, or none that can be understood.
    #[error("no answer from ccfirewall at {}: {reason}", socket.display())]
    NoAnswer {
        /// The control socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// A way to a running firewall. Nothing is connected until something is asked.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A way to the firewall with that state folder.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { socket: state.join(SOCKET) }
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Reads a page.
    ///
    /// # Errors
    /// As [`ClientError`] has them.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new())
    }

    /// Reads a page that is one whether or not all is well: `/healthz`.
    ///
    /// # Errors
    /// As [`ClientError`] has them.
    pub fn get_any_status<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let (_, body) = self.ask(Method::GET, path, Bytes::new())?;
        self.read(&body)
    }

    /// Orders something.
    ///
    /// # Errors
    /// As [`ClientError`] has them.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.no_answer(&error))?;
        self.call(Method::POST, path, body.into())
    }

    /// Takes something back.
    ///
    /// # Errors
    /// As [`ClientError`] has them.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, Bytes::new())
    }

    fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ClientError> {
        let (status, body) = self.ask(method, path, body)?;
        if status.is_success() {
            return self.read(&body);
        }
        let error: ErrorView = self.read(&body)?;
        Err(match status {
            StatusCode::CONFLICT => ClientError::Refused(error.error),
            _ => ClientError::Failed(error.error),
        })
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| {
            self.no_answer(&format!(
                "not the JSON that this version knows ({error}); are both the same version?"
            ))
        })
    }

    fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.no_answer(&error))?;
        runtime.block_on(async {
            tokio::time::timeout(TIMEOUT, self.exchange(method, path, body))
                .await
                .map_err(|_| self.no_answer(&format!("nothing came within {} s", TIMEOUT.as_secs())))?
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unconnected(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.no_answer(&error))?;
        // What goes wrong with it, the request tells.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "localhost")
            .header(hyper::header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| self.no_answer(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        Ok((status, body.map_err(|error| self.no_answer(&error))?.to_bytes()))
    }

    fn unconnected(&self, error: &io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound => {
                ClientError::NotRunning { socket, reason: "there is no control socket" }
            }
            io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket, reason: "nobody listens to the control socket" }
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied(socket),
            _ => self.no_answer(error),
        }
    }

    fn no_answer(&self, reason: &impl ToString) -> ClientError {
        ClientError::NoAnswer { socket: self.socket.clone(), reason: reason.to_string() }
    }
}

/// A path segment or the value of a parameter, with what isn't plain written as `%2F` and the like.
#[must_use]
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The state folder of the firewall that is probably meant where nobody names one: that of a service, else that
/// of this user; where one of them has a control socket, that one.
#[must_use]
pub fn usual_state() -> PathBuf {
    choose(Path::new(SERVICE_STATE), |name| std::env::var_os(name).map(PathBuf::from))
}

fn choose(service: &Path, variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    // A relative path in XDG_STATE_HOME is to be ignored, as the XDG base directory specification has it.
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let user = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let places = [Some(service.to_owned()), user.map(|folder| folder.join("ccfirewall"))];
    let places: Vec<PathBuf> = places.into_iter().flatten().collect();
    let running = places.iter().find(|place| place.join(SOCKET).exists());
    let place = running.or_else(|| places.iter().find(|place| place.exists()));
    place.cloned().unwrap_or_else(|| service.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_segments_hold_no_slash() {
        assert_eq!(encoded("2001:db8::/32"), "2001:db8::%2F32");
        assert_eq!(encoded("a b?c#d%"), "a%20b%3Fc%23d%25");
    }

    #[test]
    fn the_state_folder_that_is_meant() {
        let root = tempfile::tempdir().unwrap();
        let (service, home) = (root.path().join("service"), root.path().join("home"));
        let user = home.join(".local/state/ccfirewall");
        let chosen = || choose(&service, |name| (name == "HOME").then(|| home.clone()));
        assert_eq!(chosen(), service, "neither is there");
        std::fs::create_dir_all(&user).unwrap();
        assert_eq!(chosen(), user);
        std::fs::create_dir_all(&service).unwrap();
        assert_eq!(chosen(), service, "that of the service goes first");
        std::fs::write(user.join(SOCKET), "").unwrap();
        assert_eq!(chosen(), user, "something runs there");
        let relative = |name: &str| (name == "XDG_STATE_HOME").then(|| PathBuf::from("state"));
        assert_eq!(choose(Path::new("/nonexistent/service"), relative), Path::new("/nonexistent/service"));
    }
}
