//! `muster verify`: checks a receipt and its file offline.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use clap::Args;
use muster_domain::receipt::{FileLine, PublicKey, Receipt, check};
use muster_producer::receive::Compression;
use muster_producer::verify::{self, Counted};
use muster_runtime::config::Config;
use serde::Serialize;
use tokio::io::AsyncReadExt;

use crate::failure::{Exit, usage};
use crate::output::{json, number, stdout_line};
use crate::pipeline::receive_limits;

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;
/// Largest receipt that is read: one of ten million chunks is smaller.
const MOST: u64 = 1024 * 1024 * 1024;

/// Options of `muster verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// The receipt, as `muster imports receipt` wrote it; `-` reads standard input
    receipt: PathBuf,
    /// The file that was imported, compressed or not
    file: Option<PathBuf>,
    /// The public key of the installation that must have signed, as its `muster receipts key` prints it; or a file with it
    #[arg(long, value_name = "PUBLIC")]
    key: Option<String>,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  muster verify receipt.json people.csv
  muster verify receipt.json people.csv --key mT1Vq…=

Neither a database nor a server is asked. Without --key the receipt is checked with its own key, which shows that nothing was changed, and not who signed it.
Exit codes: 0 all is as the receipt says, 1 something is not, 2 wrong usage.";

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// What is as it should be.
    good: Vec<String>,
    /// What is not.
    wrong: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &VerifyArgs, config: &Config) -> anyhow::Result<Exit> {
    let key = args.key.as_deref().map(key).transpose()?;
    let document = read(&args.receipt)?;
    let mut found = Found::default();
    match check(&document, key) {
        Err(fault) => found.wrong.push(fault.to_string()),
        Ok((receipt, by)) => {
            let whose = if key.is_some() { "the key that was given" } else { "the key in the receipt" };
            found.good.push(format!("the receipt is as it was signed, with {whose}: {by}"));
            found.good.push(summary(&receipt));
            if let Some(path) = &args.file {
                compare(&receipt, path, config, &mut found).await?;
            }
        }
    }
    if args.json {
        json(&found)?;
    } else {
        for line in &found.good {
            stdout_line(format_args!("good: {line}"))?;
        }
        for line in &found.wrong {
            stdout_line(format_args!("WRONG: {line}"))?;
        }
    }
    Ok(if found.wrong.is_empty() { Exit::Done } else { Exit::Failure })
}

/// A key, or the name of a file with one.
fn key(text: &str) -> anyhow::Result<PublicKey> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let kept = std::fs::read_to_string(text).ok();
    kept.and_then(|text| text.parse().ok()).ok_or_else(|| {
        usage("--key takes a public key as `muster receipts key` prints it (32 bytes in base64), or a file with it")
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MOST)
            .read_to_end(&mut bytes)
            .context("standard input cannot be read")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        file.take(MOST).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    }
    // Text that is no longer UTF-8 was changed; the check reports it.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the receipt says, in a line.
fn summary(receipt: &Receipt) -> String {
    let counts = &receipt.counts;
    let name =
        receipt.file.as_ref().and_then(|file| file.name.as_deref()).unwrap_or("an import without a file");
    format!(
        "it says: {} of tenant {}, import {} {}: {} records, {} inserted, {} updated, {} skipped, {} failed",
        name.escape_debug(),
        receipt.tenant,
        receipt.import.id,
        receipt.import.state,
        number(counts.total),
        number(counts.inserted),
        number(counts.updated),
        number(counts.skipped),
        number(counts.failed)
    )
}

/// Compares the file with what the receipt says of it.
async fn compare(receipt: &Receipt, path: &Path, config: &Config, found: &mut Found) -> anyhow::Result<()> {
    let Some(line) = &receipt.file else {
        found.wrong.push("the receipt is of an import without a file, so this is not its file".to_owned());
        return Ok(());
    };
    let shown = path.display();
    let counted =
        count(receipt, line, path, config).await.with_context(|| format!("{shown} cannot be read"))?;
    let counted = match counted {
        Ok(counted) => counted,
        Err(error) => {
            found.wrong.push(format!("{shown} cannot be decompressed: {error}"));
            return Ok(());
        }
    };
    let digest = hex::encode(counted.digest);
    match digest == line.sha256 {
        true => found.good.push(format!("{shown} is the file: {} bytes, SHA-256 {digest}", number(counted.bytes))),
        false if counted.bytes == line.bytes => found.wrong.push(format!(
            "{shown} was changed: its SHA-256 is {digest}, the receipt says {}, and it has as many bytes",
            line.sha256
        )),
        false => found.wrong.push(format!(
            "{shown} is another file, or was changed: {} bytes with the SHA-256 {digest}; the receipt says {} bytes with {}",
            number(counted.bytes),
            number(line.bytes),
            line.sha256
        )),
    }
    match counted.records {
        None => found
            .good
            .push("its records were not counted: the receipt does not say how the file was read".to_owned()),
        Some(Ok(records)) if records == line.records => {
            found.good.push(format!("it has {} records, as the receipt says", number(records)));
        }
        Some(Ok(records)) => found.wrong.push(format!(
            "{shown} has {} records, and the receipt says {}",
            number(records),
            number(line.records)
        )),
        Some(Err(error)) => found.wrong.push(format!("the records of {shown} cannot be counted: {error}")),
    }
    Ok(())
}

/// What the file is. The inner error: it cannot be decompressed.
async fn count(
    receipt: &Receipt,
    line: &FileLine,
    path: &Path,
    config: &Config,
) -> anyhow::Result<Result<Counted, muster_domain::error::FileError>> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut piece = BytesMut::with_capacity(PIECE);
    file.read_buf(&mut piece).await?;
    let mut first = Some(piece.freeze());
    let encoding = first.as_deref().map_or(Compression::Identity, compression);
    let counting = verify::begin(receipt.options.clone(), line.read_as, encoding, receive_limits(config));
    loop {
        let piece: Bytes = match first.take() {
            Some(piece) => piece,
            None => {
                let mut piece = BytesMut::with_capacity(PIECE);
                file.read_buf(&mut piece).await?;
                piece.freeze()
            }
        };
        if piece.is_empty() || !counting.push(piece).await {
            return Ok(counting.finish().await);
        }
    }
}

/// How a file is compressed, by its first bytes: its name may be another by now.
fn compression(first: &[u8]) -> Compression {
    match first {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::Identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_told_by_the_first_bytes() {
        assert_eq!(compression(b"email\n"), Compression::Identity);
        assert_eq!(compression(b""), Compression::Identity);
        assert_eq!(compression(&[0x1f, 0x8b, 8, 0]), Compression::Gzip);
        assert_eq!(compression(&[0x28, 0xb5, 0x2f, 0xfd]), Compression::Zstd);
    }
}
