//! The simulated worlds: what they find, and that they repeat.

use std::process::{Command, Output};

use cache::simulation::{Subject, simulate};
use host_sim::{Order, Outcome, Sim};

fn world(seed: u64) -> Outcome {
    simulate(Sim::new(seed).order(Order::Random), Subject::Real)
}

/// Runs the program that users run, in a process of its own.
fn cache_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cache-sim"))
        .args(arguments)
        .env_remove("SIM")
        .output()
        .expect("the program was built with the tests")
}

/// The word that follows `label`.
fn word_after(text: &str, label: &str) -> String {
    let rest = text
        .split_once(label)
        .unwrap_or_else(|| panic!("no {label} in: {text}"))
        .1;
    rest.split_whitespace()
        .next()
        .expect("a word")
        .trim_end_matches(')')
        .to_owned()
}

#[test]
fn the_server_is_not_contradicted_in_fifty_worlds() {
    host_sim::check(50, |sim| simulate(sim, Subject::Real));
}

#[test]
fn the_same_seed_gives_the_same_journal_and_another_seed_another() {
    let (first, again, other) = (world(11), world(11), world(12));
    assert_eq!(first.hash, again.hash);
    assert_eq!(first.choices, again.choices);
    assert_ne!(first.hash, other.hash);
}

#[test]
fn a_world_repeats_in_a_fresh_process() {
    let here = world(23);
    assert!(here.is_finished(), "{here}");
    let token = here.token.to_string();
    let replay = cache_sim(&["--token", &token]);
    let text = String::from_utf8_lossy(&replay.stdout);
    assert!(replay.status.success(), "{text}");
    assert_eq!(word_after(&text, "journal "), here.hash.to_string());
}

#[test]
fn a_server_that_answers_before_it_stores_is_found_out_and_the_token_repeats_it() {
    let found = cache_sim(&["--answers-early", "--seeds", "200"]);
    let report = String::from_utf8_lossy(&found.stderr);
    assert_eq!(found.status.code(), Some(1), "not found: {report}");
    assert!(report.contains("was acknowledged as"), "{report}");
    let token = word_after(&report, "--answers-early --token ");
    let replay = cache_sim(&["--answers-early", "--token", &token]);
    let again = String::from_utf8_lossy(&replay.stderr);
    assert_eq!(
        replay.status.code(),
        Some(1),
        "the token finds nothing: {again}"
    );
    assert_eq!(
        word_after(&again, "journal "),
        word_after(&report, "journal ")
    );
}
