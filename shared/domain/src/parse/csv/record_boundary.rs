//! Finds the end of a CSV record.
//!
//! A quote opens a quoted cell only as the cell's first byte; any other quote outside a quoted cell is text
//! (and makes its record invalid, which `cells` detects). After a closing quote everything up to the next
//! delimiter is text, too. So one stray quote spoils only its own record, unless it is where a quoted cell
//! may begin.

use memchr::{memchr, memchr3};

use crate::parse::Delimiter;

/// Finds the end of one record at a time, in pieces cut anywhere.
#[derive(Debug)]
pub(super) struct BoundaryScan {
    /// The delimiter, or all that it may be while the header is read.
    delimiter: Option<Delimiter>,
    state: State,
    /// The byte before the next one, `None` at the start of the record.
    before: Option<u8>,
    /// Bytes of the record scanned in earlier pieces.
    scanned: usize,
    /// Offset in the record of the last quote that opened a cell.
    opened_at: usize,
    /// Whether the record has any quote.
    quotes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    Quoted,
    /// After a quote inside a quoted cell: it closes the cell, unless another quote follows.
    QuoteSeen,
}

impl BoundaryScan {
    /// A scan at the start of a record; without a delimiter, a cell begins after each that there is.
    pub(super) fn new(delimiter: Option<Delimiter>) -> Self {
        Self { delimiter, state: State::Plain, before: None, scanned: 0, opened_at: 0, quotes: false }
    }

    /// Starts the next record.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.delimiter);
    }

    /// The cells' delimiter is known from here on.
    pub(super) fn set_delimiter(&mut self, delimiter: Delimiter) {
        self.delimiter = Some(delimiter);
    }

    /// Whether a quote was seen in the record.
    pub(super) fn has_quotes(&self) -> bool {
        self.quotes
    }

    /// Offset in the record of the quote that is open after all that was scanned.
    pub(super) fn open_quote(&self) -> Option<usize> {
        (self.state == State::Quoted).then_some(self.opened_at)
    }

    /// Scans the next piece of the record: the offset in it of the line end that ends the record, if that is there.
    pub(super) fn scan(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Plain => {
                    let Some(found) = memchr3(b'\n', b'\r', b'"', rest) else { break };
                    if rest.get(found) != Some(&b'"') {
                        return Some(at + found);
                    }
                    at += found;
                    self.plain_quote(at, piece);
                    at += 1;
                }
                State::Quoted => {
                    let Some(found) = memchr(b'"', rest) else { break };
                    self.state = State::QuoteSeen;
                    at += found + 1;
                }
                State::QuoteSeen if rest.first() == Some(&b'"') => {
                    self.state = State::Quoted;
                    at += 1;
                }
                // The byte after the closing quote is looked at as any other: it may end the record.
                State::QuoteSeen => self.state = State::Plain,
            }
        }
        self.before = piece.last().copied().or(self.before);
        self.scanned += piece.len();
        None
    }

    fn plain_quote(&mut self, at: usize, piece: &[u8]) {
        self.quotes = true;
        let before = at.checked_sub(1).map_or(self.before, |index| piece.get(index).copied());
        if before.is_none_or(|byte| self.begins_cell(byte)) {
            self.state = State::Quoted;
            self.opened_at = self.scanned + at;
        }
    }

    fn begins_cell(&self, before: u8) -> bool {
        match self.delimiter {
            Some(delimiter) => delimiter.byte() == before,
            None => Delimiter::ALL.iter().any(|delimiter| delimiter.byte() == before),
        }
    }
}

/// How many lines end in the text: at LF, CRLF and lone CR.
pub(super) fn line_ends(text: &[u8]) -> u64 {
    let feeds = memchr::memchr_iter(b'\n', text).count();
    let lone_returns = memchr::memchr_iter(b'\r', text).filter(|at| text.get(at + 1) != Some(&b'\n')).count();
    (feeds + lone_returns) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &[u8]) -> Option<usize> {
        let whole = BoundaryScan::new(Some(Delimiter::Comma)).scan(text);
        for cut in 0..=text.len() {
            let (first, second) = text.split_at(cut);
            let mut scan = BoundaryScan::new(Some(Delimiter::Comma));
            let split = scan.scan(first).or_else(|| scan.scan(second).map(|at| at + cut));
            assert_eq!(split, whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn record_ends_at_the_first_line_end_outside_quotes() {
        assert_eq!(end(b"a,b\nc"), Some(3));
        assert_eq!(end(b"a,b\r\nc"), Some(3));
        assert_eq!(end(b"a,b\rc"), Some(3));
        assert_eq!(end(b"a,\"b\nc\"\nd"), Some(7));
        assert_eq!(end(b"\"a\"\"\nb\"\nc"), Some(7));
        assert_eq!(end(b"\"\"\nc"), Some(2));
    }

    #[test]
    fn stray_quote_does_not_open_a_cell() {
        assert_eq!(end(b"a\"b,c\nd"), Some(5));
        assert_eq!(end(b"\"a\"b\"c\nd"), Some(6));
        assert_eq!(end(b"a, \"b\nc"), Some(5));
    }

    #[test]
    fn open_quote_is_remembered() {
        let mut scan = BoundaryScan::new(Some(Delimiter::Comma));
        assert_eq!(scan.scan(b"a,\"b\n"), None);
        assert_eq!(scan.scan(b"c,d\n"), None);
        assert_eq!(scan.open_quote(), Some(2));
        assert_eq!(scan.scan(b"\""), None);
        assert_eq!(scan.open_quote(), None);
    }

    #[test]
    fn every_kind_of_line_end_counts_once() {
        assert_eq!(line_ends(b"a\nb\r\nc\rd\r\r\n"), 5);
        assert_eq!(line_ends(b""), 0);
    }
}
