use muster_domain::id::TenantId;
use muster_domain::options::{IdentifierField, ImportOptions};
use muster_domain::outcome::Verdict;
use muster_domain::parse::Format;
use muster_domain::record::{FieldNames, Position, RawField, RawRecord, RawValue, Record, RecordNumber};
use muster_domain::rules::Rules;
use muster_domain::validate::{Binding, validate};
use muster_runtime::clock;
use muster_store::upsert::{Upserted, upsert};
use muster_store::{Store, StoreError, tenants};
use muster_testkit::TestDatabase;
use sqlx::PgConnection;

/// One chunk of records, each with a username and what it says of the phone number.
async fn apply(
    connection: &mut PgConnection,
    tenant: TenantId,
    exclusive: bool,
    said: &[(&str, RawValue<'_>)],
) -> Result<Upserted, StoreError> {
    let names = ["preferred_username", "phone_number"];
    apply_named(connection, tenant, exclusive, IdentifierField::PreferredUsername, names, said).await
}

/// One chunk of records, each with an e-mail address and the one that it is to become.
async fn rename(
    connection: &mut PgConnection,
    tenant: TenantId,
    exclusive: bool,
    said: &[(&str, &str)],
) -> Result<Vec<Verdict>, StoreError> {
    let said: Vec<_> = said.iter().map(|(email, new)| (*email, RawValue::Text(new))).collect();
    let names = ["email", "new_email"];
    let done = apply_named(connection, tenant, exclusive, IdentifierField::Email, names, &said).await?;
    Ok(done.verdicts.into_iter().map(|(verdict, _)| verdict).collect())
}

async fn apply_named(
    connection: &mut PgConnection,
    tenant: TenantId,
    exclusive: bool,
    identifier: IdentifierField,
    names: [&str; 2],
    said: &[(&str, RawValue<'_>)],
) -> Result<Upserted, StoreError> {
    let rules = Rules::new(ImportOptions { format: Format::Json, identifier, ..ImportOptions::default() });
    let names = FieldNames::from_header(names);
    let mut binding = Binding::new(&rules);
    binding.extend(&names);
    let fields: Vec<[RawField<'_>; 2]> = said
        .iter()
        .map(|(name, phone)| {
            [RawField { name: 0, value: RawValue::Text(name) }, RawField { name: 1, value: *phone }]
        })
        .collect();
    let position = Position { record: RecordNumber::FIRST, line: 1, byte: 0 };
    let records: Vec<Record<'_>> = fields
        .iter()
        .map(|fields| {
            let raw = RawRecord { position, fields, defect: None, raw: None };
            validate(&raw, &binding, &rules).result.unwrap()
        })
        .collect();
    let records: Vec<&Record<'_>> = records.iter().collect();
    let mut ids = clock::id_source();
    upsert(connection, tenant, exclusive, &records, &rules, clock::now(), &mut || ids.next_id()).await
}

async fn two_users() -> (TestDatabase, Store, TenantId) {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    let users = [("one", RawValue::Text("+85298765401")), ("two", RawValue::Text("+85298765402"))];
    apply(&mut store.connection().await.unwrap(), tenant, false, &users).await.unwrap();
    (database, store, tenant)
}

/// Each of two chunks frees the number that the other one wants. Whichever comes first, the second one gets what it wants: both
/// refused is what no order gives.
#[tokio::test]
async fn a_record_is_refused_only_for_what_stays_so() {
    let (_database, store, tenant) = two_users().await;
    let (mut left, mut right) = (store.connection().await.unwrap(), store.connection().await.unwrap());
    sqlx::raw_sql("begin").execute(&mut left).await.unwrap();
    let chunk = [("one", RawValue::Null), ("three", RawValue::Text("+85298765402"))];
    let done = apply(&mut left, tenant, false, &chunk).await.unwrap();
    assert_eq!(done.verdicts[1].0, Verdict::FAILED);

    sqlx::raw_sql("begin; set local lock_timeout = '50ms'").execute(&mut right).await.unwrap();
    let chunk = [("two", RawValue::Null), ("four", RawValue::Text("+85298765401"))];
    let waits = apply(&mut right, tenant, false, &chunk).await.unwrap_err();
    assert_eq!(waits.sqlstate(), Some("55P03"), "{waits}");
    sqlx::raw_sql("rollback").execute(&mut right).await.unwrap();

    sqlx::raw_sql("commit").execute(&mut left).await.unwrap();
    let done = apply(&mut right, tenant, false, &chunk).await.unwrap();
    assert_eq!([done.verdicts[0].0, done.verdicts[1].0], [Verdict::UPDATED, Verdict::INSERTED]);
}

/// A number that a user has for one record only stands in no row in the end: nothing would tell that another chunk gave it to
/// another user in between. Such a chunk is applied with the tenant's users for itself.
#[tokio::test]
async fn a_value_that_is_passed_on_wants_to_be_alone() {
    let (_database, store, tenant) = two_users().await;
    let mut connection = store.connection().await.unwrap();
    let chunk = [("one", RawValue::Text("+85298765403")), ("one", RawValue::Text("+85298765404"))];
    let exclusive = apply(&mut connection, tenant, false, &chunk).await.unwrap_err();
    assert!(matches!(exclusive, StoreError::NeedsExclusive), "{exclusive}");
    let done = apply(&mut connection, tenant, true, &chunk).await.unwrap();
    assert_eq!([done.verdicts[0].0, done.verdicts[1].0], [Verdict::UPDATED; 2]);
    // What ends with somebody is watched over by the unique index.
    let chunk = [
        ("one", RawValue::Text("+85298765405")),
        ("one", RawValue::Null),
        ("two", RawValue::Text("+85298765405")),
    ];
    apply(&mut connection, tenant, false, &chunk).await.unwrap();
}

/// `a` becomes `b` in one chunk and `b` becomes `a` in another, and there is neither: the second one must find what the first one
/// made. No row would tell, since neither chunk leaves a user with the address that the other one looked for.
#[tokio::test]
async fn a_new_user_of_another_address_than_its_own_wants_to_be_alone() {
    let (_database, store, tenant) = two_users().await;
    let mut connection = store.connection().await.unwrap();
    let (to, back) = ([("a@example.com", "b@example.com")], [("b@example.com", "a@example.com")]);
    let exclusive = rename(&mut connection, tenant, false, &to).await.unwrap_err();
    assert!(matches!(exclusive, StoreError::NeedsExclusive), "{exclusive}");
    assert_eq!(rename(&mut connection, tenant, true, &to).await.unwrap(), [Verdict::INSERTED]);
    // Found under the new address: nothing is written, so the moment of reading will do.
    assert_eq!(rename(&mut connection, tenant, false, &to).await.unwrap(), [Verdict::UNCHANGED]);
    assert_eq!(rename(&mut connection, tenant, false, &back).await.unwrap(), [Verdict::UPDATED]);
    // Found under an address that the chunk itself gives it, which nobody else can have seen.
    let chunk = [("a@example.com", "b@example.com"), ("c@example.com", "b@example.com")];
    let exclusive = rename(&mut connection, tenant, false, &chunk).await.unwrap_err();
    assert!(matches!(exclusive, StoreError::NeedsExclusive), "{exclusive}");
    let done = rename(&mut connection, tenant, true, &chunk).await.unwrap();
    assert_eq!(done, [Verdict::UPDATED, Verdict::UNCHANGED]);
}
