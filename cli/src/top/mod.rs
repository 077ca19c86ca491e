//! `muster top`: the queue, the imports, their rates and problems, live in the terminal. What is known is in `state`, the screen in `draw`,
//! what is asked in `look`; here are the terminal, the keys and the clock.

mod draw;
mod look;
mod state;

use std::io::{self, IsTerminal};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use muster_domain::id::ImportId;
use muster_domain::tenant::Slug;
use muster_runtime::clock;
use muster_runtime::config::Config;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use crate::client::{Remote, ServerToken};
use crate::connect::{self, Need, Session};
use crate::failure::{Exit, usage};
use crate::imports::{Backend, CauseArgs, ImportAction, Local};
use crate::pipeline::{dispatch_options, receive_limits};
use crate::shutdown::Shutdown;
use crate::view::View;
use state::{Key, Seen, Top, Want};

/// How long a key is waited for before it is seen that the command ends.
const KEY: Duration = Duration::from_millis(100);
/// How often the screen is drawn though nothing happened: it says how old it is.
const DRAW: Duration = Duration::from_secs(1);

/// Options of `muster top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  muster top\n  muster top --server https://muster.example.com --token-file ~/.muster-token\n\nKeys: ↑ ↓ choose an import, p pause it, r resume or start it, t retry what failed, q quit."
)]
pub(crate) struct TopArgs {
    /// The tenant whose imports they are
    #[arg(long, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
    /// Ask this server instead of the database; its token says which tenant
    #[arg(long, value_name = "URL", env = "MUSTER_SERVER")]
    server: Option<String>,
    #[command(flatten)]
    token: ServerToken,
    /// How often to look
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
}

/// Runs the command.
pub(crate) async fn run(args: &TopArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    if !io::stdout().is_terminal() {
        return Err(usage("top needs a terminal; `muster imports list` shows the same once"));
    }
    let every = Duration::from_secs(args.every);
    if let Some(server) = &args.server {
        let remote = Remote::new(server, &args.token)?;
        return show(&Backend::Remote(&remote), server.clone(), every, shutdown).await;
    }
    let work = async |session: &Session| {
        let tenant = session.tenant(&args.tenant).await?;
        let bounds = dispatch_options(config).bounds();
        let local = Local { session, tenant, bounds, chunk: receive_limits(config).chunk };
        show(&Backend::Local(local), format!("tenant {}", args.tenant), every, shutdown).await
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

/// Takes the terminal, and gives it back however this ends.
async fn show(
    backend: &Backend<'_>,
    place: String,
    every: Duration,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let screen = Screen(ratatui::try_init().context("the terminal cannot be drawn on")?);
    Box::pin(follow(backend, place, every, screen, Keys::start(), shutdown)).await?;
    Ok(Exit::Done)
}

/// The terminal while it is ours. Dropped, it is as it was before.
struct Screen(DefaultTerminal);

impl Screen {
    fn draw(&mut self, top: &Top) -> anyhow::Result<()> {
        let drawn = self.0.draw(|frame| draw::draw(frame, top, clock::now()));
        drawn.map(|_| ()).context("the terminal cannot be drawn on")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Something that is waited for while keys are taken.
type Doing<'b, T> = Pin<Box<dyn Future<Output = T> + 'b>>;

async fn follow(
    backend: &Backend<'_>,
    place: String,
    every: Duration,
    mut screen: Screen,
    mut keys: Keys,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let mut top = Top::new(place);
    let mut looking = look_after(backend, Duration::ZERO, None);
    let mut performing: Option<Doing<'_, (ImportAction, anyhow::Result<View>)>> = None;
    loop {
        screen.draw(&top)?;
        tokio::select! {
            seen = &mut looking => {
                match seen {
                    Ok(seen) => top.take(seen),
                    Err(error) => top.miss(chain(&error)),
                }
                looking = look_after(backend, every, top.chosen);
            }
            Some((action, came)) = wait_for(&mut performing) => {
                performing = None;
                top.done(action, came.map_err(|error| chain(&error)));
                looking = look_after(backend, Duration::ZERO, top.chosen);
            }
            key = keys.next() => {
                let Some(key) = key else { return Ok(()) };
                let chosen = top.chosen;
                match top.press(key) {
                    Want::Quit => return Ok(()),
                    // One after the other: what a second key means depends on what the first came to.
                    Want::Do(id, action) if performing.is_none() => performing = Some(Box::pin(perform_one(backend, id, action))),
                    Want::Do(..) | Want::Nothing if chosen != top.chosen => {
                        looking = look_after(backend, Duration::ZERO, top.chosen);
                    }
                    Want::Do(..) | Want::Nothing => {}
                }
            }
            () = tokio::time::sleep(DRAW) => {}
            () = shutdown.stopping() => return Ok(()),
        }
    }
}

fn look_after<'b>(
    backend: &'b Backend<'_>,
    pause: Duration,
    chosen: Option<ImportId>,
) -> Doing<'b, anyhow::Result<Seen>> {
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        Box::pin(look::look(backend, chosen)).await
    })
}

async fn perform_one(
    backend: &Backend<'_>,
    id: ImportId,
    action: ImportAction,
) -> (ImportAction, anyhow::Result<View>) {
    (action, backend.perform(id, action, &CauseArgs::default()).await)
}

/// Waits for the running action; without one, forever.
async fn wait_for<T>(doing: &mut Option<Doing<'_, T>>) -> Option<T> {
    match doing {
        Some(doing) => Some(doing.await),
        None => std::future::pending().await,
    }
}

/// An error with its causes on one line.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Keys as they are pressed. Dropped, nobody reads them any more.
struct Keys {
    pressed: mpsc::Receiver<Key>,
    over: Arc<AtomicBool>,
}

impl Keys {
    /// Reads them on a thread of its own: the terminal is read by waiting for it.
    fn start() -> Self {
        let (sender, pressed) = mpsc::channel(16);
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        tokio::task::spawn_blocking(move || {
            while !ends.load(Ordering::Relaxed) {
                match event::poll(KEY) {
                    Ok(false) => {}
                    Ok(true) => {
                        let Ok(event) = event::read() else { return };
                        if let Some(key) = meaning(&event)
                            && sender.blocking_send(key).is_err()
                        {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        });
        Self { pressed, over }
    }

    /// The next one; none once the terminal is gone.
    async fn next(&mut self) -> Option<Key> {
        self.pressed.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// What an event of the terminal means.
fn meaning(event: &Event) -> Option<Key> {
    let key = match event {
        Event::Resize(..) => return Some(Key::Redraw),
        Event::Key(key @ KeyEvent { kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) => key,
        _ => return None,
    };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c' | 'd') if control => Key::Quit,
        KeyCode::Char(_) if control => return None,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Home | KeyCode::Char('g') => Key::First,
        KeyCode::End | KeyCode::Char('G') => Key::Last,
        KeyCode::Char('p') => Key::Pause,
        KeyCode::Char('r') => Key::Resume,
        KeyCode::Char('t') => Key::Retry,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_last_line_says() {
        let pressed = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        let none = KeyModifiers::NONE;
        for (code, key) in [
            (KeyCode::Char('p'), Key::Pause),
            (KeyCode::Char('r'), Key::Resume),
            (KeyCode::Char('t'), Key::Retry),
            (KeyCode::Char('q'), Key::Quit),
            (KeyCode::Esc, Key::Quit),
            (KeyCode::Up, Key::Up),
            (KeyCode::Down, Key::Down),
        ] {
            assert_eq!(pressed(code, none), Some(key), "{code:?}");
        }
        // A terminal in raw mode sends no signal.
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(pressed(KeyCode::Char('p'), KeyModifiers::CONTROL), None);
        assert_eq!(pressed(KeyCode::Char('x'), none), None);
        assert_eq!(meaning(&Event::Resize(80, 24)), Some(Key::Redraw));
    }
}
