//! Taking changes back as they were planned: a change that comes to something else is left out, or reported.
//!
//! What a change did stands while it is left out. So what is behind it is left out too: earlier changes of its user, and changes of others
//! that give back a value which its user has. They would take what the import did for what somebody else did, and be settled by that.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::Drift;
use crate::fault::{Mutant, mutant};
use crate::undo::{Change, ChangeResult, Found, LEFT_OUT, Lost, Planned, Undo, plan_without};

/// Rounds of planning after which nothing more of the chunk is taken back.
const ROUNDS: usize = 20;

/// The comparison with the plan of an undo, before anything is written.
pub struct UndoCheck<'c> {
    /// Compares a change, by its place, with its plan.
    pub drift: &'c (dyn Fn(usize, &ChangeResult) -> Option<Drift> + Sync + 'c),
    /// Whether a change that differs is not taken back.
    pub refuse: bool,
}

/// Plans taking back changes that were planned before. Those that differ from their plan are left out with what is behind them, and the
/// others are planned without them and compared again; or they are taken back and reported. Of the users of `gone`, who are not there, changes
/// were left out in chunks before this one; `lost` is what the catalog no longer has. Returns the places of those that differ, too.
pub fn plan_undo(
    changes: &[Change],
    found: &[Found],
    (gone, lost): (&[Uuid], &Lost),
    undo: &Undo,
    check: &UndoCheck<'_>,
) -> (Planned, Vec<(usize, Drift)>) {
    let marked = found.iter().filter(|user| user.kept.contains(LEFT_OUT)).map(|user| user.id);
    let waiting: BTreeSet<Uuid> = marked.chain(gone.iter().copied()).filter(|_| check.refuse).collect();
    let mut drifts: BTreeMap<usize, Drift> = BTreeMap::new();
    add_behind(&mut drifts, changes, &[], &waiting);
    let mut left_out: BTreeSet<usize> = drifts.keys().copied().collect();
    let mut rounds = 0;
    loop {
        let planned = plan_without(changes, found, lost, undo, &left_out);
        let others = || planned.told.iter().enumerate().filter(|(at, _)| !left_out.contains(at));
        let differing: Vec<(usize, Drift)> =
            others().filter_map(|(at, told)| Some((at, (check.drift)(at, told)?))).collect();
        if !check.refuse {
            return (planned, differing);
        }
        if !differing.is_empty() {
            rounds += 1;
            // Each round leaves out at least one more, so this ends; a chunk in which each one depends on the one before is not planned as often.
            let all = others().filter(|(_, told)| rounds > ROUNDS && told.is_written());
            drifts.extend(all.map(|(at, _)| (at, Drift::behind_another())));
            drifts.extend(differing);
        }
        add_behind(&mut drifts, changes, &planned.told, &waiting);
        if drifts.len() == left_out.len() {
            return (planned, drifts.into_iter().collect());
        }
        left_out.extend(drifts.keys().copied());
    }
}

/// Adds the changes that are behind those that are left out. Of the users of `waiting`, changes were left out before.
fn add_behind(
    drifts: &mut BTreeMap<usize, Drift>,
    changes: &[Change],
    told: &[ChangeResult],
    waiting: &BTreeSet<Uuid>,
) {
    if mutant(Mutant::LeftOutPoisonsEarlier) {
        return;
    }
    let mut holders = waiting.clone();
    loop {
        let before = drifts.len();
        holders.extend(drifts.keys().filter_map(|at| Some(changes.get(*at)?.user)));
        let mut users = waiting.clone();
        for (at, change) in changes.iter().enumerate() {
            let mut kept = told.get(at).into_iter().flat_map(|told| &told.kept);
            let is_held = kept.any(|kept| kept.holder().is_some_and(|holder| holders.contains(&holder)));
            if is_held || users.contains(&change.user) {
                drifts.entry(at).or_insert_with(Drift::behind_a_later_change);
            }
            if drifts.contains_key(&at) {
                users.insert(change.user);
            }
        }
        if drifts.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::outcome::Verdict;
    use crate::undo::{Kind, Undo};

    const USER: Uuid = Uuid::from_u128(1);

    fn change(versions: (i32, i32), before: &serde_json::Value, after: &serde_json::Value) -> Change {
        let map = |value: &serde_json::Value| value.as_object().cloned().unwrap_or_default();
        Change {
            kind: Kind::Updated,
            from: versions.0,
            before: map(before),
            after: map(after),
            ..Change::inserted(USER, versions.1)
        }
    }

    fn undo() -> Undo {
        Undo::whole(crate::id::ImportId::new(Uuid::nil()), chrono::DateTime::UNIX_EPOCH)
    }

    fn names(given: &str, family: &str) -> serde_json::Value {
        json!({"given_name": given, "family_name": family})
    }

    fn found(user: Uuid, fields: &serde_json::Value) -> Found {
        Found {
            id: user,
            version: 4,
            stands_for: None,
            kept: BTreeSet::new(),
            given_back: Default::default(),
            fields: fields.as_object().cloned().unwrap_or_default().into_iter().collect(),
        }
    }

    /// By the plan both fields are given back; somebody changed one of them since.
    #[test]
    fn what_a_change_that_is_left_out_did_is_not_taken_for_somebody_elses() {
        let later = change((2, 3), &names("Bea", "Xu"), &names("Cleo", "Young"));
        let earlier = change((1, 2), &json!({"given_name": "Ann"}), &json!({"given_name": "Bea"}));
        let both = [later, earlier];
        let mut user = found(USER, &names("Cleo", "Zhou"));
        let differs = |_: usize, told: &ChangeResult| {
            (told.is_written() && !told.exceptions.is_empty()).then(Drift::behind_another)
        };
        let check = UndoCheck { drift: &differs, refuse: true };
        // In one chunk.
        let (planned, drifts) =
            plan_undo(&both, std::slice::from_ref(&user), (&[], &Lost::new()), &undo(), &check);
        assert_eq!(drifts, [(0, Drift::behind_another()), (1, Drift::behind_a_later_change())]);
        assert!(planned.written.is_empty() && planned.changes.is_empty());
        assert_eq!(planned.steps[0].kept, [LEFT_OUT]);
        // In two.
        let (planned, _) =
            plan_undo(&both[..1], std::slice::from_ref(&user), (&[], &Lost::new()), &undo(), &check);
        assert_eq!(planned.steps[0].kept, [LEFT_OUT]);
        user.kept.extend(planned.steps[0].kept.iter().cloned());
        let (planned, drifts) =
            plan_undo(&both[1..], std::slice::from_ref(&user), (&[], &Lost::new()), &undo(), &check);
        assert_eq!(drifts, [(0, Drift::behind_a_later_change())]);
        assert!(planned.written.is_empty() && planned.steps.is_empty());
        // Where the user is not there.
        let (planned, drifts) = plan_undo(&both[1..], &[], (&[USER], &Lost::new()), &undo(), &check);
        assert_eq!((drifts.len(), planned.told[0].verdict), (1, Verdict::FAILED));
        // A retry compares nothing.
        user.kept.clear();
        let (planned, _) = plan_undo(
            &both,
            &[user],
            (&[], &Lost::new()),
            &undo(),
            &UndoCheck { drift: &|_, _| None, refuse: true },
        );
        assert_eq!(planned.told.iter().map(|told| told.verdict).collect::<Vec<_>>(), [Verdict::UPDATED; 2]);
        let written = &planned.written[0].fields;
        assert_eq!((&written["given_name"], &written["family_name"]), (&json!("Ann"), &json!("Zhou")));
    }

    /// One user took the address of another within the import, and keeps it for now.
    #[test]
    fn who_gets_a_value_back_waits_for_the_change_of_the_one_that_has_it() {
        let other = Uuid::from_u128(2);
        let took = change((1, 2), &json!({"email": "a@x"}), &json!({"email": "b@x"}));
        let gave =
            Change { user: other, ..change((1, 2), &json!({"email": "b@x"}), &json!({"email": "c@x"})) };
        let users = [found(USER, &json!({"email": "b@x"})), found(other, &json!({"email": "c@x"}))];
        let differs =
            |at: usize, told: &ChangeResult| (at == 0 && told.is_written()).then(Drift::behind_another);
        let check = UndoCheck { drift: &differs, refuse: true };
        let (planned, drifts) = plan_undo(&[took, gave], &users, (&[], &Lost::new()), &undo(), &check);
        assert_eq!(drifts, [(0, Drift::behind_another()), (1, Drift::behind_a_later_change())]);
        assert!(planned.written.is_empty());
        assert!(planned.steps.iter().all(|step| step.kept == [LEFT_OUT]), "{:?}", planned.steps);
    }

    /// After some rounds nothing more of it is taken back.
    #[test]
    fn a_chunk_of_which_everything_differs_is_not_planned_for_ever() {
        let left = json!({"given_name": "Other"});
        let changes: Vec<Change> = (0..100)
            .map(|at| Change { user: Uuid::from_u128(at), ..change((1, 2), &json!({}), &left) })
            .collect();
        let found: Vec<Found> = changes
            .iter()
            .map(|change| Found {
                id: change.user,
                version: 2,
                stands_for: None,
                kept: BTreeSet::new(),
                given_back: Default::default(),
                fields: change.after.clone().into_iter().collect(),
            })
            .collect();
        // One a round, as where the address of each one is held by the one before: the last place, and whether it was told in this round.
        let state = std::sync::Mutex::new((0, false, 0));
        let drift = |at: usize, _: &ChangeResult| {
            let mut state = state.lock().unwrap();
            state.1 &= at > state.0;
            state.0 = at;
            (!std::mem::replace(&mut state.1, true)).then(|| {
                state.2 += 1;
                Drift::behind_another()
            })
        };
        let check = UndoCheck { drift: &drift, refuse: true };
        let (planned, drifts) = plan_undo(&changes, &found, (&[], &Lost::new()), &undo(), &check);
        assert_eq!((drifts.len(), planned.written.len()), (100, 0));
        assert_eq!(state.lock().unwrap().2, ROUNDS + 1);
    }
}
