//! Ends the live connections of whoever is banned (`--cut-established`).
//!
//! A ban drops each packet that comes in, so a banned client gets nothing more done; but the sockets of its connections
//! stay open at the local server until that gives up on them, and what is forwarded stays in the table of
//! connections. Here they are ended at once: sockets of this host by `ss -K`, forwarded ones by `conntrack -D`.
//!
//! Bans don't wait for it. They are in the kernel first; a thread does the rest, from a queue with an end: what
//! doesn't find room there is counted, and its connections end as they would without this.

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use model::network::Network;

use super::program::Program;
use super::{Enforcer, EnforcerError};

/// Targets that may wait.
const WAITING: usize = 10_000;
/// Targets for one run of `ss`.
const IN_RUN: usize = 50;
/// How many connections the kernel follows; the file is there where it does so at all.
const FOLLOWED: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// An enforcer that ends live connections besides.
pub struct Cutting {
    enforcer: Box<dyn Enforcer>,
    queue: SyncSender<Network>,
    /// How many found no room in the queue.
    lost: u64,
}

impl Cutting {
    /// The same enforcer, cutting; and what a person should know of what can't be cut here.
    ///
    /// # Errors
    /// Where the system has no thread for it.
    pub fn new(enforcer: Box<dyn Enforcer>) -> Result<(Self, Vec<String>), EnforcerError> {
        let mut warnings = Vec::new();
        let mut find = |name: &str, what: &str| match Program::find(name) {
            Ok(program) => Some(program),
            Err(error) => {
                warnings.push(format!("--cut-established can't end {what}: {error}"));
                None
            }
        };
        let ss = find("ss", "connections to this host");
        let conntrack = find("conntrack", "forwarded connections");
        if ss.as_ref().is_some_and(|ss| kernel_cuts(ss) == Some(false)) {
            warnings.push(
                "--cut-established can't end connections to this host: the kernel is without \
                 CONFIG_INET_DIAG_DESTROY, or we are without CAP_NET_ADMIN"
                    .to_owned(),
            );
        }
        let (queue, targets) = sync_channel(WAITING);
        let cutter = Cutter { ss, conntrack, failing: false };
        thread::Builder::new()
            .name("cut".to_owned())
            .spawn(move || cutter.work(&targets))
            .map_err(|error| EnforcerError::Failed(format!("can't start a thread: {error}")))?;
        Ok((Self { enforcer, queue, lost: 0 }, warnings))
    }
}

impl Enforcer for Cutting {
    fn name(&self) -> &'static str {
        self.enforcer.name()
    }

    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        self.enforcer.apply(block, unblock)?;
        for &(target, _) in block {
            if let Err(TrySendError::Full(_)) = self.queue.try_send(target) {
                self.lost += 1;
                if self.lost.is_power_of_two() {
                    tracing::warn!(self.lost, "too many new bans at once to end all of their connections");
                }
            }
        }
        Ok(())
    }

    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        self.enforcer.held()
    }

    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.enforcer.remove()
    }
}

struct Cutter {
    ss: Option<Program>,
    conntrack: Option<Program>,
    failing: bool,
}

impl Cutter {
    fn work(mut self, targets: &Receiver<Network>) {
        while let Ok(first) = targets.recv() {
            let batch: Vec<Network> =
                [first].into_iter().chain(targets.try_iter().take(IN_RUN - 1)).collect();
            let outcome = self.cut(&batch);
            if let Err(error) = &outcome
                && !self.failing
            {
                tracing::warn!(%error, "connections of banned addresses can't be ended; the bans are in force");
            }
            self.failing = outcome.is_err();
        }
    }

    fn cut(&self, batch: &[Network]) -> Result<(), EnforcerError> {
        if let Some(ss) = &self.ss {
            let said =
                ss.run(&["-K", "-t", "-n", "-H", "state", "connected", &filter(batch)], String::new())?;
            if !said.well {
                return Err(ss.refused("ending connections", &said));
            }
        }
        let Some(conntrack) = self.conntrack.as_ref() else { return Ok(()) };
        for target in batch {
            // Where no connection is followed, the module isn't to be loaded for that.
            if matches!(std::fs::read_to_string(FOLLOWED).as_deref().map(str::trim), Err(_) | Ok("0")) {
                break;
            }
            let family = if target.first().is_ipv4() { "ipv4" } else { "ipv6" };
            let said = conntrack.run(&["-D", "-f", family, "-s", &literal(target)], String::new())?;
            // Whoever had none is said to have failed.
            if !said.well && !said.complaint.contains(" 0 flow entries") {
                return Err(conntrack.refused("ending forwarded connections", &said));
            }
        }
        Ok(())
    }
}

/// The filter of `ss` for connections with any of these.
fn filter(targets: &[Network]) -> String {
    let one = |target: &Network| match target.first().is_ipv4() {
        true => format!("dst = {}", literal(target)),
        false => format!("dst = [{}]", literal(target)),
    };
    format!("( {} )", targets.iter().map(one).collect::<Vec<_>>().join(" or "))
}

fn literal(target: &Network) -> String {
    format!("{}/{}", target.first(), target.prefix())
}

/// Whether the kernel ends a connection that we ask for, tried with one of our own; `None` where that can't be tried.
fn kernel_cuts(ss: &Program) -> Option<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    let server = listener.local_addr().ok()?;
    let mut client = TcpStream::connect_timeout(&server, Duration::from_secs(1)).ok()?;
    let address = client.local_addr().ok()?;
    client.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    let filter = format!("( src = {address} and dst = {server} )");
    ss.run(&["-K", "-t", "-n", "-H", "state", "connected", &filter], String::new()).ok()?;
    // Nobody sends anything, so it ends or there's nothing to read in time.
    let error = client.read_exact(&mut [0]).err()?;
    Some(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::super::dry_run::DryRun;
    use super::*;

    #[test]
    fn filters_name_targets_and_nothing_else() {
        let targets = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/64"].map(|text| text.parse().unwrap());
        assert_eq!(filter(&targets), "( dst = 10.0.0.0/8 or dst = 192.0.2.1/32 or dst = [2001:db8::/64] )");
    }

    #[test]
    fn no_ban_waits_for_it() {
        // Nobody takes anything from this queue.
        let (queue, _targets) = sync_channel(2);
        let enforcer = Box::new(DryRun::new(crate::clock::machine()));
        let mut cutting = Cutting { enforcer, queue, lost: 0 };
        let bans: Vec<_> =
            (0..100u8).map(|low| (Network::host([192, 0, 2, low].into()), Duration::from_secs(60))).collect();
        cutting.apply(&bans, &[]).unwrap();
        assert_eq!((cutting.held().unwrap().len(), cutting.lost), (100, 98));
        assert_eq!(cutting.name(), "dry_run");
    }
}
