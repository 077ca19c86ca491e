//! Completes the description of the API: utoipa collects it from the routes, and this module adds what many of them share.
//!
//! Guarantees, which its tests hold: each operation has an id of its own (`tag_verb`), says which scope it asks for and which errors it can
//! give; every object says its properties, and every parameter what it may be; nothing has a default that a client would send as if its
//! caller had set it. The whole document is committed as docs/openapi.json, so that every change of what clients are generated from is
//! visible.

mod bodies;
mod errors;
#[cfg(feature = "faults")]
mod held;
mod options;
mod schemas;

use std::collections::BTreeSet;

use muster_domain::token::Scope;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

#[cfg(feature = "faults")]
pub(super) use held::lacks;

/// Answers of a run, by operation: what the examples show.
const EXAMPLES: &str = include_str!("document/examples.json");

/// Tags in the order in which they are shown, Muster's own first.
const TAGS: [(&str, &str); 12] = [
    ("imports", "Upload files of users, follow them, and read what became of every record"),
    ("events", "What happens to imports, page by page or followed"),
    ("bulk", "What is done to many imports at once: looked at first, then started, watched and aborted"),
    ("webhooks", "Addresses that are notified about imports, and their deliveries"),
    ("profiles", "Named sets of options for uploads: built-in ones, and the tenant's own"),
    ("users", "Users: find, read and erase them"),
    (
        "catalog",
        "What a tenant knows by name: organizations, groups, roles, teams, locations, custom attributes",
    ),
    ("audit", "Who did what, when, to what, and how many"),
    ("operations", "For operators and their machines"),
    ("authgear", "The front door for clients of Authgear's User Import API"),
    ("ccai", "The front door for clients of the Bulk User Management API of CCAI Platform"),
    ("bitcaster", "The front door for clients of Bitcaster's user API"),
];

/// Verbs of an item of paths.
const VERBS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Routes that ask for no credential.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The whole document.
pub(super) fn whole(gathered: &OpenApi) -> Value {
    let mut document = serde_json::to_value(gathered).unwrap_or_default();
    document["servers"] = json!([{ "url": "/", "description": "This server" }]);
    document["info"]["contact"] = json!({ "name": "The operator of this server" });
    document["info"]["license"] = json!({ "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" });
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas::complete(schemas);
    }
    let examples: Value = serde_json::from_str(EXAMPLES).unwrap_or_default();
    let upload_options = options::of_uploads();
    let mut ids = BTreeSet::new();
    let mut tags = BTreeSet::new();
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for verb in VERBS {
                let Some(operation) = item.get_mut(verb).and_then(Value::as_object_mut) else { continue };
                let route = Route::of(verb, path, operation);
                tags.insert(route.tag.clone());
                let id = route.id(&ids);
                ids.insert(id.clone());
                operation.insert("operationId".into(), Value::from(id.clone()));
                operation.insert("security".into(), route.security());
                let description = route.described(operation.get("description").and_then(Value::as_str));
                operation.insert("description".into(), Value::from(description));
                options::complete(&route, operation, &upload_options);
                bodies::complete(&route, operation);
                errors::complete(&route, operation);
                show(&examples[&id], operation);
            }
        }
    }
    document["tags"] = listed(&tags);
    document
}

/// An operation and where it is.
struct Route {
    verb: &'static str,
    path: String,
    tag: String,
    /// What its function is called, or what it calls itself.
    name: String,
}

impl Route {
    fn of(verb: &'static str, path: &str, operation: &Map<String, Value>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            verb,
            path: path.to_owned(),
            tag: operation.get("tags").and_then(|tags| tags.get(0)).map(text).unwrap_or_default(),
            name: operation.get("operationId").map(text).unwrap_or_default(),
        }
    }

    /// `tag_verb`. One function may be at several addresses and under two verbs: they have the rest of their address at the end.
    fn id(&self, others: &BTreeSet<String>) -> String {
        let prefix = format!("{}_", self.tag);
        let mut id =
            if self.name.starts_with(&prefix) { self.name.clone() } else { format!("{prefix}{}", self.name) };
        let marks = [
            ("_partial", self.verb == "patch"),
            ("_v1", self.path.starts_with("/api/v1/")),
            ("_address", self.path.ends_with("/address/")),
            ("_login", self.path == "/api/login/"),
        ];
        for (mark, is) in marks {
            if is && self.tag == "bitcaster" {
                id.push_str(mark);
            }
        }
        let mut number = 2;
        while others.contains(&id) {
            id = format!("{prefix}{}_{number}", self.name);
            number += 1;
        }
        id
    }

    /// Muster's own, not a front door for clients of others.
    fn is_native(&self) -> bool {
        !matches!(self.tag.as_str(), "authgear" | "ccai" | "bitcaster") && !self.is_open()
    }

    fn is_open(&self) -> bool {
        OPEN.contains(&self.path.as_str())
    }

    /// The scopes of which one opens the route; none where every credential does.
    fn scopes(&self) -> &'static [Scope] {
        let reads = self.verb == "get";
        match (self.tag.as_str(), reads) {
            ("bitcaster", _) if !self.path.contains("{org}") => &[],
            ("bitcaster", true) => &[Scope::UsersRead, Scope::UsersWrite],
            ("bitcaster", false) => &[Scope::UsersWrite],
            ("ccai", true) if self.path.ends_with("/v1/users") => &[Scope::UsersRead],
            ("users", true) => &[Scope::UsersRead],
            ("users", false) if self.verb == "delete" => &[Scope::UsersErase],
            ("users", false) => &[Scope::UsersWrite],
            ("webhooks", true) => &[Scope::WebhooksRead],
            ("webhooks", false) => &[Scope::WebhooksWrite],
            ("audit", _) => &[Scope::Ops],
            ("catalog", true) => &[Scope::CatalogRead],
            ("catalog", false) => &[Scope::CatalogWrite],
            (_, true) => &[Scope::ImportRead],
            (_, false) => &[Scope::ImportWrite],
        }
    }

    /// The text of the operation, and the scope that it requires.
    fn described(&self, told: Option<&str>) -> String {
        let scopes: Vec<String> = self.scopes().iter().map(|scope| format!("`{scope}`")).collect();
        let asks = match scopes.as_slice() {
            _ if self.is_open() => "Needs no credential.".to_owned(),
            [] => "Every credential will do.".to_owned(),
            scopes => format!("Needs the scope {}.", scopes.join(" or ")),
        };
        told.map_or_else(|| asks.clone(), |told| format!("{told}\n\n{asks}"))
    }

    /// Each of the alternatives that let somebody in.
    fn security(&self) -> Value {
        if self.is_open() {
            return json!([]);
        }
        let scheme = match self.tag.as_str() {
            "authgear" => "authgear",
            "ccai" => "api_user",
            "bitcaster" => "key",
            _ => "token",
        };
        let requirement = |scopes: &[&str]| {
            let mut requirement = Map::new();
            requirement.insert(scheme.to_owned(), json!(scopes));
            Value::Object(requirement)
        };
        match self.scopes() {
            [] => json!([requirement(&[])]),
            scopes => scopes.iter().map(|scope| requirement(&[scope.as_str()])).collect(),
        }
    }
}

/// Shows what a run answered: `200`, or of an answer that is no JSON `200 text/csv`.
fn show(answers: &Value, operation: &mut Map<String, Value>) {
    for (answer, body) in answers.as_object().into_iter().flatten() {
        let (status, media_type) = answer.split_once(' ').unwrap_or((answer, "application/json"));
        let content = operation
            .get_mut("responses")
            .and_then(|responses| responses.get_mut(status))
            .and_then(|response| response.get_mut("content"));
        if let Some(media) =
            content.and_then(|content| content.get_mut(media_type)).and_then(Value::as_object_mut)
        {
            media.insert("example".into(), body.clone());
        }
    }
}

/// The tags, in order; a new one comes after Muster's own.
fn listed(there: &BTreeSet<String>) -> Value {
    let known = |name: &str| TAGS.iter().any(|(known, _)| *known == name);
    let is_door = |name: &str| matches!(name, "authgear" | "ccai" | "bitcaster");
    let tag = |(name, description): &(&str, &str)| json!({ "name": name, "description": description });
    let own = TAGS.iter().filter(|(name, _)| !is_door(name)).map(tag);
    let new = there.iter().filter(|name| !known(name)).map(|name| json!({ "name": name }));
    let doors = TAGS.iter().filter(|(name, _)| is_door(name)).map(tag);
    own.chain(new).chain(doors).collect()
}

/// Puts something into an object of the document.
fn put(object: &mut Map<String, Value>, name: &str, value: Value) {
    object.insert(name.to_owned(), value);
}

/// How another schema is named.
fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}
