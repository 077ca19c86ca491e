//! The table of limits, from which docs/limits.md is generated: what is limited, by how much, what happens
//! beyond it, and the tests at the limit.

use std::fmt::Write;

use muster_domain::error::ErrorCode;

use crate::config::{Config, KEYS};

/// One limit.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// What is bounded.
    pub what: &'static str,
    /// By how much.
    pub most: Most,
    /// What becomes of more.
    pub beyond: Beyond,
    /// Tests with the last value within and the first beyond.
    pub tests: &'static [&'static str],
}

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub enum Most {
    /// What a setting says.
    Set(&'static str),
    /// Always so much: what uses it was made for it.
    Fixed(&'static str),
}

/// What becomes of more.
#[derive(Debug, Clone, Copy)]
pub enum Beyond {
    /// The request is refused, with this status.
    Request(u16, ErrorCode),
    /// The whole file is refused, with this status.
    File(u16, ErrorCode),
    /// The record fails, the others are applied.
    Record(ErrorCode),
    /// Something else, in words.
    Else(&'static str),
}

use Beyond::{Else, File, Record, Request};
use Most::{Fixed, Set};

/// A group of limits, under its title.
pub type Group = (&'static str, &'static [Limit]);

const fn limit(what: &'static str, most: Most, beyond: Beyond, tests: &'static [&'static str]) -> Limit {
    Limit { what, most, beyond, tests }
}

/// Every limit.
pub const LIMITS: &[Group] = &[
    (
        "A file",
        &[
            limit(
                "Bytes as sent",
                Set("http.max_upload_bytes"),
                Request(413, ErrorCode::UploadTooLarge),
                &["an_upload_has_so_many_bytes_as_sent_and_no_more"],
            ),
            limit(
                "Bytes after decompression",
                Set("intake.max_decompressed_bytes"),
                File(413, ErrorCode::DecompressedTooLarge),
                &["an_upload_has_so_many_bytes_decompressed_and_no_more"],
            ),
            limit(
                "Bytes out for a byte in, after the first MiB",
                Set("intake.max_ratio"),
                File(413, ErrorCode::DecompressedTooLarge),
                &["a_bomb_is_refused"],
            ),
            limit(
                "Window of zstd",
                Fixed("8 MiB"),
                File(400, ErrorCode::CompressionWindow),
                &["a_window_of_zstd_may_have_8_mib_and_no_more"],
            ),
            limit(
                "Bytes of a workbook",
                Set("intake.max_workbook_bytes"),
                File(413, ErrorCode::WorkbookTooLarge),
                &["what_would_take_too_much_room_is_refused_before_it_is_opened"],
            ),
            limit(
                "Bytes of its texts and styles, unpacked",
                Set("intake.max_workbook_memory"),
                File(413, ErrorCode::WorkbookTooLarge),
                &["what_would_take_too_much_room_is_refused_before_it_is_opened"],
            ),
            limit(
                "Bytes of a file whose order of days is to be found out",
                Set("intake.max_workbook_bytes"),
                File(400, ErrorCode::DaysUnproved),
                &["the_order_of_days_is_found_out_over_http_where_the_file_proves_it"],
            ),
            limit(
                "Records",
                Set("intake.max_records"),
                File(413, ErrorCode::TooManyRecords),
                &["an_upload_has_so_many_records_and_no_more"],
            ),
            limit(
                "Bytes of a table's header line",
                Set("intake.header_bytes"),
                File(400, ErrorCode::CsvHeaderTooLarge),
                &["header_bytes"],
            ),
            limit(
                "Columns of a table",
                Set("intake.fields"),
                File(400, ErrorCode::CsvHeaderTooLarge),
                &["columns"],
            ),
            limit(
                "Different names in a JSON file",
                Fixed("1,024"),
                File(400, ErrorCode::TooManyFields),
                &["names_of_an_import"],
            ),
            limit(
                "Bytes between two parts of a form",
                Fixed("8 MiB"),
                Request(400, ErrorCode::MultipartInvalid),
                &["a_form_that_is_wrong_is_refused"],
            ),
        ],
    ),
    (
        "A record",
        &[
            limit(
                "Bytes",
                Set("intake.record_bytes"),
                File(400, ErrorCode::RecordTooLarge),
                &["record_bytes"],
            ),
            limit(
                "Fields of a JSON record",
                Set("intake.fields"),
                Record(ErrorCode::TooManyFields),
                &["fields_of_a_record"],
            ),
            limit(
                "Levels of JSON",
                Set("intake.depth"),
                Record(ErrorCode::JsonTooDeep),
                &["depth_of_a_record", "depth_of_any_size_is_refused"],
            ),
            limit("Bytes of a name", Fixed("1 KiB"), Record(ErrorCode::FieldUnknown), &["bytes_of_a_name"]),
            limit(
                "Bytes of a text, or of a JSON value",
                Fixed("64 KiB"),
                Record(ErrorCode::ValueTooLong),
                &["values_have_lengths"],
            ),
            limit(
                "Characters of a person's name",
                Fixed("256"),
                Record(ErrorCode::ValueTooLong),
                &["values_have_lengths"],
            ),
            limit(
                "Bytes of an address (before the @)",
                Fixed("254 (64)"),
                Record(ErrorCode::EmailInvalid),
                &["values_have_lengths"],
            ),
            limit(
                "Characters of a user name",
                Fixed("150"),
                Record(ErrorCode::UsernameInvalid),
                &["values_have_lengths"],
            ),
            limit(
                "Bytes of a web address",
                Fixed("65,536"),
                Record(ErrorCode::ValueTooLong),
                &["values_have_lengths"],
            ),
            limit(
                "Errors that are told of it",
                Fixed("20"),
                Else("the last says how many more there are"),
                &["a_record_tells_twenty_errors_and_how_many_more_there_are"],
            ),
        ],
    ),
    (
        "A tenant",
        &[
            limit(
                "Uploads at a time, of one producer",
                Set("http.tenant_uploads"),
                Request(429, ErrorCode::RateLimited),
                &["uploads_at_once_are_bounded_for_a_tenant_and_in_all"],
            ),
            limit(
                "Answers that follow events, of one producer",
                Set("http.tenant_followers"),
                Request(429, ErrorCode::RateLimited),
                &["who_follows_is_bounded_for_a_tenant_and_in_all"],
            ),
            limit(
                "Requests that wait for a change, of one producer",
                Set("http.tenant_waiters"),
                Request(429, ErrorCode::RateLimited),
                &["who_waits_is_bounded_and_counts_no_more_when_the_client_is_gone"],
            ),
            limit(
                "Imports that are being received, run or are paused",
                Set("tenant.imports"),
                Request(429, ErrorCode::TooManyImports),
                &[
                    "a_tenant_has_so_many_imports_under_way_and_no_more",
                    "imports_that_come_at_once_keep_to_the_tenants_number",
                ],
            ),
            limit(
                "Records a day, by UTC",
                Set("tenant.records_per_day"),
                File(429, ErrorCode::QuotaExceeded),
                &[
                    "a_tenant_has_so_many_records_a_day_and_no_more",
                    "uploads_at_once_keep_to_the_quota_together",
                ],
            ),
            limit(
                "Bytes of the uploads that are kept",
                Set("tenant.stored_bytes"),
                File(429, ErrorCode::QuotaExceeded),
                &["a_tenant_keeps_so_many_bytes_and_no_more"],
            ),
            limit(
                "Imports of one action on many",
                Fixed("10,000"),
                Request(400, ErrorCode::InvalidRequest),
                &["an_action_has_so_many_imports_and_no_more"],
            ),
            limit(
                "Actions on many imports that were shown and not started",
                Fixed("20"),
                Else("the oldest is forgotten"),
                &["what_was_shown_long_ago_or_often_is_forgotten"],
            ),
            limit(
                "Age by which the imports of an action are chosen",
                Fixed("36500d"),
                Request(400, ErrorCode::InvalidRequest),
                &["what_cannot_be_read_says_what_it_must_be", "imports_are_chosen_by_state_age_and_file"],
            ),
            limit(
                "Import profiles",
                Fixed("200"),
                Request(400, ErrorCode::InvalidRequest),
                &[
                    "a_tenant_has_so_many_profiles_and_no_more",
                    "profiles_that_are_saved_at_once_keep_to_the_tenants_number",
                ],
            ),
            limit(
                "Webhooks",
                Set("webhook.per_tenant"),
                Request(409, ErrorCode::TooManyWebhooks),
                &["a_tenant_has_so_many_webhooks_and_no_more"],
            ),
            limit(
                "Pings of one webhook that are still to be made",
                Fixed("5"),
                Request(429, ErrorCode::RateLimited),
                &["so_many_pings_wait_and_no_more"],
            ),
        ],
    ),
    (
        "A webhook",
        &[
            limit(
                "Bytes of its address",
                Fixed("2,048"),
                Request(400, ErrorCode::WebhookTargetRefused),
                &["an_address_that_is_not_public_is_refused_in_every_notation"],
            ),
            limit(
                "Bytes of what it is told at a time",
                Fixed("8 KiB"),
                Else("the problem of a chunk is cut"),
                &["a_payload_has_ids_and_states_and_stays_small"],
            ),
            limit(
                "Time of a try",
                Set("webhook.timeout"),
                Else("it is tried again"),
                &["a_receiver_that_hangs_or_redirects_or_talks_nonsense_is_tried_again_and_stops_no_other"],
            ),
            limit(
                "Bytes of an answer that are read",
                Fixed("4 KiB"),
                Else("the connection is closed"),
                &["an_answer_without_end_is_read_for_a_little"],
            ),
            limit(
                "Time for which a delivery is tried again",
                Set("webhook.retry_for"),
                Else("it is given up, and can be made again by hand"),
                &["a_delivery_is_given_up_when_its_time_is_over_and_made_again_by_hand"],
            ),
            limit(
                "Deliveries at a time, of one process",
                Set("webhook.at_once"),
                Else("the others wait"),
                &["a_webhook_is_told_one_thing_at_a_time_in_the_order_of_events"],
            ),
            limit(
                "Deliveries at a time to webhooks of one tenant that failed before",
                Fixed("half of `webhook.at_once`"),
                Else("the others wait"),
                &["webhooks_that_fail_come_last_and_leave_places_free"],
            ),
            limit(
                "Names that are looked up at a time, of one process",
                Fixed("16 for requests, 16 for deliveries"),
                Request(503, ErrorCode::Unavailable),
                &["names_that_resolve_slowly_take_so_many_threads_and_no_more"],
            ),
        ],
    ),
    (
        "A request",
        &[
            limit(
                "Time for its head",
                Set("http.header_timeout"),
                Else("the connection is closed"),
                &["a_head_that_does_not_come_is_cut"],
            ),
            limit(
                "Pause in the body of an upload",
                Set("http.idle_body_timeout"),
                File(408, ErrorCode::UploadTimeout),
                &["a_body_that_pauses_too_long_is_cut"],
            ),
            limit(
                "Fewest bytes a second of an upload",
                Set("http.upload_rate"),
                File(408, ErrorCode::UploadTimeout),
                &["a_body_that_drips_is_ended"],
            ),
            limit(
                "Waiting for an upload before its rate counts",
                Set("http.upload_rate_after"),
                Else("its rate counts"),
                &["a_body_that_drips_is_ended"],
            ),
            limit(
                "Time until any other answer begins",
                Set("http.request_timeout"),
                Request(503, ErrorCode::RequestTimeout),
                &["a_request_that_takes_too_long_is_answered_in_time"],
            ),
            limit(
                "Time that its client reads nothing of the answer",
                Set("http.idle_answer_timeout"),
                Else("the connection is ended"),
                &["a_client_that_reads_nothing_loses_its_connection"],
            ),
            limit(
                "Time that an answer waits for a change (`wait`)",
                Fixed("60 s"),
                Request(400, ErrorCode::InvalidRequest),
                &["times_to_wait_are_read_with_their_unit"],
            ),
            limit(
                "Time that one answer follows events",
                Fixed("15 min"),
                Else("it ends, and its client goes on with another"),
                &["an_answer_follows_for_so_long_and_another_goes_on"],
            ),
            limit(
                "Time that who follows events reads nothing",
                Fixed("15 s"),
                Else("the answer ends, and its place is free"),
                &["who_follows_and_does_not_read_loses_its_place"],
            ),
            limit(
                "Characters of a file's label",
                Fixed("255"),
                Else("it is cut"),
                &["keys_and_labels_have_lengths"],
            ),
            limit(
                "Characters of an idempotency key",
                Fixed("255"),
                Request(400, ErrorCode::InvalidRequest),
                &["keys_and_labels_have_lengths"],
            ),
            limit(
                "Bytes of a page of failed records",
                Fixed("1 MiB"),
                Else("the next page has the rest"),
                &["a_page_of_failed_records_is_bounded_by_bytes_and_none_is_lost"],
            ),
        ],
    ),
    (
        "A process",
        &[
            limit(
                "Connections of clients",
                Set("http.connections"),
                Else("who comes then waits"),
                &["a_good_request_does_not_mind_slow_clients"],
            ),
            limit(
                "Failed authentications a minute, from one address",
                Set("http.auth_failures"),
                Request(429, ErrorCode::RateLimited),
                &["an_address_may_fail_so_often_at_all_doors_together_and_who_is_known_goes_on"],
            ),
            limit(
                "Failed authentications a minute, with tokens that begin alike",
                Set("http.token_failures"),
                Request(429, ErrorCode::RateLimited),
                &["tokens_that_begin_alike_may_fail_so_often_together"],
            ),
            limit(
                "Requests with a file at a time",
                Set("http.uploads"),
                Request(503, ErrorCode::Unavailable),
                &["uploads_at_once_are_bounded_for_a_tenant_and_in_all"],
            ),
            limit(
                "Answers that follow events at a time",
                Set("http.followers"),
                Request(429, ErrorCode::RateLimited),
                &["who_follows_is_bounded_for_a_tenant_and_in_all"],
            ),
            limit(
                "Requests that wait for a change at a time",
                Set("http.waiters"),
                Request(429, ErrorCode::RateLimited),
                &["who_waits_is_bounded_and_counts_no_more_when_the_client_is_gone"],
            ),
            limit(
                "Uploads that are staged at a time",
                Set("intake.uploads"),
                Request(503, ErrorCode::Unavailable),
                &["more_uploads_than_may_be_at_a_time_are_asked_to_come_again"],
            ),
            limit(
                "Records of a chunk",
                Set("intake.chunk_records"),
                Else("the next chunk has the rest"),
                &["what_passes_the_check_imports_the_largest_record"],
            ),
            limit(
                "Bytes of a chunk",
                Set("intake.chunk_bytes"),
                Else("the next chunk has the rest"),
                &["what_passes_the_check_imports_the_largest_record"],
            ),
            limit(
                "Lanes of an import",
                Set("intake.lanes"),
                Else("lanes share"),
                &["what_passes_the_check_imports_the_largest_record"],
            ),
            limit(
                "Memory in which all uploads together remember their users",
                Set("intake.repeats_memory"),
                Else(
                    "the first record that is not remembered says so, where repeated users are reported; a plan takes longer",
                ),
                &[
                    "a_record_of_an_earlier_ones_user_is_told_with_its_number",
                    "tables_share_one_memory_and_give_it_back",
                ],
            ),
            limit(
                "Records of an earlier record's user that are told one by one",
                Fixed("10,000 of a file"),
                Else("the first of the others says how many there are"),
                &[
                    "so_many_repeats_are_told_one_by_one_and_the_others_are_counted",
                    "repeats_beyond_a_number_are_told_as_one_warning_with_their_number",
                ],
            ),
            limit(
                "Records with a number that lost its zeros that are told",
                Fixed("1,000 of a file"),
                Else("the last one that is told says so; an inspection counts all"),
                &["so_many_records_are_told_and_the_last_one_says_so"],
            ),
            limit(
                "Chunks with the workers",
                Fixed(
                    "two for each chunk that all workers apply at a time, 16 while no worker lives (`dispatch.window`)",
                ),
                Else("the others wait in the store"),
                &["the_window_holds_and_shares_are_even", "more_workers_get_more_places"],
            ),
            limit(
                "Time that a chunk has a place in the window",
                Set("dispatch.lease"),
                Else("another chunk gets the place"),
                &["a_locked_chunk_stops_nobody_else"],
            ),
            limit(
                "Bytes of the chunks that a worker applies at a time",
                Set("worker.bytes_at_once"),
                Else("the next chunk waits"),
                &[
                    "the_fattest_chunks_do_not_make_a_worker_grow",
                    "large_chunks_wait_for_room_and_small_ones_do_not",
                ],
            ),
            limit(
                "Attempts of a chunk",
                Set("worker.attempts"),
                Record(ErrorCode::ChunkDead),
                &["attempts_are_spent_one_by_one_and_then_the_chunk_is_dead"],
            ),
            limit(
                "Time that a step of a worker waits for the database",
                Set("worker.deadline"),
                Else("it takes another connection"),
                &["connections_that_lead_nowhere_hold_no_worker"],
            ),
            limit(
                "Spans of traces that wait to be sent",
                Fixed("4,096"),
                Else("they are dropped and counted"),
                &["spans_that_find_the_queue_full_are_dropped_and_counted"],
            ),
            limit(
                "Time for the last spans at a stop",
                Fixed("2 s"),
                Else("they are lost"),
                &["a_collector_that_hangs_holds_up_neither_spans_nor_the_stop"],
            ),
        ],
    ),
];

impl Most {
    fn text(self, defaults: &Config) -> String {
        match self {
            Self::Fixed(text) => text.to_owned(),
            Self::Set(path) => {
                let key = KEYS.iter().find(|key| key.path() == path);
                let value = key.and_then(|key| defaults.shown(key.section, key.name));
                format!("{} (`{path}`)", value.unwrap_or_else(|| "none".into()))
            }
        }
    }
}

impl Beyond {
    fn text(self) -> String {
        match self {
            Self::Request(status, code) => format!("{status} `{code}`"),
            Self::File(status, code) => format!("{status} `{code}`; nothing of the file is applied"),
            Self::Record(code) => format!("the record fails with `{code}`"),
            Self::Else(text) => text.to_owned(),
        }
    }
}

/// The limits as tables in Markdown.
pub fn tables() -> String {
    let defaults = Config::default();
    let mut text = String::new();
    for (title, limits) in LIMITS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "## {title}\n\n| | At most | Beyond | Tests |\n|---|---|---|---|");
        for limit in *limits {
            let tests: Vec<String> = limit.tests.iter().map(|test| format!("`{test}`")).collect();
            let (most, beyond) = (limit.most.text(&defaults), limit.beyond.text());
            let _ = writeln!(text, "| {} | {most} | {beyond} | {} |", limit.what, tests.join(", "));
        }
        text.push('\n');
    }
    text
}
