//! What the chunks of an undo meet while they are planned.

use std::collections::{BTreeMap, HashSet};

use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::planned::{PlannedChunk, asked_by_undo};
use muster_domain::undo::{Change, Found, Lost, Planned, Undo, lay_left_over};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::super::{StoreError, take_back};
use super::{Met, Planning, earlier};

/// The changes that a chunk of an undo is to take back, and the users that it meets.
#[derive(Debug)]
pub struct Undoing {
    /// Users as earlier chunks of the plan would leave them.
    pub found: Vec<Found>,
    /// What the changes name and the catalog no longer has.
    pub lost: Lost,
    /// Those of them that earlier chunks of the plan have to do with.
    planned: HashSet<Uuid>,
    /// The keys of what was asked for.
    pub asked: Vec<i64>,
    /// The chunks that these come from.
    pub met: Met,
}

impl Undoing {
    /// The users that are there and that a plan writes, with the versions at which they were met first.
    pub fn users_met(&self, plan: &Planned) -> (Vec<Uuid>, Vec<i32>) {
        let written = plan.written.iter().filter_map(|user| Some((user.id, user.version.0?)));
        let deleted = plan.deleted.iter().map(|(id, version, _)| (*id, *version));
        written.chain(deleted).filter(|(id, _)| !self.planned.contains(id)).unzip()
    }
}

/// Finds the users of the changes, and lays over them how earlier chunks of the plan would leave theirs.
pub async fn met_by_undo(
    connection: &mut PgConnection,
    (chunk, import, tenant): (ChunkId, ImportId, TenantId),
    changes: &[Change],
    undo: &Undo,
) -> Result<Undoing, StoreError> {
    let always = take_back::ReadMemberships::Always;
    let found = take_back::find(connection, tenant, import, undo.of, changes, always).await?;
    let mut found: BTreeMap<Uuid, Found> = found.into_iter().map(|user| (user.id, user)).collect();
    let asked = asked_by_undo(import, changes, found.keys().copied());
    let planning = Planning { chunk, import, tenant, asked: &asked, independent: false, again: false };
    let (mut met, mut planned) = (Met::default(), HashSet::new());
    let lay = |_: &mut Met, chunk: PlannedChunk| {
        lay_left_over(&mut found, chunk.left, |user| user.is_asked(import, &asked), &mut planned);
    };
    earlier(connection, &planning, &mut met, lay).await?;
    let lost = take_back::lost(connection, tenant, changes).await?;
    Ok(Undoing { found: found.into_values().collect(), lost, planned, asked, met })
}
