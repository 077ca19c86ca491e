//! Common headers of other programs and languages, and the fields that they mean.
//!
//! A name is listed only if it means exactly one field. Ambiguous names are left to the mapping that an import gives.
//! Names are compared as headers are ([`fold_column`](crate::column_name::fold)), and `firstName` as `first_name`.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

use super::Field;
use crate::column_name::{fold as fold_column, unaccented as without_accents};
use crate::fault::{Mutant, mutant};

/// What a common name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Common {
    /// The field.
    pub field: Field,
    /// Values are yes and no: whether the account is enabled.
    pub enabled: bool,
}

const fn means(field: Field) -> Common {
    Common { field, enabled: false }
}

/// Languages and the names in them, a field a row.
type Row = (Common, &'static [(&'static str, &'static [&'static str])]);

/// The table. In each language the names are as people write them.
const TABLE: &[Row] = &[
    (
        means(Field::Email),
        &[
            (
                "en",
                &[
                    "E-Mail",
                    "Mail",
                    "Email address",
                    "E-mail address",
                    "Mail address",
                    "Primary email",
                    "User email",
                    "Work email",
                ],
            ),
            ("de", &["E-Mail-Adresse", "Mailadresse", "Emailadresse", "Mail-Adresse"]),
            (
                "fr",
                &[
                    "Courriel",
                    "Adresse e-mail",
                    "Adresse mail",
                    "Adresse email",
                    "Adresse électronique",
                    "Adresse courriel",
                    "Mél",
                ],
            ),
            (
                "es",
                &["Correo", "Correo electrónico", "Dirección de correo", "Dirección de correo electrónico"],
            ),
            (
                "it",
                &[
                    "Posta elettronica",
                    "Indirizzo e-mail",
                    "Indirizzo email",
                    "Indirizzo di posta elettronica",
                ],
            ),
            ("pt", &["Correio eletrônico", "Correio electrónico", "Endereço de e-mail", "Endereço de email"]),
            ("nl", &["E-mailadres", "Emailadres", "Mailadres"]),
            ("pl", &["Adres e-mail", "Adres email", "Poczta elektroniczna"]),
            ("ru", &["Почта", "Эл. почта", "Электронная почта", "Адрес электронной почты"]),
            ("ja", &["メール", "メールアドレス", "電子メール"]),
            ("zh", &["邮箱", "电子邮箱", "电子邮件", "邮箱地址"]),
        ],
    ),
    (
        means(Field::PhoneNumber),
        &[
            (
                "en",
                &[
                    "Phone",
                    "Mobile",
                    "Mobile phone",
                    "Mobile number",
                    "Mobile phone number",
                    "Telephone",
                    "Telephone number",
                    "Cell phone",
                    "Phone no.",
                    "Primary phone",
                ],
            ),
            (
                "de",
                &[
                    "Telefon",
                    "Telefonnummer",
                    "Tel.",
                    "Handy",
                    "Handynummer",
                    "Mobil",
                    "Mobiltelefon",
                    "Mobilnummer",
                    "Rufnummer",
                ],
            ),
            (
                "fr",
                &[
                    "Téléphone",
                    "N° de téléphone",
                    "N° de tél.",
                    "Numéro de téléphone",
                    "Portable",
                    "Téléphone portable",
                ],
            ),
            ("es", &["Teléfono", "Número de teléfono", "Móvil", "Teléfono móvil", "Celular"]),
            ("it", &["Telefono", "Numero di telefono", "Cellulare", "Numero di cellulare"]),
            ("pt", &["Telefone", "Número de telefone", "Telemóvel", "Telefone celular"]),
            ("nl", &["Telefoonnummer", "Telefoon", "Mobiele telefoon", "Mobiel nummer"]),
            ("pl", &["Numer telefonu", "Telefon komórkowy", "Komórka", "Nr telefonu"]),
            ("ru", &["Телефон", "Номер телефона", "Мобильный телефон"]),
            ("ja", &["電話", "電話番号", "携帯電話"]),
            ("zh", &["电话", "手机", "手机号", "手机号码", "电话号码"]),
        ],
    ),
    (
        means(Field::PreferredUsername),
        &[
            ("en", &["Username", "User name", "Login", "Login name", "Account name", "sAMAccountName"]),
            ("de", &["Benutzername", "Nutzername", "Benutzerkennung", "Anmeldename"]),
            ("fr", &["Nom d'utilisateur", "Nom d’utilisateur"]),
            ("es", &["Nombre de usuario"]),
            ("it", &["Nome utente"]),
            ("pt", &["Nome de usuário", "Nome de utilizador"]),
            ("nl", &["Gebruikersnaam"]),
            ("pl", &["Nazwa użytkownika"]),
            ("ru", &["Имя пользователя", "Логин"]),
            ("ja", &["ユーザー名"]),
            ("zh", &["用户名"]),
        ],
    ),
    (
        means(Field::GivenName),
        &[
            ("en", &["First name", "Firstname", "Given name", "Givenname", "Forename"]),
            ("de", &["Vorname", "Rufname"]),
            ("fr", &["Prénom"]),
            ("es", &["Nombre de pila"]),
            ("pt", &["Primeiro nome", "Nome próprio"]),
            ("nl", &["Voornaam"]),
            ("pl", &["Imię"]),
            ("ru", &["Имя"]),
        ],
    ),
    (
        means(Field::FamilyName),
        &[
            ("en", &["Last name", "Lastname", "Surname", "Family name", "Familyname"]),
            ("de", &["Nachname", "Familienname", "Zuname"]),
            ("fr", &["Nom de famille"]),
            ("es", &["Apellido", "Apellidos"]),
            ("it", &["Cognome"]),
            ("pt", &["Sobrenome", "Último nome"]),
            ("nl", &["Achternaam", "Familienaam"]),
            ("pl", &["Nazwisko"]),
            ("ru", &["Фамилия"]),
        ],
    ),
    (
        means(Field::MiddleName),
        &[("en", &["Middlename"]), ("de", &["Zweiter Vorname"]), ("ru", &["Отчество"])],
    ),
    (
        means(Field::Name),
        &[
            ("en", &["Full name", "Fullname", "Display name", "Displayname"]),
            ("de", &["Vollständiger Name", "Anzeigename", "Vor- und Nachname"]),
            ("fr", &["Nom complet", "Nom et prénom", "Prénom et nom"]),
            ("es", &["Nombre completo", "Nombre y apellidos"]),
            ("it", &["Nome completo", "Nome e cognome"]),
            ("pt", &["Nome completo"]),
            ("nl", &["Volledige naam", "Naam"]),
            ("pl", &["Imię i nazwisko"]),
            ("ru", &["ФИО", "Полное имя"]),
            ("ja", &["氏名", "名前"]),
            ("zh", &["姓名"]),
        ],
    ),
    (
        means(Field::Nickname),
        &[("en", &["Nick name"]), ("de", &["Spitzname"]), ("fr", &["Surnom"]), ("it", &["Soprannome"])],
    ),
    (
        means(Field::Birthdate),
        &[
            ("en", &["Birth date", "Birthday", "Date of birth", "DOB"]),
            ("de", &["Geburtsdatum", "Geburtstag"]),
            ("fr", &["Date de naissance"]),
            ("es", &["Fecha de nacimiento"]),
            ("it", &["Data di nascita"]),
            ("pt", &["Data de nascimento"]),
            ("nl", &["Geboortedatum"]),
            ("pl", &["Data urodzenia"]),
            ("ru", &["Дата рождения"]),
        ],
    ),
    (
        means(Field::Gender),
        &[
            ("en", &["Sex"]),
            ("de", &["Geschlecht"]),
            ("fr", &["Genre", "Sexe"]),
            ("es", &["Sexo", "Género"]),
            ("it", &["Sesso"]),
            ("nl", &["Geslacht"]),
            ("pl", &["Płeć"]),
        ],
    ),
    (
        means(Field::Zoneinfo),
        &[
            ("en", &["Time zone", "Timezone"]),
            ("de", &["Zeitzone"]),
            ("fr", &["Fuseau horaire"]),
            ("es", &["Zona horaria"]),
        ],
    ),
    (
        means(Field::Locale),
        &[
            ("en", &["Preferred language", "Language"]),
            ("de", &["Sprache"]),
            ("fr", &["Langue"]),
            ("es", &["Idioma"]),
            ("it", &["Lingua"]),
            ("nl", &["Taal"]),
            ("pl", &["Język"]),
        ],
    ),
    (means(Field::Website), &[("en", &["Web site", "Homepage", "Website URL"]), ("fr", &["Site web"])]),
    (means(Field::EmailVerified), &[("en", &["Email is verified", "E-mail verified"])]),
    (
        Common { field: Field::Status, enabled: true },
        &[
            ("en", &["Enabled", "Active", "Is active", "Account enabled"]),
            ("de", &["Aktiv"]),
            ("fr", &["Actif"]),
            ("es", &["Activo"]),
            ("it", &["Attivo"]),
            ("pt", &["Ativo"]),
            ("nl", &["Actief"]),
            ("pl", &["Aktywny"]),
        ],
    ),
];

/// Headers that no field takes, and the key of the metadata that is proposed for them.
const METADATA: &[(&str, &[&str])] = &[
    (
        "department",
        &[
            "Abteilung",
            "Département",
            "Service",
            "Departamento",
            "Reparto",
            "Afdeling",
            "Dział",
            "Отдел",
            "部门",
            "部門",
        ],
    ),
    (
        "title",
        &[
            "Job title",
            "Position",
            "Funktion",
            "Stellenbezeichnung",
            "Poste",
            "Fonction",
            "Cargo",
            "Puesto",
            "Functie",
            "Stanowisko",
            "Должность",
            "职位",
        ],
    ),
    ("cost_center", &["Kostenstelle", "Cost centre", "Centre de coûts", "Centro de coste", "Kostenplaats"]),
    (
        "employee_id",
        &[
            "Personalnummer",
            "Employee number",
            "Employee no.",
            "Matricule",
            "Número de empleado",
            "Matricola",
        ],
    ),
    ("company", &["Firma", "Société", "Entreprise", "Empresa", "Azienda", "Bedrijf"]),
    ("city", &["Ort", "Stadt", "Ville", "Ciudad", "Città", "Cidade", "Plaats", "Miasto"]),
    (
        "postal_code",
        &["PLZ", "Zip code", "ZIP or postal code", "Code postal", "Código postal", "CAP", "Postcode"],
    ),
    ("country", &["Land", "Pays", "País", "Paese", "Kraj", "Country or region"]),
    ("manager", &["Vorgesetzter", "Responsable", "Jefe", "Leidinggevende"]),
];

/// Names that mean one field here and another there (a first name and a whole one, a family's name and a nickname): what is proposed
/// for them. None is accepted without a warning.
const UNSURE: &[(&str, Field)] = &[
    ("Nombre", Field::GivenName),
    ("Nome", Field::GivenName),
    ("Apelido", Field::FamilyName),
    ("Second name", Field::MiddleName),
];

fn unsure(folded: &str) -> Option<Field> {
    UNSURE.iter().find(|(name, _)| fold_column(name) == folded).map(|(_, field)| *field)
}

static NAMES: LazyLock<HashMap<String, Common>> = LazyLock::new(|| {
    let mut all = HashMap::new();
    for (common, languages) in TABLE {
        for name in languages.iter().flat_map(|(_, names)| names.iter()) {
            let folded = fold_column(name);
            // Many write the names of their language without accents.
            if let Some(bare) = without_accents(&folded) {
                all.entry(bare).or_insert(*common);
            }
            all.insert(folded, *common);
        }
    }
    all
});

/// The languages whose names are known.
#[cfg(test)]
pub(crate) fn languages() -> std::collections::BTreeSet<&'static str> {
    TABLE.iter().flat_map(|(_, languages)| languages.iter().map(|(language, _)| *language)).collect()
}

/// What a folded name commonly means.
pub fn common(folded: &str) -> Option<Common> {
    if let Some(field) = unsure(folded).filter(|_| mutant(Mutant::UnsureNamesTaken)) {
        return Some(means(field));
    }
    NAMES.get(folded).copied()
}

/// The key of the metadata that is proposed for a folded name.
pub(crate) fn metadata_key(folded: &str) -> Option<&'static str> {
    METADATA
        .iter()
        .find(|(_, names)| names.iter().any(|name| fold_column(name) == folded))
        .map(|(key, _)| *key)
}

/// The field whose own or common name is one typo away, or is contained in the name.
pub fn nearest(folded: &str) -> Option<Field> {
    if let Some(field) = unsure(folded) {
        return Some(field);
    }
    let length = folded.chars().count();
    let names = || {
        let own = Field::ALL.iter().filter(|field| !field.is_agent()).map(|field| (field.as_str(), *field));
        own.chain(NAMES.iter().map(|(name, common)| (name.as_str(), common.field)))
    };
    let mistakes = |name: &str| (name.chars().count() >= 5 && length >= 5).then(|| distance(folded, name));
    let close = names()
        .filter_map(|(name, field)| Some((mistakes(name)?, name.len(), name, field)))
        .filter(|(mistakes, ..)| *mistakes <= 1 + usize::from(length >= 9))
        .min_by_key(|(mistakes, length, name, _)| (*mistakes, *length, (*name).to_owned()));
    if let Some((.., field)) = close {
        return Some(field);
    }
    let padded = format!("_{folded}_");
    names()
        .filter(|(name, _)| name.chars().count() >= 4 && padded.contains(&format!("_{name}_")))
        .max_by_key(|(name, _)| (name.len(), (*name).to_owned()))
        .map(|(_, field)| field)
}

/// Letters to change, add, take away or swap with their neighbour to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 2 || a.len() > 64 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let cell = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
            rows[i][j] = cell;
        }
    }
    rows[a.len()][b.len()]
}

/// docs/columns.md: the names that are recognised by default.
pub fn columns_page() -> String {
    let mut page = String::from(
        "# Common column names\n\nMade from `shared/domain/src/field/dictionary.rs`. These names are known in CSV headers and as JSON keys, besides those of \
         [fields.md](fields.md), unless `--header-names exact` is said. Capitals, hyphens, underscores, blanks and line breaks do not count, and \
         `firstName` is `first name`. A name that is not known is told with a proposal; `--column \"NAME=FIELD\"` says what it means.\n\n\
         | field | language | names |\n|---|---|---|\n",
    );
    for (common, languages) in TABLE {
        for (language, names) in *languages {
            let field = common.field;
            let field = if common.enabled {
                format!("`{field}` (yes: active, no: inactive)")
            } else {
                format!("`{field}`")
            };
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(page, "| {field} | {language} | {} |", names.join(", "));
        }
    }
    let unsure: Vec<String> = UNSURE.iter().map(|(name, field)| format!("{name} (`{field}`)")).collect();
    let _ = writeln!(page, "\nThese mean more than one thing, and are only proposed: {}.", unsure.join(", "));
    page.push_str("\nNo field takes these; they are proposed as metadata:\n\n| key | names |\n|---|---|\n");
    for (key, names) in METADATA {
        let _ = writeln!(page, "| `custom__{key}` | {} |", names.join(", "));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_common_name_means_two_fields_or_is_a_fields_own() {
        let mut seen: HashMap<String, Common> = HashMap::new();
        for (common, languages) in TABLE {
            for name in languages.iter().flat_map(|(_, names)| names.iter()) {
                let folded = fold_column(name);
                assert!(!folded.is_empty(), "{name}");
                if let Some(before) = seen.insert(folded.clone(), *common) {
                    assert_eq!(before, *common, "{name}");
                }
                let own = folded.parse::<Field>();
                assert!(own.is_err() || own == Ok(common.field), "{name} is a field's own name");
            }
        }
        for (name, _) in UNSURE {
            assert_eq!(common(&fold_column(name)), None, "{name}");
        }
        for (_, names) in METADATA {
            for name in *names {
                assert_eq!(common(&fold_column(name)), None, "{name}");
            }
        }
    }

    #[test]
    fn the_page_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/columns.md");
        if std::env::var_os("MUSTER_UPDATE_DOCS").is_some() {
            std::fs::write(path, columns_page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == columns_page(),
            "docs/columns.md is out of date: run this test with MUSTER_UPDATE_DOCS=1"
        );
    }

    #[test]
    fn a_mistake_is_guessed_and_a_stranger_is_not() {
        assert_eq!(nearest("emial"), Some(Field::Email));
        assert_eq!(nearest("frist_name"), Some(Field::GivenName));
        assert_eq!(nearest("email_privat"), Some(Field::Email));
        assert_eq!(nearest("shoe_size"), None);
        assert_eq!(metadata_key(&fold_column("Abteilung")), Some("department"));
    }
}
