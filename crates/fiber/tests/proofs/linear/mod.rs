//! Linearizability: four fibers make four calls each, under a drawn schedule, with cancels.
//!
//! Read in this order: `checker`, what is checked; `log`, how histories are written; then one file
//! for each kind of object: its model, and hands that call it.

mod barrier;
mod broadcast;
mod channel;
mod checker;
mod choice;
mod condvar;
mod counter;
mod credit;
mod latch;
mod log;
mod mutex;
mod once;
mod oneshot;
mod rwlock;
mod semaphore;
mod watch;

use alloc::sync::Arc;

use fiber::{ExitReason, FiberBuilder, WorkerId, sleep};

use self::{
    checker::{History, Model},
    log::Log,
};
use crate::support::{Dice, EVER, run_to_the_end, seeds};

const FIBERS: usize = 4;
const CALLS: usize = 4;

/// What is called.
trait Object: Sized + Send + Sync + 'static {
    type Model: Model;
    type Hand<'object>: Hand;

    /// A new one, and what it is at first.
    fn new(dice: &mut Dice) -> (Self, Self::Model);

    /// What one fiber, which writes this log, has of it; made in that fiber.
    fn hand(&self, log: Log<Self::Model>) -> Self::Hand<'_>;
}

/// What one fiber has of an object. When it is dropped, what that does is logged, too.
trait Hand {
    /// Makes one call, whichever.
    fn act(&mut self, dice: &mut Dice);
}

/// Checks `short` worlds, or as many as the environment asks for.
fn prove<O: Object>(short: u64) {
    host_sim::check(seeds(short), |mut sim| {
        let seed = sim.seed();
        sim.node("only", move |env| {
            run_to_the_end(env, (2, 0), move || {
                let (model, history) = record::<O>(&mut Dice::new(seed));
                if let Err(why) = history.check(&model) {
                    panic!("{why}");
                }
            });
        });
        sim.run()
    });
}

fn record<O: Object>(dice: &mut Dice) -> (O::Model, History<O::Model>) {
    let log = Log::new();
    let (object, model) = O::new(dice);
    let object = Arc::new(object);
    let spread = dice.one_in(2);
    let fibers: Vec<_> = (0..FIBERS)
        .map(|number| {
            let (object, log) = (Arc::clone(&object), log.of(number));
            let worker = if spread { number % 2 } else { 0 };
            let worker = WorkerId(u16::try_from(worker).unwrap());
            let (dice, lingers) = (dice.split(), dice.one_in(4));
            let live = move || live(&*object, log, dice, lingers);
            FiberBuilder::new().worker(worker).spawn(live).unwrap()
        })
        .collect();
    for fiber in &fibers {
        dice.pause();
        if dice.one_in(4) {
            fiber.cancel();
        }
    }
    sleep(EVER);
    let quiet_at = log.quiet();
    for fiber in fibers {
        fiber.cancel();
        match fiber.join() {
            Ok(()) | Err(ExitReason::Cancelled(_)) => {}
            Err(reason) => panic!("{reason}"),
        }
    }
    (model, log.history(quiet_at))
}

fn live<O: Object>(object: &O, log: Log<O::Model>, mut dice: Dice, lingers: bool) {
    let mut hand = object.hand(log);
    for _ in 0..CALLS {
        dice.pause();
        hand.act(&mut dice);
    }
    if lingers {
        // With all that it has, until it is cancelled.
        sleep(EVER * 2);
    }
}
