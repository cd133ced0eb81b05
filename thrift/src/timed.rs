//! A connection on which a whole message has a deadline, however slowly its bytes come or go; plain, or by TLS.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::Connection;

/// One direction of a connection. Whoever holds a clone can move the deadline.
#[derive(Clone, Debug)]
pub struct Timed {
    socket: Socket,
    /// Both directions have the one session.
    tls: Option<Arc<Mutex<Connection>>>,
}

impl Timed {
    /// A direction of `stream` whose deadline is now, so that [`Timed::within`] must be called before it is used.
    #[must_use]
    pub fn new(stream: Arc<TcpStream>) -> Self {
        Self { socket: Socket::new(stream), tls: None }
    }

    /// Agrees with the other side on `session`, within `length`; gives both directions, for reading and for writing.
    ///
    /// # Errors
    /// Where the other side is too slow, doesn't speak TLS, or isn't who it should be; it is told so.
    pub fn by_tls(
        stream: Arc<TcpStream>,
        session: impl Into<Connection>,
        length: Duration,
    ) -> io::Result<(Self, Self)> {
        let mut session = session.into();
        let mut socket = Socket::new(Arc::clone(&stream));
        socket.within(length);
        while session.is_handshaking() {
            go_on(&mut session, &mut socket)?;
        }
        // What is left to be said, such as our certificate.
        while session.wants_write() {
            session.write_tls(&mut socket)?;
        }
        let tls = Some(Arc::new(Mutex::new(session)));
        let direction = |socket| Self { socket, tls: tls.clone() };
        Ok((direction(Socket::new(Arc::clone(&stream))), direction(Socket::new(stream))))
    }

    /// What is read or written from now on must be done within `length`.
    pub fn within(&self, length: Duration) {
        self.socket.within(length);
    }
}

fn lock(tls: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One step of a session: sends what must be sent, else takes in what has come.
fn go_on(session: &mut Connection, socket: &mut Socket) -> io::Result<()> {
    if session.wants_write() {
        session.write_tls(socket)?;
        return Ok(());
    }
    let ended = session.read_tls(socket)? == 0;
    match session.process_new_packets() {
        Err(error) => {
            // Why, in an alert; whether it arrives makes no difference here.
            let _ = session.write_tls(socket);
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Ok(_) if ended && session.is_handshaking() => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(()),
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.socket.read(bytes) };
        let mut session = lock(tls);
        loop {
            match session.reader().read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            go_on(&mut session, &mut self.socket)?;
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.socket.write(bytes) };
        let mut session = lock(tls);
        // The session takes what it has room for.
        let taken = session.writer().write(bytes)?;
        while session.wants_write() {
            session.write_tls(&mut self.socket)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket below, with its deadline.
#[derive(Clone, Debug)]
struct Socket {
    stream: Arc<TcpStream>,
    deadline: Arc<Mutex<Instant>>,
}

impl Socket {
    fn new(stream: Arc<TcpStream>) -> Self {
        Self { stream, deadline: Arc::new(Mutex::new(Instant::now())) }
    }

    fn within(&self, length: Duration) {
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

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        (&*self.stream).read(bytes).map_err(name_timeouts)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        (&*self.stream).write(bytes).map_err(name_timeouts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
