//! What an import changed, and how it is taken back: before-images and the three-way rule. Pure.
//!
//! A [`Change`] is what one application of a chunk did to one user: field by field what it had and what it was left with. A chunk's
//! changes are its before-images. They hold no password hash and no TOTP secret: these are in a table of their own, which nothing here
//! reads. A value of the metadata stands in them as it stands in the user, also under a name that looks like one of a secret
//! (`custom__api_key`), which chunks of an import hold sealed.
//!
//! An undo is an import whose records are the changes of the import that it undoes, the last change first. What it does to a user is
//! decided field by field ([`plan`]): where a field still is as the import left it, it gets what it had before; else it is left alone
//! and told. A user that the import inserted is deleted if nothing touched it since.

mod change;
mod fit;
mod flat;
mod images;
mod left;
mod plan;

pub use crate::undo_limits::{NoUndoCode, RecordRanges, Undo, UndoCode};
pub use change::{Change, Kind, changes, encode};
pub use change::{at, names, record_fields, texts};
pub use flat::{Flat, Row, flat_profile, flat_user, is_membership, membership_path, put_differences, row_of};
pub(crate) use flat::{kept_alike, objects_kept_alike, same};
pub use images::Images;
pub use left::{LeftUser, lay_left_over, left};
pub use plan::{Found, Kept, Places, Planned, Step, Told, Written, plan};
