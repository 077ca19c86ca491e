//! What a request says, option by option, before anything of it is looked up.

use super::columns::ColumnChoices;
use super::values::OrAuto;
use crate::field::FieldTable;
use crate::id::ImportId;
use crate::options::{HeaderNames, ImportOptions};
use crate::parse::{Delimiter, Format, SkipLines, TextEncoding};

/// The share of a file's first records that may fail for one cause where no option says it, in percent.
pub const BRAKE: u8 = 50;

/// The values of all options of a request. What is not given is as it is by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OptionValues {
    pub(super) options: ImportOptions,
    pub(super) skip_lines: SkipLines,
    pub(super) brake: u8,
    pub(super) format: Option<Format>,
    pub(super) delimiter: Option<OrAuto<Delimiter>>,
    pub(super) encoding: Option<OrAuto<TextEncoding>>,
    pub(super) filename: Option<String>,
    pub(super) columns: ColumnChoices,
    /// What names meant in the import whose failed records the file brings again.
    pub(super) before: Option<FieldTable>,
    /// The profile that is still to be taken in.
    pub(super) profile: Option<String>,
    /// The import whose failed records the file brings again.
    pub(super) mends: Option<ImportId>,
}

impl Default for OptionValues {
    fn default() -> Self {
        Self {
            // People know the common names, programs their own.
            options: ImportOptions { header_names: HeaderNames::Common, ..ImportOptions::default() },
            skip_lines: SkipLines::default(),
            brake: BRAKE,
            format: None,
            delimiter: None,
            encoding: None,
            filename: None,
            columns: ColumnChoices::default(),
            before: None,
            profile: None,
            mends: None,
        }
    }
}
