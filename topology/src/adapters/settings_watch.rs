//! The thread that keeps the settings in force up to date: it goes to their source whenever that has news, and as often
//! as the source wants it, and every 5 s it looks for addresses that this machine needs.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use model::network::Network;
use model::units::Moment;

use super::host::{Guard, HostGuards};

/// Where settings come from: a file, or ZooKeeper.
pub trait SettingsSource: Send + 'static {
    /// What tells that there is something new.
    fn news(&self) -> Receiver<()>;

    /// How often it has to be gone to where it tells nothing.
    fn look_every(&self) -> Duration;

    /// Puts in force what is new, and tells what is wrong; `now` is the clock.
    fn step(&mut self, now: Moment);

    /// Says which addresses the machine itself needs. Where they are others than before, they come into force.
    fn protect(&mut self, guards: Vec<(Network, Guard)>);
}

/// How often addresses to protect are looked for.
const SCAN: Duration = Duration::from_secs(5);

/// The running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct SettingsWatch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SettingsWatch {
    /// Looks for the addresses to protect once, so that they are in force when this returns, and goes on in a
    /// thread.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub fn start(mut source: impl SettingsSource, mut guards: HostGuards) -> io::Result<Self> {
        source.protect(guards.scan(Instant::now()));
        let (stop, stopped) = bounded::<()>(0);
        let (news, look) = (source.news(), source.look_every());
        let watch = move || {
            let mut scanned = Instant::now();
            loop {
                select! {
                    recv(stopped) -> _ => break,
                    recv(news) -> _ => {}
                    default(look) => {}
                }
                source.step(now());
                if scanned.elapsed() >= SCAN {
                    scanned = Instant::now();
                    source.protect(guards.scan(scanned));
                }
            }
        };
        let thread = Builder::new().name("settings".to_owned()).spawn(watch)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for SettingsWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        let panicked = self.thread.take().is_some_and(|thread| thread.join().is_err());
        if panicked && !thread::panicking() {
            tracing::error!("the watch over the settings had stopped: changes since then aren't in force");
        }
    }
}

/// The clock.
fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
