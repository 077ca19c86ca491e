//! Finds a list of records inside an object: by the path that an import names, or as a proposal if it names none.

use super::element::ElementScan;
use super::text::is_blank;
use crate::error::{ErrorCode, FileError};
use crate::field::{Field, dictionary};
use crate::validate::fold_column;

/// Keys that a message names.
const TOLD: usize = 12;
/// Longest key that is looked at, in bytes.
const KEY_BYTES: usize = 1024;

/// Goes through the members of objects to the list that keys lead to, in pieces cut anywhere.
#[derive(Debug)]
pub(super) struct Seek {
    keys: Vec<String>,
    /// The file may be the list itself.
    optional: bool,
    level: usize,
    state: State,
    value: ElementScan,
    key: Vec<u8>,
    escaped: bool,
    /// The keys of the object at this level.
    seen: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the object.
    Open,
    /// Before a key.
    Member,
    /// In a key.
    Key,
    /// Before the colon.
    Colon,
    /// Before a value.
    Value,
    /// In a value that the way does not lead into.
    Skip,
    /// After it.
    After,
}

type Wrong = (ErrorCode, String);

impl Seek {
    pub(super) fn new(keys: Vec<String>, optional: bool) -> Self {
        Self {
            keys,
            optional,
            level: 0,
            state: State::Open,
            value: ElementScan::default(),
            key: Vec::new(),
            escaped: false,
            seen: Vec::new(),
        }
    }

    /// The keys to the list, one for each object that is open around it.
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// How many bytes were taken, and whether the list begins after them.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<(usize, bool), Wrong> {
        let mut at = 0;
        while let Some(byte) = input.get(at) {
            if self.state == State::Skip {
                match self.value.scan(input.get(at..).unwrap_or_default()) {
                    Some(end) => {
                        at += end;
                        self.state = State::After;
                    }
                    None => return Ok((input.len(), false)),
                }
                continue;
            }
            if self.state != State::Key && is_blank(*byte) {
                at += 1;
                continue;
            }
            match self.step(*byte)? {
                Step::On => at += 1,
                Step::Again => {}
                Step::Found => return Ok((at + 1, true)),
            }
        }
        Ok((at, false))
    }

    fn step(&mut self, byte: u8) -> Result<Step, Wrong> {
        self.state = match (self.state, byte) {
            (State::Open, b'{') => State::Member,
            (State::Open, b'[') if self.optional => {
                self.keys.clear();
                return Ok(Step::Found);
            }
            (State::Open, _) => return Err(self.not_there()),
            (State::Member, b'"') => {
                self.key.clear();
                State::Key
            }
            (State::Member | State::After, b'}') => return Err(self.not_there()),
            (State::Key, byte) => {
                self.take_key(byte);
                return Ok(Step::On);
            }
            (State::Colon, b':') => State::Value,
            (State::Value, byte) => return self.begin_value(byte),
            (State::After, b',') => State::Member,
            _ => return Err((ErrorCode::JsonInvalid, "The text is not valid JSON.".into())),
        };
        Ok(Step::On)
    }

    fn take_key(&mut self, byte: u8) {
        if byte == b'"' && !self.escaped {
            self.state = State::Colon;
            if self.seen.len() < TOLD {
                self.seen.push(self.name());
            }
            return;
        }
        self.escaped = byte == b'\\' && !self.escaped;
        if self.key.len() < KEY_BYTES {
            self.key.push(byte);
        }
    }

    fn name(&self) -> String {
        let text = String::from_utf8_lossy(&self.key);
        serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.into_owned())
    }

    fn begin_value(&mut self, byte: u8) -> Result<Step, Wrong> {
        if self.keys.get(self.level) != Some(&self.name()) {
            self.value.start(byte);
            self.state = State::Skip;
            return Ok(Step::Again);
        }
        let last = self.level + 1 == self.keys.len();
        match byte {
            b'[' if last => Ok(Step::Found),
            b'{' if !last => {
                self.level += 1;
                self.seen.clear();
                self.state = State::Member;
                Ok(Step::On)
            }
            _ => Err((
                ErrorCode::FormatMismatch,
                format!("The value at `{}` is not a list of records.", self.keys.join("/")),
            )),
        }
    }

    fn not_there(&self) -> Wrong {
        let told: Vec<String> = self.seen.iter().map(|key| format!("`{key}`")).collect();
        let keys =
            if told.is_empty() { String::new() } else { format!(" The object has {}.", told.join(", ")) };
        (ErrorCode::FormatMismatch, format!("The file has no list at `{}`.{keys}", self.keys.join("/")))
    }
}

enum Step {
    On,
    Again,
    Found,
}

/// An object that holds a list of objects and names no user itself is no record: the list is to be named.
pub(super) fn refuse_wrapper(object: &[u8]) -> Result<(), FileError> {
    let Some(key) = list_in(object) else { return Ok(()) };
    let pointer = key.replace('~', "~0").replace('/', "~1");
    let message = format!(
        "The file is an object with a list of objects at `{key}`. If these are the records, say so: `--at {}` (over HTTP `at=…`).",
        crate::validate::quoted(&pointer)
    );
    Err(FileError::new(ErrorCode::FormatMismatch, message).mended_by(["--at".to_owned(), pointer]))
}

/// The first key of the object, or of its start, whose value is a list of objects; none where a key says who a user is.
fn list_in(object: &[u8]) -> Option<String> {
    let (mut found, mut key) = (None, None::<String>);
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = object.get(at) {
        match byte {
            b'"' => {
                let mut scan = ElementScan::default();
                scan.start(b'"');
                let end = scan.scan(object.get(at..).unwrap_or_default())?;
                if depth == 1 {
                    let text = std::str::from_utf8(object.get(at..at + end)?).ok();
                    let after = object.get(at + end..)?.iter().find(|byte| !is_blank(**byte));
                    if after == Some(&b':') {
                        key = text.and_then(|text| serde_json::from_str(text).ok());
                        if key.as_deref().is_some_and(identifies) {
                            return None;
                        }
                    }
                }
                at += end;
                continue;
            }
            b'[' | b'{' => {
                let next = object.get(at + 1..).unwrap_or_default().iter().find(|byte| !is_blank(**byte));
                if depth == 1 && *byte == b'[' && next == Some(&b'{') && found.is_none() {
                    found = key.take();
                }
                depth += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    found
}

fn identifies(key: &str) -> bool {
    let folded = fold_column(key);
    let field = folded.parse().ok().or_else(|| dictionary::common(&folded).map(|common| common.field));
    matches!(field, Some(Field::Email | Field::PhoneNumber | Field::PreferredUsername))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sought(text: &str, keys: &[&str], piece: usize) -> Result<Option<usize>, ErrorCode> {
        let mut seek = Seek::new(keys.iter().map(|key| (*key).to_owned()).collect(), false);
        let mut taken = 0;
        for part in text.as_bytes().chunks(piece) {
            let (bytes, found) = seek.feed(part).map_err(|(code, _)| code)?;
            taken += bytes;
            if found {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_list_is_found_whatever_the_pieces() {
        let text =
            r#" {"a": [1, {"users": []}], "b\"": "}", "realm": {"x": null, "users": [{"email": "a"}]}}"#;
        let wanted = text.find("[{\"email").map(|at| at + 1);
        for piece in [1, 2, 7, 1000] {
            assert_eq!(sought(text, &["realm", "users"], piece), Ok(wanted), "in pieces of {piece}");
            assert_eq!(sought(text, &["users"], piece), Err(ErrorCode::FormatMismatch));
            assert_eq!(sought(text, &["realm"], piece), Err(ErrorCode::FormatMismatch));
        }
    }

    #[test]
    fn a_list_in_an_object_is_proposed_unless_the_object_is_a_user() {
        let list = |text: &str| list_in(text.as_bytes());
        assert_eq!(list(r#"{"realm": "x", "users": [ {"email": "a"}]}"#).as_deref(), Some("users"));
        assert_eq!(list(r#"{"data":[{"a":1},{"#).as_deref(), Some("data"));
        assert_eq!(list(r#"{"email": "a", "addresses": [{"name": "x"}]}"#), None);
        assert_eq!(list(r#"{"tags": ["a"], "n": {"users": [{}]}}"#), None);
    }
}
