//! Clocks, entropy, stacks, threads, workers, helpers, unwinding: what is not a request.

extern crate std;

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{
    panic::Location,
    ptr,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use std::{sync::Mutex, thread};

use super::{bench::Bench, rig::PATIENCE};
use crate::env::{Env, Instant, Site, StackClass, StackMemory, Stacks};

pub(super) fn clocks_never_go_back(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let (mut now, mut cpu) = (rig.env.now(), rig.env.cpu());
        for round in 0..1000 {
            if round % 100 == 0 {
                rig.watch();
            }
            let (then, cpu_then) = (rig.env.now(), rig.env.cpu());
            assert!(then >= now, "the clock went from {now:?} back to {then:?}");
            assert!(
                cpu_then >= cpu,
                "CPU time went from {cpu:?} to {cpu_then:?}"
            );
            (now, cpu) = (then, cpu_then);
        }
        assert!(now < Instant::NEVER, "no clock shows NEVER");
        assert!(
            !rig.env.wall().since_unix().is_zero(),
            "it is later than 1970"
        );
    });
}

pub(super) fn workers_share_the_origin_of_time(bench: &Bench<'_>) {
    let (first, second) = (AtomicU64::new(0), AtomicU64::new(0));
    bench.ports(2, &[], |rig, worker| {
        rig.watch();
        if worker.index() == 0 {
            first.store(rig.env.now().as_nanos().max(1), Ordering::Release);
            rig.until("the other worker's look at the clock", |_| {
                second.load(Ordering::Acquire) != 0
            });
            let now = rig.env.now().as_nanos();
            let other = second.load(Ordering::Acquire);
            assert!(
                other <= now,
                "a later look at the clock showed an earlier time"
            );
        } else {
            rig.until("the other worker's look at the clock", |_| {
                first.load(Ordering::Acquire) != 0
            });
            let now = rig.env.now().as_nanos();
            let other = first.load(Ordering::Acquire);
            assert!(
                other <= now.max(1),
                "a later look at the clock showed an earlier time"
            );
            second.store(now.max(1), Ordering::Release);
        }
    });
}

pub(super) fn entropy_fills_every_byte(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        for len in [0, 1, 7, 256, 1000] {
            let mut seen = alloc::vec![0u8; len];
            // A byte stays zero with one chance in 2^64 if every draw is random.
            for _ in 0..8 {
                let mut bytes = alloc::vec![0u8; len];
                rig.env.fill(&mut bytes);
                seen.iter_mut()
                    .zip(bytes)
                    .for_each(|(all, byte)| *all |= byte);
            }
            assert!(
                seen.iter().all(|&byte| byte != 0),
                "a byte was never filled"
            );
        }
        let (mut one, mut two) = ([0; 32], [0; 32]);
        rig.env.fill(&mut one);
        rig.env.fill(&mut two);
        assert_ne!(one, two, "two draws are the same");
    });
}

pub(super) fn stacks_are_aligned_distinct_and_writable(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        for class in StackClass::ALL {
            for round in 0..3 {
                let stacks: Vec<StackMemory> = (0..3).map(|_| map(rig.env, class)).collect();
                for (index, stack) in stacks.iter().enumerate() {
                    check_shape(stack, class);
                    fill(stack, index + round);
                }
                for (index, stack) in stacks.into_iter().enumerate() {
                    assert!(is_filled(&stack, index + round), "two stacks overlap");
                    // SAFETY: no frame was ever on it (I-3).
                    unsafe { rig.env.unmap_stack(stack) };
                }
            }
        }
    });
}

pub(super) fn stacks_that_are_given_back_together_are_gone(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let before = rig.env.stack_stats();
        let classes = [StackClass::K16, StackClass::K64];
        let each = |count| classes.into_iter().cycle().take(count);
        let mut stacks: Vec<StackMemory> = each(200).map(|class| map(rig.env, class)).collect();
        let during = rig.env.stack_stats();
        // A host that does not count says zero, always.
        if during.in_use() != 0 {
            for class in classes {
                let taken = during.of(class).in_use - before.of(class).in_use;
                assert_eq!(taken, 100, "stacks in use of {class:?}");
            }
        }
        // SAFETY: no frame was ever on them (I-3).
        unsafe { rig.env.unmap_stacks(&mut stacks) };
        assert!(stacks.is_empty(), "stacks were left with their worker");
        let after = rig.env.stack_stats();
        assert_eq!(after.in_use(), before.in_use(), "stacks in use afterwards");
    });
}

pub(super) fn a_cleared_stack_tells_how_deep_it_was_used(bench: &Bench<'_>) {
    const DEEP: usize = 9_000;
    bench.port(&[], |rig| {
        let stack = map(rig.env, StackClass::K64);
        fill(&stack, 1);
        // SAFETY: nobody runs on it, and what lies in it is not needed (I-3).
        if unsafe { rig.env.clear_stack(&stack) } {
            // SAFETY: cleared just above, and nobody runs on it (I-3).
            let depth = || unsafe { rig.env.stack_depth(&stack) };
            assert_eq!(depth(), Some(0), "nothing was used");
            // SAFETY: less than the stack's bytes below its base (I-3).
            let deep = unsafe { stack.base().sub(DEEP) };
            // SAFETY: within the stack, which nobody else has (I-3).
            unsafe { deep.write(1) };
            let told = depth().expect("a host that clears can measure");
            assert!((DEEP..DEEP + 4096).contains(&told), "{DEEP} became {told}");
        }
        // SAFETY: no frame was ever on it (I-3).
        unsafe { rig.env.unmap_stack(stack) };
    });
}

#[track_caller]
fn map(env: &(impl Stacks + ?Sized), class: StackClass) -> StackMemory {
    env.map_stack(class).expect("a few stacks are available")
}

fn check_shape(stack: &StackMemory, class: StackClass) {
    let (base, limit) = (stack.base().addr().get(), stack.limit().addr().get());
    assert_eq!(stack.class(), class, "the class that was asked for");
    assert_eq!(
        (base % 64, limit % 64),
        (0, 0),
        "both ends are aligned to 64 bytes"
    );
    assert!(base > limit, "a stack grows down");
    let room = base - limit;
    // A host may take its guard out of the class's size, but not more than one page.
    assert!(
        room + 4096 >= class.bytes(),
        "{class:?} has room for {room} bytes only"
    );
}

/// Writes to both ends and to each 512th byte between them.
fn fill(stack: &StackMemory, mark: usize) {
    for (offset, at) in probes(stack) {
        let byte = probe(mark, offset);
        // SAFETY: within `limit..base`, which the stack's owner may write (I-3).
        unsafe { at.write(byte) };
    }
}

fn is_filled(stack: &StackMemory, mark: usize) -> bool {
    probes(stack).into_iter().all(|(offset, at)| {
        // SAFETY: within `limit..base`, written by `fill` (I-3).
        let byte = unsafe { at.read() };
        byte == probe(mark, offset)
    })
}

fn probes(stack: &StackMemory) -> Vec<(usize, ptr::NonNull<u8>)> {
    let room = stack.base().addr().get() - stack.limit().addr().get();
    let offsets = (0..room).step_by(512).chain([room - 1]);
    let at = |offset| {
        // SAFETY: `offset` is less than the distance from `limit` to `base` (I-3).
        (offset, unsafe { stack.limit().add(offset) })
    };
    offsets.map(at).collect()
}

const fn probe(mark: usize, offset: usize) -> u8 {
    (offset / 512 + mark * 67 + 1).to_le_bytes()[0]
}

pub(super) fn the_thread_slot_is_one_pointer_a_thread(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let hooks = rig.env.hooks();
        let before = (hooks.slot)();
        let mark = AtomicBool::new(false);
        (hooks.set_slot)(ptr::from_ref(&mark).cast());
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!((hooks.slot)().is_null(), "a thread's slot starts out empty");
                let mark = AtomicBool::new(false);
                (hooks.set_slot)(ptr::from_ref(&mark).cast());
                assert_eq!((hooks.slot)(), ptr::from_ref(&mark).cast());
                (hooks.set_slot)(ptr::null());
            });
        });
        assert_eq!(
            (hooks.slot)(),
            ptr::from_ref(&mark).cast(),
            "the slot is this thread's own"
        );
        (hooks.set_slot)(before);
        assert!(ptr::eq(hooks, rig.env.hooks()), "the hooks never change");
    });
}

pub(super) fn a_plain_thread_parks_until_it_is_unparked(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let hooks = rig.env.hooks();
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                // Early: the next park returns at once.
                (hooks.unparker)().unpark();
                let start = (hooks.now)();
                (hooks.park)(Some(PATIENCE));
                let slept = (hooks.now)().saturating_since(start);
                assert!(slept < PATIENCE, "an early unpark did not end the park");
                let start = (hooks.now)();
                while (hooks.now)().saturating_since(start) < Duration::from_millis(2) {
                    (hooks.park)(Some(Duration::from_millis(1)));
                }
                (hooks.relax)();
            });
            sleeper.join().expect("a thread that parks goes on");
        });
        let (gate, unparker) = (AtomicBool::new(false), Mutex::new(None));
        thread::scope(|scope| {
            scope.spawn(|| {
                *unparker.lock().expect("no panic under it") = Some((hooks.unparker)());
                while !gate.load(Ordering::Acquire) {
                    (hooks.park)(None);
                }
            });
            let other = loop {
                let other = unparker.lock().expect("no panic under it").clone();
                match other {
                    Some(other) => break other,
                    None => (hooks.relax)(),
                }
            };
            gate.store(true, Ordering::Release);
            other.unpark();
        });
    });
}

pub(super) fn each_worker_runs_once_and_run_waits_for_all(bench: &Bench<'_>) {
    for n in [1, 2, 5] {
        let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
        bench.workers(n, &|env, worker| {
            assert!(env.parallelism() >= 1, "at least one worker is worth it");
            counts[worker.index()].fetch_add(1, Ordering::Relaxed);
        });
        let counts: Vec<usize> = counts.into_iter().map(AtomicUsize::into_inner).collect();
        assert_eq!(
            counts,
            alloc::vec![1; usize::from(n)],
            "each worker runs once"
        );
    }
}

pub(super) fn what_is_thrown_is_caught_with_its_payload(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let env = rig.env;
        assert_eq!(
            env.caps().unwind,
            env.can_unwind(),
            "caps tell about unwinding"
        );
        assert!(env.catch(&mut || {}).is_ok(), "nothing was thrown");
        if !env.can_unwind() {
            return;
        }
        let (dropped, seen) = (AtomicBool::new(false), AtomicBool::new(false));
        let outer = env.catch(&mut || {
            let inner = env.catch(&mut || {
                let _guard = OnDrop(|| {
                    dropped.store(true, Ordering::Relaxed);
                    seen.store(env.is_unwinding(), Ordering::Relaxed);
                });
                env.throw(Box::new(41u32));
            });
            let inner = inner.expect_err("it was thrown");
            assert_eq!(inner.downcast_ref(), Some(&41u32), "the inner payload");
            assert!(!env.is_unwinding(), "a caught panic is over");
            env.throw(Box::new(String::from("outer")));
        });
        let outer = outer.expect_err("it was thrown");
        let text = outer.downcast_ref::<String>().map(String::as_str);
        assert_eq!(text, Some("outer"), "the outer payload");
        assert!(dropped.into_inner(), "unwinding drops what is on the stack");
        assert!(seen.into_inner(), "unwinding can be seen");
        let panicked = env.catch(&mut || std::panic::resume_unwind(Box::new(7u8)));
        let panicked = panicked.expect_err("a panic is caught as well");
        assert_eq!(panicked.downcast_ref(), Some(&7u8), "a panic's payload");
    });
}

pub(super) fn a_panic_is_told_of_before_it_unwinds(bench: &Bench<'_>) {
    const MESSAGE: &str = "a panic on purpose";
    bench.port(&[], |rig| {
        let env = rig.env;
        if !env.can_unwind() {
            return;
        }
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let me = thread::current().id();
        (env.hooks().watch_panics)(Box::new(move |panicking, print| {
            let text = panicking.payload.downcast_ref::<String>();
            let its_own = text.filter(|&text| text == MESSAGE && thread::current().id() == me);
            if let Some(text) = its_own {
                let line = panicking.location.map(Location::line);
                let mut log = log.lock().expect("no panic while it is locked");
                log.push((text.as_ptr().addr(), line));
            }
            print();
        }));
        let seen = AtomicUsize::new(0);
        let count = || told.lock().expect("no panic while it is locked").len();
        let line = line!() + 3;
        let caught = env.catch(&mut || {
            let _guard = OnDrop(|| seen.store(count(), Ordering::Relaxed));
            std::panic::panic_any(String::from(MESSAGE));
        });
        assert_eq!(seen.into_inner(), 1, "told once, and before it unwinds");
        let caught = caught.expect_err("it panicked");
        let text = caught.downcast_ref::<String>();
        let text = text.expect("text stays what it is");
        let all = told.lock().expect("no panic while it is locked").clone();
        assert_eq!(all, [(text.as_ptr().addr(), Some(line))], "where it began");
        let thrown = env.catch(&mut || env.throw(Box::new(String::from(MESSAGE))));
        assert!(thrown.is_err(), "it was thrown");
        assert_eq!(count(), 1, "what is thrown is no new panic");
    });
}

pub(super) fn what_is_set_aside_is_out_of_sight_and_comes_back(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let env = rig.env;
        if !env.can_unwind() {
            assert!(!env.caps().aside, "there is nothing to be set aside");
            return;
        }
        for depth in 1..=3 {
            // Asserted afterwards: a panic in a destructor of something that unwinds aborts.
            let seen = Mutex::new(Vec::new());
            let look = || seen.lock().expect("no panic").push(env.is_unwinding());
            unwind(env, depth, &|| {
                env.set_aside(&mut || {
                    look();
                    unwind(env, 1, &look);
                    look();
                });
                look();
            });
            let still = !env.caps().aside;
            let seen = seen.into_inner().expect("no panic");
            assert_eq!(seen, [still, true, still, true], "aside, and back");
        }
    });
}

/// Throws, catches it, and runs `body` in between: in the unwinding of a destructor of a destructor
/// and so on.
fn unwind(env: &dyn Env, depth: usize, body: &dyn Fn()) {
    let caught = env.catch(&mut || {
        let _guard = OnDrop(|| match depth {
            1 => body(),
            _ => unwind(env, depth - 1, body),
        });
        env.throw(Box::new(depth));
    });
    let caught = caught.expect_err("it was thrown");
    assert_eq!(caught.downcast_ref(), Some(&depth), "the payload");
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

pub(super) fn an_offloaded_job_runs_and_wakes_its_port(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let runs = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let (counter, unparker) = (Arc::clone(&runs), rig.unparker());
            let job = Box::new(move || {
                counter.fetch_add(1, Ordering::Release);
                unparker.unpark();
            });
            let taken = rig.env.offload(job);
            assert!(taken.is_ok(), "an idle pool takes ten jobs");
        }
        rig.until("the end of ten jobs", |_| {
            runs.load(Ordering::Acquire) == 10
        });
    });
}

pub(super) fn a_chooser_stays_in_range(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let Some(chooser) = rig.env.chooser() else {
            return;
        };
        let site = Site::new("laws");
        for n in 1..200 {
            assert!(chooser.choose(site, n) < n, "a choice among {n}");
        }
    });
}
