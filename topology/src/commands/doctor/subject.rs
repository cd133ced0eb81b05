//! What is looked at.

use std::path::{Path, PathBuf};

use model::line::LogFormat;

use super::Args;
use super::finding::Finding;
use crate::config::{Config, Database, EnforcerChoice, Input, Source, Store};
use crate::control::client::usual_state;

/// What is looked at.
#[derive(Debug)]
pub(super) struct Subject {
    /// The logs that are followed, with how their lines are written.
    pub(super) logs: Vec<(PathBuf, LogFormat)>,
    /// The file with the settings, where no configuration says more of them.
    pub(super) settings: Option<PathBuf>,
    pub(super) state: PathBuf,
    pub(super) database: Database,
    pub(super) holder: Holder,
    /// The configuration, where there is one.
    pub(super) config: Option<Box<Config>>,
}

/// Who holds the bans.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// This machine's kernel, by that means.
    Here(EnforcerChoice),
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
            subject.config.iter_mut().for_each(|config| config.state.clone_from(state));
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
            holder: Holder::Here(EnforcerChoice::Auto),
            config: None,
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
    let log = |source: &Source| match &source.input {
        Input::Log { path, .. } => Some((path.clone(), source.format.clone())),
        Input::Stdin | Input::Generate(_) | Input::Kafka(_) => None,
    };
    let holder = match &config.agent {
        _ if config.dry_run => Holder::Nobody,
        // Workers of a fleet leave it to agents of their own.
        _ if !config.parts().is_empty() => Holder::Elsewhere,
        Some(agent) if agent.enforcer == EnforcerChoice::DryRun => Holder::Nobody,
        Some(agent) => Holder::Here(agent.enforcer),
        None => Holder::Elsewhere,
    };
    Ok(Subject {
        logs: config.sources.iter().filter_map(log).collect(),
        settings: None,
        state: config.state.clone(),
        database: config.store.database.clone(),
        holder,
        config: Some(Box::new(config)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_moves_with_its_state() {
        let moved = |database| moved(Path::new(database), Path::new("/a"), Path::new("/b"));
        assert_eq!(moved("/a/x.db"), Path::new("/b/x.db"));
        assert_eq!(moved("/c/x.db"), Path::new("/c/x.db"));
    }
}
