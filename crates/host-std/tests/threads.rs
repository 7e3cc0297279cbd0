//! Unwindings that are set aside on plain threads: the count of each is right at every moment.

use core::panic::AssertUnwindSafe;
use std::{
    panic::{catch_unwind, resume_unwind},
    sync::{Barrier, Mutex},
    thread::{self, panicking},
};

use host_std::{set_aside, works};

/// Does something as it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Does `body` in the unwinding of a destructor of a destructor, and so on.
fn unwind(depth: usize, body: &dyn Fn()) {
    let before = panicking();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _on_drop = OnDrop(|| match depth {
            1 => body(),
            _ => unwind(depth - 1, body),
        });
        resume_unwind(Box::new(depth));
    }));
    assert!(caught.is_err());
    assert_eq!(panicking(), before);
}

#[test]
fn whoever_runs_meanwhile_poisons_what_it_panics_with_and_nothing_else() {
    assert!(works());
    unwind(2, &|| {
        let (innocent, half_done) = (Mutex::new(()), Mutex::new(()));
        set_aside(&mut || {
            assert!(!panicking());
            let guard = innocent.lock().unwrap();
            set_aside(&mut || assert!(!panicking()));
            drop(guard);
            unwind(1, &|| assert!(panicking()));
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _guard = half_done.lock().unwrap();
                resume_unwind(Box::new(()));
            }));
            assert!(panicked.is_err() && !panicking());
        });
        assert!(panicking());
        assert_eq!(
            (innocent.is_poisoned(), half_done.is_poisoned()),
            (false, true)
        );
    });
}

#[test]
fn a_body_that_panics_leaves_the_count_as_it_was() {
    unwind(2, &|| {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            set_aside(&mut || resume_unwind(Box::new(7)));
        }));
        assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&7));
        assert!(panicking());
    });
    assert!(!panicking());
}

#[test]
fn as_many_inside_of_each_other_as_there_may_be_and_one_more() {
    unwind(64, &|| set_aside(&mut || assert!(!panicking())));
    unwind(65, &|| {
        set_aside(&mut || assert!(panicking(), "one is left"));
        assert!(panicking());
    });
    assert!(!panicking());
}

#[test]
fn threads_pass_their_ballasts_to_each_other() {
    const THREADS: usize = 4;
    let together = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..500 {
                    unwind(1 + round % 3, &|| {
                        set_aside(&mut || {
                            assert!(!panicking());
                            // All of them have one now, so each got another's at some time.
                            together.wait();
                        });
                        assert!(panicking());
                    });
                    assert!(!panicking());
                }
            });
        }
    });
}
