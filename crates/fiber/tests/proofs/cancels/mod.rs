//! A cancel at every suspension: one fiber is the victim, and a play is run again and again, with
//! the cancel one moment later each time, until it comes too late to hit.
//!
//! | way | where the victim lives | when the cancel comes |
//! |---|---|---|
//! | `Apart` | alone on a worker, whose parks are its own | after so many parks |
//! | `Among` | with everybody on the only worker | after so many steps of everybody |
//!
//! Apart, its partners and the canceller act between two of its steps in an order that the world
//! draws, so that the cancel comes before, after and instead of what would have woken it. Among,
//! the canceller runs once in each round, as the victim does at most.
//!
//! A lost wake leaves somebody asleep for ever, which ends the run with an error that names it.

mod channels;
mod choices;
mod fibers;
mod locks;
mod news;
pub(crate) mod plays;
mod rounds;

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::thread;

use fiber::{ExitReason, FiberBuilder, JoinHandle, Runtime, WorkerId, sleep, yield_now};

use crate::support::{run_to_the_end, seeds};

/// More moments than any play has.
const MOMENTS_MAX: u64 = 2_000;

/// A play: those who take part, and what must be true afterwards.
#[derive(Default)]
struct Cast {
    victim: Option<Part>,
    others: Vec<Part>,
    checks: Vec<Part>,
}

type Part = Box<dyn FnOnce() + Send>;

/// Says who takes part, anew for each run.
trait Play: Fn(&mut Cast) + Copy + Send + 'static {}

impl<F: Fn(&mut Cast) + Copy + Send + 'static> Play for F {}

impl Cast {
    /// The fiber that is cancelled.
    fn victim(&mut self, part: impl FnOnce() + Send + 'static) {
        self.victim = Some(Box::new(part));
    }

    /// A fiber that must come to its end, whatever becomes of the victim.
    fn other(&mut self, part: impl FnOnce() + Send + 'static) {
        self.others.push(Box::new(part));
    }

    /// What is looked at when all have ended.
    fn check(&mut self, check: impl FnOnce() + Send + 'static) {
        self.checks.push(Box::new(check));
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Apart,
    Among,
}

impl Way {
    const fn workers(self) -> (u16, u16) {
        match self {
            Self::Apart => (1, 1),
            Self::Among => (1, 0),
        }
    }

    fn spawn(self, victim: Part) -> JoinHandle<()> {
        let builder = FiberBuilder::new().name("the victim");
        let builder = match self {
            Self::Apart => builder.dedicated(),
            Self::Among => builder,
        };
        builder.spawn(victim).unwrap()
    }

    /// What is counted, when the caller itself has been resumed so often.
    fn count(self, own: u64) -> u64 {
        let stats = Runtime::current().unwrap().stats();
        match self {
            Self::Apart => stats.workers[1].parks,
            Self::Among => stats.workers[0].resumes - own,
        }
    }

    /// Waits until more than so much has happened.
    fn wait_for(self, moment: u64, victim: &JoinHandle<()>) {
        let (mut own, mut before) = (1, 0);
        while self.count(own) <= moment && !victim.is_finished() {
            let now = self.count(own);
            if now == before {
                // Nobody is ready: time must pass.
                sleep(Duration::from_micros(1));
            } else {
                yield_now();
            }
            (own, before) = (own + 1, now);
        }
    }
}

/// Plays it with a cancel at each moment in turn, both ways.
fn cancel_everywhere(name: &str, play: impl Play) {
    for way in [Way::Apart, Way::Among] {
        let mut moment = 0;
        while cancel_at(name, play, way, moment) {
            moment += 1;
            assert!(moment < MOMENTS_MAX, "{name} does not end");
        }
        assert!(moment > 1, "{name}, {way:?}: the victim hardly waits");
    }
}

/// Whether the cancel has hit in any of the worlds.
fn cancel_at(name: &str, play: impl Play, way: Way, moment: u64) -> bool {
    let _tell = Tell(format!("{name}, {way:?}, moment {moment}"));
    let hit = Arc::new(AtomicBool::new(false));
    host_sim::check(seeds(300).div_ceil(100), |mut sim| {
        let hit = Arc::clone(&hit);
        sim.node("only", move |env| {
            let hit = Arc::clone(&hit);
            run_to_the_end(env, way.workers(), move || {
                hit.fetch_or(run(play, way, moment), Ordering::SeqCst);
            });
        });
        sim.run()
    });
    hit.load(Ordering::SeqCst)
}

fn run(play: impl Play, way: Way, moment: u64) -> bool {
    let mut cast = Cast::default();
    play(&mut cast);
    let victim = way.spawn(cast.victim.expect("a play has a victim"));
    let on_first = |part| FiberBuilder::new().worker(WorkerId(0)).spawn(part).unwrap();
    let others: Vec<_> = cast.others.into_iter().map(on_first).collect();
    way.wait_for(moment, &victim);
    let hit = !victim.is_finished();
    victim.cancel();
    match victim.join() {
        Ok(()) | Err(ExitReason::Cancelled(_)) => {}
        Err(reason) => panic!("the victim: {reason}"),
    }
    for other in others {
        other.join().unwrap();
    }
    for check in cast.checks {
        check();
    }
    hit
}

/// Says what was being tried when a test fails.
struct Tell(String);

impl Drop for Tell {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("cancelled: {}", self.0);
        }
    }
}
