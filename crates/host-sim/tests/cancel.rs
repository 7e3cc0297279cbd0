//! The race between a cancel and the bytes that it is too late for.

extern crate alloc;

mod support;

use alloc::rc::Rc;
use core::cell::Cell;
use core::time::Duration;

use host_sim::Sim;

use support::alone;

#[test]
fn a_cancel_loses_the_race_sometimes_and_bytes_never() {
    let late = Rc::new(Cell::new(0));
    let seeds: u32 = 200;
    for seed in 0..seeds {
        let mut sim = Sim::new(u64::from(seed));
        sim.node("server", |env| {
            alone(&env, |hand| {
                let listener = hand.listen("0.0.0.0:80").unwrap();
                let connection = hand.accept(listener).unwrap();
                for _ in 0..20 {
                    hand.sleep(Duration::from_micros(100));
                    hand.send(connection, b"x").unwrap();
                }
                hand.close(connection);
            });
        });
        let counter = Rc::clone(&late);
        let client = sim.node("client", move |env| {
            let missed = core::sync::atomic::AtomicU32::new(0);
            alone(&env, |hand| {
                let connection = hand.connect_at_last("10.0.0.1:80");
                let mut got = 0;
                loop {
                    let span = Duration::from_micros(90);
                    match hand.recv_within(connection, Some(span)) {
                        None => {
                            missed.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
                        }
                        Some(bytes) if bytes.as_ref().unwrap().is_empty() => break,
                        Some(bytes) => got += bytes.unwrap().len(),
                    }
                }
                assert_eq!(got, 20, "every byte arrives once");
            });
            counter.set(counter.get() + missed.into_inner());
        });
        sim.until(client).run().expect_finished();
    }
    assert!(late.get() > seeds, "cancels happen: {}", late.get());
}
