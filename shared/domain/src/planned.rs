//! What an import would do: the planned outcome of each record, found by the planner before anything is written. Pure.
//!
//! The chunks of a plan see each other as they would when applied: each keeps how it leaves its users ([`PlannedUser`]), and
//! which unique values it has to do with (`keys`). A later chunk that meets one of these values lays those users over the ones
//! that are there. When the plan is applied, `drift` compares what a record is about to do with what was planned.
//!
//! Guarantee: if nobody else writes meanwhile, records get the planned outcome (P11). Non-goal: secrets. Only
//! new users have them, and the plan stores none.

mod drift;
mod keys;
mod sums;
mod undo;
mod value;

pub use drift::{APPLIED_ALTHOUGH, Drift, drift, drift_of_undo};
pub use keys::{KeptKeys, asked, asked_by_undo, kept, kept_of_undo, keys_of, keys_of_users};
pub use sums::{FieldSum, OTHER, Sums, field_of};
pub use undo::{UndoCheck, plan_undo};
pub use value::{BrokenPlan, Maker, PlannedChunk, PlannedRecord, PlannedUser};

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::plan::{ExistingUser, Plan};

/// What the chunks of an import are for when they are dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanUse {
    /// To be planned; nothing is written to users.
    Make,
    /// To be applied; a record whose plan no longer holds fails.
    Refuse,
    /// To be applied; a record whose plan no longer holds is applied and marked.
    Apply,
}

impl PlanUse {
    /// The text that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Refuse => "refuse",
            Self::Apply => "apply",
        }
    }
}

/// The text names no use of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: refuse, apply")]
pub struct UnknownUse;

impl std::str::FromStr for PlanUse {
    type Err = UnknownUse;

    fn from_str(text: &str) -> Result<Self, UnknownUse> {
        [Self::Make, Self::Refuse, Self::Apply]
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or(UnknownUse)
    }
}

/// What happens to a record whose plan no longer holds when it is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDrift {
    /// It fails.
    #[default]
    Refuse,
    /// It is applied and marked.
    Apply,
}

impl OnDrift {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Refuse, Self::Apply];

    /// The text in requests and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Apply => "apply",
        }
    }
}

impl std::str::FromStr for OnDrift {
    type Err = UnknownUse;

    fn from_str(text: &str) -> Result<Self, UnknownUse> {
        Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or(UnknownUse)
    }
}

/// The users that a chunk meets while it is planned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Them, as earlier chunks of the plan would leave them.
    pub users: Vec<ExistingUser>,
    /// Those of them that earlier chunks of the plan changed or made.
    pub planned: HashSet<Uuid>,
    /// Those of them that are not there yet: earlier chunks of the plan would make them.
    pub new: HashSet<Uuid>,
    /// The records that would make them.
    pub makers: HashMap<Uuid, Maker>,
}

impl Known {
    /// The users that are there.
    pub fn there(users: Vec<ExistingUser>) -> Self {
        Self { users, ..Self::default() }
    }

    /// Lays over them how a chunk of the plan leaves its users; of several chunks, the one that was planned first comes first.
    /// Users that have nothing to do with what is asked for are passed over.
    pub fn lay_over(&mut self, left: Vec<PlannedUser>, is_asked: impl Fn(&PlannedUser) -> bool) {
        let mut places: BTreeMap<Uuid, usize> =
            self.users.iter().enumerate().map(|(at, user)| (user.id, at)).collect();
        for user in left {
            let known = places.get(&user.id).copied();
            if known.is_none() && !is_asked(&user) {
                continue;
            }
            if user.new {
                self.new.insert(user.id);
            }
            if let Some(maker) = user.maker {
                self.makers.insert(user.id, maker);
            }
            self.planned.insert(user.id);
            let user = user.into_existing();
            match known.and_then(|at| self.users.get_mut(at)) {
                Some(place) => *place = user,
                None => {
                    places.insert(user.id, self.users.len());
                    self.users.push(user);
                }
            }
        }
    }

    /// The users that are there and that a plan changes, with the versions at which they were met. Users that
    /// an earlier chunk changes come from that chunk.
    pub fn met(&self, plan: &Plan<'_>) -> (Vec<Uuid>, Vec<i32>) {
        let changed: HashSet<Uuid> = written(plan).collect();
        let met = |user: &&ExistingUser| changed.contains(&user.id) && !self.planned.contains(&user.id);
        self.users.iter().filter(met).map(|user| (user.id, user.version)).unzip()
    }

    /// How a plan leaves its users.
    pub fn left(&self, plan: &Plan<'_>) -> Vec<PlannedUser> {
        let enrolled: HashSet<Uuid> = plan.enrolments.iter().copied().collect();
        let before: BTreeMap<Uuid, &ExistingUser> = self.users.iter().map(|user| (user.id, user)).collect();
        let mut left = Vec::with_capacity(plan.inserts.len() + plan.updates.len());
        for row in &plan.inserts {
            left.push(PlannedUser::of_row(row, row.changes, enrolled.contains(&row.id), true));
        }
        let mut changed = HashSet::new();
        for (row, version) in &plan.updates {
            changed.insert(row.id);
            let was = before.get(&row.id).is_some_and(|user| user.enrolled);
            let enrolled = was || enrolled.contains(&row.id);
            left.push(PlannedUser::of_row(row, version + row.changes, enrolled, self.new.contains(&row.id)));
        }
        for id in plan.enrolments.iter().filter(|id| !changed.contains(*id)) {
            if let Some(user) = before.get(id) {
                left.push(PlannedUser::enrolled(user, self.new.contains(id)));
            }
        }
        left
    }
}

/// The users that were there and that a plan writes.
fn written<'p>(plan: &'p Plan<'_>) -> impl Iterator<Item = Uuid> + 'p {
    plan.updates.iter().map(|(row, _)| row.id).chain(plan.enrolments.iter().copied())
}

#[cfg(test)]
mod tests;
