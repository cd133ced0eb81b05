//! Does each agent answer, take our key, agree on the time, and may it change its host's firewall?

use std::net::SocketAddr;
use std::time::Duration;

use ccfirewall_thrift::DEFAULT_PORT;
use model::text::shown;
use zk_config::Look;

use super::finding::{Finding, Report, plain};
use super::now;
use crate::adapters::fleet::{AgentConfig, Answered, Asked, ask};
use crate::app::agents::{Registry, configured};
use crate::config::Config;

const CHECK: &str = "agent";

/// So long an agent may take to accept a connection, and to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// So many are asked at a time.
const AT_A_TIME: usize = 32;
/// A clock that is further off than so many milliseconds is wrong.
const SKEW: i64 = 2_000;
/// So much of what others say is shown.
const WORDS: usize = 300;

/// An agent that is to be asked.
struct Called {
    config: AgentConfig,
    /// Where its key is.
    mkey: String,
}

/// Asks every agent of the configuration, and those that are registered. Where they are, and how bad it is.
pub(super) fn examine(config: &Config, look: Option<&Look>, report: &mut Report) -> Vec<SocketAddr> {
    let mut called = Vec::new();
    for (agent, read) in config.agents.iter().zip(configured(&config.agents)) {
        match read {
            Ok(config) => called.push(Called { config, mkey: agent.mkey.to_string() }),
            Err(error) => report.add(unusable(&agent.name(), &error)),
        }
    }
    if config.registered_agents.is_some() && !matches!(look.map(|look| &look.agents), Some(Ok(_))) {
        let found = "which agents are registered can't be told: their list is in ZooKeeper (see zookeeper)";
        report.add(Finding::skipped(CHECK, found));
    }
    if let (Some(registered), Some(Ok(listed))) = (&config.registered_agents, look.map(|look| &look.agents)) {
        match Registry::read(registered) {
            Err(error) => report.add(unusable("those that register in ZooKeeper", &error)),
            Ok(registry) => {
                let fixed: Vec<AgentConfig> = called.iter().map(|called| called.config.clone()).collect();
                let (agents, left_out) = registry.agents(listed.clone(), &fixed);
                left_out.iter().for_each(|why| report.add(not_called(why)));
                let mkey = registered.mkey.to_string();
                called.extend(agents.into_iter().map(|config| Called { config, mkey: mkey.clone() }));
            }
        }
        if listed.is_empty() && called.is_empty() && !config.dry_run {
            report.add(nobody());
        }
    }
    for called in called.chunks(AT_A_TIME) {
        let ask = |called: &Called| ask(&called.config, PATIENCE, &now);
        let answers: Vec<Option<Asked>> = std::thread::scope(|scope| {
            let asking: Vec<_> = called.iter().map(|called| scope.spawn(|| ask(called))).collect();
            asking.into_iter().map(|asking| asking.join().ok()).collect()
        });
        for (called, asked) in called.iter().zip(answers) {
            if let Some(asked) = asked {
                judge(called, &asked).into_iter().for_each(|finding| report.add(finding));
            }
        }
    }
    called.into_iter().map(|called| called.config.address).collect()
}

fn unusable(name: &str, error: &anyhow::Error) -> Finding {
    Finding::bad(
        CHECK,
        format!("{name} can't be spoken to: {error:#}"),
        "a key is any line of text (`openssl rand -hex 32`), the same here and in the agent's --mkey-file; this user must be \
         allowed to read it",
    )
}

fn not_called(why: &str) -> Finding {
    Finding::bad(
        CHECK,
        shown(why.as_bytes(), WORDS),
        "agents and [registered_agents] must agree on TLS; what is no agent doesn't belong below agent_list/iptables: see who \
         wrote it, and delete it",
    )
}

fn nobody() -> Finding {
    Finding::bad(
        CHECK,
        "no agent is registered in ZooKeeper: bans are decided and kept, and nobody holds them",
        "start ccfirewall-agent on the hosts that clients connect to, with --zookeeper and the same servers and root; its log \
         says why it isn't there",
    )
}

fn judge(called: &Called, asked: &Asked) -> Vec<Finding> {
    let AgentConfig { name, address, tls, .. } = &called.config;
    let name = if *address == SocketAddr::new(address.ip(), DEFAULT_PORT) {
        name.to_string()
    } else {
        address.to_string()
    };
    let bad = |found: String, mend: String| vec![Finding::bad(CHECK, found, mend)];
    match asked {
        Asked::Answered(answered) => of_answer(&name, answered),
        Asked::Original => vec![Finding::skipped(
            CHECK,
            format!(
                "{name} is an agent of 2016: it answers, and says nothing of its clock and its rights; whether it takes the \
                 key in {} shows at the first ban (`ccfirewall agents`)",
                called.mkey
            ),
        )],
        Asked::WrongKey => bad(
            format!("{name} refuses our mkey: the one in {} isn't the one that it was started with", called.mkey),
            format!(
                "put the same line into {} here and into the agent's --mkey-file (or CCFIREWALL_MKEY) there, and restart \
                 ccfirewall-agent there and ccfirewall here",
                called.mkey
            ),
        ),
        Asked::Unreachable(why) => {
            let tls = match tls {
                None => "or does it want TLS (`tls_ca`)?",
                Some(_) => "does it speak TLS, and is its certificate of the authority in `tls_ca` and for that address?",
            };
            bad(
                format!("{name} can't be reached: {}", reason(*address, why)),
                format!(
                    "`systemctl status ccfirewall-agent` there says whether it runs: with an enforcer that is named \
                     (--enforcer nftables) it ends at once where it may not change the firewall (it needs CAP_NET_ADMIN). Does \
                     it --listen on that address, and does a firewall between let this machine through; {tls}"
                ),
            )
        }
        Asked::Hanging(why) => bad(
            format!("{name} takes connections and doesn't answer: {}", reason(*address, why)),
            "it may hang: see its log, and restart it; where that port is an agent with TLS, name its authority (`tls_ca`)"
                .to_owned(),
        ),
        Asked::Failing(why) => bad(
            format!("{name} answers that it fails: {}", reason(*address, why)),
            "see the agent's log".to_owned(),
        ),
    }
}

/// Why there is no answer, without what the finding says itself.
fn reason(address: SocketAddr, why: &str) -> String {
    let said = [format!("no connection to the agent at {address}: "), format!("the agent at {address} ")];
    let why = said.iter().find_map(|said| why.strip_prefix(said.as_str())).unwrap_or(why);
    plain(why.trim_end_matches(" (does it run, and is the port open?)").trim_end_matches(" (connect again)"))
}

fn of_answer(name: &str, answered: &Answered) -> Vec<Finding> {
    let Answered { version, enforcer, held, ready, warnings, skew } = answered;
    let mut findings: Vec<Finding> = blocks_nobody(name, enforcer, warnings).into_iter().collect();
    if let Some((skew, unsure)) = skew
        && skew.saturating_abs().saturating_sub(*unsure) > SKEW
    {
        findings.push(wrong_clock(name, *skew));
    }
    if !findings.is_empty() {
        return findings;
    }
    let what = format!("{name} answers ({enforcer}, version {version}) and holds {held} bans");
    if let Some(warning) = warnings.first() {
        return vec![Finding::warn(CHECK, format!("{what}; it says: {warning}"), "see the agent's log")];
    }
    let waits = if *ready { "" } else { ", and waits for an owner's full state" };
    vec![Finding::ok(CHECK, format!("{what}{waits}"))]
}

/// That an agent holds bans in its memory alone, and why.
pub(super) fn blocks_nobody(name: &str, enforcer: &str, warnings: &[String]) -> Option<Finding> {
    if enforcer != "dry_run" {
        return None;
    }
    let Some(why) = warnings.iter().find(|warning| warning.contains("NOBODY IS BLOCKED")) else {
        let found = format!("{name} is in a dry run, as it was told: nobody is blocked there");
        return Some(Finding::warn(CHECK, found, "for real bans start it with another --enforcer (auto)"));
    };
    Some(if why.contains("CAP_NET_ADMIN") {
        Finding::bad(
            CHECK,
            format!("{name} blocks nobody: it lacks CAP_NET_ADMIN, so it may not change its host's firewall"),
            "run it as root, or give its service the capability (systemd: AmbientCapabilities=CAP_NET_ADMIN, and \
             CapabilityBoundingSet must not take it away; containers: --cap-add NET_ADMIN), and restart it",
        )
    } else {
        Finding::bad(
            CHECK,
            format!("{name} blocks nobody: {why}"),
            "install or load on that host what it lacks, and restart the agent",
        )
    })
}

/// That an agent's clock is so many milliseconds ahead of ours, or behind.
pub(super) fn wrong_clock(name: &str, skew: i64) -> Finding {
    let way = if skew > 0 { "ahead of" } else { "behind" };
    let off = skew.unsigned_abs() as f64 / 1000.0;
    Finding::bad(
        CHECK,
        format!("the clock of {name} is {off:.1} s {way} this machine's"),
        "set both by NTP (`timedatectl set-ntp true`, or chrony); `timedatectl timesync-status` or `chronyc tracking` says \
         which of them is wrong. Times in logs don't agree until then",
    )
}

/// Whether a clock is so far off that it matters.
pub(super) fn is_wrong(skew: i64) -> bool {
    skew.saturating_abs() > SKEW
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn called() -> Called {
        let config = AgentConfig {
            name: "10.0.0.2".into(),
            address: "10.0.0.2:9090".parse().unwrap(),
            mkey: "hush".to_owned(),
            tls: None,
            original: false,
        };
        Called { config, mkey: "/etc/ccfirewall/mkey".to_owned() }
    }

    #[track_caller]
    fn check(asked: &Asked, level: Level, found: &str, mend: &str) {
        let findings = judge(&called(), asked);
        let worst = findings.iter().max_by_key(|finding| finding.level).unwrap();
        assert_eq!(worst.level, level, "{findings:?}");
        assert!(worst.found.contains(found) && worst.found.contains("10.0.0.2"), "{findings:?}");
        assert!(worst.mend.clone().unwrap_or_default().contains(mend), "{findings:?}");
        assert!(!format!("{findings:?}").contains("hush"));
    }

    #[test]
    fn those_that_do_not_answer() {
        check(&Asked::WrongKey, Level::Bad, "/etc/ccfirewall/mkey", "--mkey-file");
        check(&Asked::Unreachable("refused".to_owned()), Level::Bad, "refused", "CAP_NET_ADMIN");
        check(&Asked::Hanging("late".to_owned()), Level::Bad, "doesn't answer", "restart");
        check(&Asked::Failing("broken".to_owned()), Level::Bad, "broken", "log");
        check(&Asked::Original, Level::Skipped, "2016", "");
    }

    #[test]
    fn those_that_answer() {
        let check = |change: fn(&mut Answered), level, found: &str, mend: &str| {
            let mut answered = Answered {
                enforcer: "nftables".to_owned(),
                ready: true,
                skew: Some((30, 1)),
                ..Answered::default()
            };
            change(&mut answered);
            check(&Asked::Answered(answered), level, found, mend);
        };
        check(|_| {}, Level::Ok, "holds 0 bans", "");
        check(|answered| answered.ready = false, Level::Ok, "waits for an owner", "");
        check(|answered| answered.skew = None, Level::Ok, "", "");
        check(|answered| answered.skew = Some((2_500, 10)), Level::Bad, "2.5 s ahead", "timedatectl");
        check(|answered| answered.skew = Some((-2_500, 10)), Level::Bad, "2.5 s behind", "chrony");
        check(|answered| answered.skew = Some((i64::MIN, i64::MAX)), Level::Ok, "", "");
        check(|answered| answered.skew = Some((2_500, 600)), Level::Ok, "", "");
        check(|answered| answered.warnings.push("x y".to_owned()), Level::Warn, "x y", "log");
        let dry = |answered: &mut Answered, why: &str| {
            answered.enforcer = "dry_run".to_owned();
            answered.warnings.push(why.to_owned());
        };
        check(|_| {}, Level::Ok, "", "");
        let mut answered = Answered::default();
        dry(&mut answered, "a dry run, as asked for: nobody is blocked");
        super::tests::check(&Asked::Answered(answered), Level::Warn, "as it was told", "--enforcer");
        let mut answered = Answered::default();
        dry(
            &mut answered,
            "only a dry run, NOBODY IS BLOCKED: no rights (run as root, or with CAP_NET_ADMIN)",
        );
        super::tests::check(
            &Asked::Answered(answered),
            Level::Bad,
            "lacks CAP_NET_ADMIN",
            "AmbientCapabilities",
        );
        let mut answered = Answered::default();
        dry(&mut answered, "only a dry run, NOBODY IS BLOCKED: no ipset");
        super::tests::check(&Asked::Answered(answered), Level::Bad, "no ipset", "install");
    }

    #[test]
    fn what_is_not_called() {
        let finding = not_called("agent 10.0.0.9: no JSON\u{1b}[31m");
        assert_eq!(finding.level, Level::Bad);
        assert!(finding.found.contains("no JSON") && !finding.found.contains('\u{1b}'), "{finding:?}");
    }
}
