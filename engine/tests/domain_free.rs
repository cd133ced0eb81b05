//! The engine knows nothing of what is streamed: no word of any domain is in it.

use std::fs;
use std::path::{Path, PathBuf};

const FORBIDDEN: &str = "access accesses address addresses agent agents allowlist attack attacks attacker ban \
    banned banning bans block blocked blocker blocking blocks browser challenge client clients country \
    countries enforcer firewall firewalls geo geoip host hostname html http https ip ips ipset iptables \
    ipv4 ipv6 kafka log-line log-lines mysql nftables nginx redis request requests rule rules sql thrift tls \
    traffic unban unblock unbanned uri url urls verdict visitor webhook whitelist zookeeper";

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the crate can be read") {
        let path = entry.expect("the crate can be read").path();
        if path.is_dir() {
            if !path.ends_with("target") {
                files(&path, found);
            }
        } else if path.file_name() != Path::new(file!()).file_name() {
            found.push(path);
        }
    }
}

fn forbidden_words(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase().replace("log line", "log-line");
    let mut words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    words.extend(text.split(|c: char| !c.is_ascii_alphanumeric()));
    FORBIDDEN.split_whitespace().filter(|word| words.contains(word)).collect()
}

#[test]
fn no_file_has_a_word_of_a_domain() {
    let mut found = Vec::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    assert!(found.len() > 20, "the crate's files were not found");
    let tripped: Vec<_> = found
        .iter()
        .filter_map(|path| {
            let bytes = fs::read(path).expect("the crate can be read");
            let words = forbidden_words(&String::from_utf8_lossy(&bytes));
            (!words.is_empty()).then(|| (path.display().to_string(), words))
        })
        .collect();
    assert!(tripped.is_empty(), "{tripped:#?}");
}

#[test]
fn the_check_sees_words_but_not_parts_of_words() {
    assert_eq!(forbidden_words("the fire_rules, a Log Line"), ["log-line", "rules"]);
    assert!(forbidden_words("urbane blockade descriptor").is_empty());
}
