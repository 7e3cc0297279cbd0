//! What a fiber keeps over a switch: its registers, and each call's error as it was returned.

use core::hint::black_box;
use std::{fs::File, io};

use fiber_core::env::StackClass;
use fiber_sched::{FiberBuilder, Runtime, on_big_stack, yield_now};
use host_linux::{Config, Io, Linux};

const FIBERS: u64 = 8;
/// A million in all.
const SWITCHES: u64 = 1_000_000 / FIBERS;

fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    let linux = Linux::new(Config::default().io(Io::Poll)).expect("a host");
    let run = Runtime::builder(linux).workers(1).stack(StackClass::K64);
    run.run(main).expect("the run succeeds")
}

/// More values than there are registers, all of them needed after each call of `between`.
#[inline(never)]
fn shuffle(seed: u64, rounds: u64, mut between: impl FnMut()) -> (u64, f64) {
    let mut words = [0_u64; 12].map(|_| black_box(seed));
    let mut floats = [1.0_f64; 12];
    for round in 0..rounds {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = words;
        let [p, q, r, s, t, u, v, w, x, y, z, o] = floats;
        between();
        words = [
            b ^ round,
            c + a,
            d ^ b,
            e,
            f + 1,
            g,
            h ^ d,
            i,
            j + e,
            k,
            l ^ f,
            a + g,
        ]
        .map(|word| word & u64::from(u32::MAX));
        floats = [
            q,
            r + 0.5,
            s,
            t,
            u * 0.5,
            v,
            w,
            x + p,
            y * 0.25,
            z,
            o,
            p * 0.5,
        ];
    }
    let sum = words.iter().fold(0, |sum, word| sum ^ word);
    (sum, floats.iter().sum())
}

#[test]
fn registers_are_each_fiber_s_own_over_a_million_switches() {
    run(|| {
        let start = |seed, is_big| {
            FiberBuilder::new().spawn(move || {
                let body = || shuffle(seed, SWITCHES, yield_now);
                if is_big {
                    on_big_stack(StackClass::K256, body).expect("a stack")
                } else {
                    body()
                }
            })
        };
        let fibers: Vec<_> = (0..FIBERS)
            .map(|seed| (seed, start(seed, seed % 4 == 3)))
            .collect();
        for (seed, fiber) in fibers {
            let fiber = fiber.expect("inside of a runtime");
            let alone = shuffle(seed, SWITCHES, || ());
            assert_eq!(
                fiber.join().expect("it does not panic"),
                alone,
                "fiber {seed}"
            );
        }
    });
}

/// `errno` belongs to the thread, which other fibers use, too; an error is read when its call
/// returns, and stays what it was.
#[test]
fn an_error_is_that_of_the_fiber_s_own_call_whoever_ran_in_between() {
    run(|| {
        let failing = |path: &'static str, code: i32| {
            FiberBuilder::new().spawn(move || {
                for _ in 0..2_000 {
                    let error = File::open(path).expect_err("it cannot be opened");
                    yield_now();
                    assert_eq!(error.raw_os_error(), Some(code));
                    let _ = File::open(path).expect_err("it cannot be opened");
                    assert_eq!(io::Error::last_os_error().raw_os_error(), Some(code));
                    yield_now();
                }
            })
        };
        let missing = failing("/nothing/is/here", libc::ENOENT);
        let no_folder = failing("/proc/version/within", libc::ENOTDIR);
        for fiber in [missing, no_folder] {
            let fiber = fiber.expect("inside of a runtime");
            fiber.join().expect("its errors are its own");
        }
    });
}
