//! The family of an import: those that brought its failed records again, shown with it as one.

use maud::{Markup, html};
use muster_domain::id::ImportId;
use muster_store::family::Family;

use super::formatting::{count, number};
use super::imports::address;

/// The family, the import that is shown marked.
pub(super) fn view(family: &Family, own: ImportId) -> Markup {
    html! {
        section aria-labelledby="family" {
            h2 #family { "With the imports that correct it" }
            p { strong { (family.summary) } "." }
            ul {
                @for member in &family.members {
                    li {
                        @let name = member.filename.clone().unwrap_or_else(|| member.id.to_string());
                        @if member.id == own { strong { (name) } " (this one)" } @else { a href=(address(member.id)) { (name) } }
                        ": " (count(member.records, "record", "records")) ", " (member.state)
                        @if member.undone { ", undone" }
                    }
                }
            }
            @if family.open > 0 { p.hint { (number(family.open)) " are open: the file of failed records has them." } }
        }
    }
}
