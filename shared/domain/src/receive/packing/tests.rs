use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::repeats::REPEATS_TOLD;
use super::super::{Bounds, CutTaker, Receiving};
use super::*;
use crate::intake::Memory;
use crate::options::{Duplicates, HeaderNames, ImportOptions, Start};
use crate::parse::{Format, ParseLimits, Parser};
use crate::rules::Rules;

/// Packs what is cut at once, and keeps the issues.
struct Packed {
    packing: Packing,
    issues: Vec<Issue>,
    ended: bool,
}

impl CutTaker for Packed {
    fn take(&mut self, cut: Cut) -> bool {
        let Self { packing, issues, ended } = self;
        let packed = packing.pack(cut, |staged| {
            assert!(!*ended, "nothing comes after the end");
            match staged {
                Staged::Issues(some) => issues.extend(some),
                Staged::End => *ended = true,
                Staged::Chunk(_) | Staged::Keys(_) => {}
            }
            true
        });
        packed.unwrap()
    }
}

/// The issues of a file, in the order in which they are staged.
fn issues(file: &str, options: ImportOptions, memory: usize) -> Vec<Issue> {
    let options = ImportOptions { header_names: HeaderNames::Common, ..options };
    let rules = Rules::new(options);
    let memory = Memory::of(memory);
    let packing = Packing::new(Repeats::new(&rules.options, memory)).unwrap();
    let packed = Packed { packing, issues: Vec::new(), ended: false };
    let mut parser = Parser::new(rules.options.format, ParseLimits::default());
    let bounds = Bounds { repeats: memory, ..Bounds::default() };
    let mut receiving = Receiving::new(rules, None, bounds, packed);
    parser.feed(file.as_bytes(), &mut receiving).unwrap();
    parser.finish(&mut receiving).unwrap();
    let packed = receiving.finish().unwrap().taker;
    assert!(packed.ended);
    packed.issues
}

/// The warnings of each record that has some.
fn warned(file: &str, options: ImportOptions, memory: usize) -> Vec<(u64, String)> {
    let issues = issues(file, options, memory).into_iter();
    issues
        .filter(|issue| !issue.warnings.is_empty())
        .map(|issue| (issue.record, issue.warnings.join(" ")))
        .collect()
}

#[test]
fn a_record_of_an_earlier_ones_user_is_told_with_its_number() {
    // The third is invalid for another reason, and two people have its address all the same.
    let file = "email,first_name,birthdate\na@example.com,Ada,\nb@example.com,Bea,\nC@example.com,Eva,soon\n\
                A@EXAMPLE.COM ,Ann,\nc@example.com,Eve,\na@example.com,Amy,\n";
    let warned = warned(file, ImportOptions::default(), 1 << 16);
    let of = |record: u64, first: u64| {
        let told = warned.iter().find(|(of, _)| *of == record).map(|(_, warning)| warning.as_str());
        let wanted = format!("Record {first}, an earlier one of the file, is about the same user. ");
        assert!(told.is_some_and(|told| told.starts_with(&wanted)), "{record}: {told:?}");
    };
    of(4, 1);
    of(5, 3);
    of(6, 1);
    assert_eq!(warned.len(), 3, "{warned:?}");
    let refusing = ImportOptions { duplicates: Duplicates::Refuse, ..ImportOptions::default() };
    assert!(self::warned(file, refusing, 1 << 16).is_empty(), "the receipt refuses them");
    let file = "{\"email\":\"a@example.com\"}\n{\"email\":\"a@example.com\"}\n";
    let lines = ImportOptions { format: Format::Ndjson, ..ImportOptions::default() };
    assert_eq!(self::warned(file, lines, 1 << 16).len(), 1);
}

/// A file with a line for each membership: two users, and so many records that mean one of them again.
#[test]
fn so_many_repeats_are_told_one_by_one_and_the_others_are_counted() {
    let warned = |repeats: u64| {
        let rows: String = (0..repeats + 2).map(|at| format!("u{}@example.com\n", at % 2)).collect();
        warned(&format!("email\n{rows}"), ImportOptions::default(), 1 << 16)
    };
    // Two users came first.
    let records: Vec<u64> = (3..REPEATS_TOLD + 3).collect();
    let told = |warned: &[(u64, String)]| warned.iter().map(|(record, _)| *record).collect::<Vec<_>>();
    assert_eq!(told(&warned(REPEATS_TOLD)), records);
    for untold in [1, 2_345] {
        let mut warned = warned(REPEATS_TOLD + untold);
        let (record, text) = warned.pop().unwrap();
        assert_eq!((record, told(&warned)), (REPEATS_TOLD + 3, records.clone()));
        assert!(text.contains(&format!("from this record on, {untold} of them")), "{text:?}");
    }
}

#[test]
fn a_full_memory_says_so_once_and_never_guesses() {
    let users = [1, 2, 3, 4, 5, 4, 2, 5];
    let rows: String = users.iter().map(|user| format!("u{user}@example.com\n")).collect();
    // Room for three of four.
    let warned = warned(&format!("email\n{rows}"), ImportOptions::default(), 4 * 13);
    let [(4, full), (7, again)] = warned.as_slice() else { panic!("{warned:?}") };
    assert!(full.contains("one of the first 3 users of the file"), "{full}");
    assert!(again.starts_with("Record 2, "), "{again}");
}

/// Programs are told of none. Of a plan of theirs it matters only whether there is one at all.
#[test]
fn repeats_that_nobody_is_told_of_take_memory_until_the_first() {
    static LEFT: AtomicUsize = AtomicUsize::new(1 << 20);
    let options = ImportOptions { start: Start::Plan, ..ImportOptions::default() };
    let mut repeats = Repeats::new(&options, Memory::counted(&LEFT)).unwrap();
    let mut meet = |user: &str, record| {
        assert_eq!(repeats.meet(LaneHash::of(user), record), Repeat::Nothing);
        (LEFT.load(Ordering::Relaxed) < 1 << 20, repeats.all_differ())
    };
    assert_eq!(meet("a@example.com", 1), (true, true));
    assert_eq!(meet("b@example.com", 2), (true, true));
    assert_eq!(meet("a@example.com", 3), (false, false));
    assert_eq!(meet("c@example.com", 4), (false, false));
}

/// Own issues of the records come in several parts, and a warning about its user joins that of the same record.
#[test]
fn what_is_told_of_users_joins_the_issues_of_the_same_records() {
    let mut random = crate::chunk::LaneHash::of("a seed").get();
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (mut file, mut first, mut expected) = ("email,birthdate\n".to_owned(), HashMap::new(), Vec::new());
    for record in 1..=20_000_u64 {
        let (user, invalid) = (next(15_000), next(5) == 0);
        file.push_str(&format!("u{user}@example.com,{}\n", if invalid { "soon" } else { "" }));
        let earlier = *first.entry(user).or_insert(record);
        if invalid || earlier < record {
            expected.push((record, invalid, (earlier < record).then_some(earlier)));
        }
    }
    let issues = issues(&file, ImportOptions::default(), 1 << 20);
    let came = issues.iter().map(|issue| {
        assert_eq!((issue.errors.len() == 1, issue.source.is_some()), (issue.failed, issue.failed));
        let told = issue.warnings.iter().map(|text| text.strip_prefix("Record ").unwrap());
        let told: Vec<u64> = told.map(|text| text.split(',').next().unwrap().parse().unwrap()).collect();
        assert!(told.len() < 2, "{issue:?}");
        (issue.record, issue.failed, told.first().copied())
    });
    assert_eq!(came.collect::<Vec<_>>(), expected);
}
