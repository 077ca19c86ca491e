//! Inserted users that nobody touched since: an undo may delete them without reading them first. Pure.
//!
//! Each is decided for itself: deleting it gives no value to another user. So deleting some of a chunk first, and planning the others
//! without them, comes to what planning all of them does.

use uuid::Uuid;

use super::{Change, ChangeResult, Found, Kind, Planned};
use crate::outcome::Verdict;

/// The places of the changes whose users may be deleted unread, each at the version as which it was left, if it has no memberships and
/// the undos of the import noted nothing of anybody. None where the changes do more than insert one user each without memberships: these
/// may depend on each other. `is_as_planned` says whether the change at a place was planned to come to this.
pub fn deletable(changes: &[Change], is_as_planned: impl Fn(usize, &ChangeResult) -> bool) -> Vec<usize> {
    let is_plain = |change: &Change| change.kind == Kind::Inserted && change.after.is_empty();
    let mut users: Vec<Uuid> = changes.iter().map(|change| change.user).collect();
    users.sort_unstable();
    if !changes.iter().all(is_plain) || users.windows(2).any(|two| two.first() == two.last()) {
        return Vec::new();
    }
    let deleted = ChangeResult::of(Verdict::DELETED);
    (0..changes.len()).filter(|at| is_as_planned(*at, &deleted)).collect()
}

impl Planned {
    /// Adds the users that were deleted unread, by id, to what the other changes came to. They are not added to `deleted`, which is what is
    /// still to be written.
    #[must_use]
    pub fn with_deleted(mut self, changes: &[Change], deleted: Vec<Found>) -> Self {
        let is_deleted = |change: &Change| deleted.binary_search_by_key(&change.user, |user| user.id).is_ok();
        let mut others = self.told.into_iter();
        self.told = changes
            .iter()
            .filter_map(|change| match is_deleted(change) {
                true => Some(ChangeResult::of(Verdict::DELETED)),
                false => others.next(),
            })
            .collect();
        let deletions = deleted
            .into_iter()
            .map(|user| Change::deleted(user.id, user.version, user.fields.into_iter().collect()));
        self.changes.extend(deletions);
        self.changes.sort_by_key(|change| change.user);
        self
    }
}
