//! Once a channel is made, nothing that is sent through it takes memory: not at once, and not with
//! waiting.
#![cfg(not(loom))]
#![expect(
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "tests run on std, and may panic"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use fiber_core::script::ScriptEnv;
use fiber_sched::{Runtime, spawn};
use fiber_sync::channel::{
    Mailbox, Overflow, bounded, broadcast, credit, rendezvous, unbounded, watch,
};

/// Counts what each thread asks of the system's allocator.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate when its count is gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

fn allocations() -> u64 {
    ALLOCATIONS.get()
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: it forwards to the system's allocator, which keeps the contract (I-3).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: by the caller's promise (I-3).
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise (I-3).
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: by the caller's promise (I-3).
        unsafe { System.realloc(pointer, layout, size) }
    }
}

const WARM: u32 = 1_000;
const EACH: u32 = 20_000;

/// A fiber that sends and one that receives take turns at waiting, on one worker. What the first
/// rounds take (stacks, queues of the scheduler) the rest does without.
fn takes_no_memory(
    kind: &str,
    send: impl Fn(u32) + Send + 'static,
    mut receive: impl FnMut() -> u32 + Send + 'static,
) {
    let run = move || {
        let sending = spawn(move || (0..WARM + EACH).for_each(&send));
        (0..WARM).for_each(|_| _ = receive());
        let before = allocations();
        // Some of them stay for the end, of which nobody promises anything.
        (WARM..EACH).for_each(|_| _ = receive());
        let taken = allocations() - before;
        (WARM..2 * WARM).for_each(|_| _ = receive());
        sending.join().unwrap();
        taken
    };
    let runtime = Runtime::builder(ScriptEnv::new()).workers(1).closed_world();
    assert_eq!(runtime.run(run).unwrap(), 0, "{kind}");
}

#[test]
fn sending_and_receiving_take_no_memory() {
    for (kind, (sender, receiver)) in [
        ("rendezvous", rendezvous()),
        ("one place", bounded(1)),
        ("many places", bounded(300)),
    ] {
        let send = move |number| sender.send(number).unwrap();
        takes_no_memory(kind, send, move || receiver.recv().unwrap());
    }
    for (window, batch) in [(1, 1), (8, 4)] {
        let (sender, receiver) = credit::in_batches(window, batch);
        let send = move |number| sender.send(number).unwrap();
        takes_no_memory("credit", send, move || receiver.recv().unwrap());
    }
    let (sender, mailbox) = Mailbox::with_capacity(4, Overflow::Block);
    let send = move |number| sender.send(number).unwrap();
    takes_no_memory("mailbox", send, move || mailbox.recv().unwrap());
}

/// Those that never make a sender wait, in rounds.
#[test]
fn what_takes_the_place_of_something_older_takes_no_memory() {
    let (news, mut reader) = broadcast::channel(4);
    let (sender, mut watcher) = watch::channel(0);
    let (full, mailbox) = Mailbox::with_capacity(4, Overflow::DropOldest);
    let (queue, queued) = unbounded();
    let mut round = |number| {
        for part in 0..6 {
            news.send(number + part).unwrap();
            sender.send(number + part).unwrap();
            full.send(number + part).unwrap();
            queue.send(number + part).unwrap();
        }
        assert_eq!(reader.recv(), Err(broadcast::RecvError::Lagged(2)));
        for part in 2..6 {
            assert_eq!(reader.recv(), Ok(number + part));
            assert_eq!(mailbox.recv(), Ok(number + part));
        }
        assert!(queued.try_iter().eq(number..number + 6));
        assert_eq!(watcher.get(), number + 5);
    };
    drop(ScriptEnv::new());
    round(0);
    let before = allocations();
    (1..EACH).for_each(&mut round);
    assert_eq!(allocations() - before, 0);
}
