//! Random sequences of calls against a sequential model: what each call gives, who waits, and who
//! is served when. A sequence that fails is shrunk to a small one.
//!
//! Everything runs on one worker in the order of production, and after each step everybody runs
//! until they wait. So there is one right answer, and with it "first come, first served".

mod channel;
mod credit;
mod news;
mod promise;

use core::fmt::Debug;

use fiber::yield_now;
use host_sim::{Order, Sim};
use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

use crate::support::{run_to_the_end, seeds};

/// Tries random sequences: the same in every run, for they need no replay then.
fn try_sequences<S: Clone + Debug + Send + 'static>(
    sequences: &impl Strategy<Value = S>,
    follow: fn(S),
) {
    let config = Config {
        cases: u32::try_from(seeds(200)).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tried = runner.run(sequences, |sequence| {
        let mut sim = Sim::new(0).order(Order::Fifo);
        sim.node("only", move |env| {
            let sequence = sequence.clone();
            run_to_the_end(env, (1, 0), move || follow(sequence));
        });
        let outcome = sim.run();
        if outcome.is_finished() {
            Ok(())
        } else {
            Err(TestCaseError::fail(outcome.to_string()))
        }
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
}

/// Lets everybody run until they wait.
fn settle() {
    for _ in 0..8 {
        yield_now();
    }
}
