//! Where a partition begins: what was dealt with, and how far before that windows are filled again.

use crate::adapters::kafka::Assigned;
use crate::config::Start;

/// What is known of a partition beside what the broker says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Where this process went on last.
    pub(super) memory: Option<i64>,
    /// Where the journal says that the last process did.
    pub(super) mark: Option<i64>,
    /// Where the group begins that has never read the topic.
    pub(super) start: Start,
}

/// Where a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    /// The first offset that is read.
    pub(super) from: i64,
    /// The first that isn't dealt with. What is before it fills windows again.
    pub(super) live_from: i64,
}

/// The first offset that isn't dealt with. `worker` is who commits for this state folder.
///
/// The journal is the truth where we committed last: what it lacks is to be decided on again, for it may have lost its end
/// when the power went. Where another worker committed last, the further of both is: it has dealt with what is between.
pub(super) fn live_from(assigned: &Assigned, known: Known, worker: &str) -> i64 {
    let ours = known.memory.or(known.mark);
    match (ours, &assigned.committed) {
        (Some(ours), Some(committed)) if committed.metadata != worker => ours.max(committed.offset),
        (Some(ours), _) => ours,
        (None, Some(committed)) => committed.offset,
        (None, None) if assigned.group_is_known => assigned.low,
        (None, None) => match known.start {
            Start::End => assigned.high,
            Start::Beginning => assigned.low,
        },
    }
}

/// Where it is read from. `since` is the first offset within the horizon, if there is one; at most `most` messages are read
/// again.
pub(super) fn begin(
    assigned: &Assigned,
    live_from: i64,
    memory: Option<i64>,
    since: Option<i64>,
    most: i64,
) -> Begin {
    let Assigned { low, high, .. } = *assigned;
    // Nothing of it is there any more: whoever begins there is told of the loss.
    if live_from < low || live_from > high {
        return Begin { from: live_from, live_from };
    }
    let again = since.unwrap_or(live_from).max(live_from.saturating_sub(most)).max(low);
    // Up to where this process was, its windows are filled.
    let again = memory.map_or(again, |memory| again.max(memory));
    Begin { from: again.min(live_from), live_from }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::kafka::Committed;

    fn assigned(low: i64, high: i64, committed: Option<(i64, &str)>, group_is_known: bool) -> Assigned {
        let committed =
            committed.map(|(offset, metadata)| Committed { offset, metadata: metadata.to_owned() });
        Assigned { partition: 0, committed, low, high, group_is_known }
    }

    #[test]
    fn what_is_dealt_with() {
        let check = |committed, memory, mark, known, expect| {
            let assigned = assigned(5, 90, committed, known);
            let known = Known { memory, mark, start: Start::End };
            assert_eq!(live_from(&assigned, known, "us"), expect);
        };
        check(None, None, None, false, 90);
        check(None, None, None, true, 5);
        check(Some((40, "us")), None, None, true, 40);
        check(Some((40, "us")), None, Some(30), true, 30);
        check(Some((40, "us")), Some(50), Some(30), true, 50);
        check(Some((40, "them")), None, Some(30), true, 40);
        check(Some((40, "them")), None, Some(50), true, 50);
        let known = Known { start: Start::Beginning, ..Known::default() };
        assert_eq!(live_from(&assigned(5, 90, None, false), known, "us"), 5);
    }

    #[test]
    fn what_is_read_again() {
        let check = |live, memory, since, most, expect: (i64, i64)| {
            let begin = begin(&assigned(5, 90, None, false), live, memory, since, most);
            assert_eq!((begin.from, begin.live_from), expect);
        };
        check(40, None, Some(20), 1000, (20, 40));
        check(40, None, Some(2), 1000, (5, 40));
        check(40, None, Some(20), 7, (33, 40));
        check(40, None, Some(60), 1000, (40, 40));
        check(40, None, None, 1000, (40, 40));
        check(40, Some(40), Some(20), 1000, (40, 40));
        check(40, Some(30), Some(20), 1000, (30, 40));
        check(3, None, Some(2), 1000, (3, 3));
        check(91, None, Some(20), 1000, (91, 91));
        check(90, None, Some(20), i64::MAX, (20, 90));
    }
}
