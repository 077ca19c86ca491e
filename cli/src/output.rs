//! Output: results on standard output and in files, messages on standard error.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
pub(crate) use muster_domain::outcome::thousands as number;
use serde::Serialize;
use tokio::fs::File;

/// Writes a line to standard output.
pub(crate) fn stdout_line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes one JSON document for programs to standard output.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("the answer cannot be written as JSON")?;
    Ok(stdout_line(text)?)
}

/// Writes a line to standard error. If it cannot be written, only the message is lost.
pub(crate) fn stderr_line(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a file atomically: it is written to a temporary file beside it and renamed when complete. The old
/// file stays until then, and no partial file is left.
pub(crate) async fn to_file<T>(
    path: &Path,
    write: impl AsyncFnOnce(&mut File) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let shown = path.display();
    let cannot = || format!("cannot write {shown}");
    // A symbolic link stays a link, and a device or pipe is written to directly.
    let there = tokio::fs::metadata(path).await.ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        let mut file = tokio::fs::OpenOptions::new().write(true).open(path).await.with_context(cannot)?;
        return write(&mut file).await.with_context(|| format!("{shown} could not be written"));
    }
    let place =
        if there.is_some() { tokio::fs::canonicalize(path).await.with_context(cannot)? } else { path.into() };
    let beside = beside(&place);
    let written = async {
        let mut file = File::create(&beside).await.with_context(cannot)?;
        if let Some(there) = there {
            file.set_permissions(there.permissions()).await.with_context(cannot)?;
        }
        let written = write(&mut file).await.with_context(|| format!("{shown} could not be written"))?;
        file.sync_all().await.with_context(cannot)?;
        tokio::fs::rename(&beside, &place).await.with_context(cannot)?;
        Ok(written)
    };
    let written = written.await;
    if written.is_err() {
        // It is half a file, and the error says so.
        let _ = tokio::fs::remove_file(&beside).await;
    }
    written
}

/// Where a file is written before it takes its place.
fn beside(place: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    place.with_file_name(name)
}

/// Columns, as wide as their widest cell, two blanks apart.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain(head.get(at).map(|name| name.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    std::iter::once(line(&head)).chain(rows.iter().map(|row| line(row))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_takes_its_place_once_it_is_whole() {
        use tokio::io::AsyncWriteExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.csv");
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        std::fs::write(&path, "before").unwrap();
        let half = to_file(&path, async |file| {
            file.write_all(b"half").await?;
            file.flush().await?;
            assert_eq!(std::fs::read(&path).unwrap(), b"before");
            anyhow::bail!("the server is gone");
            #[allow(unreachable_code, reason = "it says what is given")]
            Ok(())
        });
        assert!(format!("{:#}", half.await.unwrap_err()).contains("the server is gone"));
        assert_eq!((std::fs::read(&path).unwrap(), names()), (b"before".to_vec(), 1));
        let whole = to_file(&path, async |file| Ok(file.write_all(b"whole").await?));
        whole.await.unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), names()), (b"whole".to_vec(), 1));
        to_file(Path::new("/dev/null"), async |file| Ok(file.write_all(b"gone").await?)).await.unwrap();
        assert!(to_file(&folder.path().join("none/users.csv"), async |_| Ok(())).await.is_err());
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "bcd".to_owned()], vec!["žluť".to_owned(), String::new()]];
        assert_eq!(table(&["X", "Y"], &rows), "X     Y\na     bcd\nžluť");
    }
}
