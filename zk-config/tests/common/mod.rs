//! What the tests share: a place of their own in a real ZooKeeper, what a callback was told, and a line to the server
//! that can be stopped.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use real_servers::Servers;
use zk_config::{Ensemble, ZooKeeper};
use zookeeper_client::Client;

/// How long anything may take; far more than it does, and less than the time after which watches look again by
/// themselves.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The session timeout in tests.
pub(crate) const SESSION: Duration = Duration::from_secs(2);

/// The shared ZooKeeper, and an empty place in it.
pub(crate) fn place() -> Option<(Servers, Ensemble)> {
    let servers = Servers::shared()?;
    let url = servers.up("zookeeper");
    Some((servers, ensemble(&url)))
}

/// A place of its own at `url`.
pub(crate) fn ensemble(url: &str) -> Ensemble {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let mut ensemble = Ensemble::new(url);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    ensemble.root = format!("/zk-config-tests-{}-{since:x}-{number}", process::id());
    ensemble.session_timeout = SESSION;
    ensemble
}

pub(crate) fn start(ensemble: &Ensemble) -> ZooKeeper {
    let zookeeper = ZooKeeper::start(ensemble.clone()).unwrap();
    zookeeper.wait_connected(PATIENCE).unwrap();
    zookeeper
}

/// What a callback was told.
pub(crate) struct Told<T>(Receiver<T>);

/// A callback, and what it is told.
pub(crate) fn told<T: Send + 'static>() -> (impl FnMut(T) + Send + 'static, Told<T>) {
    let (sender, receiver) = mpsc::channel();
    let callback = move |value| {
        let _ = sender.send(value);
    };
    (callback, Told(receiver))
}

impl<T: Debug> Told<T> {
    pub(crate) fn next(&self) -> T {
        self.0.recv_timeout(PATIENCE).expect("nothing was told")
    }

    /// The first that `is_it`; those before it are passed over.
    pub(crate) fn until(&self, mut is_it: impl FnMut(&T) -> bool) -> T {
        let end = Instant::now() + PATIENCE;
        let mut last = None;
        loop {
            match self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(value) if is_it(&value) => return value,
                Ok(value) => last = Some(value),
                Err(_) => panic!("it wasn't told; the last was {last:?}"),
            }
        }
    }

    /// All that was told so far.
    pub(crate) fn so_far(&self) -> Vec<T> {
        self.0.try_iter().collect()
    }
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Does something with a client of the library, as somebody else would.
pub(crate) fn somebody_else<T>(url: &str, work: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connector().with_session_timeout(SESSION).connect(url).await.unwrap();
        work(client).await
    })
}

/// A line to a server that can be stopped, as a switch or a firewall might do it.
pub(crate) struct Line {
    address: SocketAddr,
    state: Arc<LineState>,
}

struct LineState {
    stopped: AtomicBool,
    over: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Line {
    pub(crate) fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Mutex::new(Vec::new());
        let state = Arc::new(LineState {
            stopped: AtomicBool::new(false),
            over: AtomicBool::new(false),
            connections,
        });
        let (upstream, shared) = (upstream.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(server) = TcpStream::connect(&upstream) else { continue };
                let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                shared.connections.lock().unwrap().extend(both);
                pump(client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&shared));
                pump(server, client, Arc::clone(&shared));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        self.address.to_string()
    }

    /// Nothing comes through any more, and nobody is told.
    pub(crate) fn stop(&self) {
        self.state.stopped.store(true, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.state.stopped.store(false, Ordering::SeqCst);
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        for connection in self.state.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        self.cut();
        let _ = TcpStream::connect(self.address);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: Arc<LineState>) {
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            while state.stopped.load(Ordering::SeqCst) && !state.over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
