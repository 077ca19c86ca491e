//! Removes records, or single values of records, from an encoded chunk permanently. Everything else is copied
//! byte for byte, sealed secrets included, so no key is needed.

use super::codec::{BrokenChunk, HAS_DEFECT, HAS_RAW, Reader, decode, pack, put, put_text, unpack};
use crate::error::RecordError;
use crate::record::{FieldNames, REDACTED, RawRecord};

/// What to do with one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Stay,
    /// Nothing of it stays but its number and place: it has the error from now on.
    Erase,
    /// The fields at these places (in the record's order) say [`REDACTED`] from now on.
    Hide(Vec<usize>),
}

/// A chunk out of which something was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The chunk as it is now.
    pub body: Vec<u8>,
    /// What was done with each record, in the chunk's order.
    pub fates: Vec<Fate>,
}

/// Takes out of a chunk what `fate` says of each record. `None` where all of them stay.
pub fn erase(
    body: &[u8],
    error: &RecordError,
    mut fate: impl FnMut(usize, &RawRecord<'_>, &FieldNames) -> Fate,
) -> Result<Option<Erased>, BrokenChunk> {
    let chunk = decode(body)?;
    let fields = chunk.fields();
    let records = chunk.records(&fields).enumerate();
    let fates: Vec<Fate> = records.map(|(place, record)| fate(place, &record, chunk.names())).collect();
    if fates.iter().all(|fate| *fate == Fate::Stay) {
        return Ok(None);
    }
    // It has no field that could fail to serialise.
    let error = serde_json::to_string(error).unwrap_or_default();
    let (version, bytes) = unpack(body)?;
    let mut reader = Reader::new(&bytes);
    let mut out = Vec::with_capacity(bytes.len());
    for _ in 0..reader.small()? {
        reader.bytes()?;
    }
    reader.small()?;
    out.extend_from_slice(reader.since(0));
    for fate in &fates {
        copy(&mut reader, fate, &error, &mut out)?;
    }
    let body = pack(version, &[&out]).map_err(|_| BrokenChunk::Damaged("it cannot be compressed"))?;
    Ok(Some(Erased { body, fates }))
}

/// Copies one record as its fate wants it.
fn copy(reader: &mut Reader<'_>, fate: &Fate, error: &str, out: &mut Vec<u8>) -> Result<(), BrokenChunk> {
    let start = reader.at;
    for _ in 0..3 {
        reader.number()?;
    }
    let place = out.len();
    out.extend_from_slice(reader.since(start));
    let after_place = reader.at;
    let flags = reader.byte()?;
    let count = reader.small()?;
    out.extend_from_slice(reader.since(after_place));
    for at in 0..count as usize {
        let from = reader.at;
        let name = reader.small()?;
        reader.skip_value()?;
        match fate {
            Fate::Hide(places) if places.contains(&at) => {
                put(out, u64::from(name));
                out.push(1);
                put_text(out, REDACTED);
            }
            _ => out.extend_from_slice(reader.since(from)),
        }
    }
    let tail = reader.at;
    for flag in [HAS_DEFECT, HAS_RAW] {
        if flags & flag != 0 {
            reader.bytes()?;
        }
    }
    out.extend_from_slice(reader.since(tail));
    if *fate == Fate::Erase {
        out.truncate(place + (after_place - start));
        out.push(HAS_DEFECT);
        put(out, 0);
        put_text(out, error);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkCutter, ChunkLimits, LaneHash, SecretKey, decode_with};
    use crate::error::ErrorCode;
    use crate::record::{Position, RawField, RawValue, RecordNumber, Secrets};

    #[test]
    fn what_stays_is_as_it_was_and_nothing_of_the_rest_is_left() {
        let names = FieldNames::from_header(["email", "note", "password_hash"]);
        let key = SecretKey::new(&[7; 32]).unwrap();
        let limits = ChunkLimits { records: 10, bytes: 1 << 20, lanes: 1 };
        let mut cutter = ChunkCutter::new(limits).sealing(key.clone());
        cutter.hide(&Secrets::by_name(&names));
        let defect = RecordError::new(ErrorCode::CsvColumnCount, "has 5 cells");
        for number in 1..=4 {
            let (email, note) = (format!("user{number}@example.com"), format!("note {number}"));
            let hash = format!("$2y$10${number}");
            let fields = [
                RawField { name: 0, value: RawValue::Text(&email) },
                RawField { name: 1, value: RawValue::Text(&note) },
                RawField { name: 2, value: RawValue::Text(&hash) },
            ];
            let position =
                Position { record: RecordNumber::new(number).unwrap(), line: 7 * number, byte: 100 * number };
            let unread = number == 4;
            let record = RawRecord {
                position,
                fields: &fields,
                defect: unread.then_some(&defect),
                raw: unread.then_some("raw text"),
            };
            cutter.push(&record, &names, Some(LaneHash::of("a")), true).unwrap();
        }
        cutter.finish(&names).unwrap();
        let body = cutter.take().unwrap().remove(0).body;
        let error = RecordError::new(ErrorCode::Erased, "the person was erased");
        let fates = |place: usize| match place {
            1 => Fate::Erase,
            2 => Fate::Hide(vec![1]),
            _ => Fate::Stay,
        };
        let Erased { body: erased, fates: told } =
            erase(&body, &error, |place, _, _| fates(place)).unwrap().unwrap();
        assert_eq!(told, (0..4).map(fates).collect::<Vec<_>>());
        let (before, after) =
            (decode_with(&body, Some(&key)).unwrap(), decode_with(&erased, Some(&key)).unwrap());
        let (old, new) = (before.fields(), after.fields());
        let (old, new): (Vec<_>, Vec<_>) = (before.records(&old).collect(), after.records(&new).collect());
        for place in [0, 3] {
            assert_eq!(format!("{:?}", new[place]), format!("{:?}", old[place]));
        }
        assert_eq!((new[1].position, new[1].fields.len(), new[1].raw), (old[1].position, 0, None));
        assert_eq!(new[1].defect.unwrap().code, ErrorCode::Erased);
        assert_eq!(new[2].fields[1].value, RawValue::Text(REDACTED));
        assert_eq!((new[2].fields[0], new[2].fields[2]), (old[2].fields[0], old[2].fields[2]));
        let (_, plain) = unpack(&erased).unwrap();
        let holds = |text: &str| plain.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("user1@example.com") && !holds("user2@example.com") && !holds("note 3"));
        assert!(erase(&body, &error, |_, _, _| Fate::Stay).unwrap().is_none());
    }
}
