//! The calls to one agent, with what can go wrong in them told apart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use ccfirewall_thrift::{CallError, Client, Outcome, Status, Timeouts, flag};
use model::ban::Ban;
use model::network::Network;
use model::text::shown;
use model::units::Moment;

use super::books::Said;
use super::{AgentConfig, AgentTls, Options};

/// Why a lane can't go on with its connection.
#[derive(Debug)]
pub(super) enum Trouble {
    Unreachable(String),
    Hanging(String),
    /// The agent answered that it failed.
    Failing(String),
    /// It doesn't know our calls: an agent of 2016.
    Original,
    WrongKey,
    Fenced(String),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match &error {
            _ if error.is_unknown_method() => Self::Original,
            CallError::Refused { .. } => Self::Failing(text),
            CallError::Broken { cause: thrift::Error::Transport(cause), .. }
                if cause.kind == thrift::TransportErrorKind::TimedOut =>
            {
                Self::Hanging(text)
            }
            CallError::Tls { cause, .. } if cause.kind() == std::io::ErrorKind::TimedOut => {
                Self::Hanging(text)
            }
            CallError::Connect { .. } | CallError::Tls { .. } | CallError::Broken { .. } => {
                Self::Unreachable(text)
            }
        }
    }
}

/// So many bans are asked for at once.
const PAGE: i32 = 100_000;
/// No agent is believed to hold more.
const MOST_HELD: usize = 5_000_000;

/// No ban is longer, in milliseconds.
const LONGEST: i64 = u32::MAX as i64 * 1000;
/// So much of an agent's words is kept.
const WORDS: usize = 500;
const MOST_WARNINGS: usize = 20;

/// A connection.
pub(super) struct Calls {
    client: Client,
    mkey: String,
    epoch: i64,
}

/// What became of a call that changes something.
pub(super) struct Answered {
    pub(super) blocked: Vec<Said>,
    pub(super) unblocked: Vec<Said>,
}

impl Calls {
    /// Connects; calls may take longer where many bans are in force.
    pub(super) fn connect(
        config: &AgentConfig,
        epoch: i64,
        options: &Options,
        bans: usize,
    ) -> Result<Self, Trouble> {
        let call = options.call + std::time::Duration::from_secs((bans / 20_000) as u64);
        // The answer may take until both are over.
        let timeouts = Timeouts { connect: options.connect, write: call / 2, read: call / 2 };
        let client = match &config.tls {
            None => Client::connect(config.address, timeouts)?,
            Some(AgentTls { files, name }) => {
                let address = config.address.ip().to_string();
                Client::connect_by_tls(config.address, files, name.as_deref().unwrap_or(&address), timeouts)?
            }
        };
        Ok(Self { client, mkey: config.mkey.clone(), epoch })
    }

    /// Asks an agent of 2016 for the call that it doesn't know, which shows that it is there, and still that one.
    pub(super) fn is_original_still(&mut self) -> Result<(), Trouble> {
        match self.status() {
            Err(Trouble::Original) => Ok(()),
            Err(trouble) => Err(trouble),
            Ok(_) => Err(Trouble::Unreachable("it isn't the agent of 2016 any more: connect again".into())),
        }
    }

    /// Has an agent of 2016 ban an address, or let it through.
    pub(super) fn original(&mut self, target: &Network, block: bool) -> Result<Said, Trouble> {
        let ip = target.first().to_string();
        let text = if block {
            self.client.block_ip(&self.mkey, &ip)
        } else {
            self.client.unblock_ip(&self.mkey, &ip)
        };
        let text = match text {
            // It can't, and says so in its own way; the connection is whole.
            Err(CallError::Refused { cause, .. }) => return Ok((flag::FAILED, words(&cause.message))),
            text => text?,
        };
        match flag::from_text(&text) {
            Some((flag::WRONG_KEY, _)) => Err(Trouble::WrongKey),
            Some((flag, result)) if (flag::FAILED..=flag::DONE).contains(&flag) && flag != 0 => {
                Ok((flag, words(&result)))
            }
            _ => Ok((flag::FAILED, words(&format!("not an agent's answer: {text}")))),
        }
    }

    pub(super) fn status(&mut self) -> Result<Status, Trouble> {
        let mut status = self.client.status(&self.mkey)?;
        checked(status.flag, status.result.as_deref())?;
        for text in [&mut status.version, &mut status.enforcer, &mut status.instance] {
            *text = text.take().map(|text| words(&text));
        }
        let warnings = status.warnings.take().unwrap_or_default();
        status.warnings = Some(warnings.iter().take(MOST_WARNINGS).map(|text| words(text)).collect());
        Ok(status)
    }

    /// Puts bans in force and lifts others.
    pub(super) fn apply(
        &mut self,
        block: &[Arc<Ban>],
        unblock: &[Network],
        now: Moment,
    ) -> Result<Answered, Trouble> {
        let block = block.iter().map(|ban| sent(ban, now)).collect();
        let unblock = unblock.iter().map(ToString::to_string).collect();
        let answer = self.client.apply(&self.mkey, self.epoch, block, unblock)?;
        checked(answer.flag, answer.result.as_deref())?;
        Ok(Answered { blocked: said(answer.blocked), unblocked: said(answer.unblocked) })
    }

    /// Sends a part of the full state.
    pub(super) fn sync(
        &mut self,
        bans: &[Arc<Ban>],
        first: bool,
        last: bool,
        now: Moment,
    ) -> Result<Vec<Said>, Trouble> {
        let bans = bans.iter().map(|ban| sent(ban, now)).collect();
        let answer = self.client.sync(&self.mkey, self.epoch, bans, first, last)?;
        checked(answer.flag, answer.result.as_deref())?;
        Ok(said(answer.blocked))
    }

    /// All that the agent holds, with the milliseconds that are left.
    pub(super) fn held(&mut self) -> Result<HashMap<Network, i64>, Trouble> {
        let mut all = HashMap::new();
        let mut offset = 0;
        loop {
            let held = self.client.held(&self.mkey, offset, PAGE)?;
            checked(held.flag, held.result.as_deref())?;
            let page = held.bans.unwrap_or_default();
            let count = page.len();
            for ban in page {
                // What isn't a target can't be one of ours.
                if let Ok(target) = ban.target.unwrap_or_default().parse() {
                    all.insert(target, ban.left_ms.unwrap_or(0).clamp(0, LONGEST));
                }
            }
            offset += count as i64;
            if count < PAGE as usize || all.len() > MOST_HELD {
                return Ok(all);
            }
        }
    }
}

/// By how many milliseconds a clock that was read in answer to a question is ahead of ours, which says `now`; and by how
/// many that may be wrong: half the time that the answer took.
pub(super) fn offset(theirs: i64, asked: Instant, now: Moment) -> (i64, i64) {
    let half = i64::try_from(asked.elapsed().as_millis() / 2).unwrap_or(0);
    (theirs.saturating_add(half).saturating_sub(now.0), half)
}

/// The end as a span from now on. The moment was cut to milliseconds, so the span is rounded up.
fn sent(ban: &Ban, now: Moment) -> ccfirewall_thrift::Ban {
    let left = ban.end.0.saturating_sub(now.0).max(0);
    ccfirewall_thrift::Ban::new(ban.target.to_string(), left, ban.id.to_string())
}

/// What an agent says, without control characters and at no length.
fn words(text: &str) -> String {
    shown(text.as_bytes(), WORDS)
}

fn said(outcomes: Option<Vec<Outcome>>) -> Vec<Said> {
    let said =
        |outcome: Outcome| (outcome.flag.unwrap_or(flag::FAILED), words(&outcome.result.unwrap_or_default()));
    outcomes.unwrap_or_default().into_iter().map(said).collect()
}

fn checked(flag: Option<i32>, result: Option<&str>) -> Result<(), Trouble> {
    let result = words(result.unwrap_or_default());
    match flag {
        Some(flag::DONE) => Ok(()),
        Some(flag::WRONG_KEY) => Err(Trouble::WrongKey),
        Some(flag::OLD_EPOCH) => Err(Trouble::Fenced(result)),
        Some(_) => Err(Trouble::Failing(result)),
        None => Err(Trouble::Failing("an answer without a flag".to_owned())),
    }
}
