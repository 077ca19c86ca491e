//! The options that say which names an upload has and what its fields do: `columns` and `behaviours`, made into a
//! [`FieldTable`]. Both are lists of `name=value` with commas between them, or a JSON object.

use muster_shared::catalog::FieldError;
use muster_shared::field::{Behaviour, Field, FieldRule, FieldTable};
use muster_shared::parse::Format;
use muster_shared::validate::clean_column;

use super::invalid;

/// Most names that can be given.
const MAX_COLUMNS: usize = 256;

/// What a request says of names and fields. Empty: Muster's own names and behaviours.
#[derive(Debug, Clone, Default)]
pub(super) struct FieldChoices {
    columns: Vec<(String, Field)>,
    behaviours: Vec<(Field, Behaviour)>,
}

impl FieldChoices {
    /// `columns=E-Mail=email,Vorname=given_name`: further names for fields.
    pub(super) fn set_columns(&mut self, text: &str) -> Result<(), FieldError> {
        for (name, field) in pairs("columns", text)? {
            let field = field_of("columns", &field)?;
            self.columns.push((name, field));
        }
        Ok(())
    }

    /// `behaviours=given_name=ignore`: what fields do to a user that exists.
    pub(super) fn set_behaviours(&mut self, text: &str) -> Result<(), FieldError> {
        for (field, behaviour) in pairs("behaviours", text)? {
            let field = field_of("behaviours", &field)?;
            let behaviour =
                Behaviour::ALL.into_iter().find(|known| known.as_str() == behaviour).ok_or_else(|| {
                    invalid(
                        "behaviours",
                        format!("the behaviour of `{field}` must be one of: remove, keep, ignore"),
                    )
                })?;
            if field.is_secret() && behaviour != Behaviour::Ignore {
                let message = format!("`{field}` is only ever set for new users");
                return Err(invalid("behaviours", message));
            }
            self.behaviours.push((field, behaviour));
        }
        Ok(())
    }

    /// The table, where it is not Muster's own.
    pub(super) fn table(&self, format: Format) -> Option<FieldTable> {
        if self.columns.is_empty() && self.behaviours.is_empty() {
            return None;
        }
        let mut table = FieldTable::native();
        for (name, field) in &self.columns {
            // A header is cleaned before it is looked up, so the name that stands for it is cleaned as well.
            let name = if format == Format::Csv { clean_column(name) } else { name.clone() };
            table.0.retain(|rule| rule.name != name);
            table.0.push(FieldRule::new(&name, *field));
        }
        for (field, behaviour) in &self.behaviours {
            table.set_behaviour(*field, *behaviour);
        }
        Some(table)
    }
}

fn field_of(option: &str, name: &str) -> Result<Field, FieldError> {
    name.parse().map_err(|_| {
        let name: String = name.chars().take(60).collect();
        let table = FieldTable::native();
        // A table has further names for some fields.
        let hint = match table.0.iter().find(|rule| rule.name == name) {
            Some(rule) => format!("; the field is called `{}`", rule.field.as_str()),
            None => "; docs/fields.md and `muster import users --help` say which there are".to_owned(),
        };
        invalid(option, format!("there is no field `{name}`{hint}"))
    })
}

fn pairs(option: &str, text: &str) -> Result<Vec<(String, String)>, FieldError> {
    let pairs: Vec<(String, String)> = if text.trim_start().starts_with('{') {
        let map: std::collections::BTreeMap<String, String> = serde_json::from_str(text)
            .map_err(|_| invalid(option, "must be name=value pairs, or a JSON object of texts"))?;
        map.into_iter().collect()
    } else {
        text.split(',')
            .map(|pair| match pair.rsplit_once('=') {
                Some((name, value)) if !name.trim().is_empty() => {
                    Ok((name.trim().to_owned(), value.trim().to_owned()))
                }
                _ => Err(invalid(option, "must be name=value pairs with commas between them")),
            })
            .collect::<Result<_, _>>()?
    };
    if pairs.is_empty() || pairs.len() > MAX_COLUMNS {
        return Err(invalid(option, format!("must have 1 to {MAX_COLUMNS} pairs")));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_behaviours_make_a_table() {
        let mut choices = FieldChoices::default();
        assert_eq!(choices.table(Format::Csv), None);
        choices.set_columns("E-Mail Adresse = email, Vorname=given_name").unwrap();
        choices.set_behaviours(r#"{"given_name": "ignore"}"#).unwrap();
        let table = choices.table(Format::Csv).unwrap();
        assert_eq!(table.find("e_mail_adresse").map(|rule| rule.field), Some(Field::Email));
        let given = table.find("vorname").unwrap();
        assert_eq!((given.field, given.behaviour), (Field::GivenName, Behaviour::Ignore));
        assert_eq!(table.find("first_name").unwrap().behaviour, Behaviour::Ignore);
        assert!(choices.table(Format::Json).unwrap().find("E-Mail Adresse").is_some());
    }

    #[test]
    fn what_cannot_be_taken_is_told() {
        let columns = |text: &str| FieldChoices::default().set_columns(text).unwrap_err().message;
        let behaviours = |text: &str| FieldChoices::default().set_behaviours(text).unwrap_err().message;
        assert!(columns("a=nothing").contains("`nothing`"));
        assert!(columns("a").contains("name=value"));
        assert!(columns("=email").contains("name=value"));
        assert!(columns("{\"a\": 1}").contains("JSON"));
        assert!(behaviours("email=always").contains("remove, keep, ignore"));
        assert!(behaviours("password=keep").contains("only ever set for new users"));
    }
}
