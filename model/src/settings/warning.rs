//! What is allowed and most probably not meant.

use std::collections::HashMap;

use super::document::Document;
use super::finding::{Finding, Findings, Path, shown};
use super::list::{ALL, NetworkList};
use crate::rule::GlobalUrls;
use crate::units::Seconds;
use crate::url::UrlPattern;

/// The warnings of a document, in the order of its keys.
pub(super) fn warnings(document: &Document) -> Vec<Finding> {
    let mut findings = Findings::default();
    levels(document, &mut findings);
    lists(document, &mut findings);
    special_rules(document, &mut findings);
    policy(document, &mut findings);
    findings.0
}

fn levels(document: &Document, findings: &mut Findings) {
    if !document.if_block.0 && !document.if_warning.0 {
        let message = "`if_block` and `if_warning` are both off: nobody is ever blocked or warned";
        findings.add(&Path::Top.key("if_block"), message);
    }
    if never_warns(document, document.warn_within.0, document.block_within.0) {
        findings.add(&Path::Top.key("threshold_w_secound"), NEVER_WARNS);
    }
    if document.block_for.0 == Seconds(0) {
        findings.add(&Path::Top.key("block_second"), ENDS_AT_ONCE);
    }
}

const NEVER_WARNS: &str =
    "not longer than `threshold_secound`, so whoever could be warned is blocked instead";
const ENDS_AT_ONCE: &str = "a block of 0 seconds ends within the second of its decision";

fn spares_all(family: &str) -> String {
    format!("is every {family} address: nobody with one is ever warned or blocked")
}

/// Where both levels hold a block wins, so a warning needs the longer threshold.
fn never_warns(document: &Document, warn_within: Seconds, block_within: Seconds) -> bool {
    document.if_block.0 && document.if_warning.0 && warn_within <= block_within
}

fn lists(document: &Document, findings: &mut Findings) {
    every_address(&document.allowlist, &Path::Top.key("ip_white_list"), spares_all, findings);
    let at = Path::Top.key("url_black_list");
    if let GlobalUrls::Listed(urls) = &document.global_urls.0 {
        if urls.is_empty() && document.special_rule.0.is_empty() {
            findings.add(
                &at,
                "empty, and there is no special rule: nothing is counted; `[\"all\"]` is every URL",
            );
        }
        for (index, url) in urls.iter().enumerate() {
            if let Some(message) = doubt(url, document) {
                findings.add(&at.item(index), message);
            }
        }
    }
}

fn special_rules(document: &Document, findings: &mut Findings) {
    let at = Path::Top.key("special_rule");
    let rules = &document.special_rule.0;
    let mut winners: HashMap<_, &UrlPattern> = HashMap::with_capacity(rules.len());
    for (url, _) in rules {
        let winner = winners.entry((url.host(), url.path(), url.is_prefix())).or_insert(url);
        if url.precedence() < winner.precedence() {
            *winner = url;
        }
    }
    for (url, rule) in rules {
        let at = at.key(url.text());
        if let Some(message) = doubt(url, document) {
            findings.add(&at, message);
        }
        let winner = winners[&(url.host(), url.path(), url.is_prefix())];
        if winner.text() != url.text() {
            let winner = shown(winner.text());
            findings.add(&at, format!("the same URL as {winner}, which wins: this rule never counts"));
        }
        let warn_within = rule.warn_within.unwrap_or(document.warn_within);
        let block_within = rule.block_within.unwrap_or(document.block_within);
        let inherited = (warn_within, block_within) == (document.warn_within, document.block_within);
        if !inherited && never_warns(document, warn_within.0, block_within.0) {
            findings.add(&at.key("threshold_w_secound"), NEVER_WARNS);
        }
        let block_for = rule.block_for.unwrap_or(document.block_for);
        if block_for != document.block_for && block_for.0 == Seconds(0) {
            findings.add(&at.key("block_second"), ENDS_AT_ONCE);
        }
    }
}

fn policy(document: &Document, findings: &mut Findings) {
    let forged = |family: &str| {
        format!(
            "trusts every {family} address: X-Forwarded-For decides who such a client is, and anyone can write \
             anything there; list the proxies only"
        )
    };
    every_address(&document.trusted_proxies, &Path::Top.key("trusted_proxies"), forged, findings);
    every_address(&document.protected, &Path::Top.key("protected"), spares_all, findings);
    let prefix = document.ipv6_prefix.0.0;
    let at = Path::Top.key("ipv6_prefix");
    if prefix < 32 {
        findings.add(&at, format!("a /{prefix} can be a whole provider: all its clients are blocked as one"));
    } else if prefix > 64 {
        let message =
            format!("one client mostly has a whole /64, and can evade a /{prefix} by changing addresses");
        findings.add(&at, message);
    }
    if document.warn_for.0 == Seconds(0) {
        let message = "a warning of 0 seconds ends within the second of its decision";
        findings.add(&Path::Top.key("warn_second"), message);
    }
    if document.max_new_bans_per_minute.0.0 == 0 {
        findings.add(&Path::Top.key("max_new_bans_per_minute"), "0 holds every ban: none is enforced");
    }
    if document.max_banned_share.0.0 == 0.0 {
        findings.add(&Path::Top.key("max_banned_share"), "0 holds every ban: none is enforced");
    }
}

/// Warns of networks that hold all addresses of their family.
fn every_address(
    list: &NetworkList,
    at: &Path<'_>,
    message: impl Fn(&str) -> String,
    findings: &mut Findings,
) {
    for (index, network) in list.0.iter().enumerate().filter(|(_, network)| network.prefix() == 0) {
        let family = if network.first().is_ipv4() { "IPv4" } else { "IPv6" };
        findings.add(&at.item(index), format!("{network} {}", message(family)));
    }
}

/// Why a URL of the settings will hardly match what its author had in mind.
fn doubt(url: &UrlPattern, document: &Document) -> Option<String> {
    let text = url.text();
    let scheme_end = text.find("://").filter(|&end| !text[..end].contains('/'));
    let bare = scheme_end.map_or(text, |end| &text[end + 3..]);
    let path = &bare[..bare.find(['?', '#']).unwrap_or(bare.len())];
    if scheme_end.is_some() {
        return Some(format!(
            "can never match: URLs are compared without their scheme; write {}",
            shown(path)
        ));
    }
    if path.len() < bare.len() {
        let reason = "can never match: URLs are compared without what follows `?` or `#`";
        return Some(format!("{reason}; write {}", shown(path)));
    }
    if text.trim() != text {
        return Some(format!("can never match: there is space around it; write {}", shown(text.trim())));
    }
    if text.eq_ignore_ascii_case(ALL) {
        return Some(
            "means the page `/` of a host with this name; `all` in `url_black_list` is every URL".to_owned(),
        );
    }
    if text.strip_suffix('*').unwrap_or(text).contains('*') {
        return Some(
            "only one `*` at the end stands for anything; others are compared as they are".to_owned(),
        );
    }
    if url.host().is_some() && document.default_host.get().is_none() {
        let reason = "names a host, and there is no `default_host`";
        return Some(format!("{reason}: it matches only where the log has an absolute URL or `$host`"));
    }
    None
}
