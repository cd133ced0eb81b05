//! Any text format, compiled to pieces: literals, the variables behind them, and how each value ends. `ends.rs`
//! applies it to lines.

use super::directive::{Escape, Part};
use super::error::LogFormatError;
use super::role::Role;

/// How the end of a value is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// By its type.
    Type,
    /// At the closing quote, which no value can hold unescaped.
    Quote,
    /// At the literal that follows, where what comes then can be read.
    Literal,
    /// At the literal that follows, if the rest can be read from just one place on: clients choose the value, and
    /// a line whose client or time it could shift is unparsed.
    OnlyLiteral,
    /// The same for `X-Forwarded-For` behind the address. Where there are two readings the hops alone are lost.
    Hops,
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
    pub(super) end: End,
}

/// A compiled text format.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) pieces: Vec<Piece>,
    /// The literal behind the last variable.
    pub(super) last: Vec<u8>,
    /// How many pieces must match.
    pub(super) required: usize,
    pub(super) escape: Escape,
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
                    pieces.push(Piece { literal, role: Role::of(&name), name, end: End::Line });
                }
            }
        }
        let mut template = Self { pieces, last: literal, required: 0, escape };
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
        let first = |means: fn(&Piece) -> bool| self.pieces.iter().position(means).unwrap_or(0);
        let address_at = first(|piece| piece.role == Role::Address);
        let time_at = first(|piece| piece.role.is_time());
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
            } else if piece.role == Role::ForwardedFor && at > address_at {
                End::Hops
            } else if at < address_at.max(time_at) && is_client_chosen(&piece.name) {
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
            uri.role = Role::OnlyUri;
            self.find_required();
        }
    }

    fn find_required(&mut self) {
        self.required = self.pieces.iter().rposition(|piece| piece.role.is_required()).map_or(0, |at| at + 1);
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
        let used = self.pieces.iter().rposition(|piece| piece.role != Role::Other).map_or(0, |at| at + 1);
        if used < self.pieces.len() {
            self.last = self.pieces[used].literal.clone();
            self.pieces.truncate(used);
        }
        self
    }
}

/// Whether clients can put what they like into a variable. What nginx itself makes has no spaces, quotes or
/// brackets.
pub(super) fn is_client_chosen(name: &str) -> bool {
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
