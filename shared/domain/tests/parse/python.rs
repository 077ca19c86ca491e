//! Our reading of tables beside that of Python's csv module, on generated files: the same records, or a refusal.
//! `MUSTER_DIFFERENTIAL=100000` compares so many files (300).

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use muster_domain::parse::{Format, ParseLimits};
use muster_testkit::fuzz::Random;
use serde_json::Value;

use crate::seen::{SeenValue, parse};

/// Reads a file a line, as hex, and answers its rows, or null where it refuses it. Blank lines are no rows.
const READER: &str = "
import csv, io, json, sys
csv.field_size_limit(1 << 30)
for line in sys.stdin:
    text = bytes.fromhex(line.strip()).decode('utf-8')
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=''), strict=True) if row]
    except csv.Error:
        rows = None
    print(json.dumps(rows), flush=True)
";

fn text(random: &mut Random) -> String {
    const LETTERS: [&str; 12] =
        ["a", "b", "\u{e9}", "\u{1f600}", " ", "\"", "\"\"", ",", "\n", "\r\n", ";", "\t"];
    (0..random.below(6)).map(|_| LETTERS[random.below(12)]).collect()
}

/// A table of two columns, mostly well-formed.
fn file(random: &mut Random) -> String {
    let mut out = "x,y\n".to_owned();
    for _ in 0..=random.below(8) {
        let cells = if random.below(20) == 0 { 1 + random.below(3) } else { 2 };
        for cell in 0..cells {
            if cell > 0 {
                out.push(',');
            }
            let plain = text(random);
            match random.below(12) {
                0 => out.push_str(&plain),
                1..=4 if !plain.contains(['"', ',', '\n', '\r']) => out.push_str(&plain),
                _ => out.push_str(&format!("\"{}\"", plain.replace('"', "\"\""))),
            }
        }
        out.push_str(["\n", "\r\n"][random.below(2)]);
    }
    out
}

#[test]
fn tables_are_read_as_python_reads_them_or_refused() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let files = variable("MUSTER_DIFFERENTIAL").unwrap_or(300);
    let mut random = Random::new(variable("MUSTER_FUZZ_SEED").unwrap_or(20_251_126));
    let mut child = Command::new("python3")
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let (mut to, mut from) =
        (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
    let (mut read, mut refused) = (0, 0);
    for _ in 0..files {
        let file = file(&mut random);
        let hex: String = file.bytes().map(|byte| format!("{byte:02x}")).collect();
        writeln!(to, "{hex}").unwrap();
        let rows: Option<Vec<Vec<String>>> =
            serde_json::from_value(from.next().unwrap().unwrap().parse::<Value>().unwrap()).unwrap();
        let seen = parse(Format::Csv, ParseLimits::default(), file.as_bytes());
        if seen.end.is_err() {
            refused += 1;
            continue;
        }
        // A file that Python refuses has a record at fault, and no other is judged by it.
        let Some(rows) = rows else {
            assert!(seen.records.iter().any(|record| record.defect.is_some()), "{file:?}");
            refused += 1;
            continue;
        };
        assert_eq!(seen.records.len(), rows.len() - 1, "{file:?}");
        for (record, row) in seen.records.iter().zip(&rows[1..]) {
            if record.defect.is_some() {
                refused += 1;
                continue;
            }
            let cells: Vec<&str> = record
                .fields
                .iter()
                .map(|(_, value)| match value {
                    SeenValue::Text(text) => text.as_str(),
                    SeenValue::Null | SeenValue::Json(_) => panic!("a cell is a text"),
                })
                .collect();
            assert_eq!(&cells, row, "{file:?}");
            read += 1;
        }
    }
    drop(to);
    assert!(child.wait().unwrap().success());
    println!("{read} records are the same, {refused} records or files are refused");
    assert!(read > files);
}
