//! Errors of the store, and whether a retry can help.
//!
//! Decided from SQLSTATE, never from message text. And no text of an error, shown or for debugging, carries a row's
//! values: PostgreSQL puts them into `detail` and, for wrong input, into the message itself, so this module keeps neither
//! the driver's error nor its source chain but only the parts that are known to be harmless.

use std::fmt;

use muster_domain::fault::{self, Fault, Mutant};
use muster_runtime::retry::ErrorKind;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;

/// An operation of the store failed. Not "not found", and nothing about a record: those are values.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The server answered with an error.
    #[error("{0}")]
    Database(DatabaseError),
    /// The server cannot be reached, or went away.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time. The connection is given up: nobody knows whether it still leads anywhere.
    #[error("the database did not answer within {} s", .0.as_secs_f32())]
    Silent(std::time::Duration),
    /// All connections of the pool were in use for too long.
    #[error("no database connection became free in time")]
    PoolTimeout,
    /// The server went away before it said whether it committed, and did not come back in time to be asked.
    #[error("the database went away before it said whether the change was made")]
    Unknown,
    /// A row was written by a newer program, in words that this one does not know.
    #[error(
        "{table} {key} was written by a newer version of this program, and only that can read it: {column}"
    )]
    Newer {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's primary key.
        key: String,
    },
    /// The settings of the connection are wrong.
    #[error("the database settings are wrong: {0}")]
    Settings(String),
    /// What was read before is no longer so.
    #[error("{0} was changed by someone else in the meantime")]
    Conflict(&'static str),
    /// What was to be written holds only if nobody else writes users of the tenant meanwhile.
    #[error("the chunk must be applied with the exclusive lock")]
    NeedsExclusive,
    /// A row holds a value that cannot be.
    #[error("impossible value in table {table}, column {column}, row {key}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's primary key.
        key: String,
    },
    /// The database was migrated by a newer program.
    #[error(
        "the database has schema version {database}, this program knows only up to {program}: use a newer one"
    )]
    SchemaTooNew {
        /// Version of the last migration in the database.
        database: i64,
        /// Version of the last migration in this program.
        program: i64,
    },
    /// A migration that was applied is not the one this program carries.
    #[error("migration {0} was applied in another form than this program carries")]
    SchemaDiffers(i64),
    /// A migration was left half done.
    #[error("migration {0} was begun and not finished: repair it by hand")]
    SchemaUnfinished(i64),
    /// The driver and this program disagree: a column, a type, an encoding.
    #[error("program error in the store: {0}")]
    Program(String),
}

impl StoreError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Database(error) => error.kind(),
            // A program of the newer version may do it.
            Self::Newer { .. }
            | Self::Unreachable(_)
            | Self::Silent(_)
            | Self::PoolTimeout
            | Self::Unknown => ErrorKind::Transient,
            Self::Conflict(_) | Self::NeedsExclusive => ErrorKind::Conflict,
            Self::Settings(_)
            | Self::Corrupt { .. }
            | Self::SchemaTooNew { .. }
            | Self::SchemaDiffers(_)
            | Self::SchemaUnfinished(_)
            | Self::Program(_) => ErrorKind::Permanent,
        }
    }

    /// The constraint or unique index that refused a row, where one did.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(error) => error.constraint.as_deref(),
            _ => None,
        }
    }

    /// Whether the server answered with this error over a connection that may still live, rather than being away.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Database(_))
    }

    /// The SQLSTATE, where the server answered with one.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Database(error) => Some(&error.sqlstate),
            _ => None,
        }
    }

    /// What the server said, as far as it holds no row's value: SQLSTATE, table, constraint, words.
    pub fn answer(&self) -> Option<String> {
        match self {
            Self::Database(error) => Some(error.parts()),
            _ => None,
        }
    }

    /// For a `TryFrom` of a row: `table.column` of the row `key` holds what cannot be.
    pub(crate) fn corrupt(table: &'static str, column: &'static str, key: impl fmt::Display) -> Self {
        Self::Corrupt { table, column, key: key.to_string() }
    }
}

/// The harmless parts of an error that the server answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseError {
    sqlstate: String,
    message: Option<String>,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

impl DatabaseError {
    fn kind(&self) -> ErrorKind {
        kind_of(&self.sqlstate)
    }
}

impl DatabaseError {
    fn parts(&self) -> String {
        let mut text = format!("SQLSTATE {}", self.sqlstate);
        if let Some(words) = condition(&self.sqlstate).filter(|_| !fault::mutant(Mutant::ConditionsUnnamed)) {
            text.push_str(&format!(" ({words})"));
        }
        let parts = [("table", &self.table), ("column", &self.column), ("constraint", &self.constraint)];
        for (word, part) in parts {
            if let Some(part) = part {
                text.push_str(&format!(", {word} {part}"));
            }
        }
        if let Some(message) = &self.message {
            text.push_str(": ");
            text.push_str(message);
        }
        text
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database answered with {}", self.parts())
    }
}

impl From<&PgDatabaseError> for DatabaseError {
    fn from(error: &PgDatabaseError) -> Self {
        let part = |part: Option<&str>| part.map(str::to_owned);
        Self {
            sqlstate: error.code().to_owned(),
            message: may_show_message(error.code(), error.routine()).then(|| error.message().to_owned()),
            table: part(error.table()),
            column: part(error.column()),
            constraint: part(error.constraint()),
        }
    }
}

/// What people call what the whole server is in, where that is what an operator has to know: its own words are not always shown.
fn condition(sqlstate: &str) -> Option<&'static str> {
    Some(match sqlstate {
        "53100" => "disk full",
        "53200" => "out of memory",
        "53300" => "too many connections",
        "25006" => "read-only",
        "55P03" => "something holds a lock",
        "57P03" => "it starts or recovers",
        "42501" => "no permission",
        _ => return None,
    })
}

/// The table behind [`StoreError::kind`]. SQLSTATE has five characters; the first two are the class.
fn kind_of(sqlstate: &str) -> ErrorKind {
    match sqlstate {
        // A session that idled in its transaction was ended; a primary became a standby under us.
        "25P03" | "25006" => ErrorKind::Transient,
        // A lock not had in time; a statement cancelled, by its time-out or by an operator.
        "55P03" | "57014" => ErrorKind::Transient,
        // Serialization failure; deadlock; a key that someone else inserted first.
        "40001" | "40P01" | "23505" => ErrorKind::Conflict,
        _ => match sqlstate.get(..2).unwrap_or_default() {
            // Connection exceptions; insufficient resources (connections, memory, disk).
            "08" | "53" => ErrorKind::Transient,
            // Operator intervention: shutdown, crash, not yet ready.
            "57" if sqlstate.starts_with("57P0") => ErrorKind::Transient,
            // Data exceptions; integrity violations; program limits (an index row too large).
            "22" | "23" | "54" => ErrorKind::Data,
            _ => ErrorKind::Permanent,
        },
    }
}

/// Whether a message speaks of the server, the schema or our own SQL text, and never of a row. `routine` is the place in the
/// server's own source that made it.
fn may_show_message(sqlstate: &str, routine: Option<&str>) -> bool {
    // A function in the database chooses code and words itself, and may quote a row.
    let raised = routine.is_some_and(|routine| RAISING.iter().any(|known| routine.starts_with(known)));
    if raised && !fault::mutant(Mutant::RaisedWordsShown) {
        return false;
    }
    let of_server = matches!(
        sqlstate.get(..2).unwrap_or_default(),
        "08" | "25" | "28" | "3D" | "40" | "42" | "53" | "55" | "57" | "58"
    );
    // These name a constraint or an index; the values are in the detail, which is not kept.
    of_server || routine.is_some_and(|routine| REFUSING.contains(&(sqlstate, routine)))
}

/// Where errors come from that functions in the database raise: PL/pgSQL, PL/Perl, PL/Python, PL/Tcl.
const RAISING: [&str; 4] = ["exec_stmt_raise", "plperl", "PLy_", "pltcl"];

/// Refusals of a row whose message names only the constraint.
const REFUSING: [(&str, &str); 9] = [
    ("23502", "ExecConstraints"),
    ("23503", "ri_ReportViolation"),
    ("23505", "_bt_check_unique"),
    ("23514", "ExecConstraints"),
    ("23P01", "check_exclusion_or_unique_constraint"),
    ("22001", "varchar"),
    ("22001", "bpchar"),
    ("54000", "index_form_tuple_context"),
    ("54000", "_bt_check_third_page"),
];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match error {
            E::Database(error) => Self::Database(match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => DatabaseError::from(error),
                None => DatabaseError {
                    sqlstate: error.code().unwrap_or_default().into_owned(),
                    message: None,
                    table: None,
                    column: None,
                    constraint: None,
                },
            }),
            E::Io(error) => Self::Unreachable(error.to_string()),
            E::Tls(error) => Self::Unreachable(format!("TLS: {error}")),
            // A connection that is out of step, lost, or of a pool that is shutting down. Another may do better.
            E::Protocol(_) => Self::Unreachable("the connection is in an unknown state".into()),
            E::BeginFailed => Self::Unreachable("a transaction could not be begun".into()),
            E::WorkerCrashed | E::PoolClosed => Self::Unreachable("the connection was closed".into()),
            E::PoolTimedOut => Self::PoolTimeout,
            E::Configuration(error) => Self::Settings(error.to_string()),
            E::Migrate(error) => Self::from(*error),
            E::RowNotFound => Self::Program("a row that must be there is not".into()),
            E::TypeNotFound { type_name } => Self::Program(format!("no type {type_name}")),
            E::ColumnNotFound(name) => Self::Program(format!("no column {name}")),
            // The source may quote the value.
            E::ColumnDecode { index, .. } => Self::Program(format!("column {index} cannot be decoded")),
            E::Encode(_) | E::Decode(_) => Self::Program("a value cannot be encoded or decoded".into()),
            _ => Self::Program("the driver refused the statement".into()),
        }
    }
}

/// A fault is a connection that went away: that is what a crash looks like from here.
impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        if fault.refused { Self::Program(fault.to_string()) } else { Self::Unreachable(fault.to_string()) }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Self::from(error),
            MigrateError::VersionMismatch(version) => Self::SchemaDiffers(version),
            MigrateError::Dirty(version) => Self::SchemaUnfinished(version),
            other => Self::Program(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_the_sqlstate() {
        use ErrorKind::{Conflict, Data, Permanent, Transient};
        let table = [
            ("08006", Transient), // connection failure
            ("53100", Transient), // disk full
            ("53300", Transient), // too many connections
            ("55P03", Transient), // lock not available
            ("57014", Transient), // query cancelled
            ("57P01", Transient), // admin shutdown
            ("57P03", Transient), // cannot connect now
            ("25P03", Transient), // idle in transaction
            ("25006", Transient), // read-only transaction
            ("40001", Conflict),
            ("40P01", Conflict),
            ("23505", Conflict),
            ("23502", Data),      // not null
            ("23514", Data),      // check
            ("22001", Data),      // too long
            ("22021", Data),      // NUL byte, undecodable text
            ("54000", Data),      // index row too large
            ("28P01", Permanent), // wrong password
            ("3D000", Permanent), // no such database
            ("42P01", Permanent), // no such table
            ("57000", Permanent),
            ("XX000", Permanent),
            ("", Permanent),
        ];
        for (sqlstate, kind) in table {
            assert_eq!(kind_of(sqlstate), kind, "{sqlstate}");
        }
    }

    #[test]
    fn what_the_whole_server_is_in_has_a_name_that_people_know() {
        let told = |sqlstate: &str| {
            let (message, table, column, constraint) = (None, None, None, None);
            DatabaseError { sqlstate: sqlstate.into(), message, table, column, constraint }.to_string()
        };
        assert_eq!(told("53100"), "the database answered with SQLSTATE 53100 (disk full)");
        assert_eq!(told("23505"), "the database answered with SQLSTATE 23505");
    }

    #[test]
    fn the_message_is_kept_only_where_it_cannot_quote_a_value() {
        for (sqlstate, routine) in [
            ("42P01", "parserOpenTable"),
            ("57P01", "ProcessInterrupts"),
            ("53300", "InitPostgres"),
            ("53100", "mdextend"),
            ("23505", "_bt_check_unique"),
            ("23514", "ExecConstraints"),
        ] {
            assert!(may_show_message(sqlstate, Some(routine)), "{sqlstate} {routine}");
        }
        for (sqlstate, routine) in [
            ("22P02", "pg_strtoint32"),
            ("23505", "elsewhere"),
            ("54000", "elsewhere"),
            ("XX000", "elog"),
            ("", ""),
            // A function of the installation chose the code, and may say what it likes.
            ("23514", "exec_stmt_raise"),
            ("42501", "exec_stmt_raise"),
            ("53100", "PLy_elog_impl"),
        ] {
            assert!(!may_show_message(sqlstate, Some(routine)), "{sqlstate} {routine}");
        }
        // Of a pooler, which knows no rows.
        assert!(may_show_message("08P01", None) && !may_show_message("23514", None));
    }

    #[test]
    fn driver_errors_have_a_kind_of_their_own() {
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(StoreError::from(sqlx::Error::Io(lost)).kind(), ErrorKind::Transient);
        assert_eq!(StoreError::from(sqlx::Error::PoolTimedOut).kind(), ErrorKind::Transient);
        assert_eq!(StoreError::Conflict("the catalog").kind(), ErrorKind::Conflict);
        assert_eq!(StoreError::from(sqlx::Error::RowNotFound).kind(), ErrorKind::Permanent);
    }
}
