//! A program that stops with fibers parked, for a debugger to look at.
//!
//! `gdb -x tools/gdb/fiber.py --args target/debug/examples/parked`, then `break stop_here`, `run`,
//! `info fibers bt`.

use core::{error::Error, hint::black_box, time::Duration};

use fiber_core::{big_stack::on_big_stack, env::StackClass};
use fiber_sched::{FiberBuilder, JoinHandle, Runtime, SpawnError, park, sleep, yield_now};
use host_linux::{Config, Linux};

fn main() -> Result<(), Box<dyn Error>> {
    let env = Linux::new(Config::default())?;
    let run = Runtime::builder(env).workers(1).watchdog(None);
    run.run(|| -> Result<(), SpawnError> {
        let fibers = [
            waiting("sleeper", StackClass::K64, || sleep(Duration::MAX))?,
            waiting("diver", StackClass::K256, || wait_at_depth(3))?,
            waiting("guest", StackClass::K64, || {
                on_big_stack(StackClass::M1, wait_as_guest).expect("there is a stack");
            })?,
        ];
        // Until all wait.
        for _ in 0..10 {
            yield_now();
        }
        stop_here(&fibers);
        for fiber in fibers {
            fiber.cancel();
        }
        Ok(())
    })??;
    Ok(())
}

fn waiting(name: &str, stack: StackClass, body: fn()) -> Result<JoinHandle<()>, SpawnError> {
    FiberBuilder::new().name(name).stack(stack).spawn(body)
}

#[inline(never)]
fn wait_at_depth(depth: u32) {
    if depth == 0 {
        park();
    } else {
        wait_at_depth(depth - 1);
    }
    black_box(depth);
}

#[inline(never)]
fn wait_as_guest() {
    park();
    black_box(());
}

/// Where to stop: all fibers wait. A name that is short wherever it is looked for.
#[unsafe(no_mangle)]
#[inline(never)]
fn stop_here(fibers: &[JoinHandle<()>]) {
    black_box(fibers);
}
