//! Built-in import profiles: the options for files of other products, and how such a file is recognised.
//!
//! A profile is a set of options as written in a request. Options given beside it take precedence. Plain
//! passwords are left out, since they are never stored. Values without a field of their own are kept as
//! metadata. So are phone numbers, if the product does not require E.164.

use crate::validate::fold_column;

/// A set of options for the files of one product.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// The product and the file.
    pub title: &'static str,
    /// Where the file comes from.
    pub from: &'static str,
    /// Where its names are published.
    pub source: &'static str,
    /// What the guide calls it.
    pub file: &'static str,
    /// What else there is to know.
    pub note: &'static str,
    /// What names of the file mean; nothing: left out.
    pub columns: &'static [(&'static str, &'static str)],
    /// Its other options.
    pub options: &'static [(&'static str, &'static str)],
    /// Names by which such a file is known: all of one of these groups.
    marks: &'static [&'static [&'static str]],
}

impl Builtin {
    /// The profile of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        BUILTIN.iter().find(|profile| profile.name == name)
    }

    /// The profile that a file with these names should be read by, if one is sure enough.
    pub fn of_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<&'static Self> {
        let names: Vec<String> = names.into_iter().map(fold_column).collect();
        let has = |name: &&str| names.contains(&fold_column(name));
        BUILTIN.iter().find(|profile| profile.marks.iter().any(|group| group.iter().all(has)))
    }

    /// All of its options, as in a request.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let members: Vec<String> =
            self.columns.iter().map(|(name, field)| format!("{}:{}", text(name), text(field))).collect();
        let columns = ("columns".to_owned(), format!("{{{}}}", members.join(",")));
        let others = self.options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        std::iter::once(columns).chain(others).collect()
    }
}

/// The guide to a built-in profile: docs/guides.
pub fn guide(profile: &Builtin) -> String {
    let Builtin { name, title, from, source, file, note, .. } = profile;
    let mut page = format!(
        "<!-- Made from shared/domain/src/import_profile.rs by the test `the_guides_are_the_profiles`. -->\n\n# {title}\n\n{from} Source of the names: <{source}>.\n\n\
         Look at the file first, then import it:\n\n```sh\nmuster inspect {file} --profile {name}\n\
         muster import users {file} --profile {name}\n```\n\n"
    );
    if !note.is_empty() {
        page.push_str(note);
        page.push_str("\n\n");
    }
    let if_there =
        match profile.options.iter().any(|(option, value)| *option == "at" && value.starts_with('?')) {
            true => " In `at`, `?` means: if there is such a list.",
            false => "",
        };
    page.push_str(&format!(
        "What the profile does not name has its own name or a common one ([columns.md](../columns.md)), or becomes metadata. Options \
         beside `--profile` count more: `--column \"NAME=FIELD\"` gives a column another meaning. Over HTTP the option is called \
         `profile`.{if_there}\n\n| name in the file | means |\n|---|---|\n",
    ));
    for (column, field) in profile.columns {
        let means = if field.is_empty() { "left out".to_owned() } else { format!("`{field}`") };
        page.push_str(&format!("| `{column}` | {means} |\n"));
    }
    page.push_str("\n| option | value |\n|---|---|\n");
    for (option, value) in profile.options {
        page.push_str(&format!("| `{option}` | `{value}` |\n"));
    }
    page
}

const KEEP: (&str, &str) = ("unknown_columns", "metadata");

/// Every built-in profile.
pub const BUILTIN: &[Builtin] = &[
    Builtin {
        name: "google-workspace",
        title: "Google Workspace: the users' CSV file of the Admin console, template or download",
        from: "In the Admin console: Directory, Users, then \"Download users\", or the template of \"Bulk update users\".",
        source: "https://support.google.com/a/answer/40057",
        file: "users.csv",
        note: "",
        columns: &[
            ("First Name [Required]", "given_name"),
            ("Last Name [Required]", "family_name"),
            ("Email Address [Required]", "email"),
            ("Password [Required]", ""),
            ("Password Hash Function [UPLOAD ONLY]", ""),
            ("Org Unit Path [Required]", "custom__org_unit_path"),
            ("New Primary Email [UPLOAD ONLY]", "new_email"),
            ("New Status [UPLOAD ONLY]", "status"),
            ("Status [READ ONLY]", "status"),
            ("Last Sign In [READ ONLY]", "custom__last_sign_in"),
            ("Recovery Email", "custom__recovery_email"),
            ("Home Secondary Email", "custom__home_email"),
            ("Work Secondary Email", "custom__work_email"),
            ("Recovery Phone [MUST BE IN THE E.164 FORMAT]", "custom__recovery_phone"),
            ("Work Phone", "custom__work_phone"),
            ("Home Phone", "custom__home_phone"),
            ("Mobile Phone", "custom__mobile_phone"),
            ("Work Address", "custom__work_address"),
            ("Home Address", "custom__home_address"),
            ("Employee ID", "custom__employee_id"),
            ("Employee Type", "custom__employee_type"),
            ("Employee Title", "custom__employee_title"),
            ("Manager Email", "custom__manager_email"),
            ("Department", "custom__department"),
            ("Cost Center", "custom__cost_center"),
            ("Building ID", "custom__building_id"),
            ("Floor Name", "custom__floor_name"),
            ("Floor Section", "custom__floor_section"),
            ("Change Password at Next Sign-In", ""),
            ("New Licenses [UPLOAD ONLY]", ""),
            ("Advanced Protection Program enrollment", ""),
        ],
        options: &[KEEP],
        marks: &[&["First Name [Required]", "Email Address [Required]"]],
    },
    Builtin {
        name: "microsoft-365",
        title: "Microsoft 365: the CSV file of \"Add multiple users\"",
        from: "In the Microsoft 365 admin center: Users, Active users, \"Add multiple users\", the CSV file with headers and sample user information.",
        source: "https://learn.microsoft.com/microsoft-365/enterprise/add-several-users-at-the-same-time",
        file: "users.csv",
        note: "",
        columns: &[
            ("User Name", "email"),
            ("Username", "email"),
            ("First Name", "given_name"),
            ("Last Name", "family_name"),
            ("Display Name", "name"),
            ("Job Title", "custom__job_title"),
            ("Department", "custom__department"),
            ("Office Number", "custom__office_number"),
            ("Office Phone", "custom__office_phone"),
            ("Mobile Phone", "custom__mobile_phone"),
            ("Fax", "custom__fax"),
            ("Alternate email address", "custom__alternate_email"),
            ("Address", "custom__street_address"),
            ("City", "custom__city"),
            ("State or Province", "custom__state"),
            ("ZIP or Postal Code", "custom__postal_code"),
            ("Country or Region", "custom__country"),
        ],
        options: &[KEEP],
        marks: &[&["Office Number", "ZIP or Postal Code", "Country or Region"]],
    },
    Builtin {
        name: "entra",
        title: "Microsoft Entra ID: the CSV file of \"Bulk create users\"",
        from: "In the Entra admin center: Users, Bulk operations, \"Bulk create\", the CSV template. Its first line names a version and is skipped.",
        source: "https://learn.microsoft.com/entra/identity/users/users-bulk-add",
        file: "users.csv",
        note: "`Block sign in` says yes for an account that is disabled.",
        columns: &[
            ("Name [displayName] Required", "name"),
            ("Name [displayName]", "name"),
            ("User name [userPrincipalName] Required", "email"),
            ("User name [userPrincipalName]", "email"),
            ("Initial password [passwordProfile] Required", ""),
            ("Initial password [passwordProfile]", ""),
            ("Block sign in (Yes/No) [accountEnabled] Required", "disabled"),
            ("Block sign in (Yes/No) [accountEnabled]", "disabled"),
            ("First name [givenName]", "given_name"),
            ("Last name [surname]", "family_name"),
            ("Job title [jobTitle]", "custom__job_title"),
            ("Department [department]", "custom__department"),
            ("Usage location [usageLocation]", "custom__usage_location"),
            ("Street address [streetAddress]", "custom__street_address"),
            ("State or province [state]", "custom__state"),
            ("Country or region [country]", "custom__country"),
            ("Office [physicalDeliveryOfficeName]", "custom__office"),
            ("City [city]", "custom__city"),
            ("ZIP or postal code [postalCode]", "custom__postal_code"),
            ("Office phone [telephoneNumber]", "custom__office_phone"),
            ("Mobile phone [mobile]", "custom__mobile_phone"),
        ],
        options: &[KEEP],
        marks: &[&["User name [userPrincipalName] Required"], &["User name [userPrincipalName]"]],
    },
    Builtin {
        name: "okta",
        title: "Okta: the CSV file of \"Import users from CSV\"",
        from: "In the Admin Console: Directory, People, More actions, \"Import users from CSV\", the template.",
        source: "https://support.okta.com/help/s/question/0D51Y00008ciESjSAM/import-csv-attributes-format",
        file: "users.csv",
        note: "",
        columns: &[
            ("login", "preferred_username"),
            ("firstName", "given_name"),
            ("lastName", "family_name"),
            ("middleName", "middle_name"),
            ("displayName", "name"),
            ("nickName", "nickname"),
            ("profileUrl", "profile"),
            ("timezone", "zoneinfo"),
            ("secondEmail", "custom__second_email"),
            ("mobilePhone", "custom__mobile_phone"),
            ("primaryPhone", "custom__primary_phone"),
            ("honorificPrefix", "custom__honorific_prefix"),
            ("honorificSuffix", "custom__honorific_suffix"),
            ("title", "custom__title"),
            ("streetAddress", "custom__street_address"),
            ("city", "custom__city"),
            ("state", "custom__state"),
            ("zipCode", "custom__zip_code"),
            ("countryCode", "custom__country_code"),
            ("postalAddress", "custom__postal_address"),
            ("preferredLanguage", "custom__preferred_language"),
            ("userType", "custom__user_type"),
            ("employeeNumber", "custom__employee_number"),
            ("costCenter", "custom__cost_center"),
            ("organization", "custom__organization"),
            ("division", "custom__division"),
            ("department", "custom__department"),
            ("managerId", "custom__manager_id"),
            ("manager", "custom__manager"),
        ],
        options: &[KEEP],
        marks: &[&["login", "honorificPrefix", "primaryPhone"]],
    },
    Builtin {
        name: "cognito",
        title: "Amazon Cognito: the CSV file of a user import job",
        from: "The CSV header of a user pool (`aws cognito-idp get-csv-header`), filled in for an import job.",
        source: "https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-using-import-tool.html",
        file: "users.csv",
        note: "Attributes of one's own (`custom:…`) become metadata under their names.",
        columns: &[
            ("cognito:username", "custom__cognito_username"),
            ("cognito:mfa_enabled", "custom__cognito_mfa_enabled"),
            ("address", "custom__address"),
            ("updated_at", "custom__updated_at"),
        ],
        options: &[KEEP],
        marks: &[&["cognito:username"]],
    },
    Builtin {
        name: "auth0",
        title: "Auth0: the JSON file of a bulk import, or an export as NDJSON",
        from: "The JSON file of the bulk user import, or an export job as JSON (NDJSON, also with `.gz`).",
        source: "https://auth0.com/docs/manage-users/user-migration/bulk-user-import-database-schema-and-examples",
        file: "users.json",
        note: "A `password_hash` is bcrypt and is taken; a `custom_password_hash` is left out.",
        columns: &[
            ("user_id", "custom__auth0_user_id"),
            ("username", "preferred_username"),
            ("phone_verified", "phone_number_verified"),
            ("blocked", "disabled"),
            ("app_metadata", "custom__app_metadata"),
            ("user_metadata", "custom__user_metadata"),
            ("custom_password_hash", ""),
            ("password_set_date", ""),
            ("mfa_factors", ""),
            ("identities", ""),
            ("multifactor", ""),
        ],
        options: &[KEEP],
        marks: &[
            &["app_metadata"],
            &["user_metadata"],
            &["custom_password_hash"],
            &["user_id", "email_verified", "nickname"],
        ],
    },
    Builtin {
        name: "keycloak",
        title: "Keycloak: the users of a realm's JSON export",
        from: "A realm's export (`kc.sh export --users realm_file`), or the list of its users. The users are found in it by themselves.",
        source: "https://www.keycloak.org/docs-api/latest/rest-api/index.html#UserRepresentation",
        file: "realm.json",
        note: "Credentials of Keycloak are none that Muster takes, and are left out.",
        columns: &[
            ("id", "custom__keycloak_id"),
            ("username", "preferred_username"),
            ("firstName", "given_name"),
            ("lastName", "family_name"),
            ("emailVerified", "email_verified"),
            ("enabled", "enabled"),
            ("attributes", "custom__attributes"),
            ("createdTimestamp", "custom__created_timestamp"),
            ("realmRoles", "custom__realm_roles"),
            ("clientRoles", "custom__client_roles"),
            ("applicationRoles", "custom__application_roles"),
            ("groups", "custom__groups"),
            ("credentials", ""),
            ("totp", ""),
            ("disableableCredentialTypes", ""),
            ("requiredActions", ""),
            ("federatedIdentities", ""),
            ("socialLinks", ""),
            ("userProfileMetadata", ""),
            ("clientConsents", ""),
            ("serviceAccountClientId", ""),
            ("federationLink", ""),
            ("notBefore", ""),
            ("access", ""),
            ("self", ""),
            ("origin", ""),
        ],
        options: &[KEEP, ("at", "?users")],
        marks: &[&["username", "enabled", "emailVerified"], &["username", "enabled", "credentials"]],
    },
    Builtin {
        name: "firebase",
        title: "Firebase Authentication: the JSON file of `firebase auth:export`",
        from: "`firebase auth:export users.json --format=JSON`.",
        source: "https://firebase.google.com/docs/cli/auth#file_format",
        file: "users.json",
        note: "Its password hashes (scrypt with keys of the project) are none that Muster takes, and are left out.",
        columns: &[
            ("localId", "custom__firebase_uid"),
            ("emailVerified", "email_verified"),
            ("displayName", "name"),
            ("photoUrl", "picture"),
            ("phoneNumber", "phone_number"),
            ("createdAt", "custom__created_at"),
            ("lastSignedInAt", "custom__last_signed_in_at"),
            ("lastLoginAt", "custom__last_signed_in_at"),
            ("customAttributes", "custom__claims"),
            ("passwordHash", ""),
            ("salt", ""),
            ("version", ""),
            ("passwordUpdatedAt", ""),
            ("validSince", ""),
            ("providerUserInfo", ""),
            ("mfaInfo", ""),
        ],
        options: &[KEEP, ("at", "?users")],
        marks: &[&["localId"]],
    },
    Builtin {
        name: "fusionauth",
        title: "FusionAuth: the JSON body of an import request",
        from: "The body of a request to `/api/user/import`.",
        source: "https://fusionauth.io/docs/apis/users#import-users",
        file: "users.json",
        note: "",
        columns: &[
            ("id", "custom__fusionauth_id"),
            ("username", "preferred_username"),
            ("firstName", "given_name"),
            ("lastName", "family_name"),
            ("middleName", "middle_name"),
            ("fullName", "name"),
            ("birthDate", "birthdate"),
            ("imageUrl", "picture"),
            ("timezone", "zoneinfo"),
            ("verified", "email_verified"),
            ("active", "enabled"),
            ("mobilePhone", "custom__mobile_phone"),
            ("preferredLanguages", "custom__preferred_languages"),
            ("data", "custom__data"),
            ("registrations", "custom__registrations"),
            ("memberships", "custom__memberships"),
            ("password", ""),
            ("salt", ""),
            ("factor", ""),
            ("encryptionScheme", ""),
            ("passwordChangeRequired", ""),
            ("twoFactor", ""),
        ],
        options: &[KEEP, ("at", "?users")],
        marks: &[&["encryptionScheme"], &["registrations", "email"], &["birthDate", "mobilePhone"]],
    },
    Builtin {
        name: "scim",
        title: "SCIM 2.0: a ListResponse of users",
        from: "What a SCIM 2.0 server answers to `GET /Users`.",
        source: "https://www.rfc-editor.org/rfc/rfc7643#section-4.1",
        file: "users.json",
        note: "The address is the primary one, or else the first. `emails` and `name` are kept whole as metadata too.",
        columns: &[
            ("id", "custom__scim_id"),
            ("externalId", "custom__external_id"),
            ("userName", "preferred_username"),
            ("/emails/primary/value", "email"),
            ("/emails/0/value", "email"),
            ("/name/givenName", "given_name"),
            ("/name/familyName", "family_name"),
            ("/name/middleName", "middle_name"),
            ("/name/formatted", "name"),
            ("emails", "custom__emails"),
            ("name", "custom__name"),
            ("displayName", "custom__display_name"),
            ("nickName", "nickname"),
            ("profileUrl", "profile"),
            ("active", "enabled"),
            ("timezone", "zoneinfo"),
            ("title", "custom__title"),
            ("userType", "custom__user_type"),
            ("preferredLanguage", "custom__preferred_language"),
            ("phoneNumbers", "custom__phone_numbers"),
            ("addresses", "custom__addresses"),
            ("groups", "custom__groups"),
            ("roles", "custom__roles"),
            ("entitlements", "custom__entitlements"),
            ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User", "custom__enterprise"),
            ("schemas", ""),
            ("meta", ""),
            ("password", ""),
            ("x509Certificates", ""),
            ("ims", ""),
            ("photos", ""),
        ],
        options: &[KEEP, ("at", "?Resources")],
        marks: &[&["schemas", "userName"], &["userName", "emails"]],
    },
    Builtin {
        name: "moodle",
        title: "Moodle: the CSV file of \"Upload users\"",
        from: "The file for Site administration, Users, \"Upload users\".",
        source: "https://docs.moodle.org/en/Upload_users",
        file: "users.csv",
        note: "Passwords in it are plain text, and are left out. Courses, groups and cohorts become metadata. So does `deleted`: Muster's imports do not delete users, so remove lines with a 1 there.",
        columns: &[
            ("username", "preferred_username"),
            ("password", ""),
            ("firstname", "given_name"),
            ("lastname", "family_name"),
            ("middlename", "middle_name"),
            ("alternatename", "nickname"),
            ("lang", "locale"),
            ("suspended", "disabled"),
            ("timezone", "custom__timezone"),
            ("address", "custom__address"),
            ("phone1", "custom__phone1"),
            ("phone2", "custom__phone2"),
            ("url", "custom__url"),
            ("oldusername", ""),
            ("deleted", "custom__deleted"),
        ],
        options: &[KEEP],
        marks: &[&["username", "firstname", "lastname"]],
    },
    Builtin {
        name: "canvas",
        title: "Canvas: users.csv of an SIS import",
        from: "`users.csv` of an SIS import.",
        source: "https://developerdocs.instructure.com/services/canvas/sis/file.sis_csv",
        file: "users.csv",
        note: "The status is `active` or `suspended`; a record that says `deleted` fails: Muster's imports do not delete users, so remove the line.",
        columns: &[
            ("user_id", "custom__sis_user_id"),
            ("integration_id", "custom__integration_id"),
            ("login_id", "preferred_username"),
            ("password", ""),
            ("ssha_password", ""),
            ("authentication_provider_id", "custom__authentication_provider_id"),
            ("full_name", "name"),
            ("sortable_name", "custom__sortable_name"),
            ("short_name", "nickname"),
            ("pronouns", "custom__pronouns"),
            ("declared_user_type", "custom__declared_user_type"),
            ("canvas_password_notification", ""),
            ("home_account", "custom__home_account"),
        ],
        options: &[KEEP],
        marks: &[&["user_id", "login_id", "status"]],
    },
    Builtin {
        name: "slack",
        title: "Slack: the member list as CSV",
        from: "In the workspace's settings: Manage members, \"Export member list\". Slack publishes no list of the columns; they are those that programs read.",
        source: "https://github.com/chainguard-dev/yacls/blob/v2.4.0/pkg/platform/slack.go",
        file: "users.csv",
        note: "Members, admins and guests are active, `Deactivated` is not. Bots have no address, so only they fail.",
        columns: &[
            ("username", "preferred_username"),
            ("fullname", "name"),
            ("displayname", "nickname"),
            ("status", "status"),
            ("billing-active", "custom__billing_active"),
            ("has-2fa", "custom__has_2fa"),
            ("has-sso", "custom__has_sso"),
            ("userid", "custom__slack_user_id"),
            ("expiration-timestamp", "custom__expiration_timestamp"),
        ],
        options: &[KEEP],
        marks: &[&["billing-active", "userid"], &["username", "status", "fullname"]],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_names_and_another_is_not() {
        for profile in BUILTIN {
            for group in profile.marks {
                let found = Builtin::of_names(group.iter().copied()).map(|found| found.name);
                assert_eq!(found, Some(profile.name), "{group:?}");
            }
            assert!(Builtin::find(profile.name).is_some());
        }
        assert!(Builtin::of_names(["email", "first_name", "last_name"]).is_none());
        assert!(Builtin::of_names([]).is_none());
    }
}
