//! The rules that follow from an import's options and its tenant's catalog. They are computed once for each
//! import, and used by validate and plan.

use std::collections::{BTreeMap, HashMap};

use crate::catalog::{AttributeDefinition, CatalogKind};
use crate::field::{FieldSet, FieldTable};
use crate::normalise::fold_name;
use crate::options::{ImportOptions, Values};

/// The rules that the records of an import are put through.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What the import is asked to do.
    pub options: ImportOptions,
    /// What the tenant knows by name. Empty until it is needed and read.
    pub catalog: CatalogIndex,
    table: FieldTable,
    ignored: FieldSet,
}

/// A tenant's catalog, to be looked up in.
#[derive(Debug, Clone, Default)]
pub struct CatalogIndex {
    /// Ids by folded name, a map a kind.
    names: HashMap<CatalogKind, HashMap<String, i32>>,
    /// Definitions of custom attributes.
    pub attributes: BTreeMap<String, AttributeDefinition>,
    /// Most chats at a time that a user may be given.
    pub max_chat_limit: Option<u32>,
}

impl CatalogIndex {
    /// Adds a name under its folded form.
    pub fn insert(&mut self, kind: CatalogKind, key: String, id: i32) {
        self.names.entry(kind).or_default().insert(key, id);
    }

    /// The id of a name, in whatever case and form it is written.
    pub fn find(&self, kind: CatalogKind, name: &str) -> Option<i32> {
        self.names.get(&kind)?.get(&*fold_name(name)).copied()
    }
}

impl Rules {
    /// Rules for these options, with an empty catalog.
    pub fn new(options: ImportOptions) -> Self {
        let table = options.fields.clone().unwrap_or_else(FieldTable::native);
        Self { ignored: table.ignored(), table, options, catalog: CatalogIndex::default() }
    }

    /// The same with a catalog.
    #[must_use]
    pub fn with_catalog(mut self, catalog: CatalogIndex) -> Self {
        self.catalog = catalog;
        self
    }

    /// The names that are known.
    pub fn table(&self) -> &FieldTable {
        &self.table
    }

    /// Fields that leave an existing user's as it is.
    pub fn ignored(&self) -> FieldSet {
        self.ignored
    }

    /// Whether numbers and yes-or-no may come as text.
    pub fn lenient(&self) -> bool {
        self.options.format.is_table() || self.options.values == Values::Lenient
    }
}
