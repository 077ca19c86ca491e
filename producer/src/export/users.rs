//! Users as a file that can be imported: every field that a record can set except secrets. Importing it again changes nothing.
//!
//! Fields that a user does not have are absent from the record, and absent fields are not changed. Memberships are those of an
//! import's options, and not of records. A table has the column that marks a file of Muster, so that its cells are escaped for
//! spreadsheets and restored when read.

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use muster_domain::field::Field;
use muster_domain::id::{TenantId, UserId};
use muster_domain::parse::FAILED_MARK;
use muster_domain::user::User;
use muster_store::users::{self, UserFilter};
use muster_store::{Store, StoreError};
use serde_json::{Map, Value, json};

use super::{ExportFormat, MARKED, report_row};

/// Users of a page.
const PAGE: i64 = 500;

/// Which users to write.
#[derive(Debug, Clone, Default)]
pub struct UsersWanted {
    /// Those in this organization only, by its slug.
    pub organization: Option<String>,
    /// Those that were changed since then only.
    pub updated_since: Option<chrono::DateTime<chrono::Utc>>,
}

/// The fields in the order of the table.
fn columns() -> Vec<Field> {
    let left_out = |field: &Field| {
        field.is_secret()
            || matches!(
                field,
                Field::NewEmail | Field::Status | Field::CustomAttributes | Field::Mfa | Field::Password
            )
    };
    Field::ALL.iter().copied().filter(|field| !left_out(field)).collect()
}

/// The tenant's users as a file, a piece at a time.
pub fn users(
    store: &Store,
    tenant: TenantId,
    wanted: UsersWanted,
    format: ExportFormat,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
    let state = Pages { store: store.clone(), tenant, wanted, format, after: None, head: true };
    stream::try_unfold(Some(state), |state| async move {
        match state {
            Some(state) => state.next().await.map(Some),
            None => Ok(None),
        }
    })
}

struct Pages {
    store: Store,
    tenant: TenantId,
    wanted: UsersWanted,
    format: ExportFormat,
    after: Option<UserId>,
    head: bool,
}

impl Pages {
    async fn next(mut self) -> Result<(Bytes, Option<Self>), StoreError> {
        let filter = UserFilter {
            after: self.after,
            organization: self.wanted.organization.as_deref(),
            updated_since: self.wanted.updated_since,
        };
        let page =
            users::page(&mut *self.store.reading(self.tenant).await?, self.tenant, filter, PAGE).await?;
        let columns = columns();
        let mut piece = Vec::new();
        if std::mem::take(&mut self.head) && self.format == ExportFormat::Csv {
            piece.extend_from_slice("\u{feff}".as_bytes());
            let names = columns.iter().map(|field| field.as_str().to_owned());
            report_row(names.chain([FAILED_MARK.to_owned()]), &mut piece);
        }
        for user in &page {
            let mut record = record(user);
            match self.format {
                ExportFormat::Ndjson => {
                    piece.extend_from_slice(Value::Object(record).to_string().as_bytes());
                    piece.push(b'\n');
                }
                ExportFormat::Csv => {
                    let cells = columns.iter().map(|field| match record.remove(field.as_str()) {
                        None => String::new(),
                        Some(Value::String(text)) => text,
                        Some(other) => other.to_string(),
                    });
                    report_row(cells.chain([MARKED.to_owned()]), &mut piece);
                }
            }
            self.after = Some(user.id);
        }
        let more = i64::try_from(page.len()).unwrap_or(0) == PAGE;
        Ok((piece.into(), more.then_some(self)))
    }
}

/// A user as a record that sets what the user has.
fn record(user: &User) -> Map<String, Value> {
    let mut record = Map::new();
    let mut put = |field: Field, value: Value| {
        let says = match &value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => !members.is_empty(),
            Value::Bool(true) | Value::Number(_) => true,
        };
        if says {
            record.insert(field.as_str().to_owned(), value);
        }
    };
    put(Field::Email, json!(user.email));
    put(Field::PhoneNumber, json!(user.phone_number));
    put(Field::PreferredUsername, json!(user.preferred_username));
    put(Field::EmailVerified, json!(user.email_verified));
    put(Field::PhoneNumberVerified, json!(user.phone_number_verified));
    put(Field::GivenName, json!(user.given_name));
    put(Field::FamilyName, json!(user.family_name));
    put(Field::Metadata, Value::Object(user.metadata.clone()));
    put(Field::Roles, json!(user.roles));
    put(Field::Groups, json!(user.groups));
    put(Field::Teams, json!(user.teams));
    put(Field::Location, json!(user.location));
    put(Field::Disabled, json!(user.disabled));
    put(Field::AccountValidFrom, json!(user.account_valid_from));
    put(Field::AccountValidUntil, json!(user.account_valid_until));
    put(Field::Locked, json!(user.locked));
    put(Field::MfaEmail, json!(user.mfa.email));
    put(Field::MfaPhoneNumber, json!(user.mfa.phone_number));
    let addresses =
        user.addresses.iter().map(|(name, address)| json!({"name": name, "value": address.value}));
    put(Field::Addresses, addresses.collect());
    for (name, value) in user.attributes.iter().chain(&user.agent) {
        if let Ok(field) = name.parse::<Field>() {
            put(field, value.clone());
        }
    }
    record
}
