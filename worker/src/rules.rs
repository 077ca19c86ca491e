//! The rules of imports, remembered: most chunks of a worker are of few imports.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use muster_shared::fault::{self, Point};
use muster_shared::id::ImportId;
use muster_shared::options::NewerOptions;
use muster_shared::rules::Rules;
use muster_shared::store::{Connection, StoreError, apply};

/// Imports whose rules are remembered.
const REMEMBERED: usize = 1_000;

/// What is known of an import's rules.
pub(crate) enum Known {
    /// Them.
    Rules(Arc<Rules>),
    /// A newer program wrote the options.
    Newer(NewerOptions),
    /// There is no such import.
    Missing,
}

/// The cache. Options never change once an import is there.
#[derive(Debug, Default)]
pub(crate) struct RulesCache(Mutex<HashMap<ImportId, Arc<Rules>>>);

impl RulesCache {
    /// The rules of an import, read over this connection where they are not known yet.
    pub(crate) async fn of(
        &self,
        connection: &mut Connection,
        import: ImportId,
    ) -> Result<Known, StoreError> {
        fault::point(Point::Rules)?;
        let known = self.lock().get(&import).cloned();
        if let Some(rules) = known {
            return Ok(Known::Rules(rules));
        }
        let options = match apply::options(connection, import).await? {
            Some(Ok(options)) => options,
            Some(Err(newer)) => return Ok(Known::Newer(newer)),
            None => return Ok(Known::Missing),
        };
        let rules = Arc::new(Rules::new(options));
        let mut cache = self.lock();
        if cache.len() >= REMEMBERED {
            cache.clear();
        }
        cache.insert(import, rules.clone());
        Ok(Known::Rules(rules))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ImportId, Arc<Rules>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
