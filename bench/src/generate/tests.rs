use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::*;

fn order(records: u64, format: Format, duplicates: f64, invalid: f64) -> Order {
    Order { records, seed: 7, format, duplicates, invalid, revision: 0 }
}

fn text(order: &Order) -> (String, Manifest) {
    let mut out = Vec::new();
    let manifest = generate(order, &mut out).unwrap();
    assert_eq!(manifest.bytes, out.len() as u64);
    (String::from_utf8(out).unwrap(), manifest)
}

#[test]
fn a_record_has_about_67_bytes() {
    let (csv, _) = text(&order(100_000, Format::Csv, 0.0, 0.0));
    let (_, records) = csv.split_once('\n').unwrap();
    let average = records.len() as f64 / 100_000.0;
    assert!((62.0..=72.0).contains(&average), "{average}");
}

#[test]
fn addresses_are_unique() {
    let (csv, manifest) = text(&order(200_000, Format::Csv, 0.0, 0.0));
    let addresses: HashSet<&str> = csv.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(addresses.len(), 200_000);
    assert!(addresses.iter().all(|address| !address.contains('"') && address.matches('@').count() == 1));
    assert_eq!(manifest.users, 200_000);
    assert_eq!(manifest.first, Counts { inserted: 200_000, ..Counts::default() });
    assert_eq!(manifest.again, Counts { skipped: 200_000, ..Counts::default() });
}

#[test]
fn the_same_arguments_give_the_same_file() {
    let (one, _) = text(&order(3, Format::Csv, 0.0, 0.0));
    assert_eq!(one, include_str!("three.csv"), "files of other versions must stay comparable");
    let (other, _) = text(&Order { seed: 8, ..order(3, Format::Csv, 0.0, 0.0) });
    assert_ne!(one, other);
}

#[test]
fn some_cells_need_quotes_and_some_letters_are_not_ascii() {
    let (csv, _) = text(&order(1000, Format::Csv, 0.0, 0.0));
    for part in [",\"Graz, Süd\",", ",\"Team \"\"Blue\"\"\",", ",\"King, Jr.\",", "Zoë", "Đorđe"] {
        assert!(csv.contains(part), "{part}");
    }
}

#[test]
fn all_formats_say_the_same() {
    let (csv, manifest) = text(&order(500, Format::Csv, 20.0, 20.0));
    let (ndjson, _) = text(&order(500, Format::Ndjson, 20.0, 20.0));
    let (json, _) = text(&order(500, Format::Json, 20.0, 20.0));
    let lines: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(serde_json::from_str::<Vec<Value>>(&json).unwrap(), lines);
    assert_eq!(csv.lines().count(), lines.len() + 1);
    for (line, value) in csv.lines().skip(1).zip(&lines) {
        let address = value.get("email").map_or("", |email| email.as_str().unwrap());
        assert!(line.starts_with(&format!("{address},")), "{line}");
    }
    assert_eq!(manifest.records, 500);
}

/// Works through the file as an import would.
fn import(lines: &[Value], users: &mut HashMap<String, Value>) -> (Counts, BTreeMap<&'static str, u64>) {
    let (mut counts, mut codes) = (Counts::default(), BTreeMap::new());
    for line in lines {
        let valid = |address: &str| {
            !address.contains("..") && address.split_once('@').is_some_and(|(_, domain)| !domain.is_empty())
        };
        match line.get("email").map(|email| email.as_str().unwrap()) {
            None => *codes.entry("field_required").or_default() += 1,
            Some(address) if !valid(address) => *codes.entry("email_invalid").or_default() += 1,
            Some(address) => match users.insert(address.to_owned(), line.clone()) {
                None => counts.inserted += 1,
                Some(before) if before == *line => counts.skipped += 1,
                Some(_) => counts.updated += 1,
            },
        }
    }
    counts.failed = codes.values().sum();
    (counts, codes)
}

#[test]
fn the_manifest_is_exact() {
    for (duplicates, invalid) in [(0.0, 0.0), (30.0, 0.0), (0.0, 100.0), (25.0, 5.0)] {
        let (ndjson, manifest) = text(&order(20_000, Format::Ndjson, duplicates, invalid));
        let lines: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut users = HashMap::new();
        let (first, codes) = import(&lines, &mut users);
        assert_eq!(manifest.first, first);
        assert_eq!(manifest.failed_by_code, codes);
        assert_eq!(manifest.users, users.len() as u64);
        assert_eq!(manifest.again, import(&lines, &mut users).0);
    }
}

#[test]
fn impossible_percentages_are_refused() {
    for (duplicates, invalid) in [(-1.0, 0.0), (0.0, 101.0), (60.0, 60.0), (f64::NAN, 0.0)] {
        assert!(generate(&order(1, Format::Csv, duplicates, invalid), Vec::new()).is_err());
    }
}
