//! Blocking allocates nothing: not the fast paths, and not the slow ones, on which a fiber parks.
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
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::alloc::System;

use fiber::{
    JoinHandle, Runtime, choose,
    operation::{Latch, never, perform, perform_until, timeout},
    spawn,
    sync::{
        Condvar, Mutex, Semaphore,
        channel::{Receiver, Sender, bounded, rendezvous},
    },
    yield_now,
};
use host_linux::{Config, Linux};

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: it forwards to the system's allocator, which keeps the contract (I-3).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: by the caller's promise (I-3).
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise (I-3).
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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

/// Long enough never to come.
const LATER: Duration = Duration::from_secs(3600);

/// Does it for a while, then so many times, during which nothing is allocated.
fn allocates_nothing(what: &str, mut once: impl FnMut()) {
    (0..WARM_UP).for_each(|_| once());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..TIMES).for_each(|_| once());
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(allocated, 0, "{what}, {TIMES} times");
    println!("{what}: {TIMES} times without an allocation");
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
        locks();
        channels();
        operations();
    });
    run.expect("the run succeeds");
}
