//! How long it took until work went on after a fault.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use muster_runtime::clock;
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::time::sleep;

use super::journal::{Wrong, held};
use super::noted::{Fault, Waits};
use super::world::World;

/// Times of one kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    /// In seconds, ascending.
    pub(crate) all: Vec<f64>,
    /// Not counted: there was no work, the work ended otherwise, or a server was away meanwhile.
    pub(crate) left_out: u64,
}

impl Times {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        Self { all, left_out: 0 }
    }

    pub(crate) fn percentile(&self, part: f64) -> Option<f64> {
        let last = self.all.len().checked_sub(1)?;
        // Nearest rank: of n times the one that n * part of them are not above.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (self.all.len() as f64 * part).ceil() as usize;
        self.all.get(rank.saturating_sub(1).min(last)).copied()
    }

    pub(crate) fn json(&self) -> Value {
        let round = |seconds: Option<f64>| seconds.map(|seconds| (seconds * 1000.0).round() / 1000.0);
        json!({"count": self.all.len(), "left_out": self.left_out, "p50": round(self.percentile(0.5)),
               "p95": round(self.percentile(0.95)), "max": round(self.all.last().copied())})
    }
}

/// The first end of each chunk after a moment.
const ENDS: &str = "select distinct on (chunk) chunk, at, became
   from witness.chunks
  where chunk = any($1) and at > $2 and was <> became and became in ('applied', 'dead', 'cancelled')
  order by chunk, seq";

/// The first chunk applied after a moment, and whether there was work: a chunk that went out or was staged before.
const NEXT_APPLIED: &str = "select at from witness.chunks
  where cardinality($1::bigint[]) = 0 and at > $2 and was <> became and became = 'applied' order by seq limit 1";

const NEXT_OUT: &str = "select at from witness.chunks
  where cardinality($1::bigint[]) = 0 and at > $2 and was <> became and became = 'dispatched' order by seq limit 1";

/// The first session of a process that began after a moment.
const NEW_SESSION: &str =
    "select backend_start from pg_stat_activity where application_name = $1 and backend_start > $2
      order by backend_start limit 1";

/// Whether a chunk of a running import was open at a moment: it ended later than that, and its import was received before.
const WORK: &str = "select exists (
   select from witness.chunks w
     join imports i on i.id = w.import
    where cardinality($1::bigint[]) = 0
      and w.at between $2 and $2 + interval '10 minutes' and w.was <> w.became and w.became = 'applied'
      and i.received_at < $2
      and exists (select from witness.chunks o
                   where o.chunk = w.chunk and o.seq < w.seq and o.at < $2 and o.became = 'dispatched'))";

impl World {
    /// Works out all times. One that is longer than the limit is a violation.
    pub(crate) async fn recovery_times(&self) -> anyhow::Result<BTreeMap<&'static str, Times>> {
        let faults = held(&self.recoveries.faults).clone();
        let mut all: BTreeMap<&'static str, Times> = BTreeMap::new();
        for fault in faults {
            let ends = self.ends(&fault).await?;
            let times = all.entry(fault.kind).or_default();
            for (until, what) in ends {
                // Clocks are one machine's, but the witness writes a moment before the commit.
                let seconds = (until - fault.at).max(TimeDelta::zero()).as_seconds_f64();
                if what != "applied" && what != "dispatched"
                    || self.was_away(fault.at + TimeDelta::milliseconds(1), until)
                {
                    times.left_out += 1;
                    continue;
                }
                times.all.push(seconds);
                if seconds > self.options.recovery {
                    let fields = json!({"fault": fault.kind, "at": fault.at, "seconds": seconds});
                    self.journal.violation(Wrong::NotEnded, "work went on too late", 1, fields);
                }
            }
        }
        for times in all.values_mut() {
            *times = Times { left_out: times.left_out, ..Times::of(std::mem::take(&mut times.all)) };
        }
        let busy = held(&self.recoveries.busy_keys).clone();
        all.insert("a key is free again", Times::of(busy));
        let connected = held(&self.recoveries.connected).clone();
        all.insert("half-open connection: its process has a new one", Times::of(connected));
        Ok(all)
    }

    /// How many seconds it took until a process had a session with the database that began after a moment. `None` where that
    /// says nothing: the process or the database was ended meanwhile.
    pub(crate) async fn connects_again(&self, process: &str, at: DateTime<Utc>) -> Option<f64> {
        let pid = self.processes().find(|one| one.name == process)?.pid()?;
        let limit = TimeDelta::from_std(Duration::try_from_secs_f64(self.options.recovery).ok()?).ok()?;
        loop {
            sleep(Duration::from_millis(100)).await;
            let now = clock::now();
            let same = self.processes().any(|one| one.name == process && one.pid() == Some(pid));
            if !same || self.was_away(at, now) || self.closing() {
                return None;
            }
            let name = process.to_owned();
            let rows = self.db.glance(NEW_SESSION, |query| query.bind(name.clone()).bind(at)).await?;
            let began: Option<DateTime<Utc>> = rows.first().and_then(|row| row.try_get(0).ok());
            if let Some(began) = began {
                return Some((began - at).as_seconds_f64());
            }
            if now - at > limit {
                let fields = json!({"process": process, "at": at});
                self.journal.violation(Wrong::NotEnded, "a half-open connection is not replaced", 1, fields);
                return None;
            }
        }
    }

    /// When what was waited for came: one moment for each thing.
    async fn ends(&self, fault: &Fault) -> anyhow::Result<Vec<(DateTime<Utc>, String)>> {
        match &fault.waits {
            Waits::Each(chunks) => {
                let rows = self.first_after(ENDS, chunks.clone(), fault.at).await?;
                rows.iter().map(|row| Ok((row.try_get("at")?, row.try_get("became")?))).collect()
            }
            Waits::Any | Waits::Out => {
                let work = self.first_after(WORK, Vec::new(), fault.at).await?;
                let works: bool = work.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
                let (sql, what) = match fault.waits {
                    Waits::Out => (NEXT_OUT, "dispatched"),
                    _ => (NEXT_APPLIED, "applied"),
                };
                let rows = self.first_after(sql, Vec::new(), fault.at).await?;
                let Some(row) = rows.first().filter(|_| works) else { return Ok(Vec::new()) };
                Ok(vec![(row.try_get("at")?, what.to_owned())])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let times = Times::of((1..=20).map(f64::from).collect());
        assert_eq!(times.percentile(0.5), Some(10.0));
        assert_eq!(times.percentile(0.95), Some(19.0));
        assert_eq!(times.percentile(1.0), Some(20.0));
        assert_eq!(Times::default().percentile(0.5), None);
    }
}
