//! A request for an import: options by name, as they come in a query, a form or on the command line, made into a [`NewImport`].
//!
//! Nothing is guessed: an option that is not known, is given twice or has a value that there is not is an error that says
//! what there is. Names of the catalog are looked up here, so that a typo shows before the first byte is received.

mod fields;
mod values;

use muster_domain::catalog::FieldError;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{GroupId, ImportId, OrganizationId, TenantId};
use muster_domain::import_profile::{BUILTIN, Builtin};
use muster_domain::options::{Enrolment, HeaderNames, ImportOptions, OnExisting};
use muster_domain::parse::{Delimiter, Format, ParseLimits, SkipLines, TextEncoding};
use muster_domain::tenant::Slug;
use muster_store::intake::{NewImport, Provenance};
use muster_store::{Store, StoreError, catalog, family, import_profiles};
use sha2::{Digest, Sha256};

use fields::FieldChoices;
pub(crate) use fields::{as_object, pairs};
pub(crate) use values::{checked_key, file_label};
use values::{choice, country, group_name, invalid, null_words, pointer, profile_name, sheet};

/// Every option there is, in the order of the help texts.
pub const OPTIONS: [&str; 36] = [
    "profile",
    "format",
    "identifier",
    "on_existing",
    "metadata",
    "organization",
    "group",
    "start",
    "on_invalid",
    "brake",
    "unknown_columns",
    "header_names",
    "skip_lines",
    "at",
    "sheet",
    "empty_cells",
    "rows",
    "delimiter",
    "encoding",
    "columns",
    "behaviours",
    "sets",
    "values",
    "unknown_names",
    "duplicates",
    "phone_check",
    "phone_country",
    "dates",
    "full_names",
    "on_invalid_value",
    "list_separator",
    "null_words",
    "usernames",
    "default_address",
    "filename",
    "mends",
];

/// The share of a file's first records that may fail for one cause where no option says it, in percent.
pub const BRAKE: u8 = 50;

/// What a client asks for, before anything is looked up.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    options: ImportOptions,
    skip_lines: SkipLines,
    brake: u8,
    format: Option<Format>,
    delimiter: Option<DelimiterChoice>,
    encoding: Option<EncodingChoice>,
    filename: Option<String>,
    fields: FieldChoices,
    given: Vec<String>,
    /// The profile that is still to be taken in.
    profile: Option<String>,
    /// The import whose failed records the file brings again.
    mends: Option<ImportId>,
}

impl Default for ImportRequest {
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
            fields: FieldChoices::default(),
            given: Vec::new(),
            profile: None,
            mends: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DelimiterChoice {
    Auto,
    Is(Delimiter),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EncodingChoice {
    Auto,
    Is(TextEncoding),
}

/// Why a request cannot become an import.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// An option is not as it must be.
    #[error(transparent)]
    Invalid(#[from] FieldError),
    /// Neither the options nor the media type nor the file's name say which format the upload has.
    #[error("the format of the upload is not known: {}", .0.unwrap_or("name it with `format` (csv, json, ndjson, xlsx)"))]
    FormatUnknown(Option<&'static str>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request whose names are looked up: ready for [`receive::begin`](crate::receive::begin).
#[derive(Debug, Clone)]
pub struct ResolvedImport {
    /// The import.
    pub import: NewImport,
    /// How its file is read.
    pub reading: Reading,
}

/// What a request says of the way its file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What ends a CSV cell; `None` to tell it from the header line.
    pub delimiter: Option<Delimiter>,
    /// What its text is in; `None` to tell it from the byte order mark.
    pub encoding: Option<TextEncoding>,
    /// What to skip before a table's header.
    pub skip_lines: SkipLines,
    /// People made the file.
    pub handmade: bool,
    /// Stray quotes in CSV cells are text.
    pub lax_quotes: bool,
    /// The share of the first records, in percent, that may fail for one cause; 0 for any.
    pub brake: u8,
}

impl Reading {
    /// A program's table, as its documentation says.
    pub const PLAIN_TABLE: Self = Self {
        delimiter: Some(Delimiter::Comma),
        encoding: None,
        skip_lines: SkipLines::Told,
        handmade: false,
        lax_quotes: false,
        brake: 0,
    };

    /// The bounds of the parse step with what the request says.
    #[must_use]
    pub fn limits(self, limits: ParseLimits) -> ParseLimits {
        let Self { delimiter, encoding, skip_lines, handmade, lax_quotes, brake: _ } = self;
        ParseLimits { delimiter, encoding, skip_lines, handmade, lax_quotes, ..limits }
    }
}

impl ImportRequest {
    /// A request of these options.
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
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let field = |message: String| invalid(name.chars().take(60).collect::<String>(), message);
        if self.given.iter().any(|given| given == name) {
            return Err(field("is given twice".into()));
        }
        if has_nul(value) {
            return Err(field("must not hold a NUL".into()));
        }
        match name {
            "profile" => self.profile = Some(profile_name(value).map_err(field)?),
            "format" => self.format = Some(choice(name, value)?),
            "identifier" => self.options.identifier = choice(name, value)?,
            "on_existing" => self.options.on_existing = choice(name, value)?,
            "metadata" => self.options.metadata = choice(name, value)?,
            "organization" => {
                self.options.organization =
                    Some(value.parse::<Slug>().map_err(|e| field(e.to_string()))?.as_str().to_owned())
            }
            "group" => self.options.group = Some(group_name(value).map_err(field)?),
            "start" => self.options.start = choice(name, value)?,
            "on_invalid" => self.options.on_invalid = choice(name, value)?,
            "brake" => {
                self.brake = match value.parse() {
                    Ok(percent @ 0..=100) => percent,
                    _ => return Err(field("must be a share in percent, from 0 (off) to 100".into())),
                };
            }
            "unknown_columns" => self.options.unknown_columns = choice(name, value)?,
            "header_names" => self.options.header_names = choice(name, value)?,
            "at" => self.options.at = Some(pointer(value).map_err(field)?),
            "sheet" => self.options.sheet = Some(sheet(value).map_err(field)?),
            "skip_lines" => self.skip_lines = choice(name, value)?,
            "empty_cells" => self.options.empty_cells = choice(name, value)?,
            "rows" => self.options.rows = choice(name, value)?,
            "columns" => self.fields.set_columns(value)?,
            "behaviours" => self.fields.set_behaviours(value)?,
            "sets" => self.options.sets = choice(name, value)?,
            "values" => self.options.values = choice(name, value)?,
            "unknown_names" => self.options.unknown_names = choice(name, value)?,
            "duplicates" => self.options.duplicates = choice(name, value)?,
            "phone_check" => self.options.phone_check = choice(name, value)?,
            "phone_country" => self.options.phone_country = Some(country(value).map_err(field)?),
            "dates" => self.options.dates = choice(name, value)?,
            "full_names" => self.options.full_names = choice(name, value)?,
            "on_invalid_value" => self.options.on_invalid_value = choice(name, value)?,
            "list_separator" => self.options.list_separator = choice(name, value)?,
            "null_words" => self.options.null_words = null_words(value).map_err(field)?,
            "usernames" => self.options.usernames = choice(name, value)?,
            "default_address" => {
                self.options.default_address =
                    value.parse().map_err(|_| field("must be one of: true, false".into()))?;
            }
            "delimiter" if value == "auto" => self.delimiter = Some(DelimiterChoice::Auto),
            "delimiter" => {
                let delimiter = value
                    .parse()
                    .map_err(|_| field("must be one of: comma, semicolon, tab, pipe, auto".into()))?;
                self.delimiter = Some(DelimiterChoice::Is(delimiter));
            }
            "encoding" if value == "auto" => self.encoding = Some(EncodingChoice::Auto),
            "encoding" => {
                let encoding = value.parse().map_err(|_| {
                    field("must be one of: auto, utf-8, utf-16le, utf-16be, latin1, windows-1252".into())
                })?;
                self.encoding = Some(EncodingChoice::Is(encoding));
            }
            "filename" => self.filename = file_label(value),
            "mends" => {
                let id = value.parse().map_err(|_| field("must be the id of an import".into()))?;
                self.mends = Some(id);
            }
            _ => return Err(field(format!("there is no such option; there are: {}", OPTIONS.join(", ")))),
        }
        self.given.push(name.to_owned());
        Ok(())
    }

    /// The name of the uploaded file where no option names it.
    pub fn default_filename(&mut self, name: &str) {
        if self.filename.is_none() {
            self.filename = file_label(name);
        }
    }

    /// The file's label, if one is known.
    pub fn filename(&self) -> Option<&str> {
        self.filename.as_deref()
    }

    /// The upload's format: from the options, else from the media type, else from the file's name.
    pub fn format(&self, media_type: Option<&str>) -> Option<Format> {
        self.format
            .or_else(|| media_type.and_then(Format::from_media_type))
            .or_else(|| self.filename.as_deref().and_then(Format::from_file_name))
    }

    fn format_unknown(&self) -> RequestError {
        RequestError::FormatUnknown(self.filename.as_deref().and_then(Format::advice_for_name))
    }

    /// What the upload's text is in: from the options, else from the media type's charset.
    pub fn encoding(&self, media_type: Option<&str>) -> Result<Option<TextEncoding>, FieldError> {
        match (self.encoding, media_type) {
            (Some(EncodingChoice::Is(encoding)), _) => Ok(Some(encoding)),
            (Some(EncodingChoice::Auto), _) | (None, None) => Ok(None),
            (None, Some(media_type)) => TextEncoding::from_media_type(media_type).map_err(|_| {
                let message =
                    "its charset must be one of: utf-8, utf-16, utf-16le, utf-16be, iso-8859-1, windows-1252";
                invalid("Content-Type", message)
            }),
        }
    }

    /// Looks up what the request names, and makes it an import with this id.
    ///
    /// A group that the catalog lacks is created; an organization is not.
    pub async fn resolve(
        &self,
        store: &Store,
        tenant: TenantId,
        id: ImportId,
        media_type: Option<&str>,
        idempotency_key: Option<&str>,
    ) -> Result<ResolvedImport, RequestError> {
        let this = self.with_profile(store, tenant).await?;
        let (mut options, reading) = this.reading(media_type)?;
        let encoding = reading.encoding;
        let idempotency = match idempotency_key {
            Some(key) => Some((checked_key(key)?, this.fingerprint(tenant, &options, encoding))),
            None => None,
        };
        if let Some(organization) = this.organization(store, tenant, &mut options).await? {
            let group = match &options.group {
                Some(name) => catalog::ensure_group(store, tenant, name).await?,
                None => GroupId::NONE,
            };
            options.enrolment =
                Some(Enrolment { organization_id: organization.get(), group_id: group.get() });
        }
        if let Some(parent) = this.mends
            && !family::can_be_mended(store, tenant, parent).await?
        {
            return Err(invalid("mends", "must be the id of an import of this tenant, and of no undo").into());
        }
        let provenance = Provenance { mends: this.mends, actor: None, profile: self.profile.clone() };
        let filename = this.filename.clone();
        let import = NewImport { id, tenant, filename, options, idempotency, provenance };
        Ok(ResolvedImport { import, reading })
    }

    /// The name of a profile that only the tenant's store knows.
    pub fn tenants_profile(&self) -> Option<&str> {
        self.profile.as_deref().filter(|name| Builtin::find(name).is_none())
    }

    /// The request with its profile's options, where it names one. What is given beside the profile counts more.
    pub async fn with_profile(&self, store: &Store, tenant: TenantId) -> Result<Self, RequestError> {
        let Some(name) = self.tenants_profile() else { return Ok(self.clone()) };
        let slug = name.parse::<Slug>().map_err(|error| invalid("profile", error.to_string()))?;
        match import_profiles::get(&mut *store.reading(tenant).await?, tenant, &slug).await? {
            Some(saved) => Ok(self.with_options_of(&saved.options)?),
            None => Err(unknown_profile(name).into()),
        }
    }

    /// The request with the options of a profile, where it does not have its own.
    pub fn with_options_of(&self, profile: &[(String, String)]) -> Result<Self, FieldError> {
        let mut all = Self { profile: None, ..self.clone() };
        let given = all.given.clone();
        for (name, value) in profile {
            match name.as_str() {
                "columns" => all.fields.default_columns(value)?,
                "behaviours" => all.fields.default_behaviours(value)?,
                name if given.iter().any(|given| given == name) && !mutant(Mutant::ProfileCountsMore) => {}
                name => {
                    all.given.retain(|given| given != name);
                    all.set(name, value)?;
                }
            }
        }
        Ok(all)
    }

    /// The options and how the file is read, with nothing looked up: what needs no store.
    pub fn reading(&self, media_type: Option<&str>) -> Result<(ImportOptions, Reading), RequestError> {
        if let Some(name) = &self.profile {
            let builtin = Builtin::find(name).ok_or_else(|| unknown_profile(name))?;
            return self.with_options_of(&builtin.pairs())?.reading(media_type);
        }
        let mut options = self.options.clone();
        options.format = self.format(media_type).ok_or_else(|| self.format_unknown())?;
        options.fields = self.fields.table(options.format);
        let delimiter = match self.delimiter {
            None | Some(DelimiterChoice::Auto) => None,
            Some(DelimiterChoice::Is(delimiter)) => Some(delimiter),
        };
        let reading = Reading {
            delimiter,
            encoding: self.encoding(media_type)?,
            skip_lines: self.skip_lines,
            handmade: true,
            lax_quotes: false,
            brake: self.brake,
        };
        Ok((options, reading))
    }

    /// The organization that users are enrolled in: the one named, or where one is needed the tenant's only one.
    async fn organization(
        &self,
        store: &Store,
        tenant: TenantId,
        options: &mut ImportOptions,
    ) -> Result<Option<OrganizationId>, RequestError> {
        if options.organization.is_none() {
            let needs = match (&options.group, options.on_existing) {
                (Some(_), _) => "a group is in an organization",
                (None, OnExisting::Enrol) => "`on_existing=enrol` enrols users in an organization",
                (None, OnExisting::Skip | OnExisting::Update) => return Ok(None),
            };
            let mut there = catalog::get(store, tenant).await?.organizations;
            match (there.pop(), there.is_empty()) {
                (Some(only), true) => options.organization = Some(only.slug),
                _ => return Err(invalid("organization", format!("{needs}: name it")).into()),
            }
        }
        let slug = options.organization.as_deref().and_then(|slug| slug.parse::<Slug>().ok());
        let found = match slug {
            Some(slug) => catalog::find_organization(store.pool(), tenant, &slug).await?,
            None => None,
        };
        match found {
            Some((id, _)) => Ok(Some(id)),
            None => {
                let named: String =
                    options.organization.as_deref().unwrap_or_default().chars().take(60).collect();
                let message = format!(
                    "the catalog has no organization `{named}`; `muster catalog apply` (PUT /v1/catalog) makes it"
                );
                Err(invalid("organization", message).into())
            }
        }
    }

    /// What an idempotency key stands for: whose request it is and what it asks, the body apart, which is still to come.
    fn fingerprint(
        &self,
        tenant: TenantId,
        options: &ImportOptions,
        encoding: Option<TextEncoding>,
    ) -> [u8; 32] {
        let delimiter = self.delimiter.map(|choice| match choice {
            DelimiterChoice::Auto => "auto",
            DelimiterChoice::Is(delimiter) => delimiter.as_str(),
        });
        let request = serde_json::json!(["POST /v1/imports", tenant, options, delimiter, self.filename]);
        let mut hash = Sha256::new();
        hash.update(request.to_string());
        // Where none is named, keys of requests from before there was a choice stay good.
        if let Some(encoding) = encoding {
            hash.update(encoding.as_str());
        }
        if self.skip_lines != SkipLines::Told {
            hash.update(format!("{:?}", self.skip_lines));
        }
        if self.brake != BRAKE {
            hash.update([self.brake]);
        }
        if let Some(parent) = self.mends {
            hash.update(parent.get());
        }
        hash.finalize().into()
    }
}

fn unknown_profile(name: &str) -> FieldError {
    let builtin: Vec<&str> = BUILTIN.iter().map(|profile| profile.name).collect();
    let message = format!(
        "there is no profile `{name}`; `muster profile save` makes one, and the built-in ones are: {}",
        builtin.join(", ")
    );
    invalid("profile", message)
}

/// Whether a text holds a character that no text of the database may hold.
pub(crate) fn has_nul(text: &str) -> bool {
    text.contains('\0') && !mutant(Mutant::NulInParameters)
}

/// Options that are of one file alone, and stand in no profile.
const OF_ONE_FILE: [&str; 4] = ["profile", "filename", "format", "mends"];

/// Why another profile is not saved.
pub fn too_many_profiles() -> String {
    format!(
        "the tenant has {} profiles, and may have no more: delete one, or replace one",
        import_profiles::MOST
    )
}

/// Whether these options can be saved as a profile, and its name.
pub fn checked_profile(name: &str, options: &[(String, String)]) -> Result<Slug, FieldError> {
    let slug = name.parse::<Slug>().map_err(|error| invalid("name", error.to_string()))?;
    if Builtin::find(slug.as_str()).is_some() || slug.as_str() == "auto" {
        return Err(invalid("name", "is that of a built-in profile; choose another"));
    }
    if let Some((name, _)) = options.iter().find(|(name, _)| OF_ONE_FILE.contains(&name.as_str())) {
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
pub(crate) fn options_over(
    profile: &[(String, String)],
    given: &[(String, String)],
) -> Result<Vec<(String, String)>, FieldError> {
    let mut all: Vec<(String, String)> =
        given.iter().filter(|(name, _)| !OF_ONE_FILE.contains(&name.as_str())).cloned().collect();
    for (name, under) in profile {
        match all.iter_mut().find(|(given, _)| given == name) {
            Some((_, over)) if matches!(name.as_str(), "columns" | "behaviours") => {
                if !mutant(Mutant::GivenColumnsAlone) {
                    *over = fields::joined(name, under, over)?;
                }
            }
            Some(_) => {}
            None => all.push((name.clone(), under.clone())),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use muster_domain::error::ErrorCode;
    use muster_domain::field::Field;
    use muster_domain::options::UnknownColumns;

    use super::*;

    fn refused(pairs: &[(&str, &str)]) -> FieldError {
        ImportRequest::from_pairs(pairs.iter().copied()).unwrap_err()
    }

    #[test]
    fn an_option_that_cannot_be_taken_says_what_there_is() {
        let error = refused(&[("on_existing", "replace")]);
        assert_eq!((error.code, error.field.as_str()), (ErrorCode::InvalidRequest, "on_existing"));
        assert_eq!(error.message, "must be one of: skip, update, enrol");
        assert!(refused(&[("tenant", "other")]).message.contains("on_invalid"));
        assert_eq!(refused(&[("start", "auto"), ("start", "auto")]).message, "is given twice");
        assert_eq!(refused(&[("delimiter", "x")]).field, "delimiter");
        assert!(refused(&[("encoding", "ebcdic")]).message.contains("windows-1252"));
        assert_eq!(refused(&[("organization", "a b")]).field, "organization");
        assert_eq!(refused(&[("group", "\u{202e}")]).field, "group");
        assert!(refused(&[("format", "xml")]).message.contains("ndjson"));
    }

    #[test]
    fn built_in_profiles_can_be_taken_and_what_is_given_counts_more() {
        for profile in BUILTIN {
            let asked = ImportRequest::from_pairs([("profile", profile.name), ("format", "csv")]).unwrap();
            let (options, _) = asked.reading(None).unwrap();
            assert_eq!(options.unknown_columns, UnknownColumns::Metadata, "{}", profile.name);
        }
        let given = [
            ("profile", "slack"),
            ("format", "csv"),
            ("unknown_columns", "ignore"),
            ("columns", "FullName=nickname,x=email"),
        ];
        let (options, _) = ImportRequest::from_pairs(given).unwrap().reading(None).unwrap();
        assert_eq!(options.unknown_columns, UnknownColumns::Ignore);
        let table = options.fields.unwrap();
        let field = |name: &str| table.find(name).map(|rule| rule.field);
        assert_eq!((field("fullname"), field("x")), (Some(Field::Nickname), Some(Field::Email)));
        assert_eq!(field("displayname"), Some(Field::Nickname));
        assert!(refused(&[("profile", "auto")]).message.contains("muster inspect"));
        let unknown = ImportRequest::from_pairs([("profile", "hr")]).unwrap().reading(None).unwrap_err();
        assert!(unknown.to_string().contains("google-workspace"));
        let pairs = |name: &str| vec![(name.to_owned(), "x".to_owned())];
        assert_eq!(checked_profile("slack", &[]).unwrap_err().field, "name");
        assert_eq!(checked_profile("hr", &pairs("filename")).unwrap_err().field, "filename");
        assert_eq!(checked_profile("hr", &pairs("dates")).unwrap_err().field, "dates");
        let auto = [("dates".to_owned(), "auto".to_owned())];
        assert!(checked_profile("hr", &auto).unwrap_err().message.contains("a profile is for many"));
        assert_eq!(checked_profile("HR", &[]).unwrap().as_str(), "hr");
    }

    #[test]
    fn every_option_is_known_under_its_name() {
        for name in OPTIONS {
            if let Err(error) = ImportRequest::default().set(name, "") {
                assert!(!error.message.contains("no such option"), "{name}");
            }
        }
    }

    #[test]
    fn the_format_is_told_by_option_then_media_type_then_name() {
        let named = ImportRequest::from_pairs([("filename", "a.ndjson.gz")]).unwrap();
        assert_eq!(named.format(Some("application/octet-stream")), Some(Format::Ndjson));
        assert_eq!(named.format(Some("text/csv; charset=utf-8")), Some(Format::Csv));
        let told = ImportRequest::from_pairs([("format", "json"), ("filename", "a.csv")]).unwrap();
        assert_eq!(told.format(Some("text/csv")), Some(Format::Json));
        assert_eq!(ImportRequest::default().format(None), None);
    }

    #[test]
    fn the_encoding_is_told_by_option_then_charset() {
        let told = |pairs: &[(&str, &str)], media_type| {
            ImportRequest::from_pairs(pairs.iter().copied()).unwrap().encoding(media_type)
        };
        let latin1 = Some("text/csv; charset=ISO-8859-1");
        assert_eq!(told(&[], latin1), Ok(Some(TextEncoding::Latin1)));
        assert_eq!(told(&[("encoding", "utf-8")], latin1), Ok(Some(TextEncoding::Utf8)));
        assert_eq!(told(&[("encoding", "auto")], latin1), Ok(None));
        assert_eq!(told(&[], Some("text/csv")), Ok(None));
        assert_eq!(told(&[], Some("text/csv; charset=koi8-r")).unwrap_err().field, "Content-Type");
        assert_eq!(told(&[("encoding", "auto")], Some("text/csv; charset=koi8-r")), Ok(None));
    }

    #[test]
    fn a_file_name_is_a_label() {
        assert_eq!(file_label("../../etc/passwd").as_deref(), Some("passwd"));
        assert_eq!(file_label("C:\\x\\users.csv").as_deref(), Some("users.csv"));
        assert_eq!(file_label("a\r\nSet-Cookie\0: b\u{202e}.csv").as_deref(), Some("aSet-Cookie: b.csv"));
        assert_eq!(file_label("/"), None);
        assert_eq!(file_label(&"ä".repeat(300)).map(|label| label.chars().count()), Some(255));
    }
}
