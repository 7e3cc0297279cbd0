//! What the store counts is what the allocator really hands out.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ffi::c_void;
use std::alloc::System;

use cache::{Cache, Config, Limits, Progress, Seconds, Server, Session, recycle};

/// Counts what the system's allocator takes for what it is asked, not what it is asked.
struct Counting;

thread_local! {
    /// What this thread holds; the harness has threads of its own. It is constant-initialised and
    /// has no destructor, so that reading it needs no memory itself.
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The word in front of each block, where the allocator keeps its length.
const WORD: usize = 8;

fn taken(block: *mut u8) -> usize {
    // SAFETY: the caller has it from the system's allocator and has not given it back (I-3).
    WORD + unsafe { libc::malloc_usable_size(block.cast::<c_void>()) }
}

// SAFETY: every call goes to the system's allocator unchanged, so what it promises holds (I-3:
// memory is given back only by its owner).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises of `alloc`, which are the same (I-3).
        let block = unsafe { System.alloc(layout) };
        // What came from another thread makes it wrap, and back.
        BYTES.set(BYTES.get().wrapping_add(taken(block)));
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get().wrapping_sub(taken(block)));
        // SAFETY: the caller keeps the promises of `dealloc`, which are the same (I-3).
        unsafe { System.dealloc(block, layout) }
    }
}

const LIMIT: usize = 4 << 20;
const NOW: u64 = 1_700_000_000;

/// A client that writes, reads and deletes at random, and wants no answers.
struct Client {
    session: Session,
    out: Vec<u8>,
    random: u64,
    now: Seconds,
}

impl Client {
    fn new() -> Self {
        Self {
            session: Session::new(Limits::default()),
            out: Vec::new(),
            random: 1,
            now: Seconds::from_unix(NOW),
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % n
    }

    fn say(&mut self, cache: &Cache, text: &str) {
        let mut input = text.as_bytes();
        while !input.is_empty() {
            let space = self.session.space();
            let bytes = space.len().min(input.len());
            space[..bytes].copy_from_slice(&input[..bytes]);
            self.session.filled(bytes);
            input = &input[bytes..];
            while self.session.process(cache, self.now, &mut self.out) == Progress::Flush {
                recycle(&mut self.out);
            }
            assert!(
                !self.out.starts_with(b"SERVER_ERROR"),
                "{}",
                self.out.escape_ascii()
            );
            recycle(&mut self.out);
        }
    }

    /// One random command, with values of up to `bytes_max`, most of them much shorter.
    fn live(&mut self, cache: &Cache, keys: u64, bytes_max: u64) {
        let key = self.below(keys);
        let cap = 1 + self.below(bytes_max);
        let bytes = usize::try_from(self.below(cap)).expect("a length");
        let value = "v".repeat(bytes);
        let exptime = if self.below(4) == 0 {
            1 + self.below(50)
        } else {
            0
        };
        let text = match self.below(10) {
            0..=5 => format!("set key-{key} 0 {exptime} {bytes}\r\n{value}\r\n"),
            6 => format!(
                "append key-{key} 0 0 {}\r\n{}\r\n",
                bytes % 50,
                &value[..bytes % 50]
            ),
            7 => format!("delete key-{key}\r\n"),
            8 => format!("mg key-{key} N{exptime} v\r\n"),
            _ => format!("get key-{key}\r\n"),
        };
        self.say(cache, &text);
        // A second passes for every few hundred commands.
        if self.below(500) == 0 {
            self.now = Seconds::from_unix(self.now.as_unix() + 1);
        }
    }

    fn statistic(&mut self, cache: &Cache, name: &str) -> usize {
        self.session.space()[..7].copy_from_slice(b"stats\r\n");
        self.session.filled(7);
        assert_eq!(
            self.session.process(cache, self.now, &mut self.out),
            Progress::Read
        );
        let text = String::from_utf8_lossy(&self.out).into_owned();
        recycle(&mut self.out);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    }
}

/// Percent by which `number` misses `of`.
fn misses_by(number: usize, of: usize) -> f64 {
    let wide = |number: usize| f64::from(u32::try_from(number).expect("a few MiB"));
    100.0 * (wide(number) - wide(of)) / wide(of)
}

#[test]
fn eviction_keeps_what_is_allocated_within_two_percent_of_the_limit() {
    let mut config = Config::default();
    config.memory_bytes = LIMIT;
    for (keys, bytes_max) in [
        (250_000, 60),
        (25_000, 2_000),
        (5_000, 30_000),
        (1_000, 50_000),
    ] {
        let before = BYTES.get();
        let mut now = Seconds::from_unix(NOW);
        let server = Server::new(1, 1, 1, now);
        let cache = Cache::new(config, server);
        for round in 0..6 {
            let mut client = Client::new();
            client.random += round;
            client.now = now;
            for _ in 0..(50_000_000 / (bytes_max + 2_000)).min(15_000) {
                client.live(&cache, keys, bytes_max);
            }
            let charged = client.statistic(&cache, "bytes");
            let items = client.statistic(&cache, "curr_items");
            let evictions = client.statistic(&cache, "evictions");
            now = client.now;
            drop(client);
            let real = BYTES.get().wrapping_sub(before);
            let (of_charge, of_limit) = (misses_by(real, charged), misses_by(real, LIMIT));
            let found = format!(
                "values up to {bytes_max}: {items} items, {charged} charged, {real} real: \
                 {of_charge:+.2} % of the charge, {of_limit:+.2} % of the limit"
            );
            assert!(charged <= LIMIT, "{found}");
            assert!(real.abs_diff(charged) * 50 <= LIMIT, "{found}");
            assert!(of_limit <= 2.0, "{found}");
            // The first rounds fill it.
            if round >= 3 {
                assert!(evictions > 0, "it is full by now: {found}");
                assert!(of_limit >= -2.0, "{found}");
            }
        }
        drop(cache);
        let left = BYTES.get().wrapping_sub(before);
        assert_eq!(left, 0, "everything is given back");
    }
}
