//! What does a firewall that runs say of itself, and of its agents?

use std::net::SocketAddr;

use super::agents;
use super::finding::{Finding, Level, Report};
use crate::control::client::{Client, ClientError};
use crate::control::views::AgentPage;
use crate::control::{AgentState, AgentView, Health};

const INSTANCE: &str = "running";
const AGENT: &str = "agent";

/// Asks the firewall that runs; whether there is one that answers.
pub(super) fn instance(client: &Client, report: &mut Report) -> bool {
    let health = client.get_any_status::<Health>("/healthz");
    let answers = health.is_ok();
    judge(health, report);
    answers
}

fn judge(health: Result<Health, ClientError>, report: &mut Report) {
    match health {
        Ok(health) => {
            if health.problems.is_empty() && health.ok {
                report.add(Finding::ok(INSTANCE, "ccfirewall runs, and has nothing to complain of"));
            }
            for problem in &health.problems {
                // The text says what to do, too.
                let found = format!("ccfirewall runs, and says ({}): {}", problem.kind, problem.text);
                let mend = "`ccfirewall agents`, and the program's log, say more";
                report.add(if health.ok {
                    Finding::warn(INSTANCE, found, mend)
                } else {
                    Finding::bad(INSTANCE, found, mend)
                });
            }
            if health.problems.is_empty() && !health.ok {
                report.add(Finding::bad(
                    INSTANCE,
                    "ccfirewall runs, and isn't well",
                    "see the program's log",
                ));
            }
        }
        Err(ClientError::NotRunning { socket, .. }) => {
            let found = format!("no ccfirewall runs with this state folder ({})", socket.display());
            report.add(Finding::skipped(INSTANCE, found));
        }
        Err(error @ ClientError::Denied(_)) => {
            report.add(Finding::warn(
                INSTANCE,
                error.to_string(),
                "run the doctor as that user, or with sudo",
            ));
        }
        Err(error) => {
            report.add(Finding::bad(INSTANCE, error.to_string(), "it may hang: see its log, and restart it"));
        }
    }
}

/// The agents as the firewall that runs sees them. Of those that were `asked` already only what isn't in order.
pub(super) fn agents(client: &Client, asked: &[SocketAddr], report: &mut Report) {
    let told = |agent: &AgentView| agent.address.parse().is_ok_and(|address| asked.contains(&address));
    match client.get::<AgentPage>("/api/v1/agents") {
        Ok(page) if page.agents.is_empty() => report.add(Finding::bad(
            AGENT,
            "there is none: bans are decided and kept, and nobody holds them",
            "leave [agent] of the configuration enabled, or list agents under [[agents]]",
        )),
        Ok(page) => page
            .agents
            .iter()
            .map(|agent| (agent, agent_finding(agent)))
            .filter(|(agent, finding)| finding.level > Level::Ok || !told(agent))
            .for_each(|(_, finding)| report.add(finding)),
        Err(error) => report.add(Finding::bad(AGENT, error.to_string(), "see the program's log")),
    }
}

fn agent_finding(agent: &AgentView) -> Finding {
    let AgentView { name, state, held, wanted, .. } = agent;
    let error = agent.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let found = format!("{name} is {}, and holds {held} of {wanted} bans{error}", state.name());
    if *state == AgentState::Up
        && let Some(finding) = agents::blocks_nobody(name, &agent.enforcer, &agent.warnings)
    {
        return finding;
    }
    match (state, agent.clock_skew_ms) {
        (AgentState::Refused, _) => Finding::bad(
            AGENT,
            found,
            "give both the same secret (mkey_file), and let no other ccfirewall steer this agent",
        ),
        (AgentState::Down, _) => Finding::bad(
            AGENT,
            found,
            format!("is ccfirewall-agent running there, and can this machine reach {}?", agent.address),
        ),
        (AgentState::Connecting | AgentState::Syncing, _) => {
            Finding::warn(AGENT, found, "look again in a moment")
        }
        (AgentState::Up, Some(skew)) if agents::is_wrong(skew) => agents::wrong_clock(name, skew),
        (AgentState::Up, _) => match agent.warnings.first() {
            Some(warning) => {
                Finding::warn(AGENT, format!("{found}; it says: {warning}"), "see the agent's log")
            }
            None => Finding::ok(AGENT, found),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Problem;

    #[test]
    fn what_a_running_one_says() {
        let check = |health, level| {
            let mut report = Report::default();
            judge(health, &mut report);
            assert_eq!(report.worst(), level, "{report:?}");
        };
        let problem = Problem { kind: "agent_down".to_owned(), text: "x".to_owned() };
        check(Ok(Health { ok: true, problems: Vec::new() }), Level::Ok);
        check(Ok(Health { ok: true, problems: vec![problem.clone()] }), Level::Warn);
        check(Ok(Health { ok: false, problems: vec![problem] }), Level::Bad);
        check(Ok(Health::default()), Level::Bad);
        check(Err(ClientError::NotRunning { socket: "/s".into(), reason: "" }), Level::Skipped);
        check(Err(ClientError::Denied("/s".into())), Level::Warn);
        check(Err(ClientError::NoAnswer { socket: "/s".into(), reason: String::new() }), Level::Bad);
    }

    #[test]
    fn agents_one_by_one() {
        let check = |change: fn(&mut AgentView), level| {
            let mut agent = AgentView { name: "a".to_owned(), state: AgentState::Up, ..AgentView::default() };
            change(&mut agent);
            assert_eq!(agent_finding(&agent).level, level, "{agent:?}");
        };
        check(|_| {}, Level::Ok);
        check(|agent| agent.state = AgentState::Down, Level::Bad);
        check(|agent| agent.state = AgentState::Refused, Level::Bad);
        check(|agent| agent.state = AgentState::Syncing, Level::Warn);
        check(|agent| agent.clock_skew_ms = Some(-2500), Level::Bad);
        check(|agent| agent.enforcer = "dry_run".to_owned(), Level::Warn);
        check(|agent| agent.clock_skew_ms = Some(500), Level::Ok);
        check(|agent| agent.warnings.push("x".to_owned()), Level::Warn);
    }
}
