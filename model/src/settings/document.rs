//! The settings as JSON: here stand each key, its unit, its default and what it means. Reading, schema and
//! reference page all come from these types.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Serialize;

use super::list::{NetworkList, SpecialRules, UrlList};
use super::value::{Bans, Days, Field, HostName, PrefixBits, Records, Scalar, Share};
use crate::rule::GlobalUrls;
use crate::units::Seconds;

/// The settings of ccfirewall: who is warned and who is blocked.
///
/// The same JSON stands in a file and in ZooKeeper's `/ccfirewall/config`. Every key may be left out.
//
// The odd spelling of some keys is what operators have in their files since 2016.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields, title = "ccfirewall settings")]
pub struct Document {
    /// How many requests of one client fill a window: the N in "N requests within T seconds".
    pub(super) count: Scalar<NonZeroU32>,
    /// Whether clients are warned.
    pub(super) if_warning: Scalar<bool>,
    /// Whether clients are blocked.
    pub(super) if_block: Scalar<bool>,
    /// A client whose newest `count` requests lie at most this long apart, first to last, is warned, unless
    /// `threshold_secound` holds too. 0 is within one and the same second.
    #[serde(rename = "threshold_w_secound")]
    pub(super) warn_within: Scalar<Seconds>,
    /// A client whose newest `count` requests lie at most this long apart, first to last, is blocked. 0 is
    /// within one and the same second.
    #[serde(rename = "threshold_secound")]
    pub(super) block_within: Scalar<Seconds>,
    /// How long a block lasts. 0 ends within the second of its decision.
    #[serde(rename = "block_second")]
    pub(super) block_for: Scalar<Seconds>,
    /// Clients that are counted and recorded, and never warned or blocked. An IPv6 prefix that is counted as
    /// one client (`ipv6_prefix`) is spared as a whole where any address of it stands here.
    #[serde(rename = "ip_white_list")]
    pub(super) allowlist: NetworkList,
    /// Despite its name, the URLs that the global rule counts. `all` is every request; an empty list is none.
    /// A URL that has a special rule is counted there and not here.
    #[serde(rename = "url_black_list")]
    pub(super) global_urls: UrlList,
    /// URLs that are counted apart from the global rule, each with thresholds of its own.
    pub(super) special_rule: SpecialRules,
    /// The host of requests for which the log tells none. Without it, `host/path` URLs match only requests
    /// that name their host: by an absolute URL, or by `$host` in the log.
    pub(super) default_host: HostName,
    /// The proxies before the servers. A line that comes from one of them is counted for the client that
    /// `X-Forwarded-For` tells: its first address from the right that isn't listed here.
    pub(super) trusted_proxies: NetworkList,
    /// Like `ip_white_list`, for addresses that a mistake there must never touch: monitoring, gateways,
    /// offices. Loopback (127.0.0.0/8 and ::1) is always protected.
    pub(super) protected: NetworkList,
    /// IPv6 clients are counted and blocked by prefixes of this length.
    pub(super) ipv6_prefix: Scalar<PrefixBits>,
    /// How far a line may lie behind the newest line of its client. A later one is tallied as late and counts
    /// for nothing.
    pub(super) max_lateness: Scalar<Seconds>,
    /// How old a line may be by the clock for a decision on it to be enforced, so that a backlog blocks nobody
    /// for what is long over. A replay of logs doesn't ask.
    pub(super) max_event_age: Scalar<Seconds>,
    /// How long a warning lasts.
    #[serde(rename = "warn_second")]
    pub(super) warn_for: Scalar<Seconds>,
    /// The most new bans in a minute. Those beyond are held, with an alarm, until somebody has looked. A replay
    /// of logs has no such limit.
    pub(super) max_new_bans_per_minute: Scalar<Bans>,
    /// The largest share of established clients that may be banned at a time: 0.2 is 20 %. Established are those
    /// first seen more than ten minutes ago and active in the last five; with fewer than 200 of them, and for clients
    /// that aren't, the cap doesn't hold. Bans beyond are held, with an alarm, until somebody has looked. A replay of logs has no such limit.
    pub(super) max_banned_share: Scalar<Share>,
    /// How long frequency records are kept.
    pub(super) retention_days: Scalar<Days>,
    /// How many frequency records are kept; the oldest go first.
    pub(super) records_kept: Scalar<Records>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            count: Scalar(NonZeroU32::new(200).expect("it isn't zero")),
            if_warning: Scalar(true),
            if_block: Scalar(true),
            warn_within: Scalar(Seconds(20)),
            block_within: Scalar(Seconds(10)),
            block_for: Scalar(Seconds(600)),
            allowlist: NetworkList::default(),
            global_urls: UrlList(GlobalUrls::All),
            special_rule: SpecialRules::default(),
            default_host: HostName::default(),
            trusted_proxies: NetworkList::default(),
            protected: NetworkList::default(),
            ipv6_prefix: Scalar(PrefixBits(64)),
            max_lateness: Scalar(Seconds(60)),
            max_event_age: Scalar(Seconds(300)),
            warn_for: Scalar(Seconds(60)),
            max_new_bans_per_minute: Scalar(Bans(10_000)),
            max_banned_share: Scalar(Share(0.2)),
            retention_days: Scalar(Days(30)),
            records_kept: Scalar(Records(1_000_000)),
        }
    }
}

/// Thresholds of one URL; what is left out is inherited from the key of the same name above.
#[derive(Clone, PartialEq, Debug, Default, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub(super) struct SpecialRule {
    /// A client whose newest `count` requests for the URL lie at most this long apart is warned.
    #[serde(rename = "threshold_w_secound", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Scalar<Seconds>")]
    pub(super) warn_within: Option<Scalar<Seconds>>,
    /// A client whose newest `count` requests for the URL lie at most this long apart is blocked.
    #[serde(rename = "threshold_secound", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Scalar<Seconds>")]
    pub(super) block_within: Option<Scalar<Seconds>>,
    /// How long a block for this URL lasts.
    #[serde(rename = "block_second", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Scalar<Seconds>")]
    pub(super) block_for: Option<Scalar<Seconds>>,
}

/// The keys of an object with their places, in the order in which they are printed.
pub(super) type Fields<'a> = Vec<(&'static str, &'a mut dyn Field)>;

impl Document {
    pub(super) fn fields(&mut self) -> Fields<'_> {
        vec![
            ("count", &mut self.count),
            ("if_warning", &mut self.if_warning),
            ("if_block", &mut self.if_block),
            ("threshold_w_secound", &mut self.warn_within),
            ("threshold_secound", &mut self.block_within),
            ("block_second", &mut self.block_for),
            ("ip_white_list", &mut self.allowlist),
            ("url_black_list", &mut self.global_urls),
            ("special_rule", &mut self.special_rule),
            ("default_host", &mut self.default_host),
            ("trusted_proxies", &mut self.trusted_proxies),
            ("protected", &mut self.protected),
            ("ipv6_prefix", &mut self.ipv6_prefix),
            ("max_lateness", &mut self.max_lateness),
            ("max_event_age", &mut self.max_event_age),
            ("warn_second", &mut self.warn_for),
            ("max_new_bans_per_minute", &mut self.max_new_bans_per_minute),
            ("max_banned_share", &mut self.max_banned_share),
            ("retention_days", &mut self.retention_days),
            ("records_kept", &mut self.records_kept),
        ]
    }

    /// Fills in what special rules left out.
    pub(super) fn inherit(&mut self) {
        for (_, rule) in &mut self.special_rule.0 {
            rule.warn_within.get_or_insert(self.warn_within);
            rule.block_within.get_or_insert(self.block_within);
            rule.block_for.get_or_insert(self.block_for);
        }
    }

    /// The settings as JSON with every key, defaults and inherited values filled in, in native types.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("its keys are strings and its numbers finite")
    }
}

impl SpecialRule {
    pub(super) fn fields(&mut self) -> Fields<'_> {
        vec![
            ("threshold_w_secound", &mut self.warn_within),
            ("threshold_secound", &mut self.block_within),
            ("block_second", &mut self.block_for),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::raw::Raw;

    fn check(fields: &Fields<'_>, json: &str) {
        let Ok(Raw::Object(members)) = Raw::parse(json.as_bytes()) else { panic!("{json}") };
        let printed: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
        let read: Vec<&str> = fields.iter().map(|(key, _)| *key).collect();
        assert_eq!(read, printed);
    }

    #[test]
    fn every_key_is_read_and_printed() {
        let mut document = Document::default();
        let json = document.to_json();
        check(&document.fields(), &json);
        let some = Some(Scalar(Seconds(1)));
        let mut rule = SpecialRule { warn_within: some, block_within: some, block_for: some };
        let json = serde_json::to_string(&rule).unwrap();
        check(&rule.fields(), &json);
    }

    #[test]
    fn each_place_holds_its_own_key() {
        for (key, value) in [
            ("count", "7"),
            ("threshold_w_secound", "7"),
            ("threshold_secound", "7"),
            ("block_second", "7"),
            ("max_lateness", "7"),
            ("max_event_age", "7"),
            ("warn_second", "7"),
            ("ip_white_list", "[\"7.7.7.7\"]"),
            ("protected", "[\"7.7.7.7\"]"),
            ("trusted_proxies", "[\"7.7.7.7\"]"),
            ("if_warning", "false"),
            ("if_block", "false"),
            ("retention_days", "7"),
            ("records_kept", "7"),
            ("max_new_bans_per_minute", "7"),
            ("max_banned_share", "0.7"),
            ("ipv6_prefix", "7"),
        ] {
            let parsed = crate::settings::Settings::parse(format!("{{\"{key}\":{value}}}")).unwrap();
            let strip = |json: String| json.split_whitespace().collect::<String>();
            let (before, after) = (strip(Document::default().to_json()), strip(parsed.document.to_json()));
            let member = format!("\"{key}\":{value}");
            assert!(after.contains(&member) && !before.contains(&member), "{member} in {after}");
        }
    }
}
