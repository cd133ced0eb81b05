//! Can Kafka be reached, are its topics there, and how far behind is the group? What stands in the topic is for
//! `messages`.

use std::collections::BTreeMap;
use std::time::Duration;

use model::settings::Settings;

use super::finding::{Finding, Report, grouped, plain};
use super::messages::{self, Messages};
use super::now;
use crate::adapters::kafka::{Away, Cluster, Ends, KafkaError, Look, TopicSeen};
use crate::config::{Config, Input, Kafka, KafkaInput, Part, Source, Start};

const KAFKA: &str = "kafka";
const TOPIC: &str = "topic";
const LAG: &str = "lag";

/// So long the brokers may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What comes meanwhile is waited for so long.
const WATCH: Duration = Duration::from_secs(2);
/// About so many messages are looked at.
const MESSAGES: usize = 1000;
/// Partitions that serve a site well: as many as there will ever be workers that read.
const PARTITIONS: usize = 8;

/// Everything about Kafka, where the configuration has it.
pub(super) fn examine(config: &Config, settings: &Settings, report: &mut Report) {
    let Some(kafka) = &config.kafka else { return };
    let brokers = &kafka.client.brokers;
    let look = match Look::new(&kafka.client, &kafka.group) {
        Ok(look) => look,
        Err(error) => return report.add(failed(KAFKA, &error)),
    };
    let cluster = match look.cluster(PATIENCE) {
        Ok(cluster) => cluster,
        Err(away) => {
            report.add(unreachable(brokers, &away));
            return report.add(Finding::skipped(TOPIC, "without Kafka nothing can be told of its topics"));
        }
    };
    let count = match cluster.brokers {
        1 => "1 broker".to_owned(),
        n => format!("{n} brokers"),
    };
    report.add(Finding::ok(KAFKA, format!("Kafka answers at {brokers} ({count})")));
    let source = config.sources.iter().find_map(|source| match &source.input {
        Input::Kafka(input) => Some((source, input)),
        _ => None,
    });
    let access_log = source.map(|(source, input)| {
        report.about(format!("kafka:{}", input.topic));
        report.add(topic(&cluster, &input.topic, brokers));
        // Those who only count read what others have made of it.
        let lag = (config.parts() != [Part::Analyse]).then_some(input.start);
        let seen = cluster.find(&input.topic).filter(|seen| seen.leaderless == 0);
        if let Some(seen) = seen {
            of_topic(&look, seen, (source, input), &kafka.group, lag, settings, report);
        }
        report.about_nothing();
        seen.map_or(PARTITIONS, |seen| seen.partitions)
    });
    if !config.parts().is_empty() {
        exchange(kafka, &cluster, access_log.unwrap_or(PARTITIONS), report);
    }
    if config.parts().contains(&Part::Analyse)
        && let Some(hits) = cluster.find(&kafka.hits_topic).filter(|seen| seen.leaderless == 0)
        && let Ok(look) = Look::new(&kafka.client, &format!("{}.analyse", kafka.group))
        && let Ok(ends) = look.ends(&hits.name, hits.partitions, PATIENCE)
    {
        report.add(behind(&look, hits, &ends, &format!("{}.analyse", kafka.group), Start::Beginning));
    }
}

/// What its partitions tell. `lag`: where a group begins that has never read it, where ours reads it itself.
fn of_topic(
    look: &Look,
    seen: &TopicSeen,
    (source, input): (&Source, &KafkaInput),
    group: &str,
    lag: Option<Start>,
    settings: &Settings,
    report: &mut Report,
) {
    let ends = match look.ends(&seen.name, seen.partitions, PATIENCE) {
        Ok(ends) => ends,
        Err((error, away)) => return report.add(unread(&error, away.as_ref())),
    };
    if let Some(start) = lag {
        report.add(behind(look, seen, &ends, group, start));
    }
    match look.newest(&seen.name, &ends, MESSAGES, PATIENCE, WATCH, &now) {
        Ok(newest) => {
            let messages = Messages::read(&newest, input, &source.format);
            messages::judge(&messages, settings, now(), report);
        }
        Err(error) => report.add(failed("lines", &error)),
    }
}

fn behind(look: &Look, seen: &TopicSeen, ends: &[Ends], group: &str, start: Start) -> Finding {
    let asked = look.committed(&seen.name, seen.partitions, PATIENCE);
    match asked.and_then(|committed| Ok((committed, look.members(group, PATIENCE)?))) {
        Ok((committed, members)) => {
            lag(&seen.name, ends, &committed.into_iter().collect(), group, members, start)
        }
        Err(error) => failed(LAG, &error),
    }
}

fn failed(check: &'static str, error: &KafkaError) -> Finding {
    // The text says what to do, too: mostly behind its last semicolon.
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((found, mend)) => Finding::bad(check, found, mend),
        None => Finding::bad(check, text, "the broker's log says more"),
    }
}

fn unreachable(brokers: &str, Away { reason, refused }: &Away) -> Finding {
    let reason = plain(reason);
    if *refused {
        return Finding::bad(
            KAFKA,
            format!("Kafka at {brokers} doesn't let us in: {reason}"),
            "compare `security.protocol`, `sasl.*` and `ssl.*` in [kafka.properties] with what that port of the broker \
             expects (`listeners` in its server.properties)",
        );
    }
    Finding::bad(
        KAFKA,
        format!("no broker of Kafka can be reached at {brokers}: {reason}"),
        "see that Kafka runs, that `brokers` in [kafka] names its host and port, and that no firewall between keeps this \
         machine out; a ccfirewall that runs keeps its bans and goes on when Kafka is back",
    )
}

/// Brokers were found, and not the one that leads a partition.
fn unread(error: &KafkaError, away: Option<&Away>) -> Finding {
    match (error, away) {
        (KafkaError::Away { .. }, Some(Away { reason, .. })) => Finding::bad(
            TOPIC,
            format!("the brokers that lead its partitions can't be reached: {}", plain(reason)),
            "brokers name themselves by `advertised.listeners` in their server.properties: these names must lead to them \
             from this machine, too",
        ),
        _ => failed(TOPIC, error),
    }
}

impl Cluster {
    fn find(&self, name: &str) -> Option<&TopicSeen> {
        self.topics.iter().find(|topic| topic.name == name)
    }
}

/// Whether the access log is there, and can be read.
fn topic(cluster: &Cluster, name: &str, brokers: &str) -> Finding {
    let Some(seen) = cluster.find(name) else { return absent(cluster, name, brokers) };
    let partitions = plural(seen.partitions, "partition");
    if seen.leaderless > 0 {
        return leaderless(seen);
    }
    if seen.incomplete > 0 {
        return Finding::warn(
            TOPIC,
            format!("{name} has {partitions}, {} of them with a copy missing", seen.incomplete),
            "a broker is away or lags behind: `kafka-topics.sh --describe --under-replicated-partitions` tells which",
        );
    }
    Finding::ok(TOPIC, format!("{name} is there, with {partitions}"))
}

fn leaderless(seen: &TopicSeen) -> Finding {
    let TopicSeen { name, partitions, leaderless, .. } = seen;
    Finding::bad(
        TOPIC,
        format!(
            "{leaderless} of the {} of {name} have no broker that leads them",
            plural(*partitions, "partition")
        ),
        "start the brokers that are away: `kafka-topics.sh --describe --unavailable-partitions` names them",
    )
}

fn absent(cluster: &Cluster, name: &str, brokers: &str) -> Finding {
    let copies = cluster.brokers.clamp(1, 3);
    let create = format!(
        "create it: kafka-topics.sh --bootstrap-server {brokers} --create --topic {name} --partitions {PARTITIONS} \
         --replication-factor {copies}"
    );
    let others = similar(cluster, name);
    let found = format!("there is no topic {name} on {brokers}, or this user may not see it");
    if others.is_empty() {
        let found = if cluster.topics.iter().all(|topic| is_internal(&topic.name)) {
            format!("{found}; there is none at all")
        } else {
            found
        };
        return Finding::bad(TOPIC, found, create);
    }
    Finding::bad(
        TOPIC,
        format!("{found}; similar ones are there: {}", others.join(", ")),
        format!("if one of those is meant, name it in [[source]] (`kafka = …`); else {create}"),
    )
}

fn is_internal(name: &str) -> bool {
    name.starts_with("__")
}

/// The topics whose names are most like it, at most three.
fn similar<'c>(cluster: &'c Cluster, name: &str) -> Vec<&'c str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', '.'], "");
    let wanted = plain(name);
    let likeness = |topic: &'c TopicSeen| {
        let other = plain(&topic.name);
        let within = other.len() > 2 && (other.contains(&wanted) || wanted.contains(&other));
        let alike = if within { 1.0 } else { strsim::jaro_winkler(&other, &wanted) };
        (alike > 0.85 && !is_internal(&topic.name)).then_some((alike, topic.name.as_str()))
    };
    let mut alike: Vec<(f64, &str)> = cluster.topics.iter().filter_map(likeness).collect();
    alike.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    alike.into_iter().take(3).map(|(_, name)| name).collect()
}

/// More that wait than come in a moment.
const MANY: i64 = 10_000;

/// How far behind the group is. `committed` has the partitions in which it has committed anything.
fn lag(
    topic: &str,
    ends: &[Ends],
    committed: &BTreeMap<i32, i64>,
    group: &str,
    members: usize,
    start: Start,
) -> Finding {
    if committed.is_empty() {
        let place = match start {
            Start::End => "what comes from then on",
            Start::Beginning => "its first message",
        };
        return Finding::skipped(
            LAG,
            format!("the group {group} has never read {topic}: it begins with {place}"),
        );
    }
    let at = |ends: &Ends| committed.get(&ends.partition).copied().unwrap_or(ends.low);
    let lost: i64 = ends.iter().map(|ends| (ends.low - at(ends)).max(0)).sum();
    let waiting: i64 = ends.iter().map(|ends| (ends.high - at(ends).max(ends.low)).max(0)).sum();
    let (lost, many) = (u64::try_from(lost).unwrap_or(0), waiting > MANY);
    let waiting = grouped(u64::try_from(waiting).unwrap_or(0));
    let who = match members {
        0 => "nobody reads it now".to_owned(),
        n => plural(n, "member"),
    };
    let found = format!("{waiting} messages of {topic} wait for the group {group} ({who})");
    if lost > 0 {
        return Finding::warn(
            LAG,
            format!("{found}; {} were deleted before it had read them", grouped(lost)),
            "read faster (more workers, up to one for each partition), or keep messages longer: `retention.ms` of the topic",
        );
    }
    match (many, members) {
        (false, _) => Finding::ok(LAG, found),
        (true, 0) => {
            Finding::warn(LAG, found, "start ccfirewall: it goes on there, but old lines ban nobody")
        }
        (true, _) => Finding::warn(
            LAG,
            found,
            "look again in a minute; where it grows, add workers, up to one for each partition of the topic",
        ),
    }
}

/// The topics between workers. Whoever starts first makes those that aren't there.
fn exchange(kafka: &Kafka, cluster: &Cluster, sources: usize, report: &mut Report) {
    let topics =
        [(&kafka.hits_topic, None), (&kafka.findings_topic, Some(1)), (&kafka.key_bans_topic, Some(1))];
    for (name, exactly) in topics {
        report.add(between(name, cluster.find(name), exactly, sources));
    }
}

fn between(name: &str, seen: Option<&TopicSeen>, exactly: Option<usize>, sources: usize) -> Finding {
    let Some(seen) = seen else {
        let partitions = plural(exactly.unwrap_or(sources), "partition");
        let found = format!("{name} isn't there yet: the first worker makes it, with {partitions}");
        return Finding::skipped(TOPIC, found);
    };
    let partitions = plural(seen.partitions, "partition");
    if exactly.is_some_and(|exactly| exactly != seen.partitions) {
        return Finding::bad(
            TOPIC,
            format!("{name} has {partitions}, and workers read and write one alone"),
            "stop all workers, delete it (`kafka-topics.sh --delete`), and start them: they make it anew",
        );
    }
    if seen.leaderless > 0 {
        return leaderless(seen);
    }
    Finding::ok(TOPIC, format!("{name} is there, with {partitions}"))
}

fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[track_caller]
    fn check(finding: &Finding, level: Level, part: &str, mend: &str) {
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(part), "{finding:?}");
        assert!(finding.mend.clone().unwrap_or_default().contains(mend), "{finding:?}");
    }

    fn seen(name: &str, partitions: usize) -> TopicSeen {
        TopicSeen { name: name.to_owned(), partitions, ..TopicSeen::default() }
    }

    #[test]
    fn why_it_is_away() {
        let away =
            |reason: &str, refused| unreachable("k:9092", &Away { reason: reason.to_owned(), refused });
        check(&away("Connection refused", false), Level::Bad, "k:9092: Connection", "host and port");
        check(&away("SASL authentication failed", true), Level::Bad, "let us in", "[kafka.properties]");
        let error = KafkaError::Away { brokers: "k".to_owned(), reason: "timed out".to_owned() };
        let other = Away { reason: "inner:9092: refused".to_owned(), refused: false };
        check(&unread(&error, Some(&other)), Level::Bad, "inner:9092", "advertised.listeners");
        check(&unread(&error, None), Level::Bad, "no answer", "look whether the broker runs");
    }

    #[test]
    fn topics_that_are_there_and_not() {
        let mut cluster =
            Cluster { brokers: 1, topics: vec![seen("access-log", 8), seen("__consumer_offsets", 50)] };
        check(&topic(&cluster, "access-log", "k"), Level::Ok, "8 partitions", "");
        for name in ["access_log", "acces-log", "nginx-access-log", "access-logs"] {
            check(
                &topic(&cluster, name, "k"),
                Level::Bad,
                "similar ones are there: access-log",
                "--create --topic",
            );
        }
        let absent = topic(&cluster, "lines", "k:9092");
        check(
            &absent,
            Level::Bad,
            "no topic lines",
            "--bootstrap-server k:9092 --create --topic lines --partitions 8",
        );
        assert!(!absent.found.contains("similar"), "{absent:?}");
        check(&topic(&Cluster::default(), "lines", "k"), Level::Bad, "none at all", "--replication-factor 1");
        cluster.topics[0].incomplete = 3;
        check(&topic(&cluster, "access-log", "k"), Level::Warn, "3 of them", "under-replicated");
        cluster.topics[0].leaderless = 2;
        check(&topic(&cluster, "access-log", "k"), Level::Bad, "2 of the 8", "start the brokers");
    }

    #[test]
    fn how_far_behind_a_group_is() {
        let ends = [Ends { partition: 0, low: 10, high: 100 }, Ends { partition: 1, low: 0, high: 50_000 }];
        let check = |committed: &[(i32, i64)], members, level, part: &str| {
            let committed = committed.iter().copied().collect();
            check(&lag("t", &ends, &committed, "g", members, Start::End), level, part, "");
        };
        check(&[], 0, Level::Skipped, "never read t: it begins with what comes");
        check(&[(0, 100), (1, 50_000)], 1, Level::Ok, "0 messages of t wait for the group g (1 member)");
        check(&[(0, 90), (1, 49_990)], 0, Level::Ok, "20 messages of t wait for the group g (nobody");
        check(&[(0, 100)], 2, Level::Warn, "50,000 messages");
        check(&[(0, 3), (1, 50_000)], 1, Level::Warn, "7 were deleted");
    }

    #[test]
    fn topics_between_workers() {
        check(&between("hits", None, None, 4), Level::Skipped, "with 4 partitions", "");
        check(&between("findings", None, Some(1), 4), Level::Skipped, "with 1 partition", "");
        check(
            &between("findings", Some(&seen("findings", 3)), Some(1), 4),
            Level::Bad,
            "3 partitions",
            "delete",
        );
        check(&between("hits", Some(&seen("hits", 3)), None, 4), Level::Ok, "3 partitions", "");
        let gone = TopicSeen { leaderless: 1, ..seen("hits", 3) };
        check(&between("hits", Some(&gone), None, 4), Level::Bad, "no broker", "start");
    }
}
