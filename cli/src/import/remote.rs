//! An import over HTTP: the file is sent to a server, and the import there is followed to its end.
//!
//! Everything is sent with an idempotency key. For a file that can be read again, the key is computed from
//! its bytes and the options, so that the same command finds its import after a lost connection. Input that
//! can be read only once gets a random key, so that no proxy between here and the server can turn one upload
//! into two imports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::stream;
use muster_domain::fault::{self, Mutant};
use muster_domain::import::ImportState;
use muster_domain::parse::Format;
use muster_domain::request::ImportRequest;
use muster_producer::receive::Compression;
use muster_runtime::clock;
use reqwest::Body;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::UsersArgs;
use super::source::Source;
use crate::client::{Remote, operations};
use crate::failure::{Exit, wrong_option};
use crate::follow;
use crate::imports::{plan, summary};
use crate::invocation::Invocation;
use crate::output::number;
use crate::progress::Progress;
use crate::shutdown::{Aborted, Shutdown};
use crate::view::View;

/// How long an import of the same file that is being received is waited for.
const RECEIVING: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Runs the command.
pub(super) async fn run(
    args: &UsersArgs,
    source: Source,
    server: &str,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let remote = Remote::new(server, &args.token)?;
    let (progress, invocation) =
        (Arc::new(Progress::new(args.quiet)), Invocation::new(Some(server), args.token.file(), &args.tenant));
    let pairs = args.pairs(&source);
    // Problems of the options are reported before the file is sent.
    ImportRequest::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())))
        .map_err(wrong_option)?;
    let working = async {
        let view = send(args, source, &remote, &pairs, &progress).await?;
        if view.state == ImportState::Received {
            progress.clear();
            return summary::waiting(args.json, &view, &invocation);
        }
        let view = follow::remote(&remote, view.id, &progress, shutdown).await?;
        progress.clear();
        if view.state == ImportState::Planned {
            return plan::tell(&remote.plan(view.id).await?, args.json, &invocation);
        }
        let details = summary::Details::ask(&remote, &view).await?;
        summary::tell(args.json, &view, details, &invocation)
    };
    tokio::select! {
        ended = working => ended,
        () = shutdown.aborting() => Err(Aborted.into()),
    }
}

async fn send(
    args: &UsersArgs,
    source: Source,
    remote: &Remote,
    pairs: &[(&'static str, String)],
    progress: &Arc<Progress>,
) -> anyhow::Result<View> {
    let Some(digest) = source.digest else {
        let key = format!("cli:once:{}", clock::new_id());
        let key = (!fault::mutant(Mutant::StreamWithoutKey)).then_some(key.as_str());
        return upload(source, remote, pairs, key, progress).await;
    };
    let began = Instant::now();
    let (last, free) = loop {
        let (last, free) = keys(async |number| remote.by_key(&key(digest, pairs, number)).await).await?;
        // An upload that was cut off a moment ago is aborted in the next one.
        let receiving = last.as_ref().is_some_and(|view: &View| view.state == ImportState::Receiving);
        if !receiving || began.elapsed() > RECEIVING {
            break (last, free);
        }
        sleep(LOOK_AGAIN).await;
    };
    // An import that has ended is not in the way. One that has not ended belongs to this file and is continued.
    let number = match last {
        Some(view) if view.state == ImportState::Receiving => free - 1,
        Some(view) if !view.state.is_final() => {
            told_to_resume(&view, progress);
            return Ok(view);
        }
        Some(_) | None => free,
    };
    tracing::debug!(number, "imports of {} with these options before", args.file.display());
    let view = upload(source, remote, pairs, Some(&key(digest, pairs, number)), progress).await?;
    told_to_resume(&view, progress);
    Ok(view)
}

fn told_to_resume(view: &View, progress: &Progress) {
    if view.counts.total > view.counts.pending && !view.state.is_final() {
        let done = view.counts.total - view.counts.pending;
        progress.stderr_line(format_args!(
            "import {}: {} of {} records are done",
            view.id,
            number(done),
            number(view.counts.total)
        ));
    }
}

/// The import of the last key that is taken, and the number of the first one that is free. Each import of a file takes the next
/// key; they are asked for in growing steps, so that a file which was imported a thousand times costs twenty questions.
async fn keys<T>(ask: impl AsyncFn(u32) -> anyhow::Result<Option<T>>) -> anyhow::Result<(Option<T>, u32)> {
    let (mut last, mut taken, mut free, mut step) = (None, 0_u32, None, 1_u32);
    // Every key below `taken` is taken, and `free` is.
    while free.is_none_or(|free| taken < free) {
        let number = match free {
            None => taken.saturating_add(step - 1),
            Some(free) => taken + (free - taken) / 2,
        };
        match ask(number).await? {
            Some(found) => {
                last = Some(found);
                taken = number.saturating_add(1);
                step = step.saturating_mul(2);
            }
            None => free = Some(number),
        }
    }
    Ok((last, taken))
}

/// Sends the file. Where the key is known, the server answers with its import.
async fn upload(
    source: Source,
    remote: &Remote,
    pairs: &[(&'static str, String)],
    key: Option<&str>,
    progress: &Arc<Progress>,
) -> anyhow::Result<View> {
    progress.receiving(source.label(), source.size);
    let label = source.label().to_owned();
    let call = operations::IMPORTS_CREATE.call().with_all(pairs.iter().cloned());
    let mut request = remote.request(&call).header(CONTENT_TYPE, media_type(source.format));
    match source.encoding {
        Compression::Identity | Compression::Shown => {}
        Compression::Gzip => request = request.header(CONTENT_ENCODING, "gzip"),
        Compression::Zstd => request = request.header(CONTENT_ENCODING, "zstd"),
    }
    if let Some(size) = source.size {
        request = request.header(CONTENT_LENGTH, size);
    }
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let shown = Arc::clone(progress);
    let body = stream::try_unfold(source, move |mut source| {
        let shown = Arc::clone(&shown);
        async move {
            let piece = source.next().await?;
            if let Some(piece) = &piece {
                shown.received(piece.len() as u64);
            }
            Ok::<_, std::io::Error>(piece.map(|piece| (piece, source)))
        }
    });
    let response = remote.send(request.body(Body::wrap_stream(body))).await;
    let response = response.with_context(|| format!("{label} could not be imported"))?;
    Remote::accepted(response).await
}

fn media_type(format: Format) -> &'static str {
    format.media_type()
}

/// The key of this request: the file's bytes, the options, and the number of its import.
fn key(digest: [u8; 32], pairs: &[(&'static str, String)], number: u32) -> String {
    let mut hash = Sha256::new();
    hash.update(digest);
    for (name, value) in pairs {
        hash.update(name);
        hash.update([0]);
        hash.update(value);
        hash.update([0]);
    }
    format!("cli:{}:{number}", hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn the_first_free_key_is_found_by_few_questions() {
        for taken in (0..70).chain([1_000, 1_023, 1_024, 100_000]) {
            let asked = Cell::new(0);
            let ask = async |number: u32| {
                asked.set(asked.get() + 1);
                Ok((number < taken).then_some(number))
            };
            assert_eq!(keys(ask).await.unwrap(), (taken.checked_sub(1), taken));
            assert!(asked.get() <= 2 * (taken + 2).ilog2() + 2, "{taken}: {}", asked.get());
        }
    }
}
