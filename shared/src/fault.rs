//! Faults on purpose, for tests alone: named points at which a test makes the program fail, and mutants, which bring a mended
//! fault back so that a test can be seen to catch it.
//!
//! Everything here is compiled out unless the feature `faults` is on; no release has it. Points are set by the variable
//! `FAILPOINTS` or by `fail::cfg`, as the crate `fail` says: `after_commit=return(kill)`, `publish=3*off->return(error)`,
//! `before_commit=sleep(2000)`. One mutant at a time is chosen by the variable `MUTANT`.

/// A point asked its caller to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failpoint {}", .0.name())]
pub struct Fault(pub Point);

/// Makes an enum of names with one sentence each, and the list of them all.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $item:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $item,)* }

        impl $name {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$item),*];

            /// The name by which a test chooses it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$item => $text,)* }
            }
        }
    };
}

table! {
    /// Where a test can make the program fail.
    Point {
        /// Worker: the chunk's row is locked, nothing is written.
        ApplyLocked = "apply_locked",
        /// Worker: users are written, the chunk is not finished.
        ApplyWritten = "apply_written",
        /// Worker: everything is written, the commit is not sent.
        BeforeCommit = "before_commit",
        /// Worker: the chunk is committed, its message is not acked.
        AfterCommit = "after_commit",
        /// Worker: the message is acked.
        AfterAck = "after_ack",
        /// Producer: a chunk is claimed, its message is not published.
        BeforePublish = "before_publish",
        /// Producer: a chunk's message is published.
        AfterPublish = "after_publish",
        /// Producer: everything is staged, the import is not received.
        BeforeReceipt = "before_receipt",
        /// Producer: the import is received, the upload is not answered.
        AfterReceipt = "after_receipt",
    }
}

table! {
    /// A fault that was mended, or one that nobody should ever write. Each is caught by the test named in docs/reliability.md.
    Mutant {
        /// The message is acked before the chunk is committed.
        AckBeforeCommit = "ack_before_commit",
        /// Records that were not read whole are given back as they were, secrets under wrong names included.
        ShowUnread = "show_unread",
        /// Only four words in a name make it one of a secret.
        FewSecretNames = "few_secret_names",
        /// Unknown keys of `password` and `mfa` are given back.
        ShowUnknownSecretKeys = "show_unknown_secret_keys",
        /// Secrets stand in chunks and messages as they were sent.
        PlainSecrets = "plain_secrets",
        /// The key of an import's secrets outlives the import.
        KeepSecretKey = "keep_secret_key",
        /// Everything that is wrong with a record is told, however much it is.
        AllErrors = "all_errors",
        /// Issues are written by their number, whatever their size.
        IssuesByNumber = "issues_by_number",
        /// zstd may ask for as much memory as it likes.
        WideWindow = "wide_window",
        /// A page of records reads the issues of everything between its first and its last.
        IssuesBetween = "issues_between",
        /// Any number of uploads at once.
        AnyUploads = "any_uploads",
        /// A body may come as slowly as it likes as long as it does not pause.
        AnyRate = "any_rate",
        /// The method of a request is a label as it was sent.
        AnyMethod = "any_method",
        /// Each look at readiness asks the broker.
        AskEachTime = "ask_each_time",
        /// Answers have no headers against framing and caching.
        BareAnswers = "bare_answers",
        /// Tokens do not expire.
        TokensForEver = "tokens_for_ever",
        /// Identifiers may hold characters that nobody sees.
        InvisibleCharacters = "invisible_characters",
        /// Only the beginning of a cell is guarded against formulas.
        GuardBeginnings = "guard_beginnings",
        /// A list sums the chunks of imports that have ended.
        SumAgain = "sum_again",
        /// Each setting is checked by itself.
        SettingsAlone = "settings_alone",
        /// A page of failed records is as long as the one before had room for.
        PagesByNumber = "pages_by_number",
    }
}

/// Fails, panics, waits or dies here when a test asks for it. `return(kill)` ends the process as SIGKILL does, any other
/// `return` makes this an error.
///
/// # Errors
/// When a test asks for one.
#[cfg(feature = "faults")]
pub fn point(point: Point) -> Result<(), Fault> {
    fail::fail_point!(point.name(), |argument: Option<String>| act(point, argument.as_deref(), None));
    Ok(())
}

/// The same for one of many: `return(kill@7)` and `return(error@7)` concern number 7 alone, a chunk's id for one.
///
/// # Errors
/// When a test asks for one.
#[cfg(feature = "faults")]
pub fn point_of(point: Point, number: i64) -> Result<(), Fault> {
    fail::fail_point!(point.name(), |argument: Option<String>| act(point, argument.as_deref(), Some(number)));
    Ok(())
}

#[cfg(feature = "faults")]
fn act(point: Point, argument: Option<&str>, number: Option<i64>) -> Result<(), Fault> {
    let (what, only) = match argument.and_then(|argument| argument.split_once('@')) {
        Some((what, only)) => (Some(what), only.parse().ok()),
        None => (argument, None),
    };
    if only.is_some() && only != number {
        return Ok(());
    }
    if what == Some("kill") {
        kill_self();
    }
    Err(Fault(point))
}

/// Does nothing: the feature `faults` is off.
///
/// # Errors
/// Never.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn point(_: Point) -> Result<(), Fault> {
    Ok(())
}

/// Does nothing: the feature `faults` is off.
///
/// # Errors
/// Never.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn point_of(_: Point, _: i64) -> Result<(), Fault> {
    Ok(())
}

#[cfg(feature = "faults")]
fn kill_self() {
    // A SIGKILL runs no handler and no drop: what a crash does, and an exit does not.
    if rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).is_err() {
        std::process::abort();
    }
    // The signal may take a moment to arrive; nothing may happen meanwhile.
    loop {
        std::thread::park();
    }
}

/// Whether this fault is to be brought back.
#[cfg(feature = "faults")]
pub fn mutant(mutant: Mutant) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("MUTANT").ok()).as_deref() == Some(mutant.name())
}

/// Never: the feature `faults` is off.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn mutant(_: Mutant) -> bool {
    false
}

/// Reads `FAILPOINTS`. To be called once, at the start of the program.
#[cfg(feature = "faults")]
pub fn init() {
    // The scenario's drop would clear the points again.
    std::mem::forget(fail::FailScenario::setup());
}

/// Does nothing: the feature `faults` is off.
#[cfg(not(feature = "faults"))]
pub const fn init() {}

/// In the store's words, a fault is a connection that went away: that is what a crash looks like from here.
#[cfg(feature = "store")]
impl From<Fault> for crate::store::StoreError {
    fn from(fault: Fault) -> Self {
        Self::Unreachable(fault.to_string())
    }
}
