//! Causes of failures and warnings, as people read them.

use muster_store::problems::{Place, Problem, Warned};

use crate::output::number;

/// One warning, for people.
pub(super) fn warned(warned: &Warned) -> String {
    let Warned { message, count, first } = warned;
    format!("{:>9}  {message} [warning]\n           {}", number(*count), places(first, *count))
}

/// One cause, for people.
pub(super) fn problem_text(problem: &Problem, advice: bool) -> String {
    let field = problem.field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
    let example = problem
        .example
        .as_deref()
        .map(|value| format!(", such as `{}`", value.escape_debug()))
        .unwrap_or_default();
    let mut text = format!(
        "{:>9}  {field}{} [{}]\n           {}{example}",
        number(problem.count),
        problem.message,
        problem.code,
        places(&problem.first, problem.count)
    );
    if let Some(advice) = problem.advice.as_deref().filter(|_| advice) {
        text.push_str("\n           ");
        text.push_str(advice);
    }
    text
}

/// The first records of many, for people.
fn places(first: &[Place], count: u64) -> String {
    let place = |place: &Place| match place.line {
        Some(line) => format!("record {}, line {}", number(place.record), number(line)),
        None => format!("record {}", number(place.record)),
    };
    let places: Vec<String> = first.iter().map(place).collect();
    let more = if count > first.len() as u64 { "; …" } else { "" };
    format!("{}{more}", places.join("; "))
}
