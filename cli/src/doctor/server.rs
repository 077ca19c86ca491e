//! The checks of a server that commands are told to ask (`--server`, `MUSTER_SERVER`): whether it answers, is ready, and knows the token.

use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use reqwest::StatusCode;

use super::Check;
use crate::client::answers::Readiness;
use crate::client::{Refused, Remote, ServerToken, operations};

/// All checks of the server.
pub(super) async fn checks(url: &str, shown: &ServerToken) -> Vec<Check> {
    let remote = match Remote::new(url, shown) {
        Ok(remote) => remote,
        Err(error) => {
            return vec![Check::failed("server", error.to_string(), "correct MUSTER_SERVER or MUSTER_TOKEN")];
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
    match remote.send(remote.request(&operations::OPERATIONS_HEALTHZ.call())).await {
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
    let answer = remote.request(&operations::OPERATIONS_READYZ.call()).send().await.ok()?;
    let status = answer.status();
    if status.as_u16() == 404 {
        return None;
    }
    Some(readiness(status, &answer.text().await.unwrap_or_default()))
}

fn readiness(status: StatusCode, text: &str) -> Check {
    let id = "readiness";
    let told: Readiness = serde_json::from_str(text).unwrap_or_default();
    match (status.is_success(), told.status.as_str()) {
        (true, "degraded") if !mutant(Mutant::DegradedIsReady) => Check::warning(
            id,
            format!(
                "the server accepts uploads, but something makes no progress: {}",
                told.reasons.join("; ")
            ),
            "deploy/README.md, Readiness says `degraded`",
        ),
        (true, _) => Check::ok(id, "the server is ready"),
        (false, _) => {
            let why = if told.reasons.is_empty() { text } else { &told.reasons.join("; ") };
            let why: String = why.chars().take(300).collect();
            Check::failed(id, format!("the server is not ready: {why}"), "look at the log of the server")
        }
    }
}

async fn token(remote: &Remote) -> Check {
    let call = operations::IMPORTS_LIST.call().with("limit", "1");
    match remote.send(remote.request(&call)).await {
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

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn readiness_is_told_with_its_reasons() {
        let of = |status, text| {
            let check = readiness(status, text);
            (check.status, check.message)
        };
        let well = of(StatusCode::OK, r#"{"status":"ready","store":"ok","reasons":[]}"#);
        assert_eq!(well, (Status::Ok, "the server is ready".into()));
        // A server of before there were reasons.
        assert_eq!(of(StatusCode::OK, r#"{"status":"ready"}"#).0, Status::Ok);
        let text = r#"{"status":"degraded","reasons":["the queue cannot be reached","a running import makes no progress"]}"#;
        let (status, told) = of(StatusCode::OK, text);
        assert_eq!(status, Status::Warning);
        assert!(told.ends_with("the queue cannot be reached; a running import makes no progress"), "{told}");
        let text = r#"{"status":"unavailable","reasons":["the database does not answer"]}"#;
        let away = of(StatusCode::SERVICE_UNAVAILABLE, text);
        assert_eq!(away, (Status::Failed, "the server is not ready: the database does not answer".into()));
        let proxy = of(StatusCode::BAD_GATEWAY, "no upstream");
        assert_eq!(proxy, (Status::Failed, "the server is not ready: no upstream".into()));
    }
}
