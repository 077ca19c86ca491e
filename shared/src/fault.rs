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
        /// The receipt does not look at what is in the store.
        ReceiptUnchecked = "receipt_unchecked",
        /// The receipt commits on a connection that staged nothing.
        ReceiptElsewhere = "receipt_elsewhere",
        /// An error of a commit is taken for its failure.
        CommitAnswerTrusted = "commit_answer_trusted",
        /// An import that was aborted keeps its idempotency key.
        AbortedKeepsKey = "aborted_keeps_key",
        /// A receiver that is gone keeps its idempotency key for as long as its lease.
        SilentKeepsKey = "silent_keeps_key",
        /// An idempotency key stands for the options alone, whatever the body.
        KeyWithoutBody = "key_without_body",
        /// Records that fail while staging are not counted.
        StagedFailuresUncounted = "staged_failures_uncounted",
        /// A connection that the pool gives out may be inside a transaction.
        PoolUncleaned = "pool_uncleaned",
        /// A bare rollback cleans connections of the pool.
        PoolBareRollback = "pool_bare_rollback",
        /// Sockets to PostgreSQL collect small packets.
        SocketsUntuned = "sockets_untuned",
        /// A server without a free connection refuses uploads, though the pool has idle ones.
        PoolKeepsConnections = "pool_keeps_connections",
        /// An import with options of a newer version is answered as a fault of the program.
        NewerOptionsCorrupt = "newer_options_corrupt",
        /// Readiness does not see that the broker blocks publishers.
        BlockedBrokerReady = "blocked_broker_ready",
        /// A start without a database says nothing while it waits.
        SilentStart = "silent_start",
        /// The command sends no idempotency key with what it cannot read twice.
        StreamWithoutKey = "stream_without_key",
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

/// Calls back whenever the point is reached, on the thread that reached it: a test does there what it needs done.
///
/// # Panics
/// Where the point cannot be set.
#[cfg(feature = "faults")]
#[expect(clippy::expect_used, reason = "for tests alone")]
pub fn call_at(point: Point, callback: impl Fn() + Send + Sync + 'static) {
    fail::cfg_callback(point.name(), callback).expect("a point can be set");
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
