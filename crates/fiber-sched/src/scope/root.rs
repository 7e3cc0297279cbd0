//! Handlers at the end of a fiber.

use alloc::{boxed::Box, vec::Vec};
use core::{cell::RefCell, mem, panic::Location, time::Duration};

use fiber_core::{fiber_local, park::current, stop::catch};

use super::defer::run_for;

/// How long each may take.
const GRACE: Duration = Duration::from_secs(5);

fiber_local! {
    static HANDLERS: Handlers = Handlers(RefCell::new(Vec::new()))
}

type Handler = (&'static Location<'static>, Box<dyn FnOnce()>);

/// Runs them when it is dropped: fiber-locals are, on the fiber and masked, when the fiber's body
/// has ended in whatever way.
struct Handlers(RefCell<Vec<Handler>>);

/// Has `handler` run when the calling fiber ends, in whatever way, the main one's included: before
/// those are told who join it, the last handler first.
///
/// As [`Scope::defer`](crate::Scope::defer), it is masked, and unwound when it takes longer than
/// 5 seconds. A panic of it is logged: the fiber's result is there already. Handlers meet
/// fiber-locals that may have been dropped, and so begin anew.
///
/// # Panics
/// Outside of a fiber.
///
/// ```
/// # let env = fiber_core::script::ScriptEnv::new();
/// # fiber_sched::Runtime::builder(env).run(|| {
/// use std::sync::mpsc;
///
/// let (said, words) = mpsc::channel();
/// let fiber = fiber_sched::spawn(move || {
///     let last = said.clone();
///     fiber_sched::defer(move || last.send("last").unwrap());
///     said.send("first").unwrap();
/// });
/// fiber.join().unwrap();
/// assert_eq!(words.iter().collect::<Vec<_>>(), ["first", "last"]);
/// # }).unwrap();
/// ```
#[track_caller]
pub fn defer<F>(handler: F)
where
    F: FnOnce() + 'static,
{
    let at = Location::caller();
    assert!(
        current().is_some(),
        "`defer` is for the end of a fiber: there is none here"
    );
    HANDLERS.with(|handlers| handlers.0.borrow_mut().push((at, Box::new(handler))));
}

impl Drop for Handlers {
    fn drop(&mut self) {
        while let Some((at, handler)) = self.0.get_mut().pop() {
            if let Err(payload) = run_for(GRACE, at, handler) {
                // What it carries and the subscriber are the user's code, too.
                let told = catch(None, || {
                    tracing::error!(
                        target: "fiber::sched",
                        handler = %at, %payload, "a handler at the end of a fiber panicked"
                    );
                    drop(payload);
                });
                mem::forget(told);
            }
        }
    }
}
