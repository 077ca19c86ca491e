//! One attempt of a delivery: a signed request, and the part of the response that shows the result.

use std::error::Error;
use std::time::Duration;

use muster_domain::fault::{Mutant, mutant};
use muster_domain::webhook::{PING, Schedule, signature_header};
use muster_runtime::clock;
use muster_store::deliveries::{Claim, Next, Try};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode};
use rustls::CertificateError;
use tokio::time::Instant;

use super::target::{Guarded, TargetError, Targets, Unresolved};

/// Most bytes of an answer that are read, and thrown away.
const ANSWER_BYTES: usize = 4 * 1024;

/// Sends deliveries.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    client: Client,
    targets: Targets,
    timeout: Duration,
}

impl Sender {
    /// One that waits so long for an answer, in all.
    pub(super) fn new(targets: Targets, timeout: Duration) -> Result<Self, reqwest::Error> {
        // Err means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            let redirects =
                if mutant(Mutant::WebhookRedirects) { Policy::limited(3) } else { Policy::none() };
            Client::builder()
                .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
                .redirect(redirects)
                .referer(false)
                // A proxy would resolve names by itself.
                .no_proxy()
                .dns_resolver(Guarded(targets))
                // Each delivery has its own connection, so each name is resolved and checked again.
                .pool_max_idle_per_host(0)
                .timeout(timeout)
        };
        let client = builder().build().or_else(|error| {
            tracing::warn!(%error, "the system has no certificates of authorities: webhooks over HTTPS will fail");
            ClientBuilder::tls_certs_only(builder(), []).build()
        })?;
        Ok(Self { client, targets, timeout })
    }

    /// Tries a delivery, and says what follows.
    pub(super) async fn send(&self, claim: &Claim, schedule: &Schedule) -> (Try, Next) {
        let (at, began) = (clock::now(), Instant::now());
        let answer = self.ask(claim, at.timestamp()).await;
        let took = began.elapsed();
        let asked = answer.as_ref().ok().and_then(|answer| answer.retry_after);
        let pause = schedule.pause(claim.attempts.saturating_add(1), asked, &mut clock::rng());
        // A test delivery must show the current state.
        let give_up_after = if claim.kind == PING { Duration::ZERO } else { schedule.give_up_after };
        let again = Next::Again { pause, give_up_after };
        let (status, problem, next) = match answer {
            Ok(Answer { status, .. }) if status.is_success() => (Some(status), None, Next::Delivered),
            Ok(Answer { status, .. }) => {
                let next = if status == StatusCode::GONE { Next::Gone } else { again };
                (Some(status), Some(words(status)), next)
            }
            Err(problem) => (None, Some(problem), again),
        };
        (Try { at, status: status.map(|status| status.as_u16()), problem, took }, next)
    }

    async fn ask(&self, claim: &Claim, timestamp: i64) -> Result<Answer, String> {
        if claim.secrets.is_empty() {
            return Err("the webhook's secret cannot be read".into());
        }
        // Checked each time, since the rules may have changed since the webhook was created.
        let url = self.targets.parse(&claim.url).map_err(|error| format!("the address {error}"))?;
        let id = claim.delivery.to_string();
        let secrets = match claim.secrets.as_slice() {
            [new, ..] if mutant(Mutant::OldSecretForgotten) => std::slice::from_ref(new),
            all => all,
        };
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature_header(secrets, &id, timestamp, &claim.payload))
            .body(claim.payload.clone());
        let mut response = request.send().await.map_err(|error| self.reason(&error))?;
        let answer = Answer { status: response.status(), retry_after: retry_after(&response) };
        // The status is the answer. Reading on for a little lets a receiver end its own in peace.
        let mut read = 0;
        while let Ok(Some(piece)) = response.chunk().await {
            read += piece.len();
            if read >= ANSWER_BYTES && !mutant(Mutant::WholeAnswer) {
                break;
            }
        }
        Ok(answer)
    }

    /// The stored text of an error.
    fn reason(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("no answer within {} seconds", self.timeout.as_secs_f64());
        }
        let (mut kind, mut next) = (None, error.source());
        while let Some(cause) = next {
            if let Some(refused) = cause.downcast_ref::<TargetError>() {
                return format!("the address {refused}");
            }
            kind = in_fixed_words(cause).or(kind);
            next = cause.source();
        }
        let what = if error.is_connect() { "no connection" } else { "no answer that can be read" };
        kind.map_or_else(|| what.to_owned(), |kind| format!("{what}: {kind}"))
    }
}

/// What is known of a cause. Its own text can have names of the address and of the receiver's certificate, so it is never told.
fn in_fixed_words(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    use std::io::ErrorKind;
    if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        // The source of such an error is that of the one within.
        let within = error.get_ref().and_then(|within| in_fixed_words(within));
        return within.or(match error.kind() {
            ErrorKind::ConnectionRefused => Some("it was refused"),
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Some("it was broken off")
            }
            ErrorKind::UnexpectedEof => Some("it stopped before its end"),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Some("no way leads there"),
            _ => None,
        });
    }
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        return match error {
            error if error.is_parse() => Some("it is no HTTP"),
            error if error.is_incomplete_message() => Some("it stopped before its end"),
            _ => None,
        };
    }
    if cause.is::<Unresolved>() {
        return Some("its name leads nowhere now");
    }
    cause.downcast_ref::<rustls::Error>().map(|error| match error {
        rustls::Error::InvalidCertificate(wrong) => certificate_words(wrong),
        _ => "it could not be encrypted",
    })
}

fn certificate_words(wrong: &CertificateError) -> &'static str {
    use CertificateError as Wrong;
    match wrong {
        Wrong::Expired | Wrong::ExpiredContext { .. } => "its certificate has expired",
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "its certificate is not valid yet",
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        Wrong::UnknownIssuer => "its certificate is from no authority that is known",
        Wrong::Revoked => "its certificate was revoked",
        _ => "its certificate is not valid",
    }
}

/// What of an answer counts.
struct Answer {
    status: StatusCode,
    /// How long the receiver asks to wait (Retry-After).
    retry_after: Option<Duration>,
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn words(status: StatusCode) -> String {
    if status.is_redirection() {
        format!("the answer was {}: redirects are not followed", status.as_u16())
    } else {
        format!("the answer was {}", status.as_u16())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn why_there_was_no_answer_is_told_without_a_name() {
        let names = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("hooks.example.com").unwrap(),
            presented: vec!["secret.example.net".into()],
        };
        let encrypted = rustls::Error::InvalidCertificate(names);
        assert!(encrypted.to_string().contains("secret.example.net"), "{encrypted}");
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, encrypted));
        assert_eq!(in_fixed_words(&wrapped), Some("its certificate is for another name"));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(in_fixed_words(&refused), Some("it was refused"));
        assert_eq!(in_fixed_words(&io::Error::other(Unresolved)), Some("its name leads nowhere now"));
        assert_eq!(in_fixed_words(&io::Error::other("hooks.example.com")), None);
    }
}
