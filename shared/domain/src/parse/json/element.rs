//! Where an element of a JSON array ends.

use memchr::memchr2;

use super::text::is_blank;

/// Finds the end of one array element at a time, in pieces cut anywhere.
///
/// It only counts brackets and knows strings; whether the element is JSON is found out when it is read. Memory and stack do not
/// grow with the nesting.
#[derive(Debug, Default)]
pub(super) struct ElementScan {
    /// Whether the element is a number or a word, which has no closing character of its own.
    bare: bool,
    in_string: bool,
    escaped: bool,
    depth: usize,
    deepest: usize,
}

impl ElementScan {
    /// Starts an element that begins with this byte.
    pub(super) fn start(&mut self, first: u8) {
        *self = Self { bare: !matches!(first, b'{' | b'[' | b'"'), ..Self::default() };
    }

    /// How deep the element nests arrays and objects as far as it was scanned.
    pub(super) fn deepest(&self) -> usize {
        self.deepest
    }

    /// Scans the next piece of the element: the offset in it at which the element ends, if it does.
    pub(super) fn scan(&mut self, piece: &[u8]) -> Option<usize> {
        if self.bare {
            return piece.iter().position(|byte| is_blank(*byte) || matches!(byte, b',' | b']'));
        }
        let mut at = 0;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            at += if self.in_string { self.string(rest) } else { self.structure(rest) };
            if self.depth == 0 && !self.in_string {
                return Some(at);
            }
        }
        None
    }

    /// Takes bytes inside a string, up to its end or its next escape.
    fn string(&mut self, rest: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            return 1;
        }
        let Some(found) = memchr2(b'"', b'\\', rest) else { return rest.len() };
        if rest.get(found) == Some(&b'"') {
            self.in_string = false;
        } else {
            self.escaped = true;
        }
        found + 1
    }

    /// Takes bytes outside strings, up to the next string or the element's end.
    fn structure(&mut self, rest: &[u8]) -> usize {
        for (index, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.in_string = true;
                    return index + 1;
                }
                b'{' | b'[' => {
                    self.depth += 1;
                    self.deepest = self.deepest.max(self.depth);
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return index + 1;
                    }
                }
                _ => {}
            }
        }
        rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &[u8]) -> Option<usize> {
        let first = text.first().copied().unwrap_or(b' ');
        let mut scan = ElementScan::default();
        scan.start(first);
        let whole = scan.scan(text);
        for cut in 0..=text.len() {
            let (one, two) = text.split_at(cut);
            scan.start(first);
            let split = scan.scan(one).or_else(|| scan.scan(two).map(|at| at + cut));
            assert_eq!(split, whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn element_ends_where_its_brackets_close() {
        assert_eq!(end(br#"{"a":[1,{}]},"#), Some(12));
        assert_eq!(end(br#"{"a]}\"}":"\\"}]"#), Some(15));
        assert_eq!(end(b"[[[]]"), None);
        assert_eq!(end(br#""a,]\"" ,"#), Some(7));
    }

    #[test]
    fn bare_element_ends_before_what_follows() {
        assert_eq!(end(b"12 ,"), Some(2));
        assert_eq!(end(b"null]"), Some(4));
        assert_eq!(end(b"tru"), None);
    }
}
