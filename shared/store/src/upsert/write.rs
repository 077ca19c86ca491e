//! What is written of users: a few statements a chunk, whole rows by COPY.

use std::collections::HashSet;

use muster_domain::fault::{self, Point};
use muster_domain::id::TenantId;
use muster_domain::options::{Enrolment, IdentifierField};
use muster_domain::plan::{NewCredentials, Plan, UserRow};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::copy::CopyBuffer;

/// Keeps users as they are until the transaction ends, because records were refused for what they have. Else two chunks could
/// each refuse a record for a value that the other one frees, which no order of the two would do.
pub(super) async fn hold(connection: &mut PgConnection, obstacles: &[(Uuid, i32)]) -> Result<(), StoreError> {
    if obstacles.is_empty() {
        return Ok(());
    }
    let (ids, versions): (Vec<Uuid>, Vec<i32>) = obstacles.iter().copied().unzip();
    let held = sqlx::query_scalar!(
        "select count(*)
           from (select u.id
                   from users as u
                   join unnest($1::uuid[], $2::int[]) as o (id, version) on u.id = o.id and u.version = o.version
                  order by u.id
                    for share of u) as held",
        &ids,
        &versions,
    )
    .fetch_one(connection)
    .await?;
    if held == i64::try_from(obstacles.len()).ok() { Ok(()) } else { Err(StoreError::Conflict("a user")) }
}

pub(crate) async fn release(
    connection: &mut PgConnection,
    releases: &[(Uuid, IdentifierField)],
) -> Result<(), StoreError> {
    if releases.is_empty() {
        return Ok(());
    }
    let of =
        |field| -> Vec<Uuid> { releases.iter().filter(|(_, f)| *f == field).map(|(id, _)| *id).collect() };
    let ids: Vec<Uuid> = releases.iter().map(|(id, _)| *id).collect();
    sqlx::query!(
        "update users
            set email              = case when id = any($2) then null else email end,
                phone_number       = case when id = any($3) then null else phone_number end,
                preferred_username = case when id = any($4) then null else preferred_username end
          where id = any($1)",
        &ids,
        &of(IdentifierField::Email),
        &of(IdentifierField::PhoneNumber),
        &of(IdentifierField::PreferredUsername),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn update(
    connection: &mut PgConnection,
    updates: &[(UserRow<'_>, i32)],
) -> Result<(), StoreError> {
    if updates.is_empty() {
        return Ok(());
    }
    let text = |get: for<'r> fn(&'r UserRow<'_>) -> Option<&'r str>| -> Vec<Option<&str>> {
        updates.iter().map(|(row, _)| get(row)).collect()
    };
    let ids: Vec<Uuid> = updates.iter().map(|(row, _)| row.id).collect();
    let versions: Vec<i32> = updates.iter().map(|(_, version)| *version).collect();
    let changes: Vec<i32> = updates.iter().map(|(row, _)| row.changes).collect();
    let written = sqlx::query!(
        "update users as u
            set version = u.version + n.changes, updated_at = now(),
                email = n.email, phone_number = n.phone_number, preferred_username = n.preferred_username,
                given_name = n.given_name, family_name = n.family_name,
                attributes = n.attributes::jsonb, metadata = n.metadata::jsonb, profile = n.profile::jsonb
           from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                       $10::int[], $11::text[])
             as n (id, version, email, phone_number, preferred_username, given_name, family_name, attributes, metadata,
                   changes, profile)
          where u.id = n.id and u.version = n.version",
        &ids,
        &versions,
        &text(|row| row.email.as_deref()) as &[Option<&str>],
        &text(|row| row.phone_number.as_deref()) as &[Option<&str>],
        &text(|row| row.preferred_username.as_deref()) as &[Option<&str>],
        &text(|row| row.given_name.as_deref()) as &[Option<&str>],
        &text(|row| row.family_name.as_deref()) as &[Option<&str>],
        &text(|row| row.attributes.as_deref()) as &[Option<&str>],
        &text(|row| row.metadata.as_deref()) as &[Option<&str>],
        &changes,
        &text(|row| row.profile.as_deref()) as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    fault::point(Point::Updated)?;
    if written.rows_affected() == updates.len() as u64 { Ok(()) } else { Err(StoreError::Conflict("a user")) }
}

/// So many rows and fewer are inserted one by one: a COPY's extra round trips cost more than a row.
const FEW: usize = 2;

pub(crate) async fn insert(
    connection: &mut PgConnection,
    tenant: TenantId,
    rows: &[UserRow<'_>],
) -> Result<(), StoreError> {
    if rows.len() > FEW {
        return copy(connection, tenant, rows).await;
    }
    for row in rows {
        sqlx::query!(
            "insert into users (id, tenant_id, version, email, phone_number, preferred_username, given_name, family_name,
                                attributes, metadata, profile)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10::text::jsonb, $11::text::jsonb)",
            row.id,
            tenant.get(),
            row.changes,
            row.email.as_deref(),
            row.phone_number.as_deref(),
            row.preferred_username.as_deref(),
            row.given_name.as_deref(),
            row.family_name.as_deref(),
            row.attributes.as_deref(),
            row.metadata.as_deref(),
            row.profile.as_deref(),
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// COPY without a conflict clause: a key that someone else inserted in the meantime refuses the chunk, which is planned
/// again. Half as much work for the database as asking for each row first.
async fn copy(
    connection: &mut PgConnection,
    tenant: TenantId,
    rows: &[UserRow<'_>],
) -> Result<(), StoreError> {
    let mut buffer = CopyBuffer::with_capacity(rows.len() * 160);
    for row in rows {
        buffer.row(11);
        buffer.uuid(row.id);
        buffer.int(tenant.get());
        buffer.int(row.changes);
        for text in
            [&row.email, &row.phone_number, &row.preferred_username, &row.given_name, &row.family_name]
        {
            buffer.text(text.as_deref());
        }
        buffer.jsonb(row.attributes.as_deref());
        buffer.jsonb(row.metadata.as_deref());
        buffer.jsonb(row.profile.as_deref());
    }
    let mut copy = sqlx::postgres::PgConnection::copy_in_raw(
        connection,
        "copy users (id, tenant_id, version, email, phone_number, preferred_username, given_name, family_name, attributes, metadata,
                     profile)
         from stdin (format binary)",
    )
    .await?;
    // No time-out and no select! around this: a copy that is dropped half-way puts its connection out of step.
    if let Err(error) = copy.send(buffer.finish()).await {
        copy.abort("the rows could not be sent").await?;
        return Err(error.into());
    }
    copy.finish().await?;
    fault::point(Point::Copied)?;
    Ok(())
}

/// Only new users bring credentials, so there is nothing to collide with.
pub(super) async fn add_credentials(
    connection: &mut PgConnection,
    tenant: TenantId,
    credentials: &[NewCredentials<'_>],
) -> Result<(), StoreError> {
    if credentials.is_empty() {
        return Ok(());
    }
    let users: Vec<Uuid> = credentials.iter().map(|new| new.user).collect();
    let passwords: Vec<Option<&str>> = credentials.iter().map(|new| new.password_hash).collect();
    let expiries: Vec<_> = credentials.iter().map(|new| new.password_expires_at).collect();
    let second: Vec<Option<&str>> = credentials.iter().map(|new| new.mfa_password_hash).collect();
    let secrets: Vec<Option<&str>> = credentials.iter().map(|new| new.totp_secret).collect();
    sqlx::query!(
        "insert into user_credentials (user_id, tenant_id, password_hash, password_expires_at, mfa_password_hash, totp_secret)
         select user_id, $2, password_hash, password_expires_at, mfa_password_hash, totp_secret
           from unnest($1::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::text[])
             as new (user_id, password_hash, password_expires_at, mfa_password_hash, totp_secret)",
        &users,
        tenant.get(),
        &passwords as &[Option<&str>],
        &expiries as &[Option<chrono::DateTime<chrono::Utc>>],
        &second as &[Option<&str>],
        &secrets as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Enrols the users of a plan in the organization and group of its import.
pub(super) async fn enrol(
    connection: &mut PgConnection,
    tenant: TenantId,
    plan: &Plan<'_>,
    enrolment: Enrolment,
) -> Result<(), StoreError> {
    if plan.enrolments.is_empty() {
        return Ok(());
    }
    let new: HashSet<Uuid> = plan.inserts.iter().map(|row| row.id).collect();
    let there: Vec<Uuid> = plan.enrolments.iter().copied().filter(|user| !new.contains(user)).collect();
    let mut memberships = Memberships::default();
    for user in &plan.enrolments {
        memberships.put(*user, enrolment.organization_id, enrolment.group_id);
    }
    memberships.add(connection, tenant, &there).await
}

/// Memberships of several users.
#[derive(Default)]
pub(crate) struct Memberships {
    users: Vec<Uuid>,
    organizations: Vec<i32>,
    groups: Vec<i32>,
}

impl Memberships {
    pub(crate) fn put(&mut self, user: Uuid, organization: i32, group: i32) {
        self.users.push(user);
        self.organizations.push(organization);
        self.groups.push(group);
    }

    /// The users, each once.
    pub(crate) fn users(&self) -> Vec<Uuid> {
        let users: HashSet<Uuid> = self.users.iter().copied().collect();
        users.into_iter().collect()
    }

    /// Adds them. The users `there`, which this transaction did not make, are kept from being deleted meanwhile: an undo may be about to.
    /// A conflict where one of them is gone.
    pub(crate) async fn add(
        &self,
        connection: &mut PgConnection,
        tenant: TenantId,
        there: &[Uuid],
    ) -> Result<(), StoreError> {
        if self.users.is_empty() {
            return Ok(());
        }
        let held = sqlx::query_scalar!(
            r#"with held as materialized (
                   select id from users where id = any($5) order by id for key share
               ), enrolled as (
                   insert into memberships (user_id, organization_id, group_id, tenant_id)
                   select user_id, organization_id, group_id, $4
                     from unnest($1::uuid[], $2::int[], $3::int[]) as new (user_id, organization_id, group_id)
                   on conflict do nothing
               )
               select count(*) as "held!" from held"#,
            &self.users,
            &self.organizations,
            &self.groups,
            tenant.get(),
            there,
        )
        .fetch_one(connection)
        .await?;
        if i64::try_from(there.len()).ok() == Some(held) {
            Ok(())
        } else {
            Err(StoreError::Conflict("a user"))
        }
    }

    /// Takes them away.
    pub(crate) async fn delete(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if self.users.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "delete from memberships as m
              using unnest($1::uuid[], $2::int[], $3::int[]) as old (user_id, organization_id, group_id)
              where m.user_id = old.user_id and m.organization_id = old.organization_id and m.group_id = old.group_id",
            &self.users,
            &self.organizations,
            &self.groups,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
