//! From messages to batches of lines: unwraps them, puts partitions in the order of event time, and cuts batches, each of
//! one partition. No Kafka here, and no clock.
//!
//! A round gathers what has about the same time from all partitions, for 10 ms at most, and then gives each partition's
//! part as a batch: so batches aren't single lines, and partitions are never further apart than a second or two.
//!
//! While windows are filled again (`fill`), what is live waits until every partition is through.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bolts::tuples::LineBatch;
use model::align::Aligner;
use model::line::{LineParser, LogFormat};
use model::units::{Moment, Second, Seconds};

use super::envelope::{Envelope, Lines};
use crate::adapters::kafka::Message;

/// Nobody's lines wait longer for another partition.
const LONGEST_WAIT: Duration = Duration::from_secs(90);
/// A batch waits so long for more of its partition.
const GATHER: Duration = Duration::from_millis(10);
/// A round takes what is no more than that younger than its first.
const APART: Seconds = Seconds(1);
/// All partitions together hold about so many bytes.
const MEMORY: usize = 64 << 20;
/// A message's time is that of the first line that has one; so many are tried.
const LINES_TRIED: usize = 16;

/// Messages on their way to batches.
pub(super) struct Reading {
    envelope: Envelope,
    parser: LineParser,
    aligner: Aligner<Item>,
    inputs: BTreeMap<i32, Input>,
    filling: bool,
    round: Option<Round>,
    batch_bytes: usize,
    ready: VecDeque<Cut>,
}

/// A message's lines.
struct Item {
    lines: Lines,
    next: i64,
    rebuild: bool,
}

struct Round {
    second: Second,
    began: Moment,
    bytes: usize,
}

struct Input {
    /// What comes before was dealt with before the start.
    live_from: i64,
    /// Whether all of that is read.
    is_filled: bool,
    /// Whether nothing was there behind its newest message.
    at_end: bool,
    /// What came behind it while others were still filling.
    stash: Vec<Message>,
    /// The time of its newest item.
    second: Option<Second>,
    gathered: Lines,
    next: i64,
    rebuild: bool,
}

/// A batch of one partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) partition: i32,
    pub(super) lines: Lines,
    /// The offset behind its last message.
    pub(super) next: i64,
    pub(super) rebuild: bool,
    /// Whether nothing more was there.
    pub(super) caught_up: bool,
}

impl Cut {
    /// As tuples have it.
    pub(super) fn batch(&mut self) -> LineBatch {
        let Lines { bytes, too_long } = std::mem::take(&mut self.lines);
        let mut batch = LineBatch::new(bytes);
        batch.too_long = too_long;
        batch
    }
}

impl Reading {
    pub(super) fn new(envelope: Envelope, format: LogFormat, batch_bytes: usize) -> Self {
        Self {
            envelope,
            parser: LineParser::new(format),
            aligner: Aligner::new(LONGEST_WAIT),
            inputs: BTreeMap::new(),
            filling: false,
            round: None,
            batch_bytes,
            ready: VecDeque::new(),
        }
    }

    /// A partition comes; its first message is that at `from`.
    pub(super) fn add(&mut self, partition: i32, from: i64, live_from: i64) {
        self.aligner.add(partition);
        let is_filled = from >= live_from;
        self.inputs.insert(
            partition,
            Input {
                live_from,
                is_filled,
                at_end: false,
                stash: Vec::new(),
                second: None,
                gathered: Lines::default(),
                next: from,
                rebuild: false,
            },
        );
        if self.filling && is_filled {
            self.aligner.caught_up(partition);
        }
    }

    /// A partition goes. What isn't emitted of it is forgotten.
    pub(super) fn remove(&mut self, partition: i32) {
        self.aligner.remove(partition);
        self.inputs.remove(&partition);
        self.ready.retain(|cut| cut.partition != partition);
    }

    /// From here on what is live waits for [`Reading::is_filled`].
    pub(super) fn fill(&mut self) {
        self.filling = true;
        for (&partition, _) in self.inputs.iter().filter(|(_, input)| input.is_filled) {
            self.aligner.caught_up(partition);
        }
    }

    /// Whether no window is to be filled any more, and all that fills them was handed out.
    pub(super) fn is_filled(&self) -> bool {
        let drained =
            |(&partition, input): (&i32, &Input)| input.is_filled && self.aligner.bytes(partition) == 0;
        self.inputs.iter().all(drained) && self.round.is_none() && self.ready.is_empty()
    }

    /// What is live waits no longer.
    pub(super) fn go_live(&mut self, now: Moment) {
        self.filling = false;
        let partitions: Vec<i32> = self.inputs.keys().copied().collect();
        for partition in partitions {
            self.aligner.add(partition);
            let Some(input) = self.inputs.get_mut(&partition) else { continue };
            let (stash, at_end) = (std::mem::take(&mut input.stash), input.at_end);
            stash.into_iter().for_each(|message| self.message(message, now));
            // Kafka says it once for each end.
            if at_end {
                self.caught_up(partition);
            }
        }
    }

    /// A message comes.
    pub(super) fn message(&mut self, message: Message, now: Moment) {
        let Some(input) = self.inputs.get_mut(&message.partition) else { return };
        let partition = message.partition;
        input.is_filled |= message.offset >= input.live_from;
        input.at_end = false;
        if self.filling && input.is_filled {
            input.stash.push(message);
            self.aligner.caught_up(partition);
            return;
        }
        let mut lines = Lines::default();
        self.envelope.unwrap_into(message.payload.as_deref(), &mut lines);
        let by_message = || message.timestamp.map(|millis| Moment(millis).second());
        let second = time(&mut self.parser, &lines.bytes).or(input.second).or_else(by_message);
        // A clock that is ahead must not make the line wait.
        let second = second.map_or(now.second(), |second| second.min(now.second()));
        input.second = Some(second);
        let bytes = lines.bytes.len() + size_of::<Item>();
        let item = Item { lines, next: message.offset.saturating_add(1), rebuild: !input.is_filled };
        self.aligner.push(partition, second, bytes, item, now);
    }

    /// A partition has no more at the moment.
    pub(super) fn caught_up(&mut self, partition: i32) {
        if let Some(input) = self.inputs.get_mut(&partition) {
            (input.is_filled, input.at_end) = (true, true);
        }
        self.aligner.caught_up(partition);
    }

    /// Whether a partition had better wait: it has brought much more than others, or what may not go out yet.
    pub(super) fn is_ahead(&self, partition: i32) -> bool {
        let share = (MEMORY / self.inputs.len().max(1)).max(self.batch_bytes);
        let stashed = self.filling && self.inputs.get(&partition).is_some_and(|input| input.is_filled);
        stashed || self.aligner.bytes(partition) > share
    }

    /// Whether something of a partition isn't handed out yet.
    pub(super) fn holds(&self, partition: i32) -> bool {
        let gathered = |input: &Input| !input.stash.is_empty() || input.gathered != Lines::default();
        !self.aligner.is_drained(partition)
            || self.inputs.get(&partition).is_some_and(gathered)
            || self.ready.iter().any(|cut| cut.partition == partition)
    }

    /// The next batch, if there is one.
    pub(super) fn next(&mut self, now: Moment) -> Option<Cut> {
        if self.ready.is_empty() {
            self.gather(now);
        }
        self.ready.pop_front()
    }

    fn gather(&mut self, now: Moment) {
        while let Some((partition, second)) = self.aligner.peek(now) {
            let is_full = self
                .round
                .as_ref()
                .is_some_and(|round| second > round.second.plus(APART) || round.bytes >= self.batch_bytes);
            if is_full {
                return self.cut();
            }
            let Some((_, _, item)) = self.aligner.pop(now) else { break };
            let Some(input) = self.inputs.get_mut(&partition) else { continue };
            let Item { lines, next, rebuild } = item;
            let has_other = !input.gathered.bytes.is_empty() || input.gathered.too_long > 0;
            let (bytes, too_long) = (lines.bytes.len(), lines.too_long);
            if has_other && input.rebuild != rebuild {
                let other = std::mem::take(&mut input.gathered);
                let (next, rebuild) = (input.next, input.rebuild);
                self.ready.push_back(Cut { partition, lines: other, next, rebuild, caught_up: false });
            }
            if input.gathered.bytes.is_empty() {
                input.gathered.bytes = lines.bytes;
            } else {
                input.gathered.bytes.extend_from_slice(&lines.bytes);
            }
            input.gathered.too_long += too_long;
            (input.next, input.rebuild) = (next, rebuild);
            let round = self.round.get_or_insert(Round { second, began: now, bytes: 0 });
            round.bytes += bytes + size_of::<Item>();
            round.second = round.second.min(second);
        }
        let waited = |round: &Round| round.began.until(now) >= GATHER || now < round.began;
        if self.round.as_ref().is_some_and(waited) {
            self.cut();
        }
    }

    /// Ends the round.
    fn cut(&mut self) {
        self.round = None;
        for (&partition, input) in &mut self.inputs {
            let lines = std::mem::take(&mut input.gathered);
            if lines != Lines::default() {
                let (next, rebuild) = (input.next, input.rebuild);
                let caught_up = self.aligner.is_drained(partition);
                self.ready.push_back(Cut { partition, lines, next, rebuild, caught_up });
            }
        }
    }
}

/// The time of the first line that has one.
fn time(parser: &mut LineParser, bytes: &[u8]) -> Option<Second> {
    let lines = bytes.split(|&byte| byte == b'\n').take(LINES_TRIED);
    lines.filter(|line| !line.is_empty()).find_map(|line| parser.parse(line).ok().map(|line| line.second))
}

#[cfg(test)]
mod tests {
    use super::super::envelope::Shape;
    use super::*;
    use model::time::Civil;

    fn reading() -> Reading {
        let format = LogFormat::combined();
        let envelope = Envelope::new(Shape::Auto, &Envelope::KEYS, &format);
        Reading::new(envelope, format, 256 * 1024)
    }

    fn line(second: i64) -> String {
        let time = Civil::of(Second(second)).time_local();
        format!("192.0.2.1 - - [{time}] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"\n")
    }

    fn message(partition: i32, offset: i64, second: i64) -> Message {
        let payload = Some(line(second).into_bytes());
        Message { partition, offset, timestamp: None, key: None, payload }
    }

    fn at(seconds: i64) -> Moment {
        Moment(seconds * 1000)
    }

    /// All batches, each as its partition, the offset behind it, its lines, and whether it is rebuilt.
    fn all(reading: &mut Reading, now: Moment) -> Vec<(i32, i64, usize, bool)> {
        let mut all = Vec::new();
        for now in [now, Moment(now.0 + 10)] {
            while let Some(mut cut) = reading.next(now) {
                let lines = engine::Tuple::records(&cut.batch()) as usize;
                all.push((cut.partition, cut.next, lines, cut.rebuild));
            }
        }
        all
    }

    #[test]
    fn partitions_go_in_step() {
        let mut reading = reading();
        reading.add(0, 0, 0);
        reading.add(1, 0, 0);
        // A backlog: the second partition is 30 s behind the first.
        for n in 0..60 {
            reading.message(message(0, n, 1030 + n), at(5000));
            reading.message(message(1, n, 1000 + n), at(5000));
        }
        (0..2).for_each(|partition| reading.caught_up(partition));
        let batches = all(&mut reading, at(5000));
        let mut newest = [1029, 999];
        for (partition, next, lines, rebuild) in &batches {
            assert!(!rebuild && *lines <= 2);
            newest[usize::try_from(*partition).unwrap()] =
                [1030, 1000][usize::try_from(*partition).unwrap()] + next - 1;
            // Until it is through, the one behind is never overtaken by more than two seconds.
            assert!(
                newest[0] - newest[1] <= 30 && (newest[1] == 1059 || newest[0] <= newest[1].max(1029) + 2)
            );
        }
        assert_eq!(batches.iter().map(|batch| batch.2).sum::<usize>(), 120);
    }

    #[test]
    fn nothing_is_live_before_all_are_filled() {
        let mut reading = reading();
        reading.fill();
        reading.add(0, 10, 12);
        reading.add(1, 5, 5);
        reading.add(2, 0, 3);
        for offset in 10..14 {
            reading.message(message(0, offset, 1000), at(1010));
        }
        reading.message(message(1, 5, 1001), at(1010));
        assert_eq!(all(&mut reading, at(1010)), [], "of the last nothing is known yet");
        assert!(reading.is_ahead(0) && reading.is_ahead(1) && !reading.is_ahead(2));
        reading.message(message(2, 0, 1000), at(1010));
        assert_eq!(all(&mut reading, at(1010)), [(0, 12, 2, true), (2, 1, 1, true)]);
        assert!(!reading.is_filled());
        reading.caught_up(2);
        assert!(reading.is_filled());
        reading.go_live(at(1011));
        (0..2).for_each(|partition| reading.caught_up(partition));
        assert_eq!(all(&mut reading, at(1011)), [(0, 14, 2, false), (1, 6, 1, false)]);
    }

    #[test]
    fn what_has_no_time_goes_with_what_came_before() {
        let mut reading = reading();
        reading.add(0, 0, 0);
        reading.add(1, 0, 0);
        reading.message(message(0, 0, 1000), at(2000));
        reading.message(Message { payload: Some(b"\xff\0".to_vec()), ..message(0, 1, 0) }, at(2000));
        reading.message(Message { payload: None, ..message(0, 2, 0) }, at(2000));
        reading.message(message(0, 3, 9_999_999), at(2000));
        reading.message(message(1, 0, 1500), at(2000));
        (0..2).for_each(|partition| reading.caught_up(partition));
        assert_eq!(all(&mut reading, at(2000)), [(0, 3, 3, false), (1, 1, 1, false), (0, 4, 1, false)]);
    }

    #[test]
    fn one_that_goes_is_forgotten() {
        let mut reading = reading();
        reading.add(0, 0, 0);
        reading.message(message(0, 0, 1000), at(1000));
        reading.remove(0);
        reading.message(message(0, 1, 1000), at(1000));
        assert_eq!(all(&mut reading, at(1000)), []);
        assert!(reading.is_filled());
    }
}
