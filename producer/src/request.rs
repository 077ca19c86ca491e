//! The parts of a request that need the store: its profile, its organization and group, and the import whose records it corrects. Names of
//! the catalog are looked up here, so that a typo shows before the first byte is received.

use muster_domain::catalog::FieldError;
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{GroupId, ImportId, OrganizationId, TenantId};
use muster_domain::options::{Enrolment, ImportOptions, OnExisting, Start};
use muster_domain::parse::Dialect;
use muster_domain::receive::{NewImport, Provenance};
use muster_domain::request::{AskedImport, ImportRequest, OptionsError, checked_key, unknown_profile};
use muster_domain::tenant::Slug;
use muster_store::{Store, StoreError, catalog, family, import_profiles};

/// Why a request cannot become an import.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// An option is not as it must be.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FieldError> for RequestError {
    fn from(error: FieldError) -> Self {
        Self::Options(error.into())
    }
}

/// A request whose names are looked up: ready for [`receive::begin`](crate::receive::begin).
#[derive(Debug, Clone)]
pub struct ResolvedImport {
    /// The import.
    pub import: NewImport,
    /// How its file is written.
    pub dialect: Dialect,
    /// The share of the first records, in percent, that may fail for one cause; 0 for any.
    pub brake: u8,
}

fn invalid(field: &str, message: impl Into<String>) -> FieldError {
    FieldError::new(ErrorCode::InvalidRequest, field, message)
}

/// Looks up what the request names, and makes it an import with this id.
///
/// A group that the catalog lacks is created, of an import that is planned when the plan is applied; an organization is not.
///
/// # Errors
///
/// Where something that it names is not there, its format is not known, its key is none, or the store fails.
pub async fn resolve(
    request: &ImportRequest,
    store: &Store,
    tenant: TenantId,
    id: ImportId,
    media_type: Option<&str>,
    idempotency_key: Option<&str>,
) -> Result<ResolvedImport, RequestError> {
    let profile = request.profile().map(str::to_owned);
    let request = with_profile(request, store, tenant).await?;
    let AskedImport { mut options, dialect, brake } = request.asked(media_type)?;
    let idempotency = match idempotency_key {
        Some(key) => Some((checked_key(key)?, request.fingerprint(tenant, &options, dialect.encoding))),
        None => None,
    };
    if let Some(organization) = organization(store, tenant, &mut options).await? {
        let group = match &options.group {
            // A plan writes nothing: the group is made when the plan is applied.
            Some(name) if options.start == Start::Plan && !mutant(Mutant::PlanMakesGroups) => {
                catalog::find_group(store.pool(), tenant, name).await?.unwrap_or(GroupId::PLANNED)
            }
            Some(name) => catalog::ensure_group(store, tenant, name).await?,
            None => GroupId::NONE,
        };
        options.enrolment = Some(Enrolment { organization_id: organization.get(), group_id: group.get() });
    }
    if let Some(parent) = request.mends()
        && !family::can_be_mended(store, tenant, parent).await?
    {
        return Err(invalid("mends", "must be the id of an import of this tenant, and of no undo").into());
    }
    let provenance = Provenance { mends: request.mends(), actor: None, profile };
    let filename = request.filename().map(str::to_owned);
    let import = NewImport { id, tenant, filename, options, idempotency, provenance };
    Ok(ResolvedImport { import, dialect, brake })
}

/// The request with its profile's options, where it names one. Options given beside the profile take precedence.
///
/// # Errors
///
/// Where there is no such profile, or the store fails.
pub async fn with_profile(
    request: &ImportRequest,
    store: &Store,
    tenant: TenantId,
) -> Result<ImportRequest, RequestError> {
    let Some(name) = request.tenants_profile() else { return Ok(request.clone()) };
    let slug = name.parse::<Slug>().map_err(|error| invalid("profile", error.to_string()))?;
    match import_profiles::get(&mut *store.reading(tenant).await?, tenant, &slug).await? {
        Some(saved) => Ok(request.with_options_of(&saved.options)?),
        None => Err(unknown_profile(name).into()),
    }
}

/// The organization that users are enrolled in: the one named, or where one is needed the tenant's only one.
async fn organization(
    store: &Store,
    tenant: TenantId,
    options: &mut ImportOptions,
) -> Result<Option<OrganizationId>, RequestError> {
    if options.organization.is_none() {
        let needs = match (&options.group, options.on_existing) {
            (Some(_), _) => "a group is in an organization",
            (None, OnExisting::Enrol) => "`on_existing=enrol` enrols users in an organization",
            (None, OnExisting::Skip | OnExisting::Update) => return Ok(None),
        };
        let mut there = catalog::get(store, tenant).await?.organizations;
        match (there.pop(), there.is_empty()) {
            (Some(only), true) => options.organization = Some(only.slug),
            _ => return Err(invalid("organization", format!("{needs}: name it")).into()),
        }
    }
    let slug = options.organization.as_deref().and_then(|slug| slug.parse::<Slug>().ok());
    let found = match slug {
        Some(slug) => catalog::find_organization(store.pool(), tenant, &slug).await?,
        None => None,
    };
    match found {
        Some((id, _)) => Ok(Some(id)),
        None => {
            let named: String =
                options.organization.as_deref().unwrap_or_default().chars().take(60).collect();
            let message = format!(
                "the catalog has no organization `{named}`; `muster catalog apply` (PUT /v1/catalog) makes it"
            );
            Err(invalid("organization", message).into())
        }
    }
}

/// Why another profile is not saved.
pub fn too_many_profiles() -> String {
    format!(
        "the tenant has {} profiles, and may have no more: delete one, or replace one",
        import_profiles::MOST
    )
}
