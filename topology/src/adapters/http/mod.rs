//! Shows a running firewall to people and programs over HTTP, and takes their orders.
//!
//! Two listeners serve the same pages. The one on TCP is for browsers and Prometheus on this machine and only
//! shows; the one on the control socket, which only its owner can open, takes orders too: the right to open the
//! file is the right to steer. `listen` opens them, `serve` accepts connections within limits, `guard` looks at
//! what comes in and dresses what goes out, `pages` shows, and `orders` steers.
//!
//! All of it runs on one thread, and a few more that wait for [`Control`]. Limits hold for each listener apart, so
//! that nobody on TCP can keep orders out.

mod answer;
mod guard;
mod listen;
mod orders;
mod pages;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::control::Control;
use listen::Owned;
use pages::Shared;

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The port can't be had.
    #[error(
        "can't listen on {address}: {reason} (another program may use the port; `listen` of [http] names it)"
    )]
    Port {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        reason: io::Error,
    },
    /// Another firewall listens.
    #[error(
        "another ccfirewall already runs with this state folder: it answers on {} (stop it first, or give this one \
         a state folder of its own)",
        .0.display()
    )]
    Running(PathBuf),
    /// Something else lies where the socket should be.
    #[error("{} is there and isn't a socket: move it away", .0.display())]
    NotASocket(PathBuf),
    /// The path doesn't fit.
    #[error(
        "the path {} is too long for a Unix socket, which takes {} bytes: choose a shorter state folder",
        .0.display(),
        listen::LONGEST_PATH
    )]
    TooLong(PathBuf),
    /// The control socket can't be made.
    #[error("can't make the control socket {}: {reason} (the state folder must exist and be writable)", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The system gives no thread.
    #[error("can't start the thread of the HTTP server: {0}")]
    Thread(io::Error),
}

/// Waiting for an answer of [`Control`] ends after this.
const ANSWER: Duration = Duration::from_secs(10);
/// So many questions wait for [`Control`] at a time, for each listener.
const QUESTIONS: usize = 8;
/// What is still being answered at the stop gets so long.
const GRACE: Duration = Duration::from_secs(2);

/// What serves, until it is stopped or dropped.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    socket: Owned,
}

/// Listens on `listen` and makes the control socket at `socket`, whose folder must exist; returns when both can
/// be connected to.
///
/// Whoever starts it has made sure that no other process uses the state folder: of two that start at the same
/// moment, only a lock tells which one is to go on.
///
/// # Errors
/// Where either can't be had.
pub fn start(control: Arc<dyn Control>, listen: SocketAddr, socket: PathBuf) -> Result<Http, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(2 * QUESTIONS)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(HttpError::Thread)?;
    let entered = runtime.enter();
    let tcp = listen::tcp(listen)?;
    let address = tcp.local_addr().map_err(|reason| HttpError::Port { address: listen, reason })?;
    let (unix, owned) = listen::unix(&socket)?;
    drop(entered);

    let shared = Arc::new(Shared::new(control.clone(), Some(socket)));
    let shown = guard::tcp(pages::with_fallbacks(pages::routes(), shared), address);
    let shared = Arc::new(Shared::new(control, None));
    let steered = guard::unix(pages::with_fallbacks(pages::routes().merge(orders::routes()), shared));

    let (stop, stopped) = watch::channel(false);
    let also_stopped = stopped.clone();
    let thread = std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::join!(serve::serve(tcp, shown, stopped), serve::serve(unix, steered, also_stopped))
            });
            // A question that Control never answers must not hold the program up.
            runtime.shutdown_timeout(Duration::from_millis(100));
        })
        .map_err(HttpError::Thread)?;
    Ok(Http { address, stop, thread: Some(thread), socket: owned })
}

impl Http {
    /// Where it listens, with the port that it got.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, lets what is under way end within two seconds, and takes the control socket away.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            self.socket.remove();
            // Whatever it panicked of was told when it did.
            let _ = thread.join();
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.end();
    }
}
