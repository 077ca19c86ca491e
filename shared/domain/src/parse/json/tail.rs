//! What follows a list of records inside objects: the rest of their members. It is not kept, but it has to be JSON, and a second list
//! under the same key is told.

use super::text::is_blank;
use crate::error::ErrorCode;
use crate::fault::{Mutant, mutant};

/// Most arrays and objects inside each other.
const DEEPEST: usize = 127;
/// Longest key that is looked at, in bytes.
const KEY_BYTES: usize = 1024;

/// Reads the rest of the objects around a list, in pieces cut anywhere. Memory grows with the nesting only, which is bounded.
#[derive(Debug)]
pub(super) struct Tail {
    /// The keys that led to the list, the outermost first.
    keys: Vec<String>,
    /// What is open, outermost first: an object or else an array.
    open: Vec<Open>,
    state: State,
    key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After a value.
    After,
    /// Before the first key, or the end of the object.
    FirstKey,
    /// Before a further key.
    Key,
    Colon,
    /// Before the first value of an array, or its end.
    FirstItem,
    Value,
    /// In a text, which may be a key.
    Text {
        key: bool,
    },
    Escape {
        key: bool,
    },
    Hex {
        key: bool,
        left: u8,
    },
    /// What is left of `true`, `false` or `null`.
    Word(&'static [u8]),
    Number(Number),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Power,
    PowerSign,
    PowerDigits,
}

impl Tail {
    /// The list that these keys lead to has ended.
    pub(super) fn new(keys: Vec<String>) -> Self {
        let open = vec![Open::Object; keys.len()];
        Self { keys, open, state: State::After, key: Vec::new() }
    }

    /// How many bytes were taken, and whether the outermost object ends after them; or the offset of the byte at fault, and the fault.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<(usize, bool), (usize, ErrorCode)> {
        for (at, byte) in input.iter().enumerate() {
            self.step(*byte).map_err(|code| (at, code))?;
            if self.open.is_empty() {
                return Ok((at + 1, true));
            }
        }
        Ok((input.len(), false))
    }

    fn step(&mut self, byte: u8) -> Result<(), ErrorCode> {
        self.state = match (self.state, byte) {
            (State::Number(number), byte) => match number.after(byte) {
                Some(number) => State::Number(number),
                None if number.is_whole() => {
                    self.state = State::After;
                    return self.step(byte);
                }
                None => return Err(ErrorCode::JsonInvalid),
            },
            (State::Text { key }, byte) => self.text(key, byte)?,
            (State::Escape { key }, byte) => {
                self.keep(key, byte);
                match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::Text { key },
                    b'u' => State::Hex { key, left: 4 },
                    _ => return Err(ErrorCode::JsonInvalid),
                }
            }
            (State::Hex { key, left }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.keep(key, byte);
                if left > 1 { State::Hex { key, left: left - 1 } } else { State::Text { key } }
            }
            (State::Word([next, rest @ ..]), byte) if *next == byte => {
                if rest.is_empty() {
                    State::After
                } else {
                    State::Word(rest)
                }
            }
            (State::Hex { .. } | State::Word(_), _) => return Err(ErrorCode::JsonInvalid),
            (state, byte) if is_blank(byte) => state,
            (State::After, b',') => match self.open.last() {
                Some(Open::Object) => State::Key,
                _ => State::Value,
            },
            (State::After | State::FirstKey, b'}') if self.open.last() == Some(&Open::Object) => self.close(),
            (State::After | State::FirstItem, b']') if self.open.last() == Some(&Open::Array) => self.close(),
            (State::Key | State::FirstKey, b'"') => {
                self.key.clear();
                State::Text { key: true }
            }
            (State::Colon, b':') => State::Value,
            (State::Value | State::FirstItem, byte) => self.begin(byte)?,
            _ => return Err(ErrorCode::JsonInvalid),
        };
        Ok(())
    }

    fn close(&mut self) -> State {
        self.open.pop();
        State::After
    }

    fn begin(&mut self, byte: u8) -> Result<State, ErrorCode> {
        let opened = match byte {
            b'{' => (Open::Object, State::FirstKey),
            b'[' => (Open::Array, State::FirstItem),
            b'"' => return Ok(State::Text { key: false }),
            b't' => return Ok(State::Word(b"rue")),
            b'f' => return Ok(State::Word(b"alse")),
            b'n' => return Ok(State::Word(b"ull")),
            b'-' => return Ok(State::Number(Number::Minus)),
            b'0' => return Ok(State::Number(Number::Zero)),
            b'1'..=b'9' => return Ok(State::Number(Number::Digits)),
            _ => return Err(ErrorCode::JsonInvalid),
        };
        if self.open.len() >= DEEPEST {
            return Err(ErrorCode::JsonTooDeep);
        }
        self.open.push(opened.0);
        Ok(opened.1)
    }

    fn text(&mut self, key: bool, byte: u8) -> Result<State, ErrorCode> {
        match byte {
            b'"' if key => {
                self.check_key()?;
                Ok(State::Colon)
            }
            b'"' => Ok(State::After),
            ..0x20 => Err(ErrorCode::JsonInvalidString),
            _ => {
                self.keep(key, byte);
                Ok(if byte == b'\\' { State::Escape { key } } else { State::Text { key } })
            }
        }
    }

    fn keep(&mut self, key: bool, byte: u8) {
        if key && self.open.len() <= self.keys.len() && self.key.len() <= KEY_BYTES {
            self.key.push(byte);
        }
    }

    /// A key of the objects around the list that led to it stands there for the second time.
    fn check_key(&self) -> Result<(), ErrorCode> {
        let way = self.open.len().checked_sub(1).and_then(|level| self.keys.get(level));
        let is_way = |way: &String| {
            let text = String::from_utf8_lossy(&self.key);
            serde_json::from_str::<String>(&format!("\"{text}\"")).is_ok_and(|key| key == *way)
        };
        if way.is_some_and(is_way) && !mutant(Mutant::SecondListUnread) {
            return Err(ErrorCode::JsonDuplicateKey);
        }
        Ok(())
    }
}

impl Number {
    /// What a number is after a further byte of it; `None` for a byte that is none of it.
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Digits, b'0'..=b'9') => Some(Self::Digits),
            (Self::Zero | Self::Digits, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Some(Self::Power),
            (Self::Power, b'+' | b'-') => Some(Self::PowerSign),
            (Self::Power | Self::PowerSign | Self::PowerDigits, b'0'..=b'9') => Some(Self::PowerDigits),
            _ => None,
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::PowerDigits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8], keys: &[&str], piece: usize) -> Result<Option<usize>, (usize, ErrorCode)> {
        let mut tail = Tail::new(keys.iter().map(|key| (*key).to_owned()).collect());
        let mut taken = 0;
        for part in text.chunks(piece) {
            let (bytes, ended) = tail.feed(part).map_err(|(at, code)| (taken + at, code))?;
            taken += bytes;
            if ended {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    #[test]
    fn what_follows_a_list_in_an_object_is_read() {
        let keys = ["realm", "users"];
        for piece in [1, 3, 1000] {
            let read = |text: &str| read(text.as_bytes(), &keys, piece);
            assert_eq!(read("}}x"), Ok(Some(2)));
            let good = r#" , "n" : [1, -0.5e+7, {"users": [], "realm": "\u00e9\""}, []], "x": {} } , "users": null } "#;
            assert_eq!(read(good), Ok(Some(good.len() - 1)));
            assert_eq!(read(r#", "a": tru"#), Ok(None));
            for (wrong, code) in [
                (r#", "users": []}}"#, ErrorCode::JsonDuplicateKey),
                (r#", "\u0075sers": []}}"#, ErrorCode::JsonDuplicateKey),
                (r#"}, "realm": {}}"#, ErrorCode::JsonDuplicateKey),
                ("] }", ErrorCode::JsonInvalid),
                (", }", ErrorCode::JsonInvalid),
                (r#", "a" 1}"#, ErrorCode::JsonInvalid),
                (r#", "a": 01}"#, ErrorCode::JsonInvalid),
                (r#", "a": 1.}"#, ErrorCode::JsonInvalid),
                (r#", "a": trye}"#, ErrorCode::JsonInvalid),
                (r#", "a": [1,]}"#, ErrorCode::JsonInvalid),
                (r#", "a": "\x"}"#, ErrorCode::JsonInvalid),
                (r#" "a": 1}"#, ErrorCode::JsonInvalid),
                (", \"a\": \"\n\"}", ErrorCode::JsonInvalidString),
            ] {
                assert_eq!(read(wrong).map_err(|(_, code)| code), Err(code), "{wrong}");
            }
            let deep = format!(", \"a\": {}", "[".repeat(DEEPEST));
            assert_eq!(read(&deep).map_err(|(_, code)| code), Err(ErrorCode::JsonTooDeep));
        }
    }

    proptest! {
        #[test]
        fn the_pieces_change_nothing_and_all_of_it_is_judged_as_json_is(
            text in r#"(,"[ab]":|[\[\]{}:,"0-9.eE+\- ]|true|null|"x"){0,14}"#, piece in 1usize..5
        ) {
            let whole = read(text.as_bytes(), &["k"], 1000);
            prop_assert_eq!(read(text.as_bytes(), &["k"], piece), whole);
            if let Ok(Some(end)) = whole {
                let object = format!("{{\"k\":[]{}", &text[..end]);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&object).is_ok(), "{}", object);
            }
        }
    }
}
