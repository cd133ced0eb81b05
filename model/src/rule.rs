//! Rules: which requests count together, within what time, and what a full window leads to.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::units::Seconds;
use crate::url::{Url, UrlPattern};

/// A rule's number. It is the same in all versions of the settings that follow each other
/// ([`RuleSet::following`]), so what is counted by it outlives a change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RuleId(pub u32);

impl RuleId {
    /// The global rule.
    pub const GLOBAL: Self = Self(0);
    /// No rule: the request is tallied for records and counts towards no decision.
    pub const NONE: Self = Self(u32::MAX);
}

/// What a rule asks for and does. How many requests fill a window is the same for all (`count`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// `global`, or the URL as the settings have it.
    pub name: Arc<str>,
    /// The code in `block_reason`: 0 for the global rule, 1 for a special one.
    pub reason: u8,
    /// A full window at most this long is a block.
    pub block_within: Seconds,
    /// A full window at most this long is a warning.
    pub warn_within: Seconds,
    /// How long a block lasts.
    pub block_for: Seconds,
}

/// Which URLs the global rule counts (`url_black_list`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GlobalUrls {
    /// Every request, those without a URL included.
    All,
    /// The URLs that one of these matches.
    Listed(Vec<UrlPattern>),
}

/// All rules of one version of the settings, compiled: finds a URL's rule in a few look-ups, however many
/// rules there are.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// By number; `None` for rules of former versions.
    rules: Vec<Option<Rule>>,
    /// By number, those of former versions too.
    names: Vec<Arc<str>>,
    specials: PatternIndex,
    global: Option<PatternIndex>,
}

impl RuleSet {
    /// Compiles the global rule and the special ones, each with its URL.
    #[must_use]
    pub fn new(global: Rule, global_urls: GlobalUrls, specials: Vec<(UrlPattern, Rule)>) -> Self {
        let mut rules = vec![global];
        let mut patterns = Vec::with_capacity(specials.len());
        for (pattern, rule) in specials {
            patterns.push((pattern, RuleId(rules.len() as u32)));
            rules.push(rule);
        }
        let global = match global_urls {
            GlobalUrls::All => None,
            GlobalUrls::Listed(urls) => {
                Some(PatternIndex::new(urls.into_iter().map(|url| (url, RuleId::GLOBAL)).collect()))
            }
        };
        let names = rules.iter().map(|rule| rule.name.clone()).collect();
        let rules = rules.into_iter().map(Some).collect();
        Self { rules, names, specials: PatternIndex::new(patterns), global }
    }

    /// The same rules, each with the number that the rule of its name has in `former`; new ones get new numbers.
    #[must_use]
    pub fn following(mut self, former: &Self) -> Self {
        let mut names = former.names.clone();
        let mut numbers: HashMap<Arc<str>, u32, RandomState> = HashMap::default();
        for (number, name) in (0..).zip(&names) {
            numbers.insert(name.clone(), number);
        }
        let mut map = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let number = *numbers.entry(name.clone()).or_insert_with(|| {
                names.push(name.clone());
                names.len() as u32 - 1
            });
            map.push(RuleId(number));
        }
        let mut rules = vec![None; names.len()];
        for (rule, id) in self.rules.into_iter().zip(&map) {
            rules[id.0 as usize] = rule;
        }
        self.specials.renumber(&map);
        Self { rules, names, specials: self.specials, global: self.global }
    }

    /// The one rule that a request belongs to, or [`RuleId::NONE`].
    #[must_use]
    pub fn find(&self, url: Option<&Url<'_>>) -> RuleId {
        let special = url.and_then(|url| self.specials.find(url));
        special.unwrap_or_else(|| match &self.global {
            None => RuleId::GLOBAL,
            Some(listed) => url.and_then(|url| listed.find(url)).unwrap_or(RuleId::NONE),
        })
    }

    /// Where every request belongs to the same rule: which. URLs needn't be looked at then.
    #[must_use]
    pub fn only(&self) -> Option<RuleId> {
        match &self.global {
            _ if !self.specials.is_empty() => None,
            None => Some(RuleId::GLOBAL),
            Some(listed) => listed.is_empty().then_some(RuleId::NONE),
        }
    }

    /// What a rule asks for; `None` for [`RuleId::NONE`].
    #[must_use]
    pub fn get(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.0 as usize)?.as_ref()
    }

    /// The number of the rule of that name, where it is in force.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<RuleId> {
        self.iter().find(|(_, rule)| &*rule.name == name).map(|(id, _)| id)
    }

    /// All rules, the global one first.
    pub fn iter(&self) -> impl Iterator<Item = (RuleId, &Rule)> {
        let numbered = self.rules.iter().enumerate();
        numbered.filter_map(|(id, rule)| Some((RuleId(id as u32), rule.as_ref()?)))
    }
}

/// Finds the pattern that matches a URL and comes first in [`UrlPattern::precedence`].
#[derive(Clone, Debug)]
enum PatternIndex {
    /// So few that trying one after the other costs less than hashing the URL: a third, with three of them.
    Few(Vec<(UrlPattern, RuleId)>),
    Many(Hosts),
}

/// Up to so many patterns are few.
const FEW: usize = 6;

impl PatternIndex {
    fn new(mut patterns: Vec<(UrlPattern, RuleId)>) -> Self {
        // Of patterns that say the same the first in order stays, so the others must come later.
        patterns.sort_by(|(a, _), (b, _)| a.precedence().cmp(&b.precedence()));
        if patterns.len() <= FEW { Self::Few(patterns) } else { Self::Many(Hosts::new(patterns)) }
    }

    fn renumber(&mut self, map: &[RuleId]) {
        let renumber = |id: &mut RuleId| *id = map[id.0 as usize];
        match self {
            Self::Few(patterns) => patterns.iter_mut().for_each(|(_, id)| renumber(id)),
            Self::Many(hosts) => {
                for index in hosts.by_host.values_mut().chain([&mut hosts.any_host]) {
                    index.exact.values_mut().for_each(renumber);
                    index.prefixes.iter_mut().for_each(|prefix| renumber(&mut prefix.id));
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Few(patterns) if patterns.is_empty())
    }

    fn find(&self, url: &Url<'_>) -> Option<RuleId> {
        match self {
            Self::Few(patterns) => {
                patterns.iter().find(|(pattern, _)| pattern.matches(url)).map(|&(_, id)| id)
            }
            Self::Many(hosts) => hosts.find(url),
        }
    }
}

/// Many patterns, by their hosts.
#[derive(Clone, Debug)]
struct Hosts {
    any_host: HostIndex,
    by_host: HashMap<Vec<u8>, HostIndex, RandomState>,
}

impl Hosts {
    /// The patterns come in the order of their precedence.
    fn new(patterns: Vec<(UrlPattern, RuleId)>) -> Self {
        let mut any_host = HostIndex::default();
        let mut by_host: HashMap<Vec<u8>, HostIndex, RandomState> = HashMap::default();
        for (pattern, id) in patterns {
            let index = match pattern.host() {
                None => &mut any_host,
                Some(host) => by_host.entry(host.to_owned()).or_default(),
            };
            index.insert(pattern.path(), pattern.is_prefix(), id);
        }
        any_host.link();
        by_host.values_mut().for_each(HostIndex::link);
        Self { any_host, by_host }
    }

    fn find(&self, url: &Url<'_>) -> Option<RuleId> {
        let host = match &url.host {
            Some(host) if !self.by_host.is_empty() => self.by_host.get(&host[..]),
            _ => None,
        };
        host.and_then(|index| index.exact(url.path))
            .or_else(|| self.any_host.exact(url.path))
            .or_else(|| host.and_then(|index| index.longest_prefix(url.path)))
            .or_else(|| self.any_host.longest_prefix(url.path))
    }
}

/// The patterns of one host (or of any).
#[derive(Clone, Default, Debug)]
struct HostIndex {
    exact: HashMap<Vec<u8>, RuleId, RandomState>,
    /// Sorted by bytes; each knows the longest other one that it starts with.
    prefixes: Vec<Prefix>,
}

#[derive(Clone, Debug)]
struct Prefix {
    path: Vec<u8>,
    id: RuleId,
    parent: Option<usize>,
}

impl HostIndex {
    fn insert(&mut self, path: &[u8], prefix: bool, id: RuleId) {
        if prefix {
            self.prefixes.push(Prefix { path: path.to_owned(), id, parent: None });
        } else {
            self.exact.entry(path.to_owned()).or_insert(id);
        }
    }

    fn link(&mut self) {
        // A stable sort: of equal ones the first inserted stays.
        self.prefixes.sort_by(|a, b| a.path.cmp(&b.path));
        self.prefixes.dedup_by(|later, kept| later.path == kept.path);
        let mut chain: Vec<usize> = Vec::new();
        for i in 0..self.prefixes.len() {
            while let Some(&last) = chain.last()
                && !self.prefixes[i].path.starts_with(&self.prefixes[last].path)
            {
                chain.pop();
            }
            self.prefixes[i].parent = chain.last().copied();
            chain.push(i);
        }
    }

    fn exact(&self, path: &[u8]) -> Option<RuleId> {
        if self.exact.is_empty() { None } else { self.exact.get(path).copied() }
    }

    /// Every prefix of `path` is a prefix of the greatest member that isn't above `path`, so that one's chain
    /// of parents holds the answer.
    fn longest_prefix(&self, path: &[u8]) -> Option<RuleId> {
        let above = self.prefixes.partition_point(|p| p.path[..] <= *path);
        let mut at = above.checked_sub(1);
        while let Some(i) = at {
            let prefix = &self.prefixes[i];
            if path.starts_with(&prefix.path) {
                return Some(prefix.id);
            }
            at = prefix.parent;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::borrow::Cow;

    fn rule(name: &str) -> Rule {
        let s = Seconds(1);
        Rule { name: name.into(), reason: 1, block_within: s, warn_within: s, block_for: s }
    }

    fn rules(urls: GlobalUrls, specials: &[String]) -> RuleSet {
        let specials = specials.iter().map(|s| (UrlPattern::parse(s).unwrap(), rule(s))).collect();
        RuleSet::new(rule("global"), urls, specials)
    }

    #[test]
    fn precedence() {
        let check = |specials: &[&str], host: Option<&'static str>, path: &str, expect: Option<&str>| {
            let specials: Vec<String> = specials.iter().map(ToString::to_string).collect();
            let set = rules(GlobalUrls::Listed(vec![]), &specials);
            let url = Url { host: host.map(|h| Cow::Borrowed(h.as_bytes())), path: path.as_bytes() };
            let found = set.get(set.find(Some(&url))).map(|r| r.name.to_string());
            assert_eq!(found.as_deref(), expect, "{specials:?} {host:?} {path}");
        };
        check(&["/a*", "/a"], None, "/a", Some("/a"));
        check(&["h/a*", "/a"], Some("h"), "/a", Some("/a"));
        check(&["/a", "h/a"], Some("h"), "/a", Some("h/a"));
        check(&["/abc*", "h/a*"], Some("h"), "/abcd", Some("h/a*"));
        check(&["/a*", "/ab*", "/abd*"], None, "/abc", Some("/ab*"));
        check(&["H/a", "h/a"], Some("h"), "/a", Some("H/a"));
        check(&["/a", "h/a"], None, "/a", Some("/a"));
        check(&["/a"], None, "/b", None);
    }

    #[test]
    fn without_a_url_only_all_counts() {
        assert_eq!(rules(GlobalUrls::All, &["/*".into()]).find(None), RuleId::GLOBAL);
        let listed = GlobalUrls::Listed(vec![UrlPattern::parse("/*").unwrap()]);
        assert_eq!(rules(listed, &[]).find(None), RuleId::NONE);
    }

    #[test]
    fn numbers_outlive_a_change() {
        let many: Vec<String> = (0..10).map(|i| format!("/{i}")).collect();
        for specials in [&many[..3], &many[..]] {
            let first = rules(GlobalUrls::All, specials);
            let changed: Vec<String> =
                specials.iter().skip(1).rev().cloned().chain(["/new".into()]).collect();
            let second = rules(GlobalUrls::All, &changed).following(&first);
            let third = rules(GlobalUrls::All, specials).following(&second);
            let id = |set: &RuleSet, path: &str| set.find(Some(&Url { host: None, path: path.as_bytes() }));
            for path in &specials[1..] {
                assert_eq!(id(&first, path), id(&second, path));
                assert_eq!(second.get(id(&second, path)).map(|rule| &*rule.name), Some(&**path));
            }
            assert_eq!(id(&second, "/0"), RuleId::GLOBAL, "it isn't a rule any more");
            assert_eq!(second.get(id(&first, "/0")), None);
            assert_eq!(id(&second, "/new"), RuleId(specials.len() as u32 + 1));
            assert_eq!(id(&third, "/0"), id(&first, "/0"), "and is the same again");
        }
    }

    fn path() -> impl Strategy<Value = String> {
        "/[ab/]{0,5}"
    }

    proptest! {
        #[test]
        fn find_equals_trying_each_in_order(
            specials in proptest::collection::vec(("(h|H|i|)", path(), any::<bool>()), 0..16),
            listed in proptest::option::of(proptest::collection::vec(("(h|)", path(), any::<bool>()), 0..10)),
            host in proptest::option::of("[hij]"),
            asked in path(),
        ) {
            let text = |(host, path, prefix): &(String, String, bool)| format!("{host}{path}{}", if *prefix { "*" } else { "" });
            let specials: Vec<String> = specials.iter().map(text).collect();
            let url = Url { host: host.as_ref().map(|h| Cow::Borrowed(h.as_bytes())), path: asked.as_bytes() };
            let mut tried: Vec<UrlPattern> = specials.iter().map(|s| UrlPattern::parse(s).unwrap()).collect();
            tried.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
            let listed: Option<Vec<UrlPattern>> =
                listed.map(|l| l.iter().map(|p| UrlPattern::parse(&text(p)).unwrap()).collect());
            let slow = tried.iter().find(|p| p.matches(&url)).map(|p| p.text().to_owned()).or_else(|| match &listed {
                None => Some("global".to_owned()),
                Some(l) => l.iter().any(|p| p.matches(&url)).then(|| "global".to_owned()),
            });
            let set = rules(listed.map_or(GlobalUrls::All, GlobalUrls::Listed), &specials);
            let found = set.get(set.find(Some(&url))).map(|r| r.name.to_string());
            prop_assert_eq!(found, slow);
        }
    }
}
