//! The words of the catalogue of errors and of messages, as somebody at the console needs them: `--flag value` of the command line is the
//! field of the form that asks for it, in quotes, a command is what does the same here, and what stands between backticks is code.

use maud::{Markup, html};
use muster_domain::request::{Answer, ImportOption, OPTIONS};

use super::frame::sentence;

/// Commands that advice names, and what does the same at the console.
const COMMANDS: [(&str, &str); 9] = [
    ("muster imports retry", "Retry what failed"),
    ("muster imports cancel", "Cancel"),
    ("muster imports failed", "Failed records as CSV"),
    ("muster imports show", "Imports"),
    ("muster imports plan", "the plan on the import’s page"),
    ("muster imports records", "Records"),
    ("muster imports chunks", "Chunks on the import’s page"),
    ("muster inspect", "New import"),
    ("muster catalog show", "Catalog"),
];

/// A message as a sentence.
pub(super) fn message(text: &str) -> Markup {
    told(&sentence(text))
}

/// A text of the catalogue or of a message.
pub(super) fn told(text: &str) -> Markup {
    let text = without_http(text);
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without its fellow is of somebody's own text.
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (at, part) in parts.iter().enumerate() {
            @if at % 2 == 0 { (part) } @else { (term(part)) }
        }
    }
}

/// What stood between backticks.
fn term(code: &str) -> Markup {
    let command = COMMANDS.iter().find(|(command, _)| code.starts_with(command));
    if let Some((_, here)) = command {
        return html! { em { (here) } };
    }
    let Some(flag) = code.strip_prefix("--") else { return html! { code { (code) } } };
    let (flag, value) = flag.split_once([' ', '=']).unwrap_or((flag, ""));
    if flag == "column" {
        return html! { (quoted("Means")) " beside the column" };
    }
    let question =
        OPTIONS.iter().find(|option| option.flag_name() == Some(flag)).and_then(|found| found.question);
    let Some(question) = question else { return html! { code { (code) } } };
    html! {
        (quoted(question.label))
        @if !value.is_empty() { " set to " (quoted(meaning(question.answer, value).unwrap_or(value))) }
    }
}

/// The words of a form in a sentence. Many labels are half a sentence, so quotes say where they end.
fn quoted(label: &str) -> Markup {
    html! { "“" em { (label) } "”" }
}

fn meaning(answer: Answer, value: &str) -> Option<&'static str> {
    let Answer::OneOf(values) = answer else { return None };
    values.iter().find(|(known, _)| *known == value).map(|(_, meaning)| *meaning)
}

/// The text without what it says of requests of programs.
fn without_http(text: &str) -> String {
    let mut left = text;
    let mut kept = String::with_capacity(text.len());
    while let Some((before, after)) = left.split_once(" (over HTTP") {
        let Some((_, rest)) = after.split_once(')') else { break };
        kept.push_str(before);
        left = rest;
    }
    kept + left
}

/// What counts where an option is not chosen.
pub(super) fn usual(option: &ImportOption, answer: &Answer) -> Option<&'static str> {
    use muster_domain::request::Usual;
    match (answer, option.usual) {
        (Answer::OneOf(values), Usual::Value(value)) => {
            values.iter().find(|(known, _)| *known == value).map(|(_, meaning)| *meaning)
        }
        // The hint says how.
        (Answer::OneOf(_), Usual::Told(_)) => Some("found out"),
        (_, Usual::Told(way)) => Some(way),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::error::ErrorCode;

    use super::*;

    #[test]
    fn flags_are_the_fields_of_the_form_and_commands_what_does_the_same() {
        let shown = told(
            "Ask, and use `--dates dmy` (over HTTP `dates`). `muster imports retry <ID> --code x` helps, `<b>` does not.",
        );
        let shown = shown.into_string();
        assert!(!shown.contains("--dates") && !shown.contains("HTTP") && !shown.contains('`'), "{shown}");
        assert!(shown.contains("<em>Retry what failed</em>"), "{shown}");
        assert!(shown.contains("<code>&lt;b&gt;</code>"), "{shown}");
        assert_eq!(told("one ` alone").into_string(), "one ` alone");
    }

    #[test]
    fn the_label_of_every_option_stands_in_quotes_in_a_sentence() {
        let text_of = |text: &str| {
            let shown = message(text).into_string();
            shown.replace("<em>", "").replace("</em>", "").replace("&amp;", "&")
        };
        for option in OPTIONS {
            let (Some(flag), Some(question)) = (option.flag_name(), option.question) else { continue };
            let label = question.label;
            assert_eq!(text_of(&format!("see `--{flag}`")), format!("See “{label}”."));
            let values: Vec<(&str, &str)> = match question.answer {
                Answer::OneOf(values) => values.to_vec(),
                Answer::Text(example) => vec![(example, example)],
            };
            for (value, meaning) in values {
                let shown = text_of(&format!("`--{flag} {value}` helps"));
                assert_eq!(shown, format!("“{label}” set to “{meaning}” helps."));
            }
        }
    }

    #[test]
    fn no_advice_of_the_catalogue_says_a_flag_that_the_form_has() {
        for code in ErrorCode::ALL {
            let shown = told(code.advice()).into_string();
            for option in OPTIONS.iter().filter(|option| option.question.is_some()) {
                let Some(flag) = option.flag_name() else { continue };
                for end in [" ", "<", ",", "."] {
                    assert!(!shown.contains(&format!("--{flag}{end}")), "{code}: {shown}");
                }
            }
        }
    }
}
