//! The family of an import: those that brought its failed records again, shown with it as one.

use maud::{Markup, html};
use muster_domain::id::ImportId;
use muster_store::family::{Family, Member};

use super::formatting::{count, number};
use super::imports::address;

/// The family, the import that is shown marked. `file`: the failed records may be had as a file.
pub(super) fn view(family: &Family, own: ImportId, file: bool) -> Markup {
    html! {
        section aria-labelledby="family" {
            h2 #family { "With the imports that correct it" }
            p { strong { (family.summary) } "." }
            ul {
                @for member in &family.members {
                    li {
                        @if member.id == own { strong { (name(member)) } " (this one)" } @else { a href=(address(member.id)) { (name(member)) } }
                        ": " (count(member.records, "record", "records")) ", " (member.state)
                        @if member.failed > 0 { ", " (number(member.failed)) " failed" }
                        @if member.mended > 0 { " of which " (number(member.mended)) " were corrected" }
                        @if member.undone { ", undone" }
                    }
                }
            }
            @if family.open > 0 { p.hint { (open(family, file)) } }
        }
    }
}

/// Where the open records are to be had: in the file of the last import in which all that failed is open, if that is all.
fn open(family: &Family, file: bool) -> Markup {
    let just_these = family.members.iter().rev().find(|member| {
        member.failed == family.open && member.mended == 0 && !member.undone && member.state.is_final()
    });
    html! {
        (number(family.open)) @if family.open == 1 { " is open" } @else { " are open" }
        @match just_these {
            Some(member) if file => {
                ": the " a href={ (address(member.id)) "/failed.csv" } download { "file of failed records of " (name(member)) } " has just these."
            }
            Some(member) => { ": they failed in " a href=(address(member.id)) { (name(member)) } "." }
            None => { ". A file of failed records has all that failed in its import, also what was corrected since." }
        }
    }
}

fn name(member: &Member) -> String {
    member.filename.clone().unwrap_or_else(|| member.id.to_string())
}

#[cfg(test)]
mod tests {
    use muster_domain::import::ImportState;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_file_that_has_just_the_open_records_is_linked() {
        let id = |at| ImportId::new(Uuid::from_u128(at));
        let member = |at, failed, mended| Member {
            id: id(at),
            mends: (at > 1).then(|| id(at - 1)),
            state: ImportState::Completed,
            filename: Some(format!("{at}.csv")),
            records: 40,
            failed,
            mended,
            undone: false,
        };
        let members = vec![member(1, 37, 35), member(2, 2, 0)];
        let family =
            Family { root: id(1), records: 40, applied: 38, open: 2, summary: "so many".into(), members };
        let shown = view(&family, id(1), true).into_string();
        let link = format!("href=\"{}/failed.csv\"", address(id(2)));
        assert!(shown.contains("2 are open: the ") && shown.contains(&link), "{shown}");
        assert!(shown.contains("37 failed of which 35 were corrected"), "{shown}");
        assert!(!view(&family, id(1), false).into_string().contains("failed.csv"));
        let family = Family { open: 3, ..family };
        let shown = view(&family, id(1), true).into_string();
        assert!(shown.contains("also what was corrected since") && !shown.contains(&link), "{shown}");
    }
}
