//! The data: a file of made-up users, the same for the same arguments on every machine, and what importing it must give.

mod format;
mod people;
mod random;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::json;

pub(crate) use format::Format;
use format::RecordWriter;
use people::{Defect, Person};
use random::SplitMix64;

/// What to generate.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Order {
    /// How many records.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) records: u64,
    /// The same seed gives the same file.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What the file is written in.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(crate) format: Format,
    /// Percentage of records that mean a user of an earlier record; every other one changes that user.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub(crate) duplicates: f64,
    /// Percentage of records without a usable e-mail address.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub(crate) invalid: f64,
    /// How often each user has changed since the first file of the same seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) revision: u64,
}

impl Order {
    /// Clean records, as CSV.
    pub(crate) fn clean(records: u64, seed: u64) -> Self {
        Self { records, seed, format: Format::Csv, duplicates: 0.0, invalid: 0.0, revision: 0 }
    }
}

/// How many records have which outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
}

impl Counts {
    pub(crate) fn to_json(self) -> serde_json::Value {
        json!({
            "inserted": self.inserted,
            "updated": self.updated,
            "skipped": self.skipped,
            "failed": self.failed,
        })
    }
}

/// What the file holds, and what importing it by `identifier=email`, `on_existing=update`, `metadata=merge` must give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Users there are in the end, where there were none before.
    pub(crate) users: u64,
    pub(crate) first: Counts,
    /// The outcomes when the same file comes again.
    pub(crate) again: Counts,
    pub(crate) failed_by_code: BTreeMap<&'static str, u64>,
}

impl Manifest {
    pub(crate) fn to_json(&self, order: &Order) -> serde_json::Value {
        json!({
            "records": self.records,
            "bytes": self.bytes,
            "seed": order.seed,
            "format": order.format.as_str(),
            "users": self.users,
            "first_import": self.first.to_json(),
            "same_file_again": self.again.to_json(),
            "failed_by_code": self.failed_by_code,
        })
    }
}

/// How many users may still get duplicates, and how seldom a new user takes the place of one of them: together that puts
/// a duplicate about 8,000 records behind its first, sometimes in the same chunk and sometimes far away.
const REMEMBERED: usize = 1024;
const REPLACED_ONE_IN: u64 = 8;

/// The records of an order, one after the other.
struct Generator<'o> {
    order: &'o Order,
    random: SplitMix64,
    person: Person,
    /// Users that may come again: number, changes so far.
    known: Vec<(u64, u64)>,
    duplicates: u64,
    manifest: Manifest,
    /// Users that end otherwise than their first record said: the file changes them back when it comes again.
    moved_on: u64,
}

impl<'o> Generator<'o> {
    fn new(order: &'o Order) -> Self {
        let random = SplitMix64::new(order.seed);
        let manifest = Manifest { records: order.records, ..Manifest::default() };
        let known = Vec::with_capacity(REMEMBERED);
        Self { order, random, person: Person::default(), known, duplicates: 0, manifest, moved_on: 0 }
    }

    /// The next record.
    fn step(&mut self) -> &Person {
        // A number from 0 to 100 with six digits behind the point.
        #[expect(clippy::cast_precision_loss, reason = "below 2^27")]
        let draw = self.random.below(100_000_000) as f64 / 1_000_000.0;
        if draw < self.order.invalid {
            self.invalid();
        } else if draw < self.order.invalid + self.order.duplicates && !self.known.is_empty() {
            self.duplicate();
        } else {
            self.new_user();
        }
        &self.person
    }

    fn invalid(&mut self) {
        let defect = self.random.pick(&Defect::ALL).unwrap_or(Defect::NoAt);
        // Numbers from the top, so that no valid user has them.
        self.person.become_user(self.order.seed, u32::MAX.into(), self.manifest.first.failed);
        self.person.spoil(defect);
        self.manifest.first.failed += 1;
        *self.manifest.failed_by_code.entry(defect.code()).or_default() += 1;
    }

    fn duplicate(&mut self) {
        let at = usize::try_from(self.random.below(self.known.len() as u64)).unwrap_or(0);
        let changes = self.duplicates % 2;
        self.duplicates += 1;
        if let Some((index, revision)) = self.known.get_mut(at) {
            *revision += changes;
            self.person.become_user(self.order.seed, *index, *revision);
        }
        if changes == 1 {
            self.manifest.first.updated += 1;
        } else {
            self.manifest.first.skipped += 1;
        }
    }

    fn new_user(&mut self) {
        let index = self.manifest.users;
        self.person.become_user(self.order.seed, index, self.order.revision);
        self.manifest.users += 1;
        self.manifest.first.inserted += 1;
        if self.order.duplicates <= 0.0 {
            return;
        }
        if self.known.len() < REMEMBERED {
            self.known.push((index, 0));
        } else if self.random.below(REPLACED_ONE_IN) == 0 {
            let at = usize::try_from(self.random.below(REMEMBERED as u64)).unwrap_or(0);
            if let Some(known) = self.known.get_mut(at) {
                self.moved_on += u64::from(!people::is_as_first(known.1));
                *known = (index, 0);
            }
        }
    }

    fn finish(mut self, bytes: u64) -> Manifest {
        self.moved_on +=
            self.known.iter().filter(|(_, revision)| !people::is_as_first(*revision)).count() as u64;
        let first = self.manifest.first;
        self.manifest.bytes = bytes;
        self.manifest.again = Counts {
            inserted: 0,
            updated: first.updated + self.moved_on,
            skipped: first.skipped + first.inserted - self.moved_on,
            failed: first.failed,
        };
        self.manifest
    }
}

/// Writes the records.
pub(crate) fn generate(order: &Order, out: impl Write) -> anyhow::Result<Manifest> {
    for percent in [order.duplicates, order.invalid, order.duplicates + order.invalid] {
        ensure!((0.0..=100.0).contains(&percent), "percentages must be from 0 to 100, and so must their sum");
    }
    let mut writer = RecordWriter::new(out, order.format)?;
    let mut generator = Generator::new(order);
    for _ in 0..order.records {
        writer.write(generator.step())?;
    }
    let bytes = writer.finish()?;
    Ok(generator.finish(bytes))
}

/// Writes the records into a file.
pub(crate) fn generate_file(order: &Order, path: &Path) -> anyhow::Result<Manifest> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let out = BufWriter::with_capacity(1 << 20, file);
    generate(order, out).with_context(|| format!("writing {}", path.display()))
}

/// `muster-bench generate`.
pub(crate) fn command(
    order: &Order,
    output: Option<&PathBuf>,
    manifest: Option<&PathBuf>,
) -> anyhow::Result<()> {
    let made = match output {
        Some(path) => generate_file(order, path)?,
        None => generate(order, BufWriter::with_capacity(1 << 20, io::stdout().lock()))?,
    };
    let text = format!("{:#}\n", made.to_json(order));
    match manifest {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?
        }
        None => eprint!("{text}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
