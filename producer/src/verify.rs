//! Counts the records of a file as its import read it, and computes the digest of its bytes, to check a receipt. No store is needed.

use bytes::Bytes;
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::options::{ImportOptions, Rows};
use muster_domain::parse::{Dialect, Format, ParseEnd, ParseLimits, Parser, ReadAs, RecordSink};
use muster_domain::record::{FieldNames, RawRecord};
use muster_domain::rules::Rules;
use muster_domain::validate::Binding;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::receive::{Compression, Decoded, Failure, Piece, ReceiveLimits, Whole, decode};
use crate::workbook::{BookLimits, Spool};

/// Pieces waiting between two tasks.
const WAITING: usize = 8;

/// Levels of JSON nesting: as many as the parser can read.
const DEPTH: usize = 128;

/// What a file is.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// SHA-256 of its bytes, decompressed.
    pub digest: [u8; 32],
    /// How many bytes those are.
    pub bytes: u64,
    /// How many records it has; or why they cannot be counted. `None` if it is unknown how the import read
    /// the file; then the records were not counted.
    pub records: Option<Result<u64, FileError>>,
}

/// A file that is being counted.
#[derive(Debug)]
pub struct Counting {
    pieces: mpsc::Sender<Piece>,
    decoding: JoinHandle<Result<(), Failure>>,
    counting: JoinHandle<Counted>,
}

/// Gets ready for the bytes of a file that was imported with these options, and read so.
pub fn begin(
    options: ImportOptions,
    read_as: Option<ReadAs>,
    encoding: Compression,
    limits: ReceiveLimits,
) -> Counting {
    let (pieces, incoming) = mpsc::channel(WAITING);
    let (decoded, coming) = mpsc::channel(WAITING);
    let limits = lifted(limits);
    let decoding = tokio::spawn(decode(encoding, limits, incoming, decoded));
    let counting = tokio::task::spawn_blocking(move || count(options, read_as, limits, coming));
    Counting { pieces, decoding, counting }
}

/// The limits without those that refuse a file. The import had the limits of its own installation, which are
/// unknown here. The size after decompression is not limited, since the user trusts their own file.
fn lifted(limits: ReceiveLimits) -> ReceiveLimits {
    if mutant(Mutant::VerifiedByOwnLimits) {
        return ReceiveLimits { decompressed_bytes: None, ratio: None, ..limits };
    }
    let parse = ParseLimits {
        record_bytes: usize::MAX,
        header_bytes: usize::MAX,
        fields: usize::MAX,
        names: usize::MAX,
        depth: DEPTH,
        ..limits.parse
    };
    let book = BookLimits { bytes: u64::MAX, memory: u64::MAX, unpacked: None };
    ReceiveLimits { parse, book, decompressed_bytes: None, ratio: None, ..limits }
}

impl Counting {
    /// Takes the next piece. False if nothing more is taken.
    pub async fn push(&self, bytes: Bytes) -> bool {
        bytes.is_empty() || self.pieces.send(Piece::Bytes(bytes)).await.is_ok()
    }

    /// Ends the file, and returns its counts. `Err` where it cannot be decompressed.
    pub async fn finish(self) -> Result<Counted, FileError> {
        // If the receiver is gone, decompression has failed.
        let _ = self.pieces.send(Piece::End).await;
        let broken = || FileError::new(ErrorCode::Internal, "the file could not be read to its end");
        match self.decoding.await {
            Ok(Ok(())) => self.counting.await.map_err(|_| broken()),
            Ok(Err(Failure::Refuse(error) | Failure::Abort(error))) => Err(error),
            Ok(Err(Failure::Store(_))) | Err(_) => Err(broken()),
        }
    }
}

/// Takes whatever the parser finds, and knows the names that the import knew.
struct Sink(Binding);

impl RecordSink for Sink {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.0.extend(names);
        Ok(())
    }

    fn knows(&self, name: &str) -> bool {
        self.0.knows(name)
    }

    fn record(&mut self, _: &RawRecord<'_>, _: &FieldNames) -> Result<(), FileError> {
        Ok(())
    }
}

/// The parser, until it refuses the file: then only the digest goes on.
struct Reader {
    parser: Parser,
    sink: Sink,
    wrong: Option<FileError>,
}

impl Reader {
    fn feed(&mut self, piece: &[u8]) {
        if self.wrong.is_none() {
            self.wrong = self.parser.feed(piece, &mut self.sink).err();
        }
    }

    fn finish(mut self) -> Result<u64, FileError> {
        match self.wrong {
            Some(error) => Err(error),
            None => self.parser.finish(&mut self.sink).map(|ParseEnd { records, .. }| records),
        }
    }
}

fn count(
    options: ImportOptions,
    read_as: Option<ReadAs>,
    limits: ReceiveLimits,
    mut coming: mpsc::Receiver<Decoded>,
) -> Counted {
    if read_as.is_none() && !mutant(Mutant::VerifiedByOwnLimits) {
        let Whole { digest, bytes } = whole(&mut coming, |_| ());
        return Counted { digest, bytes, records: None };
    }
    let book = (options.format == Format::Xlsx).then(|| Spool::new(limits.book, options.sheet.as_deref()));
    let flexible = options.rows == Rows::Flexible;
    let dialect = read_as.map_or(Dialect { flexible, ..limits.dialect }, |read_as| read_as.dialect(flexible));
    let rules = Rules::new(options);
    let parser = Parser::in_dialect(rules.options.format, limits.parse, dialect)
        .at(rules.options.at.as_deref())
        .reshaping(rules.table());
    let mut reader = Reader { parser, sink: Sink(Binding::new(&rules)), wrong: None };
    let mut spool = match book.transpose() {
        Ok(spool) => spool,
        Err(error) => {
            reader.wrong = Some(error);
            None
        }
    };
    let Whole { digest, bytes } = whole(&mut coming, |piece| match &mut spool {
        None => reader.feed(piece),
        Some(spool) => {
            if reader.wrong.is_none() {
                reader.wrong = spool.write(piece).err();
            }
        }
    });
    if let Some(spool) = spool
        && reader.wrong.is_none()
    {
        let rows = spool.rows(&mut |piece| {
            reader.feed(piece);
            Ok::<(), FileError>(())
        });
        reader.wrong = reader.wrong.take().or(rows.err());
    }
    Counted { digest, bytes, records: Some(reader.finish()) }
}

/// The digest and the size of a file, each of its pieces given to `take`. Where it is not whole, decoding says why.
fn whole(coming: &mut mpsc::Receiver<Decoded>, mut take: impl FnMut(&[u8])) -> Whole {
    loop {
        match coming.blocking_recv() {
            Some(Decoded::Bytes(piece)) => take(&piece),
            Some(Decoded::End(whole)) => return whole,
            None => return Whole::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::parse::TextEncoding;

    use super::*;

    const READ_AS: ReadAs = ReadAs {
        delimiter: None,
        encoding: TextEncoding::Utf8,
        handmade: false,
        skip_lines: None,
        skip_titles: false,
        lax_quotes: false,
    };

    async fn counted(format: Format, read_as: Option<ReadAs>, text: &str) -> Counted {
        let options = ImportOptions { format, ..ImportOptions::default() };
        let small = ParseLimits {
            record_bytes: 20,
            header_bytes: 8,
            fields: 1,
            names: 1,
            depth: 1,
            ..ParseLimits::default()
        };
        let limits = ReceiveLimits { parse: small, ..ReceiveLimits::default() };
        let counting = begin(options, read_as, Compression::Identity, limits);
        assert!(counting.push(Bytes::copy_from_slice(text.as_bytes())).await);
        let counted = counting.finish().await.unwrap();
        assert_eq!(counted.bytes, text.len() as u64);
        counted
    }

    #[tokio::test]
    async fn a_file_is_counted_whatever_the_limits_here_are() {
        let csv = "email,first_name\na@example.com,Ann who has a long name\nb@example.com,Bob\n";
        assert_eq!(counted(Format::Csv, Some(READ_AS), csv).await.records, Some(Ok(2)));
        let ndjson = "{\"email\": \"a@example.com\", \"custom_fields\": {\"office\": \"Rome\"}}\n{\"email\": \"b@example.com\"}\n";
        assert_eq!(counted(Format::Ndjson, Some(READ_AS), ndjson).await.records, Some(Ok(2)));
    }

    #[tokio::test]
    async fn records_are_not_counted_where_nobody_knows_how_they_were_read() {
        assert_eq!(counted(Format::Csv, None, "email\na@example.com\n").await.records, None);
    }
}
