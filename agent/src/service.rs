//! The calls as the interface has them: checks the key, reads targets and times, asks the keeper, and answers in
//! the interface's types.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ccfirewall_thrift::generated::{CCfirewallAgentSyncHandler, CCfirewallSyncHandler};
use ccfirewall_thrift::{Answer, Ban, Held, Status, flag, generated};
use model::network::Network;
use model::units::Seconds;

use crate::keeper::{Applied, Keeper, Outcome, Read, Wanted, over};
use crate::key::Key;
use crate::ready::Ready;
use crate::registration::Unlisted;

/// After a wrong key the connection waits so long, to make guessing slow.
const AFTER_WRONG_KEY: Duration = Duration::from_millis(100);
/// A ban lasts at most so long; what is longer is cut. 136 years: no enforcer need count further.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);
/// At most so many bans in one answer of `held`.
const MAX_HELD: usize = 100_000;

/// What all connections share.
pub(crate) struct Service {
    pub(crate) keeper: Keeper,
    pub(crate) key: Key,
    pub(crate) legacy_max: Seconds,
    /// Chosen anew at each start.
    pub(crate) instance: String,
    /// What a person should know, from the start on.
    pub(crate) warnings: Vec<String>,
    pub(crate) wrong_keys: AtomicU64,
    /// Whether an owner's full state is in force.
    pub(crate) ready: Arc<Ready>,
    /// Whether something is wrong with its node in ZooKeeper.
    pub(crate) unlisted: Arc<Unlisted>,
}

/// The calls of one connection.
pub(crate) struct Calls {
    pub(crate) service: Arc<Service>,
    pub(crate) connection: u64,
}

impl Calls {
    /// Refuses whoever doesn't know the key.
    fn check(&self, mkey: &str) -> Result<(), Outcome> {
        if self.service.key.is(mkey.as_bytes()) {
            return Ok(());
        }
        let so_far = self.service.wrong_keys.fetch_add(1, Ordering::Relaxed) + 1;
        // Whoever guesses mustn't fill the log.
        if so_far.is_power_of_two() {
            tracing::warn!(connection = self.connection, so_far, "a call came with a wrong key");
        }
        thread::sleep(AFTER_WRONG_KEY);
        Err(Outcome::new(flag::WRONG_KEY, "wrong mkey"))
    }

    fn legacy(&self, mkey: &str, ip: &str, call: impl FnOnce(Network) -> Outcome) -> String {
        let outcome = self.check(mkey).and_then(|()| read_address(ip)).map_or_else(|refused| refused, call);
        flag::to_text(outcome.flag, &outcome.result)
    }
}

impl CCfirewallSyncHandler for Calls {
    fn handle_blockipbyiptables(&self, mkey: String, ip: String) -> thrift::Result<String> {
        let length = Duration::from_secs(self.service.legacy_max.0.into());
        Ok(self.legacy(&mkey, &ip, |target| self.service.keeper.block_ip(target, length)))
    }

    fn handle_unblockipbyiptables(&self, mkey: String, ip: String) -> thrift::Result<String> {
        Ok(self.legacy(&mkey, &ip, |target| self.service.keeper.unblock_ip(target)))
    }
}

impl CCfirewallAgentSyncHandler for Calls {
    fn handle_apply(
        &self,
        mkey: String,
        epoch: i64,
        block: Vec<Ban>,
        unblock: Vec<String>,
    ) -> thrift::Result<Answer> {
        let keeper = &self.service.keeper;
        Ok(answer(self.check(&mkey).and_then(|()| {
            let block = read_bans(block, keeper.now());
            let unblock: Vec<_> = unblock.iter().map(|target| read_target(target)).collect();
            keeper.apply(epoch, &block, &unblock)
        })))
    }

    fn handle_sync(
        &self,
        mkey: String,
        epoch: i64,
        bans: Vec<Ban>,
        first: bool,
        last: bool,
    ) -> thrift::Result<Answer> {
        let keeper = &self.service.keeper;
        Ok(answer(self.check(&mkey).and_then(|()| {
            let bans = read_bans(bans, keeper.now());
            let taken = keeper.sync(self.connection, epoch, &bans, first, last)?;
            if last {
                self.service.ready.become_so();
            }
            Ok(taken)
        })))
    }

    fn handle_held(&self, mkey: String, offset: i64, limit: i32) -> thrift::Result<Held> {
        let held = self.check(&mkey).and_then(|()| self.service.keeper.held());
        let held = match held {
            Ok(held) => held,
            Err(Outcome { flag, result }) => return Ok(Held::new(flag, result, Vec::new())),
        };
        let offset = usize::try_from(offset.max(0)).unwrap_or(usize::MAX);
        let limit = usize::try_from(limit.max(0)).unwrap_or(0).min(MAX_HELD);
        let result = format!("{} in all", held.len());
        let bans = held.iter().skip(offset).take(limit).map(|(target, left)| {
            let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
            Ban::new(target.to_string(), left, String::new())
        });
        Ok(Held::new(flag::DONE, result, bans.collect::<Vec<_>>()))
    }

    fn handle_status(&self, mkey: String) -> thrift::Result<Status> {
        if let Err(Outcome { flag, result }) = self.check(&mkey) {
            return Ok(Status { flag: Some(flag), result: Some(result), ..Status::default() });
        }
        let (enforcer, epoch, held) = self.service.keeper.status();
        let mut warnings = self.service.warnings.clone();
        warnings.extend(self.service.unlisted.why());
        let wrong_keys = self.service.wrong_keys.load(Ordering::Relaxed);
        if wrong_keys > 0 {
            warnings.push(format!("{wrong_keys} calls have come with a wrong key since the start"));
        }
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Status {
            flag: Some(flag::DONE),
            result: Some("alive".to_owned()),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            enforcer: Some(enforcer.to_owned()),
            instance: Some(self.service.instance.clone()),
            epoch: Some(epoch),
            held: i64::try_from(held).ok(),
            clock_ms: i64::try_from(clock.as_millis()).ok(),
            warnings: Some(warnings),
            ready: Some(self.service.ready.is()),
        })
    }
}

/// One address, as the calls of 2016 take it.
fn read_address(text: &str) -> Read<Network> {
    match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(Network::host(address)),
        Err(_) => Err(Outcome::new(flag::INVALID, "not an IP address")),
    }
}

/// An address or a prefix.
fn read_target(text: &str) -> Read<Network> {
    text.parse().map_err(|_| Outcome::new(flag::INVALID, "not an IP address or a prefix"))
}

/// Bans with the moments at which they end, counted from `now`.
fn read_bans(bans: Vec<Ban>, now: Instant) -> Vec<Read<Wanted>> {
    let read = |ban: Ban| {
        let target = read_target(&ban.target.unwrap_or_default())?;
        let left = u64::try_from(ban.left_ms.unwrap_or(0)).unwrap_or(0);
        if left == 0 {
            return Err(over());
        }
        let until = now + Duration::from_millis(left).min(LONGEST);
        Ok(Wanted { target, until, id: ban.id.unwrap_or_default() })
    };
    bans.into_iter().map(read).collect()
}

fn answer(applied: Result<Applied, Outcome>) -> Answer {
    let outcomes = |outcomes: Vec<Outcome>| {
        let typed = |Outcome { flag, result }| generated::Outcome::new(flag, result);
        outcomes.into_iter().map(typed).collect::<Vec<_>>()
    };
    match applied {
        Ok(Applied { result, blocked, unblocked }) => {
            Answer::new(flag::DONE, result, outcomes(blocked), outcomes(unblocked))
        }
        Err(Outcome { flag, result }) => Answer::new(flag, result, Vec::new(), Vec::new()),
    }
}
