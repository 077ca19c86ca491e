//! What a server answers, where the API's own types do not say it already.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use muster_domain::id::ImportId;
use muster_domain::user::User;
use serde::{Deserialize, Serialize};

use crate::view::View;

/// A page of imports.
#[derive(Deserialize)]
pub(crate) struct ImportsPage {
    pub(crate) imports: Vec<View>,
    #[serde(default)]
    pub(crate) next: Option<ImportId>,
}

/// What a server reports of an import beyond its counts.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ServerDetails {
    #[serde(default)]
    pub(crate) skipped_by_reason: BTreeMap<String, u64>,
}

/// A tenant's profile, in the API's shape.
#[derive(Debug, Deserialize)]
pub(crate) struct Own {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) built_in: Option<String>,
    pub(crate) options: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) updated_at: Option<DateTime<Utc>>,
}

impl Own {
    /// As an upload names them.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        self.options.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// Profiles, in the API's shape.
#[derive(Deserialize)]
pub(crate) struct Profiles {
    pub(crate) profiles: Vec<Own>,
}

/// A page of users.
#[derive(Deserialize)]
pub(crate) struct UsersPage {
    pub(crate) users: Vec<User>,
    #[serde(default)]
    pub(crate) next: Option<String>,
}

/// What was erased, in the API's shape.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Erased {
    pub(crate) users: u64,
    pub(crate) records: u64,
    pub(crate) mentions: u64,
    #[serde(default)]
    pub(crate) changes: u64,
}

/// The readiness of a server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Readiness {
    pub(crate) status: String,
    pub(crate) reasons: Vec<String>,
}
