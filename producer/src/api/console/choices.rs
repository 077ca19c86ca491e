//! The options of an import as fields of a form: of a new import, where none is chosen at first, and of a profile, where those that it has are.
//!
//! What is asked, in which words and with which values, is the table of options ([`OPTIONS`]).

use maud::{Markup, html};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::request::{Answer, ImportOption, OPTIONS, Question, Section};

use super::session::field;
use super::words;

/// For what a form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A new import.
    Import,
    /// A profile.
    Profile,
}

impl Form {
    /// Its questions of a section, each with its option.
    fn asks(self, section: Section) -> impl Iterator<Item = (&'static ImportOption, Question)> {
        self.fields().filter(move |(_, question)| question.section == section)
    }

    /// All of its questions.
    pub(super) fn fields(self) -> impl Iterator<Item = (&'static ImportOption, Question)> {
        let asked = OPTIONS.iter().filter_map(|option| Some((option, option.question?)));
        asked.filter(move |(option, _)| self == Self::Import || option.in_profiles)
    }
}

/// The fields, with what is chosen of them; the finer ones are folded away.
pub(super) fn view(form: Form, chosen: &[(String, String)]) -> Markup {
    let chooses = |section| form.asks(section).any(|(option, _)| field(chosen, option.name).is_some());
    html! {
        // Said once: in each choice it would be cut off.
        @if form == Form::Import {
            p.hint { "What is left as usual is done as the profile says, where one is chosen." }
        }
        div.options { @for (option, question) in form.asks(Section::First) { (one(form, option, &question, chosen)) } }
        @if !mutant(Mutant::FormOfFewOptions) {
            @for (title, section) in [("How the file is read", Section::File), ("What its records do", Section::Records)] {
                details.further open[chooses(section)] {
                    summary { (title) }
                    div.options { @for (option, question) in form.asks(section) { (one(form, option, &question, chosen)) } }
                }
            }
        }
    }
}

fn one(form: Form, option: &ImportOption, question: &Question, chosen: &[(String, String)]) -> Markup {
    let name = option.name;
    let Question { label, hint, answer, .. } = question;
    let usual =
        words::usual(option, answer).map_or("not chosen".to_owned(), |usual| format!("as usual: {usual}"));
    // The page of a new import sends it itself where no profile is chosen.
    let usual = match name {
        "unknown_columns" if form == Form::Import => "as usual: is left out".to_owned(),
        _ => usual,
    };
    let value = field(chosen, name);
    let hint_id = (!hint.is_empty()).then(|| format!("{name}-hint"));
    html! {
        div {
            label for=(name) { (label) }
            @match answer {
                Answer::OneOf(values) => {
                    select id=(name) name=(name) aria-describedby=[hint_id.as_deref()] {
                        option value="" { (usual) }
                        @for (known, meaning) in *values { option value=(known) selected[value == Some(*known)] { (meaning) } }
                        // Written in another way than the list has it, or by a newer program: saving must not lose it.
                        @if let Some(own) = value.filter(|value| values.iter().all(|(known, _)| known != value)) {
                            option value=(own) selected { (own) }
                        }
                    }
                }
                Answer::Text(example) => {
                    input id=(name) name=(name) maxlength="1024" placeholder=(example) autocomplete="off" value=[value]
                        aria-describedby=[hint_id.as_deref()];
                }
            }
            @if let Some(id) = &hint_id { small id=(id) { (hint) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options that the pages have in a way of their own: the profile is a list, the file's name is known, columns are given their meaning.
    const ELSEWHERE: [&str; 3] = ["profile", "filename", "columns"];

    #[test]
    fn every_option_is_offered_with_all_its_values() {
        let shown = view(Form::Import, &[]).into_string();
        for option in OPTIONS.iter().filter(|option| !ELSEWHERE.contains(&option.name)) {
            assert!(shown.contains(&format!(" name=\"{}\"", option.name)), "{} is not offered", option.name);
            // That the values are those of the option, the table's own tests see.
            if let Some(Question { answer: Answer::OneOf(values), .. }) = option.question {
                for (value, _) in values {
                    assert!(
                        shown.contains(&format!("<option value=\"{value}\">")),
                        "{}={value}",
                        option.name
                    );
                }
            }
        }
    }

    #[test]
    fn no_choice_is_cut_off_on_a_narrow_screen() {
        let most = 40;
        let shown = view(Form::Import, &[]).into_string();
        for part in shown.split("<option value=\"").skip(1) {
            let text = part.split('>').nth(1).and_then(|text| text.split('<').next()).unwrap();
            assert!(text.chars().count() <= most, "{text}");
        }
    }

    #[test]
    fn what_a_profile_has_is_chosen_and_what_is_of_one_file_is_not_offered() {
        let chosen = [("dates".to_owned(), "dmy".to_owned()), ("sheet".to_owned(), "\"<b>".to_owned())];
        let shown = view(Form::Profile, &chosen).into_string();
        let own = view(Form::Profile, &[("delimiter".to_owned(), ";".to_owned())]).into_string();
        assert!(
            own.contains("<option value=\";\" selected>"),
            "a value in another way of writing is kept: {own}"
        );
        assert!(shown.contains("<option value=\"dmy\" selected>"), "{shown}");
        assert!(shown.contains("value=\"&quot;&lt;b&gt;\"") && !shown.contains("<b>"), "{shown}");
        assert_eq!(shown.matches(" selected").count(), 1, "{shown}");
        assert_eq!(shown.matches("<details class=\"further\" open>").count(), 1, "{shown}");
        assert!(!shown.contains("name=\"format\"") && !shown.contains("name=\"mends\""), "{shown}");
    }
}
