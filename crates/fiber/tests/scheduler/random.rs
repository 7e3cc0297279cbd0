//! Programs that nobody wrote: a seed decides who spawns whom, where, how urgent, and how each is
//! treated. Whatever it is, the run ends, and everything that was made is dropped exactly once.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::{panic::resume_unwind, sync::Mutex, thread};

use fiber::{
    Drain, Fiber, FiberBuilder, JoinHandle, Priority, Runtime, WorkerId, checkpoint, mask, park,
    park_timeout, scope, sleep, spawn_local, timeout, yield_now,
};
use host_linux::{Config, Io, Linux};
use host_sim::{Abandoned, Outcome, Sim};

use crate::support::{Count, WORKERS};

/// How many fibers one program makes at the most.
const FIBERS_MAX: usize = 120;

/// Numbers that a seed decides, splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn span(&mut self) -> Duration {
        Duration::from_micros(self.below(200))
    }

    fn split(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }
}

/// What the fibers of one program share.
struct Program {
    runtime: Mutex<Option<Runtime>>,
    /// Whether some fibers wait for ever: then the run cancels what is left.
    forever: bool,
    made: Count,
    ended: Count,
    left: AtomicUsize,
    fibers: Mutex<Vec<Fiber>>,
}

/// Goes with a fiber's closure, started or not.
struct Ticket(Arc<Program>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.ended.add();
    }
}

impl Program {
    fn new(forever: bool) -> Arc<Self> {
        Arc::new(Self {
            runtime: Mutex::new(None),
            forever,
            made: Count::default(),
            ended: Count::default(),
            left: AtomicUsize::new(FIBERS_MAX),
            fibers: Mutex::new(Vec::new()),
        })
    }

    fn ticket(self: &Arc<Self>) -> Option<Ticket> {
        let take = |left: usize| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .ok()?;
        self.made.add();
        Some(Ticket(Arc::clone(self)))
    }

    /// A fiber that somebody else may have to do with.
    fn any_fiber(&self, dice: &mut Dice) -> Option<Fiber> {
        let fibers = self.fibers.lock().unwrap();
        let count = u64::try_from(fibers.len()).unwrap();
        (count > 0).then(|| fibers[usize::try_from(dice.below(count)).unwrap()].clone())
    }

    fn know(&self, handle: &JoinHandle<u64>) {
        self.fibers.lock().unwrap().push(handle.fiber().clone());
    }
}

fn body(ticket: Ticket, mut dice: Dice, depth: u64) -> impl FnOnce() -> u64 + Send {
    move || {
        let ticket = ticket;
        live(&ticket.0, &mut dice, depth);
        depth
    }
}

/// One fiber's life.
fn live(program: &Arc<Program>, dice: &mut Dice, depth: u64) {
    for _ in 0..dice.below(7) {
        match dice.below(12) {
            0 => yield_now(),
            1 => sleep(dice.span()),
            2 => park_timeout(dice.span()),
            3 => {
                let (limit, span) = (dice.span(), dice.span());
                let _ = timeout(limit, || sleep(span));
            }
            4 => mask(|| sleep(dice.span())),
            5 => (0..dice.below(300)).for_each(|_| checkpoint()),
            6 => {
                if let Some(fiber) = program.any_fiber(dice) {
                    if dice.one_in(4) {
                        fiber.cancel();
                    } else {
                        fiber.unpark();
                    }
                }
            }
            7 => borrow(program, dice, depth),
            _ if depth < 6 => have_children(program, dice, depth),
            _ => yield_now(),
        }
    }
    if program.forever && dice.one_in(8) {
        loop {
            park();
        }
    }
    if depth > 0 && dice.one_in(12) {
        resume_unwind(Box::new("as planned"));
    }
}

fn borrow(program: &Arc<Program>, dice: &mut Dice, depth: u64) {
    let ended = AtomicUsize::new(0);
    let mut count = 0;
    let limit = dice.span() * 4;
    let _ = timeout(limit, || {
        scope(|scope| {
            for _ in 0..dice.below(4) {
                let Some(ticket) = program.ticket() else {
                    break;
                };
                count += 1;
                let mut dice = dice.split();
                let ended = Counts(&ended);
                let cancelled = dice.one_in(3);
                let child = FiberBuilder::new()
                    .priority(Priority::ALL[usize::try_from(dice.below(3)).unwrap()])
                    .spawn_scoped(scope, move || {
                        let _ended = ended;
                        let ticket = ticket;
                        sleep(dice.span());
                        if depth < 4 && dice.one_in(2) {
                            borrow(&ticket.0, &mut dice, depth + 1);
                        }
                    });
                let child = child.unwrap();
                if cancelled {
                    child.cancel();
                }
            }
            sleep(dice.span());
        });
    });
    assert_eq!(ended.into_inner(), count, "a scope ends after its fibers");
}

/// Counts the end of what borrows.
struct Counts<'scope>(&'scope AtomicUsize);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn have_children(program: &Arc<Program>, dice: &mut Dice, depth: u64) {
    let Some(ticket) = program.ticket() else {
        return;
    };
    let child = body(ticket, dice.split(), depth + 1);
    let priority = Priority::ALL[usize::try_from(dice.below(3)).unwrap()];
    let builder = FiberBuilder::new().priority(priority);
    let (sharing, dedicated) = Runtime::current().unwrap().workers();
    let worker = dice.below(u64::try_from(sharing + dedicated).unwrap());
    let spawned = match dice.below(8) {
        0 => return have_many(program, dice, depth),
        1 => Ok(spawn_local(child)),
        2 => builder.spawn_any(child),
        3 => builder
            .worker(WorkerId(u16::try_from(worker).unwrap()))
            .spawn(child),
        4 => builder.dedicated().spawn(child),
        _ => builder.spawn(child),
    };
    // Without a free dedicated worker its closure is dropped, and that is counted.
    let Ok(handle) = spawned else { return };
    program.know(&handle);
    treat(handle, dice, depth + 1);
}

fn have_many(program: &Arc<Program>, dice: &mut Dice, depth: u64) {
    let tickets: Vec<_> = (0..dice.below(20))
        .map_while(|_| program.ticket())
        .map(|ticket| Mutex::new(Some(body(ticket, dice.split(), depth + 1))))
        .collect();
    let handles = fiber::spawn_many(tickets.len(), move |index| {
        let child = tickets[index].lock().unwrap().take();
        child.expect("each index once")()
    });
    for handle in handles {
        program.know(&handle);
        treat(handle, dice, depth + 1);
    }
}

fn treat(handle: JoinHandle<u64>, dice: &mut Dice, depth: u64) {
    match dice.below(8) {
        0 => handle.cancel(),
        1 => {
            handle.cancel();
            let _ = handle.join();
        }
        2 | 3 => {
            let span = dice.span();
            let _ = timeout(span, || handle.join());
        }
        4 => {
            let span = dice.span();
            if let Ok(Ok(value)) = timeout(span * 10, || handle.join()) {
                assert_eq!(value, depth);
            }
        }
        _ => {}
    }
}

/// Launches from outside until the run is over, or has had enough.
fn intrude(program: &Arc<Program>, dice: &mut Dice, mut relax: impl FnMut(Duration)) {
    let runtime = loop {
        if let Some(runtime) = program.runtime.lock().unwrap().clone() {
            break runtime;
        }
        relax(Duration::from_micros(50));
    };
    for _ in 0..10 {
        let Some(ticket) = program.ticket() else {
            break;
        };
        match runtime.spawn(body(ticket, dice.split(), 3)) {
            Ok(handle) => {
                program.know(&handle);
                if dice.one_in(2) {
                    // Polled: in a closed world nobody can wait for another runtime.
                    while !handle.is_finished() {
                        relax(Duration::from_micros(20));
                    }
                    let _ = handle.join();
                }
            }
            Err(_) => break,
        }
        relax(dice.span());
    }
}

fn run(env: fiber::SharedEnv, workers: u16, program: &Arc<Program>, mut dice: Dice) {
    let drain = if program.forever {
        Drain::CancelRest
    } else {
        Drain::Wait
    };
    let main = Arc::clone(program);
    let ran = Runtime::builder(env)
        .workers(workers)
        .dedicated(u16::try_from(dice.below(3)).unwrap())
        .drain(drain)
        .run(move || {
            *main.runtime.lock().unwrap() = Runtime::current();
            for _ in 0..1 + dice.below(4) {
                live_on(&main, &mut dice);
            }
        });
    ran.unwrap();
}

/// As main, which must not wait for ever.
fn live_on(program: &Arc<Program>, dice: &mut Dice) {
    have_children(program, dice, 0);
    sleep(dice.span());
}

/// One program in one world, which half of the time another node launches fibers into.
fn in_world(mut sim: Sim, program: &Arc<Program>, mut dice: Dice, intruded: bool) -> Outcome {
    let workers = WORKERS[usize::try_from(dice.below(3)).unwrap()];
    let (inside, outside) = (dice.split().0, dice.split().0);
    let shared = Arc::clone(program);
    sim.node("inside", move |env| {
        run(env, workers, &shared, Dice(inside))
    });
    if intruded {
        let shared = Arc::clone(program);
        sim.node("outside", move |env| {
            let (shared, mut dice) = (Arc::clone(&shared), Dice(outside));
            Runtime::builder(env)
                .workers(1)
                .run(move || intrude(&shared, &mut dice, sleep))
                .unwrap();
        });
    }
    sim.run()
}

#[test]
fn random_programs_end_and_drop_what_they_made_once_in_simulated_worlds() {
    let seeds = std::env::var("RANDOM_PROGRAMS").map_or(500, |seeds| seeds.parse().unwrap());
    host_sim::check(seeds, |sim| {
        let mut dice = Dice(sim.seed());
        let program = Program::new(dice.one_in(2));
        let intruded = dice.one_in(2);
        let outcome = in_world(sim, &program, dice, intruded);
        assert_eq!(outcome.abandoned, Abandoned::default(), "{outcome}");
        assert_eq!(program.made.get(), program.ended.get(), "made and dropped");
        outcome
    });
}

#[test]
fn worlds_of_one_seed_are_equal_though_fibers_are_launched_from_outside() {
    for seed in 0..20 {
        let journal = || {
            let outcome = in_world(Sim::new(seed), &Program::new(false), Dice(seed), true);
            assert!(outcome.is_finished(), "{outcome}");
            outcome.hash
        };
        let first = journal();
        // Blocks are elsewhere in memory meanwhile.
        let _elsewhere: Vec<_> = (0..100).map(|size| vec![0_u8; size * 32]).collect();
        assert_eq!(first, journal(), "seed {seed}");
    }
}

#[test]
fn random_programs_end_and_drop_what_they_made_once_on_linux() {
    let seeds = std::env::var("RANDOM_PROGRAMS").map_or(60, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        for io in [Io::Auto, Io::Poll] {
            let mut dice = Dice(seed);
            let workers = WORKERS[usize::try_from(dice.below(3)).unwrap()];
            let program = Program::new(dice.one_in(2));
            let (inside, mut outside) = (dice.split(), dice.split());
            let env = Linux::new(Config::default().io(io)).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| intrude(&program, &mut outside, |_| thread::yield_now()));
                run(env, workers, &program, inside);
            });
            assert_eq!(program.made.get(), program.ended.get(), "seed {seed}");
        }
    }
}
