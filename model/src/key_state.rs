//! All that is known of one key: its newest time, its ban, and a window and a tally for each rule it met. This is
//! where the order of checks stands: late, while banned, rule, window, record.

use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::rule::{Rule, RuleId};
use crate::settings::Settings;
use crate::table::TableEntry;
use crate::units::{Second, Seconds};
use crate::verdict::{Action, Alert, Decision, Record};
use crate::window::{Added, Window};

/// What is remembered of a key.
///
/// Aligned, so that what a hit reads and writes are two cache lines and not three.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct KeyState {
    key: Key,
    first_seen: Second,
    newest: Second,
    banned_until: Second,
    /// Which version of the settings `allowed` was found for; 0 for none.
    allowed_for: u32,
    allowed: bool,
    /// Most keys only ever meet one rule.
    first: Counter,
    #[expect(clippy::box_collection, reason = "few keys have others; all would pay for a wider field")]
    others: Option<Box<Vec<Counter>>>,
    /// Bytes that the windows hold on the heap.
    window_bytes: usize,
}

/// Window and tally of one rule.
#[derive(Clone, Debug)]
struct Counter {
    rule: RuleId,
    tally: u32,
    /// The oldest and the newest request of the tally.
    tally_span: (Second, Second),
    window: Window,
}

impl Counter {
    fn new(rule: RuleId) -> Self {
        Self { rule, tally: 0, tally_span: (Second::NEVER, Second::NEVER), window: Window::default() }
    }

    /// Counts requests of one second. Tells how many times `full` were completed, and the span of the first time;
    /// what completes in the same call after that all lies in this second.
    fn count(&mut self, second: Second, requests: u32, full: u32) -> (u64, (Second, Second)) {
        let span = match self.tally {
            0 => (second, second),
            _ => (self.tally_span.0.min(second), self.tally_span.1.max(second)),
        };
        let total = u64::from(self.tally) + u64::from(requests);
        let completed = total / u64::from(full);
        self.tally = (total % u64::from(full)) as u32;
        self.tally_span = if completed == 0 { span } else { (second, second) };
        (completed, span)
    }
}

/// Requests of one key and rule in one second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hit {
    /// Whose.
    pub key: Key,
    /// When.
    pub second: Second,
    /// Which rule they belong to.
    pub rule: RuleId,
    /// How many, at least one.
    pub requests: u32,
}

/// A key that was first seen so long ago is established: no bot of a flood that began just now.
pub const ESTABLISHED_AFTER: Seconds = Seconds(600);

/// Takes what observing hits leads to.
pub trait Findings {
    /// A decision was made. Its record follows.
    fn decision(&mut self, decision: Decision);
    /// A record was made.
    fn record(&mut self, record: Record);
    /// Requests that came too late to count.
    fn late(&mut self, requests: u32);
    /// Requests that came while their key was banned.
    fn while_banned(&mut self, requests: u32);
}

/// What the clock says about the times of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests before that lead to no decision.
    pub decide_from: Second,
    /// No request that is counted is after that.
    pub latest: Second,
}

impl Bounds {
    /// Where there is no clock: a replay takes times as they come.
    pub const NONE: Self = Self { decide_from: Second::NEVER, latest: Second(i64::MAX) };
}

/// One version of the settings, with its number (from 1), which tells it from the versions before.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// What holds.
    pub settings: &'a Settings,
    /// Its number.
    pub number: u32,
}

impl KeyState {
    /// A key that was never seen.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self {
            key,
            first_seen: Second::NEVER,
            newest: Second::NEVER,
            banned_until: Second::NEVER,
            allowed_for: 0,
            allowed: false,
            first: Counter::new(RuleId::NONE),
            others: None,
            window_bytes: 0,
        }
    }

    /// Takes requests in, in the order in which they came, and tells what they lead to.
    ///
    /// Requests before `bounds.decide_from` join their windows and lead to no decision, so they empty nothing either.
    pub fn observe(&mut self, hit: Hit, version: Version<'_>, bounds: Bounds, findings: &mut impl Findings) {
        let settings = version.settings;
        if self.newest > bounds.latest {
            // A clock that was ahead is right again: by what came then, everything now would be late.
            *self = Self::new(self.key);
        }
        if self.newest == Second::NEVER {
            self.first_seen = hit.second;
        }
        self.newest = self.newest.max(hit.second);
        if hit.second.behind(self.newest) > i64::from(settings.max_lateness.0) {
            return findings.late(hit.requests);
        }
        let mut left = hit.requests;
        while left > 0 {
            if hit.second <= self.banned_until {
                return findings.while_banned(left);
            }
            if hit.second < bounds.decide_from {
                self.hold(hit, left, version);
                return self.tally(hit, left, version, findings);
            }
            let Some((rule, fired)) = self.fire(hit, left, version) else {
                return self.tally(hit, left, version, findings);
            };
            self.tally(hit, fired.taken - 1, version, findings);
            left -= fired.taken;
            self.decide(rule, &fired, settings, findings);
            match fired.action {
                Action::Warn => self.counter(hit.rule).tally = 0,
                Action::Block => {
                    self.banned_until = self.banned_until.max(fired.newest.plus(rule.block_for));
                    self.forget_requests();
                }
            }
        }
    }

    /// When the key's oldest request that we know of came.
    #[must_use]
    #[inline]
    pub fn first_seen(&self) -> Second {
        self.first_seen
    }

    /// When its newest request came.
    #[must_use]
    #[inline]
    pub fn newest(&self) -> Second {
        self.newest
    }

    /// A ban of this key is in force until then: what comes up to that second is while banned.
    pub fn banned(&mut self, until: Second) {
        self.banned_until = until;
        self.forget_requests();
    }

    /// The key's ban was lifted: it starts anew with the requests of second `from`.
    pub fn unbanned(&mut self, from: Second) {
        self.banned_until = Second(from.0 - 1);
        self.forget_requests();
    }

    /// Nothing enforces the key's ban, so nothing is while banned.
    pub fn not_enforced(&mut self) {
        self.banned_until = Second::NEVER;
    }

    fn forget_requests(&mut self) {
        self.first = Counter::new(self.first.rule);
        self.others = None;
        self.window_bytes = 0;
    }

    /// Adds requests to the window of their rule, without asking what they lead to.
    fn hold(&mut self, hit: Hit, requests: u32, version: Version<'_>) {
        let settings = version.settings;
        let levels = settings.rules.get(hit.rule).and_then(|rule| Levels::of(rule, settings));
        if let Some(levels) = levels.filter(|_| !self.known_allowed(version)) {
            self.change_window(hit.rule, |window| {
                window.hold(hit.second, requests, settings.count.get(), levels.longest);
            });
        }
    }

    /// Adds requests to the window of their rule; whether that is full with some of them and a decision is due.
    fn fire<'a>(&mut self, hit: Hit, requests: u32, version: Version<'a>) -> Option<(&'a Rule, Fired)> {
        let settings = version.settings;
        let rule = settings.rules.get(hit.rule)?;
        let levels = Levels::of(rule, settings)?;
        if self.known_allowed(version) {
            return None;
        }
        // The window is asked only as far back as a level that is on looks.
        let added = self.add(hit, requests, settings.count.get(), levels.longest);
        let Added::Full { taken, newest, during } = added else { return None };
        if self.is_allowed(version) {
            return None;
        }
        let action = levels.action(during)?;
        Some((rule, Fired { taken, newest, during, action }))
    }

    fn decide(&self, rule: &Rule, fired: &Fired, settings: &Settings, findings: &mut impl Findings) {
        let target = settings.keys.network(self.key);
        let count = settings.count.get();
        let &Fired { newest, during, action, .. } = fired;
        let (alert, length) = match action {
            Action::Block => (Alert::Blocked, rule.block_for),
            Action::Warn => (Alert::Warned, settings.warn_for),
        };
        findings.decision(Decision {
            time: newest,
            target,
            action,
            rule: rule.name.clone(),
            reason: rule.reason,
            count,
            during,
            length,
            established: self.first_seen.behind(newest) >= i64::from(ESTABLISHED_AFTER.0),
            place: None,
        });
        let first = Second(newest.0 - i64::from(during.0));
        let rule = Some(rule.name.clone());
        findings.record(Record { target, rule, count, first, last: newest, alert, place: None });
    }

    fn tally(&mut self, hit: Hit, requests: u32, version: Version<'_>, findings: &mut impl Findings) {
        let settings = version.settings;
        let full = settings.count.get();
        let (completed, span) = self.counter(hit.rule).count(hit.second, requests, full);
        if completed == 0 {
            return;
        }
        let rule = settings.rules.get(hit.rule);
        let alert = match rule {
            None => Alert::NotListed,
            Some(_) if self.is_allowed(version) => Alert::Allowed,
            Some(_) if !settings.block_enabled => Alert::BlockingOff,
            Some(_) => Alert::Normal,
        };
        for record in 0..completed {
            let (first, last) = if record == 0 { span } else { (hit.second, hit.second) };
            findings.record(Record {
                target: settings.keys.network(self.key),
                rule: rule.map(|rule| rule.name.clone()),
                count: full,
                first,
                last,
                alert,
                place: None,
            });
        }
    }

    /// Whether the guards are known to cover this key. They are asked only when a window or a tally is full:
    /// until then the answer changes nothing, and asking costs more than counting.
    fn known_allowed(&self, version: Version<'_>) -> bool {
        self.allowed && self.allowed_for == version.number
    }

    fn is_allowed(&mut self, version: Version<'_>) -> bool {
        if self.allowed_for != version.number {
            self.allowed = version.settings.guards(&version.settings.keys.network(self.key));
            self.allowed_for = version.number;
        }
        self.allowed
    }

    fn counter(&mut self, rule: RuleId) -> &mut Counter {
        if self.first.rule == rule {
            return &mut self.first;
        }
        // A client may meet thousands of rules, so the others are sorted. Most have none, and none are made for them.
        let others = self.others.as_deref().map_or(&[][..], Vec::as_slice);
        let place = others.binary_search_by_key(&rule, |other| other.rule);
        if place.is_err() && self.first.tally == 0 && self.first.window.total() == 0 {
            // Nothing is lost with an empty first one.
            self.first = Counter::new(rule);
            return &mut self.first;
        }
        let others = self.others.get_or_insert_default();
        let at = place.unwrap_or_else(|at| {
            others.insert(at, Counter::new(rule));
            at
        });
        &mut others[at]
    }

    /// Adds requests to the window of their rule.
    fn add(&mut self, hit: Hit, requests: u32, full: u32, within: Seconds) -> Added {
        self.change_window(hit.rule, |window| window.add(hit.second, requests, full, within))
    }

    /// Changes the window of a rule, and keeps account of its bytes.
    fn change_window<R>(&mut self, rule: RuleId, change: impl FnOnce(&mut Window) -> R) -> R {
        let window = &mut self.counter(rule).window;
        let before = window.heap_bytes();
        let result = change(window);
        let after = window.heap_bytes();
        self.window_bytes = self.window_bytes + after - before;
        result
    }
}

/// A window that is full.
struct Fired {
    /// How many of the added requests went in, the one that filled it included.
    taken: u32,
    newest: Second,
    during: Seconds,
    action: Action,
}

/// Which levels of a rule are on, and how far they look back.
struct Levels {
    block: Option<Seconds>,
    warn: Option<Seconds>,
    longest: Seconds,
}

impl Levels {
    /// `None` where both are off: no window is needed then.
    fn of(rule: &Rule, settings: &Settings) -> Option<Self> {
        let block = settings.block_enabled.then_some(rule.block_within);
        let warn = settings.warn_enabled.then_some(rule.warn_within);
        block.max(warn).map(|longest| Self { block, warn, longest })
    }

    fn action(&self, during: Seconds) -> Option<Action> {
        if self.block.is_some_and(|within| during <= within) {
            Some(Action::Block)
        } else {
            self.warn.is_some_and(|within| during <= within).then_some(Action::Warn)
        }
    }
}

impl TableEntry for KeyState {
    fn key(&self) -> Key {
        self.key
    }

    fn new(key: Key) -> Self {
        Self::new(key)
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        let others = self.others.as_ref();
        self.window_bytes
            + others.map_or(0, |others| size_of::<Vec<Counter>>() + others.capacity() * size_of::<Counter>())
    }

    #[inline]
    fn touch(&self) -> u64 {
        // The fields that are farthest from each other, wherever the compiler puts them.
        self.key.bits() as u64
            ^ self.newest.0 as u64
            ^ u64::from(self.first.tally)
            ^ u64::from(self.first.window.total())
    }

    /// Keys whose ban is in force stay before all others, then those that are busy or were lately: what goes
    /// first is idle and light.
    fn worth(&self, now: Second) -> u64 {
        const IDLE_AFTER: i64 = 60;
        let counters =
            std::iter::once(&self.first).chain(self.others.iter().flat_map(|others| others.iter()));
        let weight: u64 = counters.map(|c| u64::from(c.window.total().max(c.tally))).sum();
        let banned = u64::from(self.banned_until >= now) << 63;
        let recent = u64::from(self.newest.behind(now) <= IDLE_AFTER) << 62;
        let age = self.newest.behind(now).clamp(0, (1 << 24) - 1) as u64;
        banned | recent | (weight.min((1 << 36) - 1) << 24) | ((1 << 24) - 1 - age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyScheme;

    #[test]
    fn a_hit_touches_two_cache_lines() {
        assert!(size_of::<Option<KeyState>>() <= 128, "{}", size_of::<Option<KeyState>>());
    }

    #[derive(Default)]
    struct Seen {
        decisions: Vec<Decision>,
        records: Vec<Alert>,
        while_banned: u32,
    }

    impl Findings for Seen {
        fn decision(&mut self, decision: Decision) {
            self.decisions.push(decision);
        }
        fn record(&mut self, record: Record) {
            self.records.push(record.alert);
        }
        fn late(&mut self, _: u32) {}
        fn while_banned(&mut self, requests: u32) {
            self.while_banned += requests;
        }
    }

    struct Check {
        state: KeyState,
        settings: Settings,
        latest: Second,
        seen: Seen,
    }

    impl Check {
        fn new() -> Self {
            let json =
                r#"{"count": 10, "threshold_secound": 5, "threshold_w_secound": 5, "block_second": 100}"#;
            Self {
                state: KeyState::new(key()),
                settings: Settings::parse(json).unwrap().settings,
                latest: Bounds::NONE.latest,
                seen: Seen::default(),
            }
        }

        fn requests(&mut self, second: i64, requests: u32, decide_from: i64) -> &mut Self {
            let hit = Hit { key: key(), second: Second(second), rule: RuleId::GLOBAL, requests };
            let version = Version { settings: &self.settings, number: 1 };
            let bounds = Bounds { decide_from: Second(decide_from), latest: self.latest };
            self.state.observe(hit, version, bounds, &mut self.seen);
            self
        }
    }

    fn key() -> Key {
        KeyScheme::new(64).key("203.0.113.9".parse().unwrap())
    }

    #[test]
    fn old_lines_join_windows_and_decide_nothing() {
        let mut check = Check::new();
        check.requests(100, 25, 101);
        assert!(check.seen.decisions.is_empty());
        assert_eq!(check.seen.records, [Alert::Normal, Alert::Normal], "they are tallied all the same");
        check.requests(101, 1, 101);
        assert_eq!(check.seen.decisions.len(), 1, "the first that may decide finds the window full");
        assert_eq!(check.seen.decisions[0].time, Second(101));
    }

    #[test]
    fn an_unban_starts_anew_and_a_hold_bans_nobody() {
        let mut check = Check::new();
        check.requests(100, 15, 0);
        assert_eq!((check.seen.decisions.len(), check.seen.while_banned), (1, 5));
        check.state.unbanned(Second(101));
        check.requests(101, 9, 0);
        assert_eq!(check.seen.decisions.len(), 1);
        check.requests(101, 1, 0);
        assert_eq!(check.seen.decisions.len(), 2);
        check.requests(102, 3, 0);
        assert_eq!(check.seen.while_banned, 8);
        check.state.not_enforced();
        check.requests(102, 3, 0);
        assert_eq!(check.seen.while_banned, 8);
        check.state.banned(Second(150));
        check.requests(150, 9, 0).requests(151, 1, 0);
        assert_eq!(check.seen.while_banned, 17);
    }

    #[test]
    fn a_clock_that_was_ahead_makes_nobody_late_for_long() {
        let mut check = Check::new();
        check.requests(7_300, 9, 0);
        check.latest = Second(160);
        check.requests(100, 9, 0);
        assert!(check.seen.decisions.is_empty());
        check.requests(100, 1, 0);
        assert_eq!(check.seen.decisions.len(), 1);
    }

    #[test]
    fn established_after_ten_minutes() {
        for (first, expect) in [(0, true), (1, false)] {
            let mut check = Check::new();
            check.requests(first, 1, 0).requests(600, 10, 0);
            assert_eq!(check.seen.decisions[0].established, expect);
        }
    }
}
