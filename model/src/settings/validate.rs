//! From JSON to a [`Document`] that can't be wrong, or to everything that is.

use std::collections::HashSet;

use super::document::{Document, Fields};
use super::finding::{Findings, Path, SettingsErrors};
use super::raw::Raw;
use super::value::mismatch;

/// Reads a whole document.
pub(super) fn read(json: &[u8]) -> Result<Document, SettingsErrors> {
    let mut document = Document::default();
    let mut findings = Findings::default();
    match Raw::parse(json)? {
        Raw::Object(members) => read_object(&members, &Path::Top, &mut document.fields(), &mut findings),
        other => mismatch("an object such as {\"count\": 200}", &other, &Path::Top, &mut findings),
    }
    SettingsErrors::from_findings(findings.0)?;
    document.inherit();
    Ok(document)
}

/// Reads the members of an object into their fields.
pub(super) fn read_object(
    members: &[(String, Raw)],
    at: &Path<'_>,
    fields: &mut Fields<'_>,
    findings: &mut Findings,
) {
    let mut seen = HashSet::with_capacity(members.len());
    for (key, value) in members {
        let at = at.key(key);
        if !seen.insert(key) {
            findings.add(&at, "given more than once; keep one");
        }
        let Some((_, field)) = fields.iter_mut().find(|(name, _)| name == key) else {
            let suggestion = if findings.0.len() < MOST_SUGGESTED { nearest(key, fields) } else { None };
            findings.add(
                &at,
                match suggestion {
                    Some(name) => format!("unknown key; did you mean `{name}`?"),
                    None => "unknown key; `ccfirewall settings schema` has them all".to_owned(),
                },
            );
            continue;
        };
        if *value == Raw::Null {
            let expected = field.expected();
            findings.add(&at, format!("must be {expected}, found null; leave the key out for its default"));
        } else {
            field.read(value, &at, findings);
        }
    }
}

/// After so many findings nobody reads on, and comparing 100,000 keys of a hostile text would take seconds.
const MOST_SUGGESTED: usize = 100;

/// The key that was probably meant.
fn nearest(key: &str, fields: &Fields<'_>) -> Option<&'static str> {
    const LONGEST_COMPARED: usize = 64;
    const SIMILAR: f64 = 0.8;
    if key.len() > LONGEST_COMPARED {
        return None;
    }
    let key = key.to_lowercase().replace('-', "_");
    let similarity =
        |name: &str| strsim::jaro_winkler(&key, name).max(strsim::normalized_damerau_levenshtein(&key, name));
    let scored = fields.iter().map(|(name, _)| (*name, similarity(name)));
    let similar = scored.filter(|(_, score)| *score >= SIMILAR);
    similar.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(name, _)| name)
}
