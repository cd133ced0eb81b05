//! The socket to nf_tables: transactions and listings, none of which waits for ever.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

use super::attributes::Attributes;
use super::message::{self, Answer, Batch};

/// The kernel answers within the call that asks, so this only ends what would hang for ever.
const PATIENCE: Duration = Duration::from_secs(5);
/// The kernel never sends more than 32 KiB at once.
const RECEIVE: usize = 64 << 10;
/// Room for a datagram with 250,000 bans, and for the answers where all of it is refused.
const BUFFERS: usize = 32 << 20;
/// How often something is tried that may go well the next time.
const ATTEMPTS: u32 = 5;

/// A connection to the kernel's nf_tables, in the network namespace of the thread that opened it.
pub(super) struct Kernel {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Kernel {
    pub(super) fn open() -> Result<Self, Errno> {
        Ok(Self { socket: socket()?, sequence: 1, buffer: vec![0; RECEIVE] })
    }

    /// How many bytes a transaction may have.
    pub(super) fn room(&self) -> usize {
        // The kernel keeps some of it for itself.
        sockopt::socket_send_buffer_size(&self.socket).map_or(64 << 10, |size| size.saturating_sub(4096))
    }

    /// A transaction to fill.
    pub(super) fn begin(&self) -> Batch {
        Batch::new(self.sequence)
    }

    /// Does all of a transaction or nothing of it.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), Errno> {
        let (first, last) = (batch.first, batch.last);
        self.sequence = last.wrapping_add(1);
        let bytes = batch.finish();
        retried(|| {
            rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
            self.outcome(first, last)
        })
    }

    fn outcome(&mut self, first: u32, last: u32) -> Result<(), Errno> {
        let mut outcome = None;
        let mut lost = false;
        loop {
            // When the first answer is there all are; what is left over is read so that it isn't in the way.
            let flags = if outcome.is_some() || lost { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
            let length = match rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), flags) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                // Some answers had no room, and the others are there. What has no room is a refusal.
                Err(Errno::NOBUFS) => {
                    lost = true;
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            for message in message::read(&self.buffer[..length]) {
                let ours = message.sequence.wrapping_sub(first) <= last.wrapping_sub(first);
                match message.answer {
                    Answer::Result(0) if message.sequence == last => outcome = outcome.or(Some(Ok(()))),
                    Answer::Result(number) if ours && number != 0 && !matches!(outcome, Some(Err(_))) => {
                        outcome = Some(Err(errno(number)));
                    }
                    _ => {}
                }
            }
        }
        match outcome {
            Some(Ok(())) if lost => Err(Errno::NOBUFS),
            Some(outcome) => outcome,
            None if lost => Err(Errno::NOBUFS),
            None => Err(Errno::TIMEDOUT),
        }
    }

    /// Lists things of a kind: the attributes of each. A list that changes interrupted is made again, a few
    /// times: others may change other tables without end.
    pub(super) fn list(
        &mut self,
        kind: u16,
        request: impl Fn(&mut Attributes<'_>),
    ) -> Result<Vec<Vec<u8>>, Errno> {
        let mut items = Vec::new();
        for _ in 0..ATTEMPTS {
            let whole = retried(|| {
                items.clear();
                self.list_once(kind, &request, &mut items)
            })?;
            if whole {
                break;
            }
        }
        Ok(items)
    }

    /// Whether nothing interrupted it.
    fn list_once(
        &mut self,
        kind: u16,
        request: impl Fn(&mut Attributes<'_>),
        items: &mut Vec<Vec<u8>>,
    ) -> Result<bool, Errno> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        rustix::net::send(&self.socket, &message::list(kind, sequence, request), SendFlags::empty())?;
        let mut whole = true;
        loop {
            let length = match rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty())
            {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    // The rest of the list would be in the way of the next one.
                    self.socket = socket()?;
                    return Err(if errno == Errno::AGAIN { Errno::TIMEDOUT } else { errno });
                }
            };
            for message in message::read(&self.buffer[..length]).filter(|m| m.sequence == sequence) {
                whole &= !message.interrupted;
                match message.answer {
                    Answer::Item(attributes) => items.push(attributes.to_owned()),
                    Answer::End(0) => return Ok(whole),
                    Answer::End(number) | Answer::Result(number) => return Err(errno(number)),
                }
            }
        }
    }
}

/// An error by the number that the kernel gave it.
fn errno(number: i32) -> Errno {
    if (1..4096).contains(&number) { Errno::from_raw_os_error(number) } else { Errno::IO }
}

fn socket() -> Result<OwnedFd, Errno> {
    let (family, kind, flags) = (AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, kind, flags, Some(netlink::NETFILTER))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    // In some containers we may only have what the system allows everybody; then transactions are smaller.
    if sockopt::set_socket_send_buffer_size_force(&socket, BUFFERS).is_err() {
        sockopt::set_socket_send_buffer_size(&socket, BUFFERS)?;
    }
    if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFERS).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, BUFFERS)?;
    }
    Ok(socket)
}

/// Tries again, a little later each time, where the kernel was only short of something for the moment.
fn retried<T>(mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut pause = Duration::from_millis(2);
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(Errno::AGAIN | Errno::INTR | Errno::BUSY | Errno::NOMEM | Errno::NOBUFS) => {
                std::thread::sleep(pause);
                pause *= 4;
            }
            outcome => return outcome,
        }
    }
    attempt()
}
