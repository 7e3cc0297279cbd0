//! Blocking allocates nothing: not the fast paths, and not the slow ones, on which a fiber parks.
//! What is made anew each time (promises, entries of sets) takes its own memory, and none to be
//! waited for; that of fibers that have ended is kept for the next ones.
//!
//! Counted over a million of each in an optimised build, and over fewer otherwise, after some to
//! warm up.

#![expect(
    clippy::print_stdout,
    reason = "the long form says what it has counted"
)]

extern crate alloc;

use alloc::sync::Arc;
use core::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::alloc::System;

use fiber::{
    JoinHandle, JoinSet, Runtime, choose,
    operation::{Latch, never, perform, perform_until, timeout},
    spawn, spawn_when,
    sync::{
        Barrier, Condvar, Counter, Mutex, RwLock, Semaphore,
        channel::{
            Mailbox, Overflow, Receiver, Sender, bounded, broadcast, credit, oneshot, rendezvous,
            unbounded, watch,
        },
    },
    yield_now,
};
use host_linux::{Config, Linux};

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether it is the worker's thread: others may tell that the test takes long, for example.
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

impl Counting {
    fn count(&self) {
        if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: it forwards to the system's allocator, which keeps the contract (I-3).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: by the caller's promise (I-3).
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise (I-3).
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count();
        // SAFETY: by the caller's promise (I-3).
        unsafe { System.realloc(pointer, layout, size) }
    }
}

const TIMES: usize = if cfg!(debug_assertions) {
    20_000
} else {
    1_000_000
};
const WARM_UP: usize = 1_000;

/// One fiber in about a thousand is measured, which takes up to two allocations.
const MEASURED_AT_MOST: usize = 2 * (TIMES / 1_000);

/// Long enough never to come.
const LATER: Duration = Duration::from_secs(3600);

/// Does it for a while, then so many times, during which nothing is allocated.
fn allocates_nothing(what: &str, once: impl FnMut()) {
    allocates(0, what, once);
}

/// Does it for a while, then so many times, with so many allocations each, and of fibers, of which
/// some are measured, a few more.
fn allocates(each: usize, what: &str, once: impl FnMut()) {
    allocates_up_to(each * (TIMES + MEASURED_AT_MOST), each, what, once);
}

/// The same with no fewer than `each`, and no more than `at_most` in all.
fn allocates_up_to(at_most: usize, each: usize, what: &str, mut once: impl FnMut()) {
    (0..WARM_UP).for_each(|_| once());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..TIMES).for_each(|_| once());
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(
        (each * TIMES..=at_most).contains(&allocated),
        "{what}, {TIMES} times: {allocated}"
    );
    println!("{what}: {TIMES} times with {allocated} allocations");
}

/// Has a second fiber do `other` for as long as this one does `once`.
fn with_a_partner<S: Send + Sync + 'static>(
    what: &str,
    shared: S,
    once: impl Fn(&S),
    other: impl Fn(&S) + Send + 'static,
) {
    let shared = Arc::new(shared);
    let partner = partner(&shared, other);
    allocates_nothing(what, || once(&shared));
    partner.join().expect("it does as often what this one does");
}

fn partner<S: Send + Sync + 'static>(
    shared: &Arc<S>,
    other: impl Fn(&S) + Send + 'static,
) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    spawn(move || (0..WARM_UP + TIMES).for_each(|_| other(&shared)))
}

fn locks() {
    let mutex = Mutex::new(0);
    allocates_nothing("an uncontended lock", || {
        *mutex.lock().expect("not poisoned") += 1;
    });
    allocates_nothing("a lock with a timeout that does not fire", || {
        *mutex.lock_timeout(LATER).expect("it is free") += 1;
    });
    // Each holds it while the other one asks for it.
    let hold = |mutex: &Mutex<usize>| {
        let mut held = mutex.lock().expect("not poisoned");
        *held += 1;
        yield_now();
    };
    with_a_partner("a contended lock", Mutex::new(0), hold, hold);

    let semaphore = Semaphore::new(2);
    allocates_nothing("a free permit", || drop(semaphore.acquire_many(2)));
    let hold = |semaphore: &Semaphore| {
        let _permit = semaphore.acquire();
        yield_now();
    };
    with_a_partner("a contended permit", Semaphore::new(1), hold, hold);

    let wait_for = |parity: usize| {
        move |(mutex, condvar): &(Mutex<usize>, Condvar)| {
            let turn = mutex.lock().expect("not poisoned");
            let mut turn = condvar
                .wait_while(turn, |turn| *turn % 2 != parity)
                .expect("not poisoned");
            *turn += 1;
            condvar.notify_one();
        }
    };
    let monitor = (Mutex::new(0), Condvar::new());
    with_a_partner(
        "a wait on a condition variable",
        monitor,
        wait_for(0),
        wait_for(1),
    );
}

fn shared_locks() {
    let lock = RwLock::new(0);
    allocates_nothing("a free read-write lock", || {
        *lock.write().expect("not poisoned") += 1;
        let first = lock.read().expect("not poisoned");
        let second = lock.read_timeout(LATER).expect("there is room");
        assert_eq!(*first, *second);
    });
    // Each has it while the other one asks for it.
    let read = |lock: &RwLock<usize>| {
        let _held = lock.read().expect("not poisoned");
        yield_now();
    };
    let write = |lock: &RwLock<usize>| {
        *lock.write().expect("not poisoned") += 1;
        yield_now();
    };
    with_a_partner("a contended read", RwLock::new(0), read, write);
    with_a_partner("a contended write", RwLock::new(0), write, read);

    let meet = |barrier: &Barrier| _ = barrier.wait();
    with_a_partner("a barrier", Barrier::new(2), meet, meet);
    let take_turns = |from: usize| {
        move |counter: &Counter| {
            counter.wait(from);
            if from == 0 {
                counter.add(1);
            } else {
                counter.sub(1);
            }
        }
    };
    with_a_partner(
        "a wait for a counter",
        Counter::new(0),
        take_turns(0),
        take_turns(1),
    );
}

type Channel = (Sender<usize>, Receiver<usize>);

fn send((sender, _): &Channel) {
    sender.send(1).expect("the receiver is there");
}

fn recv((_, receiver): &Channel) {
    receiver.recv().expect("the sender is there");
}

fn send_in_time((sender, _): &Channel) {
    sender
        .send_timeout(1, LATER)
        .expect("the receiver is there");
}

fn recv_in_time((_, receiver): &Channel) {
    receiver.recv_timeout(LATER).expect("the sender is there");
}

fn channels() {
    let buffered = bounded(4);
    allocates_nothing("a send and a receive that do not wait", || {
        send(&buffered);
        recv(&buffered);
    });
    allocates_nothing("a full and an empty channel, tried", || {
        (0..4).for_each(|_| send(&buffered));
        assert!(buffered.0.try_send(1).is_err(), "it is full");
        (0..4).for_each(|_| recv(&buffered));
        assert!(buffered.1.try_recv().is_err(), "it is empty");
    });
    with_a_partner("a send that waits for room", bounded(1), send, recv);
    with_a_partner("a receive that waits for a value", bounded(1), recv, send);
    with_a_partner("a rendezvous", rendezvous(), send, recv);
    with_a_partner("a rendezvous from the other side", rendezvous(), recv, send);
    with_a_partner(
        "timeouts that do not fire",
        rendezvous(),
        send_in_time,
        recv_in_time,
    );
}

fn queues() {
    let growing = unbounded();
    allocates_nothing("an unbounded channel that does not grow", || {
        (0..8).for_each(|_| send(&growing));
        (0..8).for_each(|_| recv(&growing));
    });
    with_a_partner(
        "a receive that waits for an unbounded channel",
        unbounded(),
        recv,
        send_in_turn,
    );
    for policy in [Overflow::DropOldest, Overflow::PenaliseSender] {
        let (sender, mailbox) = Mailbox::with_capacity(2, policy);
        allocates_nothing("a mailbox that runs over", || {
            (0..4).for_each(|n| sender.send(n).expect("the reader is there"));
            assert!(mailbox.try_iter().count() >= 2);
        });
    }
    let mailbox = || {
        let (sender, mailbox) = Mailbox::with_capacity(1, Overflow::Block);
        (sender, Receiver::clone(&mailbox))
    };
    with_a_partner("a mailbox that blocks", mailbox(), send, recv);
    with_a_partner("a mailbox that is waited for", mailbox(), recv, send);
}

/// Lets the receiver wait again before the next one.
fn send_in_turn(channel: &Channel) {
    send(channel);
    yield_now();
}

type Credits = (credit::Sender<usize>, credit::Receiver<usize>);

fn credits() {
    let give = |(sender, _): &Credits| {
        let credit = sender.credit().expect("the receiver is there");
        credit.send(1).expect("the receiver is there");
    };
    let take = |(_, receiver): &Credits| {
        receiver.recv().expect("the sender is there");
    };
    let window = credit::channel(2);
    allocates_nothing("a credit that is there", || {
        give(&window);
        drop(window.0.credit_timeout(LATER).expect("there are two"));
        take(&window);
    });
    with_a_partner(
        "a credit that is waited for",
        credit::channel(1),
        give,
        take,
    );
    with_a_partner(
        "a value that is waited for",
        credit::in_batches(2, 2),
        take,
        give,
    );
}

fn news() {
    let (sender, mut receiver) = watch::channel(0);
    allocates_nothing("a watched value", || {
        sender.send(receiver.get() + 1).expect("one watches it");
        receiver.changed().expect("the sender is there");
    });
    let (sender, mut receiver) = broadcast::channel(4);
    allocates_nothing("a broadcast that overtakes its receiver", || {
        (0..5).for_each(|n| assert_eq!(sender.send(n), Ok(1)));
        receiver.recv().expect_err("it has missed one");
        (1..5).for_each(|n| assert_eq!(receiver.recv(), Ok(n)));
    });
    // Each wait is for what the other one sends when it has been heard.
    let values = (watch::channel(0), watch::channel(0));
    let ((there, mut here), (back, mut elsewhere)) = values;
    let partner = spawn(move || {
        for _ in 0..WARM_UP + TIMES {
            elsewhere.changed().expect("the sender is there");
            there.send(elsewhere.get()).expect("one watches it");
        }
    });
    allocates_nothing("a watched value that is waited for", || {
        back.send_modify(|value| *value += 1);
        here.changed_timeout(LATER).expect("the sender is there");
    });
    partner.join().expect("it answers as often as it is asked");
    let ((there, mut here), (back, mut elsewhere)) = (broadcast::channel(2), broadcast::channel(2));
    let partner = spawn(move || {
        for _ in 0..WARM_UP + TIMES {
            let message = elsewhere.recv().expect("the sender is there");
            there.send(message).expect("one hears it");
        }
    });
    allocates_nothing("a broadcast that is waited for", || {
        back.send(1).expect("one hears it");
        assert_eq!(here.recv_timeout(LATER), Ok(1));
    });
    partner.join().expect("it answers as often as it is asked");
}

/// What is made anew each time: its own memory, and none for waiting.
fn fibers() {
    allocates(1, "a promise that is kept", || {
        let (sender, receiver) = oneshot::channel();
        sender.send(1).expect("it is there");
        assert_eq!(receiver.recv(), Ok(1));
    });
    // The worker keeps the memory of those that have ended for the next ones.
    allocates_up_to(MEASURED_AT_MOST, 0, "a fiber, and its join", || {
        spawn(|| {}).join().expect("it has nothing to do");
    });
    // What its joiner is told takes memory; the cancel and its words do not.
    allocates(1, "a fiber that is cancelled before it starts", || {
        let cancelled = spawn(|| ());
        cancelled.fiber().cancel_with("it is not needed");
        cancelled.join().expect_err("it has never run");
    });
    let (sender, receiver) = bounded(1);
    let given = receiver.clone();
    let waits_first = "a fiber that waits before it starts";
    allocates_up_to(MEASURED_AT_MOST, 0, waits_first, || {
        let waits = spawn_when(given.clone().into_recv_operation(), |value| value);
        // It has come to wait when we are asked again.
        yield_now();
        sender.send(1).expect("somebody waits for it");
        assert_eq!(waits.join().expect("it does not panic"), Ok(1));
    });
    allocates(1, "a fiber and a promise that it keeps in time", || {
        let (sender, receiver) = oneshot::channel();
        spawn(move || sender.send(1)).detach();
        assert_eq!(receiver.recv_timeout(LATER), Ok(1));
    });
    let mut set = JoinSet::new();
    allocates(2, "a fiber and its entry in a set", || {
        set.spawn(|| {});
        set.join_next()
            .expect("there is one")
            .expect("it has nothing to do");
    });
}

fn operations() {
    let open = Latch::new();
    open.open();
    allocates_nothing("an open latch", || {
        perform(open.wait_operation("an open latch"))
    });
    let closed = Latch::new();
    allocates_nothing("a timeout that fires", || {
        let waited = perform_until(closed.wait_operation("a latch"), Some(Duration::ZERO));
        waited.expect_err("nobody opens it");
    });
    let buffered = (bounded(1), bounded(1));
    allocates_nothing("a choice of four that need not wait", || {
        send(&buffered.0);
        choose_among(&buffered);
    });
    let ways = || (rendezvous(), rendezvous());
    with_a_partner(
        "a choice of four that waits",
        ways(),
        choose_among,
        |ways| send(&ways.1),
    );
    with_a_partner(
        "a choice that meets a choice",
        ways(),
        choose_among,
        |(one, other)| {
            choose! {
                sent = one.0.send_operation(1) => sent.expect("the receiver is there"),
                sent = other.0.send_operation(1) => sent.expect("the receiver is there"),
                () = timeout(LATER) => unreachable!("the partner is there"),
            }
        },
    );
}

/// Receives from one of two channels, with two arms that never come.
fn choose_among((one, other): &(Channel, Channel)) {
    let received = choose! {
        received = one.1.recv_operation() => received,
        received = other.1.recv_operation() => received,
        () = never::<()>() => unreachable!("never"),
        () = timeout(LATER) => unreachable!("the partner is there"),
    };
    received.expect("the sender is there");
}

// One test, so that no other one allocates meanwhile.
#[test]
fn what_blocks_allocates_nothing() {
    let env = Linux::new(Config::default()).expect("the host starts");
    let run = Runtime::builder(env).workers(1).watchdog(None).run(|| {
        IS_COUNTED.set(true);
        locks();
        shared_locks();
        channels();
        queues();
        credits();
        news();
        operations();
        fibers();
    });
    run.expect("the run succeeds");
}
