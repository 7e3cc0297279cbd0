//! Processes that have a great deal, killed while they get it and while they have it: afterwards
//! nothing is left of them.

use alloc::sync::Arc;
use core::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{io::Read, sync::Mutex as StdMutex};

use fiber::{
    Drain, FiberBuilder, Process, Runtime, Stats, WorkerId,
    io::{TcpListener, TcpStream},
    park, sleep, spawn,
    sync::Mutex,
    yield_now,
};
use host_linux::{Config, Io, Linux};

use crate::support::{Count, holdings, in_world};

const PAIRS: usize = 500;
const TIMERS: usize = 100;
const LOCKS: usize = 50;
const LISTENERS: usize = 20;
const FIBERS: usize = 500;
const IDS: usize = 2 * PAIRS + LISTENERS;

/// What the processes of one run leave to be looked at.
#[derive(Clone)]
struct Traces {
    /// An address of this test's own, whose ports nobody else is given.
    host: Ipv4Addr,
    /// Where they have listened.
    addresses: Arc<StdMutex<Vec<SocketAddr>>>,
    locks: Arc<StdMutex<Vec<Arc<Mutex<()>>>>>,
    begun: Count,
    unwound: Count,
}

impl Traces {
    fn new(host: Ipv4Addr) -> Self {
        Self {
            host,
            addresses: Arc::default(),
            locks: Arc::default(),
            begun: Count::default(),
            unwound: Count::default(),
        }
    }

    /// A fiber that is known to have begun and ended.
    fn fiber(&self, body: impl FnOnce() + Send + 'static) {
        let (begun, unwound) = (self.begun.clone(), self.unwound.clone());
        drop(spawn(move || {
            begun.add();
            let _unwound = OnDrop(move || unwound.add());
            body();
        }));
    }

    fn listen(&self) -> TcpListener {
        let listener = TcpListener::bind((self.host, 0)).unwrap();
        let mut addresses = self.addresses.lock().unwrap();
        addresses.push(listener.local_addr().unwrap());
        listener
    }
}

/// Gets all that a process may have, and then waits to be killed.
fn have_it_all(traces: &Traces) {
    for _ in 0..LOCKS {
        let lock = Arc::new(Mutex::new(()));
        traces.locks.lock().unwrap().push(Arc::clone(&lock));
        traces.fiber(move || {
            let _guard = lock.lock().unwrap();
            park();
        });
    }
    for _ in 0..TIMERS {
        traces.fiber(|| sleep(Duration::from_secs(10_000)));
    }
    for _ in 1..LISTENERS {
        let listener = traces.listen();
        traces.fiber(move || drop(listener.accept()));
    }
    let meeting = traces.listen();
    let at = meeting.local_addr().unwrap();
    let readers = FIBERS - LOCKS - TIMERS - LISTENERS;
    let mut idle = Vec::new();
    for pair in 0..PAIRS {
        let client = TcpStream::connect(at).unwrap();
        let (mut server, _) = meeting.accept().unwrap();
        idle.push(client);
        if pair < readers {
            traces.fiber(move || drop(server.read(&mut [0])));
        } else {
            idle.push(server);
        }
        if pair.is_multiple_of(16) {
            yield_now();
        }
    }
    park();
}

/// Kills so many processes at once, each at some moment, and looks at what is left of them.
fn kill_masses(
    host: Ipv4Addr,
    processes: usize,
    mut pause: impl FnMut(usize),
    look: impl FnOnce(),
) {
    let traces = Traces::new(host);
    let running = (0..processes).map(|_| {
        let traces = traces.clone();
        let builder = Process::builder().grace(Duration::from_secs(60));
        builder.spawn(move || have_it_all(&traces)).unwrap()
    });
    let running: Vec<_> = running.collect();
    for (index, process) in running.iter().enumerate() {
        pause(index);
        while index + 1 == processes && process.process().stats().ids < IDS {
            // At least this one has it all.
            sleep(Duration::from_millis(1));
        }
        process.kill("its moment has come");
    }
    for process in running {
        let handle = process.process().clone();
        let exit = process.join().unwrap_err();
        assert!(exit.report.is_clean(), "{exit}");
        let stats = handle.stats();
        let left = (stats.fibers, stats.ids, stats.stack_bytes);
        assert_eq!(left, (0, 0, 0), "{stats}");
    }
    assert_eq!(traces.begun.get(), traces.unwound.get());
    for lock in &*traces.locks.lock().unwrap() {
        // Poisoned or never taken, and nobody's.
        drop(lock.try_lock());
    }
    look();
    let mut addresses = traces.addresses.lock().unwrap().clone();
    // A port that one of the dead has left may have been given to one who came later.
    addresses.sort_unstable();
    addresses.dedup();
    let again = addresses.iter().map(TcpListener::bind);
    let again: Vec<_> = again.collect::<Result<_, _>>().unwrap();
    drop(again);
    assert!(Runtime::current().unwrap().processes().is_empty());
}

#[test]
fn masses_leave_nothing_in_simulated_worlds() {
    static SEED: AtomicU64 = AtomicU64::new(0);
    host_sim::check(10, |sim| {
        let sim = sim.descriptors_max(20_000);
        SEED.store(sim.seed(), Ordering::Relaxed);
        in_world(sim, 2, || {
            let seed = SEED.load(Ordering::Relaxed);
            let pause = |index| {
                let micros = (seed * 7919 + index as u64 * 104_729) % 4_000;
                sleep(Duration::from_micros(micros));
            };
            kill_masses(Ipv4Addr::LOCALHOST, 10, pause, || ());
        })
    });
}

fn masses_leave_nothing_on(io: Io) {
    let [low, middle, high, _] = std::process::id().to_le_bytes();
    let host = Ipv4Addr::new(127, 64 + high % 64, middle, low);
    let env = Linux::new(Config::default().io(io)).unwrap();
    let builder = Runtime::builder(env).workers(2).drain(Drain::Wait);
    let run = builder.run(|| {
        let (descriptors, ..) = holdings();
        // From one that has just begun to one that has had it all for long.
        let pause = |index| (0..index * index * 20).for_each(|_| yield_now());
        kill_masses(host, 10, pause, || assert_eq!(holdings().0, descriptors));
        Runtime::current().unwrap()
    });
    let stats = run.unwrap().stats();
    assert_eq!((stats.live, stats.stacks.in_use()), (0, 0), "{stats}");
}

#[test]
fn masses_leave_nothing_on_a_ring() {
    masses_leave_nothing_on(Io::Ring);
}

#[test]
fn masses_leave_nothing_on_poll() {
    masses_leave_nothing_on(Io::Poll);
}

/// What the fibers of a process close by themselves, at another worker than the one that sees to
/// its death.
fn a_death_is_told_when_all_is_closed_on(io: Io) {
    let env = Linux::new(Config::default().io(io)).unwrap();
    let run = Runtime::builder(env).workers(2).run(|| {
        let (before, ..) = holdings();
        for _ in 0..10 {
            let process = Process::builder().spawn(|| {
                let opens = |worker| {
                    let opens = || {
                        let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                        (0..200).map(listen).collect::<Vec<_>>()
                    };
                    let there = FiberBuilder::new().worker(WorkerId(worker));
                    there.spawn(move || drop(opens())).unwrap()
                };
                for fiber in [opens(0), opens(1)] {
                    fiber.join().unwrap();
                }
            });
            process.unwrap().join().unwrap();
            assert_eq!(holdings().0, before);
        }
    });
    run.unwrap();
}

#[test]
fn a_death_is_told_when_all_is_closed_on_a_ring() {
    a_death_is_told_when_all_is_closed_on(Io::Ring);
}

#[test]
fn a_death_is_told_when_all_is_closed_on_poll() {
    a_death_is_told_when_all_is_closed_on(Io::Poll);
}

/// Turns and system calls of the one worker.
fn work(stats: &Stats) -> (u64, u64) {
    let [worker] = stats.workers[..] else {
        panic!("there is one worker: {stats}")
    };
    (worker.turns, worker.enters)
}

#[test]
fn a_thousand_descriptors_are_closed_in_one_turn() {
    let env = Linux::new(Config::default().io(Io::Ring)).unwrap();
    // A watchdog would end the turns of those who are held up.
    let builder = Runtime::builder(env).workers(1).watchdog(None);
    let run = builder.run(|| {
        let process = Process::builder().spawn(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let at = listener.local_addr().unwrap();
            for _ in 0..500 {
                // Left for the end to be closed.
                TcpStream::connect(at).unwrap().into_id();
                listener.accept().unwrap().0.into_id();
            }
            park();
        });
        let process = process.unwrap();
        while process.process().stats().ids < 1001 {
            sleep(Duration::from_millis(1));
        }
        let runtime = Runtime::current().unwrap();
        let before = runtime.stats();
        process.kill("now");
        let exit = process.join().unwrap_err();
        let after = runtime.stats();
        assert_eq!(exit.report.streams_closed, 1000, "{exit}");
        let batch = after.workers[0].batch_max;
        assert!(batch >= 1000, "not in one turn: {batch}");
        let ((turns, enters), (turns_after, enters_after)) = (work(&before), work(&after));
        let all = (turns_after - turns, enters_after - enters);
        assert!(all.0 <= 4 && all.1 <= 4, "turns and system calls: {all:?}");
    });
    run.unwrap();
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
