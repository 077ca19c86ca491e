//! A tenant of one's own on the running server, and a client to talk to it.
#![allow(dead_code, reason = "each contract uses its part")]

use std::process::Command;
use std::time::{Duration, Instant};

use muster_domain::catalog::Catalog;
use muster_domain::id::TenantId;
use muster_runtime::clock;
use muster_store::{Store, StoreOptions, catalog, tenants};
use secrecy::SecretString;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);

/// A tenant, with the store behind the server to look into.
pub(crate) struct Tenant {
    /// Where the server is: `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    pub(crate) slug: String,
    pub(crate) id: TenantId,
    pub(crate) store: Store,
    pub(crate) http: reqwest::Client,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test`, or `deploy/local/server.sh up` and set what it prints")
    })
}

impl Tenant {
    /// A new tenant with an empty catalog.
    pub(crate) async fn new() -> Self {
        // The client's provider of cryptography; somebody else may have installed one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url: SecretString = variable("TEST_MUSTER_DATABASE_URL").into();
        let options = StoreOptions { max_connections: 2, ..StoreOptions::default() };
        let store = Store::connect_url(&url, &options).await.unwrap();
        let slug = format!("t{}", clock::new_id().simple());
        let tenant = tenants::create(&store, &slug.parse().unwrap(), "Tenant").await.unwrap().into_inner();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url: variable("TEST_MUSTER_URL"), slug, id: tenant.id, store, http }
    }

    /// The same with this catalog (the shape of `PUT /v1/catalog`).
    pub(crate) async fn with_catalog(json: serde_json::Value) -> Self {
        let tenant = Self::new().await;
        let wanted: Catalog = serde_json::from_value(json).unwrap();
        let applied = catalog::apply(&tenant.store, tenant.id, &wanted).await.unwrap();
        assert!(matches!(applied, catalog::Applied::Catalog(_)), "{applied:?}");
        tenant
    }

    /// The program, to be run against the server's own database.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(variable("TEST_MUSTER_PROGRAM"));
        command
            .args(args)
            .env("DATABASE_URL", variable("TEST_MUSTER_DATABASE_URL"))
            .env("AMQP_URL", variable("TEST_AMQP_URL"));
        command
    }

    /// Runs the program against the server's own database, as an operator would; gives what it printed.
    #[track_caller]
    pub(crate) fn muster(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A new token of the tenant with these scopes.
    pub(crate) fn token(&self, name: &str, scopes: &[&str]) -> String {
        let mut args = vec!["token", "create", "--tenant", &self.slug, "--name", name];
        for scope in scopes {
            args.extend(["--scope", scope]);
        }
        let printed = self.muster(&args);
        printed.split_whitespace().find(|word| word.starts_with("mst_")).unwrap().to_owned()
    }

    /// The tenant's users as JSON rows of the table, by e-mail address.
    pub(crate) async fn users(&self) -> Vec<serde_json::Value> {
        let mut connection = self.store.connection().await.unwrap();
        let rows: Vec<String> = sqlx::query_scalar(
            "select row_to_json(u)::text from users as u where tenant_id = $1 order by email, id",
        )
        .bind(self.id.get())
        .fetch_all(&mut connection)
        .await
        .unwrap();
        rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
    }
}

/// Looks until what was looked for is there.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}
