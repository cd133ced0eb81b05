//! A template applied to a line, from left to right.
//!
//! A value ends where its type ends (an address, a time, a status), at its closing quote, or at the literal that
//! follows. Everything up to the last field that a line can't do without must match; what follows is optional,
//! for logs get cut and clients choose what stands there.

use std::ops::Range;

use super::directive::Escape;
use super::role::Role;
use super::template::{End, Piece, Template, is_client_chosen};
use super::{Unparsed, closing_quote};
use crate::address::parse_address;

/// So many places are looked at where a value that clients choose may end. A line that makes us look further
/// isn't worth it.
const MAX_CANDIDATES: usize = 64;

impl Template {
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
            let ended = match piece.end {
                End::Hops => self.hops_end(line, at, index),
                _ => self.end_of(line, at, index).map(|end| (end, at..end)),
            };
            let (end, value) = match ended {
                Ok(ended) => ended,
                Err(reason) if required => return Err(reason),
                Err(_) => return Ok(()),
            };
            match found(piece, value) {
                Err(reason) if required => return Err(reason),
                _ => at = end,
            }
        }
        Ok(())
    }

    /// The literal behind the piece at `index`.
    fn behind(&self, index: usize) -> &[u8] {
        self.pieces.get(index + 1).map_or(&self.last, |next| &next.literal)
    }

    /// Where the value at `at` ends. But for its quotes no value has a quote that nothing escapes, for nginx
    /// escapes them (unless it was told not to).
    fn end_of(&self, line: &[u8], at: usize, index: usize) -> Result<usize, Unparsed> {
        let piece = &self.pieces[index];
        let missing = piece.role.missing();
        let rest = &line[at..];
        let end = match piece.end {
            End::Type => {
                return self.typed_end(rest, index).map(|length| at + length).ok_or(missing);
            }
            End::Quote => {
                let end = closing_quote(line, at).ok_or(missing)?;
                // What is required must be closed for sure; what is optional may be followed by anything.
                let next = line.get(end + 1).zip(self.behind(index).get(1));
                let closed = index + 1 != self.required || next.is_none_or(|(found, wanted)| found == wanted);
                return if closed { Ok(end) } else { Err(missing) };
            }
            End::Byte(stop) => {
                let whole = self.run_end(line, at, index);
                at + memchr::memchr(stop, &line[at..whole]).unwrap_or(whole - at)
            }
            End::Line => line.len(),
            End::Literal => match self.first_end(line, at, index, usize::MAX) {
                Some(end) => end,
                // The last required value may end the line: what follows is optional.
                None if index + 1 == self.required => line.len(),
                None => return Err(missing),
            },
            End::OnlyLiteral => self.only_end(line, at, index)?,
            End::Hops => self.hops_end(line, at, index)?.0,
        };
        let quoted = self.escape != Escape::None && closing_quote(&line[at..end], 0).is_some();
        if quoted { Err(missing) } else { Ok(end) }
    }

    /// How long the value of a type is that begins `rest`.
    fn typed_end(&self, rest: &[u8], index: usize) -> Option<usize> {
        let role = self.pieces[index].role;
        let behind = self.behind(index);
        let mut length = role.extent(rest).flatten()?;
        if role == Role::Address && behind.first() == Some(&b':') {
            // `$remote_addr:$remote_port`: the last colon of the run behind which an address is complete.
            let colons = memchr::memrchr_iter(b':', &rest[..length]);
            length = colons.take(2).find(|&colon| parse_address(&rest[..colon]).is_some())?;
        }
        // What comes next must not go on as if it belonged to the value.
        let closed = rest.get(length).is_none_or(|byte| *byte == b' ' || behind.first() == Some(byte));
        closed.then_some(length)
    }

    /// The first place where the value may end such that what follows can be read, of `most` places.
    fn first_end(&self, line: &[u8], at: usize, index: usize, most: usize) -> Option<usize> {
        let behind = self.behind(index);
        let ends = places(&line[at..], behind).take(most).map(|length| at + length);
        let mut ends = ends;
        ends.find(|&end| self.continues(line, end + behind.len(), index + 1))
    }

    /// The one place where the value may end such that all that is required can be read.
    fn only_end(&self, line: &[u8], at: usize, index: usize) -> Result<usize, Unparsed> {
        let behind = self.behind(index);
        let reach = self.reach(line, at);
        let ends = places(&line[at..], behind).map(|length| at + length);
        let mut ends = ends.take_while(|&end| end <= reach);
        let mut fitting = ends
            .by_ref()
            .take(MAX_CANDIDATES)
            .filter(|&end| self.fits(line, end + behind.len(), index + 1, self.required));
        let end = fitting.next().ok_or(self.pieces[index].role.missing())?;
        if fitting.next().is_some() || ends.next().is_some() { Err(Unparsed::Ambiguous) } else { Ok(end) }
    }

    /// Where hops end, and which bytes are hops for sure: none where a client wrote what makes two readings of
    /// them. The line then counts for its peer, and behind a proxy for nobody.
    fn hops_end(&self, line: &[u8], at: usize, index: usize) -> Result<(usize, Range<usize>), Unparsed> {
        let behind = self.behind(index);
        let reach = self.reach(line, at);
        let end_at = |length: usize| (!line[..at + length].ends_with(b",")).then_some(at + length);
        let text = &line[at..line.len().min(reach + behind.len())];
        let from_left = || places(text, behind).take(MAX_CANDIDATES).filter_map(end_at);
        let from_right = || places_from_right(text, behind).take(MAX_CANDIDATES).filter_map(end_at);
        let follows = &self.pieces[index + 1..];
        if follows.iter().all(|piece| piece.end == End::Quote || !is_client_chosen(&piece.name)) {
            // What nginx makes has no spaces, so the whole rest can be told from the right.
            let whole =
                from_right().find(|&end| self.fits(line, end + behind.len(), index + 1, self.pieces.len()));
            if let Some(end) = whole {
                return Ok((end, at..end));
            }
        }
        let fits = |&end: &usize| self.fits(line, end + behind.len(), index + 1, self.required);
        let last = from_right().find(fits).ok_or(Unparsed::Layout)?;
        let sure = from_left().find(fits) == Some(last);
        Ok((last, if sure { at..last } else { at..at }))
    }

    /// No value goes on behind a quote that nothing escapes.
    fn reach(&self, line: &[u8], at: usize) -> usize {
        match self.escape {
            Escape::None => line.len(),
            _ => closing_quote(line, at).unwrap_or(line.len()),
        }
    }

    /// Whether the pieces from `index` on can begin at `at` (behind the first one's literal), as far as types tell.
    fn continues(&self, line: &[u8], mut at: usize, index: usize) -> bool {
        for (next, piece) in
            self.pieces.iter().enumerate().skip(index).take_while(|(_, piece)| piece.end == End::Type)
        {
            let Ok(end) = self.end_of(line, at, next) else {
                return false;
            };
            if !piece.role.is_valid(&line[at..end]) {
                return false;
            }
            if end == line.len() {
                return true;
            }
            if !line[end..].starts_with(self.behind(next)) {
                // Behind what is required a line may go on in any way.
                return next + 1 >= self.required;
            }
            at = end + self.behind(next).len();
        }
        true
    }

    /// Whether the pieces from `index` up to `until` match, the first one behind its literal; where that is all of
    /// them, the line must end there too.
    fn fits(&self, line: &[u8], mut at: usize, index: usize, until: usize) -> bool {
        let until = until.max(index + 1).min(self.pieces.len());
        for next in index..until {
            let piece = &self.pieces[next];
            if next > index {
                if !line[at..].starts_with(&piece.literal) {
                    return false;
                }
                at += piece.literal.len();
            }
            // Another one that would have to look at many places is taken at its first.
            let end = match piece.end {
                End::OnlyLiteral | End::Hops => self.first_end(line, at, next, MAX_CANDIDATES),
                _ => self.end_of(line, at, next).ok(),
            };
            match end {
                Some(end) if piece.role.is_valid(&line[at..end]) => at = end,
                _ => return false,
            }
        }
        until < self.pieces.len() || line[at..] == self.last[..] || until == self.required
    }

    /// Where a run of adjacent variables ends: at the quote, space or line end behind it.
    fn run_end(&self, line: &[u8], at: usize, index: usize) -> usize {
        let behind =
            (index..self.pieces.len()).map(|next| self.behind(next)).find(|literal| !literal.is_empty());
        let length = match behind.and_then(|literal| literal.first()) {
            None => line.len() - at,
            Some(b'"') => return closing_quote(line, at).unwrap_or(line.len()),
            Some(&byte) => memchr::memchr(byte, &line[at..]).unwrap_or(line.len() - at),
        };
        at + length
    }
}

/// Where `wanted` stands in `text`, from left to right; places may overlap.
fn places(text: &[u8], wanted: &[u8]) -> impl Iterator<Item = usize> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + memchr::memmem::find(text.get(from..)?, wanted)?;
        from = at + 1;
        Some(at)
    })
}

/// The same from right to left.
fn places_from_right(text: &[u8], wanted: &[u8]) -> impl Iterator<Item = usize> {
    let mut until = text.len();
    std::iter::from_fn(move || {
        let at = memchr::memmem::rfind(&text[..until], wanted)?;
        // The next one begins before this one.
        until = (at + wanted.len()).saturating_sub(1);
        Some(at)
    })
}
