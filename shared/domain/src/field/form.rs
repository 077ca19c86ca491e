//! What each field accepts: its form, its length and an example. [`docs/fields.md`](crate::effect::page) shows them.
//!
//! `the_example_of_each_field_is_taken_and_a_longer_value_is_not` asks validation for each row.

use super::Field;

/// What a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// In words.
    pub takes: &'static str,
    /// Longest value.
    pub longest: &'static str,
    /// A value as written in a cell of a table.
    pub example: &'static str,
}

const fn form(takes: &'static str, longest: &'static str, example: &'static str) -> Form {
    Form { takes, longest, example }
}

const NAME: &str = "256 characters";
const JSON: &str = "64 KiB";
const ADDRESS: &str = "254 bytes, 64 before the @";
const FLAG: &str = "yes or no: `true`, `false`, `1`, `0`, `yes`, `no`, in files that people make also in other languages (`ja`, `nein`, `oui`, `wahr`, …)";
const PHONE: &str =
    "E.164: `+`, the country's code, the number; with `phone_country` also as people write them";
const HASH: &str =
    "bcrypt (`$2a$`, `$2b$`, `$2y$`, cost up to 15) or argon2id as a PHC string; never a plain password";
const NAMES: &str = "names of the catalog; in a table with commas between them (`list_separator`), in JSON as a list, or as a list of `{\"name\", \"value\"}`";
const HASHED: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// What the field takes.
pub fn form_of(field: Field) -> Form {
    match field {
        Field::Email | Field::NewEmail | Field::MfaEmail => {
            form("an e-mail address; its domain may be internationalised", ADDRESS, "ada@example.com")
        }
        Field::PhoneNumber | Field::MfaPhoneNumber => form(PHONE, "15 digits", "+441134960000"),
        Field::PreferredUsername => {
            form("a text without blanks or invisible characters", "150 characters", "ada")
        }
        Field::EmailVerified | Field::PhoneNumberVerified | Field::Disabled | Field::Locked => {
            form(FLAG, "", "true")
        }
        Field::Status => form(
            "`Active` or `Inactive`, in files that people make also words of other products (`Member`, `Suspended`, …)",
            "",
            "Active",
        ),
        Field::GivenName => form("a text of one line", NAME, "Ada"),
        Field::FamilyName => form("a text of one line", NAME, "Lovelace"),
        Field::Name => form("a text of one line", NAME, "Ada Lovelace"),
        Field::MiddleName => form("a text of one line", NAME, "Augusta"),
        Field::Nickname | Field::Alias => form("a text of one line", NAME, "ada"),
        Field::Gender => form("a text of one line", NAME, "female"),
        Field::Profile | Field::Website => {
            form("an absolute address with scheme and host", "65,536 bytes", "https://example.com/ada")
        }
        Field::Picture => {
            form("an absolute http or https address", "65,536 bytes", "https://example.com/ada.png")
        }
        Field::Birthdate => form(
            "`YYYY-MM-DD`, `--MM-DD` or `YYYY`; with `dates` also day or month first",
            "10 characters",
            "1990-12-31",
        ),
        Field::Zoneinfo => form("a zone of the time zone database with a `/`", "", "Europe/London"),
        Field::Locale => form("a BCP 47 tag in canonical form", "", "en-GB"),
        Field::Address => form(
            "an object: `formatted`, `street_address`, `locality`, `region`, `postal_code`, `country`",
            "256 characters a part",
            "{\"locality\": \"London\", \"country\": \"GB\"}",
        ),
        Field::CustomAttributes => form("an object of attributes that the catalog defines", JSON, "{}"),
        Field::Metadata => {
            form("an object of any shape; or `custom__KEY` for one key", JSON, "{\"shelf\": 7}")
        }
        Field::Roles => form(NAMES, "256 characters a name", "Admin, Agent"),
        Field::Groups => form(NAMES, "256 characters a name", "Reader"),
        Field::Teams => form(NAMES, "256 characters a name", "Support, Sales"),
        Field::Location => form("one name of the catalog", NAME, "Milan"),
        Field::AccountValidFrom | Field::AccountValidUntil | Field::PasswordExpireAfter => {
            form("a moment as RFC 3339 writes it, with its zone", "", "2026-12-31T00:00:00Z")
        }
        Field::Password => form(
            "an object: `type` (`bcrypt`, `argon2id`), `password_hash`, `expire_after`",
            JSON,
            "{\"type\": \"bcrypt\", \"password_hash\": \"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"}",
        ),
        Field::PasswordHash | Field::MfaPasswordHash => form(HASH, "", HASHED),
        Field::Mfa => form(
            "an object: `email`, `phone_number`, `password`, `totp` (`{\"secret\"}`)",
            JSON,
            "{\"email\": \"ada@example.com\"}",
        ),
        Field::MfaTotpSecret => form("base32 as authenticators show it", "", "JBSWY3DPEHPK3PXP"),
        Field::Addresses => form(
            "a list of `{\"name\", \"value\"}`",
            "255 characters each",
            "[{\"name\": \"home\", \"value\": \"ada@example.org\"}]",
        ),
        Field::AgentNumber | Field::ExtensionNumber => form("a text of one line, or digits", NAME, "0815"),
        Field::UnrestrictedInternationalCalling | Field::ExternalUser | Field::MaxChatLimitEnabled => {
            form(FLAG, "", "false")
        }
        Field::UcaasSipUri => form("a text of one line", NAME, "sip:ada@example.com"),
        Field::UcaasUserName => form("a text of one line", NAME, "ada"),
        Field::AvailabilityFilter => form("a text of one line", NAME, "lunch"),
        Field::AvailabilityFilterTimeout => form("minutes, from 0 to 1440", "", "30"),
        Field::MaxChatLimit => form("a number from 1 to the catalog's limit", "", "1"),
        Field::DirectInboundNumber1
        | Field::DirectInboundNumber2
        | Field::DirectInboundNumber3
        | Field::DirectInboundNumber4
        | Field::DirectInboundNumber5 => form(PHONE, "15 digits", "+441134960001"),
    }
}

/// The table of docs/fields.md.
pub(crate) fn table() -> String {
    let mut table = String::from("| field | takes | longest | for example |\n|---|---|---|---|\n");
    for field in Field::ALL {
        let Form { takes, longest, example } = form_of(*field);
        table.push_str(&format!("| `{field}` | {takes} | {longest} | `{example}` |\n"));
    }
    table
}
