//! A session that has warmed up serves the common commands without asking for memory.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use std::alloc::System;

use cache::{Cache, Config, Limits, Progress, Seconds, Server, Session, recycle};

thread_local! {
    /// How often this thread has asked for memory. It is constant-initialised and has no
    /// destructor, so that reading it needs no memory itself.
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what it is asked.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged, so what it promises holds (I-3:
// memory is given back only by its owner).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        REQUESTS.set(REQUESTS.get() + 1);
        // SAFETY: the caller keeps the promises of `alloc`, which are the same (I-3).
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`, which are the same (I-3).
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn common_commands_do_not_allocate_in_a_warm_session() {
    let now = Seconds::from_unix(1_700_000_000);
    let cache = Cache::new(Config::default(), Server::new(1, 1, 1, now));
    let mut session = Session::new(Limits::default());
    let mut out = Vec::new();
    let value = "v".repeat(4_000);
    let batch = format!(
        "set k 0 0 4000\r\n{value}\r\nget k absent k\r\ngets k\r\nreplace k 1 0 4000\r\n{value}\r\n\
         incr n 1\r\ndecr n 1\r\ntouch k 100\r\ndelete absent\r\nnonsense\r\nversion\r\n\
         gat 0 k absent\r\nms k 4000 c k Oa T100\r\n{value}\r\nmg k v t f c s h l k Oa\r\n\
         mg absent k\r\nma n v c\r\nma n MD\r\nmd absent q\r\nmd k I\r\nme k\r\nmn\r\n\
         ms YmFy 3 b k\r\nabc\r\nmg YmFy b v k\r\n"
    );
    let mut serve = |input: &str| {
        let mut input = input.as_bytes();
        while !input.is_empty() {
            let space = session.space();
            let bytes = space.len().min(input.len());
            space[..bytes].copy_from_slice(&input[..bytes]);
            session.filled(bytes);
            input = &input[bytes..];
            assert_eq!(session.process(&cache, now, &mut out), Progress::Read);
            assert!(!out.starts_with(b"SERVER_ERROR"));
            recycle(&mut out);
        }
    };
    serve("set n 0 0 2\r\n10\r\n");
    for _ in 0..3 {
        serve(&batch);
    }
    let before = REQUESTS.get();
    for _ in 0..100 {
        serve(&batch);
    }
    assert_eq!(REQUESTS.get() - before, 0, "allocations in 1000 requests");
}
