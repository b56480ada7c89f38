//! Each sentence of the README on what is stored, with the tests that keep it.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "what is not as expected has to fail"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Part of a sentence, and the tests that would fail if it were not true; none if it promises
/// nothing.
type Promise = (&'static str, &'static [&'static str]);

const ROUTES: &[Promise] = &[
    ("is for questions: the node waits for the answer", &[]),
    (
        "acknowledged at once, tried until its `deadline`, and forgotten by a restart",
        &[
            "a_direct_message_is_acknowledged_at_once_and_forgotten_by_a_restart",
            "an_attempt_that_would_come_too_late_is_not_made",
        ],
    ),
    ("is for what has to arrive", &[]),
    (
        "Acknowledged means on the disk",
        &[
            "acknowledged_means_on_the_disk",
            "kill_at_any_moment_loses_nothing_that_was_acknowledged",
        ],
    ),
    (
        "hears it on the reply topic instead: outcome `queued`",
        &["at_qos_0_a_reply_tells_that_it_is_stored"],
    ),
    (
        "`ack_reply` says so for all messages, or for none",
        &["ack_reply_says_for_which_messages"],
    ),
    (
        "It is sent until the server takes it, however long that lasts",
        &[
            "a_stored_message_is_sent_until_the_server_takes_it",
            "what_was_acknowledged_arrives_in_order_and_counts_add_up_over_restarts",
            "one_lane_is_in_order_one_at_a_time",
            "clients_take_turns_whatever_their_backlog",
        ],
    ),
    (
        "one message at a time tries it, after 5 seconds doubling to 5 minutes",
        &[
            "an_outage_is_waited_for_with_one_probe_at_a_time",
            "a_refused_certificate_holds_messages_back_and_loses_none",
            "a_verdict_pauses_and_probes_come_after_5_s_doubling_to_5_min",
        ],
    ),
    (
        "When a server asks with `Retry-After` to be left alone",
        &["retry_after_holds_up_stored_messages_alone"],
    ),
    (
        "It ends with an answer that will not get better",
        &[
            "what_ends_for_good_is_settled_and_attempts_can_be_bounded",
            "what_waits_too_long_is_told_so",
        ],
    ),
    (
        "all attempts carry the same `Idempotency-Key`",
        &[
            "a_restart_sends_what_was_acknowledged_with_the_same_key",
            "what_was_acknowledged_arrives_after_a_restart_with_one_key_and_in_order",
            "kill_at_any_moment_loses_nothing_that_was_acknowledged",
        ],
    ),
    (
        "`max_bytes` bounds what a route may take of the store",
        &["a_full_route_refuses_or_drops_its_oldest"],
    ),
    (
        "`on_full = \"refuse\"` leaves what comes then with the node",
        &[
            "a_full_route_leaves_a_publish_with_its_client",
            "publishers_are_told_or_kept_waiting_when_the_disk_refuses",
        ],
    ),
    (
        "`on_full = \"drop_oldest\"` makes room instead",
        &["a_full_route_refuses_or_drops_its_oldest"],
    ),
    (
        "What the disk does not take stays with the node in any case",
        &["what_can_not_be_written_stays_with_the_client"],
    ),
    (
        "A reload or restart with another configuration loses nothing",
        &[
            "nothing_is_lost_and_order_is_kept_whatever_is_reloaded",
            "reloads_under_traffic_lose_no_stored_message_and_keep_its_order",
        ],
    ),
    (
        "what a node has sent to a route is with one endpoint at a time",
        &[
            "what_waits_for_another_endpoint_waits_for_what_is_with_the_old_one",
            "order_is_kept_when_a_route_goes_on_and_comes_back",
        ],
    ),
    (
        "stay in the store, take their part of its `max_bytes`, and do not become too old",
        &[
            "a_message_waits_for_its_route_to_come_back",
            "messages_whose_route_is_gone_are_shown_and_told_of",
        ],
    ),
    (
        "They are sent when there is a route of that name again",
        &["a_message_waits_for_its_route_to_come_back"],
    ),
    (
        "What was counted of a route is stored with its messages",
        &[
            "counters_come_back_and_add_up",
            "what_was_acknowledged_arrives_in_order_and_counts_add_up_over_restarts",
            "kill_at_any_moment_loses_nothing_that_was_acknowledged",
        ],
    ),
];

const STORE: &[Promise] = &[
    (
        "which no other program may use",
        &["second_daemon_does_not_take_the_store_of_the_first"],
    ),
    (
        "It is a log in files of about a 32nd of `max_bytes`",
        &["a_segment_is_about_a_32nd_of_the_store"],
    ),
    (
        "What belongs together is written together",
        &["torn_write_opens_to_what_was_committed_wherever_it_is_cut"],
    ),
    (
        "two writes are at least `commit_window` apart",
        &["writes_are_bounded_by_the_commit_window_and_idle_writes_nothing"],
    ),
    (
        "Nothing is written while nothing changes",
        &[
            "idle_daemon_writes_nothing_to_its_store",
            "writes_are_bounded_by_the_commit_window_and_idle_writes_nothing",
        ],
    ),
    (
        "`status` tells how much was written",
        &["the_document_is_json_and_its_counters_add_up"],
    ),
    (
        "A message that comes alone and is delivered costs two writes",
        &[
            "disk_is_written_at_most_six_times_the_payload_of_short_lived_messages",
            "a_message_that_comes_alone_costs_two_writes",
        ],
    ),
    (
        "Ten nodes with 100 bytes a minute each write 3 MB a day",
        &[],
    ),
    ("Flash is written in pages", &[]),
    (
        "A longer `commit_window` saves writes",
        &["writes_are_bounded_by_the_commit_window_and_idle_writes_nothing"],
    ),
    (
        "Sessions that outlive their connection",
        &[
            "what_is_queued_comes_back_in_order_and_is_gone_once_acknowledged",
            "exchange_at_qos_2_survives_with_the_publisher",
            "what_was_acknowledged_for_a_client_that_is_away_survives_kills",
        ],
    ),
    (
        "So do retained messages",
        &["retained_messages_survive_at_qos_1_a_kill_and_at_qos_0_a_restart"],
    ),
    (
        "and no other acknowledgement waits for that",
        &["acknowledgement_waits_for_the_disk_exactly_when_a_sleepers_queue_takes_the_message"],
    ),
    (
        "is stored when its connection ends, at a stop, and every `interval`",
        &[
            "what_is_in_flight_is_stored_when_the_connection_is_lost_and_at_the_interval",
            "what_a_connected_client_has_not_acknowledged_survives_a_restart",
        ],
    ),
    (
        "Retained messages at QoS 0 are stored every `interval` and at a stop",
        &[
            "retained_messages_are_stored_at_once_at_qos_1_and_at_the_interval_at_qos_0",
            "retained_messages_survive_at_qos_1_a_kill_and_at_qos_0_a_restart",
        ],
    ),
    (
        "Wills are not stored, and nothing that is delivered stays",
        &[
            "wills_are_not_stored",
            "ended_sessions_leave_nothing_in_the_store",
        ],
    ),
    (
        "with their packet identifier and DUP set",
        &[
            "messages_keep_their_order_over_a_kill",
            "packet_identifiers_that_a_client_may_hold_are_not_used_after_a_kill",
        ],
    ),
    (
        "go on expiring where the time is known",
        &[
            "sessions_expire_by_the_wall_clock_where_it_is_known",
            "messages_expire_by_the_wall_clock_where_it_is_known",
        ],
    ),
    (
        "Sessions of users that there are no more are deleted",
        &["what_can_not_come_back_is_counted_and_what_nobody_owns_is_deleted"],
    ),
    (
        "If the disk refuses a message for a client that is away",
        &["publishers_are_told_or_kept_waiting_when_the_disk_refuses"],
    ),
    (
        "The message is taken out of the queue again",
        &["publishers_are_told_or_kept_waiting_when_the_disk_refuses"],
    ),
    (
        "and has sent the message again, gets the same answer",
        &["refused_after_it_was_sent_again_its_client_is_told_or_kept_waiting"],
    ),
    (
        "`directory` may lie on a RAM disk",
        &["deepest_mount_decides"],
    ),
    ("Or choose a longer `interval` and `commit_window`", &[]),
    (
        "refuses what comes and keeps what it has",
        &[
            "full_disk_refuses_batches_as_a_whole_and_recovers",
            "full_store_refuses_what_grows_and_takes_what_makes_room",
        ],
    ),
    (
        "is removed as soon as the disk allows",
        &["full_disk_refuses_batches_as_a_whole_and_recovers"],
    ),
    (
        "counts as full until it has taken as much as it refused",
        &["disk_that_takes_only_what_is_small_stays_full"],
    ),
    ("So it is at the start", &[]),
    (
        "serves direct routes and ordinary MQTT, refuses what needs the disk",
        &["daemon_without_its_disk_serves_all_else_and_stores_when_it_is_there"],
    ),
    (
        "the daemon begins anew with it: connections are closed once",
        &["what_a_disk_holds_that_comes_back_late_is_taken_up"],
    ),
    (
        "Only what a person has to repair ends the start with exit code 78",
        &[
            "directory_that_can_not_be_used_is_told_with_a_remedy",
            "what_only_a_person_can_repair_is_a_mistake_and_each_cause_has_its_remedy",
        ],
    ),
    (
        "`check` tells the one as a mistake and the other as a warning",
        &[
            "check_says_before_what_the_daemon_would_say_and_makes_nothing",
            "check_warns_of_a_disk_with_less_room_than_the_store_may_take",
        ],
    ),
    (
        "A file that is damaged is kept as `damaged-….log`",
        &["damaged_file_is_set_aside_and_the_daemon_runs"],
    ),
    (
        "is no damage and is cut off",
        &["end_of_an_unfinished_write_is_cut_off"],
    ),
    (
        "Files of this release can be read by the next",
        &["store_of_this_release_is_read_by_the_next"],
    ),
    (
        "A store that a newer release has written is set aside as a whole",
        &["store_of_a_newer_release_is_set_aside_whole_and_the_daemon_runs"],
    ),
];

const SECTIONS: &[(&str, &[Promise])] = &[
    ("\n### Direct and stored routes\n", ROUTES),
    ("\n### The store\n", STORE),
];

/// The sentences of a section, without its examples.
fn sentences(readme: &str, heading: &str) -> Vec<String> {
    let start = readme.find(heading).unwrap() + heading.len();
    let text = readme[start..].split("\n#").next().unwrap();
    let prose = text.split("```").step_by(2).flat_map(str::lines);
    let parts = prose.flat_map(|line| line.trim_start_matches("- ").split(". "));
    parts
        .filter(|it| !it.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![PathBuf::from("src"), PathBuf::from("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let parts = text.split("#[test]\n").skip(1);
                let functions = parts.filter_map(|it| it.trim_start().strip_prefix("fn "));
                names.extend(functions.map(|it| it.split('(').next().unwrap().to_owned()));
            }
        }
    }
    names
}

#[test]
fn each_sentence_on_what_is_stored_has_its_tests() {
    let readme = fs::read_to_string("README.md").unwrap();
    let tests = tests();
    for (heading, promises) in SECTIONS {
        let sentences = sentences(&readme, heading);
        for sentence in &sentences {
            let count = promises.iter().filter(|it| sentence.contains(it.0)).count();
            assert_eq!(count, 1, "of this there is to be one entry:\n{sentence}");
        }
        for (part, names) in *promises {
            let found = sentences.iter().any(|it| it.contains(part));
            assert!(found, "the README does not say any more: {part}");
            for name in *names {
                assert!(tests.contains(*name), "{part}: there is no test {name}");
            }
        }
    }
}
