//! The file to import: its format, the source of its bytes, and its idempotency key.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use muster_domain::parse::Format;
use muster_producer::receive::Compression;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::failure::usage;

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;

/// An open file.
pub(crate) struct Source {
    /// Its name without folders; none for standard input.
    pub(crate) name: Option<String>,
    /// Format of its records.
    pub(crate) format: Format,
    /// How it is compressed.
    pub(crate) encoding: Compression,
    /// Its size, where it is known: that of a file that can be read again.
    pub(crate) size: Option<u64>,
    /// SHA-256 of its bytes as they are; none where they can be read only once, or are only looked at.
    pub(crate) digest: Option<[u8; 32]>,
    reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
}

impl Source {
    /// Opens what the command line names; without a format, it follows from the file's name. A file that
    /// cannot be read to its end is reported before anything is started.
    pub(crate) async fn open(file: &Path, format: Option<Format>) -> anyhow::Result<Self> {
        let mut source = Self::open_to_look(file, format).await?;
        // A pipe or a device can be read only once.
        if source.size.is_some() {
            let digest = digest(file).await.with_context(|| format!("cannot read {}", file.display()))?;
            source.digest = Some(digest);
        }
        Ok(source)
    }

    /// The same for a single inspection: the file is read once, and has no idempotency key.
    pub(crate) async fn open_to_look(file: &Path, format: Option<Format>) -> anyhow::Result<Self> {
        let path = file;
        if path == Path::new("-") {
            let Some(format) = format else {
                return Err(usage(
                    "standard input has no name to tell its format by: add --format csv, json, ndjson or xlsx",
                ));
            };
            let reader = Box::new(tokio::io::stdin());
            return Ok(Self {
                name: None,
                format,
                encoding: Compression::Identity,
                size: None,
                digest: None,
                reader,
            });
        }
        let shown = path.display();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let file = tokio::fs::File::open(path).await.with_context(|| format!("cannot open {shown}"))?;
        let metadata = file.metadata().await.with_context(|| format!("cannot look at {shown}"))?;
        if metadata.is_dir() {
            bail!("{shown} is a folder; name a file");
        }
        let Some(format) = format.or_else(|| Format::from_file_name(&name)) else {
            if let Some(advice) = Format::advice_for_name(&name) {
                return Err(usage(format!(
                    "{name} cannot be imported: {advice}; where its name is wrong, name the format with --format"
                )));
            }
            return Err(usage(format!(
                "the name {name} does not tell the format (.csv, .json, .ndjson, .xlsx, also with .gz or .zst): add --format"
            )));
        };
        Ok(Self {
            encoding: Compression::from_file_name(&name),
            name: Some(name),
            format,
            size: metadata.is_file().then_some(metadata.len()),
            digest: None,
            reader: Box::new(file),
        })
    }

    /// The next bytes; none at the end.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = self.reader.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| piece.freeze()))
    }

    /// What is imported, for people.
    pub(super) fn label(&self) -> &str {
        self.name.as_deref().unwrap_or("standard input")
    }
}

/// Whether the bytes can be read a second time: those of standard input, a pipe or a device cannot.
pub(crate) async fn can_be_read_again(file: &Path) -> bool {
    file != Path::new("-") && tokio::fs::metadata(file).await.is_ok_and(|metadata| metadata.is_file())
}

/// SHA-256 of a file, read on a thread of its own.
async fn digest(path: &Path) -> anyhow::Result<[u8; 32]> {
    let path = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(path)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok::<[u8; 32], std::io::Error>(hash.finalize().into()),
                read => hash.update(&piece[..read]),
            }
        }
    });
    Ok(hashing.await??)
}
