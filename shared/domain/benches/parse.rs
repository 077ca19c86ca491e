//! Speed of the parse step over 200,000 generated records of six fields, fed in pieces of 64 KiB.
//!
//! `cargo bench -p muster-domain --bench parse`; one element is one record.

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::ExitCode;

use criterion::{Criterion, Throughput};
use muster_domain::error::FileError;
use muster_domain::parse::{Format, ParseLimits, Parser, RecordSink};
use muster_domain::record::{FieldNames, RawRecord};

const RECORDS: u64 = 200_000;
const PIECE: usize = 64 * 1024;

/// Looks at every field, so that none can be optimised away.
struct Look(u64);

impl RecordSink for Look {
    fn header(&mut self, _: &FieldNames) -> Result<(), FileError> {
        Ok(())
    }

    fn record(&mut self, record: &RawRecord<'_>, _: &FieldNames) -> Result<(), FileError> {
        self.0 += black_box(record.fields).len() as u64;
        Ok(())
    }
}

fn parse(format: Format, upload: &[u8]) -> Result<u64, FileError> {
    let mut parser = Parser::new(format, ParseLimits::default());
    let mut look = Look(0);
    for piece in upload.chunks(PIECE) {
        parser.feed(piece, &mut look)?;
    }
    parser.finish(&mut look)?;
    Ok(look.0)
}

/// Writes the records of one upload with a function for each, between a start and an end.
fn upload(start: &str, end: &str, record: impl Fn(u64, &mut String)) -> String {
    let mut text = String::from(start);
    for number in 1..=RECORDS {
        record(number, &mut text);
    }
    text.push_str(end);
    text
}

fn csv(number: u64, text: &mut String) {
    let line =
        format_args!("user{number}@example.com,Given{number},Family-{number},+4915{number:08},de-DE,true\n");
    let _ = text.write_fmt(line);
}

fn csv_quoted(number: u64, text: &mut String) {
    let line = format_args!(
        "\"user{number}@example.com\",\"Given{number}\",\"Family, \"\"{number}\"\"\",\"+4915{number:08}\",\"de-DE\",\"true\"\n"
    );
    let _ = text.write_fmt(line);
}

fn json(number: u64, text: &mut String) {
    let _ = write!(
        text,
        "{{\"email\":\"user{number}@example.com\",\"given_name\":\"Given{number}\",\"family_name\":\"Family-{number}\",\
         \"phone_number\":\"+4915{number:08}\",\"locale\":\"de-DE\",\"active\":true}}"
    );
}

fn main() -> ExitCode {
    let header = "email,given_name,family_name,phone_number,locale,active\n";
    let uploads = [
        ("csv", Format::Csv, upload(header, "", csv)),
        ("csv, all quoted", Format::Csv, upload(header, "", csv_quoted)),
        (
            "ndjson",
            Format::Ndjson,
            upload("", "", |number, text| {
                json(number, text);
                text.push('\n');
            }),
        ),
        (
            "json",
            Format::Json,
            upload("[", "]", |number, text| {
                text.push_str(if number == 1 { "" } else { ",\n" });
                json(number, text);
            }),
        ),
    ];
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(20);
    for (name, format, upload) in &uploads {
        if parse(*format, upload.as_bytes()) != Ok(RECORDS * 6) {
            return ExitCode::FAILURE;
        }
        group.bench_function(*name, |bencher| bencher.iter(|| parse(*format, black_box(upload.as_bytes()))));
    }
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}
