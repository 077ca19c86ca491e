//! The users of a store that is only a map, written the way the real one is, with its unique indexes checked at every step.

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::catalog::{AttributeDefinition, CatalogKind};
use muster_domain::normalise::fold_name;
use muster_domain::options::{Enrolment, IdentifierField};
use muster_domain::plan::{ExistingUser, Plan, UserRow};
use muster_domain::profile::Profile;
use muster_domain::record::{Patch, Record};
use muster_domain::rules::CatalogIndex;
use serde_json::Value;
use uuid::Uuid;

use crate::hostile::catalog;
use crate::oracle::{Fields, Plain, seen};

/// Users, secrets and memberships.
#[derive(Debug, Default)]
pub struct Table {
    users: BTreeMap<Uuid, ExistingUser>,
    credentials: BTreeMap<Uuid, Fields>,
    memberships: BTreeSet<(Uuid, (i32, i32))>,
}

impl Table {
    /// The users that have one of the records' unique values, as the store finds them.
    pub fn find(&self, records: &[&Record<'_>], enrolment: Option<Enrolment>) -> Vec<ExistingUser> {
        let target = enrolment.map(|enrolment| (enrolment.organization_id, enrolment.group_id));
        let named = |user: &ExistingUser| {
            records.iter().any(|record| {
                IdentifierField::ALL.iter().any(|field| {
                    match (user.identity(*field), record.identity(*field)) {
                        (Some(value), Patch::Value(said)) => value == said,
                        _ => false,
                    }
                }) || (record.new_email().is_some() && record.new_email() == user.email.as_deref())
            })
        };
        self.users
            .values()
            .filter(|user| named(user))
            .map(|user| ExistingUser {
                enrolled: target.is_some_and(|target| self.memberships.contains(&(user.id, target))),
                ..user.clone()
            })
            .collect()
    }

    /// Releases, then updates, then inserts, as the store does.
    ///
    /// # Panics
    /// When the plan breaks what the store would refuse.
    pub fn write(&mut self, plan: &Plan<'_>, enrolment: Option<Enrolment>) {
        for (id, field) in &plan.releases {
            let user = self.users.get_mut(id).expect("a user that is there");
            match field {
                IdentifierField::Email => user.email = None,
                IdentifierField::PhoneNumber => user.phone_number = None,
                IdentifierField::PreferredUsername => user.preferred_username = None,
            }
        }
        for (row, version) in &plan.updates {
            assert_eq!(self.users[&row.id].version, *version, "the version that was read");
            self.put(row, *version);
        }
        for row in &plan.inserts {
            assert!(!self.users.contains_key(&row.id), "inserted twice");
            self.put(row, 0);
        }
        for new in &plan.credentials {
            assert!(plan.inserts.iter().any(|row| row.id == new.user), "secrets of a user that was there");
            let expires = new.password_expires_at.map(|moment| moment.to_rfc3339());
            let texts = [
                ("password_hash", new.password_hash),
                ("password_expire_after", expires.as_deref()),
                ("mfa_password_hash", new.mfa_password_hash),
                ("mfa_totp_secret", new.totp_secret),
            ];
            let secrets =
                texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::from(text?))));
            self.credentials.insert(new.user, secrets.collect());
        }
        for id in &plan.enrolments {
            let Enrolment { organization_id, group_id } = enrolment.expect("somewhere to enrol");
            assert!(self.memberships.insert((*id, (organization_id, group_id))), "enrolled twice");
        }
    }

    fn put(&mut self, row: &UserRow<'_>, version: i32) {
        let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        // What the database does with JSON: the later of two equal keys stays.
        let json = |text: &Option<std::borrow::Cow<'_, str>>| {
            text.as_deref().map(|text| serde_json::from_str::<Value>(text).expect("JSON").to_string())
        };
        assert!(row.changes > 0, "a row that does not change is not written");
        let user = ExistingUser {
            id: row.id,
            version: version + row.changes,
            email: owned(&row.email),
            phone_number: owned(&row.phone_number),
            preferred_username: owned(&row.preferred_username),
            given_name: owned(&row.given_name),
            family_name: owned(&row.family_name),
            attributes: json(&row.attributes),
            metadata: json(&row.metadata),
            profile: row
                .profile
                .as_deref()
                .map(|json| Box::new(Profile::parse(Some(json)).expect("a profile"))),
            enrolled: false,
        };
        for field in IdentifierField::ALL {
            let clash = user.identity(*field).is_some()
                && self
                    .users
                    .values()
                    .any(|other| other.id != user.id && other.identity(*field) == user.identity(*field));
            assert!(!clash, "the plan breaks the unique index of {field}");
        }
        self.users.insert(user.id, user);
    }

    /// The users in the oracle's form, by id.
    ///
    /// # Panics
    /// When a user cannot be read.
    pub fn plain(&self) -> Vec<Plain> {
        self.users
            .values()
            .map(|user| {
                let mut fields = seen(user, &|id| names()[usize::try_from(id).expect("an id") - 1].1.clone());
                fields.extend(self.credentials.get(&user.id).cloned().unwrap_or_default());
                let of_user = self.memberships.iter().filter(|(id, _)| *id == user.id);
                Plain {
                    id: user.id,
                    version: user.version,
                    fields,
                    enrolled: of_user.map(|(_, at)| *at).collect(),
                }
            })
            .collect()
    }
}

/// Every name of the catalog, folded; its place is its id, from 1.
fn names() -> Vec<(CatalogKind, String)> {
    let catalog = catalog();
    CatalogKind::ALL
        .into_iter()
        .flat_map(|kind| {
            catalog
                .names(kind)
                .iter()
                .map(move |name| (kind, fold_name(name).into_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The catalog to be looked up in.
///
/// # Panics
/// Never: it is a constant.
pub fn index() -> CatalogIndex {
    let catalog = catalog();
    let mut index = CatalogIndex::default();
    for (at, (kind, key)) in names().into_iter().enumerate() {
        index.insert(kind, key, i32::try_from(at + 1).expect("few names"));
    }
    index.attributes =
        catalog.custom_attributes.into_iter().collect::<BTreeMap<String, AttributeDefinition>>();
    index.max_chat_limit = catalog.limits.max_chat_limit;
    index
}
