//! Taking changes back as they were planned: a change that comes to something else is left out, or reported.

use std::collections::{BTreeMap, BTreeSet};

use super::Drift;
use crate::undo::{Change, ChangeResult, Found, Planned, Undo, plan_without};

/// Rounds of planning after which nothing more of the chunk is taken back.
const ROUNDS: usize = 20;

/// The comparison with the plan of an undo, before anything is written.
pub struct UndoCheck<'c> {
    /// Compares a change, by its place, with its plan.
    pub drift: &'c (dyn Fn(usize, &ChangeResult) -> Option<Drift> + Sync + 'c),
    /// Whether a change that differs is not taken back.
    pub refuse: bool,
}

/// Plans taking back changes that were planned before. Those that differ from their plan are left out, and the others are planned without
/// them and compared again; or they are taken back and reported. Returns the places of those that differ, too.
pub fn plan_undo(
    changes: &[Change],
    found: &[Found],
    undo: &Undo,
    check: &UndoCheck<'_>,
) -> (Planned, Vec<(usize, Drift)>) {
    let mut drifts: BTreeMap<usize, Drift> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    let mut rounds = 0;
    loop {
        let planned = plan_without(changes, found, undo, &left_out);
        let others = || planned.told.iter().enumerate().filter(|(at, _)| !left_out.contains(at));
        let differing: Vec<(usize, Drift)> =
            others().filter_map(|(at, told)| Some((at, (check.drift)(at, told)?))).collect();
        if differing.is_empty() || !check.refuse {
            drifts.extend(differing);
            return (planned, drifts.into_iter().collect());
        }
        rounds += 1;
        // Each round leaves out at least one more, so this ends; a chunk in which each one depends on the one before is not planned as often.
        let all = others().filter(|(_, told)| rounds > ROUNDS && told.is_written());
        drifts.extend(all.map(|(at, _)| (at, Drift::behind_another())));
        drifts.extend(differing);
        left_out.extend(drifts.keys().copied());
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

    /// By the plan both fields are given back; somebody gave back one of them since.
    #[test]
    fn a_change_that_is_left_out_remembers_what_somebody_took_back_of_it() {
        let names = |given: &str, family: &str| json!({"given_name": given, "family_name": family});
        let later = change((2, 3), &names("Ann", "Bee"), &names("Other", "Cat"));
        let earlier = change((1, 2), &json!({"family_name": "Ant"}), &json!({"family_name": "Bee"}));
        let mut found = Found {
            id: USER,
            version: 4,
            stands_for: None,
            kept: BTreeSet::new(),
            fields: names("Other", "Bee").as_object().cloned().unwrap_or_default().into_iter().collect(),
        };
        let drift = |_: usize, told: &ChangeResult| {
            (told.is_written() && !told.exceptions.is_empty()).then(Drift::behind_another)
        };
        let check = UndoCheck { drift: &drift, refuse: true };
        let (planned, drifts) = plan_undo(&[later], std::slice::from_ref(&found), &undo(), &check);
        assert_eq!((drifts.len(), planned.told[0].verdict), (1, Verdict::FAILED));
        assert!(planned.written.is_empty() && planned.changes.is_empty());
        assert_eq!(planned.steps[0].kept, ["family_name"]);
        // Its next chunk has an earlier change of that field: what somebody took back is theirs.
        found.kept.extend(planned.steps[0].kept.iter().cloned());
        let (planned, _) = plan_undo(&[earlier], &[found], &undo(), &check);
        assert_eq!((planned.told[0].verdict, planned.written.len()), (Verdict::CHANGED_SINCE, 0));
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
        let (planned, drifts) = plan_undo(&changes, &found, &undo(), &check);
        assert_eq!((drifts.len(), planned.written.len()), (100, 0));
        assert_eq!(state.lock().unwrap().2, ROUNDS + 1);
    }
}
