//! Checks that settings fit together. A configuration that passes can import a file with the largest records that it permits.

use muster_domain::fault::{Mutant, mutant};

use super::settings::{Config, IntakeConfig};
use super::value::ByteSize;

/// The largest message: the default of RabbitMQ 4.
const MESSAGE: ByteSize = ByteSize::mib(16);
/// What the records of a chunk that were gathered before their number was known, and the lanes after that, may take in memory.
const GATHERED: ByteSize = ByteSize::mib(64);
/// What a chunk has beside its records: the names, which each chunk carries, and what encoding adds.
const CHUNK_OVERHEAD: u64 = 2 * 1024 * 1024;

impl IntakeConfig {
    /// The largest that a chunk can become, encoded: one byte less than is enough to end it, and then the largest record. That
    /// stands there up to three times: sealed, and beside it what may be shown, whose values may be longer than they were.
    pub fn largest_chunk(&self) -> ByteSize {
        let record = self.record_bytes.bytes().saturating_mul(3);
        ByteSize::new(self.chunk_bytes.bytes().saturating_add(record).saturating_add(CHUNK_OVERHEAD))
    }
}

impl Config {
    /// What the values make together, each with what to change.
    pub(super) fn check_together(&self, wrong: &mut impl FnMut(&str, String)) {
        if mutant(Mutant::SettingsAlone) {
            return;
        }
        let intake = &self.intake;
        let largest = intake.largest_chunk();
        if largest > MESSAGE {
            let message = format!(
                "a chunk may become {} large with intake.chunk_bytes = {} and intake.record_bytes = {}, and a message takes \
                 {MESSAGE}: lower one of them so that chunk_bytes + 3 × record_bytes is at most {}",
                ByteSize::mib(largest.bytes().div_ceil(1024 * 1024)),
                intake.chunk_bytes,
                intake.record_bytes,
                ByteSize::new(MESSAGE.bytes() - CHUNK_OVERHEAD),
            );
            wrong("intake.record_bytes", message);
        }
        let gathered = intake.chunk_bytes.bytes().saturating_mul(u64::from(intake.lanes));
        if gathered > GATHERED.bytes() {
            let lanes = (GATHERED.bytes() / intake.chunk_bytes.bytes().max(1)).max(1);
            let message = format!(
                "an upload would take {} of memory: each lane gathers up to intake.chunk_bytes = {}; set at most {lanes} lanes, \
                 or smaller chunks",
                ByteSize::mib(gathered.div_ceil(1024 * 1024)),
                intake.chunk_bytes,
            );
            wrong("intake.lanes", message);
        }
        self.check_http(wrong);
        if self.retention.secrets > self.retention.imports {
            let message = "must not be longer than retention.imports: with the import its records go";
            wrong("retention.secrets", message.into());
        }
        if self.dispatch.lease < self.dispatch.poll.saturating_mul(4) {
            let message = "must be at least four times dispatch.poll, or chunks are sent again before anybody has looked";
            wrong("dispatch.lease", message.into());
        }
        if let Some(window) = self.dispatch.window
            && self.worker.concurrency.is_some()
            && window < self.worker.slots()
        {
            let message = format!(
                "must be at least worker.concurrency, which is {}, or workers wait for chunks; 2 × that is better",
                self.worker.slots()
            );
            wrong("dispatch.window", message);
        }
    }

    fn check_http(&self, wrong: &mut impl FnMut(&str, String)) {
        if self.http.tenant_uploads > self.http.uploads {
            wrong(
                "http.tenant_uploads",
                format!("must not be more than http.uploads, which is {}", self.http.uploads),
            );
        }
        if self.http.uploads >= self.http.connections {
            let message = format!(
                "must be less than http.connections, which is {}: uploads would leave no connection for anything else",
                self.http.connections
            );
            wrong("http.uploads", message);
        }
        if self.http.ops_listen.is_some_and(|ops| ops == self.http.listen && ops.port() != 0) {
            wrong("http.ops_listen", "must be another address than http.listen".into());
        }
        let http = &self.http;
        if http.tls_certificate.is_some() != http.tls_key.is_some() {
            wrong("http.tls_certificate", "must be set together with http.tls_key: HTTPS needs both".into());
        }
        if http.tls_client_authority.is_some() && http.tls_certificate.is_none() {
            wrong(
                "http.tls_client_authority",
                "needs http.tls_certificate and http.tls_key: plain HTTP asks for no certificate".into(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::chunk::{ChunkCutter, ChunkLimits, LaneHash, PackedChunk, SecretKey, decode};
    use muster_domain::error::{ErrorCode, RecordError};
    use muster_domain::record::{FieldNames, Position, RawField, RawRecord, RawValue, RecordNumber, Secrets};
    use proptest::prelude::*;

    use super::*;
    use crate::config::Layers;

    fn resolve(settings: &[(&'static str, String)]) -> Result<Config, Vec<String>> {
        let layers = Layers { arguments: settings.to_vec(), ..Layers::default() };
        layers.resolve(vec![]).map_err(|error| {
            error.problems.into_iter().map(|p| format!("{}: {}", p.place, p.message)).collect()
        })
    }

    #[test]
    fn settings_that_do_not_go_together_say_what_to_change() {
        for (settings, told) in [
            (vec![("intake.lanes", "1024")], "intake.lanes on the command line: an upload would take 1 GiB"),
            (vec![("intake.lanes", "65")], "set at most 64 lanes"),
            (
                vec![("intake.record_bytes", "8 MiB")],
                "lower one of them so that chunk_bytes + 3 × record_bytes is at most 14 MiB",
            ),
            (
                vec![("http.uploads", "4"), ("http.tenant_uploads", "5")],
                "must not be more than http.uploads, which is 4",
            ),
            (
                vec![("http.uploads", "64"), ("http.connections", "64")],
                "must be less than http.connections, which is 64",
            ),
            (
                vec![("http.listen", "127.0.0.1:80"), ("http.ops_listen", "127.0.0.1:80")],
                "another address than http.listen",
            ),
            (vec![("http.tls_key", "k.pem")], "must be set together with http.tls_key"),
            (vec![("http.tls_client_authority", "a.pem")], "needs http.tls_certificate and http.tls_key"),
            (vec![("retention.imports", "1d")], "must not be longer than retention.imports"),
            (vec![("dispatch.poll", "30s"), ("dispatch.lease", "1min")], "at least four times dispatch.poll"),
            (
                vec![("dispatch.window", "16"), ("worker.concurrency", "17")],
                "must be at least worker.concurrency, which is 17",
            ),
        ] {
            let settings: Vec<_> = settings.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
            let problems = resolve(&settings).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(told), "{problems:?}");
        }
        for (key, value) in
            [("intake.lanes", "64"), ("intake.record_bytes", "4 MiB"), ("worker.concurrency", "16")]
        {
            assert!(resolve(&[(key, value.to_owned())]).is_ok(), "{key}");
        }
    }

    /// The chunks of a file with some small records, one of the largest, and small ones again.
    fn chunks(intake: &IntakeConfig, large: &RawRecord<'_>, names: &FieldNames) -> Vec<PackedChunk> {
        let limits = ChunkLimits {
            records: intake.chunk_records,
            bytes: intake.chunk_bytes.as_usize(),
            lanes: intake.lanes,
        };
        let mut cutter = ChunkCutter::new(limits).sealing(SecretKey::new(&[1; 32]).unwrap());
        cutter.hide(&Secrets::by_name(names));
        let small = [RawField { name: 0, value: RawValue::Text("a@example.com") }];
        let mut packed = Vec::new();
        for number in 1..=9 {
            let position = Position { record: RecordNumber::new(number).unwrap(), line: number, byte: 0 };
            let record = match number {
                5 => RawRecord { position, ..*large },
                _ => RawRecord { position, fields: &small, defect: None, raw: None },
            };
            cutter.push(&record, names, Some(LaneHash::of("a@example.com")), true).unwrap();
            packed.extend(cutter.take().unwrap());
        }
        cutter.finish(names).unwrap();
        packed.extend(cutter.take().unwrap());
        packed
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_passes_the_check_imports_the_largest_record(
            chunk_kib in 1u64..12_000, record_kib in 1u64..12_000, lanes in 1u32..2_000, records in 1u32..3_000, seed in any::<u64>(),
        ) {
            let settings = [
                ("intake.chunk_bytes", format!("{chunk_kib} KiB")), ("intake.record_bytes", format!("{record_kib} KiB")),
                ("intake.lanes", lanes.to_string()), ("intake.chunk_records", records.to_string()),
            ];
            let Ok(config) = resolve(&settings) else { return Ok(()) };
            let intake = &config.intake;
            prop_assert!(intake.chunk_bytes.bytes() * u64::from(intake.lanes) <= GATHERED.bytes());
            // Letters that nothing compresses, as far as letters go.
            let mut state = seed | 1;
            let text: String = (0..intake.record_bytes.as_usize())
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    char::from(b'#' + u8::try_from(state >> 58).unwrap_or(0))
                })
                .collect();
            let names = FieldNames::from_header(["email", "note", "passwd"]);
            let defect = RecordError::new(ErrorCode::CsvColumnCount, "has 5 cells");
            let fields = [RawField { name: 1, value: RawValue::Text(&text) }];
            let position = Position { record: RecordNumber::FIRST, line: 1, byte: 0 };
            let unread = RawRecord { position, fields: &fields, defect: Some(&defect), raw: Some(&text) };
            let json = format!("{{{}}}", (0..text.len() / 12).map(|at| format!("\"{at:06}\":\"x\"")).collect::<Vec<_>>().join(","));
            let secret = [RawField { name: 2, value: RawValue::Json(&json) }];
            let sealed = RawRecord { position, fields: &secret, defect: None, raw: None };
            for large in [unread, sealed] {
                let chunks = chunks(intake, &large, &names);
                prop_assert_eq!(chunks.iter().map(|chunk| chunk.records).sum::<u32>(), 9);
                for chunk in chunks {
                    prop_assert!(chunk.body.len() as u64 <= MESSAGE.bytes(), "{}", chunk.body.len());
                    prop_assert!(decode(&chunk.body).is_ok());
                }
            }
        }
    }
}
