//! What an import changed and how it is undone: before-images and the three-way rule. Pure.
//!
//! A [`Change`] is what one application of a chunk did to one user: for each field the value before and the value after. A chunk's
//! changes are its before-images. They hold no password hash and no TOTP secret: these are in a table of their own, which nothing here
//! reads. A value of the metadata stands in them as it stands in the user, also under a name that looks like one of a secret
//! (`custom__api_key`), which chunks of an import hold sealed.
//!
//! An undo is an import whose records are the changes of the import that it undoes, the last change first.
//! Its effect on a user is decided field by field ([`plan`]): a field that is still as the import left it
//! gets its earlier value. Any other field is left as it is and reported. A user that the import inserted is
//! deleted if nothing changed it since.

mod change;
mod fit;
mod flat;
mod found;
mod images;
mod left;
mod lost;
mod plan;
mod told;
mod untouched;

pub use crate::undo_limits::{NoUndoCode, RecordRanges, Undo, UndoCode, names_field};
pub use change::{Change, Kind, changes, encode};
pub use change::{at, names, record_fields, texts};
pub use flat::{Flat, Row, flat_profile, flat_user, is_membership, membership_path, put_differences, row_of};
pub(crate) use flat::{kept_alike, objects_kept_alike, same};
pub use found::{Back, Found, GivenBack, LEFT_OUT, Step, add_given_back};
pub use images::Images;
pub use left::{LeftUser, lay_left_over, left};
pub use lost::{Lost, Named, named};
pub use plan::{Places, Planned, Written, plan, plan_without};
pub use told::{ChangeResult, Kept, Why};
pub use untouched::deletable;
