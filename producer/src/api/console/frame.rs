//! The frame of every page of the console, also without a session.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

use super::{BASE, assets};

/// A page for somebody who is not signed in, or of whom that is not known.
pub(super) fn bare(title: &str, main: &Markup) -> Html<String> {
    let top = html! {
        header.top { a.brand href=(BASE) { (mark()) "Muster" } }
    };
    let main = html! { main #main.narrow tabindex="-1" { (main) } };
    Html(whole(title, &top, &main).into_string())
}

/// The page with its header and content.
pub(super) fn whole(title: &str, top: &Markup, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Muster" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.address());
                link rel="stylesheet" href=(assets::STYLE.address());
                script src=(assets::SCRIPT.address()) defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                (top)
                p #silent role="status" hidden { "The server does not answer. What you see is as it was; it is asked again." }
                (main)
            }
        }
    }
}

/// The sign of the project.
pub(super) fn mark() -> Markup {
    html! {
        svg viewBox="0 0 20 20" aria-hidden="true" {
            rect x="2" y="3" width="16" height="3" rx="1.5" {}
            rect x="2" y="8.5" width="11" height="3" rx="1.5" {}
            rect x="2" y="14" width="14" height="3" rx="1.5" {}
        }
    }
}

/// A message with a capital letter.
pub(super) fn capital(message: &str) -> String {
    let mut letters = message.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A message as a sentence of its own.
pub(super) fn sentence(message: &str) -> String {
    let mut text = capital(message);
    if !text.ends_with(['.', '!', '?', '…']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_sentence() {
        assert_eq!(sentence("the import is paused"), "The import is paused.");
        assert_eq!(sentence("Done."), "Done.");
    }

    #[test]
    fn what_stands_in_a_title_is_no_markup() {
        let Html(page) = bare("<script>alert(1)</script>", &html! {});
        assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"), "{page}");
    }
}
