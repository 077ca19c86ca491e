//! The checks of a server that commands are told to ask (`--server`, `MUSTER_SERVER`): whether it answers, is ready, and knows the token.

use muster_shared::error::ErrorCode;
use reqwest::Method;

use super::Check;
use crate::imports::{Refused, Remote, TokenArgs};

/// Everything that the server tells.
pub(super) async fn checks(url: &str, shown: &TokenArgs) -> Vec<Check> {
    let remote = match Remote::new(url, shown) {
        Ok(remote) => remote,
        Err(error) => {
            return vec![Check::failed("server", error.to_string(), "mend MUSTER_SERVER or MUSTER_TOKEN")];
        }
    };
    let mut checks = vec![answers(&remote, url).await];
    if checks.iter().all(|check| check.status == super::Status::Ok) {
        checks.extend(ready(&remote).await);
        checks.push(token(&remote).await);
    }
    checks
}

async fn answers(remote: &Remote, url: &str) -> Check {
    match remote.send(remote.request(Method::GET, "/healthz")).await {
        Ok(_) => Check::ok("server", format!("{url} answers")),
        Err(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            let advice = "check the address, and that `muster serve` or `muster producer` runs there";
            Check::failed("server", causes.join(": "), advice)
        }
    }
}

/// Nothing where readiness is on another listener.
async fn ready(remote: &Remote) -> Option<Check> {
    let answer = remote.request(Method::GET, "/readyz").send().await.ok()?;
    let status = answer.status();
    if status.as_u16() == 404 {
        return None;
    }
    let text = answer.text().await.unwrap_or_default();
    Some(match status.is_success() {
        true => Check::ok("readiness", "the server is ready"),
        false => Check::failed(
            "readiness",
            format!("the server is not ready: {}", text.chars().take(300).collect::<String>()),
            "look at the log of the server",
        ),
    })
}

async fn token(remote: &Remote) -> Check {
    let asked = remote.request(Method::GET, "/v1/imports").query(&[("limit", "1")]);
    match remote.send(asked).await {
        Ok(_) => Check::ok("token", "the server takes the token"),
        // It is a token that may do something else.
        Err(error)
            if error.downcast_ref::<Refused>().is_some_and(|refused| refused.is(ErrorCode::Forbidden)) =>
        {
            Check::warning("token", "the token may not read imports", "make one with `--scope import:read`")
        }
        Err(error) => Check::failed("token", error.to_string(), "make one with `muster token create`"),
    }
}
