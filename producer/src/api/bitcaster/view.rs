//! Users and addresses as Bitcaster shows them.

use muster_domain::profile::AddressKind;
use muster_store::StoreError;
use muster_store::applications::ApplicationMember;
use muster_store::members::Member;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

/// A user as it was created or enrolled.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Created {
    /// Id of the user. A UUID, where Bitcaster has a number.
    id: Uuid,
    /// E-mail address, normalised.
    email: String,
    /// The same: a user's name is its e-mail address.
    username: String,
    /// First name, empty for none.
    first_name: String,
    /// Last name, empty for none.
    last_name: String,
    /// Custom fields, empty for none.
    #[schema(value_type = Object)]
    custom_fields: Box<RawValue>,
}

impl Created {
    pub(super) fn new(member: Member) -> Result<Self, StoreError> {
        let email = member.email.clone().unwrap_or_default();
        Ok(Self {
            id: member.id,
            username: email.clone(),
            email,
            custom_fields: custom_fields(&member)?,
            first_name: member.given_name.unwrap_or_default(),
            last_name: member.family_name.unwrap_or_default(),
        })
    }
}

/// A user after a change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Updated {
    /// First name, empty for none.
    first_name: String,
    /// Last name, empty for none.
    last_name: String,
    /// Whether messages to the user are held back.
    locked: bool,
    /// Custom fields as they are now.
    #[schema(value_type = Object)]
    custom_fields: Box<RawValue>,
    /// How they were applied.
    _mode: &'static str,
}

impl Updated {
    pub(super) fn new(member: Member, mode: &'static str) -> Result<Self, StoreError> {
        Ok(Self {
            locked: member.profile.locked,
            custom_fields: custom_fields(&member)?,
            first_name: member.given_name.unwrap_or_default(),
            last_name: member.family_name.unwrap_or_default(),
            _mode: mode,
        })
    }
}

/// The stored text as it is, so that no digit of a number is lost.
fn custom_fields(member: &Member) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(member.metadata.clone().unwrap_or_else(|| "{}".into()))
        .map_err(|_| StoreError::Program(format!("the metadata of user {} is no JSON", member.id)))
}

/// A user in the list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed {
    /// Id of the user.
    id: Uuid,
    /// Where the user is.
    url: String,
    /// E-mail address.
    email: String,
    /// The same.
    username: String,
    /// First name, empty for none.
    first_name: String,
    /// Last name, empty for none.
    last_name: String,
    /// Whether messages to the user are held back.
    locked: bool,
    /// Whether the account is not disabled.
    is_active: bool,
}

impl Listed {
    /// `users`: the address of the organization's users.
    pub(super) fn new(member: Member, users: &str) -> Self {
        let email = member.email.unwrap_or_default();
        Self {
            id: member.id,
            url: user_url(users, &email),
            username: email.clone(),
            email,
            first_name: member.given_name.unwrap_or_default(),
            last_name: member.family_name.unwrap_or_default(),
            locked: member.profile.locked,
            is_active: member.profile.disabled_at.is_none(),
        }
    }
}

/// One user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Shown {
    /// Id of the user.
    id: Uuid,
    /// E-mail address.
    email: String,
    /// The same.
    username: String,
    /// First name, empty for none.
    first_name: String,
    /// Last name, empty for none.
    last_name: String,
    /// Whether messages to the user are held back.
    locked: bool,
    /// Whether the account is not disabled.
    is_active: bool,
    /// Where Bitcaster has the user's messages. Muster has none.
    messages: String,
    /// Where the user's addresses are.
    addresses: String,
}

impl Shown {
    /// `users`: the address of the organization's users.
    pub(super) fn new(member: Member, users: &str) -> Self {
        let listed = Listed::new(member, users);
        Self {
            id: listed.id,
            messages: format!("{}messages/", listed.url),
            addresses: format!("{}addresses/", listed.url),
            email: listed.email,
            username: listed.username,
            first_name: listed.first_name,
            last_name: listed.last_name,
            locked: listed.locked,
            is_active: listed.is_active,
        }
    }
}

/// An address to reach a user at.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct AddressView {
    /// The address.
    #[schema(example = "+391234567890")]
    pub(super) value: String,
    /// Its kind, which follows from its value: `phone`, `email` or `GENERIC`.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "phone")]
    pub(super) kind: AddressKind,
    /// Its name, one of its kind for the user.
    #[schema(example = "sms")]
    pub(super) name: String,
}

impl AddressView {
    /// All of a user's, by name.
    pub(super) fn all(member: Member) -> Vec<Self> {
        let addresses = member.profile.addresses.into_iter();
        addresses.map(|(name, address)| Self { value: address.value, kind: address.kind, name }).collect()
    }
}

/// What a registration came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Registered {
    /// The user.
    pub(super) user: RegisteredUser,
    /// Whether the user is new.
    pub(super) created: bool,
    /// What the application has about the user.
    pub(super) membership: Membership,
    /// The addresses of the request, as they are kept.
    pub(super) addresses: Vec<AddressView>,
    /// The addresses that were to be assigned to a channel. Muster has no channels.
    pub(super) assignments: Vec<Assignment>,
    /// The list that the user was put on. Muster has none.
    #[schema(value_type = Option<Object>)]
    pub(super) distribution_list: Option<()>,
}

/// A registered user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegisteredUser {
    /// The name of the request; where it is an e-mail address, in its normal form.
    #[schema(example = "jdoe")]
    pub(super) username: String,
    /// First name, empty for none.
    pub(super) first_name: String,
    /// Last name, empty for none.
    pub(super) last_name: String,
    /// E-mail address, empty for none.
    #[schema(example = "john.doe@company.com")]
    pub(super) email: String,
}

/// What an application has about a user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApplicationMembership)]
pub(super) struct Membership {
    /// Custom fields as they are now.
    #[schema(value_type = Object)]
    custom_fields: Box<RawValue>,
    /// What the last registration said.
    active: bool,
    /// Whether messages to the user are held back.
    locked: bool,
    /// Whether the user gets messages: it is active and not locked.
    enable_notifications: bool,
}

impl Membership {
    pub(super) fn new(member: &ApplicationMember, locked: bool) -> Result<Self, StoreError> {
        Ok(Self {
            custom_fields: RawValue::from_string(member.custom_fields.clone())
                .map_err(|_| StoreError::Program("the custom fields of a member are no JSON".into()))?,
            active: member.active,
            locked,
            enable_notifications: member.active && !locked,
        })
    }
}

/// An address that was to be assigned to a channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Assignment {
    /// The address.
    pub(super) address: String,
    /// The channel: none.
    #[schema(value_type = Option<String>)]
    pub(super) channel: Option<String>,
    /// It was not assigned.
    pub(super) skipped: bool,
}

/// From how many lists a user was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Unregistered {
    /// None, since Muster has no lists.
    pub(super) deleted: u64,
}

/// The ping's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Pong {
    /// Name of the token.
    pub(super) token: String,
}

fn user_url(users: &str, email: &str) -> String {
    let mut url = String::with_capacity(users.len() + email.len() + 8);
    url.push_str(users);
    for byte in email.bytes() {
        // Characters that a segment may contain (RFC 3986, pchar); everything else is escaped.
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url.push('/');
    url
}

#[cfg(test)]
mod tests {
    use super::user_url;

    #[test]
    fn a_users_address_is_escaped() {
        assert_eq!(user_url("/u/", "o'neil+x@example.com"), "/u/o'neil+x@example.com/");
        assert_eq!(user_url("/u/", "a/b%c@\u{e9}.it"), "/u/a%2Fb%25c@%C3%A9.it/");
    }
}
