//! Causes of failures and warnings, as people read them.

use muster_store::problems::{Place, Problem, Warned};

use crate::invocation::Invocation;
use crate::output::number;

/// One warning, for people.
pub(super) fn warned(warned: &Warned) -> String {
    let Warned { message, count, first } = warned;
    format!("{:>9}  {message} [warning]\n           {}", number(*count), places(first, *count))
}

/// One cause, for people, with advice if it is known how the command was invoked.
pub(super) fn problem_text(problem: &Problem, invocation: Option<&Invocation>) -> String {
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
    if let (Some(advice), Some(invocation)) = (problem.advice.as_deref(), invocation) {
        text.push_str("\n           ");
        text.push_str(&invocation.completed(advice));
    }
    text
}

/// The first records of many, for people.
fn places(first: &[Place], count: u64) -> String {
    // An older server tells line 0 of what has none.
    let place = |place: &Place| match place.line.filter(|line| *line > 0) {
        Some(line) => format!("record {}, line {}", number(place.record), number(line)),
        None => format!("record {}", number(place.record)),
    };
    let places: Vec<String> = first.iter().map(place).collect();
    let more = if count > first.len() as u64 { "; …" } else { "" };
    format!("{}{more}", places.join("; "))
}
