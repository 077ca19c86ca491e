//! What a record must come to: users in memory, one record after the other. Values are numbers; [`text`] makes texts of them.

use std::collections::HashMap;

/// What a record says of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Absent,
    Null,
    Is(u32),
}

/// What is wrong with a record by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The address has no `@`.
    Email,
    /// There is no address.
    NoEmail,
    /// The phone number is none.
    Phone,
    /// CSV: a cell too many.
    Columns,
    /// JSON: a number where a text must be.
    Type,
    /// JSON: a key that is not known.
    Unknown,
    /// JSON: not JSON at all.
    Broken,
}

impl Bad {
    pub(crate) const CSV: [Self; 4] = [Self::Email, Self::NoEmail, Self::Phone, Self::Columns];
    pub(crate) const JSON: [Self; 6] =
        [Self::Email, Self::NoEmail, Self::Phone, Self::Type, Self::Unknown, Self::Broken];

    /// The code of the error that it must give.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Email => "email_invalid",
            Self::NoEmail => "field_required",
            Self::Phone => "phone_invalid",
            Self::Columns => "csv_column_count",
            Self::Type => "type_mismatch",
            Self::Unknown => "field_unknown",
            Self::Broken => "json_invalid",
        }
    }
}

/// A record of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) address: u32,
    pub(crate) given: Said,
    pub(crate) family: Said,
    pub(crate) phone: Said,
    pub(crate) n: Said,
    pub(crate) bad: Option<Bad>,
}

/// What happens to a user that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnExisting {
    Update,
    Skip,
}

/// A user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct User {
    pub(crate) version: i32,
    pub(crate) given: Option<u32>,
    pub(crate) family: Option<u32>,
    pub(crate) phone: Option<u32>,
    pub(crate) n: Option<u32>,
}

/// What must become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Inserted,
    Updated,
    /// Skipped: the user is as the record wants it.
    Unchanged,
    /// Skipped: the user is there.
    Exists,
    /// Failed with this code.
    Failed(&'static str),
}

/// Users that only one client at a time writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Users {
    pub(crate) by_address: HashMap<u32, User>,
    /// Who has which phone number.
    holders: HashMap<u32, u32>,
}

impl Users {
    pub(crate) fn holder(&self, phone: u32) -> Option<u32> {
        self.holders.get(&phone).copied()
    }

    /// Works through one record.
    pub(crate) fn apply(&mut self, record: &Record, on_existing: OnExisting) -> Expected {
        if let Some(bad) = record.bad {
            return Expected::Failed(bad.code());
        }
        let before = self.by_address.get(&record.address).copied();
        if before.is_some() && on_existing == OnExisting::Skip {
            return Expected::Exists;
        }
        let user = changed(before.unwrap_or_default(), record);
        let taken = user.phone.and_then(|phone| self.holder(phone));
        if taken.is_some_and(|holder| holder != record.address) {
            return Expected::Failed("identity_conflict");
        }
        if before == Some(user) {
            return Expected::Unchanged;
        }
        self.put(record.address, User { version: user.version + 1, ..user });
        if before.is_some() { Expected::Updated } else { Expected::Inserted }
    }

    /// A user is now like this.
    pub(crate) fn put(&mut self, address: u32, user: User) {
        let before = self.by_address.insert(address, user);
        if let Some(phone) = before.and_then(|user| user.phone) {
            self.holders.remove(&phone);
        }
        if let Some(phone) = user.phone {
            self.holders.insert(phone, address);
        }
    }
}

/// The user as the record wants it, its version aside.
pub(crate) fn changed(user: User, record: &Record) -> User {
    let set = |was: Option<u32>, said: Said| match said {
        Said::Absent => was,
        Said::Null => None,
        Said::Is(value) => Some(value),
    };
    User {
        version: user.version,
        given: set(user.given, record.given),
        family: set(user.family, record.family),
        phone: set(user.phone, record.phone),
        n: set(user.n, record.n),
    }
}

/// The texts that stand in files and in the database. Each holds a marker that may stand in no log.
pub(crate) mod text {
    /// Stands in every address, name and value.
    pub(crate) const MARKER: &str = "kanarix";
    /// How every phone number begins.
    pub(crate) const PHONE: &str = "+88216";

    const NAMES: [&str; 12] = [
        "Ada",
        "Zoë",
        "José María",
        "O'Brien",
        "Ngô \"Bob\"",
        "Smith, Jr.",
        "Łukasz",
        "Søren",
        "Ünal",
        "김",
        "Дарья",
        "René",
    ];

    /// A name; there are infinitely many.
    pub(crate) fn name(number: u32) -> String {
        let name = NAMES[number as usize % NAMES.len()];
        format!("{name} {MARKER}{number}")
    }

    pub(crate) fn email(space: u32, address: u32) -> String {
        format!("u{address}.s{space}@{MARKER}.example")
    }

    /// Space and number of an address.
    pub(crate) fn parse_email(email: &str) -> Option<(u32, u32)> {
        let (local, _) = email.split_once('@')?;
        let (address, space) = local.strip_prefix('u')?.split_once(".s")?;
        Some((space.parse().ok()?, address.parse().ok()?))
    }

    pub(crate) fn phone(space: u32, number: u32) -> String {
        format!("{PHONE}{space:04}{number:06}")
    }

    pub(crate) fn n(number: u32) -> String {
        format!("{MARKER}-{number}")
    }

    /// The number of a name, a phone number or an `n`.
    pub(crate) fn number(value: &str) -> Option<u32> {
        if let Some(phone) = value.strip_prefix(PHONE) {
            return phone.get(4..)?.parse().ok();
        }
        value.rsplit_once(MARKER)?.1.trim_start_matches('-').parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Record = Record {
        address: 1,
        given: Said::Is(1),
        family: Said::Absent,
        phone: Said::Absent,
        n: Said::Is(1),
        bad: None,
    };

    #[test]
    fn a_record_again_changes_nothing_and_another_raises_the_version() {
        let mut users = Users::default();
        assert_eq!(users.apply(&PLAIN, OnExisting::Update), Expected::Inserted);
        assert_eq!(users.apply(&PLAIN, OnExisting::Update), Expected::Unchanged);
        assert_eq!(users.apply(&PLAIN, OnExisting::Skip), Expected::Exists);
        let second = Record { n: Said::Is(2), given: Said::Null, ..PLAIN };
        assert_eq!(users.apply(&second, OnExisting::Update), Expected::Updated);
        let user = User { version: 2, n: Some(2), ..User::default() };
        assert_eq!(users.by_address[&1], user);
    }

    #[test]
    fn a_phone_number_is_one_users_until_it_lets_go() {
        let mut users = Users::default();
        let holder = Record { phone: Said::Is(7), ..PLAIN };
        let other = Record { address: 2, ..holder };
        assert_eq!(users.apply(&holder, OnExisting::Update), Expected::Inserted);
        assert_eq!(users.apply(&other, OnExisting::Update), Expected::Failed("identity_conflict"));
        assert_eq!(
            users.apply(&Record { phone: Said::Is(8), ..holder }, OnExisting::Update),
            Expected::Updated
        );
        assert_eq!(users.apply(&other, OnExisting::Update), Expected::Inserted);
    }

    #[test]
    fn addresses_are_read_as_they_were_written() {
        assert_eq!(text::parse_email(&text::email(12, 345)), Some((12, 345)));
        for value in [text::name(77), text::phone(12, 77), text::n(77)] {
            assert_eq!(text::number(&value), Some(77), "{value}");
        }
    }
}
