//! Where each fault is tested that Preflight must survive, by its number in the list that the project was planned with.
//! What needs a GPU, a browser or a network is named as such; a name that no test has fails.

use std::collections::HashSet;
use std::process::Command;

use crate::support::tests_dir;

/// Where a fault is tested.
enum At {
    /// By these tests.
    Tests(&'static [&'static str]),
    /// Only a machine with a GPU can show it.
    Gpu,
}

use At::{Gpu, Tests};

const FAULTS: [(u32, &str, At); 58] = [
    (
        1,
        "config missing, empty, no JSON, 200 MB, too deep",
        Tests(&[
            "configs_that_are_no_config",
            "a_config_of_200_mb_is_not_read",
            "the_same_failure_is_not_tried_twice",
            "bad_models_take_nothing_along",
        ]),
    ),
    (2, "sizes of 0, huge, negative, float, string", Tests(&["numbers_that_no_model_has"])),
    (
        3,
        "heads that do not divide",
        Tests(&[
            "numbers_that_no_model_has",
            "the_same_failure_is_not_tried_twice",
            "bad_models_take_nothing_along",
        ]),
    ),
    (
        4,
        "max_position_embeddings of 2^31",
        Tests(&["numbers_that_no_model_has", "bad_models_take_nothing_along"]),
    ),
    (
        5,
        "rope_scaling of an unknown kind, lists of the wrong length",
        Tests(&[
            "factor_lists_of_the_wrong_length",
            "bad_models_take_nothing_along",
            "rope_scaling_of_a_kind_that_phi3_has_not",
        ]),
    ),
    (
        6,
        "another architecture",
        Tests(&[
            "an_unknown_architecture",
            "an_unknown_architecture_is_inspected",
            "bad_models_take_nothing_along",
        ]),
    ),
    (
        7,
        "repository code",
        Tests(&["configs_that_are_no_config", "what_this_build_cannot_run_is_parsed_and_refused_by_name"]),
    ),
    (
        8,
        "an index that leads out of its folder",
        Tests(&[
            "indexes_that_lead_elsewhere",
            "paths_out_of_the_folder_are_refused",
            "bad_models_take_nothing_along",
        ]),
    ),
    (
        9,
        "shards that are missing, extra, double",
        Tests(&[
            "shards_that_are_missing_are_all_named",
            "shards_that_differ_from_their_index_are_refused_with_names",
            "bad_models_take_nothing_along",
        ]),
    ),
    (
        10,
        "safetensors headers that lie",
        Tests(&[
            "headers_that_lie_are_refused_with_their_reason",
            "truncated_weights",
            "a_header_of_100_mb_is_refused",
            "bad_models_take_nothing_along",
        ]),
    ),
    (
        11,
        "a shard cut while it is loaded",
        Tests(&["a_file_that_shrinks_while_it_is_loaded_ends_the_attempt_alone"]),
    ),
    (
        12,
        "a file deleted while it is loaded, a disk that cannot be read",
        Tests(&[
            "a_file_that_shrinks_while_it_is_loaded_ends_the_attempt_alone",
            "a_read_that_fails_names_the_file",
        ]),
    ),
    (
        13,
        "tensors missing, extra, of another shape or dtype",
        Tests(&[
            "tensors_that_differ_are_all_named",
            "every_difference_from_the_config_is_named",
            "bad_models_take_nothing_along",
        ]),
    ),
    (14, "weights of NaN", Tests(&["nan_weights_fail_the_validation"])),
    (
        15,
        "a pointer of Git LFS, a page, an archive for weights",
        Tests(&[
            "what_is_no_weight_file",
            "bad_weights_fail_the_attempt_by_name",
            "impostors_are_named",
            "bad_models_take_nothing_along",
        ]),
    ),
    (16, "pickled weights", Tests(&["what_is_no_weight_file", "bad_models_take_nothing_along"])),
    (17, "GGUF headers that lie", Tests(&["gguf_headers_that_lie", "a_file_cut_anywhere_is_refused"])),
    (18, "a tokenizer larger than the vocabulary", Tests(&["every_id_must_have_a_row"])),
    (
        19,
        "templates that run away",
        Tests(&["no_template_takes_the_worker_along", "templates_that_fail_or_run_away_are_refused"]),
    ),
    (
        20,
        "links in a circle, pipes, devices",
        Tests(&["special_files_are_not_opened", "a_symlink_loop_ends", "bad_models_take_nothing_along"]),
    ),
    (
        21,
        "a model larger than the memory that is free",
        Tests(&["what_does_not_fit_is_refused_with_numbers_unless_forced"]),
    ),
    (22, "out of memory at a later token", Tests(&["out_of_memory_at_a_token_ends_its_stream_alone"])),
    (23, "another process takes the memory", Tests(&["out_of_memory_on_a_gpu_names_who_holds_it"])),
    (24, "an id beyond the vocabulary on CUDA", Gpu),
    (
        25,
        "a worker killed: at rest, loading, generating",
        Tests(&[
            "a_worker_killed_at_rest_fails_its_attempt",
            "a_killed_worker_fails_its_attempt_and_nothing_else",
            "every_order_of_requests_comes_to_its_end",
            "a_killed_worker_ends_its_answers_with_a_word",
        ]),
    ),
    (26, "a worker that hangs", Tests(&["every_fault_has_its_name"])),
    (
        27,
        "a worker that floods its log",
        Tests(&["a_flood_of_log_is_cut_and_cleaned", "the_ring_stays_small_and_clean"]),
    ),
    (28, "frames that are none", Tests(&["every_fault_has_its_name", "lies_are_refused"])),
    (29, "no GPU, no driver", Tests(&["a_device_that_is_not_there_is_told_in_words"])),
    (
        30,
        "no management library, or one that fails",
        Tests(&[
            "what_nobody_tells_is_unknown_and_loads_still_work",
            "a_driver_that_tells_nothing_any_more_hides_nothing",
        ]),
    ),
    (
        31,
        "a GPU that falls off the bus",
        Tests(&["a_gpu_that_falls_off_the_bus_is_told_and_not_tried_again"]),
    ),
    (32, "a thousand loads and unloads", Tests(&["loads_and_unloads_leave_nothing_behind"])),
    (
        33,
        "fifty who load and unload one model at once",
        Tests(&[
            "many_who_ask_for_one_model_get_one_load",
            "a_load_begins_when_the_unload_before_it_is_over",
        ]),
    ),
    (
        34,
        "unload while generating or loading, load while unloading",
        Tests(&[
            "every_order_of_requests_comes_to_its_end",
            "a_cancel_ends_a_load_at_any_stage",
            "another_load_config_takes_the_place_of_the_first",
            "a_load_begins_when_the_unload_before_it_is_over",
        ]),
    ),
    (
        35,
        "SIGTERM while loading, generating, streaming",
        Tests(&[
            "the_server_ends_in_order",
            "no_worker_outlives_its_server",
            "new_work_is_refused_while_the_server_ends",
        ]),
    ),
    (
        36,
        "the server killed while it loads",
        Tests(&["a_killed_server_leaves_no_attempt_open_and_no_worker", "a_process_is_known_by_its_start"]),
    ),
    (
        37,
        "the server killed at every commit",
        Tests(&["a_killed_server_leaves_no_attempt_open_and_no_worker"]),
    ),
    (
        38,
        "a full disk: database, log, cache of the Hub, converter",
        Tests(&[
            "a_full_disk_is_told_and_outlived",
            "a_full_disk_interrupts_a_ladder",
            "a_download_that_fails_says_why",
            "a_full_database_refuses_and_recovers",
            "a_full_disk_names_the_file",
        ]),
    ),
    (
        39,
        "a database that is read-only, locked, garbage, newer, on a network",
        Tests(&[
            "a_database_that_cannot_be_used_is_refused",
            "a_disk_that_cannot_hold_the_database_is_refused",
            "a_database_that_another_process_holds_is_refused",
        ]),
    ),
    (40, "two servers on one folder", Tests(&["a_data_folder_has_one_server"])),
    (
        41,
        "a clock that jumps",
        Tests(&["a_clock_that_jumps_changes_no_duration", "durations_come_from_a_clock_that_does_not_jump"]),
    ),
    (
        42,
        "a port in use, no permission, a bad key",
        Tests(&["a_server_that_cannot_start_says_which_flag", "what_is_wrong_names_itself"]),
    ),
    (
        43,
        "other names in Host",
        Tests(&[
            "other_names_are_refused_everywhere",
            "only_names_of_this_machine_pass",
            "an_address_of_loopback_answers_to_itself",
        ]),
    ),
    (
        44,
        "other sites that change something",
        Tests(&["other_sites_change_nothing", "every_bad_body_has_its_code"]),
    ),
    (45, "no origin, a null origin, another origin", Tests(&["other_sites_change_nothing"])),
    (
        46,
        "an open address without a token",
        Tests(&["other_machines_are_not_let_in_by_default", "other_machines_are_let_in_with_a_token"]),
    ),
    (47, "every route without the token", Tests(&["every_route_wants_the_token"])),
    (
        48,
        "bodies and headers that are too large or too slow",
        Tests(&[
            "a_body_is_taken_up_to_its_limit",
            "a_body_of_unknown_length_is_taken_up_to_its_limit",
            "a_body_in_tiny_pieces_costs_no_more_than_its_bytes",
            "a_body_that_stops_is_not_waited_for",
            "headers_have_a_size_and_a_time",
            "a_compressed_body_is_not_unpacked",
        ]),
    ),
    (
        49,
        "numbers out of range",
        Tests(&["numbers_out_of_range_name_their_field", "what_is_no_number_is_told"]),
    ),
    (
        50,
        "names and notes that are paths, markup, SQL",
        Tests(&[
            "a_model_is_staged_without_being_loaded",
            "what_cannot_be_a_model_is_refused",
            "no_cell_is_a_formula_or_markup",
        ]),
    ),
    (
        51,
        "repositories that are addresses",
        Tests(&["tricks_are_refused", "what_cannot_be_a_model_is_refused"]),
    ),
    (
        52,
        "a Hub that refuses, breaks off, lies, is slow",
        Tests(&[
            "every_fault_has_its_name_and_its_way_out",
            "small_files_may_come_whole_and_passing_faults_pass",
            "every_fault_of_a_download_has_its_name_and_passes",
            "what_breaks_off_goes_on_where_it_was",
            "bytes_that_are_not_those_of_the_list_are_thrown_away",
        ]),
    ),
    (
        53,
        "secrets in what is kept or told",
        Tests(&["no_secret_is_kept_or_told", "the_token_goes_to_the_endpoint_and_into_no_text"]),
    ),
    (
        54,
        "a stream that is resumed",
        Tests(&[
            "a_validation_streams_its_tokens",
            "an_id_that_is_not_kept_resets",
            "a_reader_that_comes_back_misses_nothing",
            "an_id_that_is_none_is_that_of_a_fresh_reader",
            "a_reset_brings_what_goes_on",
        ]),
    ),
    (
        55,
        "readers that never read, five hundred readers",
        Tests(&[
            "a_slow_reader_lags_and_the_publisher_does_not_wait",
            "many_who_read_and_many_who_generate",
            "a_reader_that_never_reads_is_told_and_dropped",
            "five_hundred_readers_hear_everything",
        ]),
    ),
    (
        56,
        "a client of /v1 that leaves",
        Tests(&[
            "a_client_that_leaves_ends_its_stream_within_a_token",
            "requests_are_batched_and_end_with_their_clients",
        ]),
    ),
    (
        57,
        "links that are none",
        Tests(&[
            "bad_links_say_what_is_wrong",
            "a_link_that_unpacks_without_end_costs_64_kib",
            "secrets_and_paths_do_not_go_into_a_link",
        ]),
    ),
    (
        58,
        "a cancel at any stage",
        Tests(&[
            "a_cancel_ends_a_load_at_any_stage",
            "cancel_ends_what_does_not_listen",
            "one_at_a_time_and_the_rest_wait",
            "a_repository_is_staged_by_a_download",
        ]),
    ),
];

/// Names of all tests, as they stand in the tree.
fn tests() -> HashSet<String> {
    let root = tests_dir().join("..");
    let listing =
        Command::new("git").args(["ls-files", "-z", "*.rs"]).current_dir(&root).output().expect("git");
    let mut names = HashSet::new();
    for path in String::from_utf8_lossy(&listing.stdout).split_terminator('\0') {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let name = line
                .strip_prefix("async ")
                .unwrap_or(line)
                .strip_prefix("fn ")
                .and_then(|rest| rest.split('(').next());
            match name {
                Some(name) if is_test => {
                    names.insert(name.to_owned());
                    is_test = false;
                }
                Some(_) => is_test = false,
                None => is_test |= line == "#[test]" || line.starts_with("#[tokio::test"),
            }
        }
    }
    names
}

#[test]
fn every_fault_is_tested_by_a_test_that_exists() {
    let tests = tests();
    assert!(tests.len() > 200, "only {} tests found", tests.len());
    let mut missing = Vec::new();
    for (at, (number, fault, place)) in FAULTS.iter().enumerate() {
        assert_eq!(*number as usize, at + 1);
        match place {
            Tests(names) => {
                let absent = names.iter().filter(|name| !tests.contains(**name));
                missing.extend(absent.map(|name| format!("{number} {fault}: there is no test `{name}`")));
                assert!(!names.is_empty());
            }
            Gpu => println!("fault {number} ({fault}) is LEFT OUT here: it needs a GPU"),
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}
