//! Many seeds of one scenario; the first that fails says how to see it again.

use alloc::rc::Rc;
use core::cell::Cell;
use std::{env, panic};

use crate::{
    config::Order,
    outcome::Outcome,
    sim::Sim,
    token::{BadToken, Token},
};

/// The variable that holds a replay token.
const VARIABLE: &str = "SIM";
/// The variable that bounds the worlds of one check.
const MOST: &str = "WORLDS_MAX";

/// Runs `scenario` for `seeds` seeds, or for the one that the environment variable `SIM` names.
/// The variable `WORLDS_MAX` keeps that to fewer, for builds that are slow.
///
/// The scenario gets a world without nodes, builds it up, runs it, asserts what it likes, and
/// returns the outcome. Seed 0 runs in production order, all others in drawn order.
///
/// # Panics
/// When a scenario panics or its outcome is not [`Verdict::Finished`](crate::Verdict::Finished):
/// with the token and how to replay it. When one of the variables says nothing of its kind.
#[track_caller]
pub fn check(seeds: u64, scenario: impl Fn(Sim) -> Outcome) {
    let told = match token_from_env() {
        Ok(told) => told,
        Err(error) => panic!("{VARIABLE}: {error}"),
    };
    if let Some(token) = told {
        return check_one(Sim::replay(token), Some(token), &scenario);
    }
    let most = env::var(MOST).map(|most| most.parse());
    let seeds = match most {
        Ok(Ok(most)) => seeds.min(most),
        Ok(Err(_)) => panic!("{MOST}: not a number of worlds"),
        Err(_) => seeds,
    };
    for seed in 0..seeds {
        let order = if seed == 0 {
            Order::Fifo
        } else {
            Order::Random
        };
        check_one(Sim::new(seed).order(order), None, &scenario);
    }
}

/// The token in the environment variable `SIM`, if there is one.
///
/// # Errors
/// When the variable holds something else.
pub fn token_from_env() -> Result<Option<Token>, BadToken> {
    match env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse().map(Some),
        _ => Ok(None),
    }
}

#[track_caller]
fn check_one(sim: Sim, told: Option<Token>, scenario: &impl Fn(Sim) -> Outcome) {
    let seed = sim.seed();
    let ran = Rc::new(Cell::new(None));
    let sim = sim.reporting_to(Rc::clone(&ran));
    let result = panic::catch_unwind(panic::AssertUnwindSafe(|| scenario(sim)));
    if let (Some(told), Some(ran)) = (told, ran.get())
        && !told.same_configuration(&ran)
    {
        tracing::warn!(
            target: "host_sim::check",
            %told, %ran,
            "the configuration has changed since the token was printed: this is another run"
        );
    }
    match result {
        Ok(outcome) if outcome.is_finished() => {}
        Ok(outcome) => panic!(
            "seed {seed}: {outcome}\n  replay with SIM='{}'",
            outcome.token
        ),
        Err(payload) => {
            let message = crate::threads::message_of(&*payload);
            match ran.get() {
                Some(token) => panic!("seed {seed}: {message}\n  replay with SIM='{token}'"),
                None => panic!("seed {seed}: {message}"),
            }
        }
    }
}
