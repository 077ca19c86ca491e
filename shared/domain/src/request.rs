//! A request for an import: options by name, as they come in a query, a form or on the command line.
//!
//! Nothing is guessed: an option that is not known, is given twice or has a value that there is not is an error that says
//! what there is. [`OPTIONS`] has all that there is to know of each of them.

mod before;
mod columns;
mod option_values;
mod table;
#[cfg(test)]
mod tests;
mod values;

use sha2::{Digest, Sha256};

use crate::catalog::FieldError;
use crate::fault::{Mutant, mutant};
use crate::id::{ImportId, TenantId};
use crate::import_profile::{BUILTIN, Builtin};
use crate::options::{ImportOptions, Rows};
use crate::parse::{Dialect, Format, SkipLines, TextEncoding};
use crate::tenant::Slug;

use option_values::OptionValues;
use values::{OrAuto, invalid};

pub use columns::{as_object, pairs};
pub use option_values::BRAKE;
pub use table::{Answer, Flag, Group, ImportOption, Kind, NAMES, OPTIONS, Question, Section, Text, Usual};
pub use values::{checked_key, file_label, has_nul};

/// What a client asks for, before anything is looked up.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    values: OptionValues,
    given: Vec<String>,
}

/// What a request comes to without looking anything up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedImport {
    /// Its options, as they are stored.
    pub options: ImportOptions,
    /// How its file is written.
    pub dialect: Dialect,
    /// The share of the first records, in percent, that may fail for one cause; 0 for any.
    pub brake: u8,
}

/// Why a request is none for an import.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An option is not as it must be.
    #[error(transparent)]
    Invalid(#[from] FieldError),
    /// Neither the options nor the media type nor the file's name say which format the upload has.
    #[error("the format of the upload is not known: {}", .0.unwrap_or("name it with `format` (csv, json, ndjson, xlsx)"))]
    FormatUnknown(Option<&'static str>),
}

impl ImportRequest {
    /// A request of these options.
    ///
    /// # Errors
    ///
    /// At the first option that is not known, is given twice, or has a value that it may not have.
    ///
    /// ```
    /// use muster_domain::request::ImportRequest;
    ///
    /// let request = ImportRequest::from_pairs([("on_existing", "skip"), ("filename", "people.csv")])?;
    /// assert!(request.asked(None).is_ok_and(|asked| asked.options.on_existing.as_str() == "skip"));
    /// let error = ImportRequest::from_pairs([("on_existing", "replace")]).err();
    /// assert_eq!(error.map(|error| error.message).as_deref(), Some("must be one of: skip, update, enrol"));
    /// # Ok::<(), muster_domain::catalog::FieldError>(())
    /// ```
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, FieldError> {
        let mut request = Self::default();
        for (name, value) in pairs {
            request.set(name.as_ref(), value.as_ref())?;
        }
        Ok(request)
    }

    /// Sets one option. An option can be set once.
    ///
    /// # Errors
    ///
    /// Where it is not known, was set before, or the value is none that it may have.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let field = |message: String| invalid(name.chars().take(60).collect::<String>(), message);
        if self.given.iter().any(|given| given == name) {
            return Err(field("is given twice".into()));
        }
        if has_nul(value) {
            return Err(field("must not hold a NUL".into()));
        }
        let Some(option) = ImportOption::find(name) else {
            return Err(field(format!("there is no such option; there are: {}", NAMES.join(", "))));
        };
        (option.set)(&mut self.values, value).map_err(field)?;
        self.given.push(name.to_owned());
        Ok(())
    }

    /// The name of the uploaded file where no option names it.
    pub fn default_filename(&mut self, name: &str) {
        if self.values.filename.is_none() {
            self.values.filename = file_label(name);
        }
    }

    /// The file's label, if one is known.
    pub fn filename(&self) -> Option<&str> {
        self.values.filename.as_deref()
    }

    /// The import whose failed records the file brings again.
    pub fn mends(&self) -> Option<ImportId> {
        self.values.mends
    }

    /// The upload's format: from the options, else from the media type, else from the file's name.
    pub fn format(&self, media_type: Option<&str>) -> Option<Format> {
        self.values
            .format
            .or_else(|| media_type.and_then(Format::from_media_type))
            .or_else(|| self.filename().and_then(Format::from_file_name))
    }

    /// What the upload's text is in: from the options, else from the media type's charset.
    ///
    /// # Errors
    ///
    /// Where the media type has a charset that is not read.
    pub fn encoding(&self, media_type: Option<&str>) -> Result<Option<TextEncoding>, FieldError> {
        match (self.values.encoding, media_type) {
            (Some(OrAuto::Is(encoding)), _) => Ok(Some(encoding)),
            (Some(OrAuto::Auto), _) | (None, None) => Ok(None),
            (None, Some(media_type)) => TextEncoding::from_media_type(media_type).map_err(|_| {
                let message =
                    "its charset must be one of: utf-8, utf-16, utf-16le, utf-16be, iso-8859-1, windows-1252";
                invalid("Content-Type", message)
            }),
        }
    }

    /// The profile that it names.
    pub fn profile(&self) -> Option<&str> {
        self.values.profile.as_deref()
    }

    /// The name of a profile that only the tenant's store knows.
    pub fn tenants_profile(&self) -> Option<&str> {
        self.values.profile.as_deref().filter(|name| Builtin::find(name).is_none())
    }

    /// The request with the options of a profile, where it does not have its own.
    ///
    /// # Errors
    ///
    /// Where an option of the profile is not known to this program, or has a value that is not.
    pub fn with_options_of(&self, profile: &[(String, String)]) -> Result<Self, FieldError> {
        let mut all = self.clone();
        all.values.profile = None;
        for (name, value) in profile {
            match name.as_str() {
                "columns" => {
                    all.values.columns.default_columns(value).map_err(|message| invalid(name, message))?;
                }
                "behaviours" => {
                    all.values.columns.default_behaviours(value).map_err(|message| invalid(name, message))?;
                }
                name if self.given.iter().any(|given| given == name)
                    && !mutant(Mutant::ProfileCountsMore) => {}
                name => {
                    all.given.retain(|given| given != name);
                    all.set(name, value)?;
                }
            }
        }
        Ok(all)
    }

    /// The request for a file that brings failed records of another import again: where it does not say itself how values are read and
    /// what columns mean, that is as it was there. `columns`: the names of that import's file, in their order. A profile says it all.
    #[must_use]
    pub fn read_as_before(&self, before: &ImportOptions, columns: &[String]) -> Self {
        let mut all = self.clone();
        if self.values.profile.is_some() || mutant(Mutant::MendedReadAnew) {
            return all;
        }
        // All options are named, so that a new one is not forgotten.
        macro_rules! take_over {
            ($($option:ident)*; but not $($own:ident)*) => {
                let ImportOptions { $($option: _,)* $($own: _,)* } = before;
                $(
                    if !self.given.iter().any(|given| given == stringify!($option)) {
                        all.values.options.$option.clone_from(&before.$option);
                    }
                )*
            };
        }
        take_over!(
            identifier metadata empty_cells unknown_columns header_names sets values unknown_names phone_check
            usernames default_address dates full_names phone_country on_invalid_value list_separator null_words;
            but not format on_existing start on_invalid duplicates rows address_clash empty_file at sheet fields
            organization group enrolment undo
        );
        all.values.before =
            before.fields.as_ref().map(|table| before::by_names(table, columns, before.format));
        all
    }

    /// The options and how the file is read, with nothing looked up: what needs no store.
    ///
    /// # Errors
    ///
    /// Where the format is not known, the charset is not read, or the profile is neither built-in nor taken in.
    pub fn asked(&self, media_type: Option<&str>) -> Result<AskedImport, OptionsError> {
        if let Some(name) = &self.values.profile {
            let builtin = Builtin::find(name).ok_or_else(|| unknown_profile(name))?;
            return self.with_options_of(&builtin.pairs())?.asked(media_type);
        }
        let unknown = || OptionsError::FormatUnknown(self.filename().and_then(Format::advice_for_name));
        let mut options = self.values.options.clone();
        options.format = self.format(media_type).ok_or_else(unknown)?;
        options.fields = self.values.columns.table(self.values.before.as_ref(), options.format);
        let delimiter = match self.values.delimiter {
            None | Some(OrAuto::Auto) => None,
            Some(OrAuto::Is(delimiter)) => Some(delimiter),
        };
        let dialect = Dialect {
            delimiter,
            encoding: self.encoding(media_type)?,
            handmade: true,
            skip_lines: self.values.skip_lines,
            flexible: options.rows == Rows::Flexible,
            lax_quotes: false,
        };
        Ok(AskedImport { options, dialect, brake: self.values.brake })
    }

    /// The content of an idempotency key: the tenant and the options of the request, without the body, which arrives later. `options` are
    /// those of the request, with what they resolved to.
    pub fn fingerprint(
        &self,
        tenant: TenantId,
        options: &ImportOptions,
        encoding: Option<TextEncoding>,
    ) -> [u8; 32] {
        // All are named, so that a new one is not forgotten. The arguments have what options, charset, profile and columns resolved to.
        let OptionValues {
            delimiter,
            skip_lines,
            brake,
            mends,
            filename: _,
            options: _,
            format: _,
            encoding: _,
            columns: _,
            before: _,
            profile: _,
        } = &self.values;
        let delimiter = delimiter.map(|choice| match choice {
            OrAuto::Auto => "auto",
            OrAuto::Is(delimiter) => delimiter.as_str(),
        });
        let request = serde_json::json!(["POST /v1/imports", tenant, options, delimiter, self.filename()]);
        let mut hash = Sha256::new();
        hash.update(request.to_string());
        // If none is named, the keys of older requests stay valid.
        if let Some(encoding) = encoding {
            hash.update(encoding.as_str());
        }
        if *skip_lines != SkipLines::Refuse {
            hash.update(format!("{skip_lines:?}"));
        }
        if *brake != BRAKE {
            hash.update([*brake]);
        }
        if let Some(parent) = mends {
            hash.update(parent.get());
        }
        hash.finalize().into()
    }
}

/// There is no profile of this name.
pub fn unknown_profile(name: &str) -> FieldError {
    let builtin: Vec<&str> = BUILTIN.iter().map(|profile| profile.name).collect();
    let message = format!(
        "there is no profile `{name}`; `muster profile save` makes one, and the built-in ones are: {}",
        builtin.join(", ")
    );
    invalid("profile", message)
}

/// Whether these options can be saved as a profile, and its name.
///
/// # Errors
///
/// Where the name is no slug or that of a built-in profile, and where an option is of one file alone or not as it must be.
pub fn checked_profile(name: &str, options: &[(String, String)]) -> Result<Slug, FieldError> {
    let slug = name.parse::<Slug>().map_err(|error| invalid("name", error.to_string()))?;
    if Builtin::find(slug.as_str()).is_some() || slug.as_str() == "auto" {
        return Err(invalid("name", "is that of a built-in profile; choose another"));
    }
    let of_one_file = |name: &str| ImportOption::find(name).is_some_and(|option| !option.in_profiles);
    if let Some((name, _)) = options.iter().find(|(name, _)| of_one_file(name)) {
        let message = match name.as_str() {
            "format" => {
                "cannot be part of a profile: it is what the file is, by the ending of its name or its media type"
            }
            _ => "cannot be part of a profile",
        };
        return Err(invalid(name.clone(), message));
    }
    if options.iter().any(|(name, value)| name == "dates" && value == "auto") {
        return Err(invalid(
            "dates",
            "`auto` looks at one file, and a profile is for many: say `iso`, `dmy` or `mdy`",
        ));
    }
    ImportRequest::from_pairs(options.iter().map(|(name, value)| (name, value)))?;
    Ok(slug)
}

/// The options of a profile with those that are given beside it, which count more, as options of another profile. What is of one file alone is
/// left out.
///
/// # Errors
///
/// Where a list of columns or behaviours is none.
pub fn options_over(
    profile: &[(String, String)],
    given: &[(String, String)],
) -> Result<Vec<(String, String)>, FieldError> {
    let in_profiles = |name: &str| ImportOption::find(name).is_none_or(|option| option.in_profiles);
    let mut all: Vec<(String, String)> =
        given.iter().filter(|(name, _)| in_profiles(name)).cloned().collect();
    for (name, under) in profile {
        match all.iter_mut().find(|(given, _)| given == name) {
            Some((_, over)) if matches!(name.as_str(), "columns" | "behaviours") => {
                if !mutant(Mutant::GivenColumnsAlone) {
                    *over = columns::joined(under, over).map_err(|message| invalid(name.clone(), message))?;
                }
            }
            Some(_) => {}
            None => all.push((name.clone(), under.clone())),
        }
    }
    Ok(all)
}
