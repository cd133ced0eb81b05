//! Caps on bans: what stops a wrong threshold from locking everybody out.

use std::collections::{HashSet, VecDeque};

use crate::ban::{Ban, Cap, Reason};
use crate::ledger::Ledger;
use crate::network::Network;
use crate::settings::Settings;
use crate::units::{Moment, Seconds};

/// An established client is active for as long after its last request.
pub const ACTIVE_FOR: Seconds = Seconds(300);
/// With fewer established and active clients a share of them says nothing.
pub const ENOUGH_ESTABLISHED: u64 = 200;

/// What was banned lately. Bans by hand don't count, nor are they held.
#[derive(Clone, Debug, Default)]
pub struct Caps {
    /// When bans began within the last minute, in order.
    new: VecDeque<Moment>,
    /// When bans of established clients began within the last five minutes, in order.
    established: VecDeque<Moment>,
    /// Established clients whose bans are in force.
    banned: HashSet<Network>,
}

impl Caps {
    /// What a ledger tells of the time before a restart.
    #[must_use]
    pub fn after(ledger: &Ledger) -> Self {
        let mut bans: Vec<&Ban> = ledger.bans().chain(ledger.ended().map(|ended| &ended.ban)).collect();
        bans.sort_by_key(|ban| ban.start);
        let mut caps = Self::default();
        bans.into_iter().for_each(|ban| caps.began(ban));
        ledger.ended().for_each(|ended| caps.ended(&ended.ban.target));
        caps.banned.extend(ledger.bans().filter(|ban| ban.established).map(|ban| ban.target));
        caps
    }

    /// The cap that holds a new ban back. `established` is how many established clients are active.
    pub fn holds(&mut self, ban: &Ban, settings: &Settings, established: u64, now: Moment) -> Option<Cap> {
        forget(&mut self.new, now, Seconds(60));
        forget(&mut self.established, now, ACTIVE_FOR);
        if self.new.len() >= settings.max_new_bans_per_minute as usize {
            return Some(Cap::NewBans);
        }
        // Who was banned before that isn't active any more, for its requests don't come: it is added again.
        let all = established + self.banned.len().saturating_sub(self.established.len()) as u64;
        let share = (self.banned.len() + 1) as f64 / all.max(1) as f64;
        let too_many = all >= ENOUGH_ESTABLISHED && share > settings.max_banned_share;
        (ban.established && too_many).then_some(Cap::BannedShare)
    }

    /// A ban was put in force.
    pub fn began(&mut self, ban: &Ban) {
        if matches!(ban.reason, Reason::ByHand | Reason::Adopted) {
            return;
        }
        self.new.push_back(ban.start);
        if ban.established {
            self.established.push_back(ban.start);
            self.banned.insert(ban.target);
        }
    }

    /// A target's ban is over.
    pub fn ended(&mut self, target: &Network) {
        self.banned.remove(target);
    }
}

fn forget(moments: &mut VecDeque<Moment>, now: Moment, after: Seconds) {
    while moments.front().is_some_and(|moment| moment.plus(after) <= now) {
        moments.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ban::BanId;
    use crate::units::Second;

    fn ban(number: u32, established: bool, start: i64) -> Ban {
        let target = Network::host(std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
        Ban {
            id: BanId::new("global", &target, Second(0), 0),
            target,
            rule: "global".into(),
            reason: Reason::Global,
            decided: Second(0),
            start: Moment(start),
            end: Moment(start + 600_000),
            count: 1,
            during: Seconds(0),
            established,
            place: None,
            note: None,
        }
    }

    /// How many of `bans` bans at the same time aren't held.
    fn let_through(json: &str, bans: u32, established: bool, active: u64) -> (u32, Option<Cap>) {
        let settings = Settings::parse(json).unwrap().settings;
        let mut caps = Caps::default();
        for number in 0..bans {
            let ban = ban(number, established, 0);
            if let Some(cap) = caps.holds(&ban, &settings, active, Moment(0)) {
                return (number, Some(cap));
            }
            caps.began(&ban);
        }
        (bans, None)
    }

    #[test]
    fn a_botnet_passes_and_a_wrong_threshold_doesnt() {
        let json = r#"{"max_banned_share": 0.2, "max_new_bans_per_minute": 10000}"#;
        assert_eq!(let_through(json, 5_000, false, 1_000), (5_000, None));
        assert_eq!(let_through(json, 5_000, true, 1_000), (200, Some(Cap::BannedShare)));
        assert_eq!(let_through(json, 199, true, 199), (199, None), "too few to tell");
        assert_eq!(let_through(json, 20_000, false, 0), (10_000, Some(Cap::NewBans)));
        assert_eq!(let_through(r#"{"max_new_bans_per_minute": 0}"#, 1, false, 0), (0, Some(Cap::NewBans)));
    }

    #[test]
    fn long_bans_count_as_long_as_they_hold() {
        let settings = Settings::default();
        let mut caps = Caps::default();
        (0..200).for_each(|number| caps.began(&ban(number, true, 0)));
        let later = ban(1_000, true, 400_000);
        // Of a thousand clients 800 are still active.
        let held = |caps: &mut Caps| caps.holds(&later, &settings, 800, Moment(400_000));
        assert_eq!(held(&mut caps), Some(Cap::BannedShare));
        (0..2).for_each(|number| caps.ended(&ban(number, true, 0).target));
        assert_eq!(held(&mut caps), None);
    }

    #[test]
    fn time_gives_room_again() {
        let settings = Settings::parse(r#"{"max_new_bans_per_minute": 1}"#).unwrap().settings;
        let mut caps = Caps::default();
        caps.began(&ban(1, true, 1_000));
        let mut asked = |now| caps.holds(&ban(2, true, now), &settings, 0, Moment(now));
        assert_eq!(asked(60_999), Some(Cap::NewBans));
        assert_eq!(asked(61_000), None);
    }
}
