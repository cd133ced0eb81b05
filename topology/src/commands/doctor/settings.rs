//! Are the settings in order that hold? They are in the file that is named, or in ZooKeeper; the rest is judged by them.

use std::path::Path;

use model::settings::Settings;
use zk_config::{ConfigNode, Look};

use super::finding::{Finding, Report};
use crate::adapters::settings_zookeeper::without_zookeeper;
use crate::config::Config;

const CHECK: &str = "settings";

/// Settings, and what is to be said of them.
type Judged = (Settings, Finding);

/// The settings of a configuration. `look` is what was seen in ZooKeeper, where that could be.
pub(super) fn of_config(config: &Config, look: Option<&Look>, report: &mut Report) -> Settings {
    let Some(place) = &config.zookeeper else { return of_file(config.settings.as_deref(), report) };
    let otherwise = || without_zookeeper(&config.state, config.settings.as_deref());
    let (settings, finding) = match look.map(|look| &look.settings) {
        Some(Ok(Some(node))) => of_node(node, &format!("{}/config in ZooKeeper", place.root), otherwise),
        Some(Ok(None)) => unmade(otherwise()),
        Some(Err(_)) | None => unread(otherwise()),
    };
    report.add(finding);
    settings
}

/// The settings of a file; the defaults where none is named, or it can't be used.
pub(super) fn of_file(path: Option<&Path>, report: &mut Report) -> Settings {
    let (settings, finding) = file(path);
    report.add(finding);
    settings
}

fn of_node(
    node: &ConfigNode,
    place: &str,
    otherwise: impl FnOnce() -> anyhow::Result<(Settings, String)>,
) -> Judged {
    let name = format!("version {} of {place}", node.version);
    match parsed(&node.text, &name, "`ccfirewall settings edit`") {
        Ok(judged) => judged,
        Err(mut finding) => {
            let (settings, from) = or_defaults(otherwise());
            finding.found.push_str(&format!("\nuntil they are mended there hold {from}"));
            finding.mend = Some(
                "`ccfirewall settings edit` shows each error and mends them; `ccfirewall settings history` has the \
                 versions before, and `rollback` goes back to one"
                    .to_owned(),
            );
            (settings, finding)
        }
    }
}

fn or_defaults(otherwise: anyhow::Result<(Settings, String)>) -> (Settings, String) {
    otherwise.unwrap_or_else(|_| (Settings::default(), "the defaults".to_owned()))
}

fn unmade(otherwise: anyhow::Result<(Settings, String)>) -> Judged {
    match otherwise {
        Ok((settings, from)) => {
            let found = format!("there are none in ZooKeeper yet: the first start creates them from {from}");
            (settings, Finding::skipped(CHECK, found))
        }
        Err(error) => (Settings::default(), bad_seed(&error)),
    }
}

fn unread(otherwise: anyhow::Result<(Settings, String)>) -> Judged {
    let (settings, from) = or_defaults(otherwise);
    let found = format!("those in ZooKeeper can't be read (see zookeeper); judged by {from}");
    (settings, Finding::skipped(CHECK, found))
}

fn bad_seed(error: &anyhow::Error) -> Finding {
    Finding::bad(
        CHECK,
        format!(
            "there are none in ZooKeeper yet, and the file that they are created from can't be used: {error:#}"
        ),
        "mend the file, which `settings` in the configuration names, or leave it out: then the defaults are the beginning",
    )
}

fn file(path: Option<&Path>) -> Judged {
    let Some(path) = path else {
        return (Settings::default(), Finding::skipped(CHECK, "none are named: the default rules hold"));
    };
    let name = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let finding = Finding::bad(
                CHECK,
                format!("{name} can't be read: {error}"),
                "`ccfirewall settings show` prints the defaults to begin with",
            );
            return (Settings::default(), finding);
        }
    };
    parsed(&bytes, &name, "`ccfirewall settings check`")
        .unwrap_or_else(|finding| (Settings::default(), finding))
}

/// Judges a text. `again`: what looks at it again.
fn parsed(bytes: &[u8], name: &str, again: &str) -> Result<Judged, Finding> {
    let listed = |findings: &[model::settings::Finding]| {
        findings.iter().map(|finding| format!("\n{finding}")).collect::<String>()
    };
    match Settings::parse(bytes) {
        Err(errors) => {
            let found = format!("{name} has errors:{}", listed(errors.findings()));
            Err(Finding::bad(CHECK, found, "docs/settings.md has every key; nothing runs with errors"))
        }
        Ok(parsed) if parsed.warnings.is_empty() => {
            Ok((parsed.settings, Finding::ok(CHECK, format!("{name} has no errors"))))
        }
        Ok(parsed) => {
            let found = format!("{name} has no errors, but:{}", listed(&parsed.warnings));
            Ok((parsed.settings, Finding::warn(CHECK, found, format!("{again} looks again"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use model::units::Moment;

    use super::super::finding::Level;
    use super::*;

    #[test]
    fn settings_are_read_and_judged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        let check = |json: &str, level, part: &str| {
            std::fs::write(&path, json).unwrap();
            let (_, finding) = file(Some(&path));
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(part), "{finding:?}");
        };
        check(r#"{"count": 7}"#, Level::Ok, "no errors");
        check(r#"{"if_block": false, "if_warning": false}"#, Level::Warn, "both off");
        check(r#"{"count": 0}"#, Level::Bad, "count");
        check("\u{0}", Level::Bad, "errors");
        assert_eq!(file(Some(&folder.path().join("none"))).1.level, Level::Bad);
        assert_eq!(file(None).1.level, Level::Skipped);
    }

    #[test]
    fn those_in_zookeeper() {
        let trusting = || Settings::parse(br#"{"trusted_proxies": ["10.0.0.0/8"]}"#).unwrap().settings;
        let check = |judged: Judged, level, part: &str, trusts: bool| {
            let (settings, finding) = judged;
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(part), "{finding:?}");
            assert_eq!(settings.trusted_proxies.contains("10.1.1.1".parse().unwrap()), trusts);
        };
        let node = |text: &str| ConfigNode {
            text: text.as_bytes().to_vec(),
            version: 3,
            czxid: 1,
            mzxid: 4,
            modified_at: Moment(0),
        };
        let held = || Ok((trusting(), "what held before".to_owned()));
        let nothing = || Err(anyhow::anyhow!("no such file"));
        let good = node(r#"{"trusted_proxies": ["10.0.0.0/8"]}"#);
        check(of_node(&good, "/c/config", nothing), Level::Ok, "version 3 of /c/config", true);
        check(of_node(&node(r#"{"count": 0}"#), "p", held), Level::Bad, "there hold what held before", true);
        check(of_node(&node("\u{0}"), "p", nothing), Level::Bad, "there hold the defaults", false);
        check(unmade(held()), Level::Skipped, "creates them from what held before", true);
        check(unmade(nothing()), Level::Bad, "no such file", false);
        check(unread(held()), Level::Skipped, "judged by what held before", true);
        check(unread(nothing()), Level::Skipped, "judged by the defaults", false);
    }
}
