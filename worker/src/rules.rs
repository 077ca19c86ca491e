//! A cache of the rules of imports and of the names of their tenants, since most chunks of a worker belong to few imports. The rules
//! themselves are [`Rules`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{GroupId, ImportId, TenantId};
use muster_domain::options::NewerOptions;
use muster_domain::rules::Rules;
use muster_store::{Connection, StoreError, apply};

/// Imports whose rules are remembered.
const REMEMBERED: usize = 1_000;

/// The cached rules of an import.
pub(crate) enum Known {
    /// Them.
    Rules(Arc<Rules>),
    /// A newer program wrote the options.
    Newer(NewerOptions),
    /// There is no such import.
    Missing,
}

/// The `group_id` of an enrolment in an organization alone.
const NO_GROUP: i32 = 0;

/// The cache. Options never change once an import is there, but for the number of its group, and tenants keep their names.
#[derive(Debug, Default)]
pub(crate) struct RulesCache(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    rules: HashMap<ImportId, Arc<Rules>>,
    tenants: HashMap<TenantId, Arc<str>>,
}

impl RulesCache {
    /// The rules of an import, read over this connection where they are not known yet.
    pub(crate) async fn of(
        &self,
        connection: &mut Connection,
        import: ImportId,
    ) -> Result<Known, StoreError> {
        fault::point(Point::Rules)?;
        let known = self.lock().rules.get(&import).cloned();
        if let Some(rules) = known {
            return Ok(Known::Rules(rules));
        }
        let Some(found) = apply::import(connection, import).await? else { return Ok(Known::Missing) };
        let mut cache = self.lock();
        if cache.tenants.len() >= REMEMBERED {
            cache.tenants.clear();
        }
        cache.tenants.insert(found.tenant, found.tenant_slug.into());
        let rules = match found.options {
            Ok(options) => Arc::new(Rules::new(options)),
            Err(newer) => return Ok(Known::Newer(newer)),
        };
        // A group that is still to be made gets its number when the plan is applied. And a database that was restored, or a standby that
        // had not heard everything, may have forgotten that and give the number to another group.
        let group = rules.options.enrolment.map_or(NO_GROUP, |place| place.group_id);
        let is_remembered = group == NO_GROUP
            || (fault::mutant(Mutant::RulesOutliveTheirDatabase) && group != GroupId::PLANNED.get());
        if !is_remembered {
            return Ok(Known::Rules(rules));
        }
        if cache.rules.len() >= REMEMBERED {
            cache.rules.clear();
        }
        cache.rules.insert(import, rules.clone());
        Ok(Known::Rules(rules))
    }

    /// The name of a tenant, as far as it is known.
    pub(crate) fn tenant_name(&self, tenant: TenantId) -> Option<Arc<str>> {
        self.lock().tenants.get(&tenant).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
