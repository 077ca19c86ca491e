use proptest::prelude::*;

use super::*;
use crate::error::ErrorCode;

#[derive(Debug, Clone)]
struct Sample {
    step: u64,
    fields: Vec<(u32, Option<(bool, String)>)>,
    defect: bool,
    raw: Option<String>,
}

fn sample() -> impl Strategy<Value = Sample> {
    let field = (0u32..4, prop::option::of((any::<bool>(), "\\PC{0,12}")));
    (1u64..1_000_000, prop::collection::vec(field, 0..6), any::<bool>(), prop::option::of("\\PC{0,12}"))
        .prop_map(|(step, fields, defect, raw)| Sample { step, fields, defect, raw })
}

proptest! {
    #[test]
    fn chunks_come_back_as_they_were(samples in prop::collection::vec(sample(), 0..20)) {
        let names = FieldNames::from_header(["a", "b", "", "ü"]);
        let defect = RecordError::new(ErrorCode::CsvColumnCount, "has 5 cells").in_field("a");
        let mut number = 0;
        let fields: Vec<Vec<RawField<'_>>> = samples.iter().map(|sample| sample.fields.iter().map(|(name, value)| RawField {
            name: *name,
            value: match value {
                None => RawValue::Null,
                Some((true, text)) => RawValue::Text(text),
                Some((false, text)) => RawValue::Json(text),
            },
        }).collect()).collect();
        let records: Vec<RawRecord<'_>> = samples.iter().zip(&fields).map(|(sample, fields)| {
            number += sample.step;
            RawRecord {
                position: Position { record: RecordNumber::new(number).unwrap(), line: number * 2, byte: number * 7 },
                fields,
                defect: sample.defect.then_some(&defect),
                raw: sample.raw.as_deref(),
            }
        }).collect();
        let mut encoder = Encoder::default();
        for record in &records {
            encoder.push(record, None).unwrap();
        }
        let body = encoder.finish(&names).unwrap();
        let chunk = decode(&body).unwrap();
        let back = chunk.fields();
        prop_assert_eq!(chunk.names(), &names);
        prop_assert_eq!(chunk.records(&back).collect::<Vec<_>>(), records);
    }

    #[test]
    fn sealed_secrets_come_back_with_their_key_alone(texts in prop::collection::vec("\\PC{0,40}", 1..20)) {
        let names = FieldNames::from_header(["email", "password", "api_key"]);
        let key = SecretKey::new(&[7; 32]).unwrap();
        let secrets = Secrets::by_name(&names);
        let json: Vec<String> = texts.iter().map(|text| serde_json::json!({"password_hash": text}).to_string()).collect();
        let fields: Vec<[RawField<'_>; 3]> = texts.iter().zip(&json).map(|(text, json)| [
            RawField { name: 0, value: RawValue::Text("a@example.com") },
            RawField { name: 1, value: RawValue::Json(json) },
            RawField { name: 2, value: RawValue::Text(text) },
        ]).collect();
        let mut encoder = Encoder::default();
        let mut records = Vec::new();
        for (at, fields) in fields.iter().enumerate() {
            let number = RecordNumber::new(at as u64 + 1).unwrap();
            let position = Position { record: number, line: 1, byte: 0 };
            let record = RawRecord { position, fields, defect: None, raw: None };
            encoder.push(&record, Some(Seal { key: &key, secrets: &secrets, names: &names })).unwrap();
            records.push(record);
        }
        let body = encoder.finish(&names).unwrap();
        prop_assert!(is_sealed(&body));
        let open = decode_with(&body, Some(&key)).unwrap();
        let back = open.fields();
        prop_assert_eq!(open.records(&back).collect::<Vec<_>>(), records);
        let shown = decode(&body).unwrap();
        for (field, text) in shown.fields().chunks(3).zip(&texts) {
            let hidden = if text.is_empty() { "" } else { REDACTED };
            prop_assert_eq!(field[2].value, RawValue::Text(hidden));
            let object = serde_json::json!({"password_hash": hidden}).to_string();
            prop_assert_eq!(field[1].value, RawValue::Json(&object));
        }
        let wrong = decode_with(&body, SecretKey::new(&[8; 32]).as_ref());
        prop_assert!(matches!(wrong, Err(BrokenChunk::Damaged(_))));
    }

    #[test]
    fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let plain = decode(&bytes).is_err();
        prop_assert!(plain);
        let mut packed = vec![PLAIN_VERSION];
        packed.extend(zstd::encode_all(&bytes[..], 1).unwrap());
        let _ = decode(&packed);
    }

    /// A body of this program says how large it is when decoded, and is decoded at once; others are decoded piece by piece.
    #[test]
    fn bodies_come_back_whether_or_not_they_say_how_large_they_are(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5), flip in any::<usize>(),
    ) {
        let mut compressor = Compressor::new().unwrap();
        for text in &texts {
            let (head, rest) = text.split_at(text.len() / 2);
            let body = compressor.pack(PLAIN_VERSION, &[head, rest]).unwrap();
            prop_assert_eq!(unpack(&body), Ok((PLAIN_VERSION, text.clone())));
            let mut streamed = vec![PLAIN_VERSION];
            streamed.extend(zstd::encode_all(&text[..], 1).unwrap());
            prop_assert_eq!(decoded_bytes(&body), Some(text.len()));
            prop_assert!(text.is_empty() || decoded_bytes(&streamed).is_none());
            prop_assert_eq!(unpack(&streamed), Ok((PLAIN_VERSION, text.clone())));
            let mut damaged = body;
            let at = 1 + flip % (damaged.len() - 1);
            damaged[at] ^= 1;
            let _ = decode(&damaged);
        }
    }
}
