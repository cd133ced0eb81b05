//! The sources of a live run, opened where the journal says that each goes on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use model::line::{LineParser, LogFormat};
use model::mark::Mark;
use model::settings::Settings;
use model::synthetic::Traffic;
use model::units::{Second, Seconds};

use crate::config::{self, Generate, Input};
use crate::control::SourceHealth;
use crate::spouts::follow::{Follow, FollowConfig, FollowStatus, RebuildPlan, Start, TimeOf};
use crate::spouts::gated::{Gate, Gated};
use crate::spouts::generated::Generated;
use crate::spouts::log_files::BATCH_BYTES;
use crate::spouts::piped::{PipeFailure, Piped};
use crate::spouts::source::Source;

/// Windows are filled again from so much of the log: longer than a client needs to be established.
const HORIZON: Seconds = Seconds(900);
/// But never from more than so many bytes.
const MOST_BYTES: u64 = 1 << 30;

/// All sources, in the order of the configuration.
pub(super) struct Sources {
    opened: Vec<Opened>,
    gate: Arc<Gate>,
}

struct Opened {
    name: Arc<str>,
    format: LogFormat,
    watched: Watched,
    /// Taken by the task that reads it. One that is made anew after a panic finds nothing, and ends.
    source: Mutex<Option<Source>>,
}

/// What can be seen of a source from outside.
#[derive(Clone)]
pub(super) enum Watched {
    Followed(Arc<FollowStatus>),
    Piped(PipeFailure),
    Nothing,
}

impl Sources {
    /// Opens them.
    ///
    /// # Errors
    /// What can never be followed.
    pub(super) fn open(
        configured: &[config::Source],
        marks: &HashMap<Arc<str>, Mark>,
        settings: &Settings,
        gate: &Arc<Gate>,
    ) -> anyhow::Result<Self> {
        let opened = configured.iter().map(|source| Opened::new(source, marks, settings));
        Ok(Self { opened: opened.collect::<anyhow::Result<_>>()?, gate: gate.clone() })
    }

    /// Their names with the formats of their lines.
    pub(super) fn formats(&self) -> Vec<(Arc<str>, LogFormat)> {
        self.opened.iter().map(|source| (source.name.clone(), source.format.clone())).collect()
    }

    /// What can be seen of them.
    pub(super) fn health(&self) -> Vec<(Arc<str>, Watched)> {
        self.opened.iter().map(|source| (source.name.clone(), source.watched.clone())).collect()
    }

    /// The spout of a task.
    pub(super) fn spout(&self, task: usize) -> Gated<Source> {
        let source = self.opened[task].source.lock().unwrap_or_else(PoisonError::into_inner).take();
        Gated::new(source.unwrap_or(Source::Nothing), self.gate.clone())
    }
}

impl Opened {
    fn new(
        source: &config::Source,
        marks: &HashMap<Arc<str>, Mark>,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let (name, watched, spout) = match &source.input {
            Input::Log { path, start } => {
                let name: Arc<str> = path.display().to_string().into();
                let status = Arc::<FollowStatus>::default();
                let start = marks.get(&name).map_or(
                    match start {
                        config::Start::End => Start::End,
                        config::Start::Beginning => Start::Beginning,
                    },
                    Start::from,
                );
                let follow = follow(path, &name, start, &source.format, settings, status.clone())?;
                (name, Watched::Followed(status), Source::Follow(Box::new(follow)))
            }
            Input::Stdin => {
                let failure = PipeFailure::default();
                let piped = Piped::new("-".into(), std::io::stdin(), BATCH_BYTES, failure.clone());
                let piped = piped.context("standard input can't be read")?;
                ("-".into(), Watched::Piped(failure), Source::Piped(Box::new(piped)))
            }
            Input::Generate(Generate { rate, clients, attackers, seed }) => {
                let traffic =
                    Traffic { clients: *clients, attackers: *attackers, seed: *seed, start: Second(0) };
                let generated = Generated::new(traffic, *rate);
                ("generator".into(), Watched::Nothing, Source::Generated(Box::new(generated)))
            }
        };
        Ok(Self { name, format: source.format.clone(), watched, source: Mutex::new(Some(spout)) })
    }
}

fn follow(
    path: &Path,
    name: &Arc<str>,
    start: Start,
    format: &LogFormat,
    settings: &Settings,
    status: Arc<FollowStatus>,
) -> anyhow::Result<Follow> {
    let parser = Mutex::new(LineParser::new(format.clone()));
    let time_of: TimeOf = Arc::new(move |line: &[u8]| -> Option<Second> {
        let mut parser = parser.lock().unwrap_or_else(PoisonError::into_inner);
        parser.parse(line).ok().map(|line| line.second)
    });
    let longest = settings.rules.iter().map(|(_, rule)| rule.block_within.max(rule.warn_within)).max();
    let windows = longest.unwrap_or_default().0.saturating_add(settings.max_lateness.0);
    let horizon = HORIZON.max(Seconds(windows));
    let rebuild = Some(RebuildPlan { horizon, max_bytes: MOST_BYTES, time_of });
    let config = FollowConfig {
        path: path.to_owned(),
        name: name.clone(),
        start,
        batch_bytes: BATCH_BYTES,
        rebuild,
        status,
    };
    Ok(Follow::new(config)?)
}

impl Watched {
    /// What may have been lost since the start, and why.
    pub(super) fn possible_loss(&self) -> Option<String> {
        match self {
            Self::Followed(status) => status.now().last_loss,
            Self::Piped(_) | Self::Nothing => None,
        }
    }

    /// How the source is.
    pub(super) fn health(&self, name: &Arc<str>) -> SourceHealth {
        let (behind_bytes, last_error) = match self {
            Self::Followed(status) => {
                let now = status.now();
                (Some(now.behind), now.problem)
            }
            Self::Piped(failure) => {
                let failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                (None, failure.as_ref().map(ToString::to_string))
            }
            Self::Nothing => (None, None),
        };
        SourceHealth { name: name.clone(), behind_bytes, last_error }
    }
}
