//! `join!`, `try_join!` and `race!`: several expressions at once.
//!
//! Each is a [`try_scope`](super::try_scope) in which the first expression runs on the calling
//! fiber, and the others on fibers of the same worker, so that they may share what is not `Send`.
//! Whoever has a reason to end the others cancels the scope.

use core::{cell::Cell, mem};

use fiber_core::park::checkpoint;

use super::Scope;

/// Evaluates the expressions concurrently and gives the tuple of their values.
///
/// The first expression begins at once, on the calling fiber. The others are fibers of the same
/// worker, which begin in the order in which they are written when the first one suspends or has
/// ended. They may borrow locals, and need not be `Send`; to use several workers, spawn in a
/// [`scope`](crate::scope()). `return` and `?` leave an expression only.
///
/// # Cancellation
/// A caller that is cancelled cancels all of them, and unwinds when they have ended.
///
/// # Panics
/// When one of them panics, or is cancelled by itself: the others are cancelled first. With a
/// [`MultiPanic`](crate::MultiPanic), unless it was only the first one that has panicked. At a
/// limit of the process's fibers, after those that had begun were cancelled.
///
/// ```
/// # let env = fiber_core::script::ScriptEnv::new();
/// # fiber_sched::Runtime::builder(env).run(|| {
/// let numbers = vec![1, 2, 3];
/// let (sum, longest) = fiber_sched::join!(numbers.iter().sum::<i32>(), numbers.len());
/// assert_eq!((sum, longest), (6, 3));
/// # }).unwrap();
/// ```
#[macro_export]
macro_rules! join {
    (@ [($first:ident $first_part:expr) $(($slot:ident $part:expr))*]) => {{
        let mut $first = ::core::option::Option::None;
        $(let mut $slot = ::core::option::Option::None;)*
        // Whether it was cancelled shows in what is missing.
        let _ = $crate::try_scope(|scope| {
            $(scope.__part(&mut $slot, || ::core::option::Option::Some($part));)*
            $first = ::core::option::Option::Some($first_part);
        });
        (
            $first.unwrap_or_else(|| $crate::__give_up("join!")),
            $($slot.unwrap_or_else(|| $crate::__give_up("join!")),)*
        )
    }};
    (@ [$($done:tt)*] $part:expr, $($rest:tt)*) => {
        $crate::join!(@ [$($done)* (slot $part)] $($rest)*)
    };
    ($($part:expr),+ $(,)?) => {
        $crate::join!(@ [] $($part,)+)
    };
}

/// [`join!`] of expressions that give a `Result`: `Ok` with the tuple of their values, or the first
/// `Err`, which cancels the others.
///
/// # Panics
/// As [`join!`].
///
/// ```
/// # let env = fiber_core::script::ScriptEnv::new();
/// # fiber_sched::Runtime::builder(env).run(|| {
/// let read = |text: &str| text.parse::<u8>();
/// assert_eq!(fiber_sched::try_join!(read("1"), read("2")), Ok((1, 2)));
/// assert!(fiber_sched::try_join!(read("1"), read("much")).is_err());
/// # }).unwrap();
/// ```
#[macro_export]
macro_rules! try_join {
    (@ [($first:ident $first_part:expr) $(($slot:ident $part:expr))*]) => {{
        let mut $first = ::core::option::Option::None;
        $(let mut $slot = ::core::option::Option::None;)*
        let error = ::core::cell::Cell::new(::core::option::Option::None);
        let _ = $crate::try_scope(|scope| {
            $(scope.__part(&mut $slot, || $crate::__keep(&error, $part));)*
            $first = $crate::__keep(&error, $first_part);
            if $first.is_none() {
                scope.cancel();
            }
        });
        match error.into_inner() {
            ::core::option::Option::Some(error) => ::core::result::Result::Err(error),
            ::core::option::Option::None => ::core::result::Result::Ok((
                $first.unwrap_or_else(|| $crate::__give_up("try_join!")),
                $($slot.unwrap_or_else(|| $crate::__give_up("try_join!")),)*
            )),
        }
    }};
    (@ [$($done:tt)*] $part:expr, $($rest:tt)*) => {
        $crate::try_join!(@ [$($done)* (slot $part)] $($rest)*)
    };
    ($($part:expr),+ $(,)?) => {
        $crate::try_join!(@ [] $($part,)+)
    };
}

/// Evaluates the expressions concurrently, and gives the value of the first that has ended; the
/// others are cancelled, and have ended, too, when this returns.
///
/// They begin as those of [`join!`]: if the first one never suspends the others never begin. Values
/// of others that end nevertheless are dropped.
///
/// # Cancellation
/// A caller that is cancelled cancels all of them, and unwinds when they have ended.
///
/// # Panics
/// When one of them panics, also while it is being cancelled; and when all were cancelled, each by
/// itself. At a limit of the process's fibers, as [`join!`].
///
/// ```
/// # use core::time::Duration;
/// # use fiber_sched::sleep;
/// # let env = fiber_core::script::ScriptEnv::new();
/// # fiber_sched::Runtime::builder(env).run(|| {
/// let first = fiber_sched::race! {
///     { sleep(Duration::from_secs(2)); "slow" },
///     { sleep(Duration::from_secs(1)); "fast" },
/// };
/// assert_eq!(first, "fast");
/// # }).unwrap();
/// ```
#[macro_export]
macro_rules! race {
    ($first:expr $(, $part:expr)* $(,)?) => {{
        let winner = ::core::cell::Cell::new(::core::option::Option::None);
        let _ = $crate::try_scope(|scope| {
            $(scope.__racer(&winner, || $part);)*
            let value = $first;
            scope.__won(&winner, value);
        });
        winner.into_inner().unwrap_or_else(|| $crate::__give_up("race!"))
    }};
}

impl<'scope> Scope<'scope, '_> {
    /// For `join!`: a fiber that fills `slot`, or ends the others.
    #[doc(hidden)]
    #[track_caller]
    pub fn __part<T: 'scope>(
        &'scope self,
        slot: &'scope mut Option<T>,
        body: impl FnOnce() -> Option<T> + 'scope,
    ) {
        // Made here, so that it ends the others also when the closure is dropped.
        let part = Needed(self);
        drop(self.spawn_local(move || {
            *slot = body();
            if slot.is_some() {
                mem::forget(part);
            }
        }));
    }

    /// For `race!`: a fiber whose value may be the first.
    #[doc(hidden)]
    #[track_caller]
    pub fn __racer<T: 'scope>(
        &'scope self,
        winner: &'scope Cell<Option<T>>,
        body: impl FnOnce() -> T + 'scope,
    ) {
        drop(self.spawn_local(move || {
            let value = body();
            self.__won(winner, value);
        }));
    }

    /// For `race!`: the first value is kept, and ends the race.
    #[doc(hidden)]
    pub fn __won<T>(&self, winner: &Cell<Option<T>>, value: T) {
        // A later one is dropped last, being the user's code.
        let (first, later) = match winner.take() {
            None => (value, None),
            Some(first) => (first, Some(value)),
        };
        winner.set(Some(first));
        self.cancel();
        drop(later);
    }
}

/// One that the others need: if it ends without a value they have nothing to go on for.
struct Needed<'scope, 'env: 'scope>(&'scope Scope<'scope, 'env>);

impl Drop for Needed<'_, '_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// For `try_join!`: the value, or else the first error is kept.
#[doc(hidden)]
pub fn __keep<T, E>(error: &Cell<Option<E>>, result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(new) => {
            let first = error.take();
            error.set(first.or(Some(new)));
            None
        }
    }
}

/// An expression was cancelled, so there is no value for the caller.
#[doc(hidden)]
pub fn __give_up(what: &str) -> ! {
    checkpoint();
    panic!("an expression of `{what}` was cancelled by itself, so there is no value");
}
