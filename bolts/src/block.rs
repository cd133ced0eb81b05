//! Decisions and commands in, changes of the desired state of bans out: asks the guards and the caps, and owns the
//! ledger.
//!
//! One task, for a ban has one owner. With several tasks of analysis it waits until all of them have said what
//! they found in a batch, so that what came of a batch is kept as a whole, or not at all.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use engine::{Bolt, Collector, Timestamp};
use model::ban::{BanId, Change, Ended};
use model::caps::Caps;
use model::ledger::Ledger;
use model::network::{Network, NetworkSet};
use model::settings::Settings;
use model::units::{Moment, Second};
use model::verdict::{Action, Alert, Decision};

use crate::ports::{CommandReplies, PlaceLookup, SettingsPort};
use crate::tuples::{
    BanNow, Blocked, Command, CommandOrder, Due, FindingBatch, KeyBan, KeyBans, LivePart, Reply, Ruled,
    RuledRecord, Ruling,
};

/// A task, of a worker where there are several.
type AnalysisTask = (Option<Arc<str>>, usize);

/// How many established keys of a task are active, and when it said so.
struct Established {
    keys: u64,
    said: Moment,
}

/// A worker that says nothing for so many milliseconds is gone.
const GONE_AFTER: i64 = 60_000;

/// The bolt. One task.
pub struct Block {
    settings: SettingsPort,
    places: Arc<dyn PlaceLookup>,
    replies: Arc<dyn CommandReplies>,
    ledger: Ledger,
    caps: Caps,
    /// What each task of analysis last said.
    established: HashMap<AnalysisTask, Established>,
    /// Batches of which some tasks haven't said yet what they found.
    waiting: HashMap<(Arc<str>, u64), Vec<FindingBatch>>,
    now: Moment,
    /// The version of the settings that bans in force were last looked at with.
    looked_with: u32,
}

impl Block {
    /// Goes on with the ledger as it was before a restart.
    #[must_use]
    pub fn new(
        settings: SettingsPort,
        places: Arc<dyn PlaceLookup>,
        replies: Arc<dyn CommandReplies>,
        ledger: Ledger,
    ) -> Self {
        Self {
            settings,
            places,
            replies,
            caps: Caps::after(&ledger),
            ledger,
            established: HashMap::new(),
            waiting: HashMap::new(),
            now: Moment::default(),
            looked_with: 0,
        }
    }

    fn findings(&mut self, batch: FindingBatch, out: &mut Collector<'_, Ruled>) {
        let Some(live) = &batch.live else { return };
        let (part, of) = live.part;
        let established = Established { keys: live.established, said: live.mark.read_at };
        self.established.insert((live.worker.clone(), part), established);
        if of == 1 {
            return self.rule(vec![batch], out);
        }
        let key = (live.mark.source.clone(), live.mark.batch);
        let parts = self.waiting.entry(key.clone()).or_default();
        parts.push(batch);
        if parts.len() == of {
            let parts = self.waiting.remove(&key).unwrap_or_default();
            self.rule(parts, out);
        }
    }

    /// Rules on all that was found in a batch of lines.
    fn rule(&mut self, parts: Vec<FindingBatch>, out: &mut Collector<'_, Ruled>) {
        let mut work = Work::default();
        for FindingBatch { decisions, records, late, while_banned, live, .. } in parts {
            let Some(LivePart { mark, lines, .. }) = live else { continue };
            self.now = self.now.max(mark.read_at);
            work.ruling.mark = Some(mark);
            work.ruling.late += late;
            work.ruling.while_banned += while_banned;
            let mut bans: VecDeque<Option<BanId>> =
                decisions.iter().map(|decision| self.decide(decision, &mut work)).collect();
            for (at, record) in records.into_iter().enumerate() {
                let decided = matches!(record.alert, Alert::Blocked | Alert::Warned);
                let ban = if decided { bans.pop_front().flatten() } else { None };
                let line = lines.get(at).cloned().unwrap_or_default();
                work.ruling.records.push(RuledRecord { record, ban, line });
            }
        }
        self.emit(work, out);
    }

    /// What a decision leads to; the ban that it is part of.
    fn decide(&mut self, decision: &Decision, work: &mut Work) -> Option<BanId> {
        if decision.action == Action::Warn {
            return None;
        }
        let settings = self.settings.load();
        let settings = settings.settings();
        let target = decision.target;
        let too_old = self.now.second().0 - decision.time.0 > i64::from(settings.max_event_age.0);
        if settings.guards(&target) || too_old {
            // The guards were changed a moment ago, or analysis would have seen it; and it would have seen how old the
            // line was, but the decision may have waited since, where workers had no owner.
            work.key_ban(settings, &target, BanNow::NotEnforced);
            return None;
        }
        self.end(&target, settings, work);
        let Some(change) = self.ledger.decided(decision, self.now) else {
            return self.ledger.in_force(&target, self.now).map(|ban| ban.id);
        };
        let Change::Banned(ban) = change else {
            let id = change.ban().id;
            self.change(change, settings, work);
            return Some(id);
        };
        if let Some(held) = self.ledger.held_for(&target) {
            // It stays held until somebody has looked, or its time is over: room under the cap doesn't mean that
            // what was wrong is mended.
            let id = held.ban.id;
            work.key_ban(settings, &target, BanNow::NotEnforced);
            return Some(id);
        }
        let id = ban.id;
        let established = self.established();
        let change = match self.caps.holds(&ban, settings, established, self.now) {
            Some(cap) => Change::Held { ban, cap },
            None => Change::Banned(ban),
        };
        self.change(change, settings, work);
        Some(id)
    }

    /// How many established clients are active. A worker that was silent for a minute is gone, and its clients are
    /// another's by now.
    fn established(&mut self) -> u64 {
        let now = self.now;
        self.established.retain(|(worker, _), task| worker.is_none() || now.0 - task.said.0 < GONE_AFTER);
        self.established.values().map(|task| task.keys).sum()
    }

    /// Ends a ban whose time is over before its timer says so: another one is about to take its place.
    fn end(&mut self, target: &Network, settings: &Settings, work: &mut Work) {
        if let Some(over) = self.ledger.expired(target, self.now) {
            self.change(over, settings, work);
        }
    }

    /// Puts a held ban in force; one that the guards cover by now is forgotten.
    fn release(&mut self, target: &Network, settings: &Settings, work: &mut Work) {
        if settings.guards(target) {
            return self.discard(target, settings, work);
        }
        self.end(target, settings, work);
        for change in self.ledger.released(target, self.now).into_iter().flatten() {
            self.change(change, settings, work);
        }
    }

    fn discard(&mut self, target: &Network, settings: &Settings, work: &mut Work) {
        if let Some(change) = self.ledger.discarded(target, self.now) {
            self.change(change, settings, work);
        }
    }

    fn command(&mut self, command: Command, out: &mut Collector<'_, Ruled>) {
        self.now = match command.order {
            CommandOrder::ClockStep { .. } => command.at,
            _ => self.now.max(command.at),
        };
        let mut work = Work::default();
        let settings = self.settings.load();
        let reply = match self.obey(command.order, settings.settings(), &mut work) {
            Ok(()) => Reply::Done(work.ruling.changes.clone()),
            Err(why) => Reply::Refused(why),
        };
        self.replies.reply(command.id, reply);
        self.emit(work, out);
    }

    fn obey(&mut self, order: CommandOrder, settings: &Settings, work: &mut Work) -> Result<(), String> {
        match order {
            CommandOrder::Ban(asked) => {
                if settings.guards(&asked.target) {
                    return Err(format!(
                        "{} is on the allowlist or protected (or has such an address in it), and nothing may ban it",
                        asked.target
                    ));
                }
                self.end(&asked.target, settings, work);
                let mut change = self.ledger.asked(asked, self.now);
                if let Change::Banned(ban) | Change::Extended(ban) = &mut change {
                    ban.place = self.places.place(ban.target.first());
                }
                self.change(change, settings, work);
            }
            CommandOrder::Unban(target) => {
                let banned = self.banned_as(&target, settings)?;
                let change = self.ledger.lifted(&banned, self.now, Ended::ByHand);
                change.into_iter().for_each(|change| self.change(change, settings, work));
            }
            CommandOrder::Release(target) => {
                for target in self.held(target)? {
                    self.release(&target, settings, work);
                }
            }
            CommandOrder::Discard(target) => {
                for target in self.held(target)? {
                    self.discard(&target, settings, work);
                }
            }
            CommandOrder::ClockStep { millis } => {
                for change in self.ledger.stepped(millis) {
                    self.change(change, settings, work);
                }
            }
            CommandOrder::Adopt(bans) => {
                for (target, end) in bans {
                    let change = self.ledger.adopted(target, self.now, end);
                    if let Some(change) = change.filter(|_| !settings.guards(&target)) {
                        self.change(change, settings, work);
                    }
                }
            }
        }
        Ok(())
    }

    /// The ban that is meant by a target: its own, or the one that an address of IPv6 is banned by as a part of its
    /// prefix.
    fn banned_as(&self, target: &Network, settings: &Settings) -> Result<Network, String> {
        let counted = settings.keys.network(settings.keys.key(target.first()));
        let known = |target: &Network| self.ledger.in_force(target, self.now).is_some();
        if let Some(banned) = [*target, counted].into_iter().find(known) {
            return Ok(banned);
        }
        let asked: NetworkSet = [*target].into_iter().collect();
        let overlapping = self.ledger.bans().map(|ban| ban.target).filter(|ban| asked.overlaps(ban));
        let overlapping: Vec<String> = overlapping.take(5).map(|ban| ban.to_string()).collect();
        Err(match &overlapping[..] {
            [] => format!("{target} isn't banned"),
            others => format!("{target} itself isn't banned; what overlaps it: {}", others.join(", ")),
        })
    }

    /// The held targets that are meant.
    fn held(&self, target: Option<Network>) -> Result<Vec<Network>, String> {
        match target {
            None => Ok(self.ledger.held().map(|held| held.ban.target).collect()),
            Some(target) if self.ledger.held_for(&target).is_some() => Ok(vec![target]),
            Some(target) => Err(format!("no ban of {target} is held")),
        }
    }

    fn due(&mut self, due: Due, out: &mut Collector<'_, Ruled>) {
        self.now = self.now.max(due.now);
        let mut work = Work::default();
        let settings = self.settings.load();
        for target in due.targets {
            let held = self.ledger.held_for(&target).is_some_and(|held| held.ban.end <= self.now);
            let over = held.then(|| self.ledger.discarded(&target, self.now)).flatten();
            for change in self.ledger.expired(&target, self.now).into_iter().chain(over) {
                self.change(change, settings.settings(), &mut work);
            }
        }
        self.emit(work, out);
    }

    /// Lifts the bans that the guards cover since the settings changed.
    fn look_again(&mut self, out: &mut Collector<'_, Ruled>) {
        let held = self.settings.load();
        if held.version().number == self.looked_with {
            return;
        }
        self.looked_with = held.version().number;
        let settings = held.settings();
        let guarded: Vec<Network> =
            self.ledger.bans().map(|ban| ban.target).filter(|target| settings.guards(target)).collect();
        let held: Vec<Network> =
            self.ledger.held().map(|held| held.ban.target).filter(|target| settings.guards(target)).collect();
        let mut work = Work::default();
        for target in guarded {
            let change = self.ledger.lifted(&target, self.now, Ended::Guarded);
            change.into_iter().for_each(|change| self.change(change, settings, &mut work));
        }
        held.iter().for_each(|target| self.discard(target, settings, &mut work));
        self.emit(work, out);
    }

    fn change(&mut self, change: Change, settings: &Settings, work: &mut Work) {
        self.ledger.apply(&change);
        match &change {
            Change::Banned(ban) => self.caps.began(ban),
            Change::Unbanned { ban, .. } => self.caps.ended(&ban.target),
            Change::Extended(_) | Change::Held { .. } | Change::Unheld { .. } => {}
        }
        let now = match &change {
            Change::Banned(ban) | Change::Extended(ban) => Some(BanNow::Until(ban.end.second())),
            Change::Unbanned { cause: Ended::Expired, .. } | Change::Unheld { .. } => None,
            Change::Unbanned { at, .. } => Some(BanNow::Lifted(at.second())),
            Change::Held { .. } => Some(BanNow::NotEnforced),
        };
        if let Some(now) = now {
            work.key_ban(settings, &change.ban().target, now);
        }
        work.ruling.changes.push(change);
    }

    fn emit(&mut self, work: Work, out: &mut Collector<'_, Ruled>) {
        let Work { mut ruling, key_bans } = work;
        if !key_bans.0.is_empty() {
            out.emit(Ruled::KeyBans(key_bans));
        }
        if ruling != Ruling::default() {
            ruling.at = self.now;
            out.emit(Ruled::Ruling(ruling));
        }
    }
}

/// What comes of one tuple.
#[derive(Default)]
struct Work {
    ruling: Ruling,
    key_bans: KeyBans,
}

impl Work {
    fn key_ban(&mut self, settings: &Settings, target: &Network, now: BanNow) {
        // Wider bans have no key of their own: nothing counts for them.
        if let Some(key) = settings.keys.key_of(target) {
            self.key_bans.0.push(KeyBan { key, now });
        }
    }
}

/// What a ledger tells analysis at the start: what is in force, and what ended lately, the oldest first.
#[must_use]
pub fn key_bans(ledger: &Ledger, settings: &Settings) -> Vec<KeyBan> {
    let ended = ledger.ended().map(|ended| {
        let now = match ended.cause {
            Ended::Expired => BanNow::Until(ended.ban.end.second()),
            // What came in the second of the unban may have come before it.
            Ended::ByHand | Ended::Guarded => BanNow::Lifted(Second(ended.at.second().0 + 1)),
        };
        (ended.ban.target, now)
    });
    let in_force = ledger.bans().map(|ban| (ban.target, BanNow::Until(ban.end.second())));
    let keyed = |(target, now)| Some(KeyBan { key: settings.keys.key_of(&target)?, now });
    ended.chain(in_force).filter_map(keyed).collect()
}

impl Bolt for Block {
    type In = Blocked;
    type Out = Ruled;

    fn execute(&mut self, input: Blocked, out: &mut Collector<'_, Ruled>) {
        match input {
            Blocked::Findings(batch) => self.findings(batch, out),
            Blocked::Command(command) => self.command(command, out),
            Blocked::Due(due) => self.due(due, out),
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Collector<'_, Ruled>) {
        // Between ticks the time only goes forward; but a clock that was wrong and is set back is believed.
        self.now = Moment(now.as_millis() as i64);
        self.look_again(out);
    }
}
