//! Walks over TOML tables and collects everything that is wrong, with its path and line.

use model::settings::Finding;
use model::text::shown;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigErrors;
use super::keys::{Key, Section};
use super::value::parse_size;

/// The findings so far.
pub(super) struct Reader<'t> {
    text: &'t str,
    found: Vec<(usize, Finding)>,
}

/// A table of the file, with what it may hold.
pub(super) struct Table<'t> {
    section: &'static Section,
    path: String,
    at: usize,
    members: Option<&'t DeTable<'t>>,
}

/// A value with its place.
pub(super) struct Given<'t> {
    pub(super) key: &'static Key,
    pub(super) path: String,
    at: usize,
    value: &'t DeValue<'t>,
}

/// Values in messages are cut behind so many bytes.
const LONGEST_SHOWN: usize = 60;
/// After so many findings nobody reads on.
const MOST_FOUND: usize = 100;

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new() }
    }

    /// Whatever keeps the text from being TOML.
    pub(super) fn not_toml(&mut self, errors: Vec<toml::de::Error>) {
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            self.add(at, "", format!("not TOML: {}", error.message()));
        }
    }

    pub(super) fn add(&mut self, at: usize, path: &str, message: impl Into<String>) {
        if self.found.len() >= MOST_FOUND {
            return;
        }
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let path = if path.is_empty() { format!("line {line}") } else { format!("{path} (line {line})") };
        self.found.push((at, Finding { path, message: message.into() }));
    }

    /// Something is wrong with a value.
    pub(super) fn reject(&mut self, given: &Given<'_>, message: impl Into<String>) {
        self.add(given.at, &given.path, message);
    }

    /// A value is none that its key accepts.
    pub(super) fn mismatch(&mut self, given: &Given<'_>) {
        let message = format!("must be {}, found {}", given.key.value, found(given.value));
        self.reject(given, message);
    }

    /// Something is wrong with a table, or missing from it.
    pub(super) fn reject_table(&mut self, table: &Table<'_>, message: impl Into<String>) {
        self.add(table.at, &table.path, message);
    }

    /// The table of a section, and complaints about what it doesn't know. `sections` are tables within it.
    fn open(
        &mut self,
        section: &'static Section,
        path: String,
        at: usize,
        members: &'t DeTable<'t>,
        sections: &[&'static Section],
    ) -> Table<'t> {
        let inner = || sections.iter().map(|section| section.name);
        for key in members.keys() {
            let name: &str = key.get_ref();
            if section.key(name).is_some() || inner().any(|inner| inner == name) {
                continue;
            }
            let names = section.keys.iter().map(|key| key.name).chain(inner());
            let message = match nearest(name, names) {
                Some(near) => match sections.iter().find(|section| section.name == near) {
                    Some(section) => format!("unknown key; did you mean `{}`?", section.header),
                    None => format!("unknown key; did you mean `{near}`?"),
                },
                None => {
                    format!("unknown key; docs/configuration.md has them all. {}", known(section, sections))
                }
            };
            self.add(key.span().start, &joined(&path, name), message);
        }
        Table { section, path, at, members: Some(members) }
    }

    /// The top level.
    pub(super) fn top(
        &mut self,
        section: &'static Section,
        members: &'t DeTable<'t>,
        sections: &[&'static Section],
    ) -> Table<'t> {
        self.open(section, String::new(), 0, members, sections)
    }

    /// The one table of a section; an empty one where it isn't there.
    pub(super) fn table(&mut self, top: &Table<'t>, section: &'static Section) -> Table<'t> {
        let path = section.name.to_owned();
        let absent = |at| Table { section, path: path.clone(), at, members: None };
        let Some((at, value)) = top.member(section.name) else { return absent(0) };
        match value {
            DeValue::Table(members) => self.open(section, path, at, members, &[]),
            other => {
                let message = format!("must be one table, `{}`, found {}", section.header, found(other));
                self.add(at, &path, message);
                absent(at)
            }
        }
    }

    /// The tables of a section that there may be many of.
    pub(super) fn tables(&mut self, top: &Table<'t>, section: &'static Section) -> Vec<Table<'t>> {
        let Some((at, value)) = top.member(section.name) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            let message = format!("must be written `{}`, found {}", section.header, found(value));
            self.add(at, section.name, message);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len().min(MOST_FOUND));
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", section.name);
            match item.get_ref() {
                DeValue::Table(members) => {
                    tables.push(self.open(section, path, item.span().start, members, &[]));
                }
                other => {
                    let message = format!("must be a table, `{}`, found {}", section.header, found(other));
                    self.add(item.span().start, &path, message);
                }
            }
        }
        tables
    }

    /// The table that a key holds.
    pub(super) fn inline(&mut self, given: &Given<'t>, section: &'static Section) -> Option<Table<'t>> {
        match given.value {
            DeValue::Table(members) => Some(self.open(section, given.path.clone(), given.at, members, &[])),
            _ => {
                self.mismatch(given);
                None
            }
        }
    }

    pub(super) fn flag(&mut self, given: &Given<'_>) -> Option<bool> {
        let flag = given.value.as_bool();
        if flag.is_none() {
            self.mismatch(given);
        }
        flag
    }

    pub(super) fn whole(&mut self, given: &Given<'_>, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let whole = integer(given.value).filter(|number| range.contains(number));
        if whole.is_none() {
            self.mismatch(given);
        }
        whole
    }

    pub(super) fn size(&mut self, given: &Given<'_>) -> Option<usize> {
        let size = match given.value {
            DeValue::String(text) => parse_size(text).ok(),
            value => integer(value).and_then(|bytes| usize::try_from(bytes).ok()).filter(|&bytes| bytes > 0),
        };
        if size.is_none() {
            self.mismatch(given);
        }
        size
    }

    pub(super) fn text(&mut self, given: &Given<'t>) -> Option<&'t str> {
        let text = given.value.as_str();
        if text.is_none() {
            self.mismatch(given);
        }
        text
    }

    /// A text that `parse` makes a value of.
    pub(super) fn parsed<T>(
        &mut self,
        given: &Given<'t>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = given.value.as_str().and_then(parse);
        if value.is_none() {
            self.mismatch(given);
        }
        value
    }

    /// A table of texts, numbers and flags, each as a text. Tables in it are joined by dots: TOML makes them of
    /// `a.b = 1`.
    pub(super) fn properties(&mut self, given: &Given<'t>) -> Vec<(Given<'t>, String, String)> {
        let DeValue::Table(members) = given.value else {
            self.mismatch(given);
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut tables = vec![(String::new(), members)];
        while let Some((prefix, members)) = tables.pop() {
            for (name, value) in members {
                let key = format!("{prefix}{}", name.get_ref());
                let path = joined(&given.path, &key);
                let of = Given { key: given.key, path, at: name.span().start, value: value.get_ref() };
                let text = match of.value {
                    DeValue::Table(members) => {
                        tables.push((format!("{key}."), members));
                        continue;
                    }
                    DeValue::String(text) => text.to_string(),
                    DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
                    DeValue::Float(number) => number.as_str().to_owned(),
                    DeValue::Boolean(flag) => flag.to_string(),
                    _ => {
                        self.reject(&of, "must be a text, a number, or true or false");
                        continue;
                    }
                };
                found.push((of, key, text));
            }
        }
        found
    }

    /// One value or a list of them, each as a value of the same key.
    pub(super) fn one_or_more(given: Given<'t>) -> Vec<Given<'t>> {
        let DeValue::Array(items) = given.value else { return vec![given] };
        let item = |(index, item): (usize, &'t Spanned<DeValue<'t>>)| Given {
            key: given.key,
            path: format!("{}[{index}]", given.path),
            at: item.span().start,
            value: item.get_ref(),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// `value`, unless anything was found.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, ConfigErrors> {
        self.found.sort_by_key(|(at, _)| *at);
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(ConfigErrors(self.found.into_iter().map(|(_, finding)| finding).collect())),
        }
    }
}

impl<'t> Table<'t> {
    fn member(&self, name: &str) -> Option<(usize, &'t DeValue<'t>)> {
        let (key, value) = self.members?.get_key_value(name)?;
        // The value of `[agent]` spans more than its header: the key's place is what an operator looks for.
        Some((key.span().start, value.get_ref()))
    }

    /// Whether it stands in the file.
    pub(super) fn is_given(&self) -> bool {
        self.members.is_some()
    }

    /// Whether it has a member of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// The value of a key, where it is given.
    pub(super) fn get(&self, name: &str) -> Option<Given<'t>> {
        let key = self.section.key(name).expect("what is read stands in `keys`: a test reads everything");
        let (at, value) = self.member(name)?;
        Some(Given { key, path: joined(&self.path, name), at, value })
    }

    /// Those of `names` that are given, with their values.
    pub(super) fn given(&self, names: &[&str]) -> Vec<Given<'t>> {
        names.iter().filter_map(|name| self.get(name)).collect()
    }
}

impl Given<'_> {
    /// `stdin = false` says no more than leaving it out.
    pub(super) fn is_off(&self) -> bool {
        self.value.as_bool() == Some(false)
    }
}

/// A value in few words.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shown(text.as_bytes(), LONGEST_SHOWN)),
        DeValue::Integer(number) => shown(number.as_str().as_bytes(), LONGEST_SHOWN),
        DeValue::Float(number) => shown(number.as_str().as_bytes(), LONGEST_SHOWN),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    // The reader has taken underscores and prefixes out.
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn joined(path: &str, name: &str) -> String {
    let plain = !name.is_empty()
        && name.len() <= LONGEST_SHOWN
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if plain { name.to_owned() } else { shown(name.as_bytes(), LONGEST_SHOWN) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

fn known(section: &Section, sections: &[&'static Section]) -> String {
    let keys = section.keys.iter().map(|key| key.name);
    let names: Vec<&str> = keys.chain(sections.iter().map(|section| section.header)).collect();
    format!("Here there are {}", names.join(", "))
}

/// The name that was probably meant.
fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    const LONGEST_COMPARED: usize = 64;
    const SIMILAR: f64 = 0.8;
    if name.len() > LONGEST_COMPARED {
        return None;
    }
    let name = name.to_lowercase().replace('-', "_");
    let similarity = |other: &str| {
        strsim::jaro_winkler(&name, other).max(strsim::normalized_damerau_levenshtein(&name, other))
    };
    let scored = names.map(|other| (other, similarity(other)));
    let similar = scored.filter(|(_, score)| *score >= SIMILAR);
    similar.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(other, _)| other)
}
