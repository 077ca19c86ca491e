//! What an undo must come to, told as plainly as can be: user by user, from what the database itself saw of the import, one change
//! after the other from the last to the first. It shares with the engine what a field is, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::undo::Flat;
use serde_json::Value;
use uuid::Uuid;

/// What one transaction of the import did to a user: what it had before and what it had then. `None` is no user.
pub type Seen = (Option<Flat>, Option<Flat>);

/// Everything that there is to know.
#[derive(Debug, Default)]
pub struct Reference {
    /// What the import did to each user, in order.
    pub history: BTreeMap<Uuid, Vec<Seen>>,
    /// Users that somebody touched since.
    pub touched: BTreeSet<Uuid>,
    /// The users as they are when the undo begins.
    pub now: BTreeMap<Uuid, Flat>,
}

impl Reference {
    /// The users as they must be when it has ended.
    ///
    /// # Panics
    /// When the history says that the import deleted somebody, or has moments that are none.
    pub fn undone(&self) -> BTreeMap<Uuid, Flat> {
        let mut users = self.now.clone();
        for (id, history) in &self.history {
            let Some(now) = self.now.get(id) else { continue };
            match self.user(*id, history, now) {
                Some(user) => users.insert(*id, user),
                None => users.remove(id),
            };
        }
        users
    }

    /// Whether a user that the import inserted is kept: it may have unique values that others would get back, and then more than one
    /// user matters.
    pub fn keeps_inserted(&self) -> bool {
        let inserted = |history: &[Seen]| history.first().is_some_and(|(before, _)| before.is_none());
        self.history.iter().any(|(id, history)| inserted(history) && self.touched.contains(id))
    }

    fn user(&self, id: Uuid, history: &[Seen], now: &Flat) -> Option<Flat> {
        let mut user = now.clone();
        // Whatever was found to be somebody else's stays theirs.
        let mut theirs: BTreeSet<String> = BTreeSet::new();
        for (before, left) in history.iter().rev() {
            let left = left.as_ref().expect("an import deletes nobody");
            let Some(before) = before else {
                return if self.touched.contains(&id) { Some(user) } else { None };
            };
            let mut wanted = Vec::new();
            for path in before.keys().chain(left.keys()).collect::<BTreeSet<_>>() {
                if before.get(path) == left.get(path) || theirs.contains(path) {
                    continue;
                }
                if user.get(path) == left.get(path) {
                    wanted.push(path.clone());
                } else {
                    theirs.insert(path.clone());
                }
            }
            let old = user.clone();
            wanted.iter().for_each(|path| set(&mut user, path, before.get(path)));
            // One that is given up may be in the way of another.
            loop {
                let (fit, unfit): (Vec<_>, Vec<_>) =
                    wanted.into_iter().partition(|path| fits(path, &user, before));
                wanted = fit;
                if unfit.is_empty() {
                    break;
                }
                unfit.iter().for_each(|path| set(&mut user, path, old.get(path)));
                theirs.extend(unfit);
            }
            // What was verified since is another value.
            for (flag, field) in [("email_verified", "email"), ("phone_number_verified", "phone_number")] {
                if wanted.iter().any(|path| path == field) && !before.contains_key(flag) {
                    user.remove(flag);
                }
            }
        }
        Some(user)
    }
}

fn set(user: &mut Flat, path: &str, value: Option<&Value>) {
    match value {
        Some(value) => user.insert(path.to_owned(), value.clone()),
        None => user.remove(path),
    };
}

/// Whether a field that would come back can stand beside the others.
fn fits(path: &str, user: &Flat, before: &Flat) -> bool {
    let value = |path: &str| user.get(path);
    match path {
        // What was verified was the value of that time.
        "email_verified" if value(path).is_some() => value("email") == before.get("email"),
        "phone_number_verified" if value(path).is_some() => {
            value("phone_number") == before.get("phone_number")
        }
        "valid_from" | "valid_until" => match (value("valid_from"), value("valid_until")) {
            (Some(from), Some(until)) => moment(from) < moment(until),
            _ => true,
        },
        _ if path.starts_with("addresses.") => {
            let Some(own) = value(path) else { return true };
            let mut others =
                user.iter().filter(|(other, _)| other.starts_with("addresses.") && *other != path);
            others.all(|(_, other)| other["value"] != own["value"])
        }
        _ => true,
    }
}

fn moment(value: &Value) -> chrono::DateTime<chrono::FixedOffset> {
    chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap()
}
