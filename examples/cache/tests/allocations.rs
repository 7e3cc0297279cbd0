//! A warm server allocates nothing: not in the runtime's frames, not in the session's.

extern crate alloc;

use alloc::sync::Arc;
use core::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::{AtomicU64, Ordering},
};
use std::{
    alloc::System,
    io::{Read, Write},
};

use cache::{
    Cache, Config, Limits, Server,
    server::{Drain, Listeners, Service, now, serve},
};
use fiber::{
    Runtime,
    io::{TcpListener, TcpStream},
};
use host_linux::{Io, Linux};

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

const REQUESTS: u32 = 2_000;

/// One set and one get, answered; nothing here allocates either.
fn exchange(mut stream: &TcpStream) {
    let mut answer = [0; 41];
    stream
        .write_all(b"set key 0 0 10\r\n0123456789\r\nget key\r\n")
        .expect("the server listens");
    stream.read_exact(&mut answer).expect("the server answers");
    assert_eq!(
        &answer,
        b"STORED\r\nVALUE key 0 10\r\n0123456789\r\nEND\r\n"
    );
}

fn allocations_of_a_warm_server(io: Io) -> u64 {
    let env = Linux::new(host_linux::Config::default().io(io)).expect("the host starts");
    // The watchdog's reports about a machine that is busy with other things take memory.
    let builder = Runtime::builder(env).workers(1).watchdog(None);
    let run = builder.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let cache = Arc::new(Cache::new(Config::default(), Server::new(1, 1, 10, now())));
        drop(fiber::spawn(move || {
            let (_drain, presence) = Drain::of(&listener);
            let listeners = Listeners {
                clients: listener,
                admin: None,
            };
            let service = Service::new(Limits::default());
            serve(listeners, &cache, service, &presence).expect("it serves");
        }));
        let stream = TcpStream::connect(address).expect("the server listens");
        for _ in 0..REQUESTS {
            exchange(&stream);
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..REQUESTS {
            exchange(&stream);
        }
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    run.expect("the run succeeds")
}

// One test, so that no other one allocates meanwhile.
#[test]
fn a_warm_server_allocates_nothing_on_either_driver() {
    for io in [Io::Auto, Io::Poll] {
        assert_eq!(allocations_of_a_warm_server(io), 0, "with {io:?}");
    }
}
