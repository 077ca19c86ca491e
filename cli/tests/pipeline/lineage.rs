//! Families of imports, receipts and histories, from upload to end.

use chrono::TimeDelta;
use futures_util::StreamExt;
use muster_domain::id::{ImportId, TenantId, UserId};
use muster_domain::options::{ImportOptions, Start};
use muster_domain::outcome::Counts;
use muster_domain::parse::Format;
use muster_domain::receipt::{self, OutcomeDigests, Receipt};
use muster_domain::request::ImportRequest;
use muster_producer::export::{self, ExportFormat};
use muster_runtime::clock;
use muster_store::family::{self, Family};
use muster_store::history::{self, Cursor, Entry};
use muster_store::receipts::{self, Found};
use muster_store::undo::NewUndo;
use muster_store::{erase, lifecycle, overview, retention, tenants};
use serde_json::{Value, json};

use crate::harness::{Backend, Pipeline};
use crate::on_both_queues;
use crate::undo::{opened, taken_back, undone, whole};

on_both_queues!(
    a_family_through_two_mendings_is_shown_as_one,
    what_others_mended_stays_when_an_import_between_is_undone,
    an_import_that_was_driven_again_after_its_undo_counts_again,
    a_receipt_is_signed_and_says_what_is_in_the_store,
    a_history_tells_imports_and_undos_with_their_fields,
    the_history_of_an_erased_user_whom_an_import_inserted_is_gone,
    a_history_keeps_its_order_when_a_retry_applies_a_chunk_again,
);

/// The imports that somebody has to know of, and how many of their failed records are open, once families are counted.
async fn concerns(pipeline: &Pipeline) -> Vec<(ImportId, u64)> {
    while family::count_mended(&pipeline.store).await.unwrap() > 0 {}
    let since = clock::now() - TimeDelta::hours(1);
    let found = overview::concerning(&pipeline.store, pipeline.tenant, since, 10).await.unwrap();
    let everywhere = overview::everywhere(&pipeline.store, None, &[], since, 10).await.unwrap();
    assert_eq!(everywhere.tenants.iter().map(|one| one.concerning).sum::<u64>(), found.all);
    found.imports.iter().map(|report| (report.id, report.open_failed())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_failed_records_are_corrected_concerns_nobody() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let plain = ImportOptions::default();
    let first = pipeline.import(&file(), &plain).await.id;
    assert_eq!(concerns(&pipeline).await, [(first, 5)]);
    let text = mend(&failed(&pipeline, first, ExportFormat::Csv).await, &[10, 20, 30]);
    let second = pipeline.import(&text, &plain).await.id;
    assert_eq!(concerns(&pipeline).await, [(second, 2), (first, 2)], "two are open in between");
    let text = mend(&failed(&pipeline, second, ExportFormat::Csv).await, &[40, 50]);
    let third = pipeline.import(&text, &plain).await.id;
    assert_eq!(concerns(&pipeline).await, [], "all of them are corrected");
    let since = clock::now() - TimeDelta::hours(1);
    assert_eq!(overview::mended(&pipeline.store, pipeline.tenant, since).await.unwrap(), 7);
    // What is undone corrects nothing any more.
    let undo = taken_back(&mut pipeline, third).await;
    assert_eq!(concerns(&pipeline).await, [(second, 2), (first, 2)]);
    taken_back(&mut pipeline, undo).await;
    assert_eq!(concerns(&pipeline).await, []);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_not_corrected_where_the_column_of_its_mistake_is_left_out() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let asked = |pairs: &[(&str, &str)]| {
        let file = [("filename", "people.csv"), ("unknown_columns", "ignore")];
        ImportRequest::from_pairs(file.iter().chain(pairs).copied()).unwrap().asked(None).unwrap().options
    };
    let with_role = asked(&[("columns", "Rolle=roles")]);
    let first = pipeline.import("email,Rolle\na@example.com,nobody\nb@example.com,\n", &with_role).await;
    assert_eq!(first.counts, Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() });
    let text = failed(&pipeline, first.id, ExportFormat::Csv).await;
    let second = pipeline.import(&text, &asked(&[])).await;
    assert_eq!((second.mends, second.counts.inserted), (Some(first.id), 1), "without its role");
    assert_eq!(sums(&pipeline, first.id).await, (2, 1, 1));
    assert_eq!(concerns(&pipeline).await, [(first.id, 1)]);
    // Where the role is taken out of the record, nothing of it is left out.
    assert!(text.contains("nobody"), "{text}");
    let third = pipeline.import(&text.replace("nobody", ""), &with_role).await;
    assert_eq!((third.mends, third.counts.failed), (Some(first.id), 0));
    assert_eq!(sums(&pipeline, first.id).await, (2, 2, 0));
    assert_eq!(concerns(&pipeline).await, []);
    pipeline.finish().await;
}

async fn failed(pipeline: &Pipeline, import: ImportId, format: ExportFormat) -> String {
    let report = pipeline.report(import).await;
    let pieces: Vec<_> = export::failed(&pipeline.store, &report, format).collect().await;
    pieces.into_iter().map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap()).collect()
}

async fn family(pipeline: &Pipeline, of: ImportId) -> Option<Family> {
    family::of(&pipeline.store, pipeline.tenant, of).await.unwrap()
}

/// Records, applied and open.
async fn sums(pipeline: &Pipeline, of: ImportId) -> (u64, u64, u64) {
    let family = family(pipeline, of).await.unwrap();
    (family.records, family.applied, family.open)
}

async fn another_tenant(pipeline: &Pipeline) -> TenantId {
    tenants::create(&pipeline.store, &"other".parse().unwrap(), "Other").await.unwrap().into_inner().id
}

/// 60 users, five of which fail: records 10, 20, 30, 40 and 50.
fn file() -> String {
    let mut csv = String::from("email,first_name\n");
    for at in 1..=60 {
        let bad = at % 10 == 0 && at < 60;
        csv.push_str(&if bad {
            format!("bad{at},Zoë {at}\n")
        } else {
            format!("user{at}@example.com,Zoë {at}\n")
        });
    }
    csv
}

/// The file with these records mended.
fn mend(text: &str, which: &[u32]) -> String {
    which.iter().fold(text.to_owned(), |text, at| {
        text.replace(&format!("\"bad{at}\""), &format!("\"user{at}@example.com\""))
    })
}

async fn a_family_through_two_mendings_is_shown_as_one(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let plain = ImportOptions::default();
    let first = pipeline.import(&file(), &plain).await;
    assert_eq!(first.counts, Counts { total: 60, inserted: 55, failed: 5, ..Counts::default() });
    assert_eq!(family(&pipeline, first.id).await, None, "it stands alone");

    // Three are mended in a table, of which one is wrong in another way; then the rest in objects.
    let mended = mend(&failed(&pipeline, first.id, ExportFormat::Csv).await, &[10, 20, 30]);
    let mended = mended.replace("user30@", "user30@@");
    let second = pipeline.import(&mended, &plain).await;
    assert_eq!(
        (second.mends, second.counts),
        (Some(first.id), Counts { total: 5, inserted: 2, failed: 3, ..Counts::default() })
    );
    assert_eq!(sums(&pipeline, first.id).await, (60, 57, 3));
    let lines = failed(&pipeline, second.id, ExportFormat::Ndjson).await;
    let lines = mend(&lines, &[40]).replace("user30@@", "user30@");
    let ndjson = ImportOptions { format: Format::Ndjson, ..plain.clone() };
    let third = pipeline.import(&lines, &ndjson).await;
    assert_eq!(
        (third.mends, third.counts),
        (Some(second.id), Counts { total: 3, inserted: 2, failed: 1, ..Counts::default() })
    );
    for member in [first.id, second.id, third.id] {
        let family = family(&pipeline, member).await.unwrap();
        assert_eq!(family.summary, "60 records: 59 applied over 3 imports, 1 open");
        let members: Vec<_> = family.members.iter().map(|one| (one.id, one.mends, one.undone)).collect();
        assert_eq!(
            members,
            [(first.id, None, false), (second.id, Some(first.id), false), (third.id, Some(second.id), false)]
        );
    }
    // The same failed file once more mends nothing twice; and one that has not ended does not count.
    let again = pipeline.import(&mended, &plain).await;
    assert_eq!(again.mends, Some(first.id));
    assert_eq!(sums(&pipeline, first.id).await, (60, 59, 1));
    let last = mend(&failed(&pipeline, third.id, ExportFormat::Csv).await, &[50]);
    let waiting = ImportOptions { start: Start::Manual, ..plain.clone() };
    let waiting = pipeline.accepted(&last, &waiting).await;
    assert_eq!(sums(&pipeline, waiting).await, (60, 59, 1));
    lifecycle::cancel(&pipeline.store, pipeline.tenant, waiting).await.unwrap();
    assert_eq!(sums(&pipeline, waiting).await, (60, 59, 1), "what was cancelled was not applied");

    // What a member did is gone with its undo, and back with the undo of that.
    let undo = taken_back(&mut pipeline, third.id).await;
    assert_eq!(sums(&pipeline, first.id).await, (60, 57, 3));
    taken_back(&mut pipeline, undo).await;
    assert_eq!(sums(&pipeline, first.id).await, (60, 59, 1));

    // Another tenant's file of failed records is no relative, and its family is nobody's here.
    let other = another_tenant(&pipeline).await;
    assert_eq!(family::of(&pipeline.store, other, first.id).await.unwrap(), None);
    assert!(!family::can_be_mended(&pipeline.store, other, first.id).await.unwrap());
    let own = std::mem::replace(&mut pipeline.tenant, other);
    let stranger = pipeline.import(&mended, &plain).await;
    assert_eq!(stranger.mends, None);
    pipeline.tenant = own;
    assert_eq!(family(&pipeline, first.id).await.unwrap().members.len(), 5);
    pipeline.finish().await;
}

async fn what_others_mended_stays_when_an_import_between_is_undone(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let plain = ImportOptions::default();
    let mut csv = String::from("email,first_name\n");
    for at in 1..=6 {
        csv.push_str(&format!("bad{at},Zoë {at}\n"));
    }
    let first = pipeline.import(&csv, &plain).await;
    assert_eq!(first.counts, Counts { total: 6, failed: 6, ..Counts::default() });
    // The second mends three of six, and the third the others.
    let mended = mend(&failed(&pipeline, first.id, ExportFormat::Csv).await, &[1, 2, 3]);
    let second = pipeline.import(&mended, &plain).await;
    assert_eq!(
        (second.mends, second.counts),
        (Some(first.id), Counts { total: 6, inserted: 3, failed: 3, ..Counts::default() })
    );
    let mended = mend(&failed(&pipeline, second.id, ExportFormat::Csv).await, &[4, 5, 6]);
    let third = pipeline.import(&mended, &plain).await;
    assert_eq!(
        (third.mends, third.counts),
        (Some(second.id), Counts { total: 3, inserted: 3, ..Counts::default() })
    );
    assert_eq!(sums(&pipeline, first.id).await, (6, 6, 0));

    taken_back(&mut pipeline, second.id).await;
    assert_eq!(sums(&pipeline, first.id).await, (6, 3, 3), "the third import applied three");
    taken_back(&mut pipeline, third.id).await;
    assert_eq!(sums(&pipeline, first.id).await, (6, 0, 6));
    pipeline.finish().await;
}

async fn an_import_that_was_driven_again_after_its_undo_counts_again(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let plain = ImportOptions::default();
    let csv = "email,phone_number\na@example.com,+85298765432\nb@example.com,\nc@example.com,\n";
    pipeline.import(csv, &plain).await;
    // The number of the first is the wish of the second, which fails.
    let csv = "email,phone_number,first_name\nb@example.com,+85298765432,Bea\nc@example.com,,Cid\n";
    let import = pipeline.import(csv, &plain).await.id;
    let child = pipeline.import(&failed(&pipeline, import, ExportFormat::Csv).await, &plain).await;
    assert_eq!(child.mends, Some(import));
    taken_back(&mut pipeline, import).await;
    assert_eq!(sums(&pipeline, import).await, (2, 0, 2));
    assert!(family(&pipeline, import).await.unwrap().members[0].undone);
    sqlx::query("update users set phone_number = null where email = 'a@example.com'")
        .execute(pipeline.store.pool())
        .await
        .unwrap();
    lifecycle::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    pipeline.ended(import).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert!(!family(&pipeline, import).await.unwrap().members[0].undone);
    pipeline.finish().await;
}

async fn signed(pipeline: &Pipeline, import: ImportId) -> Receipt {
    match receipts::read(&pipeline.store, pipeline.tenant, import, "muster test").await.unwrap() {
        Found::Receipt(receipt) => *receipt,
        other => panic!("{other:?}"),
    }
}

async fn a_receipt_is_signed_and_says_what_is_in_the_store(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let store = pipeline.store.clone();
    let import = pipeline.import(&file(), &ImportOptions::default()).await.id;
    let said = signed(&pipeline, import).await;
    let key = receipts::key(&store).await.unwrap();
    assert_eq!(receipts::key(&store).await.unwrap().public(), key.public(), "there is one key");
    let document = key.sign(&said).unwrap();
    assert_eq!(receipt::check(&document, Some(key.public())).unwrap().0, said);

    use sha2::{Digest, Sha256};
    let line = said.file.clone().unwrap();
    assert_eq!(line.sha256, hex::encode(Sha256::digest(file())));
    assert_eq!((line.bytes, line.records), (file().len() as u64, 60));
    assert_eq!(
        (said.counts, said.problems[0].count),
        (Counts { total: 60, inserted: 55, failed: 5, ..Counts::default() }, 5)
    );
    // The digests are those of the sheets, in the order in which the chunks were staged.
    let sheets: Vec<Option<Vec<u8>>> =
        sqlx::query_scalar("select outcomes from chunks where import_id = $1 order by id")
            .bind(import.get())
            .fetch_all(store.pool())
            .await
            .unwrap();
    let digests: Vec<[u8; 32]> = (1_u64..)
        .zip(&sheets)
        .map(|(number, sheet)| {
            let mut hash = Sha256::new();
            hash.update(number.to_be_bytes());
            hash.update(sheet.as_deref().unwrap_or_default());
            hash.finalize().into()
        })
        .collect();
    assert!(digests.len() > 2);
    assert_eq!(said.outcomes, OutcomeDigests::of(&digests));

    // Lineage, both ways; an undo has no file.
    let mended = mend(&failed(&pipeline, import, ExportFormat::Csv).await, &[10]);
    let child = pipeline.import(&mended, &ImportOptions::default()).await.id;
    // An undo that was dropped before it changed anything did not undo it.
    let dropped = NewUndo { start: Start::Manual, ..whole(&pipeline, import) };
    opened(&pipeline, &dropped).await;
    lifecycle::cancel(&store, pipeline.tenant, dropped.id).await.unwrap();
    assert_eq!(signed(&pipeline, import).await.lineage.undone_by, Vec::<uuid::Uuid>::new());
    let undo = taken_back(&mut pipeline, import).await;
    let lineage = signed(&pipeline, import).await.lineage;
    assert_eq!((lineage.mended_by, lineage.undone_by), (vec![child.get()], vec![undo.get()]));
    assert_eq!(signed(&pipeline, child).await.lineage.mends, Some(import.get()));
    let of_undo = signed(&pipeline, undo).await;
    assert_eq!((of_undo.file, of_undo.lineage.undoes), (None, Some(import.get())));

    // None of an import that goes on, and none for another tenant.
    let waiting = ImportOptions { start: Start::Manual, ..ImportOptions::default() };
    let waiting = pipeline.accepted("email\nx@example.com\n", &waiting).await;
    let found = receipts::read(&store, pipeline.tenant, waiting, "x").await.unwrap();
    assert!(matches!(found, Found::NotEnded(_)), "{found:?}");
    let other = another_tenant(&pipeline).await;
    assert_eq!(receipts::read(&store, other, import, "x").await.unwrap(), Found::NotFound);
    pipeline.finish().await;
}

/// The whole history, in pages of so many.
async fn history(pipeline: &Pipeline, user: UserId, limit: usize) -> (Vec<Entry>, bool) {
    let (mut all, mut after): (Vec<Entry>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page =
            history::page(&pipeline.store, pipeline.tenant, user, after, limit).await.unwrap().unwrap();
        all.extend(page.entries);
        match page.next {
            Some(next) => after = Some(next.parse().unwrap()),
            None => return (all, page.older_gone),
        }
    }
}

async fn user(pipeline: &Pipeline, email: &str) -> UserId {
    let id: uuid::Uuid = sqlx::query_scalar("select id from users where email = $1")
        .bind(email)
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
    UserId::new(id)
}

/// Kind, what did it, import, record and line.
fn told(entry: &Entry) -> (&str, &str, Option<ImportId>, Option<u64>, Option<u64>) {
    (&entry.kind, &entry.by, entry.import, entry.record, entry.line)
}

fn fields(entry: &Entry) -> Vec<(String, Value, Value)> {
    let fields = entry.fields.clone().unwrap();
    fields.into_iter().map(|field| (field.field, field.before, field.after)).collect()
}

async fn a_history_tells_imports_and_undos_with_their_fields(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let plain = ImportOptions::default();
    let hash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let mut csv = String::from("email,first_name,custom__office,password_hash\n");
    for at in 0..50 {
        csv.push_str(&format!("user{at}@example.com,Zoë {at},Milan,{hash}\n"));
    }
    let first = pipeline.import(&csv, &plain).await.id;
    let csv = "email,first_name,custom__office\nuser1@example.com,Zoë 1,Rome\nuser2@example.com,Zoë,\n\
               user1@example.com,Zoë,Oslo\n";
    let second = pipeline.import(csv, &plain).await.id;
    // Nothing changes: nothing to tell.
    pipeline.import("email,first_name\nuser1@example.com,Zoë\n", &plain).await;
    let (one, two) = (user(&pipeline, "user1@example.com").await, user(&pipeline, "user2@example.com").await);
    let five = user(&pipeline, "user5@example.com").await;
    let new = whole(&pipeline, second);
    undone(&mut pipeline, &new).await;

    for limit in [1, 2, 50] {
        let (entries, older_gone) = history(&pipeline, one, limit).await;
        assert!(!older_gone);
        let all: Vec<_> = entries.iter().map(told).collect();
        assert_eq!(all.len(), 3, "{limit}: {entries:#?}");
        assert_eq!((all[0].0, all[0].1, all[0].2), ("updated", "undo", Some(new.id)));
        assert_eq!(all[1], ("updated", "import", Some(second), Some(3), Some(4)));
        assert_eq!(all[2], ("inserted", "import", Some(first), Some(2), Some(3)));
        let change = |name: &str, before: Value, after: Value| (name.to_owned(), before, after);
        assert_eq!(
            fields(&entries[1]),
            [
                change("given_name", json!("Zoë 1"), json!("Zoë")),
                change("metadata.office", json!("Milan"), json!("Oslo"))
            ]
        );
        assert_eq!(
            fields(&entries[0]),
            [
                change("given_name", json!("Zoë"), json!("Zoë 1")),
                change("metadata.office", json!("Oslo"), json!("Milan"))
            ]
        );
        let said = fields(&entries[2]);
        assert!(said.contains(&change("given_name", Value::Null, json!("Zoë 1"))), "{said:?}");
        assert!(!format!("{entries:?}").contains("$2b$"), "no secret is told");
    }
    assert_eq!(history(&pipeline, two, 50).await.0.len(), 3);

    // Another tenant knows nothing of it, and a user that the undo deleted is known still.
    let other = another_tenant(&pipeline).await;
    assert_eq!(history::page(&pipeline.store, other, one, None, 50).await.unwrap(), None);
    let undo_first = whole(&pipeline, first);
    undone(&mut pipeline, &undo_first).await;
    let (entries, _) = history(&pipeline, five, 50).await;
    let all: Vec<_> = entries.iter().map(|entry| (&*entry.kind, &*entry.by)).collect();
    assert_eq!(all, [("deleted", "undo"), ("inserted", "import")]);

    // Past the retention of before-images it is told that something happened, and that what is not kept.
    retention::forget_before_images(&pipeline.store, 0.0).await.unwrap();
    let (entries, older_gone) = history(&pipeline, two, 2).await;
    assert!(!older_gone, "that it was inserted is known: {entries:#?}");
    let updates: Vec<_> = entries.iter().filter(|entry| entry.kind == "updated").collect();
    assert!(!updates.is_empty() && updates.iter().all(|entry| entry.fields.is_none()), "{entries:#?}");
    assert_eq!(entries.last().map(|entry| entry.kind.as_str()), Some("inserted"));
    pipeline.finish().await;
}

async fn the_history_of_an_erased_user_whom_an_import_inserted_is_gone(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let plain = ImportOptions::default();
    pipeline.import("email,first_name\nada@example.com,Ada\nbob@example.com,Bob\n", &plain).await;
    pipeline.import("email,first_name\nada@example.com,Ida\nbob@example.com,Rob\n", &plain).await;
    let (ada, bob) = (user(&pipeline, "ada@example.com").await, user(&pipeline, "bob@example.com").await);
    assert_eq!(history(&pipeline, ada, 50).await.0.len(), 2);
    let person = erase::person(&pipeline.store, pipeline.tenant, ada).await.unwrap().unwrap();
    erase::erase(&pipeline.store, pipeline.tenant, &person, "operator").await.unwrap();
    // With before-images, and once they are gone.
    for kept in [true, false] {
        if !kept {
            retention::forget_before_images(&pipeline.store, 0.0).await.unwrap();
        }
        let page = history::page(&pipeline.store, pipeline.tenant, ada, None, 50).await.unwrap();
        assert_eq!(page, None, "before-images are kept: {kept}");
        let of_another = history(&pipeline, bob, 50).await.0;
        let kinds: Vec<_> = of_another.iter().map(|entry| &*entry.kind).collect();
        assert_eq!(kinds, ["updated", "inserted"], "before-images are kept: {kept}");
    }
    pipeline.finish().await;
}

async fn a_history_keeps_its_order_when_a_retry_applies_a_chunk_again(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    // One chunk has both.
    pipeline.limits.chunk.lanes = 1;
    let store = pipeline.store.clone();
    let change = async |sql: &'static str| {
        sqlx::raw_sql(sql).execute(&mut store.connection().await.unwrap()).await.unwrap();
    };
    change("alter table users add constraint nobob check (given_name <> 'Bob')").await;
    let csv = "email,first_name\nada@example.com,Ada\nbob@example.com,Bob\n";
    let report = pipeline.import(csv, &ImportOptions::default()).await;
    let import = report.id;
    assert_eq!(
        (report.counts, report.chunks.applied),
        (Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() }, 1)
    );
    let ada = user(&pipeline, "ada@example.com").await;
    // A request changes her.
    sqlx::query(
        "insert into user_changes (tenant_id, user_id, kind, before, after)
         values ($1, $2, 'updated', '{\"given_name\": \"Ada\"}', '{\"given_name\": \"Ida\"}')",
    )
    .bind(pipeline.tenant.get())
    .bind(ada.get())
    .execute(store.pool())
    .await
    .unwrap();
    change("alter table users drop constraint nobob").await;
    lifecycle::retry(&store, pipeline.tenant, import).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    assert_eq!(pipeline.ended(import).await.counts, Counts { total: 2, inserted: 2, ..Counts::default() });
    worker.stop().await;
    dispatcher.stop().await;

    let bob = user(&pipeline, "bob@example.com").await;
    for limit in [1, 2, 50] {
        let (entries, older_gone) = history(&pipeline, ada, limit).await;
        let all: Vec<_> = entries.iter().map(|entry| (&*entry.kind, &*entry.by)).collect();
        assert_eq!(all, [("updated", "request"), ("inserted", "import")], "{limit}");
        assert!(!older_gone && entries[0].at > entries[1].at, "{entries:#?}");
        let of_bob = history(&pipeline, bob, limit).await.0;
        assert_eq!(
            of_bob.iter().map(told).collect::<Vec<_>>(),
            [("inserted", "import", Some(import), Some(2), Some(3))]
        );
        assert!(of_bob[0].at > entries[0].at, "he is there since the retry: {of_bob:#?}");
    }
    // What an older program wrote has the time of the chunk, and is found.
    sqlx::query("update before_images set at = null").execute(store.pool()).await.unwrap();
    let old = history(&pipeline, bob, 50).await.0;
    assert_eq!(old.iter().map(|entry| &*entry.kind).collect::<Vec<_>>(), ["inserted"]);
    pipeline.finish().await;
}
