//! The second lock between tenants (docs/decisions/0026-second-lock.md): every query of the store that reads is asked once more with
//! its tenant taken out, and with the ids of another tenant.

use std::path::Path;

use muster_domain::token::Scope;
use muster_store::webhooks::{self, NewWebhook};
use muster_store::{events, tenants};
use muster_testkit::TestDatabase;
use serde_json::Value;

use crate::harness::{Server, token};
use crate::matrix::{World, world};

/// Tables without rows of tenants.
const OF_NO_TENANT: [&str; 6] =
    ["_sqlx_migrations", "chunk_holders", "commit_marks", "queue_messages", "queues", "receipt_keys"];

/// A query that reads, as `.sqlx` describes it.
struct Query {
    text: String,
    parameters: Vec<String>,
}

/// The queries of the store that read and name a tenant.
fn queries() -> Vec<Query> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx");
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let described: Value =
            serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let text = described["query"].as_str().unwrap().to_owned();
        let parameters = described["describe"]["parameters"]["Left"].as_array().cloned().unwrap_or_default();
        let parameters: Option<Vec<String>> =
            parameters.iter().map(|name| name.as_str().map(str::to_owned)).collect();
        let begin = text.trim_start().get(..6).unwrap_or_default().to_lowercase();
        if let Some(parameters) = parameters
            && begin == "select"
            && !text.contains("for no key update")
            && !text.contains("for update")
            && without_tenant(&text) != text
        {
            queries.push(Query { text, parameters });
        }
    }
    queries
}

/// The query with every `tenant_id = $n` taken out.
fn without_tenant(text: &str) -> String {
    const PREDICATE: &str = "tenant_id = $";
    let mut rest = text;
    let mut out = String::new();
    while let Some(at) = rest.find(PREDICATE) {
        let (before, after) = rest.split_at(at);
        // The alias before it goes too.
        let alias = before.len()
            - before.rfind(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_')).map_or(0, |at| at + 1);
        out.push_str(&before[..before.len() - alias]);
        out.push_str("true");
        rest = after[PREDICATE.len()..].trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}

/// One choice of values for the parameters of a query.
#[derive(Clone, Copy)]
struct Choice<'w> {
    /// The first id; all others are the last there can be.
    uuid: &'w str,
    text: &'w str,
    /// The first whole number, and all others.
    numbers: (i64, i64),
}

/// The query with literals for its parameters; `None` where a type has none here.
fn asked(query: &Query, choice: Choice<'_>) -> Option<String> {
    let mut text = without_tenant(&query.text);
    const LAST: &str = "ffffffff-ffff-7fff-bfff-ffffffffffff";
    let (mut first, mut first_id) = (true, true);
    let mut literals = Vec::new();
    for name in &query.parameters {
        let Choice { uuid, text, numbers } = choice;
        literals.push(match name.as_str() {
            "Uuid" => {
                let id = if std::mem::take(&mut first_id) { uuid } else { LAST };
                format!("'{id}'::uuid")
            }
            "UuidArray" => format!("array['{uuid}']::uuid[]"),
            "Text" => format!("'{text}'::text"),
            "TextArray" => format!("array['{text}']::text[]"),
            "Int8" => {
                let number = if std::mem::take(&mut first) { numbers.0 } else { numbers.1 };
                format!("{number}::bigint")
            }
            "Int8Array" => format!("array[{}]::bigint[]", numbers.0),
            "Int4" => "0::integer".into(),
            "Int4Array" => "array[0]::integer[]".into(),
            "Bool" => "false".into(),
            _ => return None,
        });
    }
    // From the last, so that $1 is not found in $10.
    for (at, literal) in literals.iter().enumerate().rev() {
        text = text.replace(&format!("${}", at + 1), literal);
    }
    Some(format!("select coalesce(json_agg(t)::text, '') from ({text}) as t"))
}

fn marks(other: &World) -> [String; 5] {
    [
        other.email.clone(),
        other.user.clone(),
        other.import.clone(),
        other.org.clone(),
        other.tenant.slug.to_string(),
    ]
}

#[tokio::test]
async fn a_query_that_forgets_its_tenant_sees_nothing_of_another() {
    let server = Server::start().await;
    let (own, _) = world(&server, "ours").await;
    let (other, _) = world(&server, "theirs").await;
    assert!(server.store.has_second_lock().await.unwrap());
    let (mut leaks, mut asked_of) = (0, 0);
    let job: i64 = other.job.parse().unwrap();
    for query in queries() {
        let mut leaked = false;
        let mut before = std::collections::HashSet::new();
        for uuid in [other.import.as_str(), &other.user, "00000000-0000-0000-0000-000000000000"] {
            for text in [other.email.as_str(), &other.org, "received"] {
                for numbers in [(0, 1_000), (1_000, 0), (job, 1_000)] {
                    let Some(sql) = asked(&query, Choice { uuid, text, numbers }) else { continue };
                    // Not every query has a parameter of every kind.
                    if !before.insert(sql.clone()) {
                        continue;
                    }
                    let sees = |seen: &str| marks(&other).iter().any(|mark| seen.contains(mark));
                    let mut open = server.store.pool().begin().await.unwrap();
                    let seen: String = match sqlx::query_scalar(sqlx::AssertSqlSafe(sql.clone()))
                        .fetch_one(&mut *open)
                        .await
                    {
                        Ok(seen) => seen,
                        Err(error) => panic!("{error}: {sql}"),
                    };
                    drop(open);
                    leaked |= sees(&seen);
                    let mut locked = server.store.reading(own.tenant.id).await.unwrap();
                    // What the role may not read at all is seen by nobody either.
                    let seen: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql.clone()))
                        .fetch_one(&mut *locked)
                        .await
                        .unwrap_or_default();
                    assert!(!sees(&seen), "{sql}: {seen}");
                    asked_of += 1;
                }
            }
        }
        leaks += usize::from(leaked);
    }
    assert!(
        leaks >= 8,
        "without the lock only {leaks} queries of {asked_of} show another tenant's rows: the test asks too little"
    );
}

#[tokio::test]
async fn every_table_with_rows_of_tenants_shows_those_of_the_transactions_tenant_alone() {
    let server = Server::start().await;
    let (own, _) = world(&server, "ours").await;
    let (other, _) = world(&server, "theirs").await;
    let tables: Vec<(String, bool)> = sqlx::query_as(
        "select relname::text, relrowsecurity from pg_class
          where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace order by relname",
    )
    .fetch_all(server.store.pool())
    .await
    .unwrap();
    let bare: Vec<&str> =
        tables.iter().filter(|(_, locked)| !locked).map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        bare, OF_NO_TENANT,
        "a table with rows of tenants needs a policy, and a table without any a place in this list"
    );
    let mut seen = 0;
    for (table, _) in tables.iter().filter(|(_, locked)| *locked) {
        let all = sqlx::AssertSqlSafe(format!("select row_to_json(t)::text from {table} as t"));
        let rows: Vec<String> = sqlx::query_scalar(all)
            .fetch_all(&mut *server.store.reading(own.tenant.id).await.unwrap())
            .await
            .unwrap_or_default();
        assert!(
            rows.iter().all(|row| !marks(&other).iter().any(|mark| row.contains(mark))),
            "{table}: {rows:?}"
        );
        seen += rows.len();
        // Whoever forgets to say whose rows are wanted gets none.
        let mut nobodys =
            server.store.pool().begin_with("begin; set local role muster_tenant").await.unwrap();
        let all = sqlx::AssertSqlSafe(format!("select row_to_json(t)::text from {table} as t"));
        let rows: Vec<String> = sqlx::query_scalar(all).fetch_all(&mut *nobodys).await.unwrap_or_default();
        assert_eq!(rows, Vec::<String>::new(), "{table}");
    }
    assert!(seen > 5, "{seen}");
    let mut reader = server.store.reading(own.tenant.id).await.unwrap();
    assert!(sqlx::raw_sql("update imports set filename = 'x'").execute(&mut *reader).await.is_err());
}

/// A database whose administrator made the role when there were fewer tables, and gave it what there was.
#[tokio::test]
async fn a_role_made_by_hand_gets_its_grants_and_is_not_used_without_them() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner();
    let execute = async |sql: &'static str| sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
    execute(
        "alter default privileges in schema public revoke select on tables from muster_tenant;
         revoke all on import_profiles, before_images, undo_steps, events, application_members from muster_tenant;
         grant select on console_sessions to muster_tenant",
    )
    .await;
    // What reads the newer tables works all the same.
    assert!(!store.has_second_lock().await.unwrap());
    assert_eq!(events::last(&store, tenant.id).await.unwrap(), 0);
    execute(include_str!("../../../migrations/0040_second_lock_grants.sql")).await;
    execute("create table newer (tenant_id integer not null); insert into newer values (7)").await;
    let store = database.store().await;
    assert!(store.has_second_lock().await.unwrap());
    let mut reading = store.reading(tenant.id).await.unwrap();
    let newer: i64 = sqlx::query_scalar("select count(*) from newer").fetch_one(&mut *reading).await.unwrap();
    assert_eq!(newer, 1, "what later migrations make can be read");
    let secret = sqlx::query("select from console_sessions").fetch_all(&mut *reading).await;
    assert!(secret.is_err(), "sessions are nothing that is read for a tenant");
}

/// A role that was granted everything: by hand, or by an older migration that somebody did once more.
#[tokio::test]
async fn a_role_that_may_read_every_table_sees_no_secrets() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner();
    let open: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
          where relrowsecurity and relnamespace = 'public'::regnamespace
            and not has_table_privilege('muster_tenant', oid, 'select')
            and exists (select from pg_policy where polrelid = pg_class.oid)",
    )
    .fetch_all(store.pool())
    .await
    .unwrap();
    assert_eq!(open, Vec::<String>::new(), "what the role may not read needs no policy");
    token(&store, &tenant, "ours", &[Scope::Ops]).await;
    let webhook = NewWebhook {
        url: "https://hooks.example.com/".into(),
        description: String::new(),
        events: Vec::new(),
        failed_above: None,
        enabled: true,
    };
    webhooks::create(&store, tenant.id, &webhook, 20).await.unwrap();
    let all = "grant select on all tables in schema public to muster_tenant";
    sqlx::raw_sql(all).execute(store.pool()).await.unwrap();
    assert!(store.has_second_lock().await.unwrap());
    for count in ["select count(*) from webhook_secrets", "select count(*) from tokens"] {
        let there: i64 = sqlx::query_scalar(count).fetch_one(store.pool()).await.unwrap();
        assert_eq!(there, 1, "{count}");
        let mut reading = store.reading(tenant.id).await.unwrap();
        let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
        assert_eq!(seen, 0, "{count}");
    }
}
