//! Any text format: literals with variables between them, matched from left to right.
//!
//! A value ends where its type ends (an address, a time, a status), at its closing quote, or at the literal that
//! follows. Everything up to the last field that a line can't do without must match; what follows is optional,
//! for logs get cut and clients choose what stands there.

use std::ops::Range;

use super::directive::{Escape, Part};
use super::error::LogFormatError;
use super::role::Role;
use super::{Unparsed, closing_quote};

/// So many places at which a value may end are looked at where there may be just one.
const MAX_CANDIDATES: usize = 64;

/// How the end of a value is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// By its type.
    Type,
    /// At the closing quote, which no value can hold unescaped.
    Quote,
    /// At the literal that follows, where what comes then can be read.
    Literal,
    /// At the literal that follows, if that stands just once in the rest: clients choose the value, and it must
    /// not be read in two ways.
    OnlyLiteral,
    /// Before the first of this byte, or at `stop` (the byte that ends the whole run of adjacent variables).
    Byte(u8),
    /// At the end of the line.
    Line,
}

/// A literal and the variable behind it.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) literal: Vec<u8>,
    pub(super) name: String,
    pub(super) role: Role,
    end: End,
}

/// A compiled text format.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pieces: Vec<Piece>,
    /// The literal behind the last variable.
    last: Vec<u8>,
    /// How many pieces must match.
    required: usize,
    escape: Escape,
}

impl Template {
    pub(super) fn compile(parts: Vec<Part>, escape: Escape) -> Result<Self, LogFormatError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut literal = Vec::new();
        for part in parts {
            match part {
                Part::Literal(text) => literal.extend_from_slice(text.as_bytes()),
                Part::Variable(name) => {
                    let literal = std::mem::take(&mut literal);
                    pieces.push(Piece {
                        literal,
                        role: Role::of(&name),
                        name,
                        end: End::Line,
                    });
                }
            }
        }
        let mut template = Self {
            pieces,
            last: literal,
            required: 0,
            escape,
        };
        template.keep_one_of_each();
        template.find_ends()?;
        template.find_required();
        Ok(template)
    }

    /// Of several times (or requests) the first in the line counts, of `$host` and `$http_host` the former; the
    /// others are as any variable.
    fn keep_one_of_each(&mut self) {
        let has_host = self.pieces.iter().any(|piece| piece.name == "host");
        let (mut time, mut target, mut address) = (false, false, false);
        for piece in &mut self.pieces {
            let seen = match piece.role {
                role if role.is_time() => &mut time,
                role if role.is_target() => &mut target,
                Role::Address => &mut address,
                Role::Host if has_host && piece.name != "host" => {
                    piece.role = Role::Other;
                    continue;
                }
                _ => continue,
            };
            if std::mem::replace(seen, true) {
                piece.role = Role::Other;
            }
        }
    }

    fn find_ends(&mut self) -> Result<(), LogFormatError> {
        let address_at = self
            .pieces
            .iter()
            .position(|piece| piece.role == Role::Address)
            .unwrap_or(0);
        for at in 0..self.pieces.len() {
            let piece = &self.pieces[at];
            let next = self.pieces.get(at + 1);
            let follows = next.map_or(&self.last, |next| &next.literal);
            let end = if piece.role.extent(b"").is_some() {
                match next {
                    Some(next) if follows.is_empty() => return Err(adjacent(piece, next)),
                    _ => End::Type,
                }
            } else if follows.is_empty() {
                match next {
                    None => End::Line,
                    Some(next) => adjacent_end(piece, next)?,
                }
            } else if follows[0] == b'"' && piece.literal.ends_with(b"\"") && self.escape != Escape::None {
                End::Quote
            } else if piece.role == Role::ForwardedFor || (at < address_at && is_client_chosen(&piece.name)) {
                End::OnlyLiteral
            } else {
                End::Literal
            };
            self.pieces[at].end = end;
        }
        Ok(())
    }

    /// For formats without a request: `$uri` stands for it.
    pub(super) fn uri_as_target(&mut self) {
        if let Some(uri) = self.pieces.iter_mut().find(|piece| piece.role == Role::Uri) {
            uri.role = Role::Target;
            self.find_required();
        }
    }

    fn find_required(&mut self) {
        self.required = self
            .pieces
            .iter()
            .rposition(|piece| piece.role.is_required())
            .map_or(0, |at| at + 1);
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The template without its first `count` pieces, none of the rest required.
    pub(super) fn tail(&self, count: usize) -> Self {
        Self {
            pieces: self.pieces[count..].to_vec(),
            last: self.last.clone(),
            required: 0,
            escape: self.escape,
        }
    }

    /// Without the pieces behind the last one that means something to us.
    pub(super) fn trimmed(mut self) -> Self {
        let used = self
            .pieces
            .iter()
            .rposition(|piece| piece.role != Role::Other)
            .map_or(0, |at| at + 1);
        if used < self.pieces.len() {
            self.last = self.pieces[used].literal.clone();
            self.pieces.truncate(used);
        }
        self
    }

    /// Gives each value's place in `line` to `found`, from left to right, until the optional part stops
    /// matching.
    ///
    /// # Errors
    /// Where the required part doesn't match, and what `found` returns.
    pub(super) fn run(
        &self,
        line: &[u8],
        start: usize,
        mut found: impl FnMut(&Piece, Range<usize>) -> Result<(), Unparsed>,
    ) -> Result<(), Unparsed> {
        let mut at = start;
        for (index, piece) in self.pieces.iter().enumerate() {
            let required = index < self.required;
            if !line[at..].starts_with(&piece.literal) {
                return if required { Err(Unparsed::Layout) } else { Ok(()) };
            }
            at += piece.literal.len();
            let end = match self.end_of(line, at, index) {
                Ok(end) => end,
                Err(reason) if required => return Err(reason),
                Err(_) => return Ok(()),
            };
            match found(piece, at..end) {
                Err(reason) if required => return Err(reason),
                _ => at = end,
            }
        }
        Ok(())
    }

    /// Where the value at `at` ends. But for its quotes no value has a quote that nothing escapes, for nginx
    /// escapes them (unless it was told not to).
    fn end_of(&self, line: &[u8], at: usize, index: usize) -> Result<usize, Unparsed> {
        let end = self.unchecked_end_of(line, at, index)?;
        let piece = &self.pieces[index];
        if self.escape == Escape::None || matches!(piece.end, End::Type | End::Quote) {
            return Ok(end);
        }
        if closing_quote(&line[at..end], 0).is_some() {
            Err(piece.role.missing())
        } else {
            Ok(end)
        }
    }

    fn unchecked_end_of(&self, line: &[u8], at: usize, index: usize) -> Result<usize, Unparsed> {
        let piece = &self.pieces[index];
        let rest = &line[at..];
        let follows = self
            .pieces
            .get(index + 1)
            .map_or(&self.last, |next| &next.literal);
        let missing = piece.role.missing();
        match piece.end {
            End::Type => {
                let length = piece.role.extent(rest).flatten().ok_or(missing)?;
                // What comes next must not go on as if it belonged to the value.
                let closed = match rest.get(length) {
                    None | Some(b' ') => true,
                    Some(byte) => follows.first() == Some(byte),
                };
                if closed { Ok(at + length) } else { Err(missing) }
            }
            End::Quote => {
                let end = closing_quote(line, at).ok_or(missing)?;
                let behind = line.get(end + 1);
                // What is required must be closed for sure; what is optional may be followed by anything.
                let closed = index + 1 != self.required
                    || behind.is_none_or(|byte| follows.get(1).is_none_or(|next| next == byte));
                if closed { Ok(end) } else { Err(missing) }
            }
            End::Byte(stop) => {
                let whole = self.run_end(line, at, index);
                Ok(at + memchr::memchr(stop, &line[at..whole]).unwrap_or(whole - at))
            }
            End::Line => Ok(line.len()),
            // The last required value may end the line: what follows is optional.
            End::Literal if index + 1 == self.required => {
                Ok(self.first_end(line, at, index).unwrap_or(line.len()))
            }
            End::Literal => self.first_end(line, at, index).ok_or(missing),
            End::OnlyLiteral => {
                // No value goes on behind a quote that nothing escapes.
                let reach = match self.escape {
                    Escape::None => rest.len(),
                    _ => closing_quote(rest, 0).unwrap_or(rest.len()),
                };
                let mut ends = memchr::memmem::find_iter(rest, follows)
                    .take_while(|&length| length <= reach)
                    .filter(|&length| piece.role != Role::ForwardedFor || !rest[..length].ends_with(b","))
                    .map(|length| at + length);
                // A line that makes us look further isn't worth it.
                let mut fitting = ends
                    .by_ref()
                    .take(MAX_CANDIDATES)
                    .filter(|&end| self.rest_fits(line, end + follows.len(), index + 1));
                let end = fitting.next().ok_or(missing)?;
                if fitting.next().is_some() || ends.next().is_some() {
                    Err(Unparsed::Ambiguous)
                } else {
                    Ok(end)
                }
            }
        }
    }

    /// Whether the piece at `index` can begin at `at` (behind its literal).
    fn continues(&self, line: &[u8], at: usize, index: usize) -> bool {
        let Some(piece) = self.pieces.get(index).filter(|piece| piece.end == End::Type) else {
            return true;
        };
        let Ok(end) = self.end_of(line, at, index) else {
            return false;
        };
        let behind = self
            .pieces
            .get(index + 1)
            .map_or(&self.last, |next| &next.literal);
        piece.role.is_valid(&line[at..end]) && (end == line.len() || line[end..].starts_with(behind))
    }

    /// Whether all required pieces from `index` on (behind its literal) match.
    fn rest_fits(&self, line: &[u8], mut at: usize, index: usize) -> bool {
        let rest = self
            .pieces
            .iter()
            .enumerate()
            .take(self.required.max(index + 1))
            .skip(index);
        for (next, piece) in rest {
            if next > index {
                if !line[at..].starts_with(&piece.literal) {
                    return false;
                }
                at += piece.literal.len();
            }
            // Another one that would have to look at many places is taken at its first.
            let end = match piece.end {
                End::OnlyLiteral => self.first_end(line, at, next),
                _ => self.end_of(line, at, next).ok(),
            };
            match end {
                Some(end) if piece.role.is_valid(&line[at..end]) => at = end,
                _ => return false,
            }
        }
        true
    }

    fn first_end(&self, line: &[u8], at: usize, index: usize) -> Option<usize> {
        let follows = self
            .pieces
            .get(index + 1)
            .map_or(&self.last, |next| &next.literal);
        memchr::memmem::find_iter(&line[at..], follows)
            .map(|length| at + length)
            .find(|&end| self.continues(line, end + follows.len(), index + 1))
    }

    /// Where a run of adjacent variables ends: at the quote, space or line end behind it.
    fn run_end(&self, line: &[u8], at: usize, index: usize) -> usize {
        let behind = (index + 1..=self.pieces.len())
            .map(|next| self.pieces.get(next).map_or(&self.last, |piece| &piece.literal))
            .find(|literal| !literal.is_empty());
        let length = match behind.and_then(|literal| literal.first()) {
            None => line.len() - at,
            Some(b'"') => return closing_quote(line, at).unwrap_or(line.len()),
            Some(&byte) => memchr::memchr(byte, &line[at..]).unwrap_or(line.len() - at),
        };
        at + length
    }
}

/// Whether clients can put what they like into a variable. What nginx itself makes has no spaces, quotes or
/// brackets.
fn is_client_chosen(name: &str) -> bool {
    const MADE_BY_NGINX: [&str; 24] = [
        "body_bytes_sent",
        "bytes_sent",
        "connection",
        "connection_requests",
        "gzip_ratio",
        "host",
        "hostname",
        "msec",
        "nginx_version",
        "pid",
        "pipe",
        "realip_remote_addr",
        "realip_remote_port",
        "remote_port",
        "request_id",
        "request_length",
        "request_method",
        "request_time",
        "scheme",
        "server_addr",
        "server_name",
        "server_port",
        "ssl_protocol",
        "status",
    ];
    !MADE_BY_NGINX.contains(&name) && !Role::of(name).is_time()
}

/// Two variables with nothing between them: only where the second one begins with a known byte.
fn adjacent_end(piece: &Piece, next: &Piece) -> Result<End, LogFormatError> {
    match next.name.as_str() {
        "request_uri" | "uri" | "document_uri" => Ok(End::Byte(b'/')),
        "is_args" => Ok(End::Byte(b'?')),
        // `$is_args` is `?` or nothing; where it holds the arguments as well nobody minds.
        "args" | "query_string" if piece.name == "is_args" => Ok(End::Byte(b' ')),
        _ => Err(adjacent(piece, next)),
    }
}

fn adjacent(piece: &Piece, next: &Piece) -> LogFormatError {
    LogFormatError::Adjacent(piece.name.clone(), next.name.clone())
}
