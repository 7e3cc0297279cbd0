//! A tree of supervisors: whoever is killed, the ones that are to run for ever run again, and all
//! of them end with their tree.
//!
//! ```text
//! top, one for one ─┬─ middle, one for all ─┬─ low, rest for one ─┬─ 0: permanent
//!                   │                       │                     └─ 1: transient
//!                   │                       └─ 2: permanent
//!                   └─ pool, dynamic ─── 3: temporary, added when the others run
//! ```

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use fiber::{
    Process, sleep,
    supervisor::{ChildError, ChildSpec, Restart, Shutdown, StartError, Strategy, Supervisor},
    sync::channel::{Receiver, Sender, oneshot, rendezvous},
};

use super::{Alive, Cast, GRACE, kill_everywhere};
use crate::support::EVER;

/// One is killed, so that more attempts would say that somebody stays away.
const ATTEMPTS: usize = 4;

type Question = oneshot::Sender<usize>;

/// Where a worker is asked, by whoever is it at the time.
type Desk = (Sender<Question>, Receiver<Question>);

struct World {
    alive: Arc<AtomicUsize>,
    desks: [Desk; 4],
}

impl World {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        Self {
            alive: Arc::clone(alive),
            desks: core::array::from_fn(|_| rendezvous()),
        }
    }

    /// Answers; a permanent worker for ever, another one once.
    fn work(&self, number: usize, restart: Restart) {
        let _alive = Alive::new(&self.alive);
        while let Ok(question) = self.desks[number].1.recv() {
            let _ = question.send(number);
            if restart != Restart::Permanent {
                return;
            }
        }
    }

    fn worker(self: &Arc<Self>, number: usize, restart: Restart) -> ChildSpec {
        let this = Arc::clone(self);
        let name = ["0", "1", "2", "3"][number];
        ChildSpec::new(name, move || this.work(number, restart))
            .restart(restart)
            .shutdown(Shutdown::Timeout(GRACE))
            .process(Process::builder().grace(GRACE))
    }

    /// Asks a worker, whoever is it, until it answers.
    fn ask(&self, number: usize) {
        let answered = (0..ATTEMPTS).any(|_| {
            let (question, answer) = oneshot::channel();
            let sent = self.desks[number].0.send_timeout(question, EVER);
            sent.is_ok() && answer.recv() == Ok(number)
        });
        assert!(answered, "nobody is {number} any more");
    }
}

fn supervisor(strategy: Strategy) -> fiber::supervisor::SupervisorBuilder {
    Supervisor::builder().strategy(strategy).intensity(ATTEMPTS)
}

fn start(world: &Arc<World>) -> Option<Supervisor> {
    let low = supervisor(Strategy::RestForOne)
        .child(world.worker(0, Restart::Permanent))
        .child(world.worker(1, Restart::Transient));
    let middle = supervisor(Strategy::OneForAll)
        .child(ChildSpec::supervisor("low", low))
        .child(world.worker(2, Restart::Permanent));
    let top = supervisor(Strategy::OneForOne)
        .child(ChildSpec::supervisor("middle", middle))
        .child(ChildSpec::supervisor("pool", supervisor(Strategy::Dynamic)))
        // Nobody mends the top of the tree: who has started it falls with it.
        .linked();
    // If one is killed before it has started, so is the tree.
    top.start().ok()
}

/// The pool, whoever is it; none while it is started again.
fn pool_of(top: &Supervisor) -> Option<Supervisor> {
    let children = top.which_children().ok()?;
    let pool = children.into_iter().find(|child| &*child.name == "pool")?;
    Supervisor::of(&pool.process?)
}

/// Has the pool start a worker and asks it.
fn ask_a_temporary_one(world: &Arc<World>, top: &Supervisor) {
    for _ in 0..ATTEMPTS {
        let started = pool_of(top).map(|pool| {
            let temporary = world.worker(3, Restart::Temporary);
            pool.start_child(temporary)
        });
        match started {
            Some(Ok(_)) => {}
            None | Some(Err(ChildError::Call(_) | ChildError::Start(StartError::Cancelled))) => {
                // It is being started again.
                sleep(GRACE);
                continue;
            }
            Some(Err(error)) => panic!("{error}"),
        }
        let (question, answer) = oneshot::channel();
        let sent = world.desks[3].0.send_timeout(question, GRACE);
        // If it was killed it does not come back.
        if sent.is_err() || answer.recv().is_err() {
            continue;
        }
        return;
    }
    panic!("the pool has nobody");
}

/// Starts the tree, has it work and ends it.
fn lead(alive: &Arc<AtomicUsize>) {
    let _alive = Alive::new(alive);
    let world = Arc::new(World::new(alive));
    let Some(top) = start(&world) else { return };
    for number in 0..3 {
        world.ask(number);
    }
    ask_a_temporary_one(&world, &top);
    for number in [0, 2] {
        world.ask(number);
    }
    let exit = top.shut_down();
    assert!(exit.report.is_clean(), "{exit}");
}

fn supervisors(cast: &mut Cast) {
    let alive = Arc::new(AtomicUsize::new(0));
    let own = Arc::clone(&alive);
    cast.process(Process::builder().grace(GRACE), move || lead(&own));
    cast.check(move || assert_eq!(alive.load(Ordering::SeqCst), 0, "somebody is left"));
}

#[test]
fn a_kill_at_any_moment_of_a_tree_of_supervisors_is_mended_by_it() {
    kill_everywhere("a tree of supervisors", supervisors);
}
