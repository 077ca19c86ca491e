//! How far an import is, on standard error: a bar on a terminal, a line every few seconds elsewhere.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use muster_domain::outcome::Counts;

use crate::output::{number, stderr_line};

/// How often a line is written where there is no terminal.
const LINES: Duration = Duration::from_secs(5);
const RECEIVING: &str =
    "receiving {msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}{left}";
const RECEIVING_UNSIZED: &str = "receiving {msg} {spinner} {decimal_bytes} {decimal_bytes_per_sec}";
const APPLYING: &str = "applying {wide_bar} {human_pos}/{human_len} records{pace}{msg}";

/// Shows how far an import is.
pub(crate) struct Progress {
    quiet: bool,
    bar: ProgressBar,
    plain: Option<Mutex<Plain>>,
}

struct Plain {
    told: Instant,
    began: Option<Instant>,
    first: u64,
}

impl Progress {
    /// Shows nothing when quiet.
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = match !quiet && terminal {
            true => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)),
            false => ProgressBar::hidden(),
        };
        let plain =
            (!quiet && !terminal).then(|| Mutex::new(Plain { told: Instant::now(), began: None, first: 0 }));
        Self { quiet, bar, plain }
    }

    /// A remark on the way; none when quiet.
    pub(crate) fn stderr_line(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            stderr_line(text);
        }
    }

    /// Receiving begins.
    pub(crate) fn receiving(&self, label: &str, size: Option<u64>) {
        self.style(if size.is_some() { RECEIVING } else { RECEIVING_UNSIZED });
        self.bar.set_message(label.to_owned());
        match size {
            Some(size) => self.bar.set_length(size),
            None => self.bar.unset_length(),
        }
        self.bar.reset();
    }

    /// That many bytes more were received.
    pub(crate) fn received(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.line(|_| format!("receiving: {:.1} MB", decimal(self.bar.position())));
    }

    /// How far applying is.
    pub(crate) fn applying(&self, counts: &Counts) {
        let done = counts.total - counts.pending;
        if self.bar.length() != Some(counts.total) || self.bar.message() == "" {
            // Each of these can draw the bar: bytes must not be shown as records.
            self.bar.set_position(done.min(self.bar.position()));
            self.bar.set_length(counts.total);
            self.style(APPLYING);
            self.bar.set_position(done);
            self.bar.reset_eta();
        }
        let failed =
            if counts.failed > 0 { format!(", {} failed", number(counts.failed)) } else { " ".into() };
        self.bar.set_message(failed);
        self.bar.set_position(done);
        self.line(|plain| {
            let began = *plain.began.get_or_insert_with(|| {
                plain.first = done;
                Instant::now()
            });
            applying_line(counts, done - plain.first.min(done), began.elapsed())
        });
    }

    /// Takes the bar away; what follows is the summary.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn style(&self, template: &str) {
        // The templates above are valid; if one were not, the bar would look plainer.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.with_key("pace", pace).with_key("left", left).progress_chars("=> "));
        }
    }

    fn line(&self, text: impl FnOnce(&mut Plain) -> String) {
        let Some(Ok(mut plain)) = self.plain.as_ref().map(Mutex::lock) else { return };
        if plain.told.elapsed() >= LINES {
            plain.told = Instant::now();
            let line = text(&mut plain);
            stderr_line(line);
        }
    }
}

/// The rate and the remaining time, once they are known.
fn pace(state: &ProgressState, out: &mut dyn Write) {
    // A failure to draw the bar does not end the command.
    let _ = out.write_str(&pace_text(state.per_sec(), state.pos(), state.eta()));
}

fn pace_text(per_second: f64, done: u64, left: Duration) -> String {
    let rate = format!("{per_second:.0}").parse::<u64>().unwrap_or(0);
    if rate == 0 || done == 0 {
        return String::new();
    }
    format!(", {} records/s{}", number(rate), left_text(done, left))
}

/// The remaining time, once it is known. Without any progress it is unknown, not zero.
fn left(state: &ProgressState, out: &mut dyn Write) {
    let _ = out.write_str(&left_text(state.pos(), state.eta()));
}

fn left_text(done: u64, left: Duration) -> String {
    if done == 0 { String::new() } else { format!(", {} s left", left.as_secs()) }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn decimal(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// One line for a log: how many are done, how fast, how long it still takes.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn applying_line(counts: &Counts, lately: u64, elapsed: Duration) -> String {
    let done = counts.total - counts.pending;
    let rate = lately as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line = format!("applying: {} of {} records", number(done), number(counts.total));
    if rate > 0.0 {
        let left = counts.pending as f64 / rate;
        line.push_str(&format!(", {rate:.0} records/s, {left:.0} s left"));
    }
    if counts.failed > 0 {
        line.push_str(&format!(", {} failed", number(counts.failed)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_whole_records_and_no_time_before_anything_is_done() {
        let left = Duration::from_secs(12);
        assert_eq!(pace_text(43_456.291_9, 10, left), ", 43,456 records/s, 12 s left");
        assert_eq!(pace_text(43_456.291_9, 0, Duration::ZERO), "");
        assert_eq!(pace_text(f64::INFINITY, 10, left), "");
        assert_eq!((left_text(0, Duration::ZERO), left_text(1, left)), (String::new(), ", 12 s left".into()));
    }

    #[test]
    fn a_line_tells_rate_and_time_left() {
        let counts = Counts { total: 3000, pending: 1000, inserted: 1999, failed: 1, ..Counts::default() };
        assert_eq!(
            applying_line(&counts, 2000, Duration::from_secs(4)),
            "applying: 2,000 of 3,000 records, 500 records/s, 2 s left, 1 failed"
        );
        assert_eq!(
            applying_line(&counts, 0, Duration::from_secs(4)),
            "applying: 2,000 of 3,000 records, 1 failed"
        );
    }
}
