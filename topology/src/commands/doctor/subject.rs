//! What is looked at.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::line::LogFormat;
use model::settings::Settings;

use super::Args;
use super::finding::Finding;
use crate::config::{Config, Database, EnforcerChoice, Input, Store};
use crate::control::client::usual_state;

/// What is looked at.
#[derive(Debug)]
pub(super) struct Subject {
    /// The logs that are followed, with how their lines are written.
    pub(super) logs: Vec<(PathBuf, LogFormat)>,
    pub(super) settings: Option<PathBuf>,
    pub(super) state: PathBuf,
    pub(super) database: Database,
    /// Agents on other hosts.
    pub(super) agents: Vec<SocketAddr>,
    pub(super) holder: Holder,
}

/// Who holds the bans.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// This machine's kernel.
    Here,
    /// Agents on other hosts only.
    Elsewhere,
    /// A dry run.
    Nobody,
}

/// Where nginx logs as Debian and others have it.
const USUAL_LOG: &str = "/var/log/nginx/access.log";

impl Args {
    /// What is looked at; or why that can't be told.
    pub(super) fn subject(&self) -> Result<Subject, Finding> {
        let usual = Path::new(Config::PATH);
        let asked =
            self.config.as_deref().or_else(|| (self.logs.is_empty() && usual.exists()).then_some(usual));
        let mut subject = match asked {
            Some(path) => from_config(path)?,
            None => self.named_logs()?,
        };
        if let Some(state) = &self.state {
            if let Database::Sqlite(path) = &mut subject.database {
                *path = moved(path, &subject.state, state);
            }
            subject.state.clone_from(state);
        }
        Ok(subject)
    }

    fn named_logs(&self) -> Result<Subject, Finding> {
        let format = self.format().map_err(|error| {
            Finding::bad(
                "format",
                format!("--log-format: {error}"),
                "paste what stands behind the name in nginx's log_format, in single quotes",
            )
        })?;
        let mut logs = self.logs.clone();
        if logs.is_empty() {
            logs.push(USUAL_LOG.into());
        }
        let state = usual_state();
        Ok(Subject {
            logs: logs.into_iter().map(|log| (log, format.clone())).collect(),
            settings: self.settings.clone(),
            database: Store::in_state(&state).database,
            state,
            agents: Vec::new(),
            holder: Holder::Here,
        })
    }

    fn format(&self) -> Result<LogFormat, String> {
        let path = Path::new(&self.log_format);
        let text = if !matches!(self.log_format.as_str(), "combined" | "json") && path.is_file() {
            std::fs::read_to_string(path)
                .map_err(|error| format!("can't read {}: {error}", path.display()))?
        } else {
            self.log_format.clone()
        };
        text.parse().map_err(|error: model::line::LogFormatError| error.to_string())
    }
}

/// A database in the old state folder lies in the new one, too.
fn moved(database: &Path, from: &Path, to: &Path) -> PathBuf {
    database.strip_prefix(from).map_or_else(|_| database.to_owned(), |name| to.join(name))
}

fn from_config(path: &Path) -> Result<Subject, Finding> {
    let config = Config::load(path).map_err(|error| {
        Finding::bad(
            "config",
            error.to_string(),
            "docs/configuration.md has every key; nothing else was looked at",
        )
    })?;
    let log = |source: crate::config::Source| match source.input {
        Input::Log { path, .. } => Some((path, source.format)),
        Input::Stdin | Input::Generate(_) | Input::Kafka(_) => None,
    };
    let holder = match &config.agent {
        _ if config.dry_run => Holder::Nobody,
        Some(agent) if agent.enforcer == EnforcerChoice::DryRun => Holder::Nobody,
        Some(_) => Holder::Here,
        None => Holder::Elsewhere,
    };
    Ok(Subject {
        logs: config.sources.into_iter().filter_map(log).collect(),
        settings: config.settings,
        state: config.state,
        database: config.store.database,
        agents: config.agents.iter().map(|agent| agent.address).collect(),
        holder,
    })
}

/// The settings, and what is to be said of them; the defaults where they can't be used.
pub(super) fn settings(path: Option<&Path>) -> (Settings, Finding) {
    const CHECK: &str = "settings";
    let defaults = Settings::default;
    let Some(path) = path else {
        return (defaults(), Finding::skipped(CHECK, "none are named: the default rules hold"));
    };
    let name = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let finding = Finding::bad(
                CHECK,
                format!("{name} can't be read: {error}"),
                "`ccfirewall settings show` prints the defaults to begin with",
            );
            return (defaults(), finding);
        }
    };
    let listed = |findings: &[model::settings::Finding]| {
        findings.iter().map(|finding| format!("\n{finding}")).collect::<String>()
    };
    match Settings::parse(&bytes) {
        Err(errors) => {
            let found = format!("{name} has errors:{}", listed(errors.findings()));
            (
                defaults(),
                Finding::bad(CHECK, found, "docs/settings.md has every key; nothing runs with errors"),
            )
        }
        Ok(parsed) if parsed.warnings.is_empty() => {
            (parsed.settings, Finding::ok(CHECK, format!("{name} has no errors")))
        }
        Ok(parsed) => {
            let found = format!("{name} has no errors, but:{}", listed(&parsed.warnings));
            (parsed.settings, Finding::warn(CHECK, found, "`ccfirewall settings check` looks again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn settings_are_read_and_judged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.json");
        let check = |json: &str, level, part: &str| {
            std::fs::write(&file, json).unwrap();
            let (_, finding) = settings(Some(&file));
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(part), "{finding:?}");
        };
        check(r#"{"count": 7}"#, Level::Ok, "no errors");
        check(r#"{"if_block": false, "if_warning": false}"#, Level::Warn, "both off");
        check(r#"{"count": 0}"#, Level::Bad, "count");
        check("\u{0}", Level::Bad, "errors");
        assert_eq!(settings(Some(&folder.path().join("none"))).1.level, Level::Bad);
        assert_eq!(settings(None).1.level, Level::Skipped);
    }

    #[test]
    fn a_database_moves_with_its_state() {
        let moved = |database| moved(Path::new(database), Path::new("/a"), Path::new("/b"));
        assert_eq!(moved("/a/x.db"), Path::new("/b/x.db"));
        assert_eq!(moved("/c/x.db"), Path::new("/c/x.db"));
    }
}
