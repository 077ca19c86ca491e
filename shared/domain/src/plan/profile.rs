//! Applies a record to a user's profile: flags, names of the catalog, account state, second factors, addresses, agent
//! fields. Errors are found before anything is changed, so a failed record has no effect.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::draft::Draft;
use super::wanted;
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::field::{Field, FieldSet};
use crate::options::{AddressClash, IdentifierField};
use crate::profile::{DEFAULT_ADDRESS, Profile};
use crate::record::{AgentValue, Extras, NameChange, Patch, Record};
use crate::rules::Rules;
use crate::warning::Warning;

/// The profile of a new user; `None` if the record says nothing of it.
pub(super) fn of_new(
    record: &Record<'_>,
    rules: &Rules,
    now: DateTime<Utc>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Profile>, RecordError> {
    // A missing cell in a table means nothing: only JSON can express null.
    if !rules.options.format.is_table() {
        for field in IdentifierField::ALL {
            if record.identity(*field) == Patch::Null {
                warnings.push(Warning::NullInInsert((*field).into()));
            }
        }
    }
    let ignored = FieldSet::default();
    let mut change = Change { profile: Profile::default(), existing: false, ignored, rules, now, warnings };
    if let Some(extras) = record.extras.as_deref() {
        change.new_flags(record, extras);
        change.extras(extras)?;
    } else if !rules.options.default_address {
        return Ok(None);
    }
    change.default_address(match record.target(IdentifierField::Email) {
        Patch::Value(email) => Some(email),
        Patch::Absent | Patch::Null => None,
    });
    Ok(Some(change.profile))
}

/// The profile that an existing user is to have; `None` if the record changes nothing of it.
pub(super) fn of_existing(
    user: &Draft<'_>,
    record: &Record<'_>,
    rules: &Rules,
    now: DateTime<Utc>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Profile>, RecordError> {
    let before = user.profile();
    // A value that was verified is not the one that takes its place.
    let moved = |field| match wanted(record, field, rules) {
        Patch::Absent => false,
        Patch::Null => user.identity(field).is_some(),
        Patch::Value(value) => user.identity(field) != Some(value),
    };
    let email_moved = before.email_verified && moved(IdentifierField::Email);
    let phone_moved = before.phone_number_verified && moved(IdentifierField::PhoneNumber);
    if record.extras.is_none() && !rules.options.default_address && !email_moved && !phone_moved {
        return Ok(None);
    }
    let ignored =
        rules.ignored().with(record.extras.as_deref().map(|extras| extras.ignored).unwrap_or_default());
    let mut change = Change { profile: before.into_owned(), existing: true, ignored, rules, now, warnings };
    change.profile.email_verified &= !email_moved;
    change.profile.phone_number_verified &= !phone_moved;
    if let Some(extras) = record.extras.as_deref() {
        change.flags(user, record, extras);
        change.extras(extras)?;
    }
    change.default_address(match wanted(record, IdentifierField::Email, rules) {
        Patch::Value(email) => Some(email),
        Patch::Null => None,
        Patch::Absent => user.identity(IdentifierField::Email),
    });
    Ok(Some(change.profile))
}

struct Change<'c> {
    profile: Profile,
    existing: bool,
    /// Fields of an existing user that stay as they are.
    ignored: FieldSet,
    rules: &'c Rules,
    now: DateTime<Utc>,
    warnings: &'c mut Vec<Warning>,
}

impl Change<'_> {
    /// Whether a field of the user stays as it is.
    fn ignored(&self, field: Field) -> bool {
        self.ignored.contains(field)
    }

    /// Whether a new user's e-mail address and phone number are verified.
    fn new_flags(&mut self, record: &Record<'_>, extras: &Extras<'_>) {
        let email = (Field::EmailVerified, Field::Email, extras.email_verified);
        let phone = (Field::PhoneNumberVerified, Field::PhoneNumber, extras.phone_number_verified);
        let there = [record.email.value().is_some(), record.phone_number.value().is_some()];
        // With `new_email` the user never has the address that the record says was verified.
        let kept = [record.target(IdentifierField::Email) == record.identity(IdentifierField::Email), true];
        for (((flag, field, said), there), kept) in [email, phone].into_iter().zip(there).zip(kept) {
            match said {
                Patch::Value(true) if there => *self.flag(flag) = kept,
                Patch::Value(true) => self.warnings.push(Warning::VerifiedInInsert(flag, field)),
                Patch::Value(false) => self.warnings.push(Warning::FalseInInsert(flag)),
                Patch::Absent | Patch::Null => {}
            }
        }
    }

    /// The same of an existing user: the record must name what it says was verified, and the user must have it then.
    fn flags(&mut self, user: &Draft<'_>, record: &Record<'_>, extras: &Extras<'_>) {
        let email = (Field::EmailVerified, IdentifierField::Email, extras.email_verified);
        let phone = (Field::PhoneNumberVerified, IdentifierField::PhoneNumber, extras.phone_number_verified);
        for (flag, identity, said) in [email, phone] {
            if self.ignored(flag) {
                continue;
            }
            let verified = match said {
                Patch::Value(verified) => verified,
                Patch::Null => {
                    *self.flag(flag) = false;
                    continue;
                }
                Patch::Absent => continue,
            };
            let field = Field::from(identity);
            match record.identity(identity) {
                Patch::Value(value) => {
                    let after = match wanted(record, identity, self.rules) {
                        Patch::Value(wanted) => Some(wanted),
                        Patch::Null => None,
                        Patch::Absent => user.identity(identity),
                    };
                    if after == Some(value) {
                        *self.flag(flag) = verified;
                    }
                }
                Patch::Absent => self.warnings.push(Warning::VerifiedWithout(flag, field)),
                Patch::Null => self.warnings.push(Warning::VerifiedWithNull(flag, field)),
            }
        }
    }

    fn flag(&mut self, flag: Field) -> &mut bool {
        match flag {
            Field::EmailVerified => &mut self.profile.email_verified,
            _ => &mut self.profile.phone_number_verified,
        }
    }

    fn extras(&mut self, extras: &Extras<'_>) -> Result<(), RecordError> {
        self.warnings.extend_from_slice(&extras.warnings);
        self.account(extras);
        self.validity(extras)?;
        self.names(extras);
        self.factors(extras);
        if !extras.locked.is_absent() && !self.ignored(Field::Locked) {
            self.profile.locked = extras.locked.value().is_some_and(|locked| *locked);
        }
        match &extras.addresses {
            Patch::Value(addresses) if !self.ignored(Field::Addresses) => {
                for (at, (name, value)) in addresses.iter().enumerate() {
                    match self.rules.options.address_clash {
                        AddressClash::Replace => self.profile.add_address(name, value),
                        AddressClash::Refuse => {
                            self.refuse_clash(at, name, value)?;
                            self.profile.add_address(name, value);
                        }
                        AddressClash::Beside if mutant(Mutant::RegistrationReplaces) => {
                            self.profile.add_address(name, value);
                        }
                        AddressClash::Beside => self.profile.add_address_beside(name, value),
                    }
                }
            }
            Patch::Null if !self.ignored(Field::Addresses) => self.profile.addresses.clear(),
            _ => {}
        }
        for (field, patch) in &extras.agent {
            if !self.ignored(*field) {
                self.agent(*field, patch);
            }
        }
        Ok(())
    }

    /// Neither the name nor the value may stand for anything else already.
    fn refuse_clash(&self, at: usize, name: &str, value: &str) -> Result<(), RecordError> {
        let addresses = &self.profile.addresses;
        let taken = |part: &str, message| {
            Err(RecordError::new(ErrorCode::AddressTaken, message)
                .in_field(format!("{}.{at}.{part}", Field::Addresses)))
        };
        if addresses.get(name).is_some_and(|there| there.value != value) {
            return taken("name", "the user has an address of this name with another value");
        }
        if addresses.iter().any(|(other, there)| other != name && there.value == value) {
            return taken("value", "the user has this address under another name");
        }
        Ok(())
    }

    fn account(&mut self, extras: &Extras<'_>) {
        let field = if extras.by_status { Field::Status } else { Field::Disabled };
        if self.ignored(field) {
            return;
        }
        let disable = match extras.disabled {
            Patch::Value(disable) => disable,
            Patch::Null => {
                self.profile.disabled_at = None;
                return;
            }
            Patch::Absent => return,
        };
        let before = self.profile.disabled_at.is_some();
        if disable != before {
            self.profile.disabled_at = disable.then_some(self.now);
        } else if !extras.by_status {
            self.warnings.push(if self.existing {
                let outside =
                    !disable && self.is_outside_validity() && !mutant(Mutant::NormalOutsideValidity);
                Warning::Transition { disabled: disable, outside }
            } else {
                Warning::FalseInInsert(Field::Disabled)
            });
        }
    }

    /// Whether the account is not valid now, by what the user had before the record.
    fn is_outside_validity(&self) -> bool {
        self.profile.valid_from.is_some_and(|from| self.now < from)
            || self.profile.valid_until.is_some_and(|until| self.now >= until)
    }

    fn validity(&mut self, extras: &Extras<'_>) -> Result<(), RecordError> {
        let moments = [
            (Field::AccountValidFrom, extras.valid_from, &mut self.profile.valid_from),
            (Field::AccountValidUntil, extras.valid_until, &mut self.profile.valid_until),
        ];
        let mut said = None;
        for (field, patch, target) in moments {
            if self.ignored.contains(field) || patch.is_absent() {
                continue;
            }
            *target = patch.value().copied();
            said = Some(field);
        }
        match (self.profile.valid_from, self.profile.valid_until, said) {
            (Some(from), Some(until), Some(field)) if from >= until => Err(RecordError::new(
                ErrorCode::ValidityInvalid,
                "`account_valid_from` must be before `account_valid_until`",
            )
            .in_field(field.as_str())),
            _ => Ok(()),
        }
    }

    fn names(&mut self, extras: &Extras<'_>) {
        let lists = [
            (Field::Roles, &extras.roles, &mut self.profile.roles),
            (Field::Groups, &extras.groups, &mut self.profile.groups),
            (Field::Teams, &extras.teams, &mut self.profile.teams),
        ];
        for (field, patch, target) in lists {
            if self.ignored.contains(field) {
                continue;
            }
            match patch {
                Patch::Absent => {}
                Patch::Null => target.clear(),
                Patch::Value(NameChange::Whole(ids)) => *target = ids.iter().copied().collect(),
                Patch::Value(NameChange::Delta(changes)) => {
                    for (id, has) in changes {
                        if *has {
                            target.insert(*id)
                        } else {
                            target.remove(id)
                        };
                    }
                }
            }
        }
        if !extras.location.is_absent() && !self.ignored(Field::Location) {
            self.profile.location = extras.location.value().copied();
        }
    }

    fn factors(&mut self, extras: &Extras<'_>) {
        if !self.existing && !self.rules.options.format.is_table() {
            let nulls = [
                (Field::MfaEmail, matches!(extras.mfa_email, Patch::Null)),
                (Field::MfaPhoneNumber, matches!(extras.mfa_phone_number, Patch::Null)),
            ];
            let warnings = nulls.into_iter().filter(|(_, null)| *null);
            self.warnings.extend(warnings.map(|(field, _)| Warning::NullInInsert(field)));
        }
        if !extras.mfa_email.is_absent() && !self.ignored(Field::MfaEmail) {
            self.profile.mfa_email = extras.mfa_email.value().map(|email| email.as_str().to_owned());
        }
        if !extras.mfa_phone_number.is_absent() && !self.ignored(Field::MfaPhoneNumber) {
            self.profile.mfa_phone_number =
                extras.mfa_phone_number.value().map(|phone| phone.as_str().to_owned());
        }
    }

    fn agent(&mut self, field: Field, patch: &Patch<AgentValue<'_>>) {
        match patch {
            Patch::Absent => {}
            Patch::Null => {
                self.profile.agent.remove(field.as_str());
            }
            Patch::Value(value) => {
                let value = match value {
                    AgentValue::Text(text) => Value::from(&**text),
                    AgentValue::Flag(flag) => Value::from(*flag),
                    AgentValue::Number(number) => Value::from(*number),
                };
                self.profile.agent.insert(field.as_str().to_owned(), value);
            }
        }
    }

    fn default_address(&mut self, email: Option<&str>) {
        if let Some(email) = email.filter(|_| self.rules.options.default_address) {
            self.profile.add_address(DEFAULT_ADDRESS, email);
        }
    }
}
