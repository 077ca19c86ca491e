//! Cleaning of CSV column names, so that `First Name`, `first-name` and `FIRST_NAME` are one column.

use icu_normalizer::DecomposingNormalizer;

/// Trims, drops accents and everything but letters, digits, `_`, `-`, `[`, `]`, `{`, `}` and blanks, lower-cases, turns each
/// run of blanks and hyphens into one `_`, and drops `_` at the ends. (Contract: Bitcaster's importer, contracts C.2.)
pub fn clean(name: &str) -> String {
    let mut clean = String::with_capacity(name.len());
    let mut gap = false;
    for c in DecomposingNormalizer::new_nfkd().normalize(name.trim()).chars() {
        match c {
            ' ' | '-' | '\t' => gap = true,
            '_' | '[' | ']' | '{' | '}' | 'a'..='z' | 'A'..='Z' | '0'..='9' => {
                if gap && !clean.is_empty() {
                    clean.push('_');
                }
                gap = false;
                clean.push(c.to_ascii_lowercase());
            }
            _ => {}
        }
    }
    clean.trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn spellings_of_one_column_meet() {
        for name in [
            "first_name",
            " First Name ",
            "first-name",
            "FIRST_NAME",
            "F\u{ed}rst  N\u{e4}me",
            "first - name",
            "_first_name_",
        ] {
            assert_eq!(clean(name), "first_name", "{name:?}");
        }
        assert_eq!(clean("E-mail"), "e_mail");
        assert_eq!(clean("custom__a.b"), "custom__ab");
        assert_eq!(clean("\u{5317}\u{4eac}"), "");
    }
}
