//! What ARCHITECTURE.md says of states is made of the tables of moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::{Debug, Display, Write};
use std::{env, fs};

use muster_domain::import::{CHUNK_MOVES, ChunkState, IMPORT_MOVES, ImportState, Move};
use muster_testkit::sources;

const BEGIN: &str = "<!-- The states: made of shared/domain/src/import/moves.rs by the_states_of_the_documents_are_the_tables -->\n";
const END: &str = "<!-- The end of the states -->\n";

/// Each state with the states that it leads to.
fn diagram<S: Copy + PartialEq + Display>(out: &mut String, what: &str, states: &[S], moves: &[Move<S>]) {
    for (at, state) in states.iter().enumerate() {
        let mut leads_to: Vec<String> = Vec::new();
        for one in moves.iter().filter(|one| one.from.contains(state)) {
            let target = one.to.to_string();
            if !leads_to.contains(&target) {
                leads_to.push(target);
            }
        }
        let leads_to = if leads_to.is_empty() { "the end".to_owned() } else { leads_to.join(", ") };
        let what = if at == 0 { format!("{what}:") } else { String::new() };
        writeln!(out, "{what:<9}{:<12}→ {leads_to}", state.to_string()).unwrap();
    }
}

fn table<S: Copy + Display>(out: &mut String, what: &str, moves: &[Move<S>]) {
    write!(out, "\n| {what} from | to | by | when | where |\n|---|---|---|---|---|\n").unwrap();
    for Move { from, to, by, when, place } in moves {
        let from: Vec<String> = from.iter().map(ToString::to_string).collect();
        let name = place.replace("shared/store/src/", "store/");
        let from = if from.is_empty() { "(new)".to_owned() } else { from.join(", ") };
        writeln!(out, "| {from} | {to} | `{by}` | {when} | [{name}]({place}) |").unwrap();
    }
}

fn section() -> String {
    let mut out = String::from("\n```\n");
    diagram(&mut out, "import", ImportState::ALL, IMPORT_MOVES);
    out.push('\n');
    diagram(&mut out, "chunk", ChunkState::ALL, CHUNK_MOVES);
    out.push_str("```\n");
    table(&mut out, "Import", IMPORT_MOVES);
    table(&mut out, "Chunk", CHUNK_MOVES);
    out.push('\n');
    out
}

/// `MUSTER_UPDATE_DOCS=1` writes the section anew.
#[test]
fn the_states_of_the_documents_are_the_tables() {
    let path = sources::root().join("ARCHITECTURE.md");
    let written = fs::read_to_string(&path).unwrap();
    let (before, rest) = written.split_once(BEGIN).expect("where the states begin");
    let (_, after) = rest.split_once(END).expect("where they end");
    let right = format!("{before}{BEGIN}{}{END}{after}", section());
    if env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        fs::write(&path, &right).unwrap();
        return;
    }
    assert!(
        written == right,
        "the states in ARCHITECTURE.md are out of date: run this test with MUSTER_UPDATE_DOCS=1"
    );
}

#[test]
fn every_place_of_a_move_is_a_module_of_the_store() {
    let places = IMPORT_MOVES.iter().map(|one| one.place).chain(CHUNK_MOVES.iter().map(|one| one.place));
    for place in places {
        assert!(sources::root().join(place).is_file(), "{place}");
    }
}

/// Moves of chunks whose states are in the text of their SQL, each with the state that it leads to: a partial index is found only by
/// states that are in the text, and a worker's commit is made for every chunk.
const IN_TEXT: [(&str, ChunkState); 6] = [
    ("claim", ChunkState::Dispatched),
    ("unclaim", ChunkState::Staged),
    ("stage_again", ChunkState::Staged),
    ("dead_letter", ChunkState::Staged),
    ("apply", ChunkState::Applied),
    ("receive", ChunkState::Cancelled),
];

/// What leads from no state inserts a row, and has none to take.
fn without_step<S: Copy + Debug>(kind: &str, moves: &[Move<S>]) -> Vec<(&'static str, S)> {
    let mut without = Vec::new();
    for one in moves.iter().filter(|one| !one.from.is_empty()) {
        let text = fs::read_to_string(sources::root().join(one.place)).unwrap();
        let text: String = text.split_whitespace().collect();
        let made = |from: &S| {
            let (by, to) = (one.by, one.to);
            text.contains(&format!("{kind}Step::of(\"{by}\",{kind}State::{from:?},{kind}State::{to:?}"))
        };
        if !one.from.iter().any(made) {
            without.push((one.by, one.to));
        }
    }
    without
}

#[test]
fn the_store_makes_its_moves_by_steps_of_the_tables() {
    assert_eq!(without_step("Import", IMPORT_MOVES), []);
    assert_eq!(without_step("Chunk", CHUNK_MOVES), IN_TEXT);
}
