//! Only for tests: every response of a test is compared with the document. No release has this.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use muster_domain::error::ErrorCode;
use serde_json::Value;

use super::VERBS;
use super::errors::CODES;

/// Statuses of an operation, each with the codes that it names; none where it names none.
type Answers = BTreeMap<u16, Option<BTreeSet<String>>>;

/// What each operation may answer, by method and route.
static ANSWERS: OnceLock<HashMap<(String, String), Answers>> = OnceLock::new();

fn answers(document: &Value) -> HashMap<(String, String), Answers> {
    let mut all = HashMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for verb in VERBS {
            let Some(responses) = item[verb]["responses"].as_object() else { continue };
            let codes = |response: &Value| -> Option<BTreeSet<String>> {
                let codes = response[CODES].as_array()?.iter();
                Some(codes.filter_map(Value::as_str).map(str::to_owned).collect())
            };
            let answer =
                |(status, response): (&String, &Value)| Some((status.parse().ok()?, codes(response)));
            let answers: Answers = responses.iter().filter_map(answer).collect();
            all.insert((verb.to_uppercase(), path.clone()), answers);
        }
    }
    all
}

/// What the document lacks of an answer, where it lacks something. What it does not describe is no matter: pages of the console, second
/// addresses of front doors, methods that a route does not take.
pub(in crate::api) fn lacks(
    document: fn() -> Value,
    method: &str,
    route: &str,
    status: u16,
    code: Option<ErrorCode>,
) -> Option<String> {
    let answers = ANSWERS.get_or_init(|| answers(&document())).get(&(method.to_owned(), route.to_owned()))?;
    let told = |what: String| {
        Some(format!("{method} {route} answered {what}, which the description of the API does not have"))
    };
    match (answers.get(&status), code) {
        (None, _) => told(status.to_string()),
        (Some(Some(codes)), Some(code)) if !codes.contains(code.as_str()) => told(format!("{status} {code}")),
        _ => None,
    }
}
