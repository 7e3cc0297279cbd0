//! Children that panic.

use alloc::rc::Rc;
use core::time::Duration;

use fiber::{
    FiberBuilder, ScopeBuilder, StackClass, park, scope, sleep,
    sync::{Condvar, Mutex},
    yield_now,
};

use crate::{
    support::{Count, on_both},
    world::{fail, panics_of},
};

#[test]
fn the_first_panic_that_nobody_joins_cancels_siblings_and_body() {
    on_both(|| {
        let all = panics_of(|| {
            scope(|s| {
                drop(s.spawn(park));
                let broken = FiberBuilder::new().name("broken");
                drop(broken.spawn_scoped(s, || fail("as planned")).unwrap());
                park();
            });
        });
        assert_eq!((all.count(), all.body_message()), (1, None));
        let only = &all.panics()[0];
        assert_eq!(
            (only.name(), only.message()),
            (Some("broken"), Some("as planned"))
        );
        assert!(all.to_string().contains("'broken'"), "{all}");
    });
}

#[test]
fn a_panic_that_is_joined_is_told_there_and_the_scope_goes_on() {
    on_both(|| {
        let value = scope(|s| {
            let broken = s.spawn(|| fail("as planned"));
            let other = s.spawn(|| {
                yield_now();
                7
            });
            assert!(broken.join().is_err());
            other.join().unwrap()
        });
        assert_eq!(value, 7);
    });
}

#[test]
fn dropping_the_handle_of_a_fiber_that_has_panicked_is_a_failure() {
    on_both(|| {
        let all = panics_of(|| {
            scope(|s| {
                let broken = s.spawn(|| fail("as planned"));
                while !broken.is_finished() {
                    yield_now();
                }
                drop(broken);
                assert!(s.is_cancelled());
                park();
            });
        });
        assert_eq!(all.count(), 1);
    });
}

#[test]
fn a_failure_reaches_a_body_that_waits_at_a_condition_variable_and_the_scopes_around() {
    on_both(|| {
        let (lock, condition) = (Mutex::new(()), Condvar::new());
        let all = panics_of(|| {
            scope(|s| {
                drop(s.spawn(|| {
                    scope(|inner| {
                        drop(inner.spawn(|| {
                            yield_now();
                            fail("as planned");
                        }));
                        park();
                    });
                }));
                let guard = lock.lock().unwrap();
                let _guard = condition.wait(guard);
                unreachable!("nobody notifies it");
            });
        });
        assert_eq!(all.count(), 1);
        let inner = all.into_panics().remove(0).into_payload().into_inner();
        assert_eq!(inner.downcast::<fiber::MultiPanic>().unwrap().count(), 1);
        assert!(
            lock.try_lock().is_ok(),
            "the lock is free, and not poisoned by a cancel"
        );
    });
}

#[test]
fn all_panics_are_collected_also_those_of_siblings_that_were_cancelled() {
    struct Breaks;
    impl Drop for Breaks {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                fail("in a drop");
            }
        }
    }
    on_both(|| {
        let all = panics_of(|| {
            scope(|s| {
                for _ in 0..3 {
                    drop(s.spawn(|| {
                        let caught = std::panic::catch_unwind(park);
                        drop(Breaks);
                        drop(caught);
                    }));
                }
                yield_now();
                drop(s.spawn(|| fail("first")));
            });
        });
        assert!((1..=4).contains(&all.count()), "{all}");
        assert!(
            all.panics()
                .iter()
                .any(|panic| panic.message() == Some("first"))
        );
    });
}

#[test]
fn a_scope_that_keeps_going_ends_its_work_and_tells_all_panics_then() {
    on_both(|| {
        let worked = Count::default();
        let all = panics_of(|| {
            ScopeBuilder::new().keep_going().run(|s| {
                drop(s.spawn(|| fail("one")));
                drop(s.spawn(|| fail("two")));
                drop(s.spawn(|| {
                    sleep(Duration::from_millis(1));
                    worked.add();
                }));
                yield_now();
                yield_now();
                assert!(!s.is_cancelled());
                fail("body");
            });
        });
        assert_eq!((all.count(), worked.get()), (3, 1));
        assert_eq!(all.body_message(), Some("body"));
    });
}

#[test]
fn local_children_share_what_is_not_send() {
    on_both(|| {
        let shared = Rc::new(core::cell::Cell::new(0));
        let seven = scope(|s| {
            let child = s.spawn_local(|| {
                shared.set(7);
                Rc::clone(&shared)
            });
            let small = FiberBuilder::new().name("small").stack(StackClass::K64);
            small
                .spawn_local_scoped(s, || drop(Rc::clone(&shared)))
                .unwrap();
            child.join().unwrap().get()
        });
        assert_eq!(seven, 7);
    });
}
