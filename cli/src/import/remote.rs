//! An import over HTTP: the file is sent to a server, and the import there is followed to its end.
//!
//! A file that can be read again is sent with an idempotency key made of its bytes and the options, so that the same
//! command after a lost connection finds its import instead of making a second one.

use std::sync::Arc;

use anyhow::Context;
use futures_util::stream;
use muster_producer::receive::Encoding;
use muster_shared::import::ImportState;
use muster_shared::parse::Format;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method};
use sha2::{Digest, Sha256};

use super::progress::Progress;
use super::source::Source;
use super::{UsersArgs, summary};
use crate::failure::Ended;
use crate::follow;
use crate::imports::{Outcomes, Remote};
use crate::output::{number, remark};
use crate::shutdown::{Aborted, Shutdown};
use crate::view::View;

/// How many imports of one file a server may have had before: each ended one takes a key.
const KEYS: u32 = 1000;

/// Runs the command.
pub(super) async fn run(
    args: &UsersArgs,
    source: Source,
    server: &str,
    shutdown: &Shutdown,
) -> anyhow::Result<Ended> {
    let remote = Remote::new(server, args.token.as_deref())?;
    let progress = Arc::new(Progress::new(args.quiet));
    let pairs = args.pairs(&source);
    let working = async {
        let view = send(args, source, &remote, &pairs, &progress).await?;
        if view.state == ImportState::Received {
            progress.clear();
            return summary::waiting(args.json, &view);
        }
        let view = follow::remote(&remote, view.id, &progress, shutdown).await?;
        progress.clear();
        let details = details(&remote, &view).await?;
        summary::tell(args.json, &view, details)
    };
    tokio::select! {
        ended = working => ended,
        () = shutdown.aborting() => Err(Aborted.into()),
    }
}

async fn send(
    args: &UsersArgs,
    mut source: Source,
    remote: &Remote,
    pairs: &[(&'static str, String)],
    progress: &Arc<Progress>,
) -> anyhow::Result<View> {
    let Some(digest) = source.digest else { return upload(source, remote, pairs, None, progress).await };
    // Ids are ordered by time: whatever is not newer than this one was there before.
    let newest = remote.list(None, 1).await?.first().map(|view| view.id);
    for number in 0..KEYS {
        let key = key(digest, pairs, number);
        let label = source.label().to_owned();
        let view = upload(source, remote, pairs, Some(&key), progress).await?;
        // One that was there before and has ended is in nobody's way; one that has not is this file's, and gone on with.
        if !view.state.is_final() || Some(view.id) > newest {
            return Ok(view);
        }
        tracing::debug!(import = %view.id, "{label} was imported before; importing it anew");
        source = Source::open(&args.file, args.format).await?;
    }
    anyhow::bail!("this file was imported with these options {KEYS} times already")
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
    let mut request = remote
        .request(Method::POST, "/v1/imports")
        .query(pairs)
        .header(CONTENT_TYPE, media_type(source.format));
    match source.encoding {
        Encoding::Identity => {}
        Encoding::Gzip => request = request.header(CONTENT_ENCODING, "gzip"),
        Encoding::Zstd => request = request.header(CONTENT_ENCODING, "zstd"),
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
    let view = Remote::accepted(response).await?;
    if view.counts.total > view.counts.pending && !view.state.is_final() {
        let done = view.counts.total - view.counts.pending;
        remark(format_args!(
            "import {}: {} of {} records are done",
            view.id,
            number(done),
            number(view.counts.total)
        ));
    }
    Ok(view)
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

async fn details(remote: &Remote, view: &View) -> anyhow::Result<summary::Details> {
    let mut details = summary::Details::default();
    if view.counts.failed > 0 {
        let failed = remote.records(view.id, Some(Outcomes::Failed), 0, u64::from(summary::SHOWN)).await?;
        details.first_failures = failed
            .into_iter()
            .map(|one| summary::Failed { record: one.record, errors: one.errors })
            .collect();
    }
    Ok(details)
}
