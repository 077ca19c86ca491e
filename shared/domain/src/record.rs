//! Records as they move through the import: raw, with a position; then validated, with typed fields.

mod origin;
mod position;
mod raw;
mod secrets;
mod source;

pub use crate::normalise::REDACTED;
pub use crate::typed::{
    AgentValue, Extras, MetadataEntry, MetadataValue, NameChange, PassedBy, Password, Patch, Record,
};
pub use origin::{NoOrigin, ORIGIN_KEY, Origin};
pub use position::{Position, RecordNumber};
pub use raw::{FieldNames, NameId, RawField, RawRecord, RawValue};
pub(crate) use secrets::is_redacted;
pub use secrets::{Secrets, given_back, looks_secret, without_secrets};
pub use source::source_json;
