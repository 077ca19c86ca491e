//! Made-up people: a pure function of the seed, the number of the user, and how often the user has changed.

use std::io::Write as _;

use super::random::SplitMix64;

/// Column names, in the order of the file.
pub(crate) const COLUMNS: [&str; 6] =
    ["email", "first_name", "last_name", "custom__office", "custom__department", "custom__employee_id"];

/// A name as it is written, and as it stands in an address.
type Name = (&'static str, &'static str);

const FIRST: &[Name] = &[
    ("Ada", "ada"),
    ("Aisha", "aisha"),
    ("Anaïs", "anais"),
    ("André", "andre"),
    ("Ångela", "angela"),
    ("Aylin", "aylin"),
    ("Björn", "bjorn"),
    ("Błażej", "blazej"),
    ("Carla", "carla"),
    ("Chloé", "chloe"),
    ("Deniz", "deniz"),
    ("Đorđe", "djordje"),
    ("Emma", "emma"),
    ("Fatima", "fatima"),
    ("Finn", "finn"),
    ("François", "francois"),
    ("Giulia", "giulia"),
    ("Håkon", "hakon"),
    ("Ines", "ines"),
    ("Ivan", "ivan"),
    ("Jiří", "jiri"),
    ("José", "jose"),
    ("Jürgen", "juergen"),
    ("Kofi", "kofi"),
    ("Lars", "lars"),
    ("Léa", "lea"),
    ("Linh", "linh"),
    ("Lúcia", "lucia"),
    ("Maja", "maja"),
    ("Mateo", "mateo"),
    ("Mei", "mei"),
    ("Noah", "noah"),
    ("Nuño", "nuno"),
    ("Olga", "olga"),
    ("Øyvind", "oyvind"),
    ("Priya", "priya"),
    ("Renée", "renee"),
    ("Sándor", "sandor"),
    ("Seán", "sean"),
    ("Şule", "sule"),
    ("Tomás", "tomas"),
    ("Uma", "uma"),
    ("Vít", "vit"),
    ("Yuki", "yuki"),
    ("Željko", "zeljko"),
    ("Zoë", "zoe"),
    ("Jean-Luc", "jean-luc"),
    ("Mary Ann", "mary-ann"),
];

const LAST: &[Name] = &[
    ("Abebe", "abebe"),
    ("Åkerlund", "akerlund"),
    ("Brânză", "branza"),
    ("Bauer", "bauer"),
    ("Castaño", "castano"),
    ("Chen", "chen"),
    ("Costa", "costa"),
    ("Dvořák", "dvorak"),
    ("D'Arcy", "darcy"),
    ("Fontaine", "fontaine"),
    ("García", "garcia"),
    ("Gonçalves", "goncalves"),
    ("Groß", "gross"),
    ("Hansen", "hansen"),
    ("Horváth", "horvath"),
    ("Ito", "ito"),
    ("Jónsdóttir", "jonsdottir"),
    ("Kaya", "kaya"),
    ("Kowalski", "kowalski"),
    ("Kučera", "kucera"),
    ("Larsen", "larsen"),
    ("Lindström", "lindstrom"),
    ("Łukasik", "lukasik"),
    ("Martin", "martin"),
    ("Müller", "mueller"),
    ("Muñoz", "munoz"),
    ("Nagy", "nagy"),
    ("Nguyễn", "nguyen"),
    ("Novák", "novak"),
    ("O'Brien", "obrien"),
    ("Okafor", "okafor"),
    ("Özdemir", "ozdemir"),
    ("Peña", "pena"),
    ("Petrov", "petrov"),
    ("Rossi", "rossi"),
    ("Sato", "sato"),
    ("Schäfer", "schaefer"),
    ("Singh", "singh"),
    ("Søgaard", "sogaard"),
    ("Ševčík", "sevcik"),
    ("Silva", "silva"),
    ("Tamm", "tamm"),
    ("Țepeș", "tepes"),
    ("Virtanen", "virtanen"),
    ("Wójcik", "wojcik"),
    ("Yılmaz", "yilmaz"),
    ("van Dijk", "van.dijk"),
    ("King, Jr.", "king"),
];

const OFFICES: &[&str] = &[
    "Berlin",
    "Bogotá",
    "Brno",
    "Dublin",
    "Genève",
    "Göteborg",
    "İzmir",
    "Kraków",
    "Kyiv",
    "Lagos",
    "Lisboa",
    "Łódź",
    "Malmö",
    "Oslo",
    "Paris",
    "Porto",
    "Praha",
    "Pune",
    "Roma",
    "Tokyo",
    "Tromsø",
    "Zürich",
    "Graz, Süd",
    "Köln, West",
];

/// Each neighbour is another text, so that stepping through the list changes a user every time.
const DEPARTMENTS: &[&str] = &[
    "Sales",
    "Finance",
    "IT",
    "R&D",
    "Legal",
    "Support",
    "Design",
    "Logistics",
    "Purchasing",
    "People, Culture",
    "Team \"Blue\"",
    "Quality",
];

/// Names that no mail server answers for (RFC 2606 and 6761).
const DOMAINS: &[&str] =
    &["corp.test", "uni.test", "example.org", "city.example", "shop.test", "lab.example"];

/// One record's values. The texts that are made, not chosen, are kept to be used again.
#[derive(Default)]
pub(crate) struct Person {
    pub(crate) email: Vec<u8>,
    pub(crate) first_name: &'static str,
    pub(crate) last_name: &'static str,
    pub(crate) office: &'static str,
    pub(crate) department: &'static str,
    pub(crate) employee_id: Vec<u8>,
}

/// Something about an address that makes the record fail, with the code that it fails with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Defect {
    Missing,
    NoAt,
    NoDomain,
    TwoDots,
}

impl Defect {
    pub(crate) const ALL: [Self; 4] = [Self::Missing, Self::NoAt, Self::NoDomain, Self::TwoDots];

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Missing => "field_required",
            Self::NoAt | Self::NoDomain | Self::TwoDots => "email_invalid",
        }
    }
}

impl Person {
    /// Becomes user `index` after `revision` changes. The address ends in the index, and no name holds a digit: unique.
    pub(crate) fn become_user(&mut self, seed: u64, index: u64, revision: u64) {
        let mut random = SplitMix64::of(seed, index);
        let (first, first_address) = random.pick(FIRST).unwrap_or_default();
        let (last, last_address) = random.pick(LAST).unwrap_or_default();
        let domain = random.pick(DOMAINS).unwrap_or_default();
        self.first_name = first;
        self.last_name = last;
        self.office = random.pick(OFFICES).unwrap_or_default();
        let step = random.below(DEPARTMENTS.len() as u64).wrapping_add(revision) % DEPARTMENTS.len() as u64;
        self.department = DEPARTMENTS.get(usize::try_from(step).unwrap_or(0)).copied().unwrap_or_default();
        self.email.clear();
        for part in [first_address, ".", last_address] {
            self.email.extend_from_slice(part.as_bytes());
        }
        let number = index.wrapping_add(1);
        // Writing to memory cannot fail.
        let _ = write!(self.email, "{number}@{domain}");
        self.employee_id.clear();
        let _ = write!(self.employee_id, "E{:04X}", number ^ (seed & 0xffff));
    }

    /// Spoils the address.
    pub(crate) fn spoil(&mut self, defect: Defect) {
        let at = self.email.iter().position(|byte| *byte == b'@').unwrap_or(0);
        match defect {
            Defect::Missing => self.email.clear(),
            Defect::NoAt => self.email.iter_mut().filter(|byte| **byte == b'@').for_each(|byte| *byte = b'_'),
            Defect::NoDomain => self.email.truncate(at + 1),
            Defect::TwoDots => self.email.splice(at..at, *b"..x").for_each(drop),
        }
    }

    /// The values in the order of [`COLUMNS`].
    pub(crate) fn cells(&self) -> [&[u8]; 6] {
        [
            &self.email,
            self.first_name.as_bytes(),
            self.last_name.as_bytes(),
            self.office.as_bytes(),
            self.department.as_bytes(),
            &self.employee_id,
        ]
    }
}

/// Whether a user is, after so many changes, as in the beginning.
pub(crate) fn is_as_first(revision: u64) -> bool {
    revision.is_multiple_of(DEPARTMENTS.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_can_be_unique() {
        for (_, address) in FIRST.iter().chain(LAST) {
            assert!(
                address.bytes().all(|byte| byte.is_ascii_lowercase() || b"-.".contains(&byte)),
                "{address}"
            );
        }
    }

    #[test]
    fn every_step_changes_the_department() {
        assert!(
            (0..DEPARTMENTS.len()).all(|at| DEPARTMENTS[at] != DEPARTMENTS[(at + 1) % DEPARTMENTS.len()])
        );
        let (mut before, mut after) = (Person::default(), Person::default());
        before.become_user(1, 2, 3);
        after.become_user(1, 2, 4);
        assert_eq!(before.email, after.email);
        assert_ne!(before.department, after.department);
    }
}
