//! A kill at every moment: a program is run again and again, and each time another one of its
//! fibers or processes is killed, at another moment, until every one of them was killed at every
//! moment of its life.
//!
//! Everybody is on one worker, and a moment is a step of anybody. After the kill those who live in
//! the runtime's first process must come to their end, every process must end, what the program
//! checks must hold, and the run must have nothing left: no fiber, no stack, no id.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::thread;

use fiber::{
    End, Fiber, FiberBuilder, Id, JoinHandle, Process, ProcessBuilder, ProcessHandle, Reason,
    Runtime, operation::perform, sleep, yield_now,
};

use crate::support::{run_to_the_end, seeds};

/// More moments than any program has.
const MOMENTS_MAX: u64 = 5_000;

/// How long a process has to unwind: ten times as long as a worker of a world stands still at once.
pub(crate) const GRACE: Duration = Duration::from_millis(50);

const KILLED: Reason = Reason::new("the proof");

type Part = Box<dyn FnOnce() + Send>;

/// Those who take part in a program.
#[derive(Default)]
pub(crate) struct Cast {
    processes: Vec<(ProcessBuilder, Part)>,
    others: Vec<Part>,
    checks: Vec<Part>,
}

pub(crate) trait Program: Fn(&mut Cast) + Copy + Send + 'static {}

impl<F: Fn(&mut Cast) + Copy + Send + 'static> Program for F {}

impl Cast {
    /// A process, which is killed, or one of its fibers is. It must end by itself otherwise.
    pub(crate) fn process(
        &mut self,
        builder: ProcessBuilder,
        main: impl FnOnce() + Send + 'static,
    ) {
        self.processes.push((builder, Box::new(main)));
    }

    /// A fiber that must come to its end, whoever is killed.
    pub(crate) fn other(&mut self, part: impl FnOnce() + Send + 'static) {
        self.others.push(Box::new(part));
    }

    /// What is looked at when all have ended.
    pub(crate) fn check(&mut self, check: impl FnOnce() + Send + 'static) {
        self.checks.push(Box::new(check));
    }
}

/// What became of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hit {
    /// Somebody was killed.
    Killed,
    /// There was nobody of that number.
    Nobody,
    /// All had ended before.
    TooLate,
}

/// Kills everybody at every moment, in several orders of things; tells how many kills that were.
pub(crate) fn kill_everywhere(name: &str, program: impl Program) {
    let worlds = seeds(200).div_ceil(100);
    let points: u64 = (0..worlds)
        .map(|seed| kill_in_order(name, program, seed))
        .sum();
    assert!(points > 10 * worlds, "{name}: hardly anybody was killed");
    eprintln!("{name}: {points} kills in {worlds} orders");
}

/// Kills everybody at every moment of one order of things; gives how many kills that were.
fn kill_in_order(name: &str, program: impl Program, seed: u64) -> u64 {
    let mut points = 0;
    for moment in 0..MOMENTS_MAX {
        for number in 0.. {
            match kill_at(name, program, seed, (moment, number)) {
                Hit::Killed => points += 1,
                Hit::Nobody => break,
                Hit::TooLate => return points,
            }
        }
    }
    panic!("{name} does not end");
}

fn kill_at(name: &str, program: impl Program, seed: u64, at: (u64, usize)) -> Hit {
    let (moment, number) = at;
    let _tell = Tell(format!(
        "{name}, seed {seed}: number {number} at moment {moment}"
    ));
    let hit = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&hit);
    let mut sim = host_sim::Sim::new(seed);
    sim.node("only", move |env| {
        let seen = Arc::clone(&seen);
        run_to_the_end(env, (1, 0), move || {
            let hit = run(program, moment, number);
            seen.store(hit as usize, Ordering::SeqCst);
        });
    });
    let outcome = sim.run();
    outcome.expect_finished();
    match hit.load(Ordering::SeqCst) {
        0 => Hit::Killed,
        1 => Hit::Nobody,
        _ => Hit::TooLate,
    }
}

fn run(program: impl Program, moment: u64, number: usize) -> Hit {
    let mut cast = Cast::default();
    program(&mut cast);
    let processes = cast.processes.into_iter();
    let processes: Vec<_> = processes.map(|(b, main)| b.spawn(main).unwrap()).collect();
    let spawn = |part| FiberBuilder::new().spawn(part).unwrap();
    let others: Vec<_> = cast.others.into_iter().map(spawn).collect();
    let hit = match wait_for(moment, &processes) {
        true => kill(number, &processes),
        false => Hit::TooLate,
    };
    for (index, other) in others.into_iter().enumerate() {
        other
            .join()
            .unwrap_or_else(|why| panic!("other {index}: {why}"));
    }
    for process in processes {
        let process = process.process();
        let exit = perform(process.end_operation());
        assert!(exit.report.is_clean(), "{exit}");
        assert!(!matches!(exit.end, End::Panicked(_)), "{exit}");
    }
    for check in cast.checks {
        check();
    }
    hit
}

/// Waits until so much has happened; false if all processes have ended before.
fn wait_for(moment: u64, processes: &[ProcessHandle<()>]) -> bool {
    let runtime = Runtime::current().unwrap();
    let resumes = || runtime.stats().workers[0].resumes;
    let first = resumes();
    let (mut before, mut idle) = (0, 0);
    for own in 0.. {
        if processes
            .iter()
            .all(|process| process.process().has_ended())
        {
            return false;
        }
        let now = (resumes() - first).saturating_sub(own);
        if now >= moment {
            return true;
        }
        // Who is new, or was woken by another worker, runs one round later.
        idle = if now == before { idle + 1 } else { 0 };
        before = now;
        if idle < ROUNDS {
            yield_now();
        } else {
            pass_time(&runtime);
            idle = 0;
        }
    }
    false
}

/// After so many rounds in which nobody has run nobody is ready.
const ROUNDS: u32 = 4;

/// Lets a microsecond pass, while nobody is ready. Not by sleeping through it: whoever is woken
/// meanwhile would wake others, and they others, before the next look.
fn pass_time(runtime: &Runtime) {
    let over = runtime.env().now() + Duration::from_micros(1);
    while runtime.env().now() < over {}
    sleep(Duration::ZERO);
}

/// Kills the process, or else the fiber, of this number.
fn kill(number: usize, processes: &[ProcessHandle<()>]) -> Hit {
    let roots = processes.iter().map(|process| process.process().clone());
    let all = with_children(roots.collect());
    if let Some(process) = all.get(number) {
        process.kill(KILLED);
        return Hit::Killed;
    }
    match fibers_of(&all).get(number - all.len()) {
        Some(fiber) => fiber.kill(KILLED),
        None => return Hit::Nobody,
    }
    Hit::Killed
}

fn with_children(processes: Vec<Process>) -> Vec<Process> {
    let mut all = Vec::new();
    for process in processes {
        if !process.has_ended() {
            all.extend(with_children(process.children()));
            all.push(process);
        }
    }
    all
}

fn fibers_of(processes: &[Process]) -> Vec<Fiber> {
    let ids: Vec<Id> = processes.iter().map(Process::id).collect();
    let dump = Runtime::current().unwrap().dump();
    let fibers = dump.workers.iter().flat_map(|worker| &worker.fibers);
    let theirs = fibers.filter(|fiber| fiber.process.is_some_and(|id| ids.contains(&id)));
    theirs
        .filter_map(|fiber| Fiber::of_id(fiber.id?).ok())
        .collect()
}

/// Waits for a fiber that may have been killed.
pub(crate) fn join_killed<T>(fiber: JoinHandle<T>) -> Option<T> {
    fiber.join().ok()
}

/// Counts who is alive.
pub(crate) struct Alive(Arc<AtomicUsize>);

impl Alive {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Says what was being tried when a test fails.
struct Tell(String);

impl Drop for Tell {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("killed: {}", self.0);
        }
    }
}
