//! `muster users history`: what happened to a user, the last first.

use anyhow::bail;
use muster_domain::id::{TenantId, UserId};
use muster_store::Store;
use muster_store::history::{self, Cursor, Entry, Page};
use serde_json::Value;

use super::NO_SUCH_USER;
use crate::client::{Remote, operations};
use crate::failure::Exit;
use crate::output::{number, stderr_line, stdout_line};

/// Entries asked for at a time.
const PAGE: usize = 100;

/// In the store.
pub(super) async fn here(
    store: &Store,
    tenant: TenantId,
    user: UserId,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let mut after: Option<Cursor> = None;
    let mut any = false;
    loop {
        let page = history::page(store, tenant, user, after, PAGE).await?;
        let Some(page) = page else { bail!(NO_SUCH_USER) };
        tell(&page, &mut any, as_json)?;
        match page.next {
            Some(next) => after = Some(next.parse()?),
            None => return Ok(Exit::Done),
        }
    }
}

/// Behind a server.
pub(super) async fn behind(remote: &Remote, user: UserId, as_json: bool) -> anyhow::Result<Exit> {
    let mut after: Option<String> = None;
    let mut any = false;
    loop {
        let call = operations::USERS_HISTORY
            .at(&[&user])
            .with("limit", PAGE.to_string())
            .with_all(after.take().map(|after| ("after", after)));
        let page = remote.ask(call).await?;
        tell(&page, &mut any, as_json)?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(Exit::Done),
        }
    }
}

/// Tells a page. JSON is one object a line.
fn tell(page: &Page, any: &mut bool, as_json: bool) -> anyhow::Result<()> {
    for entry in &page.entries {
        *any = true;
        if as_json {
            stdout_line(serde_json::to_string(entry)?)?;
        } else {
            stdout_line(lines(entry))?;
        }
    }
    if page.next.is_none() && !*any {
        stderr_line("nothing is kept of what happened to the user");
    } else if page.older_gone {
        stderr_line("what happened before is not kept any more");
    }
    Ok(())
}

fn lines(entry: &Entry) -> String {
    let by = match (entry.import, entry.by.as_str()) {
        (Some(import), by) => format!("{by} {import}"),
        (None, _) => "a request about this user".to_owned(),
    };
    let mut text = format!("{}  {} by {by}", entry.at.format("%Y-%m-%d %H:%M:%S UTC"), entry.kind);
    if let Some(filename) = &entry.filename {
        text.push_str(&format!(" ({})", filename.escape_debug()));
    }
    if let Some(record) = entry.record {
        text.push_str(&format!(", record {}", number(record)));
    }
    if let Some(line) = entry.line {
        text.push_str(&format!(", line {}", number(line)));
    }
    if let Some(actor) = &entry.actor {
        let name = actor.name.clone().or_else(|| actor.token.map(|id| id.to_string())).unwrap_or_default();
        text.push_str(&format!(", {} {}", actor.kind, name.escape_debug()));
        text.truncate(text.trim_end().len());
    }
    match &entry.fields {
        None => text.push_str("\n    what changed is not kept any more"),
        Some(fields) => {
            for field in fields {
                let (before, after) = (shown(&field.before), shown(&field.after));
                text.push_str(&format!("\n    {}: {before} -> {after}", field.field.escape_debug()));
            }
        }
    }
    text
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    }
}
