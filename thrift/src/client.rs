//! Calls an agent: a connection with deadlines, one call at a time, in the pairing that agents have always spoken
//! (TBinaryProtocol over an unframed, buffered socket).

use std::io::{BufReader, BufWriter};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use thrift::TConfiguration;
use thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};

use crate::generated::{
    CCfirewallAgentSyncClient, TCCfirewallAgentSyncClient as _, TCCfirewallSyncClient as _,
};
use crate::tls::ClientTls;
use crate::{Answer, Ban, Held, Status, Timed};

/// How long an agent may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until it accepts a connection.
    pub connect: Duration,
    /// Until it has answered a call, from the moment at which the call was sent.
    pub read: Duration,
    /// Until it has taken a call.
    pub write: Duration,
}

impl Default for Timeouts {
    /// 2 s to connect, 10 s to take a call, 10 s to answer it.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            read: Duration::from_secs(10),
            write: Duration::from_secs(10),
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("no connection to the agent at {address}: {cause} (does it run, and is the port open?)")]
    Connect {
        /// Where it should be.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// There is a connection, but no agreement by TLS.
    #[error("the agent at {address} can't be spoken to by TLS: {cause}")]
    Tls {
        /// Where it is.
        address: SocketAddr,
        /// What is wrong with it, or with what it showed.
        cause: std::io::Error,
    },
    /// The agent answered that it can't; the connection can be used further. An agent that doesn't know a call
    /// (those of 2016 know only the two oldest) is of kind `UnknownMethod`.
    #[error("the agent at {address} refused the call: {cause}")]
    Refused {
        /// Where it is.
        address: SocketAddr,
        /// What it says.
        cause: thrift::ApplicationError,
    },
    /// The connection broke, or what came over it wasn't an answer. Whether the call was done isn't known.
    #[error("the agent at {address} didn't answer: {} (connect again)", said(.cause))]
    Broken {
        /// Where it is.
        address: SocketAddr,
        /// What happened.
        cause: thrift::Error,
    },
}

/// The library tells a transport's troubles by their kind, and has no kind for most of them.
fn said(cause: &thrift::Error) -> String {
    match cause {
        thrift::Error::Transport(cause) if cause.kind == thrift::TransportErrorKind::Unknown => {
            cause.message.clone()
        }
        other => other.to_string(),
    }
}

impl CallError {
    /// Whether the agent doesn't know the call.
    #[must_use]
    pub fn is_unknown_method(&self) -> bool {
        let unknown = thrift::ApplicationErrorKind::UnknownMethod;
        matches!(self, Self::Refused { cause, .. } if cause.kind == unknown)
    }
}

type Calls = CCfirewallAgentSyncClient<
    TBinaryInputProtocol<BufReader<Timed>>,
    TBinaryOutputProtocol<BufWriter<Timed>>,
>;

/// A connection to an agent. After [`CallError::Broken`] it is of no use any more: drop it and connect again.
pub struct Client {
    address: SocketAddr,
    timeouts: Timeouts,
    reading: Timed,
    writing: Timed,
    calls: Calls,
    broken: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, timeouts, broken, .. } = self;
        f.debug_struct("Client")
            .field("address", address)
            .field("timeouts", timeouts)
            .field("broken", broken)
            .finish_non_exhaustive()
    }
}

/// No answer of an agent is larger: a million bans.
const MAX_ITEMS: usize = 1_000_000;
const MAX_ANSWER: usize = 128 << 20;

impl Client {
    /// Connects to the agent at `address`.
    ///
    /// # Errors
    /// [`CallError::Connect`] where there is no connection in time.
    pub fn connect(address: SocketAddr, timeouts: Timeouts) -> Result<Self, CallError> {
        let stream = open(address, timeouts)?;
        Ok(Self::new(address, timeouts, Timed::new(Arc::clone(&stream)), Timed::new(stream)))
    }

    /// Connects by TLS to the agent at `address`, whose certificate must be for `name`: a host name, or an address
    /// as text. The agreement may take as long as a connection, once more.
    ///
    /// # Errors
    /// [`CallError::Connect`] where there is no connection in time, [`CallError::Tls`] where it isn't whom we expect
    /// or doesn't believe us.
    pub fn connect_by_tls(
        address: SocketAddr,
        tls: &ClientTls,
        name: &str,
        timeouts: Timeouts,
    ) -> Result<Self, CallError> {
        let failed = |cause| CallError::Tls { address, cause };
        let session = tls.session(name).map_err(|error| failed(std::io::Error::other(error)))?;
        let stream = open(address, timeouts)?;
        let (reading, writing) = Timed::by_tls(stream, session, timeouts.connect).map_err(failed)?;
        Ok(Self::new(address, timeouts, reading, writing))
    }

    fn new(address: SocketAddr, timeouts: Timeouts, reading: Timed, writing: Timed) -> Self {
        let limits = TConfiguration::builder()
            .max_message_size(Some(MAX_ANSWER))
            .max_string_size(Some(MAX_ANSWER))
            .max_container_size(Some(MAX_ITEMS))
            .build()
            .expect("the frame size, which isn't used, is smaller");
        let input = TBinaryInputProtocol::with_config(BufReader::new(reading.clone()), false, limits.clone());
        let output = TBinaryOutputProtocol::with_config(BufWriter::new(writing.clone()), true, limits);
        let calls = CCfirewallAgentSyncClient::new(input, output);
        Self { address, timeouts, reading, writing, calls, broken: false }
    }

    /// Where the agent is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a call has broken the connection, so that no further one can be made on it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The call of 2016: bans one IP address for the agent's own longest time. The text that comes back is read by
    /// [`crate::flag::from_text`].
    ///
    /// # Errors
    /// Where no answer came.
    pub fn block_ip(&mut self, mkey: &str, ip: &str) -> Result<String, CallError> {
        self.call(|calls| calls.blockipbyiptables(mkey.to_owned(), ip.to_owned()))
    }

    /// The call of 2016: lets one IP address through again.
    ///
    /// # Errors
    /// Where no answer came.
    pub fn unblock_ip(&mut self, mkey: &str, ip: &str) -> Result<String, CallError> {
        self.call(|calls| calls.unblockipbyiptables(mkey.to_owned(), ip.to_owned()))
    }

    /// Puts bans in force, or sets how long they still hold, and lifts others.
    ///
    /// # Errors
    /// Where no answer came.
    pub fn apply(
        &mut self,
        mkey: &str,
        epoch: i64,
        block: Vec<Ban>,
        unblock: Vec<String>,
    ) -> Result<Answer, CallError> {
        self.call(|calls| calls.apply(mkey.to_owned(), epoch, block, unblock))
    }

    /// Sends a part of the full desired state. All parts go over one connection, the `first` begins it, and with the
    /// `last` one it is put in force.
    ///
    /// # Errors
    /// Where no answer came.
    pub fn sync(
        &mut self,
        mkey: &str,
        epoch: i64,
        bans: Vec<Ban>,
        first: bool,
        last: bool,
    ) -> Result<Answer, CallError> {
        self.call(|calls| calls.sync(mkey.to_owned(), epoch, bans, first, last))
    }

    /// Asks what is held, from `offset` on, at most `limit`.
    ///
    /// # Errors
    /// Where no answer came.
    pub fn held(&mut self, mkey: &str, offset: i64, limit: i32) -> Result<Held, CallError> {
        self.call(|calls| calls.held(mkey.to_owned(), offset, limit))
    }

    /// Asks how the agent is.
    ///
    /// # Errors
    /// Where no answer came.
    pub fn status(&mut self, mkey: &str) -> Result<Status, CallError> {
        self.call(|calls| calls.status(mkey.to_owned()))
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Calls) -> thrift::Result<T>) -> Result<T, CallError> {
        let address = self.address;
        if self.broken {
            let cause = thrift::Error::from("the connection was given up");
            return Err(CallError::Broken { address, cause });
        }
        self.writing.within(self.timeouts.write);
        self.reading.within(self.timeouts.write + self.timeouts.read);
        call(&mut self.calls).map_err(|error| match error {
            // The kinds that an agent sends; the others are those of our own side, which can't make sense of it.
            thrift::Error::Application(cause) if is_an_answer(&cause) => {
                CallError::Refused { address, cause }
            }
            cause => {
                self.broken = true;
                CallError::Broken { address, cause }
            }
        })
    }
}

fn open(address: SocketAddr, timeouts: Timeouts) -> Result<Arc<TcpStream>, CallError> {
    let open = || {
        let stream = TcpStream::connect_timeout(&address, timeouts.connect)?;
        stream.set_nodelay(true)?;
        Ok(Arc::new(stream))
    };
    open().map_err(|cause| CallError::Connect { address, cause })
}

fn is_an_answer(error: &thrift::ApplicationError) -> bool {
    use thrift::ApplicationErrorKind::{BadSequenceId, InvalidMessageType, MissingResult, WrongMethodName};
    !matches!(error.kind, BadSequenceId | InvalidMessageType | MissingResult | WrongMethodName)
}
