//! What people ask for, as a stream: whoever asks waits until what came of it is kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bolts::ports::CommandReplies;
use bolts::tuples::{Command, CommandOrder, Reply};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use engine::{BatchId, Next, Spout, Timestamp};

/// So many commands may wait.
const WAITING: usize = 1_024;

/// Takes commands from any thread.
#[derive(Clone)]
pub struct Commander {
    queue: Sender<(u64, CommandOrder)>,
    taken: Receiver<(u64, CommandOrder)>,
    asked: Arc<Asked>,
}

/// Who waits for which answer.
#[derive(Default)]
struct Asked {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

struct Waiting {
    reply: Option<Reply>,
    to: Sender<Reply>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// Too many commands wait already.
    #[error("too many commands wait already; try again")]
    Busy,
    /// It took too long. The command may still be done.
    #[error("no answer in time; the command may still be done")]
    Late,
    /// The program is ending.
    #[error("the program is ending")]
    Ending,
}

impl Default for Commander {
    fn default() -> Self {
        let (queue, taken) = bounded(WAITING);
        Self { queue, taken, asked: Arc::default() }
    }
}

impl Commander {
    /// Asks for something, and waits until it is kept.
    ///
    /// # Errors
    /// Where there is no answer within `patience`.
    pub fn ask(&self, order: CommandOrder, patience: Duration) -> Result<Reply, NoReply> {
        let id = self.asked.next.fetch_add(1, Ordering::Relaxed);
        let (to, reply) = bounded(1);
        self.asked.lock().insert(id, Waiting { reply: None, to });
        let sent = self.queue.try_send((id, order)).map_err(|error| match error {
            TrySendError::Full(_) => NoReply::Busy,
            TrySendError::Disconnected(_) => NoReply::Ending,
        });
        let reply = sent.and_then(|()| {
            reply.recv_timeout(patience).map_err(|error| match error {
                RecvTimeoutError::Timeout => NoReply::Late,
                RecvTimeoutError::Disconnected => NoReply::Ending,
            })
        });
        self.asked.lock().remove(&id);
        reply
    }

    /// Asks for something, and doesn't wait. `false` where too many commands wait already.
    #[must_use]
    pub fn tell(&self, order: CommandOrder) -> bool {
        let id = self.asked.next.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send((id, order)).is_ok()
    }

    /// The stream of what was asked for.
    #[must_use]
    pub fn spout(&self) -> Commands {
        Commands { taken: self.taken.clone(), asked: self.asked.clone() }
    }
}

impl CommandReplies for Commander {
    fn reply(&self, id: u64, reply: Reply) {
        if let Some(waiting) = self.asked.lock().get_mut(&id) {
            waiting.reply = Some(reply);
        }
    }
}

impl Asked {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The spout.
pub struct Commands {
    taken: Receiver<(u64, CommandOrder)>,
    asked: Arc<Asked>,
}

impl Spout for Commands {
    type Out = Command;

    fn next(&mut self, now: Timestamp) -> Next<Command> {
        match self.taken.try_recv() {
            Ok((id, order)) => Next::Emit(Command { id, at: super::moment(now), order }),
            Err(_) => Next::Idle,
        }
    }

    fn ack(&mut self, _: BatchId, command: Command) {
        // All that came of it is done, so it is kept and the lanes to the agents know.
        if let Some(Waiting { reply: Some(reply), to }) = self.asked.lock().remove(&command.id) {
            // Whoever asked may have lost patience.
            drop(to.try_send(reply));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::network::Network;
    use model::units::Moment;

    #[test]
    fn the_answer_comes_with_the_ack() {
        let commander = Commander::default();
        let mut spout = commander.spout();
        let target: Network = "203.0.113.9".parse().unwrap();
        let asker = commander.clone();
        let asking =
            std::thread::spawn(move || asker.ask(CommandOrder::Unban(target), Duration::from_secs(60)));
        let command = loop {
            if let Next::Emit(command) = spout.next(Timestamp::from_secs(7)) {
                break command;
            }
            std::thread::yield_now();
        };
        assert_eq!((command.at, &command.order), (Moment(7_000), &CommandOrder::Unban(target)));
        let refused = Reply::Refused("no".to_owned());
        commander.reply(command.id, refused.clone());
        assert!(!asking.is_finished(), "it isn't kept yet");
        spout.ack(BatchId(0), command);
        assert_eq!(asking.join().unwrap(), Ok(refused));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let commander = Commander::default();
        let late = commander.ask(CommandOrder::Release(None), Duration::ZERO);
        assert_eq!(late, Err(NoReply::Late));
        while commander.tell(CommandOrder::Release(None)) {}
        assert_eq!(commander.ask(CommandOrder::Release(None), Duration::ZERO), Err(NoReply::Busy));
        assert!(commander.asked.lock().is_empty());
    }
}
