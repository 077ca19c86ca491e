use muster_store::{ErrorKind, Store, StoreError, migrate};
use muster_testkit::TestDatabase;

async fn execute(store: &Store, sql: &'static str) {
    sqlx::raw_sql(sql).execute(store.pool()).await.unwrap();
}

#[tokio::test]
async fn migrating_twice_is_migrating_once() {
    let database = TestDatabase::create_empty().await;
    let store = database.store().await;
    let pending = migrate::pending(&store).await.unwrap();
    assert_eq!(pending[0].version, 1);

    let first = migrate::run(&store).await.unwrap();
    assert_eq!(first.applied, pending);
    assert_eq!(first.version, migrate::program_version());
    let after_first = database.snapshot().await;

    let second = migrate::run(&store).await.unwrap();
    assert_eq!(second, migrate::Report { applied: vec![], version: first.version });
    assert_eq!(migrate::pending(&store).await.unwrap(), []);
    assert_eq!(database.snapshot().await, after_first);
}

#[tokio::test]
async fn of_two_programs_that_migrate_at_once_one_does() {
    let database = TestDatabase::create_empty().await;
    let (one, two) = (database.store().await, database.store().await);
    let (first, second) = tokio::join!(migrate::run(&one), migrate::run(&two));
    let applied = [first.unwrap().applied.len(), second.unwrap().applied.len()];
    assert_eq!(applied.iter().min(), Some(&0));
    assert!(applied.iter().max() > Some(&0));
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_told_apart() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    execute(
        &store,
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (99999, 'from the future', true, '\\x00', 0)",
    )
    .await;
    for error in [
        migrate::run(&store).await.map(|_| ()).unwrap_err(),
        migrate::pending(&store).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(matches!(error, StoreError::SchemaTooNew { database: 99999, .. }), "{error}");
        assert!(error.to_string().contains("use a newer one"));
    }
}

#[tokio::test]
async fn a_migration_that_was_changed_after_it_was_applied_is_refused() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    execute(&store, "update _sqlx_migrations set checksum = '\\x00' where version = 1").await;
    let error = migrate::run(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::SchemaDiffers(1)), "{error}");
}
