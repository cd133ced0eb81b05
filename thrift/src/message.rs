//! Finds where a call ends, before anything is made of it.
//!
//! Messages have no length in front. So a server that reads values straight from the socket has to believe what
//! lengths in them say, and waits in the middle of a call for whoever sends slowly. Instead the [`Scanner`] walks
//! over the bytes that have come so far and takes nothing in: it checks lengths against what a message may still
//! hold, types against the interface, and depth. What it has passed is complete, and is decoded from memory.

use std::ops::Range;

/// A call may be nested this deeply; ours are three deep.
const MAX_DEPTH: usize = 16;
/// The longest name of a call, in bytes.
const MAX_NAME: usize = 64;

/// Why bytes aren't a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It doesn't begin like one: somebody speaks HTTP, TLS or whatever else.
    #[error("this is no call in Thrift's binary protocol")]
    NotThrift,
    /// A reply, or a call that wants no answer; the interface has none.
    #[error("the message is no call that wants an answer")]
    NotACall,
    /// A length is negative.
    #[error("a length is negative")]
    Negative,
    /// A length is more than the message may still hold.
    #[error("the message is too large")]
    TooLarge,
    /// Lists in lists in lists.
    #[error("the message is nested too deeply")]
    TooDeep,
    /// Not the type that the interface says, or none at all.
    #[error("a field has the wrong type")]
    WrongType,
}

/// How far a [`Scanner`] has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// The key has come: it is here. Said once, and at once, so that the limit can depend on whether it is right.
    Key(Range<usize>),
    /// The call is complete and so many bytes long.
    Done(usize),
}

/// What a value must be, where the interface says so.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Any,
    Bool,
    I32,
    I64,
    Text,
    List(&'static Shape),
    Struct(&'static [(i16, Shape)]),
}

const BAN: Shape = Shape::Struct(&[(1, Shape::Text), (2, Shape::I64), (3, Shape::Text)]);

/// The arguments of the interface's calls. `the_shapes_are_those_of_the_interface` compares them with what the
/// generated client writes.
const CALLS: &[(&[u8], Shape)] = &[
    (b"blockipbyiptables", Shape::Struct(&[(1, Shape::Text), (2, Shape::Text)])),
    (b"unblockipbyiptables", Shape::Struct(&[(1, Shape::Text), (2, Shape::Text)])),
    (
        b"apply",
        Shape::Struct(&[
            (1, Shape::Text),
            (2, Shape::I64),
            (3, Shape::List(&BAN)),
            (4, Shape::List(&Shape::Text)),
        ]),
    ),
    (
        b"sync",
        Shape::Struct(&[
            (1, Shape::Text),
            (2, Shape::I64),
            (3, Shape::List(&BAN)),
            (4, Shape::Bool),
            (5, Shape::Bool),
        ]),
    ),
    (b"held", Shape::Struct(&[(1, Shape::Text), (2, Shape::I64), (3, Shape::I32)])),
    (b"status", Shape::Struct(&[(1, Shape::Text)])),
];

// Types as they stand in the bytes.
const STOP: u8 = 0;
const BOOL: u8 = 2;
const I32: u8 = 8;
const I64: u8 = 10;
const TEXT: u8 = 11;
const STRUCT: u8 = 12;
const MAP: u8 = 13;
const SET: u8 = 14;
const LIST: u8 = 15;

impl Shape {
    /// Whether a value of this shape may have the type.
    fn allows(self, kind: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Bool => kind == BOOL,
            Self::I32 => kind == I32,
            Self::I64 => kind == I64,
            Self::Text => kind == TEXT,
            Self::List(_) => kind == LIST,
            Self::Struct(_) => kind == STRUCT,
        }
    }
}

/// The least bytes that a value of the type takes; `None` where there is no such type.
fn least_size(kind: u8) -> Option<usize> {
    match kind {
        BOOL | 3 | STRUCT => Some(1),
        6 => Some(2),
        I32 | TEXT => Some(4),
        SET | LIST => Some(5),
        MAP => Some(6),
        4 | I64 => Some(8),
        16 => Some(16),
        _ => None,
    }
}

/// What is open around the place where the scanner stands.
#[derive(Clone, Copy, Debug)]
enum Open {
    Struct(Shape),
    /// So many values of a list, a set or a map, which are of these types in turn.
    Items {
        left: usize,
        kinds: [u8; 2],
        shape: Shape,
    },
}

/// A value that comes next.
#[derive(Clone, Copy, Debug)]
struct Next {
    kind: u8,
    shape: Shape,
    is_key: bool,
}

/// Walks over one call as its bytes come in. Its own memory doesn't grow.
#[derive(Debug)]
pub struct Scanner {
    limit: usize,
    max_items: usize,
    at: usize,
    begun: bool,
    next: Option<Next>,
    open: Vec<Open>,
    key_seen: bool,
}

impl Scanner {
    /// For a call of at most `limit` bytes and `max_items` in each list.
    #[must_use]
    pub fn new(limit: usize, max_items: usize) -> Self {
        Self { limit, max_items, at: 0, begun: false, next: None, open: Vec::new(), key_seen: false }
    }

    /// The call may have so many bytes from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Goes on, where `bytes` are all that came of the call so far (and maybe of the next one).
    ///
    /// # Errors
    /// Where it isn't one, as far as can be seen.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        if !self.begun && !self.header(bytes)? {
            return Ok(Step::More);
        }
        loop {
            let Some(next) = self.next else {
                let Some(&open) = self.open.last() else {
                    return Ok(Step::Done(self.at));
                };
                if !self.step(bytes, open)? {
                    return self.wait(bytes);
                }
                continue;
            };
            let start = self.at;
            if !self.value(bytes, next)? {
                return self.wait(bytes);
            }
            self.next = None;
            if next.is_key && next.kind == TEXT && !self.key_seen {
                self.key_seen = true;
                return Ok(Step::Key(start + 4..self.at));
            }
        }
    }

    /// More bytes are needed; are there any to come?
    fn wait(&self, bytes: &[u8]) -> Result<Step, Malformed> {
        if bytes.len() < self.limit { Ok(Step::More) } else { Err(Malformed::TooLarge) }
    }

    /// The name and what stands around it, in both spellings; `false` where not all of it has come.
    fn header(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        let Some(first) = number(bytes, 0) else {
            // Each of the first bytes of other protocols gives them away.
            return if bytes.first().is_none_or(|&b| b == 0 || b == 0x80) {
                Ok(false)
            } else {
                Err(Malformed::NotThrift)
            };
        };
        // The new spelling begins with a version and the message's type, the old one has the type behind the name.
        let strict = first < 0;
        if strict && bytes[..2] != [0x80, 0x01] {
            return Err(Malformed::NotThrift);
        }
        let name_at = if strict { 8 } else { 4 };
        let Some(length) = (if strict { number(bytes, 4) } else { Some(first) }) else {
            return Ok(false);
        };
        let length = usize::try_from(length).map_err(|_| Malformed::NotThrift)?;
        if length > MAX_NAME {
            return Err(Malformed::NotThrift);
        }
        let name_end = name_at + length;
        let end = name_end + if strict { 4 } else { 5 };
        if bytes.len() < end {
            return Ok(false);
        }
        if bytes[if strict { 3 } else { name_end }] != 1 {
            return Err(Malformed::NotACall);
        }
        let name = &bytes[name_at..name_end];
        let shape = CALLS.iter().find(|(call, _)| *call == name).map_or(Shape::Any, |&(_, shape)| shape);
        self.open.push(Open::Struct(shape));
        self.at = end;
        self.begun = true;
        Ok(true)
    }

    /// Finds what comes next in what is open; `false` where it hasn't come.
    fn step(&mut self, bytes: &[u8], open: Open) -> Result<bool, Malformed> {
        match open {
            Open::Struct(shape) => {
                let Some(&kind) = bytes.get(self.at) else { return Ok(false) };
                if kind == STOP {
                    self.open.pop();
                    return self.pass(bytes, 1);
                }
                let Some(id) = bytes.get(self.at + 1..self.at + 3) else { return Ok(false) };
                let id = i16::from_be_bytes([id[0], id[1]]);
                let shape = match shape {
                    Shape::Struct(fields) => {
                        fields.iter().find(|(field, _)| *field == id).map_or(Shape::Any, |&(_, shape)| shape)
                    }
                    _ => Shape::Any,
                };
                if !shape.allows(kind) {
                    return Err(Malformed::WrongType);
                }
                self.at += 3;
                self.next = Some(Next { kind, shape, is_key: self.open.len() == 1 && id == 1 });
            }
            Open::Items { left: 0, .. } => {
                self.open.pop();
            }
            Open::Items { left, kinds, shape } => {
                self.open.pop();
                self.open.push(Open::Items { left: left - 1, kinds: [kinds[1], kinds[0]], shape });
                self.next = Some(Next { kind: kinds[0], shape, is_key: false });
            }
        }
        Ok(true)
    }

    /// Goes over a value, or to the first thing in it; `false` where not enough of it has come.
    fn value(&mut self, bytes: &[u8], next: Next) -> Result<bool, Malformed> {
        match next.kind {
            TEXT => {
                let Some(length) = number(bytes, self.at) else { return Ok(false) };
                let length = usize::try_from(length).map_err(|_| Malformed::Negative)?;
                self.pass(bytes, 4 + length)
            }
            STRUCT => self.enter(Open::Struct(next.shape)).map(|()| true),
            LIST | SET => {
                let Some(count) = number(bytes, self.at + 1) else { return Ok(false) };
                let kind = bytes[self.at];
                let shape = if let Shape::List(&shape) = next.shape { shape } else { Shape::Any };
                if !shape.allows(kind) {
                    return Err(Malformed::WrongType);
                }
                self.at += 5;
                self.items(count, 1, [kind, kind], shape)
            }
            MAP => {
                let Some(count) = number(bytes, self.at + 2) else { return Ok(false) };
                let kinds = [bytes[self.at], bytes[self.at + 1]];
                self.at += 6;
                self.items(count, 2, kinds, Shape::Any)
            }
            kind => self.pass(bytes, least_size(kind).ok_or(Malformed::WrongType)?),
        }
    }

    /// Enters a list or set (one value an item) or a map (two), whose values are of these types in turn.
    fn items(&mut self, count: i32, values: usize, kinds: [u8; 2], shape: Shape) -> Result<bool, Malformed> {
        let count = usize::try_from(count).map_err(|_| Malformed::Negative)?;
        if count == 0 {
            // Some leave the types of an empty map out.
            return Ok(true);
        }
        let least = least_size(kinds[0]).zip(least_size(kinds[1]));
        let (first, second) = least.ok_or(Malformed::WrongType)?;
        if count > self.max_items || self.at + count * values * first.min(second) > self.limit {
            return Err(Malformed::TooLarge);
        }
        self.enter(Open::Items { left: count * values, kinds, shape }).map(|()| true)
    }

    fn enter(&mut self, open: Open) -> Result<(), Malformed> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        self.open.push(open);
        Ok(())
    }

    /// Goes over so many bytes, once they have come.
    fn pass(&mut self, bytes: &[u8], length: usize) -> Result<bool, Malformed> {
        let end = self.at + length;
        if end > self.limit {
            return Err(Malformed::TooLarge);
        }
        let has_come = bytes.len() >= end;
        if has_come {
            self.at = end;
        }
        Ok(has_come)
    }
}

/// The number at a place, where its four bytes have come.
fn number(bytes: &[u8], at: usize) -> Option<i32> {
    let four = bytes.get(at..at + 4)?;
    Some(i32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}

#[cfg(test)]
mod tests;
