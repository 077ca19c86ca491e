//! Every field of a user that a record can say something about, and what an import makes of it.
//!
//! A [`FieldTable`] says under which names an upload has which fields, and what each does to a user that
//! exists. Muster's own table is [`FieldTable::native`]. A front door passes its own table with the import's
//! options.

pub mod dictionary;
mod form;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::effect::{Effect, PatchKind, UserState, effect, page};
pub(crate) use form::table as forms;
pub use form::{Form, form_of};

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $behaviour:ident;)*) => {
        /// A field of a user.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Field { $($(#[$doc])* $variant,)* }

        impl Field {
            /// Every field, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in options, documentation and native uploads.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What the field does to a user that exists, where the options say nothing else.
            pub fn default_behaviour(self) -> Behaviour {
                match self { $(Self::$variant => Behaviour::$behaviour,)* }
            }
        }

        impl FromStr for Field {
            type Err = UnknownField;

            fn from_str(text: &str) -> Result<Self, UnknownField> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownField) }
            }
        }
    };
}

/// The text names no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such field")]
pub struct UnknownField;

// Behaviours are those of contracts A.3.3; fields that only CCAI Platform or Bitcaster have take `Remove`, where a null that
// reaches the planner removes.
fields! {
    /// E-mail address; unique in the tenant.
    Email = "email", Remove;
    /// Phone number; unique in the tenant.
    PhoneNumber = "phone_number", Remove;
    /// Username; unique in the tenant.
    PreferredUsername = "preferred_username", Remove;
    /// The e-mail address the user is to have from now on.
    NewEmail = "new_email", Keep;
    /// Whether the e-mail address is known to be the user's.
    EmailVerified = "email_verified", Keep;
    /// Whether the phone number is known to be the user's.
    PhoneNumberVerified = "phone_number_verified", Keep;
    /// Given (first) name.
    GivenName = "given_name", Remove;
    /// Family (last) name.
    FamilyName = "family_name", Remove;
    /// Full name.
    Name = "name", Remove;
    /// Middle name.
    MiddleName = "middle_name", Remove;
    /// Nickname.
    Nickname = "nickname", Remove;
    /// Address of the profile page.
    Profile = "profile", Remove;
    /// Address of a picture.
    Picture = "picture", Remove;
    /// Address of a web page.
    Website = "website", Remove;
    /// Gender.
    Gender = "gender", Remove;
    /// Date of birth.
    Birthdate = "birthdate", Remove;
    /// Time zone, by its IANA name.
    Zoneinfo = "zoneinfo", Remove;
    /// Language, as a BCP 47 tag.
    Locale = "locale", Remove;
    /// Postal address, an object.
    Address = "address", Remove;
    /// Custom attributes that the catalog defines, an object.
    CustomAttributes = "custom_attributes", Keep;
    /// Metadata of any shape, an object; or one key of it (`custom__KEY`).
    Metadata = "metadata", Remove;
    /// Roles, by their names in the catalog.
    Roles = "roles", Keep;
    /// Groups, by their names in the catalog.
    Groups = "groups", Keep;
    /// Teams, by their names in the catalog.
    Teams = "teams", Keep;
    /// Location, by its name in the catalog.
    Location = "location", Remove;
    /// Whether the account is disabled.
    Disabled = "disabled", Keep;
    /// `Active` or `Inactive`: the same state as `disabled`, in other words.
    Status = "status", Keep;
    /// When the account begins to be valid.
    AccountValidFrom = "account_valid_from", Keep;
    /// When the account ceases to be valid.
    AccountValidUntil = "account_valid_until", Keep;
    /// Whether messages to the user are held back.
    Locked = "locked", Keep;
    /// Password, as an object with its hash.
    Password = "password", Ignore;
    /// Password, only as a hash.
    PasswordHash = "password_hash", Ignore;
    /// When the password expires; beside `password_hash`.
    PasswordExpireAfter = "password_expire_after", Ignore;
    /// Second factors, as an object.
    Mfa = "mfa", Keep;
    /// E-mail address for one-time codes.
    MfaEmail = "mfa_email", Remove;
    /// Phone number for one-time codes.
    MfaPhoneNumber = "mfa_phone_number", Remove;
    /// Second password, as its hash.
    MfaPasswordHash = "mfa_password_hash", Ignore;
    /// Secret of a TOTP generator.
    MfaTotpSecret = "mfa_totp_secret", Ignore;
    /// Addresses to reach the user at, by name.
    Addresses = "addresses", Keep;
    /// The agent's number in other systems.
    AgentNumber = "agent_number", Remove;
    /// Name shown to others.
    Alias = "alias", Remove;
    /// Extension.
    ExtensionNumber = "extension_number", Remove;
    /// Whether the agent may call any country.
    UnrestrictedInternationalCalling = "unrestricted_international_calling", Remove;
    /// Whether the agent works on another system.
    ExternalUser = "external_user", Remove;
    /// SIP address on a telephone system.
    UcaasSipUri = "ucaas_sip_uri", Remove;
    /// User name on a telephone system.
    UcaasUserName = "ucaas_user_name", Remove;
    /// Name of the availability filter.
    AvailabilityFilter = "availability_filter", Remove;
    /// Minutes after which the availability filter ends.
    AvailabilityFilterTimeout = "availability_filter_timeout", Remove;
    /// Most chats at a time.
    MaxChatLimit = "max_chat_limit", Remove;
    /// Whether the agent has a chat limit of their own.
    MaxChatLimitEnabled = "max_chat_limit_enabled", Remove;
    /// Direct inbound number.
    DirectInboundNumber1 = "direct_inbound_number1", Remove;
    /// Direct inbound number.
    DirectInboundNumber2 = "direct_inbound_number2", Remove;
    /// Direct inbound number.
    DirectInboundNumber3 = "direct_inbound_number3", Remove;
    /// Direct inbound number.
    DirectInboundNumber4 = "direct_inbound_number4", Remove;
    /// Direct inbound number.
    DirectInboundNumber5 = "direct_inbound_number5", Remove;
}

impl Field {
    /// The standard attributes that the store keeps together (all but given and family name).
    pub const ATTRIBUTES: [Self; 11] = [
        Self::Name,
        Self::MiddleName,
        Self::Nickname,
        Self::Profile,
        Self::Picture,
        Self::Website,
        Self::Gender,
        Self::Birthdate,
        Self::Zoneinfo,
        Self::Locale,
        Self::Address,
    ];

    /// Whether the store keeps the field among the standard attributes.
    pub fn is_attribute(self) -> bool {
        (Self::Name..=Self::Address).contains(&self)
    }

    /// Whether the store keeps the field among those of an agent.
    pub fn is_agent(self) -> bool {
        (Self::AgentNumber..=Self::DirectInboundNumber5).contains(&self)
    }

    /// Whether the field is a secret, or says something of one: set for new users only, and never read back.
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Self::Password
                | Self::PasswordHash
                | Self::PasswordExpireAfter
                | Self::MfaPasswordHash
                | Self::MfaTotpSecret
        )
    }

    fn bit(self) -> u64 {
        1 << self as u64
    }
}

const _: () = assert!(Field::ALL.len() <= 64, "a set of fields is one word");

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Field {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldSet(u64);

impl FieldSet {
    /// Adds a field. False if it was there.
    pub fn insert(&mut self, field: Field) -> bool {
        let new = !self.contains(field);
        self.0 |= field.bit();
        new
    }

    /// Whether the field is in the set.
    pub fn contains(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }

    /// The fields of both sets.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a field does to a user that exists. (For a new user every value is set, and null says nothing.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// A value is set, null removes.
    Remove,
    /// A value is set, null is an error.
    Keep,
    /// Whatever the record says, the user's field stays as it is.
    Ignore,
}

impl Behaviour {
    /// Every behaviour.
    pub const ALL: [Self; 3] = [Self::Remove, Self::Keep, Self::Ignore];

    /// The text in options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Keep => "keep",
            Self::Ignore => "ignore",
        }
    }
}

/// What a field without content means: an empty text (one of blanks is empty too), or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blank {
    /// An empty text is a value (for most fields an error), null is null.
    #[default]
    Value,
    /// Both say nothing.
    Absent,
    /// An empty text says nothing, null is null.
    TextAbsent,
    /// Both are null.
    Null,
}

/// One name of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldRule {
    /// The name. `custom__*` means every name that begins so: the rest is a key of the metadata.
    pub name: String,
    /// What the values under it are.
    pub field: Field,
    /// What they do to a user that exists.
    pub behaviour: Behaviour,
    /// A record without a value here fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// What no content means.
    #[serde(default, skip_serializing_if = "is_default")]
    pub blank: Blank,
    /// Most characters of a text, blanks around it not counted, where that is less than the field's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<u16>,
    /// What else the import says of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped: Option<Mapped>,
    /// The values of `status` are yes and no: whether the account is enabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enabled: bool,
    /// `custom__*`: lists and objects in cells are taken as Bitcaster's importer takes them (contracts C.2): values keep their blanks,
    /// and a blank before the column's name shifts the key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verbatim: bool,
}

/// What an import's own mapping of names says of one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapped {
    /// Its place in the mapping: where several names mean one field, the first one with something under it counts, in each record.
    pub place: u16,
    /// The values are of one key of the metadata: `office`, `tags[]`, `facts{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The values under the name are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}

fn is_default(blank: &Blank) -> bool {
    *blank == Blank::default()
}

impl FieldRule {
    /// A field under a name, with its default behaviour.
    pub fn new(name: &str, field: Field) -> Self {
        Self {
            name: name.to_owned(),
            field,
            behaviour: field.default_behaviour(),
            required: false,
            blank: Blank::Value,
            longest: None,
            mapped: None,
            enabled: false,
            verbatim: false,
        }
    }

    /// A record without a value here fails.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Lists and objects in cells are taken as Bitcaster's importer takes them.
    #[must_use]
    pub fn verbatim(mut self) -> Self {
        self.verbatim = true;
        self
    }

    /// What the field does to a user that exists.
    #[must_use]
    pub fn with(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// Most characters of a text.
    #[must_use]
    pub fn longest(mut self, characters: u16) -> Self {
        self.longest = Some(characters);
        self
    }

    /// What no content means.
    #[must_use]
    pub fn blank(mut self, blank: Blank) -> Self {
        self.blank = blank;
        self
    }
}

/// The names of an upload that are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldTable(pub Vec<FieldRule>);

/// How names begin whose rest is a key of the metadata.
pub const METADATA_PREFIX: &str = "custom__";
/// The rule for all of them.
pub const METADATA_PATTERN: &str = "custom__*";

impl FieldTable {
    /// Muster's own names: every field under its own, the two names by their other spelling too, and `custom__*`.
    pub fn native() -> Self {
        let mut rules: Vec<FieldRule> =
            Field::ALL.iter().map(|field| FieldRule::new(field.as_str(), *field)).collect();
        rules.push(FieldRule::new("first_name", Field::GivenName));
        rules.push(FieldRule::new("last_name", Field::FamilyName));
        rules.push(FieldRule::new(METADATA_PATTERN, Field::Metadata));
        Self(rules)
    }

    /// Gives a field another behaviour, under all its names.
    pub fn set_behaviour(&mut self, field: Field, behaviour: Behaviour) {
        for rule in self.0.iter_mut().filter(|rule| rule.field == field) {
            rule.behaviour = behaviour;
        }
    }

    /// The rule of a name.
    pub fn find(&self, name: &str) -> Option<&FieldRule> {
        self.0.iter().find(|rule| rule.name == name)
    }

    /// The rule for keys of the metadata, if names may begin so.
    pub fn metadata_pattern(&self) -> Option<&FieldRule> {
        self.find(METADATA_PATTERN)
    }

    /// The fields that leave an existing user's as it is.
    pub fn ignored(&self) -> FieldSet {
        let mut set = FieldSet::default();
        for rule in self.0.iter().filter(|rule| rule.behaviour == Behaviour::Ignore) {
            set.insert(rule.field);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for field in Field::ALL {
            assert_eq!(field.as_str().parse(), Ok(*field));
            assert!(FieldTable::native().find(field.as_str()).is_some());
        }
        let attributes: Vec<Field> =
            Field::ALL.iter().copied().filter(|field| field.is_attribute()).collect();
        assert_eq!(attributes, Field::ATTRIBUTES);
    }

    #[test]
    fn a_table_reads_as_it_is_written() {
        let table = FieldTable(vec![
            FieldRule::new("email", Field::Email).required(),
            FieldRule::new("nick", Field::Nickname).with(Behaviour::Ignore).blank(Blank::Absent),
        ]);
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<FieldTable>(&json).unwrap(), table);
        assert!(table.ignored().contains(Field::Nickname) && !table.ignored().contains(Field::Email));
    }
}
