//! An import as commands see it, whether it is in a store or behind a server: as the HTTP API shows it, without the addresses of its
//! parts, which only a server has.

use std::ops::Deref;

use muster_domain::progress::Progress;
use muster_producer::api::{FamilyView, ImportDetails, ImportLinks, ImportView};
use muster_store::reports::ImportReport;
use serde::{Deserialize, Serialize};

/// An import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "ImportDetails")]
pub(crate) struct View {
    #[serde(flatten)]
    pub(crate) import: ImportView,
    /// The import and those that brought its failed records again, where there are such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) family: Option<FamilyView>,
}

impl View {
    /// The same with the import's progress.
    pub(crate) fn with(self, progress: Option<Progress>) -> Self {
        Self { import: self.import.with(progress), family: self.family }
    }
}

impl Deref for View {
    type Target = ImportView;

    fn deref(&self) -> &ImportView {
        &self.import
    }
}

impl From<ImportDetails> for View {
    fn from(details: ImportDetails) -> Self {
        let ImportDetails { import, family, .. } = details;
        Self { family, ..import.into() }
    }
}

impl From<ImportView> for View {
    fn from(import: ImportView) -> Self {
        Self { import: ImportView { links: ImportLinks::default(), ..import }, family: None }
    }
}

impl From<ImportReport> for View {
    fn from(report: ImportReport) -> Self {
        ImportView::new(report, "").into()
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::options::ImportOptions;
    use muster_domain::outcome::Counts;
    use muster_store::reports::ChunkCounts;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_import_behind_a_server_is_printed_as_one_of_the_store() {
        let id = "0190a5f0-7b7c-7000-8000-000000000001";
        let mut answer = json!({
            "id": id, "state": "completed", "filename": "people.csv", "options": ImportOptions::default(),
            "counts": Counts { total: 2, inserted: 2, ..Counts::default() }, "chunks": ChunkCounts::default(),
            "created_at": "2026-01-31T09:30:00Z", "received_at": null, "started_at": null, "completed_at": null,
        });
        let printed = |answer: &Value| {
            let view: View = serde_json::from_value(answer.clone()).unwrap();
            assert_eq!((view.id.to_string().as_str(), view.counts.inserted), (id, 2));
            serde_json::to_value(&view).unwrap()
        };
        assert_eq!(printed(&answer), answer);
        let without = answer.clone();
        answer["links"] = json!({ "self": "http://a/1", "records": "http://a/1/records", "failed_csv": "", "failed_ndjson": "" });
        answer["skipped_by_reason"] = json!({ "exists": 1 });
        assert_eq!(printed(&answer), without);
    }
}
