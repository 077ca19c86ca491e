//! The catalogue of stable error codes. A code, once published, keeps its meaning.
//!
//! Each has its page: what it means, where it is met, what to do about it, and an example where that helps. A
//! code without a page does not compile. `muster explain` prints the pages; docs/errors.md is made of them
//! (tests/error_catalogue.rs).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! catalogue {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal {
        met: $($place:ident)|+;
        advice: $advice:literal;
        $(example: $example:literal;)?
    })*) => {
        /// A stable error code, written in JSON and CSV as its snake-case text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The text in JSON, in CSV and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What the code means, in a sentence or two: the catalogue's own words.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)* }
            }

            /// Where the code is met.
            pub fn places(self) -> &'static [ErrorPlace] {
                match self { $(Self::$variant => &[$(ErrorPlace::$place),+],)* }
            }

            /// What to do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }

            /// What is wrong and what is right, in a few lines, where that helps.
            pub fn example(self) -> Option<&'static str> {
                match self { $(Self::$variant => catalogue!(@optional $($example)?),)* }
            }
        }

        impl FromStr for ErrorCode {
            type Err = UnknownCode;

            fn from_str(text: &str) -> Result<Self, UnknownCode> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownCode) }
            }
        }
    };
    (@optional) => { None };
    (@optional $example:literal) => { Some($example) };
}

/// Where an error is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorPlace {
    /// The whole file is refused, or its upload came to nothing: nothing of it is applied.
    File,
    /// One record failed, the others are applied.
    Record,
    /// A request is refused.
    Request,
}

impl ErrorPlace {
    /// Every place, in the order of the catalogue.
    pub const ALL: [Self; 3] = [Self::File, Self::Record, Self::Request];

    /// The word in JSON and in the docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Record => "record",
            Self::Request => "request",
        }
    }
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
    FileEmpty = "file_empty" {
        met: File;
        advice: "Look at the program that made the file. A CSV file has at least its header line, a JSON file at \
                 least `[]`.";
    }
    /// The bytes are not of the format that was declared, or of none that is known.
    FormatMismatch = "format_mismatch" {
        met: File;
        advice: "Name the format that the file has (`--format`, or its media type), or save it as CSV, JSON, \
                 NDJSON or XLSX; unpack an archive.";
    }
    /// A workbook (XLSX) that is damaged, or that a part of is missing.
    WorkbookUnreadable = "workbook_unreadable" {
        met: File;
        advice: "Open it in a spreadsheet and save it again as XLSX, or as CSV.";
    }
    /// A workbook that is protected by a password.
    WorkbookEncrypted = "workbook_encrypted" {
        met: File;
        advice: "Save it without a password (in Excel: File, Info, Protect Workbook, Encrypt with Password, and empty the box), or \
                 save the sheet as CSV.";
    }
    /// A workbook that takes more room than it may.
    WorkbookTooLarge = "workbook_too_large" {
        met: File;
        advice: "Save the sheet as CSV, which may be larger (docs/limits.md), or raise `intake.max_workbook_bytes` (its size on disk) or \
                 `intake.max_workbook_memory` (its texts and styles, unpacked).";
    }
    /// More than half of the records of a file's first chunk fail for one cause, so that it is stopped before anything is applied. Files of
    /// fewer than 100 records are never stopped.
    MostlyInvalid = "mostly_invalid" {
        met: File;
        advice: "Fix the cause that the message names. Usually it is one option (`--encoding`, `--dates`, `--phone-country`) or one \
                 column. `muster inspect FILE` shows all causes. `--brake 0` imports anyway, `--brake 80` stops only above 80 %.";
    }
    /// The workbook has no sheet of the name or number that was asked for.
    SheetUnknown = "sheet_unknown" {
        met: File;
        advice: "Name a sheet that is there, by its name or its number: `--sheet Staff`, `--sheet 2` (over HTTP `sheet`). Without \
                 it the first one that is not hidden is read.";
    }
    /// The order of days was to be found out (`dates=auto`), and the file does not prove one: each day of a column fits both orders, some fit
    /// only one and some only the other, or it is too large to wait until it was looked at as a whole.
    DaysUnproved = "days_unproved" {
        met: File;
        advice: "Ask the author of the file, and use `--dates dmy` or `--dates mdy` (over HTTP `dates`). `muster inspect FILE` shows the dates of a file.";
    }
    /// The format named is none of csv, json, ndjson, xlsx.
    FormatUnknown = "format_unknown" {
        met: Request;
        advice: "Name one of `csv`, `json`, `ndjson` and `xlsx`.";
    }
    /// UTF-32, a different encoding than the named one, or UTF-16 that cannot be recognised for certain.
    EncodingUnsupported = "encoding_unsupported" {
        met: File;
        advice: "Save the file as UTF-8, or name the encoding that it has with `--encoding` (over HTTP `encoding`, or \
                 the charset of `Content-Type`). UTF-16 with a byte order mark needs no name.";
        example: "muster import users people.csv --encoding utf-16le";
    }
    /// A header or JSON structure that is not UTF-8, or a record with bytes that are not. The same applies to
    /// another encoding that was named or given by a byte order mark.
    InvalidUtf8 = "invalid_utf8" {
        met: File | Record;
        advice: "Where many records have it, the file is in another encoding: name it with `--encoding latin1` or \
                 `--encoding windows-1252`, or save the file as UTF-8. Where a single one has it, a value was cut in \
                 the middle of a character.";
        example: "muster import users people.csv --encoding windows-1252";
    }
    /// What a spreadsheet leaves in the place of a value: `#REF!`, or the apostrophe before a text.
    SpreadsheetDamage = "spreadsheet_damage" {
        met: Record;
        advice: "Correct the cell in the original spreadsheet, and export it again: its value is not in this file.";
        example: "#REF!               wrong\n\
                  'a@example.com      wrong\n\
                  a@example.com";
    }
    /// A value that was hidden when a failed record was given back: `REDACTED` stands in its place.
    ValueRedacted = "value_redacted" {
        met: Record;
        advice: "A file of failed records shows nothing that may be a secret (a PIN, a token, what looks like a hash). Enter the \
                 value again, or leave it out: an empty cell, or no key. `muster imports retry <ID>` still has what was hidden.";
        example: "a@example.com,REDACTED      wrong\n\
                  a@example.com,4711";
    }
    /// Text in which UTF-8 was read as Windows-1252 before: `Ã©` where `é` was.
    TextMisdecoded = "text_misdecoded" {
        met: Record;
        advice: "Create the file again at its source, and save it as UTF-8 (in Excel: CSV UTF-8). A file that was opened in \
                 the wrong encoding and saved stays wrong.";
        example: "AndrÃ©      wrong\n\
                  André";
    }
    /// A quoted CSV field is never closed.
    CsvUnclosedQuote = "csv_unclosed_quote" {
        met: File;
        advice: "The message has the line where the quote is opened. Close it there; a quote inside quotes is \
                 doubled.";
        example: "a@example.com,\"Ada Lovelace     wrong: everything after it would be one cell\n\
                  a@example.com,\"Ada \"\"Lady\"\" Lovelace\"";
    }
    /// Text after a closing quote, or a quote inside an unquoted field.
    CsvBadQuote = "csv_bad_quote" {
        met: File | Record;
        advice: "Put the whole cell in quotes and double the quotes inside it.";
        example: "a@example.com,Ada \"Lady\" Lovelace        wrong\n\
                  a@example.com,\"Ada \"\"Lady\"\" Lovelace\"";
    }
    /// A CSV record has more or fewer cells than the header has columns.
    CsvColumnCount = "csv_column_count" {
        met: Record;
        advice: "Most often a comma inside a cell that is not quoted, or a line end. Put the cell in quotes; give \
                 a record without a value an empty cell.";
        example: "email,city\n\
                  a@example.com,Washington, D.C.       wrong: three cells\n\
                  a@example.com,\"Washington, D.C.\"";
    }
    /// The header misses a column that the import needs.
    CsvHeaderMissing = "csv_header_missing" {
        met: File;
        advice: "Name the columns in the first line. The one that identifies users must be there: `email`, or \
                 what `--identifier` says.";
        example: "email,first_name\n\
                  a@example.com,Ada";
    }
    /// The header names a column that is not known.
    CsvHeaderUnknown = "csv_header_unknown" {
        met: File;
        advice: "Rename or remove the column, say which field it is with `--column \"E-Mail=email\"`, make it \
                 metadata with a name such as `custom__office`, or leave unknown columns out with \
                 `--unknown-columns ignore`. A header that is one long name has another \
                 delimiter: `--delimiter`.";
        example: "email,office              wrong\n\
                  email,custom__office";
    }
    /// The header names a column twice.
    CsvHeaderDuplicate = "csv_header_duplicate" {
        met: File;
        advice: "Remove one of the two. Spellings of one column count as one: `First Name`, `first_name` and \
                 `given_name`.";
    }
    /// The header is longer than the limit or has too many columns.
    CsvHeaderTooLarge = "csv_header_too_large" {
        met: File;
        advice: "Look whether the first line is the header at all. Leave columns out that say nothing about \
                 users.";
    }
    /// A record is longer than the limit.
    RecordTooLarge = "record_too_large" {
        met: File;
        advice: "Shorten the record that the message names, or raise `intake.record_bytes`. Where the record \
                 looks short, its line end is missing.";
    }
    /// The import has more records than the limit.
    TooManyRecords = "too_many_records" {
        met: File | Request;
        advice: "Send the records in several imports, or raise `intake.max_records`.";
    }
    /// A record has more fields, or the import more different field names, than the limit.
    TooManyFields = "too_many_fields" {
        met: File | Record;
        advice: "Field names that differ in every record are most often values: put them into one object under \
                 `metadata`.";
    }
    /// The text is not JSON.
    JsonInvalid = "json_invalid" {
        met: File | Record;
        advice: "Correct the place that the message names. Comments, single quotes, commas before a closing bracket, \
                 NaN and Infinity are not JSON.";
        example: "{\"email\": \"a@example.com\",}      wrong\n\
                  {\"email\": \"a@example.com\"}";
    }
    /// The JSON ends before it is complete.
    JsonTruncated = "json_truncated" {
        met: File;
        advice: "The file was cut while it was written or copied. Make it again; a part of it is not applied.";
    }
    /// Something follows the end of the JSON array.
    JsonTrailing = "json_trailing" {
        met: File;
        advice: "One array is one file: join arrays that were written one after another, or write one object a \
                 line and import it as `ndjson`.";
    }
    /// The JSON is nested deeper than the limit.
    JsonTooDeep = "json_too_deep" {
        met: File | Record;
        advice: "Flatten the value. Where it does not look deep, a bracket is not closed.";
    }
    /// An object names a key twice.
    JsonDuplicateKey = "json_duplicate_key" {
        met: File | Record;
        advice: "Keep one of the two, since it is unclear which one is meant. Different spellings of one field count as one.";
        example: "{\"email\": \"a@example.com\", \"email\": \"b@example.com\"}";
    }
    /// A JSON string holds a lone surrogate or a raw control character.
    JsonInvalidString = "json_invalid_string" {
        met: File | Record;
        advice: "Write control characters as escapes (a line end is `\\n`), and characters beyond the basic plane \
                 as themselves or as both halves of their pair.";
        example: "\"\\ud83d\"             wrong: half a character\n\
                  \"\\ud83d\\ude00\"";
    }
    /// The compressed stream is cut short, damaged or followed by garbage.
    CompressionCorrupt = "compression_corrupt" {
        met: File;
        advice: "Test the file (`gzip -t`, `zstd -t`) and copy it again in binary mode. A file that is not \
                 compressed must not be named or declared so.";
    }
    /// The compressed stream asks for more memory than there is for it.
    CompressionWindow = "compression_window_too_large" {
        met: File;
        advice: "Compress the file with a window of at most 8 MiB: `zstd` up to level 19, without `--long` and \
                 `--ultra`.";
    }
    /// The upload, decompressed, is larger than the limit.
    DecompressedTooLarge = "decompressed_too_large" {
        met: File;
        advice: "Send the file in parts, or raise `intake.max_decompressed_bytes` (its size) or \
                 `intake.max_ratio` (how much it grows).";
    }
    /// The upload is larger than the limit.
    UploadTooLarge = "upload_too_large" {
        met: File | Request;
        advice: "Compress the file with gzip or zstd, send it in parts, or raise `http.max_upload_bytes`.";
    }
    /// The upload stopped before its end.
    UploadIncomplete = "upload_incomplete" {
        met: File;
        advice: "Send the file again: nothing of it was applied. With the same idempotency key no second import \
                 can come of it.";
    }
    /// The import was refused because it has invalid records and was asked to refuse them.
    InvalidRecords = "invalid_records" {
        met: File;
        advice: "`muster imports failed <ID>` has the invalid records with their errors. Correct them in the file and import it again, or let only them fail with `--on-invalid continue`.";
    }

    // One record.
    /// A field that must be there is absent, null or empty.
    FieldRequired = "field_required" {
        met: Record;
        advice: "Give the record its value. What identifies users (`--identifier`) is needed in every record.";
    }
    /// A field that is not known.
    FieldUnknown = "field_unknown" {
        met: Record;
        advice: "Rename or remove it, put it under `metadata`, or leave unknown fields out with \
                 `--unknown-columns ignore`.";
        example: "{\"email\": \"a@example.com\", \"office\": 4}                 wrong\n\
                  {\"email\": \"a@example.com\", \"metadata\": {\"office\": 4}}";
    }
    /// A value of the wrong type.
    TypeMismatch = "type_mismatch" {
        met: Record;
        advice: "Send the type that the message names: most fields are texts, an `address` is an object.";
        example: "{\"phone_number\": 3221234567}              wrong\n\
                  {\"phone_number\": \"+3221234567\"}";
    }
    /// A value that must not be null.
    NullNotAllowed = "null_not_allowed" {
        met: Record;
        advice: "Leave the field out to leave it as it is, or send its value. Null would remove it, and this one \
                 cannot be removed.";
    }
    /// A value that must not be empty.
    EmptyNotAllowed = "empty_not_allowed" {
        met: Record;
        advice: "Leave the field out, or send its value.";
    }
    /// A value longer than the limit.
    ValueTooLong = "value_too_long" {
        met: Record;
        advice: "Shorten the value to what the message names.";
    }
    /// A control character, NUL or invisible character where none may be.
    ControlChar = "control_char" {
        met: Record;
        advice: "Remove it: line ends, tabs and invisible characters (text direction marks, zero-width \
                 characters) come along when values are copied from elsewhere.";
    }
    /// Not an e-mail address.
    EmailInvalid = "email_invalid" {
        met: Record;
        advice: "Send one bare address, without a name, with its domain.";
        example: "Ada <a@example.com>      wrong\n\
                  a@localhost              wrong\n\
                  a@example.com";
    }
    /// Not a phone number in E.164.
    PhoneInvalid = "phone_invalid" {
        met: Record;
        advice: "Send a plus sign, the country code and the number: 7 to 15 digits without blanks.";
        example: "0032 2 123 45 67         wrong\n\
                  +3221234567";
    }
    /// Not a username.
    UsernameInvalid = "username_invalid" {
        met: Record;
        advice: "Send a name without blanks, of the letters and the length that the message names.";
    }
    /// Not a URI of the kind that the field takes.
    UriInvalid = "uri_invalid" {
        met: Record;
        advice: "Send the whole address, with scheme and host.";
        example: "www.example.com/ada              wrong\n\
                  https://www.example.com/ada";
    }
    /// Not a date of the forms that the field takes.
    DateInvalid = "date_invalid" {
        met: Record;
        advice: "Send a day as year, month and day, and a moment with its time and time zone as RFC 3339 says; \
                 the day must be one of the calendar.";
        example: "10/12/1815       wrong\n\
                  1815-12-10\n\
                  2026-01-31T09:30:00Z";
    }
    /// Not the name of a time zone.
    ZoneinfoInvalid = "zoneinfo_invalid" {
        met: Record;
        advice: "Send a name of the IANA time zone database, not an abbreviation or an offset.";
        example: "CET                  wrong\n\
                  Europe/Brussels";
    }
    /// Not a language tag in canonical form.
    LocaleInvalid = "locale_invalid" {
        met: Record;
        advice: "Send a BCP 47 tag: language in small letters, region in capitals, a hyphen between them.";
        example: "en_us       wrong\n\
                  en-US";
    }
    /// A value that is none of those allowed.
    ValueInvalid = "value_invalid" {
        met: Record;
        advice: "Send one of the values that the message names.";
    }
    /// A number outside the bounds that the field has.
    ValueOutOfRange = "value_out_of_range" {
        met: Record;
        advice: "Send a number within the bounds. No number may be beyond what a double holds, about 1.8e308, or have more digits than \
                 are kept of it: an integer beyond 64 bits is written as a text.";
    }
    /// A password hash that cannot be read.
    HashInvalid = "hash_invalid" {
        met: Record;
        advice: "Send the hash as the system that made it stores it, whole and with its parameters: bcrypt \
                 (`$2a$`, `$2b$`, `$2y$`) or argon2id. Plain passwords are not accepted. Shells and spreadsheets \
                 like to eat `$`, and a file of failed records has hashes redacted: put them in again.";
        example: "$2b$12$                                                            wrong: no hash\n\
                  $2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
    }
    /// A password hash of a kind that is not taken.
    HashUnsupported = "hash_unsupported" {
        met: Record;
        advice: "Taken are bcrypt (`$2a$`, `$2b$`, `$2y$`) and argon2id. Import the user without a password, and \
                 let them set one.";
    }
    /// A password hash whose own cost would burden every login.
    HashCost = "hash_cost" {
        met: Record;
        advice: "Import the user without a password, and let them set one: a hash cannot be made cheaper \
                 afterwards.";
    }
    /// A TOTP secret that is not upper-case base32 without padding.
    TotpInvalid = "totp_invalid" {
        met: Record;
        advice: "Send the secret itself in capitals and the digits 2 to 7, without blanks, `=` and the `otpauth:` \
                 address around it.";
        example: "jbsw y3dp ehpk 3pxp      wrong\n\
                  JBSWY3DPEHPK3PXP";
    }
    /// An account's validity that would end before it begins.
    ValidityInvalid = "validity_invalid" {
        met: Record;
        advice: "Look whether begin and end were swapped. Each of them may be left out.";
    }
    /// A value that another record of the same file has, although it must be unique.
    DuplicateInFile = "duplicate_in_file" {
        met: Record;
        advice: "Keep one of the records, or give each its own value.";
    }
    /// The value belongs to another user of the tenant.
    IdentityConflict = "identity_conflict" {
        met: Record;
        advice: "Another user has it: `user_id` in the answers of the API names that user, and a search under Users finds who it is. Change one of the two users, or import by the field that distinguishes them (`--identifier`).";
    }
    /// An address whose name or value the user has already, with another value or under another name.
    AddressTaken = "address_taken" {
        met: Record;
        advice: "Give the address another name, or leave it out: the user can be reached there already.";
    }
    /// A name that the tenant's catalog does not know.
    CatalogUnknown = "catalog_unknown" {
        met: Record;
        advice: "`muster catalog show` has the names there are. Correct the record, or add the name to the \
                 catalog.";
    }
    /// The database refused the record for a reason that no rule foresaw.
    DatabaseRefused = "database_refused" {
        met: Record;
        advice: "The message has the SQLSTATE. Most often a constraint or trigger was added to Muster's tables: look for it there, since \
                 the database's words may hold people's values, and so are neither shown nor in the log of the bundled database. P0001 is \
                 what a function or trigger raises itself. Once it is gone, `muster imports retry <ID>` applies the record.";
    }
    /// The chunk could not be applied, and its attempts are spent.
    ChunkDead = "chunk_dead" {
        met: Record;
        advice: "Mostly the records are not at fault: find the cause in the worker's log under the chunk's id, mend it, then \
                 `muster imports retry <ID>`. Where a record is the cause, correct it and upload it again.";
    }
    /// Something changed since the import was planned, and the record would no longer come to what its plan says.
    ChangedSincePlan = "changed_since_plan" {
        met: Record;
        advice: "The message names the fields. `muster imports plan <ID> --diff` shows what was planned. If the record is to be \
                 applied as things are now, `muster imports retry <ID> --code changed_since_plan`. Whoever wants all such records applied \
                 from the beginning proceeds with `--on-drift apply` (over HTTP `on_drift=apply`).";
    }
    /// A change that an undo should take back cannot be read: its stored form is damaged.
    ChangeUnreadable = "change_unreadable" {
        met: Record;
        advice: "All other changes are undone, and a retry does not help with this one. Correct the record's user by hand, or import a file with the right values.";
    }
    /// The person whose record it was has been erased. Nothing of the record is kept, and it is never applied.
    Erased = "erased" {
        met: Record;
        advice: "Nothing needs to be done. To create the user again, use another import.";
    }
    /// Muster failed; the log has the cause under the request or chunk id.
    Internal = "internal" {
        met: File | Record | Request;
        advice: "Look into the log, try again, and report it: this is a defect of Muster.";
    }

    // A request.
    /// No credential, or none that is known.
    Unauthorized = "unauthorized" {
        met: Request;
        advice: "Send `Authorization: Bearer …` with a token of the tenant that was not revoked; `muster token create \
                 --name <NAME> --scope <SCOPE>` makes one.";
    }
    /// The credential may not do this.
    Forbidden = "forbidden" {
        met: Request;
        advice: "Use a token with the scope that the message names; a token's scopes are fixed, so make another.";
    }
    /// The tenant of the credential is disabled: nothing is done for it, and its imports wait.
    TenantDisabled = "tenant_disabled" {
        met: Request;
        advice: "Ask the operator of the installation, who enables it with `muster tenant enable <TENANT>`.";
    }
    /// No such thing, or none that this credential may see.
    NotFound = "not_found" {
        met: Request;
        advice: "Check the address and the id, and that the token belongs to the same tenant.";
    }
    /// An option, parameter or body of the request is not as it must be.
    InvalidRequest = "invalid_request" {
        met: Request;
        advice: "The error's `field` names the option, and the message lists the possible values. Nothing was opened: correct the request and send it again.";
    }
    /// The method is not one of the resource's.
    MethodNotAllowed = "method_not_allowed" {
        met: Request;
        advice: "`/openapi.json` has the methods of every address.";
    }
    /// The body's media type is none that the resource takes.
    UnsupportedMediaType = "unsupported_media_type" {
        met: Request;
        advice: "Name what the body is with `Content-Type` (and `Content-Encoding`, where it is compressed), or \
                 with `format`.";
        example: "curl --data-binary @people.csv …                      wrong: sent as a web form\n\
                  curl --data-binary @people.csv -H 'Content-Type: text/csv' …";
    }
    /// The multipart body is not as it must be.
    MultipartInvalid = "multipart_invalid" {
        met: File | Request;
        advice: "Send the options first and the part `file` last, and let the HTTP library write the boundary.";
    }
    /// The import, or what else the request is about, is in a state in which this cannot be done.
    StateConflict = "state_conflict" {
        met: Request;
        advice: "Read the state again. An import that has ended cannot be paused or cancelled, and one that was cancelled is resumed, not retried. One that has not ended is undone after it was cancelled: `muster imports cancel <ID>`. A webhook has two secrets at most, and one at least.";
    }
    /// The import has no plan: it was not asked for one, or it was cancelled before the plan was applied.
    NoPlan = "no_plan" {
        met: Request;
        advice: "Import the file with `start=plan`, or `--plan` on the command line.";
    }
    /// The import changed no user, so there is nothing that could be undone.
    NotApplied = "not_applied" {
        met: Request;
        advice: "Nothing is to be done. `muster imports show <ID>` has what became of its records; with limits, name more.";
    }
    /// The import has been undone, or its undo is under way.
    AlreadyUndone = "already_undone" {
        met: Request;
        advice: "The error's `import_id` names the undo. If it was cancelled, resume it: it continues where it stopped. To restore the import's changes, undo that undo; where \
                 that was done already, undo the newest undo to take the changes back again. Its records show what it did not change \
                 because somebody else had changed it: `muster imports records <ID>`.";
    }
    /// What the import changed is not kept any more, or never was: it cannot be undone.
    BeforeImagesGone = "before_images_gone" {
        met: Request;
        advice: "Import a file with the values that the users are to have. `retention.before_images` says for how long imports can be \
                 undone.";
    }
    /// The idempotency key was used for another request.
    IdempotencyMismatch = "idempotency_mismatch" {
        met: Request;
        advice: "Send the same options and the same file as the first time, or take a new key for a new import.";
    }
    /// A request with this idempotency key is still running.
    IdempotencyInProgress = "idempotency_in_progress" {
        met: Request;
        advice: "Wait and send it again. Once the first one was received, the answer is its import.";
    }
    /// The upload came too slowly or stopped.
    UploadTimeout = "upload_timeout" {
        met: File | Request;
        advice: "Send the file again over a steadier connection, or compressed: nothing of it was applied.";
    }
    /// Too many requests or imports at once.
    RateLimited = "rate_limited" {
        met: Request;
        advice: "Wait as long as `Retry-After` says.";
    }
    /// As many imports of the tenant are under way as may be.
    TooManyImports = "too_many_imports" {
        met: Request;
        advice: "Wait until one of them has ended, as long as `Retry-After` says at least; or end one that is paused. \
                 `tenant.imports` is the limit.";
    }
    /// A webhook may not lead to this address: it is no address of a web server, not encrypted, private, local or reserved.
    WebhookTargetRefused = "webhook_target_refused" {
        met: Request;
        advice: "Give an address of the public network that begins with `https://`. An installation whose receivers are in its own \
                 network allows that with `webhook.allow_private`.";
    }
    /// The tenant has as many webhooks as it may have.
    TooManyWebhooks = "too_many_webhooks" {
        met: Request;
        advice: "Delete one that is no longer needed, or let one webhook have more events. `webhook.per_tenant` is the limit.";
    }
    /// The answer took longer than it may.
    RequestTimeout = "request_timeout" {
        met: Request;
        advice: "Try again as `Retry-After` says, and ask for less at a time. What the request was to do may be done all \
                 the same: look before you send it once more.";
    }
    /// The tenant has used up its quota: records of the day or month, or bytes of the uploads that are kept.
    QuotaExceeded = "quota_exceeded" {
        met: File | Request;
        advice: "Wait for the next day or month, or have the tenant's quota raised (`tenant.records_per_day`, \
                 `tenant.stored_bytes`).";
    }
    /// The import was made by a newer version of the program.
    NewerVersion = "newer_version" {
        met: Request;
        advice: "Ask a server of the newer version: during an upgrade both versions run. If there is none, upgrade this one.";
    }
    /// The store cannot be reached now; try again later.
    Unavailable = "unavailable" {
        met: File | Request;
        advice: "Try again after a while, with the same idempotency key. `muster doctor` says what is wrong with \
                 the database.";
    }
}
