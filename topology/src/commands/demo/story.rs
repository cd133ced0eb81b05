//! What happens, told as it happens and remembered for the verdict.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent::Observer;
use bolts::ports::BanSink;
use bolts::tuples::LiveStatus;
use model::ban::{Ban, Change, Reason};
use model::network::Network;
use model::units::Moment;

use super::cast::Cast;
use super::verdict::{Act, Verdict};

/// The story so far.
pub(super) struct Story {
    cast: Arc<Cast>,
    colour: bool,
    began: Instant,
    told: Mutex<Told>,
}

#[derive(Default)]
pub(super) struct Told {
    /// Wave by wave, attacker by attacker.
    pub(super) waves: Vec<Vec<Act>>,
    /// Bans of others.
    pub(super) wrongly: Vec<Ban>,
    in_force: HashMap<Network, Ban>,
}

impl Story {
    pub(super) fn new(cast: Arc<Cast>, colour: bool) -> Self {
        let acts = vec![Act::default(); cast.attackers.len()];
        let told = Told { waves: vec![acts], ..Told::default() };
        Self { cast, colour, began: Instant::now(), told: Mutex::new(told) }
    }

    pub(super) fn cast(&self) -> &Cast {
        &self.cast
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act<R>(&self, target: &Network, change: impl FnOnce(&mut Act) -> R) -> Option<R> {
        let number = self.cast.attackers.iter().position(|attacker| attacker.target == *target)?;
        self.told().waves.last_mut().map(|wave| change(&mut wave[number]))
    }

    /// Prints a line that begins a part.
    pub(super) fn heading(&self, text: &str) {
        let (bold, plain) = if self.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        println!("\n{bold}{text}{plain}");
    }

    /// Prints what happened, with the time since the start.
    pub(super) fn say(&self, text: &str) {
        println!("{:7.3} s  {text}", self.began.elapsed().as_secs_f64());
    }

    pub(super) fn next_wave(&self) {
        let acts = vec![Act::default(); self.cast.attackers.len()];
        self.told().waves.push(acts);
        self.say("the attackers come back");
    }

    /// The request that fills an attacker's window stands in the log.
    pub(super) fn window_filled(&self, attacker: usize) {
        if let Some(wave) = self.told().waves.last_mut() {
            wave[attacker].filled = Some(Instant::now());
        }
    }

    /// Whether all agents drop an attacker in this wave, or did.
    pub(super) fn is_stopped(&self, attacker: usize) -> bool {
        self.told().waves.last().is_some_and(|wave| wave[attacker].is_enforced())
    }

    pub(super) fn nothing_in_force(&self) -> bool {
        let told = self.told();
        let lifted = |act: &Act| act.ban.is_none() || act.lifted.iter().all(Option::is_some);
        told.in_force.is_empty() && told.waves.iter().flatten().all(lifted)
    }

    /// What an agent did, as it tells it.
    pub(super) fn observer(self: &Arc<Self>, agent: usize) -> Observer {
        let story = self.clone();
        Arc::new(move |blocked, lifted| {
            for (target, _) in blocked {
                story.act(target, |act| *act.enforced[agent].get_or_insert_with(Instant::now));
            }
            for target in lifted {
                story.act(target, |act| *act.lifted[agent].get_or_insert_with(clock));
            }
        })
    }

    fn ban(&self, ban: &Ban) -> String {
        let place = ban.place.as_ref().and_then(|place| place.country.as_deref()).unwrap_or("??");
        let why = match ban.reason {
            Reason::Global | Reason::Special => {
                format!("{} requests in {} s, rule {}", ban.count, ban.during.0, ban.rule)
            }
            Reason::ByHand | Reason::Adopted => ban.rule.to_string(),
        };
        format!("{place}  {:<28}  {why}", ban.target.to_string())
    }

    pub(super) fn verdict(
        &self,
        lines: u64,
        took: Duration,
        status: &LiveStatus,
        rows: Result<u64, String>,
    ) -> Verdict {
        let told = self.told();
        Verdict {
            waves: told.waves.clone(),
            wrongly: told.wrongly.clone(),
            targets: self.cast.attackers.iter().map(|attacker| attacker.target).collect(),
            visitors: self.cast.visitors.len(),
            lines,
            took,
            counted: status.lines.clone(),
            rows,
            colour: self.colour,
        }
    }
}

fn clock() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(since.as_millis() as i64)
}

impl BanSink for Story {
    fn apply(&self, changes: &[Change], _: Moment) {
        let (red, green, plain) =
            if self.colour { ("\x1b[31m", "\x1b[32m", "\x1b[0m") } else { ("", "", "") };
        for change in changes {
            let ban = change.ban();
            match change {
                Change::Banned(_) => {
                    self.told().in_force.insert(ban.target, ban.clone());
                    let known = self.act(&ban.target, |act| act.ban = Some(ban.clone()));
                    let visitor = if known.is_none() { "  (a visitor!)" } else { "" };
                    if known.is_none() {
                        self.told().wrongly.push(ban.clone());
                    }
                    self.say(&format!("{red}ban   {plain}  {}{visitor}", self.ban(ban)));
                }
                Change::Unbanned { at, cause, .. } => {
                    self.told().in_force.remove(&ban.target);
                    self.act(&ban.target, |act| act.over = Some((*at, *cause)));
                    self.say(&format!("{green}unban {plain}  {}", self.ban(ban)));
                }
                Change::Extended(_) => self.say(&format!("longer  {}", self.ban(ban))),
                Change::Held { .. } | Change::Unheld { .. } => {
                    self.say(&format!("held    {}", self.ban(ban)));
                }
            }
        }
    }
}
