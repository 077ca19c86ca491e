//! Files that people have, imported by the program as they would: `muster import users FILE` with the flags of the table.

use std::fs;

use muster_domain::tenant::{Slug, Tenant};
use muster_store::users::{self, UserFilter};
use muster_store::{Store, catalog, tenants};
use muster_testkit::{TestDatabase, hostile};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::case_table::{Come, folder, rows, words};
use crate::harness::{Desk, Run};

/// How many programs work at a time, each on a database of its own.
const AT_ONCE: usize = 2;

/// A database in which each case has a tenant of its own.
struct Office {
    desk: Desk,
    store: Store,
    runtime: Runtime,
    database: TestDatabase,
    tenants: usize,
}

impl Office {
    fn open() -> Self {
        let runtime = Runtime::new().unwrap();
        let database = runtime.block_on(TestDatabase::create());
        let store = runtime.block_on(database.store());
        let desk = Desk::new().set("DATABASE_URL", &database.url());
        Self { desk, store, runtime, database, tenants: 0 }
    }

    fn close(self) {
        self.runtime.block_on(self.store.close());
        drop(self.database);
    }

    fn tenant(&mut self) -> Tenant {
        self.tenants += 1;
        let slug: Slug = format!("case{}", self.tenants).parse().unwrap();
        self.runtime.block_on(async {
            let tenant = tenants::create(&self.store, &slug, "Case").await.unwrap().into_inner();
            catalog::apply(&self.store, tenant.id, &hostile::catalog()).await.unwrap();
            tenant
        })
    }

    fn users(&self, tenant: &Tenant) -> Vec<Value> {
        let page = users::page(self.store.pool(), tenant.id, UserFilter::default(), 100);
        let users = self.runtime.block_on(page).unwrap();
        users.iter().map(|user| serde_json::to_value(user).unwrap()).collect()
    }

    /// What the program tells of the records of the last import, as `code field: message`, and their warnings.
    fn told(&self, slug: &str) -> String {
        let run = self.desk.run(&["imports", "records", "last", "--tenant", slug, "--json"]).exits(0);
        let mut told = Vec::new();
        for line in run.stdout.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for error in record["errors"].as_array().into_iter().flatten() {
                told.push(format!(
                    "{} {}: {}",
                    text(&error["code"]),
                    text(&error["field"]),
                    text(&error["message"])
                ));
            }
            told.extend(record["warnings"].as_array().into_iter().flatten().map(text));
        }
        told.join("\n")
    }

    /// What is not as the row says, and as its hint says where that is followed word for word.
    fn wrong(&mut self, file: &str, flags: &[String], wanted: &Come) -> Vec<String> {
        let tenant = self.tenant();
        let slug = tenant.slug.as_str();
        let mut line = vec!["import", "users", file, "--tenant", slug, "--json", "--quiet"];
        line.extend(flags.iter().map(String::as_str));
        let run = self.desk.run(&line);
        let mut wrong = match &wanted.refused {
            Some(code) => wrongly_refused(&run, code, wanted),
            None => self.wrongly_imported(&run, &tenant, wanted),
        };
        let row = format!("{file} {flags:?}");
        wrong.iter_mut().for_each(|what| *what = format!("{row}: {what}: {run:#?}"));
        if let (Some(hint), Some(then)) = (&wanted.hint, &wanted.then) {
            let flags: Vec<String> = flags.iter().cloned().chain(words(hint)).collect();
            wrong.extend(self.wrong(file, &flags, then));
        }
        wrong
    }

    fn wrongly_imported(&self, run: &Run, tenant: &Tenant, wanted: &Come) -> Vec<String> {
        let Ok(summary) = serde_json::from_str::<Value>(&run.stdout) else {
            return vec!["there is no summary".into()];
        };
        let mut wrong = Vec::new();
        let code = if wanted.failed > 0 { 3 } else { 0 };
        if run.code != Some(code) {
            wrong.push(format!("exit code {code} is wanted"));
        }
        for (outcome, count) in [
            ("inserted", wanted.inserted),
            ("updated", wanted.updated),
            ("skipped", wanted.skipped),
            ("failed", wanted.failed),
        ] {
            if summary["counts"][outcome] != count {
                wrong.push(format!("{outcome}: {count} is wanted"));
            }
        }
        let users = if wanted.users.is_empty() { Vec::new() } else { self.users(tenant) };
        for user in &wanted.users {
            if !users.iter().any(|there| user.iter().all(|(field, value)| there[field] == *value)) {
                wrong.push(format!("user {user:?} is wanted of {users:#?}"));
            }
        }
        if !(wanted.tells.is_empty() && wanted.hides.is_empty() && wanted.hint.is_none()) {
            wrong.extend(wrongly_told(&self.told(tenant.slug.as_str()), wanted));
        }
        wrong
    }
}

fn wrongly_refused(run: &Run, code: &str, wanted: &Come) -> Vec<String> {
    let mut wrong = wrongly_told(&run.stderr, wanted);
    // A file that is none of the formats is a mistake of the command line.
    let (exit, words) = match code {
        "format_unknown" => (2, String::new()),
        code => (1, format!("[{code}]")),
    };
    if run.code != Some(exit) {
        wrong.push(format!("exit code {exit} is wanted"));
    }
    if !run.stderr.contains(&words) {
        wrong.push(format!("{words} is wanted"));
    }
    if !run.stdout.is_empty() {
        wrong.push("there is a summary".into());
    }
    wrong
}

fn wrongly_told(told: &str, wanted: &Come) -> Vec<String> {
    let missing = wanted.tells.iter().chain(&wanted.hint).filter(|words| !told.contains(words.as_str()));
    let shown = wanted.hides.iter().filter(|words| told.contains(words.as_str()));
    let missing = missing.map(|words| format!("`{words}` is not told: {told}"));
    missing.chain(shown.map(|words| format!("`{words}` is told: {told}"))).collect()
}

#[test]
fn files_that_people_have_are_imported_by_the_program_as_the_table_says() {
    let rows = rows();
    let share = |first: usize| {
        let mut office = Office::open();
        let mut wrong = Vec::new();
        for row in rows.iter().skip(first).step_by(AT_ONCE) {
            fs::copy(folder().join(&row.file), office.desk.path(&row.file)).unwrap();
            wrong.extend(office.wrong(&row.file, &row.come.with, &row.come));
        }
        office.close();
        wrong
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..AT_ONCE).map(|first| scope.spawn(move || share(first))).collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
