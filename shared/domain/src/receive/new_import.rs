//! What is known of an import before the first byte of its file was read.

use crate::id::{ImportId, TenantId};
use crate::options::ImportOptions;

/// A new import.
#[derive(Debug, Clone)]
pub struct NewImport {
    /// Id.
    pub id: ImportId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Name of the file, a label and never a path.
    pub filename: Option<String>,
    /// What it is asked to do.
    pub options: ImportOptions,
    /// The client's key for this request, and the SHA-256 of what the key stands for.
    pub idempotency: Option<(String, [u8; 32])>,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Where an import comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The tenant's import whose failed records it brings again, where that was said.
    pub mends: Option<ImportId>,
    /// Who sends it: `token:` and the id of the token, or `operator`.
    pub actor: Option<String>,
    /// The profile whose options it has, where one was named.
    pub profile: Option<String>,
}
