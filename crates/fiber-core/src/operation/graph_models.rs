//! Loom models of the graph of waits: who closes a circle, and who leaves while others look.

use alloc::vec::Vec;
use core::{panic::Location, pin::pin};

use loom::{
    cell::UnsafeCell,
    sync::{Arc, Condvar, Mutex},
    thread,
};

use super::{
    Holder, Resource, WaitCell, Waiter, Waits,
    graph::{Edge, WaitGraph},
    holder::StoredWaits,
    perform::Noted,
};
use crate::{
    fiber::{Attributes, Fiber, JoinHandle, Runnable, Spawn},
    id::{Id, Namespace},
};

/// What one of them waits for: the end of `fiber`, or what that has.
struct Wanted {
    fiber: Fiber,
    is_its_end: bool,
    /// Stands for the frame that all of it lies in: written once that is left.
    frame: UnsafeCell<()>,
}

// SAFETY: loom watches over the cell, and a fiber may be shared (I-11).
unsafe impl Sync for Wanted {}

impl Resource for Wanted {
    fn kind(&self) -> &'static str {
        "a model"
    }

    fn holders(&self, tell: &mut dyn FnMut(Holder)) {
        self.frame.with(|_| ());
        tell(Holder::new(self.fiber.id(), Location::caller()));
    }

    fn end_of(&self) -> Option<&Fiber> {
        self.is_its_end.then_some(&self.fiber)
    }
}

/// Fibers that never run, and their graph.
struct World {
    graph: WaitGraph,
    fibers: Vec<(Runnable, JoinHandle<()>)>,
}

// SAFETY: each of its threads acts for one of the fibers (I-11).
unsafe impl Send for World {}
// SAFETY: as above (I-11).
unsafe impl Sync for World {}

impl World {
    fn of(fibers: u32) -> Arc<Self> {
        let fiber = |key| {
            // SAFETY: the closure borrows nothing and may be sent (I-11).
            let fiber = unsafe { Spawn::fiber(|| (), Attributes::new(Location::caller())) };
            let id = Id::new(key, Namespace::FIBER, 1).expect("it has a generation");
            fiber.0.fiber().header().set_id(id);
            fiber
        };
        let world = Arc::new(Self {
            graph: WaitGraph::modelled(),
            fibers: (1..=fibers).map(fiber).collect(),
        });
        for (fiber, _) in &world.fibers {
            fiber.fiber().header().joiner().open(&world.graph);
        }
        world
    }

    fn fiber(&self, number: usize) -> &Fiber {
        self.fibers[number].0.fiber()
    }

    /// The fiber `this` waits for `other`, is told that it must not or goes on waiting while
    /// `meanwhile` does something, and leaves. Says whether it waited.
    fn wait(&self, this: usize, other: usize, is_its_end: bool, meanwhile: impl FnOnce()) -> bool {
        self.wait_in(&self.graph, this, other, is_its_end, meanwhile)
    }

    /// [`World::wait`] by a fiber of the world that has this graph.
    fn wait_in(
        &self,
        graph: &WaitGraph,
        this: usize,
        other: usize,
        is_its_end: bool,
        meanwhile: impl FnOnce(),
    ) -> bool {
        let wanted = Wanted {
            fiber: self.fiber(other).clone(),
            is_its_end,
            frame: UnsafeCell::new(()),
        };
        let waits = Waits {
            resource: &wanted,
            site: Location::caller(),
            only_holders: true,
        };
        // SAFETY: forgotten with this frame, which `wanted` lies in (I-12).
        let stored = unsafe { StoredWaits::new(waits, false) };
        let header = self.fiber(this).header();
        let cell = WaitCell::new(Waiter::nobody());
        let waited = {
            let _noted = Noted::new(header, &stored);
            let edge = pin!(Edge::of(header, Some(stored), &cell).expect("it may be joined"));
            // SAFETY: both stay in this frame until it was left (I-12).
            let entered = unsafe { graph.enter(edge.as_ref()) };
            let waits = entered.is_ok();
            if waits {
                meanwhile();
            }
            waits
        };
        wanted.frame.with_mut(|_| ());
        waited
    }
}

/// As many fibers wait in a circle: each for the end of the next one, but for the last, which waits
/// for what the first one has, or also for its end.
fn a_circle_of(fibers: usize, preemptions: usize, last_joins: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let world = World::of(u32::try_from(fibers).expect("a few"));
        let told = Arc::new((Mutex::new(0), Condvar::new()));
        let begin = |this: usize| {
            let (world, told) = (Arc::clone(&world), Arc::clone(&told));
            move || {
                let other = (this + 1) % fibers;
                let joins = last_joins || other != 0;
                // They wait until one of them is told, as they would.
                let meanwhile = || {
                    let mut number = told.0.lock().unwrap();
                    while *number == 0 {
                        number = told.1.wait(number).unwrap();
                    }
                };
                if !world.wait(this, other, joins, meanwhile) {
                    *told.0.lock().unwrap() += 1;
                    told.1.notify_all();
                }
            }
        };
        let others: Vec<_> = (1..fibers).map(|this| thread::spawn(begin(this))).collect();
        begin(0)();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(*told.0.lock().unwrap(), 1, "one of them closes the circle");
        assert_eq!(world.graph.len(), 0, "all have left");
    });
}

#[test]
fn loom_of_two_one_of_whom_joins_the_other_one_is_told() {
    a_circle_of(2, 3, false);
}

#[test]
fn loom_of_two_who_join_each_other_one_is_told() {
    a_circle_of(2, 3, true);
}

#[test]
fn loom_of_three_two_of_whom_join_one_is_told() {
    a_circle_of(3, 2, false);
}

#[test]
fn loom_of_three_who_join_each_other_one_is_told() {
    a_circle_of(3, 2, true);
}

/// One joins another and gives up, while that one begins to wait for what the first one has.
#[test]
fn loom_who_gives_up_is_not_looked_at_any_more() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let world = World::of(2);
        let other = Arc::clone(&world);
        let joins = thread::spawn(move || other.wait(0, 1, true, || ()));
        let waits = world.wait(1, 0, false, || ());
        assert!(joins.join().unwrap() || waits, "one closes a circle");
        assert_eq!(world.graph.len(), 0, "all have left");
    });
}

/// The same, and a third one joins the first.
#[test]
fn loom_who_joins_one_that_gives_up_is_not_looked_at_any_more() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(1);
    builder.max_branches = 100_000;
    builder.check(|| {
        let world = World::of(3);
        let others = [0, 1].map(|this| {
            let world = Arc::clone(&world);
            thread::spawn(move || world.wait(this, this + 1, true, || ()))
        });
        world.wait(2, 0, false, || ());
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(world.graph.len(), 0, "all have left");
    });
}

/// One joins another twice, which ends meanwhile: the second edge is where the first one was.
#[test]
fn loom_who_joins_again_one_that_has_ended_leaves_no_edge() {
    loom::model(|| {
        let world = World::of(2);
        let ends = || world.fiber(1).header().finish();
        for meanwhile in [&ends as &dyn Fn(), &|| ()] {
            assert!(world.wait(0, 1, true, meanwhile));
        }
        assert_eq!(world.graph.len(), 0, "all have left");
    });
}

/// A fiber joins one of another world, which begins to wait.
#[test]
fn loom_who_joins_one_of_another_world_is_not_looked_at_there() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let world = World::of(2);
        let other = Arc::clone(&world);
        let joins = thread::spawn(move || {
            let graph = WaitGraph::modelled();
            assert!(other.wait_in(&graph, 0, 1, true, || ()));
            assert_eq!(graph.len(), 0, "it has left its own");
        });
        world.wait(1, 0, false, || ());
        joins.join().unwrap();
        assert_eq!(world.graph.len(), 0, "all have left");
    });
}
