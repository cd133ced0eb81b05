//! Listens, and gives each connection a thread of its own.
//!
//! There are at most so many connections. When one more comes, the oldest that hasn't shown the key makes room, so
//! that whoever only opens connections keeps nobody out who knows it; where all have shown it, the new one is
//! closed at once.

mod connection;

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ccfirewall_thrift::tls::ServerTls;
use socket2::SockRef;

use crate::service::Service;

/// What a caller may ask of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// The largest message, in bytes.
    pub message: usize,
    /// The largest message of a caller who hasn't shown the key, in bytes.
    pub unproven_message: usize,
    /// The longest list in a message.
    pub items: usize,
    /// From a message's first byte to its last, and the same for an answer.
    pub message_time: Duration,
    /// Between two messages.
    pub idle: Duration,
    /// For the agreement by TLS, all of it.
    pub handshake: Duration,
    /// Until the first message of a caller who hasn't shown the key.
    pub unproven_idle: Duration,
}

impl Default for Limits {
    /// 256 connections; 8 MiB with lists of 100,000, or 64 KiB before the key was seen; 10 s for a message; 10 min
    /// between messages, or 30 s before the key was seen; 5 s to agree by TLS.
    fn default() -> Self {
        Self {
            connections: 256,
            message: 8 << 20,
            unproven_message: 64 << 10,
            items: 100_000,
            message_time: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            handshake: Duration::from_secs(5),
            unproven_idle: Duration::from_secs(30),
        }
    }
}

/// Somebody who is connected.
struct Peer {
    stream: Arc<TcpStream>,
    address: SocketAddr,
    /// Whether a right key came over this connection.
    proven: AtomicBool,
}

struct Shared {
    service: Arc<Service>,
    tls: Option<Arc<ServerTls>>,
    limits: Limits,
    /// By number, so the oldest come first.
    peers: Mutex<BTreeMap<u64, Arc<Peer>>>,
    /// Notified when a connection is over.
    left: Condvar,
    stopping: AtomicBool,
    /// Connections that there was no room for.
    refused: AtomicU64,
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that runs until it is stopped.
pub(crate) struct Server {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Serves what comes to `listener`.
    pub(crate) fn start(
        listener: TcpListener,
        service: Arc<Service>,
        tls: Option<Arc<ServerTls>>,
        limits: Limits,
    ) -> io::Result<Self> {
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared {
            service,
            tls,
            limits,
            peers: Mutex::default(),
            left: Condvar::new(),
            stopping: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        });
        let accepting = thread::Builder::new().name("accept".to_owned()).spawn({
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            move || accept(&listener, &shared)
        })?;
        Ok(Self { shared, listener, accepting: Some(accepting) })
    }

    /// Closes all connections; calls under way are done to their end, for a moment.
    pub(crate) fn stop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes up who waits in accept.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let peers = self.shared.peers();
        for peer in peers.values() {
            let _ = peer.stream.shutdown(Shutdown::Read);
        }
        let wait =
            self.shared.left.wait_timeout_while(peers, Duration::from_secs(5), |peers| !peers.is_empty());
        let (peers, _) = wait.unwrap_or_else(PoisonError::into_inner);
        for peer in peers.values() {
            let _ = peer.stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, address)) => admit(number, stream, address, shared),
            Err(error) => {
                // Out of descriptors, or whoever came has gone again.
                tracing::warn!(%error, "a connection can't be accepted");
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Gives a connection a thread, where there is room for it.
fn admit(number: u64, stream: TcpStream, address: SocketAddr, shared: &Arc<Shared>) {
    let peer = Arc::new(Peer { stream: Arc::new(stream), address, proven: AtomicBool::new(false) });
    {
        let mut peers = shared.peers();
        if peers.len() >= shared.limits.connections {
            let oldest = peers.iter().find(|(_, peer)| !peer.proven.load(Ordering::Relaxed)).map(|(&n, _)| n);
            let Some(gone) = oldest.and_then(|oldest| peers.remove(&oldest)) else {
                let so_far = shared.refused.fetch_add(1, Ordering::Relaxed) + 1;
                if so_far.is_power_of_two() {
                    tracing::warn!(%address, so_far, "closed at once: too many connections (--max-connections)");
                }
                return;
            };
            let _ = gone.stream.shutdown(Shutdown::Both);
            tracing::debug!(address = %gone.address, "closed to make room: it hasn't shown the key");
        }
        peers.insert(number, Arc::clone(&peer));
    }
    let serving = thread::Builder::new().name(format!("peer {number}")).spawn({
        let shared = Arc::clone(shared);
        move || {
            let served = catch_unwind(AssertUnwindSafe(|| connection::serve(number, &peer, &shared)));
            if served.is_err() {
                tracing::error!(address = %peer.address, "a call panicked: its connection is closed");
            }
            let _ = peer.stream.shutdown(Shutdown::Both);
            leave(number, &shared);
        }
    });
    if let Err(error) = serving {
        tracing::warn!(%error, %address, "no thread for a connection");
        leave(number, shared);
    }
}

fn leave(number: u64, shared: &Shared) {
    shared.service.keeper.forget(number);
    shared.peers().remove(&number);
    shared.left.notify_all();
}
