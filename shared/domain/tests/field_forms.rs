//! The forms of docs/fields.md: the example of each field is taken, and a value that is longer than its form says is not.

use muster_testkit::table::index;

use muster_domain::field::{Field, Form, form_of};
use muster_domain::options::{HeaderNames, ImportOptions};
use muster_domain::record::{FieldNames, Position, RawField, RawRecord, RawValue, RecordNumber};
use muster_domain::rules::Rules;
use muster_domain::validate::{Binding, validate};

const NAME: &str = "256 characters";
const HASHED: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// The codes of what is wrong with a cell of the field.
fn wrong(field: Field, cell: &str) -> Vec<String> {
    let options = ImportOptions { header_names: HeaderNames::Common, ..ImportOptions::default() };
    let rules = Rules::new(options).with_catalog(index());
    let mut names = FieldNames::new();
    let (email, name) = (names.push("email"), names.push(field.as_str()));
    let mut binding = Binding::new(&rules);
    binding.extend(&names);
    let value = RawField { name, value: RawValue::Text(cell) };
    let other = RawField { name: email, value: RawValue::Text("other@example.com") };
    let hash = names.push("password_hash");
    binding.extend(&names);
    let fields = match field {
        Field::Email => vec![value],
        Field::PasswordExpireAfter => {
            vec![other, value, RawField { name: hash, value: RawValue::Text(HASHED) }]
        }
        _ => vec![other, value],
    };
    let position = Position { record: RecordNumber::FIRST, line: 1, byte: 0 };
    let record = RawRecord { position, fields: &fields, defect: None, raw: None };
    let errors = validate(&record, &binding, &rules).result.err().unwrap_or_default();
    errors.iter().map(|error| format!("{} {:?}: {}", error.code, error.field, error.message)).collect()
}

#[test]
fn the_example_of_each_field_is_taken_and_a_longer_value_is_not() {
    for field in Field::ALL {
        let Form { longest, example, .. } = form_of(*field);
        assert_eq!(wrong(*field, example), Vec::<String>::new(), "{field}: {example}");
        if longest == NAME && *field != Field::Location {
            assert_eq!(wrong(*field, &"é".repeat(256)), Vec::<String>::new(), "{field}");
            assert!(!wrong(*field, &"é".repeat(257)).is_empty(), "{field}");
        }
    }
    let address = |local: usize| format!("{}@example.com", "a".repeat(local));
    assert!(wrong(Field::Email, &address(64)).is_empty() && !wrong(Field::Email, &address(65)).is_empty());
    let name = |length: usize| "a".repeat(length);
    assert!(wrong(Field::PreferredUsername, &name(150)).is_empty());
    assert!(!wrong(Field::PreferredUsername, &name(151)).is_empty());
    let page = |length: usize| format!("https://example.com/{}", "a".repeat(length - 20));
    assert!(
        wrong(Field::Website, &page(65_536)).is_empty() && !wrong(Field::Website, &page(65_537)).is_empty()
    );
}
