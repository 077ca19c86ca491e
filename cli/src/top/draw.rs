//! The screen of `muster top`, as a function of what is known and of the time. Control characters in names
//! are removed, so that a file name cannot send control codes to the terminal.

use chrono::{DateTime, Utc};
use muster_domain::import::ImportState;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState, Wrap};

use super::state::{Machines, Top};
use crate::output::number;
use crate::view::View;

const KEYS: &str = "↑↓ choose   p pause   r resume   t retry what failed   q quit";
/// Width of the bar of an import, in characters.
const BAR: u64 = 10;

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn wrong() -> Style {
    Style::new().fg(Color::Red)
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, top: &Top, now: DateTime<Utc>) {
    let [head, imports, below, foot] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Min(3),
        Constraint::Length(8),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [problems, about] =
        Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(below);
    frame.render_widget(Paragraph::new(heading(top, now)), head);
    table(frame, top, imports);
    frame.render_widget(problems_of(top), problems);
    detail(frame, top, about);
    let foot_line = match &top.told {
        Some(told) => Line::styled(told.clone(), bold()),
        None => Line::styled(KEYS, dim()),
    };
    frame.render_widget(Paragraph::new(foot_line), foot);
}

fn heading(top: &Top, now: DateTime<Utc>) -> Vec<Line<'static>> {
    let mut first = vec![Span::styled("muster top", bold()), Span::raw(format!("  {}", top.place))];
    match (&top.silent, top.seen_at) {
        (Some(why), at) => {
            let age = at.map_or(String::new(), |at| {
                format!("; this is {} s old", now.signed_duration_since(at).num_seconds().max(0))
            });
            first.push(Span::styled(format!("  {why}{age}"), wrong()));
        }
        (None, Some(at)) => first.push(Span::styled(at.format("  %H:%M:%S UTC").to_string(), dim())),
        (None, None) => first.push(Span::styled("  looking …", dim())),
    }
    let rate = top.rates.last().copied().unwrap_or(0);
    let window = top.imports.iter().find_map(|view| view.progress.as_ref()).map(|progress| progress.window);
    let window =
        window.map_or(String::new(), |window| format!(" · window {} of {}", window.used, window.size));
    let running = top.imports.iter().filter(|view| view.state == ImportState::Running).count() as u64;
    let load = format!("{} running · {} records/s{window}", number(running), number(rate));
    vec![Line::from(first), Line::from(load), machines(&top.machines), readiness(&top.machines)]
}

fn machines(machines: &Machines) -> Line<'static> {
    let part = |name: &str, value: Option<u64>| value.map(|value| format!("{name} {}", number(value)));
    let texts: Vec<String> = [
        part("queue: ready", machines.ready),
        part("with workers", machines.unacked),
        part("dead letters", machines.dead),
        part("workers", machines.workers),
        part("dispatchers", machines.dispatchers),
    ]
    .into_iter()
    .flatten()
    .collect();
    let none = machines.workers == Some(0)
        || machines.dispatchers == Some(0)
        || machines.dead.is_some_and(|dead| dead > 0);
    let style = if none { wrong() } else { Style::new() };
    if texts.is_empty() {
        return Line::styled("queue and programs are shown on another listener", dim());
    }
    Line::styled(texts.join(" · "), style)
}

fn readiness(machines: &Machines) -> Line<'static> {
    match machines.readiness.as_deref() {
        None => Line::default(),
        Some("ready") => Line::styled("ready", dim()),
        Some(status) => Line::styled(
            format!("{status}: {}", machines.reasons.join("; ")),
            wrong().add_modifier(Modifier::BOLD),
        ),
    }
}

fn table(frame: &mut Frame<'_>, top: &Top, area: Rect) {
    let head = ["FILE", "STATE", "PROGRESS", "RECORDS", "FAILED", "RATE", "ENDS", "WHY"];
    let widths = [
        Constraint::Min(12),
        Constraint::Length(9),
        Constraint::Length(16),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(2),
    ];
    let rows = top.imports.iter().map(row);
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(bold()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    if top.imports.is_empty() && top.seen_at.is_some() {
        frame.render_widget(Paragraph::new("there is no import yet"), area);
        return;
    }
    let mut state = TableState::default().with_selected(top.at());
    frame.render_stateful_widget(table, area, &mut state);
}

fn row(view: &View) -> Row<'static> {
    let counts = &view.counts;
    let settled = counts.total.saturating_sub(counts.pending);
    let progress = view.progress.as_ref();
    let rate =
        progress.and_then(|progress| progress.rate).map_or(String::new(), |rate| format!("{rate:.0}/s"));
    let ends = progress.and_then(|progress| progress.ends_at);
    let ends = ends.map_or(String::new(), |at| at.format("%H:%M:%S").to_string());
    let failed = if counts.failed > 0 { wrong() } else { Style::new() };
    let (why, stalled) = why(view);
    Row::new([
        Cell::from(name(view)),
        Cell::from(view.state.to_string()).style(state(view.state)),
        Cell::from(bar(settled, counts.total)),
        Cell::from(number(counts.total)),
        Cell::from(number(counts.failed)).style(failed),
        Cell::from(rate),
        Cell::from(ends),
        Cell::from(why).style(if stalled { wrong() } else { dim() }),
    ])
}

fn state(state: ImportState) -> Style {
    let colour = match state {
        ImportState::Running | ImportState::Planning | ImportState::Receiving => Color::Blue,
        ImportState::Completed => Color::Green,
        ImportState::Paused | ImportState::Planned | ImportState::Received => Color::Yellow,
        ImportState::Aborted | ImportState::Refused => Color::Red,
        _ => return dim(),
    };
    Style::new().fg(colour)
}

/// The obstacle of an import, and whether it is stalled.
fn why(view: &View) -> (String, bool) {
    if let Some(error) = &view.error {
        return (error.message.to_string(), true);
    }
    let Some(progress) = &view.progress else { return (String::new(), false) };
    match (&progress.problem, progress.waits_for) {
        _ if progress.stalled => (format!("NO PROGRESS: {}", progress.reason()), true),
        (Some(problem), _) => (problem.message.clone(), true),
        (None, Some(waits)) => (format!("waits for {waits}"), false),
        (None, None) => (String::new(), false),
    }
}

/// What an import is called.
fn name(view: &View) -> String {
    let name =
        view.filename.as_deref().unwrap_or_default().chars().filter(|c| !c.is_control()).collect::<String>();
    match name.trim() {
        "" => view.id.to_string(),
        name => name.to_owned(),
    }
}

/// How far it is, as a bar and in hundredths; only the whole is 100.
fn bar(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let of =
        |most: u64| u64::try_from(u128::from(part) * u128::from(most) / u128::from(whole)).unwrap_or(most);
    let full = of(BAR);
    let text: String = (0..BAR).map(|at| if at < full { '█' } else { '░' }).collect();
    format!("{text} {:3} %", of(100))
}

fn problems_of(top: &Top) -> Paragraph<'static> {
    let title = top.import().map_or("Problems".to_owned(), |view| format!("Problems of {}", name(view)));
    let mut lines = Vec::new();
    match (&top.problems, top.import()) {
        (Some((_, problems)), _) => {
            for problem in &problems.problems {
                let field = problem.field.as_deref().map_or(String::new(), |field| format!(" {field}"));
                lines.push(Line::from(vec![
                    Span::styled(format!("{:>8} ", number(problem.count)), bold()),
                    Span::styled(format!("{}{field}: ", problem.code), wrong()),
                    Span::raw(problem.message.clone()),
                ]));
            }
            if problems.problems.is_empty() {
                lines.push(Line::styled("no record failed", dim()));
            }
            if problems.more {
                lines.push(Line::styled("…", dim()));
            }
        }
        (None, Some(_)) => lines.push(Line::styled("looking …", dim())),
        (None, None) => {}
    }
    Paragraph::new(lines).block(Block::bordered().title(title))
}

fn detail(frame: &mut Frame<'_>, top: &Top, area: Rect) {
    let [about, rates] = Layout::vertical([Constraint::Length(5), Constraint::Min(3)]).areas(area);
    let lines = top.import().map_or_else(Vec::new, |view| {
        let counts = &view.counts;
        let chunks = &view.chunks;
        let mut lines = vec![
            Line::styled(view.id.to_string(), dim()),
            Line::from(format!(
                "inserted {} · updated {} · skipped {} · failed {} · pending {}",
                number(counts.inserted),
                number(counts.updated),
                number(counts.skipped),
                number(counts.failed),
                number(counts.pending)
            )),
            Line::from(format!(
                "chunks: waiting {} · with workers {} · to be tried again {} · dead {}",
                number(chunks.staged),
                number(chunks.dispatched),
                number(chunks.retryable),
                number(chunks.dead)
            )),
        ];
        let (why, stalled) = why(view);
        lines.push(Line::styled(why, if stalled { wrong() } else { Style::new() }));
        lines
    });
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), about);
    let title = format!("records/s, at most {}", number(top.rates.iter().copied().max().unwrap_or(0)));
    let block = Block::bordered().title(title);
    // The newest are on the right, as far as there is room.
    let room = usize::from(block.inner(rates).width);
    let newest = top.rates.get(top.rates.len().saturating_sub(room)..).unwrap_or_default();
    frame.render_widget(Sparkline::default().block(block).data(newest), rates);
}

#[cfg(test)]
mod tests {
    use muster_domain::progress::{Problem as Trouble, Progress, WaitsFor};
    use muster_store::problems::{Problem, Problems};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::state::Seen;
    use super::super::state::tests::{progress, seen, view};
    use super::*;

    fn screen(top: &Top, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let now = DateTime::from_timestamp(1_750_000_142, 0).unwrap();
        terminal.draw(|frame| draw(frame, top, now)).unwrap();
        terminal.backend().to_string()
    }

    fn busy() -> Top {
        let running = view(2, ImportState::Running).with(Some(progress()));
        let trouble = Trouble {
            message: "the disk is full".into(),
            at: None,
            since: None,
            chunks: 3,
            attempts: 0,
            next_try_at: None,
        };
        let stuck =
            Progress { stalled: true, rate: None, ends_at: None, problem: Some(trouble), ..progress() };
        let stuck = view(1, ImportState::Running).with(Some(stuck));
        let email = Problem {
            code: "email_invalid".into(),
            field: Some("email".into()),
            count: 1_203,
            message: "is no e-mail address".into(),
            example: None,
            advice: None,
            first: Vec::new(),
        };
        let problems = Problems { problems: vec![email], more: true, ..Problems::default() };
        let machines = Machines {
            ready: Some(5),
            unacked: Some(8),
            dead: Some(0),
            workers: Some(2),
            dispatchers: Some(1),
            readiness: Some("degraded".into()),
            reasons: vec!["a running import makes no progress".into()],
        };
        let mut top = Top::new("http://127.0.0.1:8080".into());
        top.take(Seen { machines, problems: Some((running.id, problems)), ..seen(vec![running, stuck]) });
        top
    }

    #[test]
    fn everything_that_somebody_on_call_asks_is_on_one_screen() {
        let shown = screen(&busy(), 140, 30);
        for text in [
            "http://127.0.0.1:8080",
            "2 running · 1,250 records/s · window 8 of 16",
            "queue: ready 5 · with workers 8 · dead letters 0 · workers 2 · dispatchers 1",
            "degraded: a running import makes no progress",
            "people-2.csv",
            "████░░░░░░  40 %",
            "1250/s",
            "15:16:40",
            "NO PROGRESS: the disk is full",
            "Problems of people-2.csv",
            "1,203 email_invalid email: is no e-mail address",
            "inserted 37 · updated 0 · skipped 0 · failed 3 · pending 60",
            "records/s, at most 1,250",
            "t retry what failed",
        ] {
            assert!(shown.contains(text), "{text} is not on the screen:\n{shown}");
        }
    }

    #[test]
    fn a_small_terminal_and_an_empty_one_are_drawn_too() {
        for (width, height) in [(1, 1), (10, 3), (20, 5), (40, 12), (300, 100)] {
            for top in [busy(), Top::new("here".into())] {
                screen(&top, width, height);
            }
        }
        let mut empty = Top::new("here".into());
        assert!(screen(&empty, 80, 24).contains("looking …"));
        empty.take(seen(Vec::new()));
        let shown = screen(&empty, 80, 24);
        assert!(shown.contains("there is no import yet") && shown.contains("another listener"), "{shown}");
    }

    #[test]
    fn a_name_sends_no_control_codes_to_the_terminal() {
        let mut top = Top::new("here".into());
        let mut import = view(1, ImportState::Running);
        import.import.filename = Some("a\u{1b}[2J\u{7}\r\nb.csv".to_owned());
        top.take(seen(vec![import]));
        let shown = screen(&top, 100, 24);
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\r']), "{shown:?}");
        assert!(shown.contains("b.csv"), "{shown}");
    }

    #[test]
    fn what_is_shown_says_how_old_it_is_where_nobody_answers() {
        let mut top = busy();
        top.miss("the server cannot be reached".into());
        assert!(screen(&top, 140, 30).contains("the server cannot be reached; this is 42 s old"));
        let mut waits = Top::new("here".into());
        let progress = Progress { waits_for: Some(WaitsFor::Worker), ..progress() };
        waits.take(seen(vec![view(1, ImportState::Running).with(Some(progress))]));
        assert!(screen(&waits, 160, 30).contains("waits for a worker: none is running"));
    }

    #[test]
    fn only_the_whole_is_a_hundred() {
        for (part, whole, text) in [
            (0, 0, ""),
            (0, 7, "░░░░░░░░░░   0 %"),
            (999, 1_000, "█████████░  99 %"),
            (7, 7, "██████████ 100 %"),
        ] {
            assert_eq!(bar(part, whole), text);
        }
    }
}
