//! Once warm, a port allocates nothing, whatever goes through it.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
};
use std::alloc::System;

use fiber_core::{
    env::Wait,
    request::{Extent, Lent, LentMut, Outcome, RawDescriptor, Request},
};
use host_linux::Linux;

use crate::rig::{self, Rig, leaked};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: it only counts, without allocating, and leaves the work to the system's allocator (I-7).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise (I-7).
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise (I-7).
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_ring_allocates_nothing() {
    allocates_nothing_once_warm(&rig::ring());
}

#[test]
fn a_warm_poller_allocates_nothing() {
    allocates_nothing_once_warm(&rig::poll());
}

fn allocates_nothing_once_warm(linux: &Linux) {
    let mut rig = Rig::new(linux);
    let (client, server) = rig.pair();
    let (buffer, header) = (leaked(64), leaked(16));
    for _ in 0..200 {
        exchange(&mut rig, client, server, buffer, header);
    }
    let before = COUNT.get();
    for _ in 0..200 {
        exchange(&mut rig, client, server, buffer, header);
    }
    assert_eq!(COUNT.get() - before, 0, "allocations in 200 exchanges");
    rig.close(client);
    rig.close(server);
}

/// A receive that has to wait, of each kind, a cancelled one, and what they wait for.
fn exchange(
    rig: &mut Rig,
    client: RawDescriptor,
    server: RawDescriptor,
    buffer: &mut [u8],
    header: &mut [u8],
) {
    let cancelled = rig.stage(Request::Recv {
        descriptor: server,
        into: LentMut::new(buffer),
        extent: Extent::Some,
    });
    rig.turn(Wait::No);
    rig.stage(Request::Cancel { token: cancelled });
    assert!(matches!(rig.finish(cancelled), Outcome::Failed(_)));

    let whole = rig.stage(Request::Recv {
        descriptor: server,
        into: LentMut::new(buffer),
        extent: Extent::All,
    });
    rig.turn(Wait::No);
    let sent = rig.stage(Request::Send {
        descriptor: client,
        from: Lent::new(&[7; 64]),
        extent: Extent::All,
    });
    assert_eq!(rig.finish(sent), Outcome::Done(64));
    assert_eq!(rig.finish(whole), Outcome::Done(64));

    let mut into = [LentMut::new(header), LentMut::new(buffer)];
    let vectored = rig.stage(Request::RecvVectored {
        descriptor: client,
        into: (&mut into[0]).into(),
        count: 2,
    });
    rig.turn(Wait::No);
    let from = [Lent::new(b"head"), Lent::new(b"body")];
    let sent = rig.stage(Request::SendVectored {
        descriptor: server,
        from: (&from[0]).into(),
        count: 2,
    });
    assert_eq!(rig.finish(sent), Outcome::Done(8));
    assert_eq!(rig.finish(vectored), Outcome::Done(8));
}
