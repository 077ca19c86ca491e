//! Everything that a parser gave for one upload, in a form that can be compared and written down.

use muster_domain::error::{FileError, RecordError};
use muster_domain::parse::{Dialect, Format, ParseEnd, ParseLimits, Parser, RecordSink, TextEncoding};
use muster_domain::record::{FieldNames, Position, RawRecord, RawValue};
use serde_json::{Map, Value, json};

#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) header: Option<Vec<String>>,
    pub(crate) records: Vec<SeenRecord>,
    pub(crate) end: Result<ParseEnd, FileError>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct SeenRecord {
    pub(crate) position: Position,
    pub(crate) fields: Vec<(String, SeenValue)>,
    pub(crate) defect: Option<RecordError>,
    pub(crate) raw: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SeenValue {
    Null,
    Text(String),
    Json(String),
}

#[derive(Default)]
struct Collector {
    header: Option<Vec<String>>,
    records: Vec<SeenRecord>,
}

impl RecordSink for Collector {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        assert_eq!(self.header, None, "the header comes once");
        assert!(self.records.is_empty(), "the header comes first");
        self.header = Some(names.iter().map(str::to_owned).collect());
        Ok(())
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        let fields = record.fields.iter().map(|field| {
            let value = match field.value {
                RawValue::Null => SeenValue::Null,
                RawValue::Text(text) => SeenValue::Text(text.to_owned()),
                RawValue::Json(text) => SeenValue::Json(text.to_owned()),
            };
            (names.get(field.name).expect("a name for each field").to_owned(), value)
        });
        self.records.push(SeenRecord {
            position: record.position,
            fields: fields.collect(),
            defect: record.defect.cloned(),
            raw: record.raw.map(str::to_owned),
        });
        Ok(())
    }
}

/// Within which limits an upload is parsed, and in which dialect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parsing(ParseLimits, Dialect);

impl From<ParseLimits> for Parsing {
    fn from(limits: ParseLimits) -> Self {
        Self(limits, Dialect::default())
    }
}

impl From<Dialect> for Parsing {
    fn from(dialect: Dialect) -> Self {
        Self(ParseLimits::default(), dialect)
    }
}

impl From<(ParseLimits, Dialect)> for Parsing {
    fn from((limits, dialect): (ParseLimits, Dialect)) -> Self {
        Self(limits, dialect)
    }
}

/// Parses an upload that comes in these pieces.
pub(crate) fn parse_pieces<'p>(
    format: Format,
    parsing: impl Into<Parsing>,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Seen {
    let Parsing(limits, dialect) = parsing.into();
    let mut parser = Parser::in_dialect(format, limits, dialect);
    let mut collector = Collector::default();
    let fed = pieces.into_iter().try_for_each(|piece| parser.feed(piece, &mut collector));
    let end = fed.and_then(|()| parser.finish(&mut collector));
    if let Err(error) = &end {
        assert_eq!(parser.feed(b"x", &mut collector).as_ref(), Err(error), "an error is final");
        assert_eq!(parser.finish(&mut collector).as_ref(), Err(error), "an error is final");
    }
    Seen { header: collector.header, records: collector.records, end }
}

/// Parses an upload that comes in one piece.
pub(crate) fn parse(format: Format, parsing: impl Into<Parsing>, upload: &[u8]) -> Seen {
    parse_pieces(format, parsing, [upload])
}

impl Seen {
    /// The code that the file or, if only one has a defect, the record was refused with.
    pub(crate) fn codes(&self) -> Vec<String> {
        let defects =
            self.records.iter().filter_map(|record| record.defect.as_ref()).map(|defect| defect.code);
        defects.chain(self.end.as_ref().err().map(|error| error.code)).map(|code| code.to_string()).collect()
    }

    pub(crate) fn to_json(&self) -> Value {
        let records: Vec<Value> = self.records.iter().map(SeenRecord::to_json).collect();
        let mut all = json!({ "records": records });
        if let Some(header) = &self.header {
            all["header"] = json!(header);
        }
        match &self.end {
            Ok(end) => {
                all["end"] = json!({ "records": end.records, "bytes": end.bytes });
                if end.encoding != TextEncoding::Utf8 {
                    all["end"]["encoding"] = json!(end.encoding);
                }
            }
            Err(error) => all["error"] = json!(error),
        }
        all
    }
}

impl SeenRecord {
    fn to_json(&self) -> Value {
        let fields: Map<String, Value> =
            self.fields.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
        let mut all = json!({ "position": self.position, "fields": fields });
        if let Some(defect) = &self.defect {
            all["defect"] = json!(defect);
        }
        if let Some(raw) = &self.raw {
            all["raw"] = json!(raw);
        }
        all
    }
}

impl SeenValue {
    fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Text(text) => json!(text),
            Self::Json(source) => json!({ "json": source }),
        }
    }
}
