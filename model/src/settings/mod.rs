//! The settings: JSON text in, compiled rules out.
//!
//! [`Settings::parse`] reads a text as it stands (`raw`), takes each key over into the [`Document`] that says
//! what keys there are (`document`, with the kinds of values in `value` and `list`), collects every error with
//! its JSON path, looks for what is allowed but hardly meant (`warning`), and compiles what bolts use. The JSON
//! Schema and `docs/settings.md` come from the same types.
//!
//! Invariant: a [`Settings`] or [`Document`] that exists is valid. The old spellings (`threshold_secound`)
//! appear nowhere outside this module.

mod document;
mod finding;
mod list;
mod page;
mod raw;
mod validate;
mod value;
mod warning;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use crate::key::KeyScheme;
use crate::network::{Network, NetworkSet};
use crate::rule::{Rule, RuleSet};
use crate::units::Seconds;
use crate::url::UrlPattern;
use document::SpecialRule;

pub use document::Document;
pub use finding::{Finding, SettingsErrors};
pub use page::reference_page;

/// The settings, validated and compiled for the bolts. [`Document`] has them as JSON.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many requests fill a window.
    pub count: NonZeroU32,
    /// Whether clients are warned.
    pub warn_enabled: bool,
    /// Whether clients are blocked.
    pub block_enabled: bool,
    /// The global rule and the special ones, these in document order.
    pub rules: RuleSet,
    /// Clients that are counted and recorded, and never warned or blocked.
    pub allowlist: NetworkSet,
    /// The same, for addresses that nothing may touch; loopback is always in it.
    pub protected: NetworkSet,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: NetworkSet,
    /// How a client's address becomes what is counted and banned.
    pub keys: KeyScheme,
    /// The host of requests for which the log tells none: lower case, without userinfo and port.
    pub default_host: Option<Vec<u8>>,
    /// How far a line may lie behind the newest of its address.
    pub max_lateness: Seconds,
    /// How old by the clock a line may be for a decision on it to be enforced live.
    pub max_event_age: Seconds,
    /// How long a warning lasts.
    pub warn_for: Seconds,
    /// The most new bans in a minute; more are held.
    pub max_new_bans_per_minute: u32,
    /// The largest share of all clients seen that may be banned at a time, 0 to 1; more bans are held.
    pub max_banned_share: f64,
    /// How many days frequency records are kept.
    pub retention_days: u32,
    /// How many frequency records are kept.
    pub records_kept: u64,
}

/// Settings that are in order, and what to tell the operator about them.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What bolts use.
    pub settings: Settings,
    /// The same as JSON, defaults and inherited values filled in.
    pub document: Document,
    /// What is allowed but hardly meant.
    pub warnings: Vec<Finding>,
}

impl Settings {
    /// Reads settings from JSON in UTF-8, with or without a byte-order mark.
    ///
    /// # Errors
    /// Every error at once, in the order in which they stand in the text. Where it isn't JSON at all, there is
    /// one, with its line and column.
    pub fn parse(json: impl AsRef<[u8]>) -> Result<Parsed, SettingsErrors> {
        let document = validate::read(json.as_ref())?;
        Ok(Parsed { settings: Self::from(&document), warnings: warning::warnings(&document), document })
    }

    /// Whether nothing may be decided against this target, as the allowlist or the protected addresses overlap it.
    #[must_use]
    pub fn guards(&self, target: &Network) -> bool {
        self.protected.overlaps(target) || self.allowlist.overlaps(target)
    }

    /// These settings as they hold live, where a ban drops packets: with more addresses that nothing may touch, and
    /// the trusted proxies among them, for behind a proxy are others' clients.
    #[must_use]
    pub fn with_protected(mut self, extra: impl IntoIterator<Item = Network>) -> Self {
        self.protected.extend(extra);
        self.protected.add(&self.trusted_proxies);
        self
    }
}

impl Default for Settings {
    /// What `{}` means.
    fn default() -> Self {
        Self::from(&Document::default())
    }
}

impl From<&Document> for Settings {
    fn from(document: &Document) -> Self {
        let global = Rule {
            name: "global".into(),
            reason: 0,
            block_within: document.block_within.0,
            warn_within: document.warn_within.0,
            block_for: document.block_for.0,
        };
        let special = |url: &UrlPattern, rule: &SpecialRule| Rule {
            name: url.text().into(),
            reason: 1,
            block_within: rule.block_within.map_or(global.block_within, |within| within.0),
            warn_within: rule.warn_within.map_or(global.warn_within, |within| within.0),
            block_for: rule.block_for.map_or(global.block_for, |length| length.0),
        };
        let specials =
            document.special_rule.0.iter().map(|(url, rule)| (url.clone(), special(url, rule))).collect();
        let loopback =
            [Network::new(Ipv4Addr::LOCALHOST.into(), 8), Network::new(Ipv6Addr::LOCALHOST.into(), 128)];
        Self {
            count: document.count.0,
            warn_enabled: document.if_warning.0,
            block_enabled: document.if_block.0,
            rules: RuleSet::new(global, document.global_urls.0.clone(), specials),
            allowlist: document.allowlist.0.iter().copied().collect(),
            protected: document.protected.0.iter().copied().chain(loopback).collect(),
            trusted_proxies: document.trusted_proxies.0.iter().copied().collect(),
            keys: KeyScheme::new(document.ipv6_prefix.0.0),
            default_host: document.default_host.get().map(|host| host.as_bytes().to_owned()),
            max_lateness: document.max_lateness.0,
            max_event_age: document.max_event_age.0,
            warn_for: document.warn_for.0,
            max_new_bans_per_minute: document.max_new_bans_per_minute.0.0,
            max_banned_share: document.max_banned_share.0.0,
            retention_days: document.retention_days.0.0,
            records_kept: document.records_kept.0.0,
        }
    }
}

/// The JSON Schema (draft 2020-12) of the settings.
///
/// It accepts whatever [`Settings::parse`] accepts, and refuses most of what it refuses; whether a network or a
/// number in a string is right, only the parser tells.
#[must_use]
pub fn schema() -> Value {
    let unwrap = RecursiveTransform(unwrap_description);
    let generator = SchemaSettings::draft2020_12().with_transform(unwrap).into_generator();
    generator.into_root_schema_for::<Document>().to_value()
}

/// Doc comments are wrapped for source code; a description has one line a paragraph.
fn unwrap_description(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        let paragraphs: Vec<_> = description.split("\n\n").map(|text| text.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
}
