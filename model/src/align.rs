//! Puts what comes by several inputs in the order of its times, so that one input that is ahead of another makes
//! nobody's lines late.
//!
//! Each input keeps its own order; the oldest head goes first. An input of which nothing is there holds the others back
//! where more may come of it:
//!
//! - One that isn't known to be at its end holds back everything.
//! - One that is at its end holds back what is newer than what it may still bring: the clock less its delay, which is how
//!   old the newest item was on arrival that it brought while it was at its end. An input whose items always arrive 30 s
//!   late thus gets its 30 s, and one whose items are fresh holds nobody back; a backlog is no delay. After a silence of
//!   [`IDLE`] it doesn't hold anything back.
//! - Whoever has held something back for [`Aligner::new`]'s bound is waited for no longer, until it brings something.
//!
//! Time is an argument, and the memory is the caller's to bound: [`Aligner::bytes`] says what an input holds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::units::{Moment, Second};

/// An item that is older on arrival says nothing of the delay of others: no input is waited for longer.
pub const MAX_DELAY: Duration = Duration::from_secs(60);
/// A delay up to here holds nobody back: event times are whole seconds, and windows bear lines that are a bit late.
pub const SLACK: Duration = Duration::from_secs(2);
/// An input at its end that brought nothing for so long doesn't hold anything back.
pub const IDLE: Duration = Duration::from_secs(10);
/// What comes by several inputs, on its way to one order.
#[derive(Clone, Debug)]
pub struct Aligner<T> {
    inputs: BTreeMap<i32, Input<T>>,
    longest: Duration,
}

#[derive(Clone, Debug)]
struct Input<T> {
    queue: VecDeque<Held<T>>,
    bytes: usize,
    end: End,
    delay: Duration,
    last_push: Option<Moment>,
}

#[derive(Clone, Debug)]
struct Held<T> {
    second: Second,
    arrived: Moment,
    bytes: usize,
    item: T,
}

/// Whether more may be there of an input than it has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Unknown,
    Reached,
    /// It was waited for in vain.
    GivenUp,
}

impl<T> Aligner<T> {
    /// Without inputs. Nothing is held back for longer than `longest`.
    #[must_use]
    pub fn new(longest: Duration) -> Self {
        Self { inputs: BTreeMap::new(), longest }
    }

    /// Adds an input that isn't known to be at its end; one that is there already becomes an empty one.
    pub fn add(&mut self, input: i32) {
        let (queue, end) = (VecDeque::new(), End::Unknown);
        let fresh = Input { queue, bytes: 0, end, delay: Duration::ZERO, last_push: None };
        self.inputs.insert(input, fresh);
    }

    /// Forgets an input with what it brought.
    pub fn remove(&mut self, input: i32) {
        self.inputs.remove(&input);
    }

    /// An input brings an item. One that nobody added is ignored.
    pub fn push(&mut self, input: i32, second: Second, bytes: usize, item: T, now: Moment) {
        let Some(input) = self.inputs.get_mut(&input) else { return };
        let delay = Moment::from(second).until(now);
        let usual = input.delay + SLACK;
        if input.end == End::Reached && delay <= MAX_DELAY {
            input.delay = delay;
        }
        // Whoever is at its end and is no later than usual is still there; else it may be far behind.
        if input.end != End::Reached || delay > usual {
            input.end = End::Unknown;
        }
        input.last_push = Some(now);
        input.bytes = input.bytes.saturating_add(bytes);
        input.queue.push_back(Held { second, arrived: now, bytes, item });
    }

    /// At the moment an input has no more than it has brought.
    pub fn caught_up(&mut self, input: i32) {
        if let Some(input) = self.inputs.get_mut(&input) {
            input.end = End::Reached;
        }
    }

    /// How many bytes an input holds.
    #[must_use]
    pub fn bytes(&self, input: i32) -> usize {
        self.inputs.get(&input).map_or(0, |input| input.bytes)
    }

    /// Whether an input has nothing, and no more to bring at the moment.
    #[must_use]
    pub fn is_drained(&self, input: i32) -> bool {
        self.inputs.get(&input).is_none_or(|input| input.queue.is_empty() && input.end == End::Reached)
    }

    /// The input and the time of what [`Aligner::pop`] would give.
    pub fn peek(&mut self, now: Moment) -> Option<(i32, Second)> {
        let heads = self.inputs.iter().filter_map(|(&number, input)| Some((input.queue.front()?, number)));
        let (head, number) = heads.min_by_key(|(head, number)| (head.second, *number))?;
        let (second, waited) = (head.second, head.arrived.until(now));
        let mut held = false;
        let given_up = waited >= self.longest;
        for input in self.inputs.values_mut().filter(|input| input.queue.is_empty()) {
            if input.holds(second, now) {
                if given_up {
                    input.end = End::GivenUp;
                } else {
                    held = true;
                }
            }
        }
        (!held).then_some((number, second))
    }

    /// What comes next, if nothing that comes before it is waited for: the input, the time and the item.
    pub fn pop(&mut self, now: Moment) -> Option<(i32, Second, T)> {
        let (number, _) = self.peek(now)?;
        let input = self.inputs.get_mut(&number)?;
        let Held { second, bytes, item, .. } = input.queue.pop_front()?;
        input.bytes -= bytes;
        Some((number, second, item))
    }
}

impl<T> Input<T> {
    /// Whether it may still bring something older than `second`.
    fn holds(&self, second: Second, now: Moment) -> bool {
        match self.end {
            End::Unknown => true,
            End::GivenUp => false,
            End::Reached => {
                let delay = self.delay;
                let silent = self.last_push.is_none_or(|last| last.until(now) >= IDLE || now < last);
                !silent && delay > SLACK && Moment::from(second).until(now) < delay - SLACK
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONGEST: Duration = Duration::from_secs(90);

    fn at(seconds: i64) -> Moment {
        Moment(seconds * 1000)
    }

    fn aligner(inputs: i32) -> Aligner<&'static str> {
        let mut aligner = Aligner::new(LONGEST);
        (0..inputs).for_each(|input| aligner.add(input));
        aligner
    }

    fn all(aligner: &mut Aligner<&'static str>, now: Moment) -> Vec<&'static str> {
        std::iter::from_fn(|| aligner.pop(now)).map(|(_, _, item)| item).collect()
    }

    #[test]
    fn the_oldest_head_goes_first() {
        let mut aligner = aligner(2);
        aligner.push(0, Second(100), 1, "a", at(1000));
        aligner.push(0, Second(130), 1, "c", at(1000));
        assert_eq!(all(&mut aligner, at(1000)), [""; 0], "of the other nothing is known");
        aligner.push(1, Second(110), 1, "b", at(1000));
        assert_eq!(all(&mut aligner, at(1000)), ["a", "b"]);
        assert_eq!(all(&mut aligner, at(1000)), [""; 0]);
        aligner.caught_up(1);
        assert_eq!(all(&mut aligner, at(1000)), ["c"]);
        assert_eq!(aligner.bytes(0), 0);
    }

    #[test]
    fn a_late_input_makes_nobody_late() {
        let mut aligner = aligner(2);
        aligner.caught_up(1);
        aligner.push(1, Second(970), 1, "late", at(1000));
        aligner.caught_up(1);
        aligner.push(0, Second(1000), 1, "fresh", at(1000));
        assert_eq!(all(&mut aligner, at(1000)), ["late"]);
        aligner.push(1, Second(975), 1, "late too", at(1005));
        assert_eq!(all(&mut aligner, at(1005)), ["late too"]);
        aligner.push(1, Second(982), 1, "and again", at(1012));
        assert_eq!(all(&mut aligner, at(1012)), ["and again"]);
        assert_eq!(all(&mut aligner, at(1015)), [""; 0]);
        assert_eq!(all(&mut aligner, at(1022)), ["fresh"], "silent for 10 s");
    }

    #[test]
    fn fresh_inputs_hold_nobody_back() {
        let mut aligner = aligner(3);
        (0..3).for_each(|input| aligner.caught_up(input));
        for second in 1000..1010 {
            aligner.push(0, Second(second), 1, "x", at(second));
            assert_eq!(all(&mut aligner, at(second)), ["x"]);
        }
        aligner.push(1, Second(1009), 1, "y", at(1010));
        aligner.push(0, Second(1010), 1, "x", at(1010));
        assert_eq!(all(&mut aligner, at(1010)), ["y", "x"], "it is still at its end");
        aligner.push(1, Second(900), 1, "old", at(1010));
        aligner.push(0, Second(1010), 1, "x", at(1010));
        assert_eq!(all(&mut aligner, at(1010)), ["old"], "now it may be far behind");
        aligner.caught_up(1);
        assert_eq!(all(&mut aligner, at(1020)), ["x"]);
    }

    #[test]
    fn nobody_is_waited_for_without_end() {
        let mut aligner = aligner(2);
        aligner.push(0, Second(1000), 1, "a", at(1000));
        aligner.push(0, Second(1030), 1, "b", at(1030));
        assert_eq!(all(&mut aligner, at(1089)), [""; 0]);
        assert_eq!(all(&mut aligner, at(1090)), ["a", "b"], "the second doesn't wait 90 s again");
        aligner.push(1, Second(1010), 1, "there it is", at(1100));
        aligner.push(0, Second(1100), 1, "c", at(1100));
        assert_eq!(all(&mut aligner, at(1100)), ["there it is"]);
        assert_eq!(all(&mut aligner, at(1101)), [""; 0]);
        aligner.remove(1);
        assert_eq!(all(&mut aligner, at(1101)), ["c"]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(i32, i64),
        CaughtUp(i32),
        Remove(i32),
        Add(i32),
        Clock(i64),
        Pop,
    }

    /// The same by looking at everything each time.
    #[derive(Default)]
    struct Slow {
        /// By input: what it holds with time, arrival and name; what arrived when, with what delay, and whether it was at
        /// its end; whether it is at its end; whether it was given up.
        inputs: BTreeMap<i32, SlowInput>,
    }

    #[derive(Default)]
    struct SlowInput {
        held: Vec<(i64, i64, usize)>,
        arrivals: Vec<(i64, i64, bool)>,
        end: bool,
        given_up: bool,
    }

    fn delay_of(input: &SlowInput) -> i64 {
        let telling = input.arrivals.iter().rev().find(|&&(_, delay, end)| end && delay <= 60_000);
        telling.map_or(0, |&(_, delay, _)| delay)
    }

    impl Slow {
        fn push(&mut self, input: i32, second: i64, now: i64, name: usize) {
            let Some(input) = self.inputs.get_mut(&input) else { return };
            let delay = (now - second * 1000).max(0);
            let usual = delay_of(input) + 2000;
            input.arrivals.push((now, delay, input.end));
            input.end &= delay <= usual;
            input.given_up = false;
            input.held.push((second, now, name));
        }

        fn pop(&mut self, now: i64) -> Option<usize> {
            let heads = self.inputs.iter().filter_map(|(&n, input)| Some((input.held.first()?.0, n)));
            let (second, number) = heads.min()?;
            let waited = now - self.inputs[&number].held[0].1;
            let holds = |input: &SlowInput| {
                let last = input.arrivals.last().map(|arrival| arrival.0);
                let silent = last.is_none_or(|last| now - last >= 10_000);
                let delay = delay_of(input);
                let may_bring = now - (delay - 2000).max(0);
                let by_delay = delay > 2000 && !silent && second * 1000 > may_bring;
                input.held.is_empty() && !input.given_up && (!input.end || by_delay)
            };
            for input in self.inputs.values_mut() {
                if holds(input) {
                    if waited < 90_000 {
                        return None;
                    }
                    (input.given_up, input.end) = (true, false);
                }
            }
            Some(self.inputs.get_mut(&number)?.held.remove(0).2)
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4, -100..20_i64).prop_map(|(input, age)| Step::Push(input, age)),
            4 => (0..4).prop_map(Step::CaughtUp),
            1 => (0..4).prop_map(Step::Remove),
            1 => (0..4).prop_map(Step::Add),
            3 => (0..15_000_i64).prop_map(Step::Clock),
            1 => Just(Step::Clock(95_000)),
            6 => Just(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn as_the_slow_one(steps in proptest::collection::vec(step(), 0..120)) {
            let (mut fast, mut slow) = (Aligner::new(LONGEST), Slow::default());
            for input in 0..3 {
                fast.add(input);
                slow.inputs.insert(input, SlowInput::default());
            }
            let mut now = 1_000_000_123;
            for (name, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(input, age) => {
                        let second = Moment(now).second().0 + age;
                        fast.push(input, Second(second), 3, name, Moment(now));
                        slow.push(input, second, now, name);
                    }
                    Step::CaughtUp(input) => {
                        fast.caught_up(input);
                        if let Some(input) = slow.inputs.get_mut(&input) {
                            (input.end, input.given_up) = (true, false);
                        }
                    }
                    Step::Remove(input) => {
                        fast.remove(input);
                        slow.inputs.remove(&input);
                    }
                    Step::Add(input) => {
                        fast.add(input);
                        slow.inputs.insert(input, SlowInput::default());
                    }
                    Step::Clock(millis) => now += millis,
                    Step::Pop => {
                        let popped = fast.pop(Moment(now)).map(|(_, _, item)| item);
                        prop_assert_eq!(popped, slow.pop(now));
                    }
                }
                for (&number, input) in &slow.inputs {
                    prop_assert_eq!(fast.bytes(number), 3 * input.held.len());
                }
            }
        }
    }
}
