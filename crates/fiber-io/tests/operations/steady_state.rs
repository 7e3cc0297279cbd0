//! Once warm, an arm that loses has allocated nothing.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    time::Duration,
};
use std::alloc::System;

use fiber_core::{choose, operation::timeout};

use crate::support::{listener, on_linux, pair};

/// Counts the allocations of each thread.
struct Counting;

std::thread_local! {
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
fn arms_that_lose_allocate_nothing() {
    on_linux(|| {
        let (_client, server) = pair();
        let listener = listener();
        let lose = |rounds| {
            for _ in 0..rounds {
                choose! {
                    _ = server.readable_operation() => panic!("nothing was sent"),
                    _ = listener.accept_operation() => panic!("nobody has connected"),
                    () = timeout(Duration::from_micros(1)) => {}
                }
            }
        };
        lose(500);
        let before = COUNT.get();
        lose(2000);
        assert_eq!(COUNT.get() - before, 0, "allocations");
    });
}
