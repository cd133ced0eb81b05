//! One connection: reads a message to its end, has it done, and answers.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ccfirewall_thrift::Timed;
use ccfirewall_thrift::generated::CCfirewallAgentSyncProcessor;
use ccfirewall_thrift::message::{Malformed, Scanner, Step};
use ccfirewall_thrift::tls::TlsError;
use rustix::net::RecvFlags;
use thrift::TConfiguration;
use thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use thrift::server::TProcessor as _;

use super::{Peer, Shared};
use crate::service::Calls;

/// So much is read at a time.
const CHUNK: usize = 16 << 10;
/// A buffer that grew larger for a message is given back behind it.
const KEPT: usize = 256 << 10;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("the caller closed it")]
    Closed,
    #[error("the caller closed it within a message")]
    Truncated,
    #[error("the caller closed it behind a message that was never answered, so it isn't obeyed")]
    Unheard,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Failed(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("no answer could be made: {0}")]
    Answer(#[from] thrift::Error),
}

/// Serves a connection to its end.
pub(super) fn serve(number: u64, peer: &Peer, shared: &Arc<Shared>) {
    let Err(over) = serve_calls(number, peer, shared);
    tracing::debug!(address = %peer.address, "connection over: {over}");
}

fn serve_calls(number: u64, peer: &Peer, shared: &Arc<Shared>) -> Result<std::convert::Infallible, Over> {
    peer.stream.set_nodelay(true)?;
    let mut stream = match &shared.tls {
        None => Timed::new(Arc::clone(&peer.stream)),
        Some(tls) => {
            let agreed = Timed::by_tls(Arc::clone(&peer.stream), tls.session()?, shared.limits.handshake);
            agreed.inspect_err(|_| let_alert_arrive(&peer.stream))?.0
        }
    };
    let calls = Calls { service: Arc::clone(&shared.service), connection: number };
    let processor = CCfirewallAgentSyncProcessor::new(calls);
    let mut buffer = Vec::new();
    loop {
        let length = read_message(&mut stream, &mut buffer, peer, shared)?;
        if buffer.len() == length && is_gone(&peer.stream) {
            return Err(Over::Unheard);
        }
        let mut answer = Vec::new();
        // All of it is here and of the right shape, so nothing larger than it can be asked for.
        let limits = TConfiguration::builder()
            .max_frame_size(None)
            .max_message_size(Some(length))
            .max_string_size(Some(length))
            .max_container_size(Some(shared.limits.items))
            .build()?;
        let mut input = TBinaryInputProtocol::with_config(&buffer[..length], false, limits);
        processor.process(&mut input, &mut TBinaryOutputProtocol::new(&mut answer, true))?;
        stream.within(shared.limits.message_time);
        stream.write_all(&answer)?;
        buffer.drain(..length);
        buffer.shrink_to(KEPT);
    }
}

/// Whether the caller has closed the connection: it doesn't wait for an answer any more, and says anew what it wants. That
/// may be something else by now: a ban that waited in the socket of a process that stood still would last too long.
/// By TLS a caller says farewell, so it is only told apart there once the process comes to read that.
fn is_gone(stream: &TcpStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    rustix::net::recv(stream, &mut [0u8; 1][..], flags).is_ok_and(|(count, _)| count == 0)
}

/// Whoever is refused should learn why. A socket that is closed with something unread takes back what was sent, so
/// what the caller says on is read, for a moment.
fn let_alert_arrive(mut stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
    let mut chunk = [0; CHUNK];
    for _ in 0..4 {
        match stream.read(&mut chunk) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// Reads until a whole message stands at the beginning of `buffer`, and says how long it is.
fn read_message(
    stream: &mut Timed,
    buffer: &mut Vec<u8>,
    peer: &Peer,
    shared: &Shared,
) -> Result<usize, Over> {
    let limits = &shared.limits;
    let proven = peer.proven.load(Ordering::Relaxed);
    let limit = if proven { limits.message } else { limits.unproven_message };
    let mut scanner = Scanner::new(limit, limits.items);
    let mut chunk = [0; CHUNK];
    stream.within(match (buffer.is_empty(), proven) {
        (false, _) => limits.message_time,
        (true, true) => limits.idle,
        (true, false) => limits.unproven_idle,
    });
    loop {
        match scanner.advance(buffer)? {
            Step::Done(length) => return Ok(length),
            Step::Key(place) => {
                if shared.service.key.is(&buffer[place]) {
                    peer.proven.store(true, Ordering::Relaxed);
                    scanner.set_limit(limits.message);
                }
            }
            Step::More => {
                let count = match stream.read(&mut chunk) {
                    Ok(0) if buffer.is_empty() => return Err(Over::Closed),
                    Ok(0) => return Err(Over::Truncated),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error.into()),
                };
                if buffer.is_empty() {
                    stream.within(limits.message_time);
                }
                buffer.extend_from_slice(&chunk[..count]);
            }
        }
    }
}
