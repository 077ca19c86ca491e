//! Speed of the record engine over chunks of generated records: parse and validate, normalise, plan, encode, decode.
//!
//! `make bench-engine`; one element is one record. The six columns are those of the end-to-end benchmark; the messy ones
//! bring everything else: mixed case, other scripts, roles, metadata, addresses, duplicates and records that fail. Plans are
//! made for several sizes of a chunk, since their cost must grow no faster than the chunk.

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::ExitCode;

use chrono::DateTime;
use criterion::{BatchSize, Criterion, Throughput};
use muster_domain::catalog::CatalogKind;
use muster_domain::chunk::{ChunkCutter, ChunkLimits, ChunkRecords, LaneHash, decode};
use muster_domain::error::FileError;
use muster_domain::normalise::{EmailAddress, PhoneNumber, Username};
use muster_domain::options::ImportOptions;
use muster_domain::parse::{Format, ParseLimits, Parser, RecordSink};
use muster_domain::plan::{ExistingUser, plan};
use muster_domain::record::{FieldNames, RawField, RawRecord, Record};
use muster_domain::rules::{CatalogIndex, Rules};
use muster_domain::validate::{Binding, validate};
use uuid::Uuid;

const RECORDS: u64 = 2_000;

fn six_columns(records: u64) -> String {
    let mut csv = String::from("email,phone_number,preferred_username,first_name,last_name,custom__office\n");
    for at in 0..records {
        let _ = writeln!(
            csv,
            "given.family{at}@example.com,+4915{at:08},user{at},Given,Family-{at},\"Office {}\"",
            at % 40
        );
    }
    csv
}

fn messy(records: u64) -> String {
    let mut json = String::new();
    for at in 0..records {
        let user = at - at % 7 % 2;
        let _ = match at % 5 {
            0 => writeln!(
                json,
                r#"{{"email": " Given.Family{user}@Example.COM ", "roles": ["Admin", "AGENT"], "metadata": {{"a": {{"b": [1, 2]}}, "n": 1.50}}}}"#
            ),
            1 => writeln!(
                json,
                r#"{{"email": "jos\u00e9{user}@bücher.example", "phone_number": "+4915{at:08}", "email_verified": true, "disabled": false}}"#
            ),
            2 => writeln!(
                json,
                r#"{{"email": "user{user}@example.com", "address": {{"locality": "Köln", "country": "DE"}}, "zoneinfo": "Europe/Berlin", "locale": "de"}}"#
            ),
            3 => writeln!(json, r#"{{"email": "user{user}@", "given_name": ""}}"#),
            _ => writeln!(
                json,
                r#"{{"email": "user{user}@example.com", "addresses": [{{"name": "sms", "value": "+4915{at:08}"}}], "custom__x": null, "given_name": "Zoë"}}"#
            ),
        };
    }
    json
}

/// Validates what the parser gives, and cuts it where it is asked to.
struct Take {
    rules: Rules,
    binding: Binding,
    cutter: Option<ChunkCutter>,
    valid: u64,
}

impl Take {
    fn new(rules: &Rules, cut: bool) -> Self {
        let limits = ChunkLimits { records: u32::MAX, bytes: usize::MAX, lanes: 1 };
        Self {
            rules: rules.clone(),
            binding: Binding::new(rules),
            cutter: cut.then(|| ChunkCutter::new(limits)),
            valid: 0,
        }
    }
}

impl RecordSink for Take {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.binding.extend(names);
        Ok(())
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        self.binding.extend(names);
        let validated = validate(record, &self.binding, &self.rules);
        self.valid += u64::from(black_box(&validated.result).is_ok());
        if let Some(cutter) = &mut self.cutter {
            let identifier = validated.identifier.as_deref().map(LaneHash::of);
            let _ = cutter.push(record, names, identifier, validated.result.is_ok());
        }
        Ok(())
    }
}

fn take(upload: &str, rules: &Rules, cut: bool) -> Result<Take, FileError> {
    let mut parser = Parser::new(rules.options.format, ParseLimits::default());
    let mut take = Take::new(rules, cut);
    parser.feed(upload.as_bytes(), &mut take)?;
    parser.finish(&mut take)?;
    Ok(take)
}

fn rules(format: Format) -> Rules {
    let mut catalog = CatalogIndex::default();
    catalog.insert(CatalogKind::Role, "admin".to_owned(), 1);
    catalog.insert(CatalogKind::Role, "agent".to_owned(), 2);
    Rules::new(ImportOptions { format, ..ImportOptions::default() }).with_catalog(catalog)
}

/// The upload as one encoded chunk.
fn chunk(upload: &str, rules: &Rules) -> Option<Vec<u8>> {
    let mut take = take(upload, rules, true).ok()?;
    let mut names = FieldNames::new();
    for name in take.binding.names() {
        names.push(name);
    }
    let cutter = take.cutter.as_mut()?;
    cutter.finish(&names).ok()?;
    Some(cutter.take().ok()?.pop()?.body)
}

/// The valid records of a decoded chunk.
fn records<'a>(
    decoded: &'a ChunkRecords,
    fields: &'a [RawField<'a>],
    binding: &'a mut Binding,
    rules: &Rules,
) -> Vec<Record<'a>> {
    binding.extend(decoded.names());
    let binding = &*binding;
    decoded.records(fields).filter_map(|raw| validate(&raw, binding, rules).result.ok()).collect()
}

/// Users as a first import of the records would leave them.
fn users(records: &[Record<'_>]) -> Vec<ExistingUser> {
    let mut users: Vec<ExistingUser> = Vec::new();
    for (at, record) in records.iter().enumerate() {
        users.push(ExistingUser {
            id: Uuid::from_u128(at as u128 + 1),
            version: 1,
            email: record.email.value().map(|email| email.as_str().to_owned()),
            given_name: Some("Other".to_owned()),
            ..ExistingUser::default()
        });
    }
    users.sort_by(|one, two| one.email.cmp(&two.email));
    users.dedup_by(|one, two| one.email == two.email);
    users
}

fn time(criterion: &mut Criterion, name: &str, format: Format, upload: impl Fn(u64) -> String) -> Option<()> {
    let rules = rules(format);
    let text = upload(RECORDS);
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).throughput(Throughput::Elements(RECORDS));
    group.bench_function("parse and validate", |bench| {
        bench.iter(|| take(black_box(&text), &rules, false).map(|take| take.valid))
    });
    group
        .bench_function("parse, validate and encode", |bench| bench.iter(|| chunk(black_box(&text), &rules)));
    let body = chunk(&text, &rules)?;
    group.bench_function("decode", |bench| {
        bench.iter(|| decode(black_box(&body)).map(|decoded| decoded.fields().len()))
    });
    group.bench_function("decode and validate", |bench| {
        bench.iter(|| {
            let decoded = decode(black_box(&body)).ok()?;
            let fields = decoded.fields();
            Some(records(&decoded, &fields, &mut Binding::new(&rules), &rules).len())
        });
    });
    for size in [250, 500, 1_000, 2_000, 4_000, 8_000] {
        let body = chunk(&upload(size), &rules)?;
        let decoded = decode(&body).ok()?;
        let fields = decoded.fields();
        let mut binding = Binding::new(&rules);
        let records = records(&decoded, &fields, &mut binding, &rules);
        let refs: Vec<&Record<'_>> = records.iter().collect();
        let there = users(&records);
        group.throughput(Throughput::Elements(size));
        for (what, users) in [("new", &[][..]), ("existing", &there[..])] {
            group.bench_function(format!("plan {size} {what}"), |bench| {
                bench.iter_batched(
                    || 0u128,
                    |mut made| {
                        plan(black_box(&refs), users, &rules, DateTime::UNIX_EPOCH, &mut || {
                            made += 1;
                            Uuid::from_u128(made << 64)
                        })
                    },
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
    Some(())
}

fn normalise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("normalise");
    group.throughput(Throughput::Elements(1));
    for email in ["given.family@example.com", " Given.Family@Example.COM ", "jos\u{e9}@b\u{fc}cher.example"] {
        group.bench_function(format!("email {email}"), |bench| {
            bench.iter(|| EmailAddress::parse(black_box(email)).is_ok())
        });
    }
    group.bench_function("phone number", |bench| {
        bench.iter(|| PhoneNumber::parse(black_box("+491512345678")).is_ok())
    });
    for name in ["user1", "User1", "Stra\u{df}e"] {
        group.bench_function(format!("username {name}"), |bench| {
            bench.iter(|| Username::parse(black_box(name)).is_ok())
        });
    }
    group.finish();
}

fn main() -> ExitCode {
    let mut criterion = Criterion::default().configure_from_args();
    normalise(&mut criterion);
    let done = time(&mut criterion, "six columns", Format::Csv, six_columns)
        .and_then(|()| time(&mut criterion, "messy", Format::Ndjson, messy));
    criterion.final_summary();
    if done.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
