//! Setting aside, and the ballasts that wait for it.

use alloc::vec::Vec;

use std::{
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

use crate::{
    ballast::{Idle, Raised},
    memory::Memory,
};

/// How deep in each other the unwindings of one fiber may be and all be set aside.
const DEPTH_MAX: usize = 64;

/// Raised ballasts that nobody needs now: at most as many as there ever were unwindings set aside
/// at once. They are kept.
static BANK: Mutex<Vec<Raised>> = Mutex::new(Vec::new());

/// Runs `body` with `std::thread::panicking()` `false`, and with the thread's count as it was when
/// it returns or unwinds. Meant for a body that lets others use the thread.
///
/// Where [`works`] says no, when the helper thread for a new ballast cannot be started, and below
/// 64 unwindings inside of each other, `body` runs all the same and finds the thread panicking.
///
/// Whoever is never resumed inside of `body` leaks one ballast, and disturbs nobody.
#[cold]
pub fn set_aside(body: &mut dyn FnMut()) {
    match works() {
        true => descend(body, DEPTH_MAX),
        false => body(),
    }
}

/// Takes one off the count, and what is left of it further down.
fn descend(body: &mut dyn FnMut(), depth: usize) {
    if depth == 0 || !thread::panicking() {
        return body();
    }
    let Some(ballast) = take() else {
        return body();
    };
    let _again = Again(Some(ballast.catch()));
    descend(body, depth - 1);
}

/// Raises a ballast as it is dropped, and gives it back.
struct Again(Option<Idle>);

impl Drop for Again {
    fn drop(&mut self) {
        if let Some(idle) = self.0.take() {
            let raised = idle.raise();
            bank(|bank| bank.push(raised));
        }
    }
}

fn take() -> Option<Raised> {
    bank(Vec::pop).or_else(new)
}

/// A ballast that was raised on a thread that ends with it.
#[cold]
fn new() -> Option<Raised> {
    let raise = || {
        let thread = thread::Builder::new().name("ballast".into());
        let raised = thread.spawn(|| Idle::new().raise()).ok()?;
        raised.join().ok()
    };
    // The caller's own stack may be a small one. Nothing unwinds out of this (I-9).
    corosensei::on_stack(Memory::new(), raise)
}

fn bank<T>(visit: impl FnOnce(&mut Vec<Raised>) -> T) -> T {
    // A panic elsewhere leaves nothing half done here.
    visit(&mut BANK.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether [`set_aside`] does what it says with the std of this program; tried at the first call,
/// and told at `warn` if not. `false` in programs that cannot unwind, and there nobody needs it.
pub fn works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        if cfg!(not(panic = "unwind")) {
            return false;
        }
        let works = match thread::panicking() {
            false => test(),
            // Here it could not be seen.
            true => thread::spawn(test).join().unwrap_or(false),
        };
        if !works {
            tracing::warn!(
                target: "host_std",
                "unwinding cannot be set aside with this std: while a fiber waits in a destructor \
                 and unwinds, the others of its thread look as if they panicked, too",
            );
        }
        works
    })
}

/// Takes two ballasts through their states, the first one out of the middle of the second.
fn test() -> bool {
    let zero = || !thread::panicking();
    let before = zero();
    let (first, second) = (Idle::new().raise(), Idle::new().raise());
    let two = !zero();
    let first = first.catch();
    let one = !zero();
    let second = second.catch();
    let after = zero();
    let again = first.raise();
    let once_more = !zero();
    let first = again.catch();
    let room = [first, second].map(|idle| idle.end().has_room());
    before && two && one && after && once_more && zero() && room == [true; 2]
}
