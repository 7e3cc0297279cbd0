//! Stacks under load, on Linux and in the simulator: none left, large ones, and how deep they were.

extern crate alloc;

use alloc::{rc::Rc, sync::Arc};
use core::{
    cell::Cell,
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use std::io::Read;

use fiber::{
    ExitReason, FiberBuilder, Runtime, SharedEnv, StackClass,
    core::{Context, env::StackError},
    io::{TcpListener, TcpStream},
    on_big_stack, sleep, spawn, timeout, yield_now,
};
use host_linux::{Config, Linux};
use host_sim::{Order, Sim};

fn on_linux(config: Config, main: impl Fn(SharedEnv)) {
    main(Linux::new(config).expect("the host starts"));
}

/// Runs `main` once as the only node of a world that is set up by `shape`.
fn simulated(shape: impl FnOnce(Sim) -> Sim, main: impl Fn(SharedEnv) + 'static) {
    let runs = Rc::new(Cell::new(0));
    let counted = Rc::clone(&runs);
    let mut sim = shape(Sim::new(1).time_limit(Duration::from_secs(3600)));
    sim.node("only", move |env| {
        main(env);
        counted.set(counted.get() + 1);
    });
    sim.run().expect_finished();
    assert_eq!(runs.get(), 1);
}

/// Half of the waiters sleep, half wait for a byte that never comes until their time is over; again
/// and again, until they are told to end. With the main fiber they have every stack there is.
fn exhaust(env: SharedEnv, waiters: usize) {
    let counting = Arc::clone(&env);
    let run = Runtime::builder(env).workers(1).stack(StackClass::K64);
    run.run(move || {
        let (fired, over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let _client = TcpStream::connect(address).expect("it listens");
        let (stream, _) = listener.accept().expect("the client connected");
        let stream = Arc::new(stream);
        let fibers: Vec<_> = (0..waiters)
            .map(|number| {
                let (fired, over) = (Arc::clone(&fired), Arc::clone(&over));
                let stream = Arc::clone(&stream);
                spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        wait_once(number, &stream);
                        fired.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        while counting.stack_stats().in_use() <= waiters {
            yield_now();
        }
        let before = fired.load(Ordering::Relaxed);
        while fired.load(Ordering::Relaxed) < before + waiters {
            assert_exhausted(waiters + 1);
            sleep(Duration::from_millis(20));
        }
        assert_exhausted(waiters + 1);
        over.store(true, Ordering::Relaxed);
        for fiber in fibers {
            fiber.join().expect("timers fire without a new stack");
        }
        for _ in 0..waiters / 10 {
            spawn(|| ()).join().expect("there are stacks again");
        }
    })
    .expect("the run succeeds");
}

fn wait_once(number: usize, mut stream: &TcpStream) {
    let span = Duration::from_millis(200);
    if number.is_multiple_of(2) {
        sleep(span);
    } else {
        let read = timeout(span, || stream.read(&mut [0]));
        assert!(read.is_err(), "the time was over");
    }
}

fn assert_exhausted(stacks: usize) {
    let ended = spawn(|| ()).join();
    let Err(ExitReason::NoStack(error)) = ended else {
        panic!("there was a stack: {ended:?}");
    };
    assert!(matches!(error, StackError::Exhausted { limit, .. } if limit == stacks));
    let large = on_big_stack(StackClass::K256, || ());
    assert_eq!(
        large,
        Err(error),
        "there is none for a part of a fiber either"
    );
}

#[test]
fn without_stacks_timers_fire_requests_end_and_new_fibers_are_refused_on_linux() {
    on_linux(Config::default().stacks_max(10_001), |env| {
        exhaust(env, 10_000)
    });
}

#[test]
fn without_stacks_timers_fire_requests_end_and_new_fibers_are_refused_in_the_simulator() {
    let shape = |sim: Sim| sim.stacks_max(10_001).order(Order::Fifo);
    simulated(shape, |env| exhaust(env, 10_000));
    for seed in 0..100 {
        let mut sim = Sim::new(seed).stacks_max(31);
        sim.node("only", |env| exhaust(env, 30));
        sim.run().expect_finished();
    }
}

#[test]
fn without_light_guards_the_process_stays_healthy_at_the_cap() {
    const CAP: usize = 200;
    on_linux(Config::default().split_guards(CAP), |env| {
        let run = Runtime::builder(env).workers(1).stack(StackClass::K64);
        run.run(|| {
            for _ in 0..3 {
                let parked = Arc::new(AtomicUsize::new(0));
                let fibers: Vec<_> = (0..2 * CAP)
                    .map(|_| {
                        let parked = Arc::clone(&parked);
                        spawn(move || {
                            parked.fetch_add(1, Ordering::Relaxed);
                            fiber::park();
                        })
                    })
                    .collect();
                let refused = || fibers.iter().filter(|fiber| fiber.is_finished()).count();
                while parked.load(Ordering::Relaxed) + refused() < 2 * CAP {
                    yield_now();
                }
                for fiber in &fibers {
                    fiber.fiber().unpark();
                }
                let ended = fibers.into_iter().map(|fiber| fiber.join());
                let (good, refused): (Vec<_>, Vec<_>) = ended.partition(Result::is_ok);
                // The main fiber has one of the stacks.
                assert_eq!((good.len(), refused.len()), (CAP - 1, CAP + 1));
                let Some(Err(ExitReason::NoStack(error))) = refused.first() else {
                    panic!("{refused:?}");
                };
                let text = error.to_string();
                assert!(text.contains("raise vm.max_map_count"), "{text}");
                assert_eq!(vec![1_u8; 8 << 20].len(), 8 << 20, "memory can be had");
            }
        })
        .expect("the run succeeds");
    });
}

/// Uses some KiB of stack for each level.
fn dig(levels: usize) -> usize {
    let frame = black_box([1_u8; 4096]);
    let below = if levels == 0 { 0 } else { dig(levels - 1) };
    below + usize::from(black_box(&frame)[levels % 4096])
}

fn big_stacks(env: SharedEnv) {
    let counting = Arc::clone(&env);
    let run = Runtime::builder(env).workers(2).stack(StackClass::K64);
    run.run(|| {
        let fibers: Vec<_> = (0..50)
            .map(|number| {
                spawn(move || {
                    let inside = on_big_stack(StackClass::M8, || {
                        sleep(Duration::from_millis(number % 7));
                        let again = on_big_stack(StackClass::M1, || {
                            yield_now();
                            dig(50)
                        });
                        again.expect("a stack") + dig(300)
                    });
                    inside.expect("a stack")
                })
            })
            .collect();
        for fiber in fibers {
            assert_eq!(fiber.join().expect("it does not panic"), 352);
        }
        let cancelled = spawn(|| on_big_stack(StackClass::M1, fiber::park).expect("a stack"));
        yield_now();
        cancelled.cancel();
        assert!(matches!(cancelled.join(), Err(ExitReason::Cancelled(_))));
        let late = timeout(Duration::from_millis(5), || {
            on_big_stack(StackClass::M1, fiber::park)
        });
        assert!(late.is_err());
    })
    .expect("the run succeeds");
    assert_eq!(counting.stack_stats().in_use(), 0, "all of them went back");
}

#[test]
fn big_stacks_are_large_nest_and_are_given_back_on_linux() {
    on_linux(Config::default(), big_stacks);
}

#[test]
fn big_stacks_are_large_nest_and_are_given_back_in_the_simulator() {
    simulated(|sim| sim, big_stacks);
}

fn depths(env: SharedEnv) {
    let run = Runtime::builder(env).workers(1).stack(StackClass::M1);
    run.run(|| {
        let deep = FiberBuilder::new().stack(StackClass::M1);
        for round in 0..3000 {
            let fiber = deep.clone();
            let fiber = fiber.spawn(move || dig(if round % 2 == 0 { 20 } else { 40 }));
            let fiber = fiber.expect("inside of a runtime");
            fiber.join().expect("it does not panic");
        }
        let sites = Context::with(|context| context.expect("on a worker").stack_use());
        let [site] = &sites[..] else {
            panic!("one place spawns: {sites:?}");
        };
        let file = site.spawned_at.expect("the table has room").file();
        assert!(file.ends_with("stacks.rs"), "{file}");
        assert_eq!(site.class, StackClass::M1);
        assert!((2..=3).contains(&site.samples), "{site:?}");
        let kib = site.deepest_bytes >> 10;
        assert!((160..1000).contains(&kib), "40 levels of 4 KiB: {site:?}");
    })
    .expect("the run succeeds");
}

#[test]
fn samples_tell_how_deep_stacks_were_used_on_linux() {
    on_linux(Config::default(), depths);
}

#[test]
fn samples_tell_how_deep_stacks_were_used_in_the_simulator() {
    simulated(|sim| sim, depths);
}
