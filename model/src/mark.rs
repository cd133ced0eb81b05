//! Where in its source a batch of lines ends: what a restart needs to go on right behind it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::units::Moment;

/// A file, whatever it is called at the moment: rotation changes its name and not this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId {
    /// The device that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

/// A place in a source. Sources without files (standard input, a generator) count bytes from their start in
/// file 0. Of a Kafka topic the inode is the partition, and the offset is that of the message that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which file.
    pub file: FileId,
    /// Bytes before the place.
    pub offset: u64,
    /// The CRC-32 of the last bytes before the place (up to [`Position::CHECKED`]), by which a file is told that
    /// was emptied and filled again, or got the inode of one that is gone; 0 where nothing is known.
    #[serde(default)]
    pub check: u32,
}

impl Position {
    /// How many bytes `check` is of, where there are as many.
    pub const CHECKED: usize = 64;
}

/// What a batch of a live source carries down to the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The source's name: its path, `-`, `generator`, or `kafka:topic#partition`.
    pub source: Arc<str>,
    /// The batch's number among its source's since the start, from 0, without gaps.
    pub batch: u64,
    /// Where the source goes on: behind what was read of its newest file.
    pub next: Position,
    /// Files before that one that may still have lines, the oldest first, each from its position on: nginx goes
    /// on writing to a rotated file until it has reopened its logs.
    #[serde(default)]
    pub older: Vec<Position>,
    /// The clock when the batch was read.
    pub read_at: Moment,
    /// Whether its lines were decided on before the last restart: then they only fill windows again.
    pub rebuild: bool,
    /// Whether nothing more was there to read.
    pub caught_up: bool,
}

impl Mark {
    /// The name under which the source is configured: of a partition that of its topic, `kafka:topic`.
    #[must_use]
    pub fn origin(&self) -> &str {
        match self.source.rsplit_once('#') {
            Some((topic, _)) if topic.starts_with("kafka:") => topic,
            _ => &self.source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_of_its_topic() {
        let check = |source: &str, expect: &str| {
            let (next, older, read_at) = (Position::default(), Vec::new(), Moment(0));
            let source = source.into();
            let mark = Mark { source, batch: 0, next, older, read_at, rebuild: false, caught_up: true };
            assert_eq!(mark.origin(), expect);
        };
        check("kafka:access-log#12", "kafka:access-log");
        check("kafka:access-log", "kafka:access-log");
        check("/var/log/a#1", "/var/log/a#1");
        check("-", "-");
    }
}
