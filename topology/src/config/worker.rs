//! What a process does of all the work, and what it needs for that.

use super::{Config, Database, Input};

/// What a process does of all the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Which part.
    pub role: Role,
    /// What it is called.
    pub name: String,
}

/// A part of the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Everything: alone, or beside others where shippers key the topic by client
    #[default]
    All,
    /// Reads lines, and sends what is to be counted to those who count
    Match,
    /// Counts and decides; one of them at a time owns the bans
    Analyse,
}

impl Role {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Match => "match",
            Self::Analyse => "analyse",
        }
    }
}

/// A part of a fleet's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Reading lines.
    Match,
    /// Counting and deciding, and owning the bans.
    Analyse,
}

impl Part {
    /// Its name, as that of the role.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Match => Role::Match.name(),
            Self::Analyse => Role::Analyse.name(),
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { role: Role::All, name: if name.is_empty() { "worker".to_owned() } else { name } }
    }
}

impl Config {
    /// What this process does of a fleet's work; nothing where it does everything alone.
    #[must_use]
    pub fn parts(&self) -> &'static [Part] {
        let keyed = self.kafka.as_ref().is_some_and(|kafka| kafka.keyed_by_client);
        match self.worker.role {
            Role::Match => &[Part::Match],
            Role::Analyse => &[Part::Analyse],
            Role::All if keyed => &[Part::Match, Part::Analyse],
            Role::All => &[],
        }
    }

    /// What a role needs that isn't there, in a sentence each.
    #[must_use]
    pub fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        let parts = self.parts();
        if self.registered_agents.is_some() && self.zookeeper.is_none() {
            lacks.push("[registered_agents] needs [zookeeper]: that is where they register".to_owned());
        }
        if parts.is_empty() {
            return lacks;
        }
        let name = match self.worker.role {
            Role::All => "the role `all` with `keyed_by_client`".to_owned(),
            role => format!("the role `{}`", role.name()),
        };
        let mut needs = |there: bool, what: &str| {
            if !there {
                lacks.push(format!("{name} needs {what}"));
            }
        };
        let topics = self.sources.iter().filter(|source| matches!(source.input, Input::Kafka(_))).count();
        needs(self.kafka.is_some(), "[kafka]: workers share their work by its topics");
        needs(
            topics == 1 && self.sources.len() == 1,
            "exactly one source, a topic (`kafka = \"access-log\"` in [[source]])",
        );
        needs(
            self.zookeeper.is_some(),
            "[zookeeper]: workers have their settings there, and choose an owner",
        );
        if parts.contains(&Part::Analyse) {
            needs(
                matches!(self.store.database, Database::Mysql(_)),
                "a MySQL database (`url` in [store]): whoever owns the bans next must find them there",
            );
            needs(
                self.registered_agents.is_some() || !self.agents.is_empty(),
                "agents: [registered_agents] for those in ZooKeeper, or [[agents]]",
            );
            if self.dry_run {
                lacks
                    .push("a dry run is for one worker: `dry_run` goes with the role `all` alone".to_owned());
            }
        }
        lacks
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "[[source]]\nkafka = 'log'\n[zookeeper]\nservers = 'zk:2181'\n[registered_agents]\nmkey_env = 'KEY'\n{more}"
        );
        Config::parse(&text, Path::new("/etc/ccfirewall/ccfirewall.toml")).unwrap()
    }

    #[test]
    fn each_does_its_parts_and_says_what_they_lack() {
        let brokers = "[kafka]\nbrokers = ['k:9092']";
        let shared = "[store]\nurl = 'mysql://c@db/c'\npassword_env = 'P'";
        let check = |role: &str, kafka: &str, store: &str, parts: &[Part], lacks: Option<&str>| {
            let config = config(&format!("{brokers}\n{kafka}\n{store}\n[worker]\nrole = '{role}'"));
            assert_eq!(config.parts(), parts, "{role} {kafka}");
            let found = config.lacks();
            match lacks {
                None => assert_eq!(found, [] as [&str; 0], "{role} {kafka} {store}"),
                Some(part) => assert!(found.len() == 1 && found[0].contains(part), "{found:?}"),
            }
        };
        check("all", "", "", &[], None);
        check("match", "", "", &[Part::Match], None);
        check("analyse", "", shared, &[Part::Analyse], None);
        check("analyse", "", "", &[Part::Analyse], Some("MySQL"));
        let both = [Part::Match, Part::Analyse];
        check("all", "keyed_by_client = true", shared, &both, None);
        check("all", "keyed_by_client = true", "", &both, Some("`keyed_by_client` needs a MySQL"));
    }
}
