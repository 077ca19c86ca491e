//! The audit: who did what, when, to what, how many of it, and how it was chosen. Rows are written once, in the transaction of what they tell,
//! and nobody can change or delete them (migration 0018).
//!
//! A door acts through a store that says for whom ([`Store::by`]); the functions of this crate note what was done through it. What a program
//! does by itself, through a store that is nobody's, is not noted.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};

/// Longest name of what something was done to, in characters.
const NAME_CHARS: usize = 255;

macro_rules! dids {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What can be done, as the audit calls it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Did { $($(#[$doc])* $name,)* }

        impl Did {
            /// All of it.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in the audit.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

dids! {
    /// A person was erased.
    UsersErase = "users.erase",
    /// An import was started, or its plan applied.
    ImportProceed = "import.proceed",
    /// The plan of an import was made anew.
    ImportPlan = "import.plan",
    /// An import was paused.
    ImportPause = "import.pause",
    /// An import was resumed.
    ImportResume = "import.resume",
    /// An import was cancelled.
    ImportCancel = "import.cancel",
    /// What failed in an import was driven once more.
    ImportRetry = "import.retry",
    /// An import is undone.
    ImportUndo = "import.undo",
    /// Something was begun with many imports.
    BulkStart = "bulk.start",
    /// It came to its end.
    BulkEnd = "bulk.end",
    /// It was aborted.
    BulkAbort = "bulk.abort",
    /// A webhook was created.
    WebhookCreate = "webhook.create",
    /// A webhook was changed.
    WebhookChange = "webhook.change",
    /// A webhook was deleted.
    WebhookDelete = "webhook.delete",
    /// A webhook was given a new secret.
    WebhookRotate = "webhook.rotate",
    /// One of two secrets was dropped.
    WebhookDropSecret = "webhook.drop_secret",
    /// A webhook is told once more.
    WebhookRedeliver = "webhook.redeliver",
    /// A profile was saved.
    ProfileSave = "profile.save",
    /// A profile was deleted.
    ProfileDelete = "profile.delete",
    /// The catalog was replaced.
    CatalogReplace = "catalog.replace",
    /// A token was created.
    TokenCreate = "token.create",
    /// A token was revoked.
    TokenRevoke = "token.revoke",
    /// An operator's token of another tenant opened this one at the console.
    OperatorEnter = "operator.enter",
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Number: greater is later.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who: `token:` and the id of a token, `operator` for the command line, or `start` for a program at its first start.
    pub actor: String,
    /// Name of the token, where it was one.
    pub token: Option<String>,
    /// Whether it was the token of another tenant: an operator's.
    pub of_other_tenant: bool,
    /// What: one of [`Did`], or what a newer program calls it.
    pub action: String,
    /// Id of what it was done to.
    pub subject: Option<Uuid>,
    /// Name of what it was done to, where it has one that is no value of a user.
    pub name: Option<String>,
    /// How many of what.
    pub counts: Value,
    /// How it was chosen, by name; of a new token its scopes, and whether it expires.
    pub filter: Option<Value>,
}

/// Up to `limit` entries of a tenant, the newest first, from before a number on; of one subject, where one is named.
pub async fn page(
    store: &Store,
    tenant: TenantId,
    before: Option<i64>,
    subject: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AuditEntry>, StoreError> {
    // Not as the role of the second lock, which may read neither audit nor tokens.
    Ok(sqlx::query_as!(
        AuditEntry,
        r#"select audit.id as "id!", audit.at as "at!", audit.actor as "actor!", tokens.name as "token?",
                  coalesce(tokens.tenant_id <> audit.tenant_id, false) as "of_other_tenant!",
                  audit.action as "action!", audit.subject as "subject?", audit.name as "name?", audit.counts as "counts!", audit.filter as "filter?"
             from audit
             left join tokens
                    -- By its id, whosever it is: operators work in tenants that are not those of their tokens.
                    on tokens.id = case when audit.actor ~ '^token:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then substr(audit.actor, 7)::uuid end
                   and (tokens.tenant_id = audit.tenant_id or not $5)
            where audit.tenant_id = $1 and audit.id < coalesce($2, 9223372036854775807) and ($3::uuid is null or audit.subject = $3)
            order by audit.id desc
            limit $4"#,
        tenant.get(),
        before,
        subject,
        limit,
        mutant(Mutant::OperatorUnnamed),
    )
    .fetch_all(store.pool())
    .await?)
}

/// Of each of these imports of a tenant the last entry of an act, where there is one.
pub async fn last(
    store: &Store,
    tenant: TenantId,
    imports: &[ImportId],
    did: Did,
) -> Result<HashMap<ImportId, AuditEntry>, StoreError> {
    let ids: Vec<Uuid> = imports.iter().map(|import| import.get()).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found = sqlx::query_as!(
        AuditEntry,
        r#"select distinct on (audit.subject)
                  audit.id as "id!", audit.at as "at!", audit.actor as "actor!", tokens.name as "token?",
                  coalesce(tokens.tenant_id <> audit.tenant_id, false) as "of_other_tenant!",
                  audit.action as "action!", audit.subject as "subject?", audit.name as "name?", audit.counts as "counts!", audit.filter as "filter?"
             from audit
             left join tokens
                    on tokens.id = case when audit.actor ~ '^token:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then substr(audit.actor, 7)::uuid end
            where audit.tenant_id = $1 and audit.subject = any($2) and audit.action = $3
            order by audit.subject, audit.id desc"#,
        tenant.get(),
        &ids,
        did.as_str(),
    )
    .fetch_all(store.pool())
    .await?;
    Ok(found.into_iter().filter_map(|entry| Some((ImportId::new(entry.subject?), entry))).collect())
}

/// Who sent an import of a tenant: the name of the token, or what is noted of who it was. `None` where that is not known.
pub async fn sender(store: &Store, tenant: TenantId, import: ImportId) -> Result<Option<String>, StoreError> {
    let found = sqlx::query_scalar!(
        r#"select coalesce('token ' || tokens.name, imports.actor) as "who?"
             from imports
             left join tokens
                    on tokens.id = case when imports.actor ~ '^token:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then substr(imports.actor, 7)::uuid end
            where imports.id = $1 and imports.tenant_id = $2"#,
        import.get(),
        tenant.get(),
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(found.flatten())
}

/// What is to be noted.
#[derive(Debug)]
pub(crate) struct Entry<'e> {
    did: Did,
    subject: Option<Uuid>,
    name: Option<&'e str>,
    counts: Value,
    filter: Option<Value>,
}

impl<'e> Entry<'e> {
    /// That this was done.
    pub(crate) fn of(did: Did) -> Self {
        Self { did, subject: None, name: None, counts: json!({}), filter: None }
    }

    /// That this was done to an import.
    pub(crate) fn of_import(did: Did, import: ImportId) -> Self {
        Self::of(did).to(import.get())
    }

    /// To what.
    pub(crate) fn to(self, subject: Uuid) -> Self {
        Self { subject: Some(subject), ..self }
    }

    /// What that is called.
    pub(crate) fn named(self, name: &'e str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// How many of what.
    pub(crate) fn counting(self, counts: Value) -> Self {
        Self { counts, ..self }
    }

    /// How it was chosen.
    pub(crate) fn chosen(self, filter: Option<Value>) -> Self {
        Self { filter, ..self }
    }
}

/// How an action on many imports chose them, as the audit has it: an expression of the column `filter`. Of a part of a file's name it has
/// the length alone: people name files after people, and the audit is kept after those are erased.
pub(super) fn filter_as_kept() -> &'static str {
    if mutant(Mutant::AuditKeepsFileNames) {
        return "filter";
    }
    "coalesce(jsonb_set(filter, '{file}', to_jsonb(char_length(filter ->> 'file') || ' characters')), filter)"
}

/// Notes what is done in this transaction, where the store is somebody's.
pub(crate) async fn note(
    connection: &mut PgConnection,
    store: &Store,
    tenant: TenantId,
    entry: Entry<'_>,
) -> Result<(), StoreError> {
    match store.actor() {
        Some(actor) => write(connection, tenant, actor, entry).await,
        None => Ok(()),
    }
}

/// Notes what somebody does in this transaction.
pub(crate) async fn write(
    connection: &mut PgConnection,
    tenant: TenantId,
    actor: &str,
    entry: Entry<'_>,
) -> Result<(), StoreError> {
    if mutant(Mutant::AuditForgets) {
        return Ok(());
    }
    let name: Option<String> = entry.name.map(|name| name.chars().take(NAME_CHARS).collect());
    sqlx::query!(
        "insert into audit (tenant_id, actor, action, subject, name, counts, filter) values ($1, $2, $3, $4, $5, $6, $7)",
        tenant.get(),
        actor,
        entry.did.as_str(),
        entry.subject,
        name,
        entry.counts,
        entry.filter,
    )
    .execute(connection)
    .await?;
    Ok(())
}
