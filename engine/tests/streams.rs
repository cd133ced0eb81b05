//! Named streams, fan-in, feedback, and what the builder refuses.

mod common;

use std::sync::Arc;

use common::{MODES, each, pass, run};
use engine::testing::{Capture, Feed, TopologyTestDriver};
use engine::{BuildError, Collector, TopologyBuilder};
use serde::{Deserialize, Serialize};

type Numbers = Vec<u64>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Sorted {
    Small(u64),
    Big(String),
}

impl engine::Tuple for Sorted {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Big(String);

impl engine::Tuple for Big {}

impl From<Big> for Sorted {
    fn from(big: Big) -> Self {
        Sorted::Big(format!("big {}", big.0))
    }
}

#[test]
fn a_named_stream_takes_what_it_wants_and_fan_in_converts() {
    for mode in MODES {
        let (feed, seen, rest) = (Feed::new(), Capture::<Sorted>::new(), Capture::<Sorted>::new());
        feed.push(vec![1, 200, 3, 4000]);
        feed.end();
        let mut t = TopologyBuilder::new("streams");
        let numbers = t.spout("numbers", 1, feed.spout());
        let sort = |numbers: Numbers, out: &mut Collector<'_, Sorted>| {
            for n in numbers {
                out.emit(if n < 100 { Sorted::Small(n) } else { Sorted::Big(n.to_string()) });
            }
        };
        let sorted = t.bolt("sort", 2, move |_| each(sort)).shuffle(&numbers);
        let huge = sorted.stream("huge", |tuple| match tuple {
            Sorted::Big(digits) if digits.len() > 3 => Ok(Big(digits)),
            other => Err(other),
        });
        let any_big = sorted.stream("big", |tuple| match tuple {
            Sorted::Big(digits) => Ok(Big(digits)),
            other => Err(other),
        });
        let _seen = t.bolt("seen", 1, seen.bolt()).shuffle(&sorted).shuffle(&huge);
        let _rest = t.bolt("rest", 1, rest.bolt()).all(&any_big);
        assert!(run(mode, t.build().expect("it is sound")).is_clean());
        let expect = [Sorted::Small(1), Sorted::Small(3), Sorted::Big("big 4000".to_owned())];
        assert_eq!(seen.take(), expect, "{mode:?}");
        assert_eq!(rest.take(), [Sorted::Big("big 200".to_owned())]);
    }
}

#[test]
fn fields_grouping_sends_no_empty_parts() {
    for tasks in 1..4 {
        let (feed, seen) = (Feed::new(), Capture::<Numbers>::new());
        [vec![], vec![7], vec![]].into_iter().for_each(|numbers| feed.push(numbers));
        let mut t = TopologyBuilder::new("empty");
        let numbers = t.spout("numbers", 1, feed.spout());
        let _seen = t.bolt("seen", tasks, seen.bolt()).fields(&numbers);
        assert!(TopologyTestDriver::new(t.build().expect("it is sound")).finish().is_clean());
        assert_eq!(seen.take(), [[7]]);
    }
}

/// Each number is halved until it is odd; the way back is a feedback edge.
#[test]
fn feedback_closes_a_circle_and_is_part_of_its_batch() {
    for mode in MODES {
        for tasks in 1..4 {
            let (feed, seen) = (Feed::new(), Capture::<Numbers>::new());
            (0..40).for_each(|n| feed.push(vec![8 * n + 8, 2 * n + 1]));
            feed.end();
            let mut t = TopologyBuilder::new("halves");
            let numbers = t.spout("numbers", 1, feed.spout());
            let work = t.bolt("work", tasks, |_| pass::<Numbers>()).fields(&numbers);
            let halve = |numbers: Numbers, out: &mut Collector<'_, Numbers>| {
                let (even, odd): (Numbers, Numbers) = numbers.iter().partition(|n| *n % 2 == 0);
                out.emit(even.iter().map(|n| n / 2).collect());
                out.emit(odd);
            };
            let halved = t.bolt("halve", tasks, move |_| each(halve)).shuffle(&work);
            let odd = halved.stream("odd", |numbers: Numbers| {
                if numbers.iter().all(|n| n % 2 == 1) { Ok(numbers) } else { Err(numbers) }
            });
            t.feedback_fields(&halved, &work);
            let _seen = t.bolt("seen", 1, seen.bolt()).shuffle(&odd);
            let report = run(mode, t.build().expect("it is sound"));
            assert!(report.is_clean(), "{report}");
            let mut expect: Numbers =
                (1..=40_u64).map(|n| n >> n.trailing_zeros()).chain((0..40).map(|n| 2 * n + 1)).collect();
            let mut got = seen.take().concat();
            expect.sort_unstable();
            got.sort_unstable();
            assert_eq!(got, expect, "{mode:?}, {tasks} tasks");
        }
    }
}

#[test]
fn components_that_feed_each_other_are_gone_with_their_topology() {
    let build = |held: &Arc<()>| {
        let (feed, held) = (Feed::new(), held.clone());
        feed.push(vec![1]);
        feed.end();
        let mut t = TopologyBuilder::new("circle");
        let numbers = t.spout("numbers", 1, feed.spout());
        let work = t.bolt("work", 1, |_| pass::<Numbers>()).shuffle(&numbers);
        let back = t.bolt("back", 1, move |_| {
            let held = held.clone();
            each(move |_: Numbers, _: &mut Collector<'_, Numbers>| assert!(Arc::strong_count(&held) > 1))
        });
        let back = back.shuffle(&work);
        t.feedback_all(&back, &work);
        t.build().expect("it is sound")
    };
    for mode in MODES {
        let held = Arc::new(());
        assert!(run(mode, build(&held)).is_clean());
        assert_eq!(Arc::strong_count(&held), 1, "{mode:?}: somebody still has the factory");
    }
    let held = Arc::new(());
    drop(build(&held));
    assert_eq!(Arc::strong_count(&held), 1, "never started");
}

#[test]
fn a_batch_is_not_acked_before_its_feedback_is_done() {
    let feed = Feed::new();
    let (sender, anchors) = crossbeam_channel::unbounded();
    let mut t = TopologyBuilder::new("echo");
    let numbers = t.spout("numbers", 1, feed.spout());
    let hold_zero = move |_: &engine::TaskContext| {
        let sender = sender.clone();
        each(move |numbers: Numbers, out: &mut Collector<'_, Numbers>| match numbers[0] {
            0 => sender.send(out.anchor()).expect("the test listens"),
            n => out.emit(vec![n - 1]),
        })
    };
    let work = t.bolt("work", 2, hold_zero).fields(&numbers);
    let back = t.bolt("back", 1, |_| pass::<Numbers>()).shuffle(&work);
    t.feedback_all(&back, &work);
    let mut driver = TopologyTestDriver::new(t.build().expect("it is sound"));
    feed.push(vec![1]);
    driver.run_until_idle();
    assert_eq!(feed.acked(), []);
    assert_eq!(anchors.try_iter().count(), 2);
    driver.run_until_idle();
    assert_eq!(feed.acked().len(), 1);
}

#[test]
fn the_builder_lists_all_that_is_wrong() {
    let mut other = TopologyBuilder::new("other");
    let foreign = other.spout("foreign", 1, Feed::<Numbers>::new().spout());
    let mut t = TopologyBuilder::new("wrong");
    let numbers = t.spout("numbers", 0, Feed::<Numbers>::new().spout());
    let _named = numbers.stream("odd", Err::<Numbers, Numbers>);
    let _again = numbers.stream("odd", Err::<Numbers, Numbers>);
    let _same = t.bolt("numbers", 1, |_| pass::<Numbers>()).shuffle(&numbers);
    let _lonely = t.bolt("lonely", 1, |_| pass::<Numbers>());
    let _stranger = t.bolt("stranger", 1, |_| pass::<Numbers>()).all(&foreign).all(&numbers);
    let hen = t.bolt("hen", 1, |_| pass::<Numbers>()).shuffle(&numbers);
    let egg = t.bolt("egg", 1, |_| pass::<Numbers>()).shuffle(&hen);
    let _hen = hen.shuffle(&egg);
    let errors = t.build().expect_err("it is wrong");
    let expect = [
        BuildError::DuplicateName("odd".into()),
        BuildError::ForeignStream("stranger".into()),
        BuildError::NoTasks("numbers".into()),
        BuildError::DuplicateName("numbers".into()),
        BuildError::NoInput("lonely".into()),
        BuildError::Cycle(vec!["hen".into(), "egg".into()]),
    ];
    assert_eq!(errors.0, expect);
    assert!(errors.to_string().contains("hen, egg feed each other in a circle"), "{errors}");
    let empty = TopologyBuilder::new("empty").build().expect_err("it is empty");
    assert_eq!(empty.0, [BuildError::NoSpout]);
}
