//! `ccfirewall agents`: who holds the bans, and how that goes.

use std::io::{self, Write};

use model::text::shown;

use super::report_text::{grouped, table};
use super::running::Running;
use super::{FAILED, OK};
use crate::control::views::AgentPage;
use crate::control::{AgentState, AgentView};

/// Show the agents of a running firewall: whether they can be reached, and what they hold
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ccfirewall agents
  ccfirewall agents --output json | jq '.agents[] | select(.state != \"up\")'

Exit codes: 0 all agents are up; 1 one isn't, or the firewall can't be reached; 2 wrong usage.")]
pub(super) struct Args {
    #[command(flatten)]
    running: Running,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let page: AgentPage = self.running.client().get("/api/v1/agents")?;
        self.running.show(&page, |out, page| text(out, &page.agents))?;
        let all_up = page.agents.iter().all(|agent| agent.state == AgentState::Up);
        Ok(if all_up { OK } else { FAILED })
    }
}

/// Longer texts of agents are cut.
const LONGEST: usize = 300;

fn text(out: &mut dyn Write, agents: &[AgentView]) -> io::Result<()> {
    if agents.is_empty() {
        return writeln!(out, "There are no agents: bans are decided and kept, and nobody holds them.");
    }
    let header =
        ["agent", "address", "state", "enforcer", "version", "holds", "of", "queue", "repaired", "clock"];
    let mut table = table(&header, &[5, 6, 7, 8, 9]);
    for agent in agents {
        table.add_row([
            cut(&agent.name),
            cut(&agent.address),
            state(agent),
            cut(&agent.enforcer),
            cut(&agent.version),
            grouped(agent.held),
            grouped(agent.wanted),
            grouped(agent.queue),
            grouped(agent.repaired),
            agent.clock_skew_ms.map(skew).unwrap_or_default(),
        ]);
    }
    writeln!(out, "{table}")?;
    let troubles = agents.iter().flat_map(|agent| {
        let error = agent.last_error.iter().map(|error| ("error", error));
        let warnings = agent.warnings.iter().map(|warning| ("warning", warning));
        error.chain(warnings).map(move |(kind, text)| (agent, kind, text))
    });
    for (index, (agent, kind, text)) in troubles.enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        writeln!(out, "{gap}{kind}: {}: {}", cut(&agent.name), cut(text))?;
    }
    Ok(())
}

/// In a word, and whether it is only tried now and then.
fn state(agent: &AgentView) -> String {
    let name = agent.state.name();
    if agent.breaker_open { format!("{name} ({} failures, probed)", agent.failures) } else { name.to_owned() }
}

fn cut(text: &str) -> String {
    shown(text.as_bytes(), LONGEST)
}

/// How far a clock is off, where a person should care to look.
fn skew(millis: i64) -> String {
    match millis {
        -99..=99 => "right".to_owned(),
        millis => format!("{:+.1} s", millis as f64 / 1000.0),
    }
}
