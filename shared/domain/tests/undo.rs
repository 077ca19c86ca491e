//! Taking changes back chunk by chunk comes to what the reference says, whatever was changed, however it is cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, HashSet};

use muster_domain::id::ImportId;
use muster_domain::outcome::{Outcome, Verdict};
use muster_domain::undo::{
    Change, ChangeResult, Flat, Found, GivenBack, Kind, LeftUser, Lost, Planned, Step, Undo, add_given_back,
    deletable, is_membership, lay_left_over, left, plan, put_differences,
};
use muster_testkit::random::Random;
use muster_testkit::undo::Reference;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Fields with the values that they may have.
fn values(random: &mut Random) -> (&'static str, Option<Value>) {
    let days = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"];
    let path = *random.pick(&[
        "given_name",
        "metadata.a",
        "metadata.b",
        "roles.1",
        "roles.2",
        "addresses.x",
        "addresses.y",
        "addresses.z",
        "valid_from",
        "valid_until",
        "email_verified",
        "memberships.1.0",
    ]);
    if random.percent(30) {
        return (path, None);
    }
    let value = match path {
        "valid_from" | "valid_until" => json!(random.pick(&days)),
        "addresses.x" | "addresses.y" | "addresses.z" => {
            json!({"type": "GENERIC", "value": random.pick(&["p", "q", "r"])})
        }
        "given_name" | "metadata.a" | "metadata.b" => json!(random.below(3)),
        _ => json!(true),
    };
    // A name is a text.
    let value = if path == "given_name" { json!(value.to_string()) } else { value };
    (path, Some(value))
}

/// Whether two addresses have one value.
fn doubled(fields: &Flat) -> bool {
    let addresses = fields.iter().filter(|(path, _)| path.starts_with("addresses."));
    let values: Vec<&Value> = addresses.map(|(_, address)| address).collect();
    values.iter().enumerate().any(|(at, value)| values[..at].contains(value))
}

/// A store of users: version and fields, and what an undo remembers of them.
#[derive(Debug, Clone, Default)]
struct World {
    users: BTreeMap<Uuid, (i32, Flat)>,
    steps: BTreeMap<Uuid, Step>,
    /// What undos of parts before that one remembered.
    earlier: BTreeMap<Uuid, Step>,
    /// How many users were deleted unread so far.
    unread: usize,
}

impl World {
    fn fields(&self) -> BTreeMap<Uuid, Flat> {
        self.users.iter().map(|(id, (_, fields))| (*id, fields.clone())).collect()
    }

    /// Changes a user as somebody does, keeping what must hold: no two addresses with one value, a validity that ends after it
    /// began, a flag that goes with its value.
    fn change(&mut self, random: &mut Random, id: Uuid) {
        let emails: Vec<Value> =
            self.users.values().filter_map(|(_, fields)| fields.get("email").cloned()).collect();
        let Some((_, fields)) = self.users.get_mut(&id) else { return };
        if random.percent(25) {
            let email = json!(format!("{}@example.com", random.below(8)));
            if !emails.contains(&email) {
                fields.insert("email".into(), email);
                fields.remove("email_verified");
            }
        }
        for _ in 0..random.between(1, 3) {
            let (path, value) = values(random);
            let old = fields.get(path).cloned();
            match value {
                Some(value) => fields.insert(path.into(), value),
                None => fields.remove(path),
            };
            let doubled = doubled(fields);
            let ended = matches!((fields.get("valid_from"), fields.get("valid_until")),
                                 (Some(from), Some(until)) if from.as_str() >= until.as_str());
            if doubled || ended {
                match old {
                    Some(old) => fields.insert(path.into(), old),
                    None => fields.remove(path),
                };
            }
        }
    }

    /// One chunk of an import: some users change, some are made.
    fn application(&mut self, random: &mut Random, reference: &mut Reference) -> Vec<Change> {
        let before = self.clone();
        let ids: Vec<Uuid> = self.users.keys().copied().collect();
        for id in ids {
            for _ in 0..random.below(3) {
                self.change(random, id);
            }
        }
        for _ in 0..random.below(3) {
            let id = Uuid::from_u128(u128::from(random.bits()));
            self.users.insert(id, (1, Flat::new()));
            self.change(random, id);
        }
        let mut changes = Vec::new();
        for (id, (version, fields)) in &mut self.users {
            let old = before.users.get(id);
            if old.is_some_and(|(_, old)| old == fields) {
                continue;
            }
            let seen = (old.map(|(_, old)| old.clone()), Some(fields.clone()));
            reference.history.entry(*id).or_default().push(seen);
            let mut change = Change::inserted(*id, 1);
            match old {
                None => {
                    let memberships = fields.iter().filter(|(path, _)| is_membership(path));
                    change.after = memberships.map(|(path, value)| (path.clone(), value.clone())).collect();
                }
                Some((from, old)) => {
                    let (old, new): (Map<_, _>, Map<_, _>) =
                        (old.clone().into_iter().collect(), fields.clone().into_iter().collect());
                    (change.kind, change.from) = (Kind::Updated, *from);
                    put_differences("", &old, &new, &mut change.before, &mut change.after);
                    let rows =
                        change.before.keys().chain(change.after.keys()).any(|path| !is_membership(path));
                    *version += i32::from(rows);
                    change.to = *version;
                    change.keep_flags_with_values(|path| new.get(path).cloned());
                }
            }
            changes.push(change);
        }
        changes
    }

    /// The users as an undo finds them.
    fn found(&self) -> Vec<Found> {
        let found = |(id, (version, fields)): (&Uuid, &(i32, Flat))| {
            let own = self.steps.get(id);
            let both = || self.earlier.get(id).into_iter().chain(own);
            let mut given_back = GivenBack::new();
            both().for_each(|step| add_given_back(&mut given_back, step.given_back.clone()));
            Found {
                id: *id,
                version: *version,
                stands_for: both().filter(|step| step.version == *version).map(|step| step.stands_for).min(),
                kept: own.map(|step| step.kept.iter().cloned().collect()).unwrap_or_default(),
                given_back,
                fields: fields.clone(),
            }
        };
        self.users.iter().map(found).collect()
    }

    /// Takes applications back, the last first, so many at a time. Returns what that changed.
    fn undo(&mut self, applications: &[Vec<Change>], cut: usize) -> (Vec<Vec<Change>>, Vec<Verdict>) {
        self.undo_part(applications, cut, &[])
    }

    /// The same of these fields; of all where none is named.
    fn undo_part(
        &mut self,
        applications: &[Vec<Change>],
        cut: usize,
        fields: &[&str],
    ) -> (Vec<Vec<Change>>, Vec<Verdict>) {
        let undo = Undo {
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            ..Undo::whole(ImportId::new(Uuid::nil()), chrono::DateTime::UNIX_EPOCH)
        };
        let (mut own, mut verdicts) = (Vec::new(), Vec::new());
        self.steps.clear();
        let mut planned_alone = Foreseen { base: self.clone(), left: Vec::new() };
        let backwards: Vec<&Vec<Change>> = applications.iter().rev().collect();
        for some in backwards.chunks(cut) {
            let chunk = some.iter().flat_map(|one| one.iter().rev()).filter(|change| undo.takes(change));
            let chunk: Vec<Change> = chunk.cloned().collect();
            let found = self.found();
            let planned = plan(&chunk, &found, &Lost::new(), &undo);
            assert_eq!(
                planned_alone.told(&chunk, &undo),
                planned.told,
                "what was planned, and what came of it"
            );
            self.delete_unread(&chunk, &found, &undo, &planned);
            for (id, version, _) in &planned.deleted {
                assert_eq!(self.users.remove(id).map(|(at, _)| at), Some(*version));
            }
            for user in planned.written {
                assert_eq!(self.users.get(&user.id).map(|(at, _)| *at), user.version.0);
                self.users.insert(user.id, (user.version.1, user.fields));
            }
            for step in planned.steps {
                let mut step = step;
                if let Some(known) = self.steps.remove(&step.user) {
                    step.kept.extend(known.kept);
                    step.given_back = known.given_back.into_iter().chain(step.given_back).collect();
                }
                self.steps.insert(step.user, step);
            }
            own.push(planned.changes);
            verdicts.extend(planned.told.into_iter().map(|told| told.verdict));
        }
        (own, verdicts)
    }

    /// Deleting users unread that are as they were left, and planning the others, comes to what planning all does.
    fn delete_unread(&mut self, chunk: &[Change], found: &[Found], undo: &Undo, planned: &Planned) {
        if !self.steps.is_empty() || !self.earlier.is_empty() {
            return;
        }
        let may_be: BTreeMap<Uuid, i32> =
            deletable(chunk, |_, _| true).into_iter().map(|at| (chunk[at].user, chunk[at].to)).collect();
        let is_untouched = |user: &Found| {
            may_be.get(&user.id) == Some(&user.version) && !user.fields.keys().any(|path| is_membership(path))
        };
        let (deleted, others): (Vec<Found>, Vec<Found>) = found.iter().cloned().partition(is_untouched);
        self.unread += deleted.len();
        let is_deleted = |change: &&Change| deleted.iter().any(|user| user.id == change.user);
        let rest: Vec<Change> = chunk.iter().filter(|change| !is_deleted(change)).cloned().collect();
        let both = plan(&rest, &others, &Lost::new(), undo).with_deleted(chunk, deleted);
        assert_eq!(both, Planned { deleted: both.deleted.clone(), ..planned.clone() });
    }
}

/// A plan of an undo: users as they are, and how each of its chunks would leave them.
struct Foreseen {
    base: World,
    left: Vec<Vec<LeftUser>>,
}

impl Foreseen {
    /// Plans the next chunk.
    fn told(&mut self, chunk: &[Change], undo: &Undo) -> Vec<ChangeResult> {
        let mut found: BTreeMap<Uuid, Found> =
            self.base.found().into_iter().map(|user| (user.id, user)).collect();
        for earlier in &self.left {
            lay_left_over(&mut found, earlier.clone(), |_| true, &mut HashSet::new());
        }
        let found: Vec<Found> = found.into_values().collect();
        let planned = plan(chunk, &found, &Lost::new(), undo);
        self.left.push(left(&found, &planned, |_| true));
        planned.told
    }
}

/// How many users were deleted unread.
fn play(seed: u64) -> Result<usize, String> {
    let mut random = Random::new(seed);
    let mut world = World::default();
    let mut nothing = Reference::default();
    for _ in 0..random.below(3) {
        world.application(&mut random, &mut nothing);
    }
    let before = world.fields();
    let mut reference = Reference::default();
    let count = random.between(1, 4);
    let applications: Vec<Vec<Change>> =
        (0..count).map(|_| world.application(&mut random, &mut reference)).collect();
    let left = world.fields();
    let edited = random.percent(50);
    if edited {
        for (id, (version, fields)) in &mut world.users {
            if random.percent(50) {
                let mut path = values(&mut random);
                // What is more than one field is not a single edit.
                while path.0.starts_with("valid") || path.0.starts_with("memberships") {
                    path = values(&mut random);
                }
                let old = fields.clone();
                match path.1 {
                    Some(value) => fields.insert(path.0.into(), value),
                    None => fields.remove(path.0),
                };
                if doubled(fields) {
                    *fields = old;
                }
                *version += 1;
                reference.touched.insert(*id);
            }
        }
    }
    reference.now = world.fields();
    // What undos of parts took back is no change of somebody else.
    let parts = random.below(3);
    for _ in 0..parts {
        let field = *random.pick(&["given_name", "metadata.a", "metadata", "roles.1", "roles"]);
        world.undo_part(&applications, random.between(1, 3), &[field]);
        let again = std::mem::take(&mut world.steps);
        for (id, mut step) in again {
            if let Some(known) = world.earlier.remove(&id) {
                let mut given_back = known.given_back;
                add_given_back(&mut given_back, step.given_back);
                step.given_back = given_back;
            }
            world.earlier.insert(id, step);
        }
    }
    let (own, _) = world.undo(&applications, random.between(1, 3));
    let told = |what: &str, expected: &BTreeMap<Uuid, Flat>, found: &BTreeMap<Uuid, Flat>| {
        format!("{what}\nexpected {expected:#?}\nfound {found:#?}\nchanges {applications:#?}")
    };
    let expected = reference.undone();
    // Where a value that a user would get back is kept by another who was inserted and edited, more than one user matters.
    let moved =
        applications.iter().flatten().any(|change| change.before.get("email") != change.after.get("email"));
    if edited && moved && reference.keeps_inserted() {
        return Ok(world.unread);
    }
    if world.fields() != expected {
        return Err(told("not what the reference says", &expected, &world.fields()));
    }
    if edited {
        return Ok(world.unread);
    }
    if world.fields() != before {
        return Err(told("not as before", &before, &world.fields()));
    }
    if parts > 0 {
        return Ok(world.unread);
    }
    let (again, verdicts) = world.undo(&own, random.between(1, 3));
    if world.fields() != left || verdicts.iter().any(|verdict| verdict.outcome == Outcome::Failed) {
        return Err(told("not as the import left it", &left, &world.fields()));
    }
    world.undo(&again, random.between(1, 3));
    if world.fields() != before {
        return Err(told("not as before the second time", &before, &world.fields()));
    }
    Ok(world.unread)
}

#[test]
fn taking_back_chunk_by_chunk_is_what_the_reference_says() {
    let mut unread = 0;
    for seed in 0..4_000 {
        match play(seed) {
            Ok(users) => unread += users,
            Err(problem) => panic!("seed {seed}: {problem}"),
        }
    }
    assert!(unread > 100, "only {unread} users were deleted unread");
}

/// A user with these fields, and what taking a change back makes of them.
fn taken_back(now: &[(&str, Value)], before: &[(&str, Value)], after: &[(&str, Value)]) -> (Flat, Verdict) {
    let id = Uuid::from_u128(1);
    let map = |fields: &[(&str, Value)]| -> Map<String, Value> {
        fields.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect()
    };
    let fields: Flat = map(now).into_iter().collect();
    let (kept, given_back) = (BTreeSet::new(), GivenBack::new());
    let found = Found { id, version: 9, stands_for: None, kept, given_back, fields };
    let change = Change {
        kind: Kind::Updated,
        from: 1,
        before: map(before),
        after: map(after),
        ..Change::inserted(id, 2)
    };
    let undo = Undo::whole(ImportId::new(Uuid::nil()), chrono::DateTime::UNIX_EPOCH);
    let planned = plan(&[change], std::slice::from_ref(&found), &Lost::new(), &undo);
    let fields = planned.written.into_iter().next().map_or(found.fields, |written| written.fields);
    (fields, planned.told[0].verdict)
}

#[test]
fn a_number_counts_as_changed_only_where_it_is_another_one() {
    let parsed = |json: &str| serde_json::from_str::<Value>(json).unwrap();
    let number = |json: &str| [("metadata.n", parsed(json))];
    for (now, left, expected) in [
        ("10000000000000000", "1e16", Verdict::UPDATED),
        ("[1, {\"a\": 2}]", "[1.0, {\"a\": 2e0}]", Verdict::UPDATED),
        ("10000000000000001", "1e16", Verdict::CHANGED_SINCE),
        ("1.5", "1", Verdict::CHANGED_SINCE),
    ] {
        let (fields, verdict) = taken_back(&number(now), &[("metadata.n", json!(7))], &number(left));
        assert_eq!(verdict, expected, "{now} {left}");
        assert_eq!(fields["metadata.n"] == json!(7), expected == Verdict::UPDATED, "{now} {left}");
    }
    // A number that was only written in another way changed nothing, and was taken back by nobody.
    assert_eq!(taken_back(&number("5"), &number("1"), &number("1.0")).1, Verdict::UNCHANGED);
    // Where it stands as the import wrote it, it is as before to the digit.
    let (fields, verdict) = taken_back(&number("1.0"), &number("1"), &number("1.0"));
    assert_eq!((fields["metadata.n"].to_string().as_str(), verdict), ("1", Verdict::UPDATED));
}

/// One that cannot come back may keep another from coming back, whose value it has then.
#[test]
fn two_addresses_never_have_one_value() {
    let address = |value: &str| json!({"type": "GENERIC", "value": value});
    let all = |fields: &[(&'static str, &str)]| -> Vec<(&'static str, Value)> {
        fields.iter().map(|(path, value)| (*path, address(value))).collect()
    };
    let before = all(&[("addresses.x", "p"), ("addresses.y", "q")]);
    let after = all(&[("addresses.x", "q"), ("addresses.y", "r")]);
    let now = all(&[("addresses.x", "q"), ("addresses.y", "r"), ("addresses.z", "p")]);
    let (fields, verdict) = taken_back(&now, &before, &after);
    assert_eq!(fields, now.into_iter().map(|(path, value)| (path.to_owned(), value)).collect());
    assert_eq!(verdict, Verdict::CHANGED_SINCE);
}
