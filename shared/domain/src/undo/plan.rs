//! Changes to take back + users as they are → what to write and what became of each change. A pure function.
//!
//! Guarantee: the plan is that of taking the changes back one after the other, by the rule of three values (before, as the import left
//! it, now). Only unique values are checked at the end, since two users may have exchanged a value within one chunk. A value that
//! another user holds now is not taken away. Non-goal: the database. What another transaction did in the meantime is found while
//! writing, and the chunk is planned again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::fit::{put, put_back, take_flags};
use super::flat::{UNIQUE, is_membership, kept_alike, membership_of, same};
use super::found::{Back, Found, GivenBack, LEFT_OUT, Step};
use super::lost::{Lost, is_lost};
use super::told::{ChangeResult, Kept, Why};
use super::{Change, Flat, Kind, Undo};
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::outcome::Verdict;

/// Organization and group of memberships.
pub type Places = Vec<(i32, i32)>;

/// A user that is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Id.
    pub id: Uuid,
    /// The version that it was read at, and the one that it gets. A user that is made again has none before.
    pub version: (Option<i32>, i32),
    /// What it has then.
    pub fields: Flat,
    /// Columns other than memberships change.
    pub row: bool,
    /// Organization and group of the memberships that are added, and of those that are taken away.
    pub memberships: (Places, Places),
}

/// What is to be written, and what became of each change.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Planned {
    /// One for each change.
    pub told: Vec<ChangeResult>,
    /// Users that change or are made again, by id.
    pub written: Vec<Written>,
    /// Users that are to be deleted, with the version each was read at and the number of its memberships, by id.
    pub deleted: Vec<(Uuid, i32, usize)>,
    /// Unique values to let go of first: another user of this plan gets them.
    pub releases: Vec<(Uuid, &'static str)>,
    /// What all of it changes: the undo's own before-images.
    pub changes: Vec<Change>,
    /// What is to be remembered of users.
    pub steps: Vec<Step>,
}

/// Plans taking back the changes, in their order. `found` has the users of the changes, and those that have one of the unique values
/// that the users of the changes had; `lost` is what the catalog no longer has.
pub fn plan(changes: &[Change], found: &[Found], lost: &Lost, undo: &Undo) -> Planned {
    plan_without(changes, found, lost, undo, &BTreeSet::new())
}

/// The same, but nothing is taken back of the changes at the places of `left_out`, which fail. What they changed still stands, so nothing is
/// noted of their fields, only that earlier changes of their users have to wait.
pub fn plan_without(
    changes: &[Change],
    found: &[Found],
    lost: &Lost,
    undo: &Undo,
    left_out: &BTreeSet<usize>,
) -> Planned {
    let mut taken: BTreeMap<(Uuid, &'static str), Uuid> = BTreeMap::new();
    loop {
        let mut pass = Pass::new(found, (undo, lost), &taken);
        let take = |(at, change): (usize, &Change)| pass.take_back(change, left_out.contains(&at));
        let told: Vec<ChangeResult> = changes.iter().enumerate().map(take).collect();
        let collisions = pass.collisions();
        if collisions.is_empty() {
            return pass.planned(told);
        }
        // Each turn adds at least one user's field, so this ends.
        let before = taken.len();
        taken.extend(collisions);
        if taken.len() == before {
            return Pass::new(found, (undo, lost), &taken).planned(told);
        }
    }
}

/// A user while changes are taken back.
struct Draft<'a> {
    base: Option<&'a Found>,
    /// Copied where something of it changes: most users of an undo that deletes are deleted as they are.
    now: Option<Cow<'a, Flat>>,
    /// How many changes that were taken back changed columns of it.
    raised: i32,
    /// The version that it would have without that: its own, or what a user that is made again continues from.
    version: i32,
    /// The version since which nobody else touched it: what happened after that was this import's, and is taken back. Fields that are given
    /// back may be those of a version before.
    stands_for: i32,
    /// Fields that stay as they are: somebody changed them, or took them back already, or they cannot have what they had.
    kept: BTreeSet<String>,
    /// Fields that this undo or another one of the same import gave back, and those of them that this chunk does.
    given_back: GivenBack,
    new_back: GivenBack,
    touched: bool,
}

impl Draft<'_> {
    fn current(&self) -> i32 {
        self.version + self.raised
    }

    /// Notes that these fields are as they were before the change again.
    fn give_back(&mut self, restored: &BTreeSet<&str>, change: &Change) {
        let back = Back { to: change.from, at: self.current() };
        for path in restored {
            self.given_back.insert((*path).to_owned(), back);
            self.new_back.insert((*path).to_owned(), back);
        }
    }

    /// What is to be remembered, if there is anything.
    fn step(&self, user: Uuid) -> Option<Step> {
        let known = self.base.map(|base| &base.kept);
        let kept: Vec<String> = self
            .kept
            .iter()
            .filter(|path| known.is_none_or(|known| !known.contains(*path)))
            .cloned()
            .collect();
        let version = self.current();
        let known = self.base.map(|base| base.stands_for.unwrap_or(base.version));
        let moved = self.now.is_some()
            && self.stands_for != version
            && (self.touched || known != Some(self.stands_for));
        let given_back = self.new_back.clone();
        let something = moved || !kept.is_empty() || self.now.is_some() && !given_back.is_empty();
        something.then_some(Step { user, version, stands_for: self.stands_for, kept, given_back })
    }
}

struct Pass<'a, 't> {
    undo: &'t Undo,
    lost: &'t Lost,
    drafts: BTreeMap<Uuid, Draft<'a>>,
    /// Unique fields that cannot get their value back, and who has it.
    taken: &'t BTreeMap<(Uuid, &'static str), Uuid>,
}

impl<'a, 't> Pass<'a, 't> {
    fn new(
        found: &'a [Found],
        (undo, lost): (&'t Undo, &'t Lost),
        taken: &'t BTreeMap<(Uuid, &'static str), Uuid>,
    ) -> Self {
        let draft = |user: &'a Found| Draft {
            base: Some(user),
            now: Some(Cow::Borrowed(&user.fields)),
            raised: 0,
            version: user.version,
            stands_for: user.stands_for.unwrap_or(user.version),
            kept: user.kept.clone(),
            given_back: user.given_back.clone(),
            new_back: GivenBack::new(),
            touched: false,
        };
        Self { undo, lost, taken, drafts: found.iter().map(|user| (user.id, draft(user))).collect() }
    }

    fn take_back(&mut self, change: &Change, left_out: bool) -> ChangeResult {
        if left_out {
            return self.leave_out(change);
        }
        match change.kind {
            Kind::Updated => self.restore(change),
            Kind::Inserted => self.delete(change),
            Kind::Deleted => self.make_again(change),
        }
    }

    /// Notes that a change of this user stands, whether the user is there or not.
    fn leave_out(&mut self, change: &Change) -> ChangeResult {
        let gone = || Draft {
            base: None,
            now: None,
            raised: 0,
            version: 0,
            stands_for: 0,
            kept: BTreeSet::new(),
            given_back: GivenBack::new(),
            new_back: GivenBack::new(),
            touched: false,
        };
        let draft = self.drafts.entry(change.user).or_insert_with(gone);
        if !mutant(Mutant::LeftOutPoisonsEarlier) {
            draft.kept.insert(LEFT_OUT.to_owned());
        }
        ChangeResult::of(Verdict::FAILED)
    }

    /// Field by field: what still is as the import left it is as before again.
    fn restore(&mut self, change: &Change) -> ChangeResult {
        let (undo, taken, lost) = (self.undo, self.taken, self.lost);
        let Some(draft) = self.drafts.get_mut(&change.user) else { return ChangeResult::of(Verdict::GONE) };
        let known = draft.stands_for;
        let Some(now) = draft.now.as_mut().map(Cow::to_mut) else { return ChangeResult::of(Verdict::GONE) };
        let mut restored: BTreeSet<&str> = BTreeSet::new();
        let (mut kept, mut whole) = (Vec::new(), known == change.to);
        // An undo of a part took this very change back before, and nobody touched the user since.
        let done = known <= change.from && change.from < change.to;
        let mut old: HashMap<&str, Option<Value>> = HashMap::new();
        let mut wanted = change.differing();
        for path in wanted.iter().copied() {
            let (before, left) = (change.before.get(path), change.after.get(path));
            let back = draft.given_back.get(path).filter(|_| !mutant(Mutant::UndoForgetsGivenBack));
            if !undo.takes_field(path) {
                whole = false;
            } else if draft.kept.contains(path) {
                kept.push(Kept::new(path, Why::Changed));
            } else if same(now.get(path), before) {
                // Another undo took it back already; else somebody did, and it is theirs now.
                let ours = done || back.is_some_and(|back| back.covers(change));
                let ours = ours && !mutant(Mutant::UndoPartsInBetween);
                draft.kept.extend((!ours).then(|| path.to_owned()));
            } else if !same(now.get(path), left) && back.is_some_and(|back| back.goes_behind(change)) {
                // Another undo gave back what it had even before that; whether it still has, an earlier change tells.
            } else if !same(now.get(path), left) && !mutant(Mutant::UndoOverwrites) {
                kept.push(Kept::new(path, Why::Changed));
            } else if is_lost(lost, path, before) {
                kept.push(Kept::new(path, Why::Lost));
            } else if let Some(holder) = holder_of(taken, change.user, path) {
                kept.push(Kept::new(path, Why::Held(holder)));
            } else {
                old.insert(path, put(now, path, before));
                restored.insert(path);
            }
        }
        let rewritten = rewritten(change, now, undo);
        for path in rewritten.iter().copied().filter(|path| !draft.kept.contains(*path)) {
            old.insert(path, put(now, path, change.before.get(path)));
            restored.insert(path);
            wanted.insert(path);
        }
        for path in put_back(change, now, &old, &mut restored) {
            kept.push(Kept::new(path, Why::Changed));
        }
        for flag in take_flags(change, now, &restored) {
            restored.insert(flag);
            kept.retain(|kept| kept.path != flag);
        }
        draft.kept.extend(kept.iter().map(|kept| kept.path.clone()));
        let columns = restored.iter().any(|path| !is_membership(path));
        draft.touched |= !restored.is_empty();
        draft.raised += i32::from(columns);
        draft.give_back(&restored, change);
        // Nobody else touched it since. What could not be restored even so is a value that another user has by now. Of what is not asked
        // for, and of what others did, the fields that are given back tell the difference.
        draft.stands_for = if whole { change.from } else { known };
        wanted.retain(|path| undo.takes_field(path));
        ChangeResult::restored(&restored, kept, &wanted, &rewritten)
    }

    /// A user that the import inserted is deleted if nothing touched it since.
    fn delete(&mut self, change: &Change) -> ChangeResult {
        let Some(draft) = self.drafts.get_mut(&change.user) else { return ChangeResult::of(Verdict::GONE) };
        let Some(now) = &draft.now else { return ChangeResult::of(Verdict::GONE) };
        let memberships = |path: &&String| is_membership(path);
        let left: BTreeSet<&String> = change.after.keys().filter(memberships).collect();
        let has: BTreeSet<&String> = now.keys().filter(memberships).collect();
        let touched = draft.stands_for != change.to || left != has;
        if touched && !mutant(Mutant::UndoDeletesTouched) {
            return ChangeResult::of(Verdict::CHANGED_SINCE);
        }
        draft.now = None;
        draft.touched = true;
        ChangeResult::of(Verdict::DELETED)
    }

    /// A user that an undo deleted is made again, as it was; its secrets are gone.
    fn make_again(&mut self, change: &Change) -> ChangeResult {
        let there = self.drafts.get(&change.user);
        if there.is_some_and(|draft| draft.now.is_some()) {
            return ChangeResult::of(Verdict::EXISTS);
        }
        let holder =
            UNIQUE.into_iter().find_map(|field| Some((field, holder_of(self.taken, change.user, field)?)));
        if let Some((field, holder)) = holder {
            let error =
                RecordError::new(ErrorCode::IdentityConflict, "the value belongs to another user by now");
            let error = Some(error.in_field(field).held_by(holder));
            return ChangeResult { error, ..ChangeResult::of(Verdict::FAILED) };
        }
        let version = change.from.saturating_add(1);
        let (lost, had): (Flat, Flat) = change
            .before
            .clone()
            .into_iter()
            .partition(|(path, value)| is_lost(self.lost, path, Some(value)));
        let draft = Draft {
            base: there.and_then(|draft| draft.base),
            now: Some(Cow::Owned(had)),
            raised: 0,
            version,
            stands_for: change.from,
            kept: BTreeSet::new(),
            given_back: GivenBack::new(),
            new_back: GivenBack::new(),
            touched: true,
        };
        self.drafts.insert(change.user, draft);
        let kept = lost.keys().map(|path| Kept::new(path, Why::Lost)).collect();
        ChangeResult { kept, exceptions: lost.into_keys().collect(), ..ChangeResult::of(Verdict::INSERTED) }
    }

    /// Users that would get a unique value which another one has: their field, and the other one.
    fn collisions(&self) -> Vec<((Uuid, &'static str), Uuid)> {
        let mut collisions = Vec::new();
        for field in UNIQUE {
            let mut holders: HashMap<&Value, Vec<(Uuid, bool)>> = HashMap::new();
            for (id, draft) in &self.drafts {
                let Some(value) = draft.now.as_ref().and_then(|now| now.get(field)) else { continue };
                let had = draft.base.is_some_and(|base| base.fields.get(field) == Some(value));
                holders.entry(value).or_default().push((*id, had));
            }
            for holders in holders.into_values().filter(|holders| holders.len() > 1) {
                // Whoever has it already keeps it; else the first one gets it.
                let keeper = holders.iter().find(|(_, had)| *had).or(holders.first()).map(|(id, _)| *id);
                let Some(keeper) = keeper else { continue };
                let others = holders.iter().filter(|(id, had)| *id != keeper && !had);
                collisions.extend(others.map(|(id, _)| ((*id, field), keeper)));
            }
        }
        collisions
    }

    fn planned(self, told: Vec<ChangeResult>) -> Planned {
        let mut planned = Planned { told, ..Planned::default() };
        let held = self.held();
        for (id, draft) in self.drafts {
            let current = draft.current();
            planned.steps.extend(draft.step(id));
            if !draft.touched {
                continue;
            }
            match (draft.base, draft.now) {
                (Some(base), Some(now)) => planned.update(base, now.into_owned(), current, &held),
                (Some(base), None) => planned.delete(base),
                (None, Some(now)) => planned.insert(id, now.into_owned(), current),
                (None, None) => {}
            }
        }
        planned
    }

    /// Unique values that users of the plan have in the end.
    fn held(&self) -> Held {
        let mut held = Held::new();
        for draft in self.drafts.values().filter(|draft| draft.touched) {
            for field in UNIQUE {
                let value = draft.now.as_ref().and_then(|now| now.get(field)).and_then(Value::as_str);
                held.extend(value.map(|value| (field, value.to_owned())));
            }
        }
        held
    }
}

/// Unique fields with values that somebody has.
type Held = BTreeSet<(&'static str, String)>;

impl Planned {
    fn update(&mut self, base: &Found, now: Flat, current: i32, held: &Held) {
        let gives_up = UNIQUE.into_iter().filter(|field| {
            let had = base.fields.get(*field);
            let wanted = had.and_then(Value::as_str).map(|had| (*field, had.to_owned()));
            now.get(*field) != had && wanted.is_some_and(|wanted| held.contains(&wanted))
        });
        self.releases.extend(gives_up.map(|field| (base.id, field)));
        self.changes.extend(difference(base, &now, current));
        self.written.push(Written {
            id: base.id,
            version: (Some(base.version), current),
            row: current != base.version,
            memberships: memberships(&base.fields, &now),
            fields: now,
        });
    }

    fn delete(&mut self, base: &Found) {
        let count = base.fields.keys().filter(|path| is_membership(path)).count();
        self.deleted.push((base.id, base.version, count));
        self.changes.push(Change::deleted(base.id, base.version, base.fields.clone().into_iter().collect()));
    }

    fn insert(&mut self, id: Uuid, now: Flat, current: i32) {
        let mut own = Change::inserted(id, current);
        let kept = now.iter().filter(|(path, _)| is_membership(path));
        own.after.extend(kept.map(|(path, value)| (path.clone(), value.clone())));
        self.changes.push(own);
        self.written.push(Written {
            id,
            version: (None, current),
            row: true,
            memberships: memberships(&Flat::new(), &now),
            fields: now,
        });
    }
}

/// Fields with numbers that the change only wrote in another way, and that still are as it wrote them.
fn rewritten<'c>(change: &'c Change, now: &Flat, undo: &Undo) -> Vec<&'c str> {
    let stands = |path: &&str| kept_alike(now.get(*path), change.after.get(*path));
    change.rewritten().into_iter().filter(|path| undo.takes_field(path)).filter(stands).collect()
}

fn holder_of(taken: &BTreeMap<(Uuid, &'static str), Uuid>, user: Uuid, path: &str) -> Option<Uuid> {
    let field = UNIQUE.into_iter().find(|field| *field == path)?;
    taken.get(&(user, field)).copied()
}

/// What the undo itself changed of a user. `None` for nothing.
fn difference(base: &Found, now: &Flat, to: i32) -> Option<Change> {
    let mut change = Change { kind: Kind::Updated, from: base.version, ..Change::inserted(base.id, to) };
    put_only(&base.fields, now, &mut change.before);
    put_only(now, &base.fields, &mut change.after);
    if change.before.is_empty() && change.after.is_empty() && to == base.version {
        return None;
    }
    change.keep_flags_with_values(|path| now.get(path).cloned());
    Some(change)
}

/// Adds what one has and the other has not.
fn put_only(of: &Flat, other: &Flat, to: &mut Map<String, Value>) {
    let differing = of.iter().filter(|(path, value)| !kept_alike(other.get(*path), Some(*value)));
    to.extend(differing.map(|(path, value)| (path.clone(), value.clone())));
}

/// The memberships that are added and those that are taken away.
fn memberships(old: &Flat, new: &Flat) -> (Places, Places) {
    let only = |of: &Flat, not: &Flat| -> Places {
        of.keys().filter(|path| !not.contains_key(*path)).filter_map(|path| membership_of(path)).collect()
    };
    (only(new, old), only(old, new))
}
