//! Operations that need no partner: always, never, and at a certain time.

use core::{marker::PhantomData, pin::Pin, time::Duration};

use super::{Operation, Published, cell::WaitCell};
use crate::{env::Instant, time};

/// An operation that can commit at any time, and gives `value`.
pub const fn always<T>(value: T) -> Always<T> {
    Always(Some(value))
}

/// An operation that never commits: an arm that is switched off.
///
/// Performed alone it waits until its fiber is cancelled.
pub const fn never<T>() -> Never<T> {
    Never(PhantomData)
}

/// An operation that commits once `span` has passed since it was performed. A span of zero can
/// commit at once, as any arm that is ready.
///
/// In a loop each round has the whole span; use [`deadline`] for a moment that stays.
pub const fn timeout(span: Duration) -> MomentOperation {
    MomentOperation(Moment::After(span))
}

/// An operation that commits once the clock of the caller's runtime (on a plain thread, that of the
/// host) shows `at`.
pub const fn deadline(at: Instant) -> MomentOperation {
    MomentOperation(Moment::At(at))
}

/// See [`always`].
#[derive(Clone, Debug)]
pub struct Always<T>(Option<T>);

// Only moved as a whole; nothing points into it.
impl<T> Unpin for Always<T> {}

// SAFETY: it has no nodes, and `finish` is called once (I-12).
unsafe impl<T> Operation for Always<T> {
    type Output = T;

    fn name(&self) -> &'static str {
        "nothing"
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        Some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        Published::own(cell, base)
    }

    fn retract(self: Pin<&mut Self>, _winner: Option<u16>) {}

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> T {
        self.get_mut().0.take().expect("it is finished once")
    }
}

/// See [`never()`].
#[derive(Clone, Copy, Debug)]
pub struct Never<T>(PhantomData<fn() -> T>);

// SAFETY: it has no nodes and is never committed (I-12).
unsafe impl<T> Operation for Never<T> {
    type Output = T;

    fn name(&self) -> &'static str {
        "nothing that will ever be"
    }

    fn try_now(&mut self) -> Option<u16> {
        None
    }

    unsafe fn publish(self: Pin<&mut Self>, _cell: &WaitCell, _base: u16) -> Published {
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, _winner: Option<u16>) {}

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> T {
        unreachable!("it is never committed")
    }
}

/// See [`timeout`] and [`deadline`].
#[derive(Clone, Copy, Debug)]
pub struct MomentOperation(Moment);

#[derive(Clone, Copy, Debug)]
enum Moment {
    After(Duration),
    At(Instant),
}

impl MomentOperation {
    #[inline]
    fn is_over(&self) -> bool {
        match self.0 {
            Moment::After(span) => span.is_zero(),
            Moment::At(at) => time::now() >= at,
        }
    }
}

// SAFETY: it has no nodes; its performer commits it (I-12).
unsafe impl Operation for MomentOperation {
    type Output = ();

    fn name(&self) -> &'static str {
        "a moment"
    }

    fn due(&self, now: &dyn Fn() -> Instant) -> Option<(Instant, u16)> {
        match self.0 {
            Moment::After(span) => Some((now() + span, 0)),
            Moment::At(at) => Some((at, 0)),
        }
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        self.is_over().then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        // For one who only tries: it may have come since it was tried.
        match self.is_over() {
            true => Published::own(cell, base),
            false => Published::Waiting,
        }
    }

    fn retract(self: Pin<&mut Self>, _winner: Option<u16>) {}

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) {}
}
