//! Deliberate faults, for tests only: named points at which a test makes the program fail, and mutants, which
//! restore a fixed fault so that a test can be seen to catch it.
//!
//! Everything here is compiled out unless the feature `faults` is on; no release has it. Points are set by the variable
//! `FAILPOINTS` or by `fail::cfg`, as the crate `fail` says: `after_commit=1*return(kill)`, `publish=3*off->return(error)`,
//! `before_commit=sleep(2000)`. One mutant at a time is chosen by the variable `MUTANT`.
//!
//! What `return` may name: `kill` (the process dies as of SIGKILL), `panic`, `delay` and `pause` (waits [`DELAY`] or [`PAUSE`], then
//! goes on), `refused` (an error that no retry fixes), and anything else for an error that looks like a lost connection. Each time a
//! point fires, its name is appended to the file that `FAULT_NOTES` names, so that a test can prove that it fired.

/// A point asked its caller to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failpoint {}", .point.name())]
pub struct Fault {
    /// Where.
    pub point: Point,
    /// Trying again does not help.
    pub refused: bool,
}

/// How long `return(delay)` waits: longer than the shortest lease that may be configured.
pub const DELAY: std::time::Duration = std::time::Duration::from_secs(2);

/// How long `return(pause)` waits: long enough for a test to take notice.
pub const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

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
    /// Where a test can make the program fail, in the order of the data's way.
    Point {
        /// Producer: an import is written, not committed.
        OpenImport = "open_import",
        /// Producer: a chunk is staged.
        Stage = "stage",
        /// Producer: errors of records are about to be staged.
        StageIssues = "stage_issues",
        /// Producer: everything is staged, the import is not received.
        BeforeReceipt = "before_receipt",
        /// Producer: a transaction whose answer may be lost is about to be committed.
        StoreCommit = "store_commit",
        /// Producer: the import is received, the upload is not answered.
        AfterReceipt = "after_receipt",
        /// Producer: a sweep begins.
        Sweep = "sweep",
        /// Producer: the dispatcher is about to look at the lanes.
        Look = "look",
        /// Producer: chunks are chosen, not claimed.
        Claim = "claim",
        /// Producer: chunks are claimed, and the dispatcher does not know yet.
        Claimed = "claimed",
        /// Producer: a chunk is claimed, its message is not published.
        BeforePublish = "before_publish",
        /// Producer, in the queue: a message is about to be sent.
        Publish = "publish",
        /// Producer, in the queue: a message is stored, and consumers are not notified yet.
        Published = "published",
        /// Producer: a chunk's message is published.
        AfterPublish = "after_publish",
        /// Producer: a chunk that the broker did not take is about to be given back.
        Unclaim = "unclaim",
        /// Producer: an import without open chunks is completed, not committed.
        Complete = "complete",
        /// Producer: a dead letter is taken, its chunk is not looked at.
        TakeDeadLetter = "take_dead_letter",
        /// Worker, in the queue: a consumer is about to start.
        OpenSession = "open_session",
        /// Worker: the consumer ends by itself.
        ConsumerEnds = "consumer_ends",
        /// Worker: a delivery is received, nothing is done.
        Consume = "consume",
        /// Worker: the options of an import are about to be read.
        Rules = "rules",
        /// Worker: the chunk's row is locked, nothing is written.
        ApplyLocked = "apply_locked",
        /// Worker: users are found and records are planned, or users are about to be deleted unread; nothing is committed.
        Planned = "planned",
        /// Worker: new users are copied in.
        Copied = "copied",
        /// Worker: users that were there are updated.
        Updated = "updated",
        /// Worker: users are written, the chunk is not finished.
        ApplyWritten = "apply_written",
        /// Worker: the chunk is finished, in its transaction.
        Finished = "finished",
        /// Worker: everything is written, the commit is not sent.
        BeforeCommit = "before_commit",
        /// Worker: the chunk is committed, its message is not acked.
        AfterCommit = "after_commit",
        /// Worker: a delivery is about to be acked.
        BeforeAck = "before_ack",
        /// Worker: the message is acked.
        AfterAck = "after_ack",
        /// Worker: the dispatcher is about to be woken.
        Wake = "wake",
        /// Worker: an attempt is about to be counted.
        CountAttempt = "count_attempt",
        /// Worker: a chunk is about to be deferred.
        Defer = "defer",
        /// Worker: a chunk is dead, not committed.
        Dead = "dead",
        /// Worker, in the queue: a copy of a message is among the dead letters, the message is not acked.
        DeadLettered = "dead_lettered",
        /// Producer: failed chunks are reopened, not committed.
        Retry = "retry",
        /// Producer: an import is cancelled, not committed.
        Cancel = "cancel",
        /// Producer: a single user is written, not committed.
        SingleWrite = "single_write",
        /// Producer: a single user is committed, not answered.
        SingleWritten = "single_written",
        /// Producer: the delivery of a webhook is claimed, nothing is sent.
        WebhookClaimed = "webhook_claimed",
        /// Producer: the delivery of a webhook is answered, nothing is noted.
        WebhookSent = "webhook_sent",
        /// Worker, in the queue of rows: messages are about to be claimed.
        RowClaim = "row_claim",
        /// Worker, in the queue of rows: messages are about to be acked.
        RowAck = "row_ack",
    }
}

table! {
    /// A fault that was fixed, or one that must never be introduced. Each is caught by the test named in docs/reliability.md.
    Mutant {
        /// The message is acked before the chunk is committed.
        AckBeforeCommit = "ack_before_commit",
        /// Records that were not read whole are given back as they were, secrets under wrong names included.
        ShowUnread = "show_unread",
        /// Only four words in a name make it one of a secret.
        FewSecretNames = "few_secret_names",
        /// Unknown keys of `password` and `mfa` are given back.
        ShowUnknownSecretKeys = "show_unknown_secret_keys",
        /// Secrets are in chunks and messages as they were sent.
        PlainSecrets = "plain_secrets",
        /// The key of an import's secrets outlives the import.
        KeepSecretKey = "keep_secret_key",
        /// All errors of a record are reported, however many there are.
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
        /// A client that reads nothing keeps its connection.
        AnswersNeedNoReader = "answers_need_no_reader",
        /// A request waits for its change when its client is gone.
        WaitsForNobody = "waits_for_nobody",
        /// Who follows events is not told after which one that begins.
        FollowersBeginNowhere = "followers_begin_nowhere",
        /// Any number of pings of one webhook wait.
        AnyPings = "any_pings",
        /// The method of a request is a label as it was sent.
        AnyMethod = "any_method",
        /// Each look at readiness asks the broker.
        AskEachTime = "ask_each_time",
        /// Answers have no headers against framing and caching.
        BareAnswers = "bare_answers",
        /// Tokens do not expire.
        TokensForEver = "tokens_for_ever",
        /// Identifiers may contain invisible characters.
        InvisibleCharacters = "invisible_characters",
        /// Only the beginning of a cell is escaped against formulas.
        GuardBeginnings = "guard_beginnings",
        /// A list sums the chunks of imports that have ended.
        SumAgain = "sum_again",
        /// Each setting is checked by itself.
        SettingsAlone = "settings_alone",
        /// Tenants have no quotas of records and bytes.
        NoQuota = "no_quota",
        /// Any number of imports of a tenant under way.
        AnyImports = "any_imports",
        /// Any number of records in a file.
        AnyRecords = "any_records",
        /// A request may take as long as it likes.
        NoRequestTimeout = "no_request_timeout",
        /// An unused session of the console does not end.
        ConsoleNeverIdle = "console_never_idle",
        /// The console takes forms that are not its own.
        ConsoleTakesAnyForm = "console_takes_any_form",
        /// A form of the console is read before it is known who sends it.
        FormsOfStrangersRead = "forms_of_strangers_read",
        /// Whoever signs in at the console comes to the overview, whatever its token may see.
        SignInToOverview = "sign_in_to_overview",
        /// A token of a tenant's operator opens the other tenants too.
        OpsOpensAllTenants = "ops_opens_all_tenants",
        /// A session stays in the tenant that was opened in it, whatever became of its token's scopes and of the tenant.
        OpenedForGood = "opened_for_good",
        /// A form of a page that shows one tenant is accepted when its session has opened another one since.
        FormsOfAnyTenant = "forms_of_any_tenant",
        /// A token is made at the console with any scopes.
        ScopesUnchecked = "scopes_unchecked",
        /// A token may be made that expires later than any calendar goes.
        TokensOfAnyLength = "tokens_of_any_length",
        /// What an operator does in another tenant is in its audit without the name of the token.
        OperatorUnnamed = "operator_unnamed",
        /// The console shows people's values to everybody.
        ConsoleUnmasked = "console_unmasked",
        /// A page of failed records is as long as the one before had room for.
        PagesByNumber = "pages_by_number",
        /// A chunk that is applied is applied again when its message comes again.
        NoLedger = "no_ledger",
        /// A queue whose files the broker has lost is left as it is.
        BrokenQueueStays = "broken_queue_stays",
        /// A queue at which the broker fails once is deleted, though somebody may just be declaring it.
        BrokenAtOnce = "broken_at_once",
        /// A message that no queue takes passes for a stored one.
        PublishWithoutMandatory = "publish_without_mandatory",
        /// Of several gzip members in one upload only the first is read.
        FirstGzipMemberOnly = "first_gzip_member_only",
        /// Counts are what was meant to be done, not what was done.
        CountsFromMemory = "counts_from_memory",
        /// An upload is answered before its receipt is committed.
        AnswerBeforeReceipt = "answer_before_receipt",
        /// One query forgets whose import it is.
        MissingTenantFilter = "missing_tenant_filter",
        /// A channel on which the broker refused a message is used again.
        KeepRefusedChannel = "keep_refused_channel",
        /// Attempts are never counted.
        AttemptsNotCounted = "attempts_not_counted",
        /// A chunk with a record that the database refuses is not split.
        SplittingOff = "splitting_off",
        /// An upload that stops half-way passes for a whole one.
        HalfIsWhole = "half_is_whole",
        /// An unsettled delivery is acked when it is dropped.
        DroppedIsAcked = "dropped_is_acked",
        /// Errors of records are not stored.
        IssuesForgotten = "issues_forgotten",
        /// A workbook is opened without looking at what it unpacks to.
        WorkbookUnchecked = "workbook_unchecked",
        /// A sheet's rows are read as lines of a table that a program wrote.
        SheetRowsAreLines = "sheet_rows_are_lines",
        /// A profile's options count more than those that are given beside it.
        ProfileCountsMore = "profile_counts_more",
        /// Profiles that are saved at the same moment each count the others as not there.
        ProfilesCountedAtOnce = "profiles_counted_at_once",
        /// A retry of one cause drives all failed records.
        RetryOfAllCauses = "retry_of_all_causes",
        /// A file whose first records nearly all fail is applied.
        NoBrake = "no_brake",
        /// Numbers under a pointer are rewritten with the precision of a float.
        PointersLoseDigits = "pointers_lose_digits",
        /// A line separator within a name is stored.
        LineSeparatorsInNames = "line_separators_in_names",
        /// What cannot be seen at the ends of a username is taken off.
        UsernamesStripped = "usernames_stripped",
        /// Words for an empty cell are values.
        NullWordsAreValues = "null_words_are_values",
        /// Cells with several names are split at commas, whatever the options say.
        ListsAtCommas = "lists_at_commas",
        /// The detected date order of an import is not shown.
        DatesStayAuto = "dates_stay_auto",
        /// An order of days is taken though each day fits both.
        DaysUnproved = "days_unproved",
        /// The order that one column proves is taken for the days of all of them.
        OneColumnProvesAll = "one_column_proves_all",
        /// A server's error is printed with the field before it and without its place.
        ServerErrorWithoutPlace = "server_error_without_place",
        /// The commands do not ask a server why records were skipped.
        SkipsWithoutReason = "skips_without_reason",
        /// `muster doctor` asks no server, and sets a data folder up.
        DoctorSetsUp = "doctor_sets_up",
        /// Letters beyond ASCII are dropped from the names of columns before they are compared.
        HeaderDropsLetters = "header_drops_letters",
        /// A file of failed records is read as the options say, not as it was written.
        FailedFileByOptions = "failed_file_by_options",
        /// A file is read in the encoding that was named, though its bytes are UTF-8.
        EncodingAtItsWord = "encoding_at_its_word",
        /// Text that was decoded wrongly before is stored.
        MisdecodedText = "misdecoded_text",
        /// A file of failed records says not of which import they are.
        FailedWithoutOrigin = "failed_without_origin",
        /// A corrected record counts as applied whatever its outcome is.
        MendedAtItsWord = "mended_at_its_word",
        /// A record counts as corrected although the columns of its mistake were left out.
        MendedWithoutColumns = "mended_without_columns",
        /// A file of failed records is read as if nothing were known of the import that they come from.
        MendedReadAnew = "mended_read_anew",
        /// Undoing an import also removes what other imports corrected of its failed records.
        UndoneTakesMendedAlong = "undone_takes_mended_along",
        /// The sum of a family is read at each look at an import that goes on.
        FamilyAtEachLook = "family_at_each_look",
        /// A receipt is taken for good whatever its signature says.
        SignatureUnchecked = "signature_unchecked",
        /// A file is checked against its receipt within the limits of who checks it, and however it was read.
        VerifiedByOwnLimits = "verified_by_own_limits",
        /// What a request about a single user changed is not kept.
        RequestsLeaveNoTrace = "requests_leave_no_trace",
        /// An erased user's history stays.
        ErasedStaysInHistory = "erased_stays_in_history",
        /// An erased user whom an import inserted has a history still.
        ErasedStaysInSheets = "erased_stays_in_sheets",
        /// What an import did to a user has the time at which its chunk was applied last.
        HistoryByLastTime = "history_by_last_time",
        /// A page of a history looks at the sheets of all chunks of imports whose before-images are gone.
        GoneWithoutBound = "gone_without_bound",
        /// A worker waits for the database without a limit.
        NoDeadline = "no_deadline",
        /// What a frozen worker has locked stays locked for as long as the store's own limit says.
        LongIdleInTransaction = "long_idle_in_transaction",
        /// A worker that is asked to stop waits without a limit.
        StopWithoutGrace = "stop_without_grace",
        /// Only what a list of SQLSTATE classes calls data is split.
        SplitByCodes = "split_by_codes",
        /// Each record that the database refuses fails, also when it refuses everything.
        RefusedWithoutProbe = "refused_without_probe",
        /// Records that were refused while everything was fail, although what refused everything ended meanwhile.
        DoubtfulFail = "doubtful_fail",
        /// What is checked at the commit is not checked for parts of a chunk.
        DeferredUnchecked = "deferred_unchecked",
        /// A chunk that the database refuses keeps its delivery instead of being deferred.
        SickHolds = "sick_holds",
        /// A chunk that is redelivered to the worker that holds it counts as one whose worker died.
        RedeliveredIsSuspect = "redelivered_is_suspect",
        /// What a newer program wrote spends attempts.
        NewerSpendsAttempts = "newer_spends_attempts",
        /// A number of a row that cannot be is taken for none.
        ImpossibleIsNothing = "impossible_is_nothing",
        /// A message's import is believed.
        ImportFromMessage = "import_from_message",
        /// Metrics count all records of a chunk whenever it is applied.
        CountsWholeChunks = "counts_whole_chunks",
        /// A worker whose consumer ended does nothing more.
        EndedConsumerStops = "ended_consumer_stops",
        /// Dispatched chunks that are silent are published again although their messages wait in the queue (D11).
        PublishAgain = "publish_again",
        /// Claiming waits for the row of a chunk that is past its lease (D10).
        ClaimWaits = "claim_waits",
        /// A stalled chunk keeps its place in the window (D10).
        PlaceForEver = "place_for_ever",
        /// The youngest import goes first (V7).
        YoungestFirst = "youngest_first",
        /// No place is kept for small imports (V7).
        NoPlaceForSmall = "no_place_for_small",
        /// All lanes of an import that the database refuses are tried again, each by itself (P8).
        AllLanesProbe = "all_lanes_probe",
        /// A session that froze in the middle of a copy keeps its locks (F6).
        StuckCopiesStay = "stuck_copies_stay",
        /// Lost chunks are not looked for (V8).
        WaitForLease = "wait_for_lease",
        /// A task that panicked is not started again (D18).
        NotStartedAgain = "not_started_again",
        /// Readiness says nothing of a dispatcher that makes no rounds (D18).
        ReadyWithoutDispatcher = "ready_without_dispatcher",
        /// A dead letter that cannot be dealt with stops the sweep (D19).
        LetterStopsSweep = "letter_stops_sweep",
        /// A dead letter's chunk dies although it has attempts left (D19).
        InnocentDies = "innocent_dies",
        /// Workers that died over a chunk are not counted when its message is a dead letter (V11).
        BegunIsInnocent = "begun_is_innocent",
        /// One import that cannot be deleted stops retention (D19).
        RetentionInOne = "retention_in_one",
        /// Stopping waits for the round that is under way, however long that takes.
        StopWaits = "stop_waits",
        /// Retry deletes the errors of every failed record of the import (D1).
        RetryDeletesAllErrors = "retry_deletes_all_errors",
        /// Completing an import looks at its chunks as they were before it waited for a retry (D2).
        CompletingSeesTheOldMoment = "completing_sees_the_old_moment",
        /// Completing an import waits for concurrent transitions of it, and all other imports wait too (D10).
        CompletingWaits = "completing_waits",
        /// Retry ignores an import that is completed with open chunks (D2).
        RetryLeavesOpenChunks = "retry_leaves_open_chunks",
        /// A page of records is read at several moments: a retry in between takes the error of a failed record away (D1).
        PageOfSeveralMoments = "page_of_several_moments",
        /// The receipt does not check the content of the store.
        ReceiptUnchecked = "receipt_unchecked",
        /// The receipt commits on a connection that staged nothing, and does not look either.
        ReceiptElsewhere = "receipt_elsewhere",
        /// An error of a commit is taken for its failure.
        CommitAnswerTrusted = "commit_answer_trusted",
        /// A dead letter gives back, or ends, the chunk of its number, whatever import it names (D14).
        LettersOfAnyImport = "letters_of_any_import",
        /// Workers remember an import's rules when the database may have been taken back to before them.
        RulesOutliveTheirDatabase = "rules_outlive_their_database",
        /// A commit whose answer was lost is judged by the transaction's number, which a crashed server gives away again (D3).
        CommitNumberTrusted = "commit_number_trusted",
        /// An import that was aborted keeps its idempotency key.
        AbortedKeepsKey = "aborted_keeps_key",
        /// A receiver that is gone keeps its idempotency key for as long as its lease.
        SilentKeepsKey = "silent_keeps_key",
        /// An idempotency key covers only the options, not the body.
        KeyWithoutBody = "key_without_body",
        /// Records that fail while staging are not counted.
        StagedFailuresUncounted = "staged_failures_uncounted",
        /// A connection that the pool gives out may be inside a transaction.
        PoolUncleaned = "pool_uncleaned",
        /// A connection of the pool that leads nowhere is waited for without a limit (D5).
        PoolWaitsForSilent = "pool_waits_for_silent",
        /// A dispatcher waits for the database without a limit (D5).
        StoreWithoutDeadline = "store_without_deadline",
        /// A broker that is away is tried with as many chunks as the window holds.
        WholeWindowRefused = "whole_window_refused",
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
        /// A retried record is applied over what a later record of its file did (D12).
        RetryOverwritesLaterRecords = "retry_overwrites_later_records",
        /// Failed authentications are not bounded.
        GuessWithoutEnd = "guess_without_end",
        /// Failed authentications are counted only by address.
        GuessesFromEverywhere = "guesses_from_everywhere",
        /// A credential that is none is refused as soon as that is known.
        FailAtOnce = "fail_at_once",
        /// Credentials of a disabled tenant open what they did.
        DisabledIsServed = "disabled_is_served",
        /// Chunks of a disabled tenant go to the workers.
        DisabledGoOn = "disabled_go_on",
        /// An erased person stays in the chunks.
        ErasedStaysStaged = "erased_stays_staged",
        /// An erased person stays beside the errors of their records.
        ErasedStaysInIssues = "erased_stays_in_issues",
        /// Records of an import are read whosever it is.
        RecordsOfAnyTenant = "records_of_any_tenant",
        /// While the broker takes nothing, each wake-up claims a chunk and gives it back.
        ClaimsInAnOutage = "claims_in_an_outage",
        /// A worker that stops in an outage leaves its notes in the chunks that it gives back, which count as its death.
        NoteLeftBehind = "note_left_behind",
        /// A worker does not note itself in the chunk that it begins.
        BegunUnnoted = "begun_unnoted",
        /// A worker applies as many large chunks at once as small ones.
        RoomForAll = "room_for_all",
        /// One import that a newer program wrote makes the list of all imports an error.
        NewerStopsTheList = "newer_stops_the_list",
        /// Records of a dead chunk that cannot be read fail without an error.
        UnreadableWithoutErrors = "unreadable_without_errors",
        /// Counts and errors of a front door's view are of different moments.
        ViewOfSeveralMoments = "view_of_several_moments",
        /// The parts of a program stop one after the other.
        GracesAddUp = "graces_add_up",
        /// After a fail-over the rows queue wakes and listens by the server that is gone.
        NotifierKeepsItsServer = "notifier_keeps_its_server",
        /// Looking for the server that takes the writes opens sockets that notice nothing.
        ProbesUntuned = "probes_untuned",
        /// An error of a retry's or a cancel's commit is taken for its failure.
        TransitionTrusted = "transition_trusted",
        /// An import that makes no progress looks like one that does.
        StallsInSilence = "stalls_in_silence",
        /// Each problem of a chunk resets the time since which it has problems.
        TroubleBeginsAnew = "trouble_begins_anew",
        /// The reason why the queue does not take a chunk is only in the log of one producer.
        UnpublishedInSilence = "unpublished_in_silence",
        /// A page waits for a database that does not answer as long as a request may take.
        PagesWaitForDatabase = "pages_wait_for_database",
        /// A chunk that breaks every connection on which it is applied is tried for ever, and nobody is told.
        BreaksForEver = "breaks_for_ever",
        /// An end is foretold although nothing has come to an end for long.
        ForeseenInSilence = "foreseen_in_silence",
        /// What there is of imports and chunks is not among the metrics.
        FiguresOfOneProcess = "figures_of_one_process",
        /// What a family corrected of an import is not noted with it.
        MendedStayAlarms = "mended_stay_alarms",
        /// At the console a column that is not known is left out without a word.
        UnknownLeftOutUnsaid = "unknown_left_out_unsaid",
        /// A worker that the database leaves waiting says it in its log alone.
        WaitsInSilence = "waits_in_silence",
        /// A cancelled import stays so.
        CancelledForGood = "cancelled_for_good",
        /// A follower of events continues although its token was revoked.
        RevokedFollowsOn = "revoked_follows_on",
        /// A stop waits for followers of events.
        StopWaitsForFollowers = "stop_waits_for_followers",
        /// A series is there once it was first counted, and not before.
        SeriesAppearLate = "series_appear_late",
        /// Failures are counted by code again and again where a retry drives them once more.
        CodesCountedAgain = "codes_counted_again",
        /// What a function of the database raises is shown, whatever it quotes.
        RaisedWordsShown = "raised_words_shown",
        /// What users had before is not kept.
        BeforeImagesForgotten = "before_images_forgotten",
        /// What users had before is kept for as long as the import.
        BeforeImagesForEver = "before_images_for_ever",
        /// An erased person stays in what users had before.
        ErasedStaysInImages = "erased_stays_in_images",
        /// A user that changed since still gets its values from before the import.
        UndoOverwrites = "undo_overwrites",
        /// A later chunk of a plan does not meet what earlier ones would leave.
        PlanForgetsEarlier = "plan_forgets_earlier",
        /// A chunk that is planned again does not hold the lock of the plan meanwhile.
        PlanLockTakenBack = "plan_lock_taken_back",
        /// An import with several records about one user passes for one whose records are independent.
        RepeatsTakenForOthers = "repeats_taken_for_others",
        /// The same with one whose records name other unique values.
        OtherNamesUnseen = "other_names_unseen",
        /// A number that an import only wrote in another way stays so after its undo.
        UndoLeavesRewritten = "undo_leaves_rewritten",
        /// Unique values that users give up in the plan of an undo are not found by later chunks of it.
        UndoPlanForgetsLetGo = "undo_plan_forgets_let_go",
        /// A chunk of a planned undo leaves users without memberships that it does not change itself.
        PlanForgetsMemberships = "plan_forgets_memberships",
        /// Unique values that users give up in a plan are not found by later chunks of it.
        PlanForgetsGivenUp = "plan_forgets_given_up",
        /// Two chunks that are planned at the same moment do not see each other.
        PlanUnchecked = "plan_unchecked",
        /// Chunks of different lanes are applied in another order than they were planned in.
        PlanOrderForgotten = "plan_order_forgotten",
        /// A record that differs from its plan is still applied.
        DriftUnseen = "drift_unseen",
        /// A request whose client goes away before the answer leaves neither its log line nor its span.
        GoneClientUntold = "gone_client_untold",
        /// The name of a file by which imports were chosen stands in the audit.
        AuditKeepsFileNames = "audit_keeps_file_names",
        /// The first token, which a program makes at its first start, is not in the audit.
        FirstTokenUnaudited = "first_token_unaudited",
        /// A change of a webhook counts in the audit what was given, also where it was so before.
        WebhookGivenIsChanged = "webhook_given_is_changed",
        /// A plan shows the id that stands for a group which does not exist yet.
        PlannedGroupByNumber = "planned_group_by_number",
        /// What an undo takes back is not compared with its plan.
        UndoPlanUnbound = "undo_plan_unbound",
        /// Earlier changes of a user are compared with it although an undo leaves a later one out, and count as changed by somebody.
        LeftOutPoisonsEarlier = "left_out_poisons_earlier",
        /// A retry of an undo does not forget of whom a change was left out.
        RetryLeavesLeftOut = "retry_leaves_left_out",
        /// Plans contain the arrays and objects of users unchanged, and deeply nested ones cannot be read.
        PlanNestsValues = "plan_nests_values",
        /// A plan that cannot be read stops every erasure.
        BrokenPlanStopsErasing = "broken_plan_stops_erasing",
        /// A record counts as changed since its plan if a number is only written differently.
        DriftComparesDigits = "drift_compares_digits",
        /// A user is changed by a number of its metadata that the store gives back in the same way.
        MetadataComparesDigits = "metadata_compares_digits",
        /// A record whose user the plan makes is applied to a user whom somebody else made meanwhile.
        DriftForgetsMaker = "drift_forgets_maker",
        /// A transition of a planned import deletes all keys of its plan while a client waits.
        TransitionDeletesKeys = "transition_deletes_keys",
        /// Chunks of a plan that write nothing are read by every later chunk with one of their values.
        PlanReadsFailed = "plan_reads_failed",
        /// One import that cannot be cancelled blocks the cancelling of all others that were not started.
        UnstartedInOne = "unstarted_in_one",
        /// An erased person stays in plans.
        ErasedStaysInPlans = "erased_stays_in_plans",
        /// Plans show values of users to everybody who may read imports.
        PlanUnmasked = "plan_unmasked",
        /// Planned changes are found only by the names of the sums.
        FieldsAsSummed = "fields_as_summed",
        /// An import that is planned makes its group at once.
        PlanMakesGroups = "plan_makes_groups",
        /// An import whose group the plan was to make is applied without it.
        PlannedGroupForgotten = "planned_group_forgotten",
        /// A page of planned records has as many as were asked for, however large they are.
        PlannedPagesByNumber = "planned_pages_by_number",
        /// A user that an import inserted is deleted by its undo whatever happened to it since.
        UndoDeletesTouched = "undo_deletes_touched",
        /// An undo takes the changes back in the order in which they were made.
        UndoForwards = "undo_forwards",
        /// Each lane of an undo goes by itself, also where users exchanged unique values.
        UndoManyLanes = "undo_many_lanes",
        /// A request that changed a user since is not named by an undo.
        UndoForgetsRequests = "undo_forgets_requests",
        /// An undo that is limited to a code takes everything back.
        UndoOfAllCodes = "undo_of_all_codes",
        /// An undo begins at once, without a plan.
        UndoAtOnce = "undo_at_once",
        /// An import may be undone any number of times.
        UndoTwice = "undo_twice",
        /// A deleted user leaves its memberships and credentials behind.
        UndoLeavesParts = "undo_leaves_parts",
        /// Inserted users that are deleted unread are deleted at any version.
        UndoDeletesUnread = "undo_deletes_unread",
        /// A record whose keys are not stored yet counts as one that says what is stored.
        NewKeysUnseen = "new_keys_unseen",
        /// A user that an import inserted and changed later counts as touched by somebody else.
        UndoForgetsItsSteps = "undo_forgets_its_steps",
        /// An undo leaves a flag of a verified value beside a value that was never verified.
        UndoLeavesFlags = "undo_leaves_flags",
        /// An undo after those of parts leaves fields at values in between.
        UndoPartsInBetween = "undo_parts_in_between",
        /// The failed records of an undo tell what users had to those who may not see users.
        UndoShowsUsers = "undo_shows_users",
        /// An erasure does not wait for an undo that is being opened.
        ErasureOvertakesUndo = "erasure_overtakes_undo",
        /// An undo puts users into organizations, groups and roles that the catalog no longer has.
        UndoEnrolsNowhere = "undo_enrols_nowhere",
        /// A plan shows values of keys that look like those of secrets.
        PlansShowSecrets = "plans_show_secrets",
        /// An undo takes what another undo of the same import gave back for what somebody else did.
        UndoForgetsGivenBack = "undo_forgets_given_back",
        /// A later import that changed nothing of a user is named as the one that changed it.
        UndoBlamesTheUnchanged = "undo_blames_the_unchanged",
        /// A cancelled undo is resumed, and an undone import driven again, whatever another undo does meanwhile.
        UndosAtOnce = "undos_at_once",
        /// A group of failures is told with the fields of its first record.
        FirstForAll = "first_for_all",
        /// An undo of which a retry took back all that had failed is no whole one: the import may be undone once more.
        HealedUndoIsNotWhole = "healed_undo_is_not_whole",
        /// A membership that an undo gives back outlives its user.
        UndoEnrolsNobody = "undo_enrols_nobody",
        /// Numbers are other ones where they are only written in another way.
        UndoComparesDigits = "undo_compares_digits",
        /// What the queue says of a chunk takes the place of what a worker met.
        QueueHidesTheWorker = "queue_hides_the_worker",
        /// A registration for an application is no touch of its user.
        RegistrationIsNoTouch = "registration_is_no_touch",
        /// In a file for Bitcaster's importer a stray quote fails its record.
        StrayQuoteFails = "stray_quote_fails",
        /// Values of `{}` cells lose their blanks also where Bitcaster's importer keeps them.
        CellBlanksLost = "cell_blanks_lost",
        /// A user that has the e-mail address of a registration and no username is another user.
        NameOfAnotherUser = "name_of_another_user",
        /// A blank before the name of a column shifts no key, as it does in Bitcaster's importer.
        KeyWithoutItsShift = "key_without_its_shift",
        /// An unknown column refuses a file also where Bitcaster's importer never comes to look at it.
        UnknownColumnAtOnce = "unknown_column_at_once",
        /// A header without a token, or with two, has the answer of an unknown token at the front door for Bitcaster.
        HeaderIsToken = "header_is_token",
        /// A body of null is one of a wrong type at the front door for Bitcaster.
        NullIsOfAType = "null_is_of_a_type",
        /// Only digits make a whole number of a custom attribute.
        IntegersAsWritten = "integers_as_written",
        /// Numbers of custom attributes have no bounds.
        NumbersWithoutBounds = "numbers_without_bounds",
        /// Errors of a secret are reported before errors of the object that contains it.
        SecretBeforeSchema = "secret_before_schema",
        /// A username may be of letters that only fold to ASCII, where it is to be of ASCII.
        UsernamesFoldToAscii = "usernames_fold_to_ascii",
        /// An account outside its period of validity is called normal.
        NormalOutsideValidity = "normal_outside_validity",
        /// A validity that ends before it begins is reported before a taken value.
        ValidityBeforeIdentity = "validity_before_identity",
        /// Addresses of pages are judged by their length and letters.
        UrlsByTheirLetters = "urls_by_their_letters",
        /// Only the form of language tags is checked.
        LocalesByTheirForm = "locales_by_their_form",
        /// At the Authgear front door, only the errors that the engine found are reported for a record.
        CausesOfTheEngine = "causes_of_the_engine",
        /// Front doors explain errors by the bounds of today, not by those that the values broke.
        BoundLookedUpAgain = "bound_looked_up_again",
        /// Flags in the template for CCAI Platform are numbers.
        FlagsAreNumbers = "flags_are_numbers",
        /// Errors of parameters are those of the types that the program reads them into.
        TypesInErrors = "types_in_errors",
        /// A table whose line ends were lost on its way is taken for its header.
        LostLinesTaken = "lost_lines_taken",
        /// The description of the API has defaults, which generated clients send as if their callers had set them.
        DefaultsInDocument = "defaults_in_document",
        /// Pages of events have no links.
        EventsWithoutLinks = "events_without_links",
        /// The description of the API lacks an error that a route gives.
        ErrorsUntold = "errors_untold",
        /// The description of the API has an error that a route never gives.
        ErrorsThatCannotBe = "errors_that_cannot_be",
        /// A request that took too long is answered in the words of another door than its own.
        OtherDoorsWords = "other_doors_words",
        /// The front door for Bitcaster does not say when to come back.
        NeverComeBack = "never_come_back",
        /// A webhook gets the next event while the previous delivery is still running.
        WebhookAtOnce = "webhook_at_once",
        /// A delivery counts as made once it is claimed.
        WebhookNotedFirst = "webhook_noted_first",
        /// A receiver that refuses further deliveries still gets them.
        GoneGoesOn = "gone_goes_on",
        /// Deliveries follow redirects.
        WebhookRedirects = "webhook_redirects",
        /// A webhook may lead to any address.
        WebhookAnyTarget = "webhook_any_target",
        /// The addresses of a webhook's name are checked, and then it is resolved once more to connect.
        WebhookResolvesTwice = "webhook_resolves_twice",
        /// Deliveries are signed with only the new secret as soon as there is one.
        OldSecretForgotten = "old_secret_forgotten",
        /// The answer of a receiver is read to its end.
        WholeAnswer = "whole_answer",
        /// An address of a registration takes the place of one that has its name, at the front door for Bitcaster.
        RegistrationReplaces = "registration_replaces",
        /// Looking for a record by its line or identifier takes as long as it takes.
        LooksForEver = "looks_for_ever",
        /// A record is looked for as if each had a line of its own, in every format.
        RecordsHaveLines = "records_have_lines",
        /// The console checks only the newest imports for what needs attention.
        NewestImportsAlone = "newest_imports_alone",
        /// A picture of records by time leaves stretches out that begin at other moments than its own.
        StretchesLost = "stretches_lost",
        /// A catalog is saved at the console even if it was changed since it was shown.
        CatalogSavedBlindly = "catalog_saved_blindly",
        /// A full disk and its like are told by their SQLSTATE alone.
        ConditionsUnnamed = "conditions_unnamed",
        /// Nothing is written into the audit.
        AuditForgets = "audit_forgets",
        /// A profile is saved at the console whatever became of it since it was shown, and over another of its name.
        ProfileSavedBlindly = "profile_saved_blindly",
        /// The console's forms have only the options that most imports ask for.
        FormOfFewOptions = "form_of_few_options",
        /// Of a profile's columns nothing stays where others are given beside it and both are saved.
        GivenColumnsAlone = "given_columns_alone",
        /// A parameter may hold a NUL, which the database refuses.
        NulInParameters = "nul_in_parameters",
        /// What is told of a record may hold a NUL, which no JSON of the database can be read with.
        NulInTexts = "nul_in_texts",
        /// A worker that finds nothing to do leaves what it noted before.
        NoteOfNothing = "note_of_nothing",
        /// A chunk that was staged again before its worker deferred it stays noted as begun.
        LateDeferralKeepsNote = "late_deferral_keeps_note",
        /// A chunk whose turn comes after another's counts as deferred.
        WaitingIsADeferral = "waiting_is_a_deferral",
        /// Reads may take every connection to the database.
        ReadsTakeAll = "reads_take_all",
        /// Browsers keep a file of the console for good, under whatever address it was asked for.
        AnyAddressForGood = "any_address_for_good",
        /// An upload that waits for the end of its import keeps its place.
        WaitingKeepsPlace = "waiting_keeps_place",
        /// A page of users does not say where the next one is.
        UsersWithoutLinks = "users_without_links",
        /// Parts of values that are no addresses are shown to those who may not see people.
        EndingsShown = "endings_shown",
        /// Only the first error in a list of addresses is reported.
        FirstAddressAlone = "first_address_alone",
        /// The proposed flags are parsed from the message, which quotes names of the file.
        FlagsFromMessages = "flags_from_messages",
        /// Letters of JSON are not looked at: text that was decoded wrongly is taken as it is.
        JsonLettersUnseen = "json_letters_unseen",
        /// Ambiguous names are accepted without a warning.
        UnsureNamesTaken = "unsure_names_taken",
        /// Of several columns of one field the first one counts, also where nothing is in it.
        HeaderChoosesColumn = "header_chooses_column",
        /// What a pointer leads into is left out, also where the mapping has its name.
        PointersDropTheRest = "pointers_drop_the_rest",
        /// A null that a pointer leads to is nothing.
        PointersSkipNulls = "pointers_skip_nulls",
        /// Zeros, times and durations that a sheet shows are lost.
        WorkbookValuesLost = "workbook_values_lost",
        /// A record about the user of an earlier one is accepted without a warning.
        RepeatsUntold = "repeats_untold",
        /// It is not reported that no more users of a file are remembered.
        FullTableUntold = "full_table_untold",
        /// An upload of which nobody is told of repeated users remembers them all the same.
        UntoldRepeatsRemembered = "untold_repeats_remembered",
        /// The slot of a value in the table of known values can be predicted by the author of a file.
        HomesUnkeyed = "homes_unkeyed",
        /// Each upload takes as much memory for its users as all of them together may have.
        MemoryForEach = "memory_for_each",
        /// What a record is warned of when it is applied takes the place of what it was warned of before.
        LaterWarningsReplace = "later_warnings_replace",
        /// Each record about the user of an earlier one is reported individually, however many there are.
        RepeatsAllTold = "repeats_all_told",
        /// What a record was warned of while it was received is gone once it is tried again.
        RetryForgetsWarnings = "retry_forgets_warnings",
        /// `Name` is a whole name, whatever stands beside it.
        NameIsWhole = "name_is_whole",
        /// The lines before a sheet's header are those of the text that is made of it.
        SheetLinesCounted = "sheet_lines_counted",
        /// Only the first line of a file of failed records is looked at for its mark, also where its header goes on.
        MarkInFirstLine = "mark_in_first_line",
        /// A second list under the key that led to the records is not read.
        SecondListUnread = "second_list_unread",
        /// Digits that a spreadsheet shortens stand in a file of failed records as they are.
        DigitsUnguarded = "digits_unguarded",
        /// Every apostrophe before a cell of a file of failed records is taken off.
        EveryApostropheOff = "every_apostrophe_off",
        /// An error of a spreadsheet in the metadata is accepted without a warning.
        MetadataErrorsUntold = "metadata_errors_untold",
        /// A phone number of a country may have digits behind those that its plan has.
        SurplusDigits = "surplus_digits",
        /// A cell that a short row lacks is null, also where empty cells are something else.
        MissingCellsNull = "missing_cells_null",
        /// Windows-1252 is proposed for every file whose letters one of its languages has, whatever else they may be.
        WesternByLettersAlone = "western_by_letters_alone",
        /// Only accents of western languages are seen to have been decoded wrongly.
        WesternMisreadingsAlone = "western_misreadings_alone",
        /// What looks like a number in a cell with an object becomes one, whatever it was written like.
        CellDigitsLost = "cell_digits_lost",
        /// Numbers of JSON may lose digits where they are kept.
        DigitsLost = "digits_lost",
        /// What a file of failed records hides is taken for a value when that file comes back.
        RedactedTaken = "redacted_taken",
        /// A file of failed records has an empty value of its type in the place of a hidden number, flag or list.
        HiddenByType = "hidden_by_type",
        /// Records that fail again are reported without advice.
        RetryForgetsHints = "retry_forgets_hints",
        /// A full name is split at its first comma, whatever comes after it.
        NamesSplitAtFirstComma = "names_split_at_first_comma",
        /// The text after the comma of a full name is a given name, even if it is a suffix such as `Jr.`
        SuffixesAreGivenNames = "suffixes_are_given_names",
        /// What a full name is split into counts more than what the record says itself.
        SplitNamesCountMore = "split_names_count_more",
        /// It is not reported that full names could be split.
        SplitUnproposed = "split_unproposed",
        /// It is not reported that a full name was not split.
        WholeNamesUntold = "whole_names_untold",
        /// Numbers that a spreadsheet shortened are taken without a warning.
        ShortenedNumbersUntold = "shortened_numbers_untold",
        /// What its own name calls compressed is taken as it is, where the request does not say so.
        NamedCompressionKept = "named_compression_kept",
        /// Numbers that have lost the zeros before them are taken without a warning.
        LostZerosUntold = "lost_zeros_untold",
        /// The proposed command lacks the words before the command's name, and shows the token.
        CommandForgetsDatabase = "command_forgets_database",
        /// None of the corrected values is left out.
        MendedValuesStay = "mended_values_stay",
        /// Values that are hidden elsewhere are shown when a file is inspected.
        InspectShowsSecrets = "inspect_shows_secrets",
        /// Followers of events see an event only at the next poll, some seconds later.
        NewsSeenAndForgotten = "news_seen_and_forgotten",
        /// A follower that does not read keeps its slot as long as its connection.
        FollowerNeedNotRead = "follower_need_not_read",
        /// Imports that wait for others hide stalled ones.
        StalledBehindOthers = "stalled_behind_others",
        /// What was applied before a pause or a retry counts for the rate.
        RateAcrossPauses = "rate_across_pauses",
        /// An import without open chunks that is not completed reports nothing that it waits for.
        EndsInSilence = "ends_in_silence",
        /// An import waits for its turn though places are free.
        TurnWhilePlacesAreFree = "turn_while_places_are_free",
        /// Processes that are gone are listed for a quarter of a minute.
        DeadWorkersListed = "dead_workers_listed",
        /// Running imports of disabled tenants count for the age of the oldest one.
        DisabledGrowOld = "disabled_grow_old",
        /// A chunk that came to its end while it was staged has no time at which it did.
        StagedWithoutEnd = "staged_without_end",
        /// A person whom an undo deleted stays in what users had before.
        DeletedStaysInImages = "deleted_stays_in_images",
        /// The second lock is used though its role may not read every table.
        LockWithoutGrants = "lock_without_grants",
        /// A part that does not answer is asked again and again.
        LooksPileUp = "looks_pile_up",
        /// Readiness reports nothing if it is unknown whether imports make progress.
        UnknownProgressIsReady = "unknown_progress_is_ready",
        /// `muster doctor` calls a server ready that is degraded.
        DegradedIsReady = "degraded_is_ready",
        /// `muster imports watch` repeats a message whenever a number in it changes.
        WatchRepeats = "watch_repeats",
        /// Requests with a method that a route does not have make new series.
        WrongMethodsAppearLate = "wrong_methods_appear_late",
        /// `muster imports watch` advises to resume an import that was never started.
        WatchResumes = "watch_resumes",
        /// A bulk resume also resumes cancelled imports that the filter did not name.
        BulkResumesCancelled = "bulk_resumes_cancelled",
        /// An action in bulk that was aborted goes on.
        BulkGoesOn = "bulk_goes_on",
        /// An action in bulk that has ended begins again when it is started again.
        BulkBeginsAnew = "bulk_begins_anew",
        /// An action in bulk does what it does to the imports that are like its filter when their turn comes.
        BulkBeyondPreview = "bulk_beyond_preview",
        /// An action in bulk does not care that somebody moved an import out of the state that was shown.
        BulkForgetsStates = "bulk_forgets_states",
        /// A bulk cancel leaves out planned imports.
        BulkLeavesPlans = "bulk_leaves_plans",
        /// The age in the filter of an action in bulk may be longer than the database can reckon back.
        BulkAnyAge = "bulk_any_age",
        /// Webhooks whose deliveries fail are tried before those that have waited less, in as many places as there are.
        FailingWebhooksFirst = "failing_webhooks_first",
        /// Host names of webhooks are resolved in any number of threads, even if nobody waits for the result.
        LookupsUnbounded = "lookups_unbounded",
        /// The name of a webhook is looked up though the tenant may have no more.
        LookedUpUncounted = "looked_up_uncounted",
        /// The trace context in the headers of messages is empty.
        TraceparentEmpty = "traceparent_empty",
        /// An import does not keep the trace context of its upload.
        ImportForgetsTrace = "import_forgets_trace",
        /// The trace context that a client sends is not read.
        ClientTraceIgnored = "client_trace_ignored",
        /// What a trace context says is not to be recorded is recorded.
        UnsampledTraced = "unsampled_traced",
        /// Requests without a credential that counts leave spans.
        StrangersTraced = "strangers_traced",
        /// Spans that find the queue full are lost and not counted.
        DropsUncounted = "drops_uncounted",
        /// What is to be sent to the collector when the process stops is thrown away.
        TracesNotFlushed = "traces_not_flushed",
        /// A stop waits for the collector for as long as that takes.
        FlushWaits = "flush_waits",
        /// A span of a request is named by its full path, including values.
        AddressInSpan = "address_in_span",
    }
}

/// Fails, panics, waits or dies here when a test asks for it.
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
#[allow(clippy::panic, reason = "a test asks for it")]
fn act(point: Point, argument: Option<&str>, number: Option<i64>) -> Result<(), Fault> {
    let (what, only) = match argument.and_then(|argument| argument.split_once('@')) {
        Some((what, only)) => (Some(what), only.parse().ok()),
        None => (argument, None),
    };
    if only.is_some() && only != number {
        return Ok(());
    }
    note(point);
    match what {
        Some("kill") => kill_self(),
        Some("panic") => panic!("failpoint {}", point.name()),
        Some("pause") => {
            std::thread::sleep(PAUSE);
            Ok(())
        }
        Some("delay") => {
            // The thread waits, as one does that the machine has no time for.
            std::thread::sleep(DELAY);
            Ok(())
        }
        what => Err(Fault { point, refused: what == Some("refused") }),
    }
}

/// A test counts on the line: without it the test must fail, so an error here needs no one's attention.
#[cfg(feature = "faults")]
fn note(point: Point) {
    let Some(path) = std::env::var_os("FAULT_NOTES") else { return };
    if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path) {
        let _ = std::io::Write::write_all(&mut file, format!("{}\n", point.name()).as_bytes());
    }
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
fn kill_self() -> ! {
    // A SIGKILL runs no handler and no drop: what a crash does, and an exit does not.
    if rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).is_err() {
        std::process::abort();
    }
    // The signal may take a moment to arrive; nothing may happen meanwhile.
    loop {
        std::thread::park();
    }
}

/// Whether this fault is switched on.
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
///
/// # Panics
/// Where it names a point that there is not: nothing would fail, and a test that waits for it would wait for ever.
#[cfg(feature = "faults")]
pub fn init() {
    let given = std::env::var("FAILPOINTS").unwrap_or_default();
    let unknown = unknown_point(&given);
    assert!(unknown.is_none(), "there is no failpoint `{}`", unknown.unwrap_or_default());
    // The scenario's drop would clear the points again.
    std::mem::forget(fail::FailScenario::setup());
}

/// The first name in the text of `FAILPOINTS` that is no point's.
#[cfg(feature = "faults")]
fn unknown_point(given: &str) -> Option<&str> {
    let names = given.split(';').filter_map(|point| point.split('=').next()).map(str::trim);
    names.filter(|name| !name.is_empty()).find(|name| !Point::ALL.iter().any(|point| point.name() == *name))
}

/// Does nothing: the feature `faults` is off.
#[cfg(not(feature = "faults"))]
pub const fn init() {}

/// What a fault looks like to a driver: an error of its connection.
impl From<Fault> for std::io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}

#[cfg(all(test, feature = "faults"))]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_that_there_is_not_is_found() {
        assert_eq!(unknown_point(""), None);
        assert_eq!(unknown_point("after_commit=1*return(kill); publish=3*off->return(error);"), None);
        assert_eq!(unknown_point("publish=return; take_back=1*return(panic)"), Some("take_back"));
    }
}
