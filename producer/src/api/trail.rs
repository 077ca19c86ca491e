//! Data about a request, collected for the log.

use std::sync::{Arc, OnceLock};

use muster_domain::id::{TenantId, TokenId};
use muster_domain::token::Credential;

/// Whose request it is, once that is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail(pub(super) Arc<OnceLock<(TenantId, Option<TokenId>)>>);

impl Trail {
    /// Whose request it is.
    pub(super) fn found(&self, credential: &Credential) {
        let _ = self.0.set((credential.tenant_id, Some(credential.token_id)));
    }

    /// The same of a request that was not authorised by a token of ours.
    pub(super) fn found_tenant(&self, tenant: TenantId) {
        let _ = self.0.set((tenant, None));
    }
}
