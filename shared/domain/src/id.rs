//! A type for each kind of id, so that ids of different things cannot be confused.
//!
//! In JSON, on the command line and in addresses an id is its plain number or UUID text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an id of this kind. Says what was expected, never what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} is not {expected}")]
pub struct InvalidId {
    kind: &'static str,
    expected: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $kind:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub(crate) $inner);

        impl $name {
            /// Takes a value that is known to be such an id: read from the store or a message, or newly made.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The plain value, for the store and the wire.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.parse().map(Self).map_err(|_| InvalidId { kind: $kind, expected: $expected })
            }
        }
    };
}

id!(
    /// A tenant, the boundary of isolation.
    TenantId(i32), "tenant id", "a whole number"
);
id!(
    /// An import. UUID version 7: the greater id is the newer import.
    ImportId(Uuid), "import id", "a UUID"
);
id!(
    /// A chunk of an import.
    ChunkId(i64), "chunk id", "a whole number"
);
id!(
    /// A user. UUID version 7.
    UserId(Uuid), "user id", "a UUID"
);
id!(
    /// A credential.
    TokenId(Uuid), "token id", "a UUID"
);
id!(
    /// A webhook of a tenant.
    WebhookId(Uuid), "webhook id", "a UUID"
);
id!(
    /// One delivery of a webhook. UUID version 7: the greater id is the newer delivery.
    DeliveryId(Uuid), "delivery id", "a UUID"
);
id!(
    /// An organization of a tenant.
    OrganizationId(i32), "organization id", "a whole number"
);
id!(
    /// A group in a tenant's catalog.
    GroupId(i32), "group id", "a whole number"
);

impl GroupId {
    /// Stands in a membership for "in the organization, in no group of it".
    pub const NONE: Self = Self(0);
    /// Stands in the options of an import that is planned for a group that the catalog lacks: it is made when the plan is applied.
    pub const PLANNED: Self = Self(-1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_and_write_as_their_plain_value() {
        let text = "0190a5f0-7b7c-7000-8000-000000000001";
        let import: ImportId = text.parse().unwrap();
        assert_eq!(import.to_string(), text);
        assert_eq!(serde_json::to_string(&import).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<ChunkId>("7").unwrap(), ChunkId::new(7));
        assert_eq!(format!("{:?}", TenantId::new(3)), "TenantId(3)");
    }

    #[test]
    fn a_refused_id_is_not_repeated_in_the_message() {
        let error = "someone@example.com".parse::<UserId>().unwrap_err();
        assert_eq!(error.to_string(), "user id is not a UUID");
    }
}
