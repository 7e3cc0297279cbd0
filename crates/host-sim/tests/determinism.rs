//! Same seed, same run: in this process, in a fresh one, and not by accident.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

extern crate alloc;

mod support;

use alloc::collections::BTreeSet;
use core::time::Duration;
use std::{env, panic, process::Command};

use host_sim::{Faults, JournalHash, Order, Outcome, Sim, Token};

use support::{Hand, alone};

/// Three servers, two clients, faults: enough for chance to show.
fn busy(mut sim: Sim) -> Outcome {
    for name in ["one", "two", "three"] {
        sim.node(name, |env| {
            support::workers(&env, 2, |hand, worker| {
                let listener = hand.listen(&format!("0.0.0.0:{}", 80 + worker.0)).unwrap();
                loop {
                    let connection = hand.accept(listener).unwrap();
                    while let Ok(bytes) = hand.recv(connection)
                        && !bytes.is_empty()
                        && hand.send(connection, &bytes).is_ok()
                    {}
                    hand.close(connection);
                }
            });
        });
    }
    sim.node("idle client", |env| alone(&env, |hand| talk(hand, 5)));
    let last = sim.node("client", |env| alone(&env, |hand| talk(hand, 40)));
    sim.faults(
        Faults::within(Duration::from_millis(1), Duration::from_millis(300))
            .kills(2, &[])
            .partitions(3)
            .resets(2),
    );
    sim.until(last).run()
}

fn talk(hand: &mut Hand<'_>, rounds: u32) {
    for round in 0..rounds {
        let to = format!("10.0.0.{}:{}", 1 + round % 3, 80 + round % 2);
        let Ok(connection) = hand.connect(&to) else {
            hand.sleep(Duration::from_millis(3));
            continue;
        };
        let mut noise = [0; 40];
        hand.env.fill(&mut noise);
        if hand.send(connection, &noise).is_ok() {
            let _ = hand.recv_within(connection, Some(Duration::from_millis(20)));
        }
        hand.close(connection);
    }
}

fn hash_of(seed: u64) -> JournalHash {
    let outcome = busy(Sim::new(seed));
    assert!(outcome.is_finished(), "{outcome}");
    outcome.hash
}

#[test]
fn one_seed_gives_one_hash_and_others_give_others() {
    let hashes: Vec<JournalHash> = (0..20).map(hash_of).collect();
    let again: Vec<JournalHash> = (0..20).map(hash_of).collect();
    assert_eq!(hashes, again);
    let distinct: BTreeSet<JournalHash> = hashes.iter().copied().collect();
    assert_eq!(distinct.len(), hashes.len());
}

/// Tells the child process which runs to make; its own answer is on its standard output.
const CHILD: &str = "HOST_SIM_DETERMINISM_CHILD";

#[test]
fn a_fresh_process_gives_the_same_hashes() {
    let mine: Vec<String> = (5..8)
        .map(|seed| format!("hash {}", hash_of(seed)))
        .collect();
    if env::var_os(CHILD).is_some() {
        return eprintln!("\n{}", mine.join("\n"));
    }
    let name = "a_fresh_process_gives_the_same_hashes";
    let child = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .env("UNRELATED", "moves the stack and the environment about")
        .output()
        .unwrap();
    assert!(child.status.success());
    let said = String::from_utf8(child.stderr).unwrap();
    let theirs: Vec<&str> = said.lines().filter(|l| l.starts_with("hash ")).collect();
    assert_eq!(theirs, mine);
}

#[test]
fn a_token_replays_the_run_that_printed_it() {
    for order in [Order::Random, Order::Fifo] {
        let first = busy(Sim::new(11).order(order));
        let token: Token = first.token.to_string().parse().unwrap();
        let second = busy(Sim::replay(token));
        assert_eq!(second.hash, first.hash);
        assert!(second.token.same_configuration(&token));
    }
}

#[test]
fn a_failed_check_prints_a_token_that_fails_again() {
    let scenario = |mut sim: Sim| {
        sim.node("unlucky", |env| {
            let mut byte = [0];
            env.fill(&mut byte);
            assert!(!byte[0].is_multiple_of(8), "bad luck");
        });
        sim.run()
    };
    let failed = panic::catch_unwind(|| host_sim::check(1000, scenario)).unwrap_err();
    let message = failed.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("panic on node unlucky: bad luck"),
        "{message}"
    );
    let (_, token) = message.split_once("SIM='").unwrap();
    let token: Token = token.split_once('\'').unwrap().0.parse().unwrap();
    assert!(!scenario(Sim::replay(token)).is_finished());
}

#[test]
fn a_world_recovers_after_its_faults() {
    for seed in 0..30 {
        let outcome = busy(Sim::new(seed));
        assert!(outcome.is_finished(), "{outcome}");
        for kill in outcome.faults.iter().filter(|f| f.contains("kill")) {
            assert!(kill.contains("10.0.0."), "{kill}");
        }
    }
}
