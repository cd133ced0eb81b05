//! The lists of the settings, networks and URLs, and the special rules.

use std::borrow::Cow;
use std::collections::HashSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::document::SpecialRule;
use super::finding::{Findings, Path};
use super::raw::Raw;
use super::validate::read_object;
use super::value::{Field, mismatch, read_list};
use crate::network::{Network, NetworkError};
use crate::rule::GlobalUrls;
use crate::url::UrlPattern;

/// Addresses and prefixes, as listed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct NetworkList(pub(super) Vec<Network>);

const NETWORKS: &str = r#"a list of addresses and prefixes such as ["203.0.113.9", "10.0.0.0/8"]"#;
const NETWORK: &str = "an address or a prefix such as 203.0.113.9, 2001:db8::1 or 10.0.0.0/8";

impl Field for NetworkList {
    fn expected(&self) -> Cow<'static, str> {
        NETWORKS.into()
    }

    fn read(&mut self, value: &Raw, at: &Path<'_>, findings: &mut Findings) {
        let list = read_list((NETWORKS, NETWORK), value, at, findings, |text| {
            text.trim_ascii().parse().map_err(|error| match error {
                NetworkError::Address(_) => format!("must be {NETWORK}"),
                NetworkError::Prefix(_, longest) => {
                    format!("must have a prefix length from 0 to {longest} behind the slash")
                }
            })
        });
        self.0 = list.unwrap_or_default();
    }
}

impl Serialize for NetworkList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Network::to_string))
    }
}

impl JsonSchema for NetworkList {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "networks".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": { "type": "string", "pattern": r"^\s*[0-9a-fA-F.:]+(/[0-9]{1,3})?\s*$" },
        })
    }
}

/// The URLs that the global rule counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UrlList(pub(super) GlobalUrls);

/// The word that stands for every URL.
pub(super) const ALL: &str = "all";

const URLS: &str = r#"a list of URLs such as ["all"] or ["/login", "www.example.com/api/*"]"#;

impl Field for UrlList {
    fn expected(&self) -> Cow<'static, str> {
        URLS.into()
    }

    fn read(&mut self, value: &Raw, at: &Path<'_>, findings: &mut Findings) {
        let mut all = false;
        let list = read_list((URLS, "a URL"), value, at, findings, |text| {
            all |= text == ALL;
            UrlPattern::parse(text).map_err(|error| error.to_string())
        });
        self.0 = if all { GlobalUrls::All } else { GlobalUrls::Listed(list.unwrap_or_default()) };
    }
}

impl Serialize for UrlList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            GlobalUrls::All => serializer.collect_seq([ALL]),
            GlobalUrls::Listed(urls) => serializer.collect_seq(urls.iter().map(UrlPattern::text)),
        }
    }
}

impl JsonSchema for UrlList {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "URLs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string", "minLength": 1 } })
    }
}

/// URLs with thresholds of their own, in document order.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct SpecialRules(pub(super) Vec<(UrlPattern, SpecialRule)>);

impl Field for SpecialRules {
    fn expected(&self) -> Cow<'static, str> {
        r#"an object of URLs with their thresholds, such as {"/login": {"threshold_secound": 5}}"#.into()
    }

    fn read(&mut self, value: &Raw, at: &Path<'_>, findings: &mut Findings) {
        self.0.clear();
        let Raw::Object(members) = value else {
            return mismatch(&self.expected(), value, at, findings);
        };
        let mut seen = HashSet::with_capacity(members.len());
        for (url, value) in members {
            let at = at.key(url);
            if !seen.insert(url) {
                findings.add(&at, "given more than once; keep one");
            }
            let pattern = UrlPattern::parse(url);
            if let Err(error) = &pattern {
                findings.add(&at, error.to_string());
            }
            let mut rule = SpecialRule::default();
            match value {
                Raw::Object(members) => read_object(members, &at, &mut rule.fields(), findings),
                _ => mismatch("an object of thresholds, or {} to inherit all", value, &at, findings),
            }
            self.0.extend(pattern.map(|pattern| (pattern, rule)));
        }
    }
}

impl Serialize for SpecialRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (url, rule) in &self.0 {
            map.serialize_entry(url.text(), rule)?;
        }
        map.end()
    }
}

impl JsonSchema for SpecialRules {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "special rules".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": { "minLength": 1 },
            "additionalProperties": generator.subschema_for::<SpecialRule>(),
        })
    }
}
