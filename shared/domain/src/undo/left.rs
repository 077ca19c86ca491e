//! How a chunk of an undo that is planned would leave its users, for the chunks of the plan that come later. Pure.
//!
//! What taking back writes down in the store (the users, and the steps of the undo) is kept here of each user that a chunk has to do with,
//! and laid over the users that are there. So a later chunk meets what it would meet if the earlier ones had been applied.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::flat::UNIQUE;
use super::{Found, GivenBack, Planned, Step};

/// A user as a chunk would leave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftUser {
    /// Id.
    pub id: Uuid,
    /// The version that it would have.
    #[serde(rename = "v")]
    pub version: i32,
    /// The version that it would be known to stand for.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<i32>,
    /// Fields that would have been left as they are.
    #[serde(rename = "k", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<String>,
    /// Fields that this undo or another one of the same import would have given back.
    #[serde(rename = "b", default, skip_serializing_if = "GivenBack::is_empty")]
    pub given_back: GivenBack,
    /// Everything that it would have. None: it would be deleted.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none", serialize_with = "apart")]
    pub fields: Option<Map<String, Value>>,
}

fn apart<S: serde::Serializer>(
    fields: &Option<Map<String, Value>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match fields {
        Some(fields) => crate::apart::write_apart(fields, serializer),
        None => serializer.serialize_none(),
    }
}

impl LeftUser {
    fn of(user: &Found) -> Self {
        Self {
            id: user.id,
            version: user.version,
            stands_for: user.stands_for,
            kept: user.kept.clone(),
            given_back: user.given_back.clone(),
            fields: Some(user.fields.clone().into_iter().collect()),
        }
    }

    fn into_found(self) -> Option<Found> {
        let Self { id, version, stands_for, kept, given_back, fields } = self;
        let fields = fields?.into_iter().collect();
        Some(Found { id, version, stands_for, kept, given_back, fields })
    }

    /// The unique values that it would have.
    pub fn unique(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let value = move |field: &'static str| Some((field, self.fields.as_ref()?.get(field)?.as_str()?));
        UNIQUE.into_iter().filter_map(value)
    }
}

/// How the users would be left with which a chunk has to do, by id. `is_remembered` says which steps the store would keep.
pub fn left(found: &[Found], planned: &Planned, is_remembered: impl Fn(&Step) -> bool) -> Vec<LeftUser> {
    let there: HashMap<Uuid, &Found> = found.iter().map(|user| (user.id, user)).collect();
    let mut left: BTreeMap<Uuid, LeftUser> = BTreeMap::new();
    for user in &planned.written {
        let before = there.get(&user.id);
        let version = user.version.1;
        let same = before.filter(|before| before.version == version);
        let after = LeftUser {
            id: user.id,
            version,
            stands_for: same.and_then(|before| before.stands_for),
            kept: before.map(|before| before.kept.clone()).unwrap_or_default(),
            given_back: before.map(|before| before.given_back.clone()).unwrap_or_default(),
            fields: Some(user.fields.clone().into_iter().collect()),
        };
        left.insert(user.id, after);
    }
    for (id, version, _) in &planned.deleted {
        let kept = there.get(id).map(|before| before.kept.clone()).unwrap_or_default();
        let given_back = there.get(id).map(|before| before.given_back.clone()).unwrap_or_default();
        let (version, stands_for, fields) = (*version, None, None);
        left.insert(*id, LeftUser { id: *id, version, stands_for, kept, given_back, fields });
    }
    for step in planned.steps.iter().filter(|step| is_remembered(step)) {
        let user = match left.entry(step.user) {
            Entry::Occupied(user) => user.into_mut(),
            Entry::Vacant(place) => match there.get(&step.user) {
                Some(before) => place.insert(LeftUser::of(before)),
                None => continue,
            },
        };
        user.stands_for = (user.version == step.version).then_some(step.stands_for);
        user.kept.extend(step.kept.iter().cloned());
        user.given_back.extend(step.given_back.clone());
    }
    left.into_values().collect()
}

/// Lays over the users that are there, by id, how a chunk of the plan would leave its users; of several chunks, the one that was planned
/// first comes first. Users that are not there are added where they are wanted. `planned` collects whose users these are.
pub fn lay_left_over(
    found: &mut BTreeMap<Uuid, Found>,
    left: Vec<LeftUser>,
    is_wanted: impl Fn(&LeftUser) -> bool,
    planned: &mut HashSet<Uuid>,
) {
    for user in left {
        let id = user.id;
        if !found.contains_key(&id) && !planned.contains(&id) && !is_wanted(&user) {
            continue;
        }
        planned.insert(id);
        match user.into_found() {
            Some(user) => drop(found.insert(id, user)),
            None => drop(found.remove(&id)),
        }
    }
}
