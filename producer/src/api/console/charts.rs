//! Charts as SVG. Lengths are attributes of shapes, so pages need no inline styles. Each chart has a text description.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::import::ImportState;
use muster_domain::outcome::Counts;
use muster_store::console_figures::{LaneCell, Settled};
use muster_store::reports::ChunkCounts;

use super::formatting::{count, number, percent};

/// The state of an import: a word, and a dot in the colour of what it means.
pub(super) fn state(state: ImportState) -> Markup {
    let meaning = match state {
        ImportState::Completed => "good",
        ImportState::Running | ImportState::Receiving | ImportState::Planning => "busy",
        ImportState::Paused | ImportState::Received | ImportState::Planned => "wait",
        ImportState::Aborted | ImportState::Refused => "bad",
        ImportState::Cancelled => "idle",
    };
    html! { span class={ "state " (meaning) } { (state) } }
}

/// How far an import is: outcomes side by side.
pub(super) fn progress(counts: &Counts) -> Markup {
    let parts = [
        ("inserted", counts.inserted),
        ("updated", counts.updated),
        ("skipped", counts.skipped),
        ("failed", counts.failed),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(_, part)| *part > 0)
        .map(|(name, part)| format!("{} {name}", number(*part)))
        .collect();
    let settled = percent(counts.total - counts.pending, counts.total);
    let told = if told.is_empty() { "nothing settled yet".to_owned() } else { told.join(", ") };
    let mut from = 0.0;
    let bars = parts.map(|(name, part)| {
        let (at, width) = (from, width(part, counts.total));
        from += width;
        (name, at, width)
    });
    html! {
        svg.progress role="img" viewBox="0 0 1000 10" preserveAspectRatio="none"
            aria-label={ (settled) " % of " (count(counts.total, "record", "records")) ": " (told) } {
            @for (name, at, width) in bars.iter().filter(|(_, _, width)| *width > 0.0) {
                rect class=(name) x=(tenths(*at)) y="0" width=(tenths(*width)) height="10" {}
            }
        }
    }
}

/// Thousandths of the width. Small amounts stay visible.
fn width(part: u64, whole: u64) -> f64 {
    if part == 0 || whole == 0 { 0.0 } else { (part as f64 * 1000.0 / whole as f64).clamp(3.0, 1000.0) }
}

fn tenths(length: f64) -> String {
    format!("{length:.1}")
}

/// Stretches of time of the same length, one after the other without gaps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Timeline {
    /// How long each is.
    pub(super) seconds: i64,
    /// What was settled in each.
    pub(super) bars: Vec<Settled>,
}

impl Timeline {
    /// The stretches from one moment to another, those without anything too.
    pub(super) fn new(found: &[Settled], from: DateTime<Utc>, to: DateTime<Utc>, seconds: i64) -> Self {
        let seconds = seconds.max(1);
        let start = |at: DateTime<Utc>| at.timestamp().div_euclid(seconds) * seconds;
        let (first, last) = (start(from), start(to));
        let bars = (0..=(last - first) / seconds).filter_map(|place| {
            let at = DateTime::from_timestamp(first + place * seconds, 0)?;
            let mut bar = Settled { at, done: 0, failed: 0 };
            // The store may count its stretches from another moment, so that one of its may begin inside of one of these.
            let here = |settled: &&Settled| match mutant(Mutant::StretchesLost) {
                true => settled.at == at,
                false => start(settled.at).clamp(first, last) == at.timestamp(),
            };
            for settled in found.iter().filter(here) {
                bar.done += settled.done;
                bar.failed += settled.failed;
            }
            Some(bar)
        });
        Self { seconds, bars: bars.collect() }
    }

    fn most(&self) -> u64 {
        self.bars.iter().map(|bar| bar.done + bar.failed).max().unwrap_or(0)
    }
}

/// Records by time.
pub(super) fn timeline(line: &Timeline) -> Markup {
    let most = line.most();
    let total: u64 = line.bars.iter().map(|bar| bar.done + bar.failed).sum();
    let failed: u64 = line.bars.iter().map(|bar| bar.failed).sum();
    let places = line.bars.len().max(1);
    let each = TimeDelta::seconds(line.seconds);
    html! {
        figure.timeline {
            svg role="img" viewBox={ "0 0 " (places * 10) " 100" } preserveAspectRatio="none"
                aria-label={ (count(total, "record", "records")) " settled, " (number(failed)) " of them failed; at most "
                    (number(most)) " within " (super::formatting::span(each)) } {
                @for (place, bar) in line.bars.iter().enumerate().filter(|(_, bar)| bar.done + bar.failed > 0) {
                    @let (done, failed) = (height(bar.done, most), height(bar.failed, most));
                    @if bar.done > 0 {
                        rect.done x=(place * 10 + 1) y=(tenths(100.0 - done - failed)) width="8" height=(tenths(done)) {}
                    }
                    @if bar.failed > 0 {
                        rect.failed x=(place * 10 + 1) y=(tenths(100.0 - failed)) width="8" height=(tenths(failed)) {}
                    }
                }
            }
            figcaption {
                @if let (Some(first), Some(last)) = (line.bars.first(), line.bars.last()) {
                    span { (first.at.format("%H:%M")) }
                    span.most { "at most " (number(most)) " in " (super::formatting::span(each)) }
                    span { ((last.at + each).format("%H:%M")) " UTC" }
                }
            }
        }
    }
}

fn height(part: u64, most: u64) -> f64 {
    if part == 0 || most == 0 { 0.0 } else { (part as f64 * 92.0 / most as f64).max(2.0) }
}

/// What most needs to be seen of some chunks.
fn worst(cell: &LaneCell) -> (&'static str, &'static str) {
    let ChunkCounts { staged, dispatched, retryable, planned, applied, dead, cancelled } = cell.chunks;
    if dead > 0 {
        ("dead", "dead")
    } else if retryable > 0 {
        ("retryable", "to be tried again")
    } else if dispatched > 0 {
        ("dispatched", "with the workers")
    } else if staged > 0 {
        ("staged", if applied > 0 { "partly applied" } else { "waiting" })
    } else if planned > 0 {
        ("staged", "planned")
    } else if cancelled > 0 {
        ("cancelled", "cancelled")
    } else if cell.failed > 0 {
        ("flawed", "applied, with failed records")
    } else {
        ("applied", "applied")
    }
}

/// The chunks of an import: a row a lane, in the order in which they run.
pub(super) fn lanes(cells: &[LaneCell]) -> Markup {
    let mut rows: Vec<(u32, Vec<&LaneCell>)> = Vec::new();
    for cell in cells {
        match rows.last_mut() {
            Some((lane, row)) if *lane == cell.lane => row.push(cell),
            _ => rows.push((cell.lane, vec![cell])),
        }
    }
    let places = cells.iter().map(|cell| cell.place + 1).max().unwrap_or(1).max(24);
    html! {
        div.lanes {
            @for (lane, row) in &rows {
                div.lane {
                    span.name { "Lane " (lane + 1) }
                    svg role="img" viewBox={ "0 0 " (places * 10) " 10" } preserveAspectRatio="xMinYMid meet"
                        aria-label={ "Lane " (lane + 1) ": " (lane_words(row)) } {
                        @for cell in row {
                            @let (class, words) = worst(cell);
                            rect class=(class) x=(cell.place * 10 + 1) y="1" width="8" height="8" rx="1.5" { title { (words) } }
                        }
                    }
                }
            }
        }
        ul.key {
            @for (class, words) in [
                ("applied", "applied"), ("flawed", "with failed records"), ("dispatched", "with the workers"),
                ("staged", "waiting"), ("retryable", "to be tried again"), ("dead", "dead"), ("cancelled", "cancelled"),
            ] {
                @if cells.iter().any(|cell| worst(cell).0 == class) {
                    li { svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(class) x="1" y="1" width="8" height="8" rx="1.5" {} } (words) }
                }
            }
        }
    }
}

fn lane_words(row: &[&LaneCell]) -> String {
    let sum = |of: fn(&ChunkCounts) -> u64| row.iter().map(|cell| of(&cell.chunks)).sum::<u64>();
    let parts = [
        (sum(|chunks| chunks.applied), "applied"),
        (sum(|chunks| chunks.dispatched), "with the workers"),
        (sum(|chunks| chunks.staged), "waiting"),
        (sum(|chunks| chunks.planned), "planned"),
        (sum(|chunks| chunks.retryable), "to be tried again"),
        (sum(|chunks| chunks.dead), "dead"),
        (sum(|chunks| chunks.cancelled), "cancelled"),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(chunks, _)| *chunks > 0)
        .map(|(chunks, words)| format!("{chunks} {words}"))
        .collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_has_no_gaps() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let found = [Settled { at: at(600), done: 5, failed: 1 }];
        let line = Timeline::new(&found, at(10), at(1_205), 300);
        let bars: Vec<(i64, u64)> = line.bars.iter().map(|bar| (bar.at.timestamp(), bar.done)).collect();
        assert_eq!(bars, [(0, 0), (300, 0), (600, 5), (900, 0), (1_200, 0)]);
        let drawn = timeline(&line).into_string();
        assert!(drawn.contains("6 records settled, 1 of them failed"), "{drawn}");
        assert!(!drawn.contains("style="), "{drawn}");
    }

    #[test]
    fn stretches_that_begin_at_other_moments_are_all_in_the_picture() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        // PostgreSQL's `date_bin` counts from the beginning of 2000, which is no multiple of 7 seconds after that of 1970.
        let begin = 946_684_800;
        let found: Vec<Settled> =
            (0..10).map(|number| Settled { at: at(begin + number * 7), done: 1, failed: 2 }).collect();
        for from in [begin, begin + 3, begin + 6] {
            let line = Timeline::new(&found, at(from), at(begin + 63), 7);
            let sums = line.bars.iter().fold((0, 0), |sums, bar| (sums.0 + bar.done, sums.1 + bar.failed));
            assert_eq!(sums, (10, 20), "{line:?}");
        }
    }

    #[test]
    fn progress_tells_in_words_what_it_shows() {
        let counts = Counts { total: 1_000, pending: 500, inserted: 400, updated: 0, skipped: 99, failed: 1 };
        let drawn = progress(&counts).into_string();
        assert!(drawn.contains("50 % of 1,000 records: 400 inserted, 99 skipped, 1 failed"), "{drawn}");
        assert!(drawn.contains("class=\"failed\" x=\"499.0\" y=\"0\" width=\"3.0\""), "{drawn}");
        assert!(progress(&Counts::default()).into_string().contains("nothing settled yet"));
    }

    #[test]
    fn of_several_chunks_the_worst_is_seen() {
        let cell = |chunks, failed| LaneCell { lane: 0, place: 0, chunks, failed };
        let applied = ChunkCounts { applied: 3, ..ChunkCounts::default() };
        assert_eq!(worst(&cell(applied, 0)).0, "applied");
        assert_eq!(worst(&cell(applied, 1)).0, "flawed");
        assert_eq!(worst(&cell(ChunkCounts { dispatched: 1, ..applied }, 1)).0, "dispatched");
        assert_eq!(worst(&cell(ChunkCounts { dead: 1, retryable: 1, ..applied }, 1)).0, "dead");
        assert!(lanes(&[cell(applied, 0)]).into_string().contains("Lane 1: 3 applied"));
    }
}
