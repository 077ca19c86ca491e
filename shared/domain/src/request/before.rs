//! What names meant in an import whose failed records another file brings again.

use crate::field::{FieldRule, FieldTable};
use crate::parse::Format;
use crate::validate::fold_column;

/// The table of that import for a file of whatever format: by the names of its columns in place of their places (`#3`), since they may
/// stand elsewhere now, and by their names both as they were written and as a table's names are compared.
pub(super) fn by_names(table: &FieldTable, columns: &[String], format: Format) -> FieldTable {
    let mut rules: Vec<FieldRule> = Vec::with_capacity(table.0.len());
    let place_of = |rule: &FieldRule| -> Option<usize> {
        let place = rule.name.strip_prefix('#').filter(|_| format.is_table())?;
        place.parse::<usize>().ok()?.checked_sub(1)
    };
    // A place counts more than a name, and a name that the import gave a meaning more than those of the fields.
    let mapped = |rule: &&FieldRule| rule.mapped.is_some();
    let (by_place, by_name): (Vec<_>, Vec<_>) =
        table.0.iter().filter(mapped).partition(|rule| place_of(rule).is_some());
    for rule in by_place.into_iter().chain(by_name) {
        let written: Vec<&str> = match place_of(rule) {
            Some(place) => columns.get(place).map(String::as_str).into_iter().collect(),
            None => {
                let same = |column: &&str| fold_column(column) == fold_column(&rule.name);
                [rule.name.as_str()]
                    .into_iter()
                    .chain(columns.iter().map(String::as_str).filter(same))
                    .collect()
            }
        };
        for name in written.into_iter().flat_map(|name| [name.to_owned(), fold_column(name)]) {
            if !rules.iter().any(|known| known.name == name) {
                rules.push(FieldRule { name, ..rule.clone() });
            }
        }
    }
    let own = table
        .0
        .iter()
        .filter(|rule| rule.mapped.is_none() && rules.iter().all(|known| known.name != rule.name));
    let own: Vec<FieldRule> = own.cloned().collect();
    FieldTable(own.into_iter().chain(rules).collect())
}
