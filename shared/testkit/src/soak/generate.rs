//! Files, and the manifest of their records.

use crate::random::Random;
use serde_json::{Map, Value, json};

use super::model::{Bad, OnExisting, Record, Said, Users, text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Ndjson,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// A file to upload.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// The space of its addresses and phone numbers.
    pub(crate) space: u32,
    pub(crate) format: Format,
    pub(crate) on_existing: OnExisting,
    /// An invalid record refuses it (`on_invalid=refuse`).
    pub(crate) refuse: bool,
    /// It waits for `proceed` (`start=manual`).
    pub(crate) manual: bool,
    /// It is planned first (`start=plan`).
    pub(crate) planned: bool,
    pub(crate) records: Vec<Record>,
    pub(crate) body: bytes::Bytes,
}

impl Draft {
    pub(crate) fn of(
        random: &mut Random,
        space: u32,
        format: Format,
        on_existing: OnExisting,
        mut records: Vec<Record>,
    ) -> Self {
        if let Some(first) = records.first_mut().filter(|first| first.bad == Some(Bad::Broken)) {
            // As the first line, text that is no JSON would say that the file is something else.
            first.bad = Some(Bad::Unknown);
        }
        let body = write(random, space, format, &records).into();
        Self { space, format, on_existing, refuse: false, manual: false, planned: false, records, body }
    }

    /// Whether the server must refuse it.
    pub(crate) fn is_refused(&self) -> bool {
        self.refuse && self.records.iter().any(|record| record.bad.is_some())
    }

    pub(crate) fn total(&self) -> u64 {
        self.records.len() as u64
    }
}

/// Most addresses of a series.
const SPAN: u32 = 40_000;

/// Sizes as they come: mostly small, a few large.
fn size(random: &mut Random, most: usize) -> usize {
    let least = 200.min(most);
    let limit = match random.below(10) {
        0..=4 => most / 10,
        5..=7 => most / 3,
        _ => most,
    };
    random.between(least, limit.max(least))
}

/// The next file of a series: its users are known, and nobody else writes them. Phone numbers are such that no order of
/// the lanes makes a difference: a number is its user's alone, or belongs to a user that has it already and keeps it.
pub(crate) fn private(random: &mut Random, space: u32, users: &Users, next: &mut u32, most: usize) -> Draft {
    let format = if random.percent(50) { Format::Csv } else { Format::Ndjson };
    let on_existing = if random.percent(25) { OnExisting::Skip } else { OnExisting::Update };
    let refuse = random.percent(4);
    let bad = if random.percent(20) { 0 } else { 3 };
    let known = u32::try_from(users.by_address.len()).unwrap_or(u32::MAX);
    let mut fresh = known;
    let records = (0..size(random, most)).map(|_| {
        *next += 1;
        let new = fresh == 0 || (fresh < SPAN && random.percent(55));
        let address = if new { fresh } else { below(random, fresh) };
        fresh += u32::from(new);
        let mut record = plain(random, format, address, *next);
        record.phone = if random.percent(25) { Said::Is(address) } else { Said::Absent };
        if known > 0 && random.percent(2) {
            let other = below(random, known);
            let has = users.by_address.get(&other).is_some_and(|user| user.phone == Some(other));
            if has && other != address {
                record.phone = Said::Is(other);
            }
        }
        record.bad = random.percent(bad).then(|| wrong(random, format));
        record
    });
    let records = records.collect();
    let manual = random.percent(10);
    let planned = !manual && random.percent(20);
    Draft { refuse, manual, planned, ..Draft::of(random, space, format, on_existing, records) }
}

/// A file over addresses and phone numbers that others write at the same time.
pub(crate) fn shared(random: &mut Random, space: u32, pool: u32, next: u32, most: usize) -> Draft {
    let format = if random.percent(50) { Format::Csv } else { Format::Ndjson };
    let on_existing = if random.percent(20) { OnExisting::Skip } else { OnExisting::Update };
    let records = (0..size(random, most)).zip(next..).map(|(_, number)| {
        let address = below(random, pool);
        let mut record = plain(random, format, address, number);
        // Mostly one's own number, now and then anybody's: who gets it depends on the order.
        record.phone = match random.below(10) {
            0..=1 => Said::Is(address),
            2 => Said::Is(below(random, pool)),
            _ => Said::Absent,
        };
        record.bad = random.percent(3).then(|| wrong(random, format));
        record
    });
    let records = records.collect();
    Draft::of(random, space, format, on_existing, records)
}

fn below(random: &mut Random, end: u32) -> u32 {
    u32::try_from(random.below(end as usize)).unwrap_or(0)
}

fn plain(random: &mut Random, format: Format, address: u32, number: u32) -> Record {
    let given = if random.percent(70) { Said::Is(below(random, 500)) } else { Said::Absent };
    let family = match random.below(10) {
        0 if format == Format::Ndjson => Said::Null,
        0..=6 => Said::Is(below(random, 500)),
        _ => Said::Absent,
    };
    let n = if random.percent(90) { Said::Is(number) } else { Said::Absent };
    Record { address, given, family, phone: Said::Absent, n, bad: None }
}

fn wrong(random: &mut Random, format: Format) -> Bad {
    match format {
        Format::Csv => *random.pick(&Bad::CSV),
        Format::Ndjson => *random.pick(&Bad::JSON),
    }
}

fn write(random: &mut Random, space: u32, format: Format, records: &[Record]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() * 120);
    if format == Format::Csv {
        out.extend_from_slice(b"email,given_name,family_name,phone_number,custom__n\n");
    }
    for record in records {
        let line = match format {
            Format::Csv => csv_line(random, space, record),
            Format::Ndjson if record.bad == Some(Bad::Broken) => "{\"email\": ".to_owned(),
            Format::Ndjson => json_line(random, space, record),
        };
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out
}

/// An address in another case is the same address.
fn email(random: &mut Random, space: u32, record: &Record) -> String {
    let email = text::email(space, record.address);
    let email = if record.bad == Some(Bad::Email) { email.replace('@', "") } else { email };
    if random.percent(70) {
        return email;
    }
    email.chars().map(|c| if random.percent(30) { c.to_ascii_uppercase() } else { c }).collect()
}

fn value(said: Said, text: impl Fn(u32) -> String) -> Option<String> {
    match said {
        Said::Is(number) => Some(text(number)),
        Said::Absent | Said::Null => None,
    }
}

fn csv_line(random: &mut Random, space: u32, record: &Record) -> String {
    let email = if record.bad == Some(Bad::NoEmail) { String::new() } else { email(random, space, record) };
    let phone = match record.bad {
        Some(Bad::Phone) => Some("12ab".to_owned()),
        _ => value(record.phone, |number| text::phone(space, number)),
    };
    // A row with nothing in it is no record.
    let given = value(record.given, text::name).or_else(|| email.is_empty().then(|| "Nobody".to_owned()));
    let cells = [Some(email), given, value(record.family, text::name), phone, value(record.n, text::n)];
    let cells: Vec<String> = cells.into_iter().map(|cell| quoted(&cell.unwrap_or_default())).collect();
    let more = if record.bad == Some(Bad::Columns) { ",more" } else { "" };
    format!("{}{more}", cells.join(","))
}

fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

fn json_line(random: &mut Random, space: u32, record: &Record) -> String {
    let mut line = Map::new();
    if record.bad != Some(Bad::NoEmail) {
        line.insert("email".into(), email(random, space, record).into());
    }
    for (name, said) in [("given_name", record.given), ("family_name", record.family)] {
        match said {
            Said::Is(number) => drop(line.insert(name.into(), text::name(number).into())),
            Said::Null => drop(line.insert(name.into(), Value::Null)),
            Said::Absent => {}
        }
    }
    if let Some(phone) = value(record.phone, |number| text::phone(space, number)) {
        line.insert("phone_number".into(), phone.into());
    }
    if let Some(n) = value(record.n, text::n) {
        line.insert("metadata".into(), json!({"n": n}));
    }
    match record.bad {
        Some(Bad::Phone) => drop(line.insert("phone_number".into(), "12ab".into())),
        Some(Bad::Type) => drop(line.insert("given_name".into(), 7.into())),
        Some(Bad::Unknown) => drop(line.insert("is_admin".into(), true.into())),
        _ => {}
    }
    Value::Object(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_file_again() {
        let file = |seed| private(&mut Random::new(seed), 1, &Users::default(), &mut 0, 1000);
        assert_eq!(file(7).body, file(7).body);
        assert_ne!(file(7).body, file(8).body);
    }

    #[test]
    fn a_file_has_a_line_for_each_record() {
        for seed in 0..20 {
            let draft = private(&mut Random::new(seed), 1, &Users::default(), &mut 0, 500);
            let lines = draft.body.iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(lines, draft.records.len() + usize::from(draft.format == Format::Csv));
        }
    }
}
