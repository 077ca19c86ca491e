//! Is there a serial order that gives exactly what was observed?
//!
//! An order of the chunks is looked for first, in which each lane keeps its own: there nearly always is one. The promise (P4) is
//! about records, though: two imports at the same time may each find a user unchanged that the other one is about to change, in
//! chunks that change others. So where no order of the chunks will do, one of the records is looked for, in which those of
//! an import that are identified by the same value keep theirs.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use muster_domain::field::Field;
use muster_domain::options::ImportOptions;
use muster_testkit::oracle::{Fact, Line, Means, Observed, Oracle, Plain};
use serde_json::Value;
use uuid::Uuid;

/// Chunks worked through, at the most, before the search is given up.
const MOST_STEPS: usize = 300_000;

/// One record of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) number: u64,
    pub(super) line: &'a Line,
    pub(super) observed: &'a Observed,
}

/// One chunk of a lane.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) options: &'a ImportOptions,
    pub(super) steps: Vec<Step<'a>>,
    /// When it was applied: only a hint where to look first.
    pub(super) applied: i64,
}

/// The chunks of a lane, in their order.
pub(super) type Lane<'a> = Vec<Piece<'a>>;

struct Search<'a, 'l> {
    lanes: &'l [Lane<'a>],
    ended: &'l [Plain],
    steps: usize,
    /// States that lead nowhere, by how far each lane is and what the users are.
    barren: HashSet<(Vec<usize>, String)>,
    /// What stood in the way furthest on.
    problem: (usize, String),
}

/// The oracle after an order that gives what was observed, or what stood in the way.
///
/// Lanes that have no value and no user in common do not see each other, so each group of those that do is searched by itself.
pub(super) fn serial(oracle: &Oracle, lanes: Vec<Lane<'_>>, ended: &[Plain]) -> Result<Oracle, String> {
    let mut oracle = oracle.clone();
    for (lanes, users) in groups(&oracle, lanes) {
        let of_group: Vec<Plain> = ended.iter().filter(|user| users.contains(&user.id)).cloned().collect();
        let others = oracle.users.extract_if(.., |user| !users.contains(&user.id)).collect::<Vec<_>>();
        let mut found = one_group(&oracle, &lanes, &of_group).or_else(|chunks| {
            let records = one_group(&oracle, &by_identifier(&lanes), &of_group);
            records.map_err(|records| format!("by chunks: {chunks}\nby records: {records}"))
        })?;
        found.users.extend(others);
        oracle = found;
    }
    oracle.users.sort_by_key(|user| user.id);
    match oracle.users.iter().zip(ended).find(|(wanted, got)| wanted != got) {
        None if oracle.users.len() == ended.len() => Ok(oracle),
        different => Err(format!("users that no record means have changed: {different:?}")),
    }
}

fn one_group(oracle: &Oracle, lanes: &[Lane<'_>], ended: &[Plain]) -> Result<Oracle, String> {
    let mut search = Search {
        lanes,
        ended,
        steps: 0,
        barren: HashSet::new(),
        problem: (0, "nothing was tried".to_owned()),
    };
    match search.go(oracle, vec![0; lanes.len()]) {
        Some(oracle) => Ok(oracle),
        None => {
            let (what, problem) = (
                if search.steps < MOST_STEPS { "no serial order gives this" } else { "given up" },
                &search.problem.1,
            );
            Err(format!("{what} ({} chunks tried): {problem}\n{}", search.steps, observed(lanes, ended)))
        }
    }
}

/// The same records, each a piece by itself, and a lane for those of an import that are identified by the same value.
fn by_identifier<'a>(lanes: &[Lane<'a>]) -> Vec<Lane<'a>> {
    let mut apart: BTreeMap<(*const ImportOptions, String), Lane<'a>> = BTreeMap::new();
    for piece in lanes.iter().flatten() {
        for step in &piece.steps {
            let identifier = identifier(step.line, piece.options);
            let key = identifier.unwrap_or_else(|| format!("record {}", step.number));
            let alone = Piece { options: piece.options, steps: vec![*step], applied: piece.applied };
            apart.entry((std::ptr::from_ref(piece.options), key)).or_default().push(alone);
        }
    }
    apart.into_values().collect()
}

/// The value that says which user a record means.
pub(super) fn identifier(line: &Line, options: &ImportOptions) -> Option<String> {
    facts(line).find_map(|(field, fact)| match fact {
        Fact::Is(Value::String(text)) if *field == options.identifier.into() => Some(text.clone()),
        _ => None,
    })
}

fn facts(line: &Line) -> impl Iterator<Item = &(Field, Fact)> {
    let said = match line {
        Line::Said(said) => &said[..],
        Line::Broken(..) => &[],
    };
    said.iter().flat_map(|said| match &said.means {
        Means::Facts(facts) => &facts[..],
        Means::Wrong(_) => &[],
    })
}

/// Lanes that have to do with each other, and the users that they have to do with.
fn groups<'a>(oracle: &Oracle, lanes: Vec<Lane<'a>>) -> Vec<(Vec<Lane<'a>>, HashSet<Uuid>)> {
    let mut groups: Vec<(Vec<Lane<'a>>, HashSet<String>, HashSet<Uuid>)> = Vec::new();
    for lane in lanes {
        let (mut values, mut users) = touched(&lane);
        // The users that have one of the values, and the other values that these have.
        loop {
            let before = (values.len(), users.len());
            for user in &oracle.users {
                let own = || {
                    ["email", "phone_number", "preferred_username"]
                        .iter()
                        .filter_map(|key| user.fields.get(*key))
                        .filter_map(Value::as_str)
                };
                if users.contains(&user.id) || own().any(|value| values.contains(value)) {
                    users.insert(user.id);
                    values.extend(own().map(str::to_owned));
                }
            }
            if before == (values.len(), users.len()) {
                break;
            }
        }
        let mut group = (vec![lane], values, users);
        for other in std::mem::take(&mut groups) {
            if other.1.is_disjoint(&group.1) && other.2.is_disjoint(&group.2) {
                groups.push(other);
            } else {
                group.0.extend(other.0);
                group.1.extend(other.1);
                group.2.extend(other.2);
            }
        }
        groups.push(group);
    }
    groups.into_iter().map(|(lanes, _, users)| (lanes, users)).collect()
}

/// The unique values that a lane's records say, and the users that they came to.
fn touched(lane: &Lane<'_>) -> (HashSet<String>, HashSet<Uuid>) {
    let (mut values, mut users) = (HashSet::new(), HashSet::new());
    for step in lane.iter().flat_map(|piece| &piece.steps) {
        users.extend(step.observed.user);
        users.extend(step.observed.errors.iter().filter_map(|error| error.user_id));
        for (field, fact) in facts(step.line) {
            if let (
                Field::Email | Field::NewEmail | Field::PhoneNumber | Field::PreferredUsername,
                Fact::Is(Value::String(text)),
            ) = (field, fact)
            {
                values.insert(text.clone());
            }
        }
    }
    (values, users)
}

/// Everything that was observed, for whoever looks for the cause.
fn observed(lanes: &[Lane<'_>], ended: &[Plain]) -> String {
    let mut text = String::new();
    for (at, lane) in lanes.iter().enumerate() {
        for piece in lane {
            let _ = writeln!(text, "lane {at}, applied at {}", piece.applied);
            for Step { number, observed, .. } in &piece.steps {
                let Observed { verdict, user, errors, .. } = observed;
                let errors =
                    errors.iter().map(|error| format!("{} {:?}", error.code.as_str(), error.user_id));
                let errors: Vec<String> = errors.collect();
                let _ = writeln!(
                    text,
                    "{number:>6} {:?} {:?} {user:?} {errors:?}",
                    verdict.outcome, verdict.reason
                );
            }
        }
    }
    for user in ended {
        let _ = writeln!(text, "{user:?}");
    }
    text
}

impl Search<'_, '_> {
    fn go(&mut self, oracle: &Oracle, mut at: Vec<usize>) -> Option<Oracle> {
        self.pass_over(oracle, &mut at);
        self.branch(oracle, &at)
    }

    /// Goes past the pieces that come to what was observed and change nothing. No order is lost by that: in one that has such
    /// a piece later it can be put here as well.
    fn pass_over(&mut self, oracle: &Oracle, at: &mut [usize]) {
        for (lane, at) in self.lanes.iter().zip(at) {
            while let Some(piece) = lane.get(*at) {
                let mut after = oracle.clone();
                if apply(&mut after, piece).is_err() || after.users != oracle.users {
                    break;
                }
                *at += 1;
            }
        }
    }

    fn branch(&mut self, oracle: &Oracle, at: &[usize]) -> Option<Oracle> {
        let done: usize = at.iter().sum();
        let mut next: Vec<(i64, u64, usize)> = at
            .iter()
            .enumerate()
            .filter_map(|(lane, at)| {
                let piece = self.lanes[lane].get(*at)?;
                Some((piece.applied, piece.steps.first().map_or(0, |step| step.number), lane))
            })
            .collect();
        if next.is_empty() {
            return self.ends(oracle, done).then(|| oracle.clone());
        }
        let state = (at.to_vec(), format!("{:?}", oracle.users));
        if self.barren.contains(&state) {
            return None;
        }
        next.sort_unstable();
        for (.., lane) in next {
            self.steps += 1;
            if self.steps >= MOST_STEPS {
                return None;
            }
            let mut oracle = oracle.clone();
            if let Err(problem) = apply(&mut oracle, &self.lanes[lane][at[lane]]) {
                if done >= self.problem.0 {
                    self.problem = (done, problem);
                }
                continue;
            }
            let mut further = at.to_vec();
            further[lane] += 1;
            let found = self.go(&oracle, further);
            if found.is_some() {
                return found;
            }
        }
        self.barren.insert(state);
        None
    }

    fn ends(&mut self, oracle: &Oracle, done: usize) -> bool {
        let mut wanted: Vec<&Plain> = oracle.users.iter().collect();
        wanted.sort_by_key(|user| user.id);
        let different = wanted.iter().zip(self.ended).find(|(wanted, got)| **wanted != *got);
        let problem = match different {
            None if wanted.len() == self.ended.len() => return true,
            None => format!("{} users are there and not {}", self.ended.len(), wanted.len()),
            Some((wanted, got)) => format!("a user must be\n{wanted:?}\nand is\n{got:?}"),
        };
        self.problem = (done, problem);
        false
    }
}

fn apply(oracle: &mut Oracle, piece: &Piece<'_>) -> Result<(), String> {
    for Step { number, line, observed } in &piece.steps {
        let told = oracle.apply(line, piece.options, observed.user.unwrap_or_default());
        if !told.is(observed) {
            return Err(format!("record {number} must come to\n{told:?}\nand comes to\n{observed:?}"));
        }
    }
    Ok(())
}
