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

use crate::adapters::kafka::{KafkaHealth, Lag};
use crate::config::{self, Config, Generate, Input, KafkaInput};
use crate::control::SourceHealth;
use crate::spouts::follow::{Follow, FollowConfig, FollowStatus, RebuildPlan, Start, TimeOf};
use crate::spouts::gated::{Gate, Gated};
use crate::spouts::generated::Generated;
use crate::spouts::kafka::envelope::Envelope;
use crate::spouts::kafka::{ByJournal, KafkaLines, KafkaLinesConfig, Mode, refuse_second_member};
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
    Kafka(Arc<KafkaHealth>),
    Nothing,
}

impl Sources {
    /// Opens them.
    ///
    /// # Errors
    /// What can never be followed.
    pub(super) fn open(
        config: &Config,
        marks: &HashMap<Arc<str>, Mark>,
        settings: &Settings,
        gate: &Arc<Gate>,
    ) -> anyhow::Result<Self> {
        let opened = config.sources.iter().map(|source| Opened::new(source, config, marks, settings));
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
        config: &Config,
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
            Input::Kafka(input) => {
                let (health, lines) = kafka(input, config, &source.format, marks, settings)?;
                let name = format!("kafka:{}", input.topic).into();
                (name, Watched::Kafka(health), Source::Kafka(Box::new(lines)))
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
    let rebuild = Some(RebuildPlan { horizon: horizon(settings), max_bytes: MOST_BYTES, time_of });
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

/// How far back windows are filled again.
fn horizon(settings: &Settings) -> Seconds {
    let longest = settings.rules.iter().map(|(_, rule)| rule.block_within.max(rule.warn_within)).max();
    let windows = longest.unwrap_or_default().0.saturating_add(settings.max_lateness.0);
    HORIZON.max(Seconds(windows))
}

/// A topic that this worker alone reads.
fn kafka(
    input: &KafkaInput,
    config: &Config,
    format: &LogFormat,
    marks: &HashMap<Arc<str>, Mark>,
    settings: &Settings,
) -> anyhow::Result<(Arc<KafkaHealth>, KafkaLines)> {
    let kafka = config.kafka.as_ref().context("`[kafka]` is missing from the configuration")?;
    let KafkaInput { topic, start, envelope, message_keys } = input;
    refuse_second_member(&kafka.client, &kafka.group, topic)?;
    let journal = ByJournal {
        marks: partition_marks(topic, marks),
        horizon: horizon(settings),
        worker: worker(&config.state),
    };
    let lines = KafkaLinesConfig {
        kafka: kafka.client.clone(),
        topic: topic.clone(),
        group: kafka.group.clone(),
        format: format.clone(),
        envelope: Envelope::new(*envelope, message_keys, format),
        start: *start,
        batch_bytes: BATCH_BYTES,
    };
    let health = Arc::new(KafkaHealth::new(&kafka.client.brokers));
    let lines = KafkaLines::new(lines, Mode::Journal(journal), health.clone())?;
    Ok((health, lines))
}

/// Where the journal says that a topic's partitions go on.
fn partition_marks(topic: &str, marks: &HashMap<Arc<str>, Mark>) -> HashMap<i32, i64> {
    let prefix = format!("kafka:{topic}#");
    let of_topic = marks.iter().filter_map(|(name, mark)| {
        let partition = name.strip_prefix(&prefix)?.parse().ok()?;
        Some((partition, i64::try_from(mark.next.offset).ok()?))
    });
    of_topic.collect()
}

/// Whose journal it is: this host's, in this folder.
fn worker(state: &Path) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let state = std::fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
    format!("{host}:{}", state.display())
}

impl Watched {
    /// What may have been lost since the start, and why.
    pub(super) fn possible_loss(&self) -> Option<String> {
        match self {
            Self::Followed(status) => status.now().last_loss,
            Self::Kafka(health) => health.now().last_loss,
            Self::Piped(_) | Self::Nothing => None,
        }
    }

    /// How the source is, and each of its partitions.
    pub(super) fn health(&self, name: &Arc<str>) -> Vec<SourceHealth> {
        let one = SourceHealth { name: name.clone(), ..SourceHealth::default() };
        match self {
            Self::Followed(status) => {
                let now = status.now();
                vec![SourceHealth { behind_bytes: Some(now.behind), last_error: now.problem, ..one }]
            }
            Self::Piped(failure) => {
                let failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                vec![SourceHealth { last_error: failure.as_ref().map(ToString::to_string), ..one }]
            }
            Self::Kafka(health) => {
                let now = health.now();
                let partition = |(partition, lag): (&i32, &Lag)| SourceHealth {
                    name: format!("{name}#{partition}").into(),
                    behind_messages: lag.messages,
                    ..SourceHealth::default()
                };
                let partitions = now.partitions.iter().map(partition);
                let whole = SourceHealth { last_error: now.problem(), ..one };
                std::iter::once(whole).chain(partitions).collect()
            }
            Self::Nothing => vec![one],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::mark::Position;
    use model::units::Moment;

    #[test]
    fn marks_of_a_topic() {
        let mark = |source: &str, offset| {
            let source: Arc<str> = source.into();
            let (next, older, read_at) = (Position { offset, ..Position::default() }, Vec::new(), Moment(0));
            (source.clone(), Mark { source, batch: 0, next, older, read_at, rebuild: false, caught_up: true })
        };
        let marks = HashMap::from([
            mark("kafka:log#3", 7),
            mark("kafka:log#12", 8),
            mark("kafka:log2#1", 9),
            mark("kafka:log#x", 10),
            mark("/var/log#3", 11),
        ]);
        assert_eq!(partition_marks("log", &marks), HashMap::from([(3, 7), (12, 8)]));
    }
}
