//! What is read again before live work begins.

use proptest::prelude::*;

use super::*;

const DISORDER: i64 = 30;

fn time_of(line: &[u8]) -> Option<model::units::Second> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix('T')?;
    text.split(' ').next()?.parse().ok().map(model::units::Second)
}

fn plan(horizon: u32, max_bytes: u64) -> RebuildPlan {
    RebuildPlan { horizon: model::units::Seconds(horizon), max_bytes, time_of: Arc::new(time_of) }
}

fn follow(
    path: &Path,
    start: Start,
    plan: RebuildPlan,
) -> (Vec<LineBatch>, Vec<LineBatch>, Arc<FollowStatus>) {
    let config = FollowConfig { rebuild: Some(plan), batch_bytes: 50_000, ..config(path, start) };
    let status = Arc::clone(&config.status);
    let mut spout = Follow::new(config).unwrap();
    let mut batches = Vec::new();
    while let Next::Emit(batch) = spout.next(Timestamp::from_millis(START)) {
        batches.push(batch);
    }
    let live =
        batches.iter().position(|batch| !batch.mark.as_ref().unwrap().rebuild).unwrap_or(batches.len());
    let live = batches.split_off(live);
    (batches, live, status)
}

/// A line of a log: how long after the one before, how far out of order, and how much it says; or noise.
fn lines() -> impl Strategy<Value = Vec<(u8, u8, u16, bool)>> {
    let noise = prop_oneof![9 => Just(false), 1 => Just(true)];
    let line = (0u8..4, 0..=DISORDER as u8, prop_oneof![20 => 20u16..200, 1 => 200u16..5000], noise);
    prop::collection::vec(line, 1..3_000)
}

fn write_lines(lines: &[(u8, u8, u16, bool)]) -> Vec<String> {
    let mut time = 1_000_000;
    let line = |(number, &(step, back, length, noise)): (usize, &(u8, u8, u16, bool))| {
        time += i64::from(step);
        let rest = "x".repeat(usize::from(length));
        if noise {
            format!("noise {number} {rest}\n")
        } else {
            format!("T{} {number} {rest}\n", time - i64::from(back))
        }
    };
    lines.iter().enumerate().map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn it_reaches_as_far_back_as_asked_and_ends_where_live_begins(
        lines in lines(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        live_from in any::<prop::sample::Index>(),
        horizon in 1u32..3_000,
        max_bytes in prop_oneof![3 => Just(u64::MAX), 1 => 0u64..400_000],
    ) {
        let lines = write_lines(&lines);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        // Rotated at the cuts; live work begins in the newest file.
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(lines.len())).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut from = 0;
        for (number, &to) in cuts.iter().enumerate() {
            let rotated = folder.path().join(format!("access.log.{}", cuts.len() - number));
            fs::write(&rotated, lines[from..to].concat()).unwrap();
            set_changed(&rotated, 1_000 + number as u64);
            from = to;
        }
        fs::write(&path, lines[from..].concat()).unwrap();
        let live_from = from + live_from.index(lines.len() - from + 1);
        let file = id_of(&fs::metadata(&path).unwrap());
        let offset = lines[from..live_from].concat().len() as u64;
        let next = Position { file, offset, check: 0 };

        let start = Start::At { next, older: Vec::new() };
        let (rebuilt, live, status) = follow(&path, start, plan(horizon, max_bytes));
        prop_assert_eq!(text(&live), lines[live_from..].concat(), "live begins exactly there");
        let rebuilt_text = text(&rebuilt);
        let before = lines[..live_from].concat();
        // The newest file may have had no line with a time yet; then there is nothing of it to read again.
        let timed = |text: &str| {
            let lines: Vec<&str> = text.lines().filter(|line| time_of(line.as_bytes()).is_some()).collect();
            lines.join("\n")
        };
        let begun = lines[from..live_from].iter().any(|line| time_of(line.as_bytes()).is_some());
        prop_assert!(timed(&before).ends_with(&timed(&rebuilt_text)), "what was before, up to there, in order");
        prop_assert!(!begun || before.ends_with(&rebuilt_text), "and nothing left out");
        prop_assert!(rebuilt_text.len() as u64 <= max_bytes);
        prop_assert_eq!(status.now().rebuilt_lines, rebuilt_text.lines().count() as u64);
        if let Some(last) = rebuilt.last().filter(|_| begun) {
            prop_assert_eq!(last.mark.as_ref().unwrap().next.offset, offset);
        }
        for (number, batch) in rebuilt.iter().chain(&live).enumerate() {
            prop_assert_eq!(batch.mark.as_ref().unwrap().batch, number as u64);
        }

        let times: Vec<_> = lines[..live_from].iter().map(|line| time_of(line.trim_end().as_bytes())).collect();
        let Some(last) = times.iter().rev().find_map(|&time| time) else { return Ok(()) };
        let wanted = times.iter().position(|time| time.is_some_and(|time| time.behind(last) <= i64::from(horizon)));
        let wanted = lines[wanted.unwrap()..live_from].concat();
        prop_assert!(
            timed(&rebuilt_text).len() >= timed(&wanted).len() || max_bytes < u64::MAX,
            "{} bytes of {} wanted ones", rebuilt_text.len(), wanted.len()
        );
    }

    /// Whatever a file holds, it ends where live work begins.
    #[test]
    fn noise_does_no_harm(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'T'), Just(b'9'), any::<u8>()], 0..500), repeat in 1usize..600) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, bytes.repeat(repeat)).unwrap();
        let (rebuilt, live, _) = follow(&path, Start::End, plan(100, u64::MAX));
        prop_assert!(live.iter().all(|batch| batch.bytes.is_empty()));
        let whole = bytes.repeat(repeat);
        let end = memchr::memrchr(b'\n', &whole).map_or(0, |at| at + 1);
        let rebuilt: Vec<u8> = rebuilt.iter().flat_map(|batch| batch.bytes.iter().copied()).collect();
        prop_assert!(whole[..end].ends_with(&rebuilt));
    }
}

#[test]
fn it_stops_near_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let lines: String = (0..100_000).map(|time| format!("T{time} {}\n", "x".repeat(50))).collect();
    fs::write(&path, &lines).unwrap();
    let (rebuilt, _, status) = follow(&path, Start::End, plan(1_000, u64::MAX));
    let rebuilt = text(&rebuilt);
    assert!(lines.ends_with(&rebuilt));
    let count = rebuilt.lines().count();
    assert!((1_060..3_500).contains(&count), "{count}");
    assert_eq!(status.now().state, FollowState::Live);
    assert_eq!(status.now().lines, 0);
}

#[test]
fn older_files_that_are_still_read_are_rebuilt_up_to_their_places() {
    let mut log = Log::with(Some("T100 a\nT101 b\n"), Start::Beginning);
    assert_eq!(log.after(0), "T100 a\nT101 b\n");
    log.rename("access.log.1");
    append(&log.path, "T103 d\n");
    log.millis += 100;
    let mark = log.batches().pop().unwrap().mark.unwrap();
    append(&log.beside("access.log.1"), "T102 c\n");
    append(&log.path, "T104 e\n");
    let (rebuilt, live, _) = follow(&log.path, Start::from(&*mark), plan(1_000, u64::MAX));
    assert_eq!(text(&rebuilt), "T100 a\nT101 b\nT103 d\n");
    assert_eq!(text(&live), "T102 c\nT104 e\n");
}
