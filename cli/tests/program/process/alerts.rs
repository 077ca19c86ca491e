//! The alerts and the dashboard of deploy/ name series that a running `muster serve` really shows, and sections of the runbook that
//! are there.

mod fired;
mod prometheus;
mod rig;

use std::collections::{BTreeMap, BTreeSet};

use muster_testkit::sources;
use serde_json::Value;

use fired::FIRED;

use super::serve::serve;
use crate::harness::{Desk, signal, wait};

/// What is there beside our own series.
const OF_PROMETHEUS: [&str; 1] = ["up"];

/// Names of series with the values of each of their labels.
type Shown = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn shown(text: &str) -> Shown {
    let mut shown = Shown::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let known = shown.entry(name.to_owned()).or_default();
        for (label, value) in matchers(labels.trim_end_matches('}')) {
            known.entry(label).or_default().insert(value);
        }
    }
    shown
}

/// Labels and values of `a="x",b="y"`. Operators other than `=` stay at the label's end.
fn matchers(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((label, after)) = rest.split_once('"') {
        let (value, after) = after.split_once('"').expect("a value has an end");
        let label = label.trim_start_matches([',', ' ']).trim_end();
        found.push((label.strip_suffix('=').unwrap_or(label).to_owned(), value.to_owned()));
        rest = after;
    }
    found
}

/// The series that an expression names, with their matchers.
fn named(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut rest = expression;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '"') {
        rest = &rest[at..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = text.split_once('"').map_or("", |(_, after)| after);
            continue;
        }
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        let is_series = name.starts_with("muster_") || OF_PROMETHEUS.contains(&name);
        if is_series {
            let labels = after.strip_prefix('{').and_then(|labels| labels.split_once('}'));
            found.push((name.to_owned(), labels.map_or_else(Vec::new, |(labels, _)| matchers(labels))));
        }
    }
    found
}

/// What an expression names and is not there.
fn missing(expression: &str, shown: &Shown) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, labels) in named(expression) {
        if OF_PROMETHEUS.contains(&name.as_str()) {
            continue;
        }
        let Some(known) = shown.get(&name) else {
            missing.push(name);
            continue;
        };
        for (label, value) in labels {
            let (label, values): (&str, Vec<&str>) = match label.strip_suffix("=~") {
                Some(label) => (label, value.split('|').collect()),
                None => (label.trim_end_matches('!'), vec![&value]),
            };
            let there = known.get(label);
            missing.extend(
                values
                    .into_iter()
                    .filter(|value| there.is_none_or(|there| !there.contains(*value)))
                    .map(|value| format!("{name}{{{label}=\"{value}\"}}")),
            );
        }
    }
    missing
}

/// The values of a key in a file of YAML whose values stand on one line in single quotes, or bare.
fn values(yaml: &str, key: &str) -> Vec<String> {
    let wanted = format!("{key}: ");
    let lines = yaml.lines().map(|line| line.trim_start().trim_start_matches("- "));
    let bare = |text: &str| text.trim_matches('\'').replace("''", "'");
    lines.filter_map(|line| line.strip_prefix(&wanted)).map(bare).collect()
}

/// Every `expr` of a dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| match value {
            Value::String(text) if name == "expr" => found.push(text.clone()),
            value => expressions(value, found),
        }),
        Value::Array(all) => all.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(sources::root().join(path)).unwrap()
}

#[test]
fn every_expression_of_alerts_and_dashboard_names_series_that_are_really_shown() {
    let desk = Desk::new();
    let (child, url, _) = serve(&desk, true);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let get = async { reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap() };
    let shown = shown(&runtime.block_on(get));
    let mut all = values(&read("deploy/prometheus/rules.yml"), "expr");
    assert!(all.len() > 20, "{all:?}");
    let alerts = all.len();
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/dashboard.json")).unwrap();
    expressions(&dashboard, &mut all);
    assert!(all.len() > alerts + 20, "{all:?}");
    for expression in &all {
        assert!(!named(expression).is_empty(), "it names nothing: {expression}");
        assert_eq!(missing(expression, &shown), Vec::<String>::new(), "in {expression}");
    }
    // The test itself would see one that is not there.
    for wrong in
        ["sum(muster_nothing)", "muster_imports{state=\"done\"}", "muster_chunks{state=~\"dead|lost\"}"]
    {
        assert_eq!(missing(wrong, &shown).len(), 1, "{wrong}");
    }
    signal(&child, "TERM");
    wait(child).exits(0);
}

#[test]
fn every_alert_names_a_section_of_the_runbook_and_is_made_to_fire() {
    let (rules, tests, runbook) = (
        read("deploy/prometheus/rules.yml"),
        read("deploy/prometheus/rules_test.yml"),
        read("deploy/README.md"),
    );
    let of = |key: &str| values(&rules, key);
    let (alerts, sections, severities) = (of("alert"), of("runbook"), of("severity"));
    assert_eq!((alerts.len(), alerts.len()), (sections.len(), severities.len()));
    let fired = values(&tests, "alertname");
    for ((alert, section), severity) in alerts.iter().zip(&sections).zip(&severities) {
        assert!(runbook.contains(&format!("\n### {section}\n")), "{alert}: there is no section {section:?}");
        assert!(fired.contains(alert), "{alert} is never made to fire in rules_test.yml");
        let way = FIRED.iter().find(|(name, _)| name == alert).map(|(_, way)| way);
        let way = way.unwrap_or_else(|| panic!("{alert} is never made to fire against programs that run"));
        let row = format!("\n| `{alert}` | {severity} | *{section}* | {way} |\n");
        assert!(runbook.contains(&row), "the runbook has not this row:{row}");
    }
    let listed = FIRED.iter().map(|(name, _)| (*name).to_owned());
    for name in fired.into_iter().chain(listed) {
        assert!(alerts.contains(&name), "there is no alert {name}");
    }
    let names: BTreeSet<&str> = FIRED.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), FIRED.len(), "an alert stands twice in the table");
}
