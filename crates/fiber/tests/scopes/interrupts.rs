//! Cancelling scopes, and cancelling through them.

use core::{cell::Cell, time::Duration};

use fiber::{
    ExitReason, Runtime, cancelled_operation, checkpoint, core::operation::perform, current, mask,
    park, scope, sleep, spawn, time, timeout, try_scope, unmask, yield_now,
};
use host_sim::Sim;

use crate::{
    support::{Count, on_both},
    world::simulated,
};

const MILLI: Duration = Duration::from_millis(1);

/// Counts its drops.
struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add();
    }
}

#[test]
fn a_child_of_a_cancelled_scope_does_not_start() {
    on_both(|| {
        let (began, dropped) = (Count::default(), Count::default());
        scope(|s| {
            assert!(!s.is_cancelled());
            s.cancel();
            assert!(s.is_cancelled());
            let (counted, begun) = (Counted(dropped.clone()), began.clone());
            let child = s.spawn(move || {
                begun.add();
                drop(counted);
            });
            assert_eq!(dropped.get(), 1, "its closure is dropped at once");
            assert!(child.is_finished());
            let Err(ExitReason::Cancelled(reason)) = child.join() else {
                unreachable!("it did not run");
            };
            assert_eq!(reason.message(), Some("its scope was cancelled"));
            assert!(s.spawn_local(|| ()).join().is_err());
        });
        assert_eq!(began.get(), 0);
    });
}

#[test]
fn a_child_that_is_cancelled_as_soon_as_it_was_spawned_does_not_hold_up_its_scope() {
    on_both(|| {
        scope(|s| {
            let child = s.spawn(park);
            child.cancel();
            drop(child);
        });
        scope(|s| {
            drop(s.spawn(park));
            s.cancel();
        });
    });
}

#[test]
fn cancelling_a_scope_cancels_the_scopes_of_its_children_without_a_failure() {
    on_both(|| {
        let (unwound, begun) = (Count::default(), Count::default());
        scope(|s| {
            drop(s.spawn(|| {
                scope(|inner| {
                    let counted = Counted(unwound.clone());
                    drop(inner.spawn(move || {
                        let _counted = counted;
                        park();
                    }));
                    begun.add();
                });
                unreachable!("it is unwound when its children have ended");
            }));
            while begun.get() == 0 {
                yield_now();
            }
            s.cancel();
        });
        assert_eq!(unwound.get(), 1);
    });
}

#[test]
fn a_scope_that_is_cancelled_waits_for_masked_children() {
    simulated(Sim::new(0), 2, || {
        let (begun, ended) = (time::now(), Count::default());
        scope(|s| {
            drop(s.spawn(|| {
                mask(|| sleep(200 * MILLI));
                ended.add();
            }));
            yield_now();
            sleep(MILLI);
            s.cancel();
        });
        assert_eq!(ended.get(), 1);
        assert_eq!(time::now().saturating_since(begun), 200 * MILLI);
    });
}

#[test]
fn cancelling_one_child_leaves_the_scope_alone() {
    on_both(|| {
        let value = scope(|s| {
            let one = s.spawn(park);
            let other = s.spawn(|| {
                yield_now();
                7
            });
            one.cancel();
            assert!(one.join().is_err());
            assert!(!s.is_cancelled());
            other.join().unwrap()
        });
        assert_eq!(value, 7);
    });
}

#[test]
fn neither_a_scope_nor_cancelling_it_is_a_cancellation_point() {
    on_both(|| {
        let reached = Count::default();
        let seen = reached.clone();
        let fiber = spawn(move || {
            current().unwrap().cancel();
            let two = scope(|s| {
                s.defer(|| seen.add());
                s.cancel();
                2
            });
            assert_eq!(two, 2);
            seen.add();
            checkpoint();
            seen.add();
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(reached.get(), 2);
    });
}

#[test]
fn a_scope_that_was_not_cancelled_never_swallows_a_cancel_or_a_timeout() {
    on_both(|| {
        // While the body runs, and while it waits for its children.
        for body_waits in [true, false] {
            let fiber = spawn(move || {
                let ended = try_scope(|s| {
                    drop(s.spawn(park));
                    if body_waits {
                        park();
                    }
                });
                unreachable!("the scope has swallowed a cancel: {ended:?}");
            });
            yield_now();
            fiber.cancel();
            assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
            let late = timeout(MILLI, || {
                scope(|s| {
                    drop(s.spawn(|| sleep(Duration::MAX)));
                    if body_waits {
                        sleep(Duration::MAX);
                    }
                });
            });
            assert!(late.is_err(), "the scope has swallowed a timeout");
        }
    });
}

#[test]
fn cancelling_a_scope_that_may_end_early_unwinds_its_body_and_nothing_around_it() {
    on_both(|| {
        let unwound = Cell::new(false);
        let ended: Result<(), _> = try_scope(|s| {
            drop(s.spawn(|| s.cancel()));
            scope(|inner| {
                drop(inner.spawn(park));
                sleep(Duration::MAX);
            });
            unwound.set(true);
        });
        assert!(ended.is_err());
        assert!(!unwound.get());
        yield_now();
        assert_eq!(
            try_scope(|s| s.cancel()),
            Ok(()),
            "a body that returns has returned"
        );
        yield_now();
    });
}

#[test]
fn a_mask_does_not_protect_what_is_limited_inside_of_it() {
    on_both(|| {
        mask(|| {
            assert!(timeout(MILLI, || sleep(Duration::MAX)).is_err());
            assert!(timeout(MILLI, || mask(|| sleep(2 * MILLI))).is_ok());
            let ended = try_scope(|s| {
                s.cancel();
                sleep(Duration::MAX);
            });
            assert!(ended.is_err());
        });
        let outer = timeout(MILLI, || {
            mask(|| timeout(2 * MILLI, || sleep(Duration::MAX)).is_err())
        });
        assert_eq!(
            outer,
            Ok(true),
            "the outer one waits until the mask is left"
        );
    });
}

#[test]
fn a_cancel_of_the_caller_reaches_the_children_with_its_reason() {
    on_both(|| {
        let heard = Count::default();
        let told = heard.clone();
        let fiber = spawn(move || {
            scope(|s| {
                drop(s.spawn(|| {
                    told.add();
                    let reason = perform(cancelled_operation());
                    assert_eq!(reason.message(), Some("as planned"));
                    told.add();
                }));
            });
        });
        while heard.get() == 0 {
            yield_now();
        }
        fiber.cancel_with("as planned");
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(heard.get(), 2);
    });
}

#[test]
fn a_scoped_fiber_is_joined_now_in_time_or_in_a_choice() {
    on_both(|| {
        scope(|s| {
            let mut child = s.spawn(park);
            assert!(child.try_join().is_none());
            assert!(child.join_timeout(MILLI).is_err());
            child.fiber().unpark();
            perform(child.join_operation()).unwrap();
            assert!(matches!(child.join(), Err(ExitReason::Taken)));
        });
    });
}

#[test]
fn a_scope_in_an_open_region_outlives_the_limit_of_time_around_the_region() {
    on_both(|| {
        let (begun, ended) = (Count::default(), Count::default());
        let left = mask(|| {
            timeout(MILLI, || {
                // The limit may be reached before the child has begun, or even this.
                unmask(|| {
                    scope(|s| {
                        let (begun, ended) = (&begun, &ended);
                        s.spawn(move || {
                            mask(|| {
                                begun.add();
                                sleep(5 * MILLI);
                                ended.add();
                            });
                        });
                    });
                })
            })
        });
        let (begun, ended) = (begun.get(), ended.get());
        assert_eq!(ended, begun, "its frames were left before: {left:?}");
        let machine = Runtime::current().unwrap().env().watch().is_some();
        assert!(begun == 1 || machine);
    });
}
