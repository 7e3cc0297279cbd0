//! `choose!`: the first of several operations that can commit.

/// Waits until one of several operations can commit, commits that one and no other, and runs what
/// stands behind it.
///
/// Arms are any [operations](crate::operation::Operation), of any types: a channel, a lock, a
/// timer, the end of a fiber. If several could commit, any of them is chosen, each with the same
/// chance. What stands behind `=>` runs after the choice, in the caller's own function: it may use
/// `?`, `break` and `return`, and it may wait. Nothing is allocated.
///
/// What was not chosen leaves no trace: a value that was not sent is dropped with its operation
/// (perform the operation by reference to the value, or take it back with
/// [`try_perform`](crate::operation::try_perform), to keep it), a lock that was not chosen is not
/// locked.
///
/// `else` makes it a try: if no arm can commit at one and the same moment, that runs instead.
///
/// ```
/// use core::time::Duration;
///
/// use fiber_core::{
///     choose,
///     operation::{Latch, always, never, timeout},
/// };
///
/// let latch = Latch::new();
/// let opened = choose! {
///     () = latch.wait_operation("the door") => true,
///     else => false,
/// };
/// assert!(!opened);
///
/// latch.open();
/// let which = choose! {
///     () = latch.wait_operation("the door") => "open",
///     () = never::<()>() => "never",
/// };
/// assert_eq!(which, "open");
/// ```
///
/// # Suspends
/// Until an arm can commit; with `else` never.
///
/// # Cancellation
/// A cancelled fiber unwinds here with nothing committed. What was committed is never lost.
#[macro_export]
macro_rules! choose {
    (@build $operation:expr $(,)?) => { $operation };
    (@build $operation:expr, $($rest:expr),+ $(,)?) => {
        $crate::operation::Operation::or($operation, $crate::choose!(@build $($rest),+))
    };
    (@match $chosen:expr; $value:pat => $body:expr $(,)?) => {
        match $chosen { $value => $body }
    };
    (@match $chosen:expr; $value:pat => $body:expr, $($rest:tt)+) => {
        match $chosen {
            $crate::operation::Either::First($value) => $body,
            $crate::operation::Either::Second(rest) => $crate::choose!(@match rest; $($rest)+),
        }
    };
    (@arms [$($operation:expr),*] [$($body:tt)*] else => $otherwise:expr $(,)?) => {
        match $crate::operation::try_perform($crate::choose!(@build $($operation),*)) {
            Ok(chosen) => $crate::choose!(@match chosen; $($body)*),
            Err(tried) => {
                // What was not chosen is gone before anything else happens.
                {
                    let _tried = tried;
                }
                $otherwise
            }
        }
    };
    (@arms [$($operation:expr),*] [$($body:tt)*]) => {
        $crate::choose!(
            @match $crate::operation::perform($crate::choose!(@build $($operation),*)); $($body)*
        )
    };
    (@arms [$($operation:expr),*] [$($body:tt)*]
        $value:pat = $next:expr => $then:block $($rest:tt)*
    ) => {
        $crate::choose!(@comma [$($operation,)* $next] [$($body)* $value => $then,] $($rest)*)
    };
    (@arms [$($operation:expr),*] [$($body:tt)*]
        $value:pat = $next:expr => $then:expr $(, $($rest:tt)*)?
    ) => {
        $crate::choose!(@arms [$($operation,)* $next] [$($body)* $value => $then,] $($($rest)*)?)
    };
    (@comma [$($operation:expr),*] [$($body:tt)*] , $($rest:tt)*) => {
        $crate::choose!(@arms [$($operation),*] [$($body)*] $($rest)*)
    };
    (@comma [$($operation:expr),*] [$($body:tt)*] $($rest:tt)*) => {
        $crate::choose!(@arms [$($operation),*] [$($body)*] $($rest)*)
    };
    ($value:pat = $($arms:tt)+) => {
        $crate::choose!(@arms [] [] $value = $($arms)+)
    };
}
