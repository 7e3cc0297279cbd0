//! Credits on fibers that are cancelled at any moment.

use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering};

use fiber_core::park::sleep;
use fiber_sched::{scope, yield_now};
use fiber_sync::channel::credit;

use super::{Counted, SECOND, on_all_seeds};

/// Senders with a credit in their hands, or waiting for one, and receivers with credits that they
/// owe: whoever dies, in the end the window is whole.
#[test]
fn the_window_is_whole_whoever_dies() {
    on_all_seeds(|dice| {
        let window = 1 + dice.below(4);
        let batch = 1 + dice.below(window);
        let (window, batch) = (window as usize, batch as usize);
        let alive = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = credit::in_batches(window, batch);
        scope(|scope| {
            let mut fibers = Vec::new();
            for origin in 0..3 {
                let (sender, alive) = (sender.clone(), &alive);
                let patient = dice.below(2) == 0;
                fibers.push(scope.spawn(move || {
                    for index in 0..4 {
                        let credit = match patient {
                            true => sender.credit().ok(),
                            false => sender.credit_timeout(SECOND / 1_000).ok(),
                        };
                        yield_now();
                        if let Some(credit) = credit {
                            let value = Counted::new(alive, origin * 10 + index);
                            assert!(credit.send(value).is_ok());
                        }
                        assert!(sender.len() + sender.available() <= window);
                    }
                }));
            }
            for _ in 0..2 {
                let receiver = receiver.clone();
                fibers.push(scope.spawn(move || {
                    while receiver.recv_timeout(SECOND).is_ok() {
                        yield_now();
                    }
                }));
            }
            // The last receiver lives, or the senders would wait for ever.
            for fiber in &fibers[..4] {
                dice.pause(6);
                if dice.below(3) == 0 {
                    fiber.cancel();
                }
            }
            for fiber in fibers {
                let _ = fiber.join();
            }
            sleep(SECOND);
        });
        receiver.try_iter().for_each(drop);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        // Less than a batch may be owed still.
        let available = sender.available();
        assert!(available > window - batch && available <= window);
    });
}
