//! The catalogue of stable error codes. A code, once published, keeps its meaning.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! catalogue {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)*) => {
        /// A stable error code, written in JSON and CSV as its snake-case text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text that stands in JSON, CSV and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What the code means, in a sentence or two: the catalogue's own words.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)* }
            }
        }

        impl FromStr for ErrorCode {
            type Err = UnknownCode;

            fn from_str(text: &str) -> Result<Self, UnknownCode> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownCode) }
            }
        }
    };
}

/// The text is no code of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such error code")]
pub struct UnknownCode;

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

catalogue! {
    // The file as a whole.
    /// The file has no bytes, or nothing but blanks.
    FileEmpty = "file_empty",
    /// The bytes are not of the format that was declared, or of none that is known.
    FormatMismatch = "format_mismatch",
    /// The format named is none of csv, json, ndjson.
    FormatUnknown = "format_unknown",
    /// UTF-16, UTF-32 or another encoding that is not UTF-8.
    EncodingUnsupported = "encoding_unsupported",
    /// A header or JSON structure that is not UTF-8, or a record with bytes that are not.
    InvalidUtf8 = "invalid_utf8",
    /// A quoted CSV field is never closed.
    CsvUnclosedQuote = "csv_unclosed_quote",
    /// Text after a closing quote, or a quote inside an unquoted field.
    CsvBadQuote = "csv_bad_quote",
    /// A CSV record has more or fewer cells than the header has columns.
    CsvColumnCount = "csv_column_count",
    /// The header misses a column that the import needs.
    CsvHeaderMissing = "csv_header_missing",
    /// The header names a column that is not known.
    CsvHeaderUnknown = "csv_header_unknown",
    /// The header names a column twice.
    CsvHeaderDuplicate = "csv_header_duplicate",
    /// The header is longer than the limit or has too many columns.
    CsvHeaderTooLarge = "csv_header_too_large",
    /// A record is longer than the limit.
    RecordTooLarge = "record_too_large",
    /// The import has more records than the limit.
    TooManyRecords = "too_many_records",
    /// A record has more fields, or the import more different field names, than the limit.
    TooManyFields = "too_many_fields",
    /// The text is not JSON.
    JsonInvalid = "json_invalid",
    /// The JSON ends before it is complete.
    JsonTruncated = "json_truncated",
    /// Something follows the end of the JSON array.
    JsonTrailing = "json_trailing",
    /// The JSON is nested deeper than the limit.
    JsonTooDeep = "json_too_deep",
    /// An object names a key twice.
    JsonDuplicateKey = "json_duplicate_key",
    /// A JSON string holds a lone surrogate or a raw control character.
    JsonInvalidString = "json_invalid_string",
    /// The compressed stream is cut short, damaged or followed by garbage.
    CompressionCorrupt = "compression_corrupt",
    /// The upload, decompressed, is larger than the limit.
    DecompressedTooLarge = "decompressed_too_large",
    /// The upload is larger than the limit.
    UploadTooLarge = "upload_too_large",
    /// The upload stopped before its end.
    UploadIncomplete = "upload_incomplete",
    /// The import was refused because it has invalid records and was asked to refuse them.
    InvalidRecords = "invalid_records",

    // One record.
    /// A field that must be there is absent, null or empty.
    FieldRequired = "field_required",
    /// A field that is not known.
    FieldUnknown = "field_unknown",
    /// A value of the wrong type.
    TypeMismatch = "type_mismatch",
    /// A value that must not be null.
    NullNotAllowed = "null_not_allowed",
    /// A value that must not be empty.
    EmptyNotAllowed = "empty_not_allowed",
    /// A value longer than the limit.
    ValueTooLong = "value_too_long",
    /// A control character, NUL or invisible character where none may be.
    ControlChar = "control_char",
    /// Not an e-mail address.
    EmailInvalid = "email_invalid",
    /// Not a phone number in E.164.
    PhoneInvalid = "phone_invalid",
    /// Not a username.
    UsernameInvalid = "username_invalid",
    /// Not a URI of the kind that the field takes.
    UriInvalid = "uri_invalid",
    /// Not a date of the forms that the field takes.
    DateInvalid = "date_invalid",
    /// Not the name of a time zone.
    ZoneinfoInvalid = "zoneinfo_invalid",
    /// Not a language tag in canonical form.
    LocaleInvalid = "locale_invalid",
    /// A value that is none of those allowed.
    ValueInvalid = "value_invalid",
    /// A number outside the bounds that the field has.
    ValueOutOfRange = "value_out_of_range",
    /// A password hash that cannot be read.
    HashInvalid = "hash_invalid",
    /// A password hash of a kind that is not taken.
    HashUnsupported = "hash_unsupported",
    /// A password hash whose own cost would burden every login.
    HashCost = "hash_cost",
    /// A TOTP secret that is not upper-case base32 without padding.
    TotpInvalid = "totp_invalid",
    /// An account's validity that would end before it begins.
    ValidityInvalid = "validity_invalid",
    /// A value that another record of the same file has, where each may stand once.
    DuplicateInFile = "duplicate_in_file",
    /// The value belongs to another user of the tenant.
    IdentityConflict = "identity_conflict",
    /// An address whose name or value the user has already, with another value or under another name.
    AddressTaken = "address_taken",
    /// A name that the tenant's catalog does not know.
    CatalogUnknown = "catalog_unknown",
    /// The database refused the record for a reason that no rule foresaw.
    DatabaseRefused = "database_refused",
    /// The chunk could not be applied, and its attempts are spent.
    ChunkDead = "chunk_dead",
    /// Muster failed; the log has the cause under the request or chunk id.
    Internal = "internal",

    // A request.
    /// No credential, or none that is known.
    Unauthorized = "unauthorized",
    /// The credential may not do this.
    Forbidden = "forbidden",
    /// No such thing, or none that this credential may see.
    NotFound = "not_found",
    /// An option, parameter or body of the request is not as it must be.
    InvalidRequest = "invalid_request",
    /// The method is not one of the resource's.
    MethodNotAllowed = "method_not_allowed",
    /// The body's media type is none that the resource takes.
    UnsupportedMediaType = "unsupported_media_type",
    /// The multipart body is not as it must be.
    MultipartInvalid = "multipart_invalid",
    /// The import is in a state in which this cannot be done.
    StateConflict = "state_conflict",
    /// The idempotency key was used for another request.
    IdempotencyMismatch = "idempotency_mismatch",
    /// A request with this idempotency key is still running.
    IdempotencyInProgress = "idempotency_in_progress",
    /// The upload came too slowly or stopped.
    UploadTimeout = "upload_timeout",
    /// Too many requests or imports at once.
    RateLimited = "rate_limited",
    /// The tenant has used up its records of the day or month.
    QuotaExceeded = "quota_exceeded",
    /// The store cannot be reached now; try again later.
    Unavailable = "unavailable",
}
