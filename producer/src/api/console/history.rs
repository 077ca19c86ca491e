//! The history of a user, newest first.

use maud::{Markup, html};
use muster_store::history::{Entry, Page};
use serde_json::Value;

use super::formatting::{moment, number};

/// The page of a history; `here` is the address of the user.
pub(super) fn view(page: &Page, here: &str, imports: bool) -> Markup {
    html! {
        section aria-labelledby="history" {
            h2 #history { "History" }
            @if page.entries.is_empty() { p.calm { "Nothing that is still kept." } }
            ol.problems { @for entry in &page.entries { li { (one(entry, imports)) } } }
            @if page.older_gone { p.hint { "What happened before is not kept any more." } }
            @if let Some(next) = &page.next { p.pages { a.button href={ (here) "?after=" (next) } { "What happened before" } } }
        }
    }
}

fn one(entry: &Entry, imports: bool) -> Markup {
    html! {
        p {
            strong { (moment(entry.at)) } ": " (entry.kind) " by "
            @match (entry.by.as_str(), entry.import) {
                ("undo", Some(id)) => { "undo " (import(entry, &id.to_string(), imports)) }
                (_, Some(id)) => { "import " (import(entry, &id.to_string(), imports)) }
                _ => { "a request about this user" }
            }
            @if let Some(record) = entry.record { ", record " (number(record)) }
            @if let Some(line) = entry.line { ", line " (number(line)) }
            @if let Some(actor) = &entry.actor {
                " · " (actor.kind) " " (actor.name.clone().or_else(|| actor.token.map(|id| id.to_string())).unwrap_or_default())
            }
        }
        @match &entry.fields {
            None => { p.hint { "What changed is not kept any more." } }
            Some(fields) => {
                dl.about {
                    @for field in fields {
                        dt { code { (field.field) } }
                        dd { @if !field.before.is_null() { (text(&field.before)) " → " } (text(&field.after)) }
                    }
                }
            }
        }
    }
}

fn import(entry: &Entry, id: &str, linked: bool) -> Markup {
    let name = entry.filename.as_deref().unwrap_or(id);
    html! { @if linked { a href={ "/console/imports/" (id) } { (name) } } @else { (name) } }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use muster_store::history::FieldChange;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_text_and_what_is_gone_is_said() {
        let field = FieldChange { field: "given_name".into(), before: json!("<b>Ann"), after: Value::Null };
        let entry = Entry {
            kind: "updated".into(),
            by: "request".into(),
            fields: Some(vec![field]),
            ..Entry::default()
        };
        let gone = Entry { fields: None, ..entry.clone() };
        let page = Page { entries: vec![entry, gone], next: Some("7.8".into()), older_gone: true };
        let shown = view(&page, "/console/users/x", true).into_string();
        for said in
            ["&lt;b&gt;Ann → nothing", "not kept any more", "/console/users/x?after=7.8", "a request about"]
        {
            assert!(shown.contains(said), "{said}: {shown}");
        }
        assert!(!shown.contains("<b>"), "{shown}");
    }
}
