//! The options that say which names an upload has and what its fields do: `columns` and `behaviours`, made into a
//! [`FieldTable`]. Both are lists of `name=value` with commas between them, or a JSON object.

use serde::Deserialize;

use crate::field::dictionary::nearest as nearest_field;
use crate::field::{Behaviour, Field, FieldRule, FieldTable, METADATA_PATTERN, METADATA_PREFIX, Mapped};
use crate::parse::Format;
use crate::validate::fold_column;

use super::values::has_nul;

/// Most names that can be given.
const MAX_COLUMNS: usize = 256;

/// What a request says of names and fields. Empty: Muster's own names and behaviours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ColumnChoices {
    columns: Vec<(String, Target)>,
    behaviours: Vec<(Field, Behaviour)>,
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Field(Field),
    /// `enabled`: the state of the account as yes and no.
    Enabled,
    /// A key of the metadata, with `[]` or `{}` after it where its cells are lists or objects.
    Key(String),
    LeftOut,
}

impl Target {
    /// Every name of README's table: of a field, `custom__…`, and nothing.
    fn of(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Ok(Self::LeftOut);
        }
        if let Some(key) = name.strip_prefix(METADATA_PREFIX)
            && !key.trim_end_matches(['[', ']', '{', '}', '*']).is_empty()
        {
            return Ok(Self::Key(key.to_owned()));
        }
        if name == "enabled" {
            return Ok(Self::Enabled);
        }
        let table = FieldTable::native();
        match table.find(name) {
            Some(rule) if name != METADATA_PATTERN => Ok(Self::Field(rule.field)),
            _ => field_of(name).map(Self::Field),
        }
    }
}

impl ColumnChoices {
    /// `columns=E-Mail=email,Abteilung=custom__department,Address=`: what names of the upload mean; nothing leaves one out.
    pub(super) fn set_columns(&mut self, text: &str) -> Result<(), String> {
        for (name, target) in pairs(text)? {
            let target = Target::of(&target)?;
            if name.is_empty() && target != Target::LeftOut {
                let message =
                    "a column without a name can only be left out; name it by its place, as in `#1=email`";
                return Err(message.into());
            }
            if self.columns.iter().any(|(known, _)| *known == name) {
                let name: String = name.chars().take(60).collect();
                return Err(format!("`{name}` is given twice"));
            }
            self.columns.push((name, target));
        }
        Ok(())
    }

    /// Columns of a profile: those that the request has itself count more.
    pub(super) fn default_columns(&mut self, text: &str) -> Result<(), String> {
        let mut others = Self::default();
        others.set_columns(text)?;
        let given: Vec<String> = self.columns.iter().map(|(name, _)| fold_column(name)).collect();
        others.columns.retain(|(name, _)| !given.contains(&fold_column(name)));
        self.columns.append(&mut others.columns);
        Ok(())
    }

    /// Behaviours of a profile: those that the request has itself count more.
    pub(super) fn default_behaviours(&mut self, text: &str) -> Result<(), String> {
        let mut others = Self::default();
        others.set_behaviours(text)?;
        others.behaviours.retain(|(field, _)| !self.behaviours.iter().any(|(given, _)| given == field));
        self.behaviours.append(&mut others.behaviours);
        Ok(())
    }

    /// `behaviours=given_name=ignore`: what fields do to a user that exists.
    pub(super) fn set_behaviours(&mut self, text: &str) -> Result<(), String> {
        for (field, behaviour) in pairs(text)? {
            let field = field_of(&field)?;
            let behaviour = Behaviour::ALL
                .into_iter()
                .find(|known| known.as_str() == behaviour)
                .ok_or_else(|| format!("the behaviour of `{field}` must be one of: remove, keep, ignore"))?;
            if field.is_secret() && behaviour != Behaviour::Ignore {
                let message = format!("`{field}` is only ever set for new users");
                return Err(message);
            }
            self.behaviours.push((field, behaviour));
        }
        Ok(())
    }

    /// The table, where it is not Muster's own. `before`: what counts where nothing is chosen, in place of that.
    pub(super) fn table(&self, before: Option<&FieldTable>, format: Format) -> Option<FieldTable> {
        if self.columns.is_empty() && self.behaviours.is_empty() {
            return before.cloned();
        }
        let mut table = before.cloned().unwrap_or_else(FieldTable::native);
        // What is chosen now comes first where several names mean one field.
        for mapped in table.0.iter_mut().filter_map(|rule| rule.mapped.as_mut()) {
            mapped.place = mapped.place.saturating_add(u16::try_from(self.columns.len()).unwrap_or(u16::MAX));
        }
        for (place, (name, target)) in self.columns.iter().enumerate() {
            // A header is folded before it is looked up, so its name here is folded too.
            let by_place = name
                .strip_prefix('#')
                .is_some_and(|place| !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit()));
            let name = if format.is_table() && !by_place { fold_column(name) } else { name.clone() };
            table.0.retain(|rule| rule.name != name);
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            let mapped = |key: Option<&String>, left_out| Mapped { place, key: key.cloned(), left_out };
            let (field, mapped) = match target {
                Target::Field(field) => (*field, mapped(None, false)),
                Target::Key(key) => (Field::Metadata, mapped(Some(key), false)),
                Target::Enabled => (Field::Status, mapped(None, false)),
                Target::LeftOut => (Field::Metadata, mapped(None, true)),
            };
            let enabled = *target == Target::Enabled;
            table.0.push(FieldRule { mapped: Some(mapped), enabled, ..FieldRule::new(&name, field) });
        }
        for (field, behaviour) in &self.behaviours {
            table.set_behaviour(*field, *behaviour);
        }
        Some(table)
    }
}

fn field_of(name: &str) -> Result<Field, String> {
    name.parse().map_err(|_| {
        let name: String = name.chars().take(60).collect();
        let table = FieldTable::native();
        // A table has further names for some fields.
        let near = || nearest_field(&fold_column(&name)).map(|field| format!("; did you mean `{field}`?"));
        let hint = match table.0.iter().find(|rule| rule.name == name) {
            Some(rule) => format!("; the field is called `{}`", rule.field.as_str()),
            None if near().is_some() => near().unwrap_or_default(),
            None => "; docs/fields.md and `muster import users --help` say which there are".to_owned(),
        };
        format!("there is no field `{name}`{hint}")
    })
}

/// The members of a JSON object, in their order.
struct InOrder(Vec<(String, String)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = InOrder;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, String>()? {
                    members.push(member);
                }
                Ok(InOrder(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Two lists of one option in one, in which those of the second count more.
pub(super) fn joined(under: &str, over: &str) -> Result<String, String> {
    let same = |one: &str, other: &str| one == other || fold_column(one) == fold_column(other);
    let mut all = pairs(over)?;
    for (name, value) in pairs(under)? {
        if !all.iter().any(|(given, _)| same(given, &name)) {
            all.push((name, value));
        }
    }
    Ok(as_object(&all))
}

/// Pairs as one text, whatever stands in them.
pub fn as_object(pairs: &[(String, String)]) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let members: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}:{}", text(name), text(value))).collect();
    format!("{{{}}}", members.join(","))
}

/// The pairs of a list of `name=value`, or of a JSON object.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs: Vec<(String, String)> = if text.trim_start().starts_with('{') {
        let InOrder(pairs) =
            serde_json::from_str(text).map_err(|_| "must be name=value pairs, or a JSON object of texts")?;
        pairs
    } else {
        text.split(',')
            .map(|pair| match pair.rsplit_once('=') {
                Some((name, value)) if !name.trim().is_empty() => {
                    Ok((name.trim().to_owned(), value.trim().to_owned()))
                }
                _ => Err("must be name=value pairs with commas between them"),
            })
            .collect::<Result<_, _>>()?
    };
    // JSON may write one so that the text around it has none.
    if pairs.iter().any(|(name, value)| has_nul(name) || has_nul(value)) {
        return Err("must not hold a NUL".into());
    }
    if pairs.is_empty() || pairs.len() > MAX_COLUMNS {
        return Err(format!("must have 1 to {MAX_COLUMNS} pairs"));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_behaviours_make_a_table() {
        let mut choices = ColumnChoices::default();
        assert_eq!(choices.table(None, Format::Csv), None);
        choices.set_columns("E-Mail Adresse = email, Vorname=given_name").unwrap();
        choices.set_behaviours(r#"{"given_name": "ignore"}"#).unwrap();
        let table = choices.table(None, Format::Csv).unwrap();
        assert_eq!(table.find("e_mail_adresse").map(|rule| rule.field), Some(Field::Email));
        let given = table.find("vorname").unwrap();
        assert_eq!((given.field, given.behaviour), (Field::GivenName, Behaviour::Ignore));
        assert_eq!(table.find("first_name").unwrap().behaviour, Behaviour::Ignore);
        assert!(choices.table(None, Format::Json).unwrap().find("E-Mail Adresse").is_some());
    }

    #[test]
    fn each_name_of_the_readme_can_be_said_of_a_column() {
        let (_, table) =
            include_str!("../../../../README.md").split_once("| column (CSV header or JSON key) |").unwrap();
        let mut names = 0;
        for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
            let cell = row.split('|').nth(1).unwrap();
            // What is quoted stands between each two of them.
            let quoted = cell.split('`').skip(1).step_by(2);
            for name in quoted.filter(|name| !name.starts_with("_error") && !name.contains('\u{2026}')) {
                assert!(Target::of(name).is_ok(), "{name}");
                names += 1;
            }
        }
        assert!(names > 30, "{names}");
        for name in ["custom__tags[]", "custom__facts{}", ""] {
            assert!(Target::of(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_name_that_begins_with_a_number_sign_is_no_place_unless_digits_follow() {
        let mut choices = ColumnChoices::default();
        choices.set_columns(r##"{"#ID": "custom__id", "#2": "email", "#": ""}"##).unwrap();
        let table = choices.table(None, Format::Csv).unwrap();
        assert!(table.find("#id").is_some() && table.find("#2").is_some() && table.find("#ID").is_none());
    }

    #[test]
    fn columns_can_be_any_name_of_the_documentation_and_nothing() {
        let mut choices = ColumnChoices::default();
        choices.set_columns(r#"{"Anschrift": "", "Vor=name": "first_name", "B": "custom__Büro[]", "": "", "A": "metadata"}"#).unwrap();
        let table = choices.table(None, Format::Csv).unwrap();
        let mapped = |name: &str| table.find(name).unwrap().mapped.clone().unwrap();
        assert!(mapped("anschrift").left_out && mapped("").left_out);
        assert_eq!(table.find("vor=name").unwrap().field, Field::GivenName);
        assert_eq!(mapped("b").key.as_deref(), Some("Büro[]"));
        assert_eq!((mapped("a").place, mapped("b").place), (4, 2), "the order is kept");
    }

    #[test]
    fn what_cannot_be_taken_is_told() {
        let columns = |text: &str| ColumnChoices::default().set_columns(text).unwrap_err();
        let behaviours = |text: &str| ColumnChoices::default().set_behaviours(text).unwrap_err();
        assert!(columns("a=nothing").contains("`nothing`"));
        assert!(columns("a=emial").contains("did you mean `email`"));
        assert!(columns("a=email,a=name").contains("given twice"));
        assert!(columns("{\"\": \"email\"}").contains("#1=email"));
        assert!(columns("a").contains("name=value"));
        assert!(columns("=email").contains("name=value"));
        assert!(columns("{\"a\": 1}").contains("JSON"));
        assert!(columns(r#"{"a": "custom__b\u0000"}"#).contains("NUL"));
        assert!(columns(r#"{"a\u0000": "email"}"#).contains("NUL"));
        assert!(behaviours("email=always").contains("remove, keep, ignore"));
        assert!(behaviours("password=keep").contains("only ever set for new users"));
    }
}
