//! A connection on which a whole message has a deadline, however slowly its bytes come or go.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One direction of a connection. Whoever holds a clone can move the deadline.
#[derive(Clone, Debug)]
pub struct Timed {
    stream: Arc<TcpStream>,
    deadline: Arc<Mutex<Instant>>,
}

impl Timed {
    /// A direction of `stream` whose deadline is now, so that [`Timed::within`] must be called before it is used.
    #[must_use]
    pub fn new(stream: Arc<TcpStream>) -> Self {
        Self { stream, deadline: Arc::new(Mutex::new(Instant::now())) }
    }

    /// What is read or written from now on must be done within `length`.
    pub fn within(&self, length: Duration) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + length;
    }

    /// The time that is left.
    fn left(&self) -> io::Result<Duration> {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            // The system counts in microseconds, and takes none for no limit.
            left => Ok(left.max(Duration::from_millis(1))),
        }
    }
}

/// Linux says `WouldBlock` where a socket's time is over.
fn name_timeouts(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        (&*self.stream).read(bytes).map_err(name_timeouts)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        (&*self.stream).write(bytes).map_err(name_timeouts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
