//! The conformance kit, on a simulated node: every law, for several seeds and both orders.
//!
//! Without poison: the laws want memory beyond what was received left alone, which is more than
//! callers may rely on, and poisoned buffers are there to show who does.

extern crate alloc;

use alloc::sync::Arc;

use fiber_core::laws;
use host_sim::{Network, Order, Outcome, Poison, Sim};

/// One world a law: a law that breaks its world does not spoil the next.
fn all_laws(prepare: impl Fn(Sim) -> Sim, seeds: core::ops::Range<u64>) {
    for law in laws::ALL {
        for seed in seeds.clone() {
            let outcome = run_law(prepare(Sim::new(seed)), law.name);
            assert!(outcome.is_finished(), "{}: {outcome}", law.name);
            assert_eq!(outcome.abandoned.threads, 0, "{}: {outcome}", law.name);
        }
    }
}

fn run_law(mut sim: Sim, name: &'static str) -> Outcome {
    sim.node("lawful", move |env| {
        laws::check_one(name, &|| Arc::clone(&env), laws::Config::default());
    });
    sim.descriptors_max(100_000).poison(Poison::Never).run()
}

#[test]
fn laws_hold_in_production_order() {
    all_laws(|sim| sim.order(Order::Fifo), 0..1);
}

#[test]
fn laws_hold_in_drawn_order() {
    all_laws(|sim| sim, 1..3);
}

#[test]
fn laws_hold_where_everything_is_short_and_in_pieces() {
    all_laws(|sim| sim.network(Network::lan().segmentation(1, 1)), 3..4);
}

#[test]
fn laws_hold_with_small_buffers() {
    all_laws(|sim| sim.network(Network::lan().buffer_bytes(64_000)), 4..5);
}
