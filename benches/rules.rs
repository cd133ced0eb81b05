//! Finding a URL's rule: the compiled rules beside trying each pattern in order of precedence.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use model::rule::{GlobalUrls, Rule, RuleId, RuleSet};
use model::units::Seconds;
use model::url::{Url, UrlPattern};

const URLS: usize = 1_000;

fn rule(name: &str) -> Rule {
    Rule {
        name: name.into(),
        reason: 1,
        block_within: Seconds(10),
        warn_within: Seconds(20),
        block_for: Seconds(600),
    }
}

fn patterns(texts: impl Iterator<Item = String>) -> Vec<UrlPattern> {
    texts.map(|text| UrlPattern::parse(&text).expect("the patterns are fixed")).collect()
}

fn few() -> Vec<UrlPattern> {
    let texts = ["/login", "www.example.com/captcha/create/", "/api/v1/*"];
    patterns(texts.into_iter().map(str::to_owned))
}

/// 10,003 exact patterns and 100 prefixes.
fn many() -> Vec<UrlPattern> {
    let pages = (0..10_000).map(|page| format!("www.example.com/shop/{page}/order"));
    let prefixes = (0..99).map(|section| format!("/section-{section}/*"));
    let mut all = few();
    all.extend(patterns(pages.chain(prefixes).chain(["/logout".to_owned()])));
    all
}

/// Every tenth URL has a rule where there are many.
fn paths() -> Vec<String> {
    let path = |at: usize| match at % 20 {
        0 => format!("/shop/{}/order", at * 7 % 10_000),
        10 => format!("/section-{}/page-{at}", at % 99),
        1 => "/login".to_owned(),
        _ => format!("/static/page-{at}/picture.png"),
    };
    (0..URLS).map(path).collect()
}

fn compare(c: &mut Criterion, name: &str, mut patterns: Vec<UrlPattern>) {
    let paths = paths();
    let urls: Vec<Url<'_>> = paths
        .iter()
        .map(|path| Url { host: Some(Cow::Borrowed(b"www.example.com")), path: path.as_bytes() })
        .collect();
    let specials = patterns.iter().map(|pattern| (pattern.clone(), rule(pattern.text()))).collect();
    let rules = RuleSet::new(rule("global"), GlobalUrls::All, specials);
    patterns.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
    let scan = |url: &Url<'_>| patterns.iter().find(|pattern| pattern.matches(url));
    for url in &urls {
        let found = rules.find(Some(url));
        let name = rules.get(found).map(|rule| rule.name.to_string());
        let scanned = scan(url).map_or("global", UrlPattern::text);
        assert_eq!(name.as_deref(), Some(scanned), "both find the same rule");
    }

    let mut group = c.benchmark_group(format!("rules/{name}"));
    group.throughput(Throughput::Elements(URLS as u64));
    group.bench_function("ours", |bench| {
        bench.iter(|| {
            urls.iter().map(|url| rules.find(Some(black_box(url)))).filter(|&id| id != RuleId::GLOBAL).count()
        });
    });
    group.bench_function("baseline", |bench| {
        bench.iter(|| urls.iter().filter(|url| scan(black_box(url)).is_some()).count());
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    compare(c, "3", few());
    compare(c, "10103", many());
}

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
