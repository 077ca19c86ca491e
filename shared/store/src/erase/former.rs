//! Former users of a person, which an undo deleted. Only the undo's own data still names them.

use muster_domain::chunk::decode;
use muster_domain::erase::Person;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{TenantId, UserId};
use muster_domain::undo::changes;
use uuid::Uuid;

use super::super::{Store, StoreError};

/// The person, with the users that undos deleted and that had one of their identifiers.
///
/// An erasure takes the changes of a user out from the oldest on, and its deletion is the last of them: so an erasure that was
/// interrupted finds it again.
pub(super) async fn with_former(
    store: &Store,
    tenant: TenantId,
    person: &Person,
) -> Result<Person, StoreError> {
    let mut person = Person { former: Vec::new(), ..person.clone() };
    if mutant(Mutant::DeletedStaysInImages) {
        return Ok(person);
    }
    let undos = sqlx::query_scalar!(
        "select id from imports where tenant_id = $1 and undoes is not null order by id",
        tenant.get()
    )
    .fetch_all(store.pool())
    .await?;
    let mut former = Vec::new();
    for undo in undos {
        // What it deleted, and what it creates again if it undoes an undo. Its chunks may be kept longer than before-images.
        for kept in [Kept::Images, Kept::Chunks] {
            let mut after = 0;
            while let Some((id, bytes)) = kept.next(store, undo, after).await? {
                after = id;
                let records = decode(&bytes).map_err(|_| kept.corrupt(id))?;
                former.extend(changes(&records).iter().flatten().filter_map(|change| person.was(change)));
            }
        }
    }
    if !former.is_empty() {
        person.former = only_theirs(store, tenant, &person, former).await?;
    }
    Ok(person)
}

/// Where an undo has changes.
#[derive(Clone, Copy)]
enum Kept {
    Images,
    Chunks,
}

impl Kept {
    /// The next row of an undo, one at a time: they are large.
    async fn next(self, store: &Store, undo: Uuid, after: i64) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
        Ok(match self {
            Self::Images => sqlx::query!(
                r#"select id, images as "images!"
                     from before_images
                    where import_id = $1 and id > $2 and images is not null
                    order by id
                    limit 1"#,
                undo,
                after,
            )
            .fetch_optional(store.pool())
            .await?
            .map(|row| (row.id, row.images)),
            Self::Chunks => sqlx::query!(
                "select id, body from chunks where import_id = $1 and id > $2 order by id limit 1",
                undo,
                after,
            )
            .fetch_optional(store.pool())
            .await?
            .map(|row| (row.id, row.body)),
        })
    }

    fn corrupt(self, id: i64) -> StoreError {
        match self {
            Self::Images => StoreError::corrupt("before_images", "images", id),
            Self::Chunks => StoreError::corrupt("chunks", "body", id),
        }
    }
}

/// Removes what belongs to somebody else by now: a user that was created again, and values that another user has.
async fn only_theirs(
    store: &Store,
    tenant: TenantId,
    person: &Person,
    former: Vec<Person>,
) -> Result<Vec<Person>, StoreError> {
    let ids: Vec<Uuid> = former.iter().filter_map(|one| one.user).map(UserId::get).collect();
    let values = |of: fn(&Person) -> &Option<String>| -> Vec<String> {
        former.iter().filter_map(|one| of(one).clone()).collect()
    };
    let rows = sqlx::query!(
        "select id, email, phone_number, preferred_username
           from users
          where tenant_id = $1 and id is distinct from $2
            and (id = any($3) or email = any($4) or phone_number = any($5) or preferred_username = any($6))",
        tenant.get(),
        person.user.map(UserId::get),
        &ids,
        &values(|one| &one.email),
        &values(|one| &one.phone_number),
        &values(|one| &one.preferred_username),
    )
    .fetch_all(store.pool())
    .await?;
    let others = rows.into_iter().map(|row| Person {
        user: Some(UserId::new(row.id)),
        email: row.email,
        phone_number: row.phone_number,
        preferred_username: row.preferred_username,
        former: Vec::new(),
    });
    let others: Vec<Person> = others.collect();
    let free = |value: Option<String>, of: fn(&Person) -> &Option<String>| {
        value.filter(|value| !others.iter().any(|other| of(other).as_ref() == Some(value)))
    };
    let former = former.into_iter().filter(|one| others.iter().all(|other| other.user != one.user));
    Ok(former
        .map(|one| Person {
            email: free(one.email, |other| &other.email),
            phone_number: free(one.phone_number, |other| &other.phone_number),
            preferred_username: free(one.preferred_username, |other| &other.preferred_username),
            ..one
        })
        .collect())
}
