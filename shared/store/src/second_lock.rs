//! The second lock between tenants: transactions that can see only one tenant's rows, whatever their statements ask for
//! (docs/decisions/0026-second-lock.md).

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;

use super::{Store, StoreError, Transaction};

/// The errors of the server if the role does not exist, and if this program may not use it.
const NO_ROLE: [&str; 2] = ["22023", "42501"];

/// Is the role once, and asks whether it may read every table with rows of tenants, but for those that hold secrets. A role that was made
/// by hand has no grant on what a later migration made, unless somebody gave it: then what reads such a table would fail.
const TRIED: &str = "
    begin read only;
    set local role muster_tenant;
    select from imports limit 0;
    do $$
    begin
        if exists (select from pg_class
                    where relrowsecurity and relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
                      and relname not in ('user_credentials', 'audit', 'tenant_keys', 'tokens', 'console_sessions', 'webhook_secrets')
                      and not has_table_privilege(oid, 'select')) then
            raise insufficient_privilege using message = 'the role muster_tenant may not read every table';
        end if;
    end $$;
    rollback";
/// The same without looking at grants.
const TRIED_AT_ONE: &str =
    "begin read only; set local role muster_tenant; select from imports limit 0; rollback";

/// Begins a moment of all tables.
const SNAPSHOT: &str = "begin isolation level repeatable read, read only";
/// Begins what reads once.
const READ: &str = "begin read only";

impl Store {
    /// Begins to read for one tenant: nothing that is read is another's. To be dropped when it is read.
    pub async fn reading(&self, tenant: TenantId) -> Result<Transaction<'static>, StoreError> {
        self.begin_for(tenant, READ).await
    }

    /// The same, of one moment however many statements read.
    pub async fn reading_one_moment(&self, tenant: TenantId) -> Result<Transaction<'static>, StoreError> {
        self.begin_for(tenant, SNAPSHOT).await
    }

    async fn begin_for(
        &self,
        tenant: TenantId,
        begin: &'static str,
    ) -> Result<Transaction<'static>, StoreError> {
        let locked = self.has_second_lock().await? && !mutant(Mutant::RecordsOfAnyTenant);
        if !locked {
            return Ok(self.pool().begin_with(begin).await?);
        }
        // One round trip. The tenant is a number.
        let statement =
            format!("{begin}; set local role muster_tenant; set local muster.tenant = '{}'", tenant.get());
        Ok(self.pool().begin_with(sqlx::AssertSqlSafe(statement)).await?)
    }

    /// Whether the database has the role of the second lock with its grants, and this program may use it.
    /// Many that ask at once wait for one try.
    pub async fn has_second_lock(&self) -> Result<bool, StoreError> {
        self.lock().get_or_try_init(|| self.try_second_lock()).await.copied()
    }

    async fn try_second_lock(&self) -> Result<bool, StoreError> {
        // On a connection of its own, which an error does not leave in the pool. A role without its grants will not do either.
        let mut connection = self.connection().await?;
        let tried = if mutant(Mutant::LockWithoutGrants) { TRIED_AT_ONE } else { TRIED };
        let tried = sqlx::raw_sql(tried).execute(&mut connection).await.map_err(StoreError::from);
        match tried {
            Ok(_) => Ok(true),
            Err(error) if error.sqlstate().is_some_and(|state| NO_ROLE.contains(&state)) => {
                tracing::warn!(
                    %error,
                    "this program may not use the role muster_tenant, or the role may not read every table: reads for a tenant have one lock, not two"
                );
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
