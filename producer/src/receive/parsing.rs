//! Turns bytes into chunks: parses, validates and cuts one record at a time, on its own thread.

use muster_domain::chunk::SecretKey;
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::options::Dates;
use muster_domain::parse::{Dialect, Format, ParseLimits, Parser, ReadAs};
use muster_domain::receive::{
    Allowance, Bounds, Cut, CutTaker, Received, ReceivedRecords, Receiving, Unstaged,
};
use muster_domain::rules::Rules;
use tokio::sync::mpsc;

use super::{Decoded, Failure, ReceiveLimits, Waiting};
use crate::workbook::{BookLimits, Spool};

/// One upload on its way from bytes to what is to be staged.
pub(super) struct Intake {
    parser: Parser,
    sink: Receiving<Out>,
    bytes: u64,
    book: BookLimits,
    parse: ParseLimits,
    dialect: Dialect,
    /// The order of days, once it is found out.
    dates: Option<Dates>,
}

/// Hands on what was cut.
struct Out(mpsc::Sender<Cut>);

impl CutTaker for Out {
    fn take(&mut self, cut: Cut) -> bool {
        self.0.blocking_send(cut).is_ok()
    }
}

impl Intake {
    /// `key` seals the secrets of the records; `allowance` is what the tenant's quotas leave for the import.
    pub(super) fn new(
        rules: Rules,
        key: SecretKey,
        limits: ReceiveLimits,
        allowance: Allowance,
        cut: mpsc::Sender<Cut>,
    ) -> Self {
        let bounds = Bounds {
            chunk: limits.chunk,
            brake: limits.brake,
            repeats: limits.repeats,
            records: limits.records,
            allowance,
        };
        Self {
            parser: Parser::in_dialect(rules.options.format, limits.parse, limits.dialect)
                .at(rules.options.at.as_deref())
                .reshaping(rules.table()),
            sink: Receiving::new(rules, Some(key), bounds, Out(cut)),
            bytes: 0,
            book: limits.book,
            parse: limits.parse,
            dialect: limits.dialect,
            dates: None,
        }
    }

    /// Where a workbook is kept until it is whole.
    fn spool(&self) -> Result<Option<Spool>, Failure> {
        let options = &self.sink.reading.rules.options;
        let book = options.format == Format::Xlsx;
        Ok(book.then(|| Spool::new(self.book, options.sheet.as_deref())).transpose()?)
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let parsed = self.parser.feed(piece, &mut self.sink);
        self.checked(parsed)
    }

    /// Takes a piece of the text: it waits, or is parsed.
    fn take(&mut self, piece: &[u8], waiting: &mut Option<Waiting>) -> Result<(), Failure> {
        match waiting {
            Some(waiting) => waiting.write(piece).map_err(Failure::from),
            None => self.feed(piece),
        }
    }

    /// Parses what has waited, in the order of days that it proves.
    fn take_waiting(&mut self, waiting: Waiting) -> Result<(), Failure> {
        let (dates, pieces) = waiting.end()?;
        self.sink.reading.rules.options.dates = dates;
        self.dates = Some(dates);
        pieces.each(|piece| self.feed(piece))
    }

    /// Takes pieces until the upload is whole, and hands on what is cut of it.
    pub(super) fn run(mut self, mut pieces: mpsc::Receiver<Decoded>) -> Result<Received, Failure> {
        let mut spool = self.spool()?;
        let mut waiting =
            Waiting::new(&self.sink.reading.rules.options, (self.parse, self.dialect), self.book.bytes)?;
        let whole = loop {
            match pieces.blocking_recv() {
                Some(Decoded::Bytes(piece)) => {
                    self.bytes += piece.len() as u64;
                    self.sink.check_bytes(self.bytes).map_err(Failure::Refuse)?;
                    match &mut spool {
                        Some(spool) => spool.write(&piece)?,
                        None => self.take(&piece, &mut waiting)?,
                    }
                }
                Some(Decoded::End(whole)) => break whole,
                // The decoder failed, and its error takes precedence.
                None => return Err(taker_gone()),
            }
        };
        if let Some(spool) = spool {
            spool.rows(&mut |piece| self.take(piece, &mut waiting))?;
        }
        if let Some(waiting) = waiting {
            self.take_waiting(waiting)?;
        }
        let parsed = self.parser.finish(&mut self.sink);
        let end = self.checked(parsed)?;
        self.sink.check_end(end.records).map_err(Failure::Refuse)?;
        let ReceivedRecords { invalid, codes, lanes, mends, names_one_unique, reading, .. } =
            self.sink.finish().map_err(failed)?;
        Ok(Received {
            total: end.records,
            invalid,
            codes,
            bytes: whole.bytes,
            digest: whole.digest,
            columns: reading.binding.shown_names().map(str::to_owned).collect(),
            lanes,
            encoding: end.encoding,
            reading: ReadAs::new(&self.dialect, &end),
            mends,
            dates: self.dates,
            independent: names_one_unique,
        })
    }

    /// What parsing gave. If it stopped because the staging task is gone, that is not an error of the file.
    fn checked<T>(&mut self, parsed: Result<T, FileError>) -> Result<T, Failure> {
        parsed.map_err(|error| match self.sink.unstaged() {
            Some(Unstaged::TakerGone) => taker_gone(),
            Some(Unstaged::Unencoded(cause)) => {
                tracing::error!(error = %cause, "a chunk could not be encoded");
                Failure::Refuse(error)
            }
            None => Failure::Refuse(error),
        })
    }
}

fn failed(unstaged: Unstaged) -> Failure {
    match unstaged {
        Unstaged::TakerGone => taker_gone(),
        Unstaged::Unencoded(error) => {
            tracing::error!(%error, "a chunk could not be encoded");
            Failure::Abort(FileError::new(ErrorCode::Internal, "a chunk could not be encoded"))
        }
    }
}

fn taker_gone() -> Failure {
    Failure::Abort(FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end"))
}
