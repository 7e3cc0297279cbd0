//! What a caught panic tells: its message, where it began, and the backtrace if one is wanted.

use alloc::string::ToString;
use core::{cell::Cell, time::Duration};
use std::{
    env,
    panic::{self, resume_unwind},
    process::Command,
};

use fiber::{
    ExitReason, FiberBuilder, JoinHandle, JoinSet, MultiPanic, PanicPayload, RunError, Runtime,
    StackClass, catch_unwind, mask, on_big_stack, scope, spawn, timeout, unmask, yield_now,
};
use host_linux::{Config, Linux};
use host_sim::Sim;

use crate::support::{WORKERS, in_world, in_worlds, on_linux};

/// The variable that tells this program which part to play in a process of its own.
const PART: &str = "FIBER_TEST_PART";

fn everywhere(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(50, main);
}

fn panic_of<T>(fiber: JoinHandle<T>) -> PanicPayload {
    match fiber.join() {
        Err(ExitReason::Panicked(panic)) => panic,
        Err(other) => panic!("it panicked: {other}"),
        Ok(_) => panic!("it panicked"),
    }
}

/// The line of the panic, which was one of this file.
fn line(panic: &PanicPayload) -> u32 {
    let location = panic.location().expect("it is known where it began");
    assert_eq!(location.file(), file!());
    assert!(location.column() > 1);
    location.line()
}

#[test]
fn a_joined_panic_tells_where_it_began() {
    everywhere(|| {
        let text = panic_of(spawn(|| panic!("text")));
        assert_eq!((text.message(), line(&text)), (Some("text"), line!() - 1));
        let number = 7;
        let formatted = panic_of(spawn(move || panic!("formatted {number}")));
        assert_eq!(formatted.message(), Some("formatted 7"));
        assert_eq!(line(&formatted), line!() - 2);
        let other = panic_of(spawn(|| panic::panic_any(7_u8)));
        assert_eq!((other.message(), line(&other)), (None, line!() - 1));
        let told = ExitReason::Panicked(formatted).to_string();
        let expected = format!("formatted 7, at {}:", file!());
        assert!(told.contains(&expected), "{told}");
    });
}

#[test]
fn the_main_fibers_panic_tells_where_it_began() {
    let env = Linux::new(Config::default()).unwrap();
    let ended = Runtime::builder(env).run(|| panic!("main"));
    let Err(RunError::Panicked(panic)) = ended else {
        panic!("it panicked: {:?}", ended.map(|(): ()| ()));
    };
    assert_eq!(line(&panic), line!() - 4);
}

#[test]
fn a_panic_keeps_its_place_on_its_way() {
    everywhere(|| {
        let from = line!() + 1;
        let fail = |text: &'static str| panic!("{text}");
        let through: [fn(&dyn Fn()); 5] = [
            |fail| {
                let caught = catch_unwind(fail).unwrap_err();
                resume_unwind(caught.into_inner());
            },
            |fail| resume_unwind(panic::catch_unwind(panic::AssertUnwindSafe(fail)).unwrap_err()),
            |fail| timeout(Duration::from_secs(1), fail).unwrap(),
            |fail| mask(|| unmask(fail)).unwrap(),
            |fail| on_big_stack(StackClass::M1, fail).unwrap(),
        ];
        for (number, through) in through.into_iter().enumerate() {
            let panic = panic_of(spawn(move || through(&|| fail("on its way"))));
            assert_eq!(line(&panic), from, "way {number}");
        }
        let body = panic_of(spawn(move || scope(|_| fail("a scope's body"))));
        assert_eq!(line(&body), from);
    });
}

#[test]
fn scopes_and_sets_keep_the_places_of_their_fibers() {
    everywhere(|| {
        scope(|s| {
            let joined = s.spawn(|| panic!("joined")).join();
            let Err(ExitReason::Panicked(panic)) = joined.map(|(): ()| ()) else {
                panic!("it panicked");
            };
            assert_eq!(line(&panic), line!() - 4);
        });
        let mut set = JoinSet::new();
        set.spawn(|| panic!("of a set"));
        let Some(Err::<(), _>(ExitReason::Panicked(panic))) = set.join_next() else {
            panic!("it panicked");
        };
        assert_eq!(line(&panic), line!() - 4);
        let all = catch_unwind(|| {
            scope(|s| {
                let child = s.spawn(|| panic!("of a child"));
                while !child.is_finished() {
                    yield_now();
                }
                drop::<fiber::ScopedJoinHandle<'_, ()>>(child);
                s.defer(|| panic!("of a handler"));
                panic!("of the body");
            })
        });
        let all = all.unwrap_err().into_inner().downcast::<MultiPanic>();
        let all = all.unwrap();
        let child = |text| {
            let its = |panic: &&fiber::ScopePanic| panic.message() == Some(text);
            line(all.panics().iter().find(its).unwrap().payload())
        };
        assert_eq!(child("of a child"), line!() - 15);
        assert_eq!(child("of a handler"), line!() - 11);
        assert_eq!(line(all.body().unwrap()), line!() - 11);
    });
}

/// Lets others run, while its fiber unwinds.
struct Yields;

impl Drop for Yields {
    fn drop(&mut self) {
        for _ in 0..5 {
            yield_now();
        }
    }
}

#[test]
fn fibers_that_unwind_at_the_same_time_keep_their_own_places() {
    everywhere(|| {
        let fibers: [JoinHandle<()>; 3] = [
            spawn(|| {
                let _yields = Yields;
                panic!("the same");
            }),
            spawn(|| {
                let _yields = Yields;
                panic!("the same");
            }),
            spawn(|| panic!("the same")),
        ];
        let lines = fibers.map(|fiber| line(&panic_of(fiber)));
        assert_eq!(lines, [line!() - 9, line!() - 5, line!() - 3]);
    });
}

#[test]
fn a_panic_in_a_drop_does_not_take_the_place_of_the_one_that_unwinds() {
    struct Swallows;
    impl Drop for Swallows {
        fn drop(&mut self) {
            for number in 0..2 {
                let swallowed = panic::catch_unwind(|| panic!("swallowed {number}"));
                assert!(swallowed.is_err());
            }
        }
    }
    everywhere(|| {
        let panic = panic_of(spawn(|| {
            let _swallows = Swallows;
            panic!("the outer one");
        }));
        assert_eq!(panic.message(), Some("the outer one"));
        assert_eq!(line(&panic), line!() - 3);
    });
}

#[test]
fn what_is_resumed_without_a_panic_has_no_place() {
    everywhere(|| {
        let panic = panic_of(spawn(|| {
            assert!(panic::catch_unwind(|| panic!("swallowed")).is_err());
            resume_unwind(Box::new("made for this"));
        }));
        assert_eq!(panic.message(), Some("made for this"));
        assert!(panic.location().is_none() && panic.backtrace().is_none());
    });
}

/// This program, playing `part` in the test called `test`, without any wish for backtraces.
fn child(test: &str, part: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([&format!("panics::{test}"), "--exact", "--nocapture"])
        .env(PART, part)
        .env_remove("RUST_LIB_BACKTRACE")
        .env_remove("RUST_BACKTRACE");
    command
}

/// The standard error of a child that has succeeded.
fn stderr_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    stderr
}

fn plays(part: &str) -> bool {
    env::var(PART).is_ok_and(|told| told == part)
}

/// Panics on the smallest stack, and prints the panic as another fiber.
#[inline(never)]
fn print_a_panic() {
    let small = FiberBuilder::new().name("small").stack(StackClass::K16);
    let panic = panic_of(small.spawn(panics_here).unwrap());
    assert!(panic.location().is_some());
    match panic.backtrace() {
        Some(backtrace) => eprintln!("our backtrace: {backtrace}"),
        None => eprintln!("no backtrace"),
    }
}

#[inline(never)]
fn panics_here() {
    panic!("{} small", Cell::new("very").get());
}

#[test]
fn there_is_a_backtrace_if_the_environment_asks_for_one_on_any_stack() {
    let hosts: [(&str, fn()); 2] = [
        ("on linux", || on_linux(1, print_a_panic)),
        ("in a world", || {
            in_world(Sim::new(1), 1, print_a_panic);
        }),
    ];
    for (part, play) in hosts {
        if plays(part) {
            return play();
        }
    }
    if env::var_os(PART).is_some() {
        return;
    }
    let test = "there_is_a_backtrace_if_the_environment_asks_for_one_on_any_stack";
    for (part, _) in hosts {
        let without = stderr_of(&mut child(test, part));
        assert!(without.contains("no backtrace"), "{part}: {without}");
        let with = stderr_of(child(test, part).env("RUST_BACKTRACE", "1"));
        let (printed, ours) = with.split_once("our backtrace:").expect("there is one");
        for backtrace in [printed, ours] {
            assert!(backtrace.contains("panics_here"), "{part}: {with}");
        }
        for all in [without, with] {
            assert_eq!(all.matches("panicked at").count(), 1, "{part}: {all}");
        }
    }
}

#[test]
fn a_hook_of_the_programs_own_still_has_its_say() {
    if plays("hook before") {
        panic::set_hook(Box::new(|_| {
            let fiber = fiber::current().expect("it is a fiber that panics");
            eprintln!("{fiber} has panicked");
        }));
        return on_linux(1, print_a_panic);
    }
    if plays("hook after") {
        return on_linux(1, || {
            panic::set_hook(Box::new(|_| eprintln!("a hook that knows of no other")));
            let panic = panic_of(spawn(|| panic!("unseen")));
            assert!(panic.location().is_none() && panic.backtrace().is_none());
        });
    }
    let test = "a_hook_of_the_programs_own_still_has_its_say";
    let before = stderr_of(&mut child(test, "hook before"));
    assert_eq!(before.matches("'small'").count(), 1, "{before}");
    assert!(!before.contains("panicked at"), "{before}");
    let after = stderr_of(&mut child(test, "hook after"));
    assert_eq!(after.matches("knows of no other").count(), 1, "{after}");
}
