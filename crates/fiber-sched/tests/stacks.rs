//! Stacks, from the fibers' side: larger ones for part of a fiber, none left, and how deep they
//! were used. On the scripted host, whose clock is virtual.
#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

use alloc::{collections::VecDeque, sync::Arc};
use core::{
    hint::black_box,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::panic::{catch_unwind, panic_any};

use fiber_core::{
    Context,
    env::{Clock, Instant, StackClass, Stacks, WorkerId},
    io::open_signals,
    script::ScriptEnv,
    signal::{Signal, SignalSet},
};
use fiber_sched::{
    ExitReason, FiberBuilder, Runtime, checkpoint, current, is_cancelled, mask, on_big_stack, park,
    sleep, spawn, timeout, yield_now,
};

const SECOND: Duration = Duration::from_secs(1);

fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    let env = ScriptEnv::new();
    let value = Runtime::builder(Arc::<ScriptEnv>::clone(&env))
        .workers(1)
        .stack(StackClass::K64)
        .closed_world()
        .run(main)
        .unwrap();
    assert_eq!(env.stack_stats().in_use(), 0, "every stack went back");
    value
}

/// Uses so many KiB of stack.
fn dig(kib: usize) -> usize {
    let frame = black_box([1_u8; 1024]);
    let below = if kib == 0 { 0 } else { dig(kib - 1) };
    below + usize::from(black_box(&frame)[kib % 1024])
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_body_on_a_big_stack_has_more_room_than_its_fiber() {
    let dug = run(|| on_big_stack(StackClass::M1, || dig(200)).unwrap());
    assert_eq!(dug, 201);
}

#[test]
fn a_body_on_a_big_stack_is_the_same_fiber_and_may_borrow() {
    run(|| {
        let outside = current().unwrap();
        let mut seen = 0;
        let same = on_big_stack(StackClass::K256, || {
            seen += 1;
            current().unwrap() == outside
        });
        assert_eq!((same, seen), (Ok(true), 1));
    });
}

#[test]
fn fibers_park_and_are_woken_on_big_stacks_among_each_other() {
    run(|| {
        let fibers: Vec<_> = (0..20_u64)
            .map(|number| {
                spawn(move || {
                    on_big_stack(StackClass::K256, || {
                        let kept = black_box([number; 64]);
                        for _ in 0..10 {
                            sleep(Duration::from_millis(number + 1));
                            yield_now();
                        }
                        kept.iter().sum::<u64>()
                    })
                    .unwrap()
                })
            })
            .collect();
        for (number, fiber) in (0..).zip(fibers) {
            assert_eq!(fiber.join().unwrap(), 64 * number);
        }
    });
}

#[test]
fn big_stacks_nest_and_come_back_in_order() {
    fn deeper(level: usize) -> usize {
        if level == 0 {
            yield_now();
            return dig(100);
        }
        let below = on_big_stack(StackClass::K256, || deeper(level - 1)).unwrap();
        yield_now();
        below + 1
    }
    assert_eq!(run(|| spawn(|| deeper(8)).join().unwrap()), 109);
}

#[test]
fn a_cancel_unwinds_a_parked_body_and_what_is_around_it() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (inner, outer) = (Arc::clone(&drops), Arc::clone(&drops));
    run(move || {
        let fiber = spawn(move || {
            let _outside = Counted(outer);
            on_big_stack(StackClass::K256, || {
                let _inside = Counted(inner);
                on_big_stack(StackClass::M1, park).unwrap();
            })
            .unwrap();
        });
        yield_now();
        fiber.cancel();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
    });
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

#[test]
fn a_destructor_may_park_while_its_body_is_unwound_on_a_big_stack() {
    struct Slow(Arc<AtomicUsize>);
    impl Drop for Slow {
        fn drop(&mut self) {
            let unwinding = fiber_core::park::unwinding();
            assert_eq!(unwinding, Some(fiber_core::park::UnwindReason::Interrupt));
            mask(|| sleep(SECOND));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let (inner, outer) = (Arc::clone(&drops), Arc::clone(&drops));
    run(move || {
        let fiber = spawn(move || {
            let _outside = Slow(outer);
            on_big_stack(StackClass::K256, || {
                let _inside = Slow(inner);
                park();
            })
            .unwrap();
        });
        yield_now();
        fiber.cancel();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
    });
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

#[test]
fn a_panic_keeps_its_payload_and_can_be_caught_outside() {
    run(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            on_big_stack(StackClass::K256, || panic_any(42_u32))
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<u32>(), Some(&42));
        let fiber = spawn(|| on_big_stack(StackClass::K256, || panic_any("through")).unwrap());
        let Err(ExitReason::Panicked(payload)) = fiber.join() else {
            panic!("it was to panic");
        };
        assert_eq!(payload.message(), Some("through"));
    });
}

#[test]
fn timeouts_reach_into_a_big_stack_and_around_it() {
    run(|| {
        let inside = on_big_stack(StackClass::K256, || timeout(SECOND, park));
        assert!(inside.unwrap().is_err());
        let around = timeout(SECOND, || on_big_stack(StackClass::K256, park));
        assert!(around.is_err());
        assert!(!is_cancelled(), "what was interrupted is over");
        checkpoint();
        let success = timeout(SECOND, || on_big_stack(StackClass::K256, || 7));
        assert_eq!(success, Ok(Ok(7)));
    });
}

#[test]
fn on_a_plain_thread_the_body_is_just_called() {
    assert_eq!(on_big_stack(StackClass::M8, || 7), Ok(7));
}

#[test]
fn a_big_stack_that_is_not_to_be_had_is_an_error_and_the_body_is_dropped() {
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Counted(Arc::clone(&drops));
    let env = ScriptEnv::with(fiber_core::script::Script::new().stacks_max(1));
    Runtime::builder(env)
        .workers(1)
        .closed_world()
        .run(move || {
            let refused = on_big_stack(StackClass::M1, move || drop(counted));
            let text = refused.unwrap_err().to_string();
            assert!(text.starts_with("no stack: 1 are in use"), "{text}");
            assert_eq!(on_big_stack(StackClass::M1, || 1).ok(), None);
        })
        .unwrap();
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn stacks_that_a_worker_keeps_of_other_classes_do_not_stand_in_a_fibers_way() {
    const FIBERS: usize = 9;
    let env = ScriptEnv::with(fiber_core::script::Script::new().stacks_max(1 + FIBERS));
    Runtime::builder(Arc::<ScriptEnv>::clone(&env))
        .workers(1)
        .stack(StackClass::K64)
        .closed_world()
        .run(|| {
            let tiny = FiberBuilder::new().stack(StackClass::K16);
            let started: Vec<_> = (0..FIBERS)
                .map(|_| tiny.clone().spawn(yield_now).unwrap())
                .collect();
            started.into_iter().for_each(|fiber| fiber.join().unwrap());
            // Only this fiber runs now; the others' stacks are kept by the worker.
            assert_eq!(on_big_stack(StackClass::M1, || 7), Ok(7));
            spawn(|| ()).join().unwrap();
        })
        .unwrap();
    assert_eq!(env.stack_stats().in_use(), 0);
}

#[test]
fn what_workers_keep_goes_back_although_another_one_has_abandoned_a_fiber() {
    // Which worker ends first is not decided here.
    for _ in 0..50 {
        let env = ScriptEnv::new();
        let run = Runtime::builder(Arc::<ScriptEnv>::clone(&env)).closed_world();
        let run = run.workers(2).stack(StackClass::K64);
        run.run(|| {
            let elsewhere = FiberBuilder::new().worker(WorkerId(1));
            let begun = Arc::new(AtomicUsize::new(0));
            let begins = Arc::clone(&begun);
            let masked = elsewhere.spawn(move || {
                begins.store(1, Ordering::SeqCst);
                mask(|| {
                    loop {
                        park();
                    }
                });
            });
            drop(masked.unwrap());
            while begun.load(Ordering::SeqCst) == 0 {
                yield_now();
            }
            // The worker that `main` runs on has something to close at its end.
            open_signals(SignalSet::new(&[Signal::User1])).unwrap();
        })
        .unwrap();
        assert_eq!(env.stack_stats().in_use(), 1, "the abandoned fiber's own");
    }
}

#[test]
fn ten_thousand_sleep_for_one_second_and_exactly_that_passes() {
    let env = ScriptEnv::new();
    let slept = Arc::<ScriptEnv>::clone(&env);
    Runtime::builder(Arc::<ScriptEnv>::clone(&env))
        .workers(1)
        .stack(StackClass::K16)
        .closed_world()
        .run(move || {
            let fibers: Vec<_> = (0..10_000).map(|_| spawn(|| sleep(SECOND))).collect();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        })
        .unwrap();
    assert_eq!(slept.now(), Instant::ORIGIN + SECOND);
    assert_eq!(env.stack_stats().in_use(), 0);
}

#[test]
fn samples_tell_how_deep_the_fibers_of_a_place_have_gone() {
    run(|| {
        // The main fiber is the first sample; of so many more each place has one at least.
        for round in 0..3000 {
            let kib = if round % 2 == 0 { 2 } else { 20 };
            let shallow = move || dig(2);
            let deep = move || dig(20);
            let fiber = if kib == 2 {
                spawn(shallow)
            } else {
                spawn(deep)
            };
            fiber.join().unwrap();
        }
        let lines: Vec<_> = Context::with(|context| context.unwrap().stack_use());
        assert_eq!(lines.len(), 2, "{lines:?}");
        let deepest: Vec<_> = lines.iter().map(|site| site.deepest_bytes >> 10).collect();
        assert!(deepest.iter().any(|kib| (2..20).contains(kib)), "{lines:?}");
        assert!(
            deepest.iter().any(|kib| (20..64).contains(kib)),
            "{lines:?}"
        );
        assert!(lines.iter().all(|site| site.class == StackClass::K64));
        assert!(lines.iter().all(|site| site.samples > 0));
    });
}

/// A fiber's waker may fire long after the fiber has ended, and its stack has another one by then.
/// Free stacks are poisoned in debug builds, so a late access would end the run.
#[test]
fn late_wakers_never_touch_the_stack_of_a_fiber_that_has_ended() {
    const FIBERS: usize = 1_000_000;
    const LATE: usize = 64;
    run(|| {
        let mut late = VecDeque::new();
        let tiny = FiberBuilder::new().stack(StackClass::K16);
        for number in 0..FIBERS {
            let fiber = tiny
                .clone()
                .spawn(move || {
                    if number % 4 == 0 {
                        yield_now()
                    }
                })
                .unwrap();
            late.push_back(fiber.fiber().clone());
            if number % 2 == 0 {
                fiber.join().unwrap();
            }
            if late.len() > LATE {
                let ended = late.pop_front().unwrap();
                ended.unpark();
                ended.cancel();
            }
        }
    });
}
