//! The simulated worlds: what they find, and that they repeat.

use std::process::{Command, Output};

use cache::simulation::{Mistake, simulate};
use host_sim::{Order, Outcome, Sim};

fn world(seed: u64) -> Outcome {
    simulate(Sim::new(seed).order(Order::Random), Mistake::None)
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
fn the_server_is_not_contradicted_in_a_world_of_every_kind() {
    host_sim::check(8, |sim| simulate(sim, Mistake::None));
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

/// Runs worlds with a server that makes a mistake until one notices, which says `what`; that world
/// must fail alike when it is replayed.
#[track_caller]
fn is_found_out(mistake: Mistake, what: &str) {
    let flag = mistake.flag().trim_end();
    let found = cache_sim(&[flag, "--seeds", "200"]);
    let report = String::from_utf8_lossy(&found.stderr);
    assert_eq!(found.status.code(), Some(1), "not found: {report}");
    assert!(report.contains(what), "{report}");
    let token = word_after(&report, &format!("{flag} --token "));
    let replay = cache_sim(&[flag, "--token", &token]);
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

#[test]
fn a_server_that_answers_before_it_stores_is_found_out() {
    is_found_out(Mistake::AnswersEarly, "was acknowledged as");
}

#[test]
fn a_drain_that_cuts_answers_is_found_out() {
    is_found_out(Mistake::DrainCutsAnswers, "in the middle of an answer");
}

#[test]
fn an_idle_timeout_that_closes_who_speaks_is_found_out() {
    is_found_out(Mistake::IdleFromTheStart, "a connection in use was closed");
}

#[test]
fn connections_that_are_never_counted_out_are_found_out() {
    is_found_out(Mistake::ForgetsWhoLeaves, "connections are counted");
}

#[test]
fn an_eviction_that_is_not_accounted_is_found_out() {
    is_found_out(Mistake::ForgetsEvicted, "that were refused: SERVER_ERROR");
}
