//! What a server answers, where commands read less of it than the API's own types have.

use serde::Deserialize;

/// The readiness of a server, of any version.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Readiness {
    pub(crate) status: String,
    pub(crate) reasons: Vec<String>,
}
