//! Putting a cancel off, and meeting it where it suits.

use core::time::Duration;
use std::panic::resume_unwind;

use fiber::{
    ExitReason, Runtime, cancel_reason, cancelled_operation, catch_unwind, checkpoint,
    core::operation::perform, current, is_cancelled, mask, park, sleep, spawn, sync::channel,
    timeout, unmask, yield_now,
};

use crate::support::{Count, WORKERS, in_worlds, on_linux};

fn everywhere(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(200, main);
}

#[test]
fn leaving_a_mask_is_no_point_and_the_next_one_is() {
    everywhere(|| {
        let steps = Count::default();
        let seen = steps.clone();
        let fiber = spawn(move || {
            current().unwrap().cancel();
            mask(|| {
                yield_now();
                seen.add();
            });
            seen.add();
            yield_now();
            seen.add();
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(steps.get(), 2);
    });
}

#[test]
fn who_is_cancelled_while_it_joins_can_join_again() {
    everywhere(|| {
        let fiber = spawn(|| {
            let (go, wait) = channel::bounded(1);
            let mut child = spawn(move || wait.recv().unwrap());
            current().unwrap().cancel_with("while it joins");
            // It was cancelled before: not even the join begins.
            let left = unmask(|| perform(child.join_operation())).unwrap_err();
            assert_eq!(left.reason.message(), Some("while it joins"));
            mask(|| {
                go.send(7).unwrap();
                child.join().unwrap()
            })
        });
        assert_eq!(fiber.join().unwrap(), 7);
    });
}

#[test]
fn a_cancel_that_comes_during_a_join_leaves_the_value_with_the_handle() {
    everywhere(|| {
        let (begun, begins) = channel::bounded(1);
        let fiber = spawn(move || {
            let (go, wait) = channel::bounded(1);
            let mut child = spawn(move || wait.recv().unwrap());
            mask(|| begun.send(()).unwrap());
            let left = unmask(|| perform(child.join_operation()));
            assert!(left.is_err());
            mask(|| {
                go.send(7).unwrap();
                child.join().unwrap()
            })
        });
        begins.recv().unwrap();
        fiber.cancel();
        assert_eq!(fiber.join().unwrap(), 7);
    });
}

#[test]
fn a_loop_that_is_open_only_while_it_waits_ends_in_good_order() {
    everywhere(|| {
        let (sender, receiver) = channel::bounded(4);
        let server = spawn(move || {
            mask(|| {
                let mut served = 0;
                let left = loop {
                    match unmask(|| receiver.recv()) {
                        Ok(request) => request.unwrap(),
                        Err(left) => break left,
                    }
                    // The answer may wait, and is not cut short.
                    yield_now();
                    served += 1;
                };
                assert_eq!(left.reason.message(), Some("closing time"));
                yield_now();
                served
            })
        });
        for _ in 0..3 {
            sender.send(()).unwrap();
        }
        while !sender.is_empty() {
            yield_now();
        }
        server.cancel_with("closing time");
        assert!(
            matches!(server.join(), Ok(2..=3)),
            "it was asked before it had begun"
        );
    });
}

#[test]
fn an_open_region_closes_again_however_it_is_left() {
    everywhere(|| {
        let fiber = spawn(|| {
            mask(|| {
                assert_eq!(unmask(|| mask(|| unmask(|| 1))), Ok(Ok(1)));
                current().unwrap().cancel();
                assert!(unmask(|| 2).is_err(), "entering is a point");
                checkpoint();
                3
            })
        });
        assert_eq!(fiber.join().unwrap(), 3);
        let fiber = spawn(|| {
            mask(|| {
                let panicked = catch_unwind(|| unmask(|| -> () { resume_unwind(Box::new(())) }));
                assert!(panicked.is_err());
                current().unwrap().cancel();
                checkpoint();
                4
            })
        });
        assert_eq!(fiber.join().unwrap(), 4);
    });
}

#[test]
fn a_timeout_around_masked_code_ends_the_regions_that_are_open() {
    everywhere(|| {
        let done = timeout(Duration::from_millis(1), || {
            mask(|| {
                let left = unmask(|| sleep(Duration::MAX)).unwrap_err();
                assert!(left.reason.message().unwrap().contains("timeout"));
                assert_eq!(cancel_reason(), None, "its fiber was not cancelled");
                sleep(Duration::from_millis(1));
                4
            })
        });
        assert_eq!(done, Ok(4), "a body that returns has returned");
    });
}

#[test]
fn a_timeout_inside_of_an_open_region_ends_only_itself() {
    everywhere(|| {
        let inside = mask(|| unmask(|| timeout(Duration::from_millis(1), park)));
        assert!(inside.unwrap().is_err());
        assert!(!is_cancelled());
    });
}

#[test]
fn a_cancel_is_an_arm_like_others() {
    everywhere(|| {
        let (sender, receiver) = channel::bounded::<u32>(1);
        let server = spawn(move || {
            mask(|| {
                let mut sum = 0;
                loop {
                    let next = fiber::core::choose! {
                        got = receiver.recv_operation() => got.ok(),
                        reason = cancelled_operation() => {
                            assert_eq!(reason.message(), Some("enough"));
                            None
                        },
                    };
                    match next {
                        Some(number) => sum += number,
                        None => return sum,
                    }
                }
            })
        });
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        while !sender.is_empty() {
            yield_now();
        }
        server.cancel_with("enough");
        assert_eq!(server.join().unwrap(), 3);
    });
}

#[test]
fn a_masked_wait_for_a_cancel_ends_with_it() {
    everywhere(|| {
        let (begun, begins) = channel::bounded(1);
        let fiber = spawn(move || {
            mask(|| {
                begun.send(()).unwrap();
                perform(cancelled_operation())
            })
        });
        begins.recv().unwrap();
        fiber.cancel_with("now");
        assert_eq!(fiber.join().unwrap().message(), Some("now"));
    });
}

#[test]
fn a_mask_in_an_open_region_keeps_off_the_limit_of_time_around_the_region() {
    everywhere(|| {
        let (entered, kept) = (Count::default(), Count::default());
        let left = mask(|| {
            timeout(Duration::from_millis(1), || {
                // Its time may be over before it is entered.
                let region = unmask(|| {
                    mask(|| {
                        entered.add();
                        sleep(Duration::from_millis(2));
                        kept.add();
                    });
                    checkpoint();
                });
                assert!(region.is_err(), "the region is not masked");
                checkpoint();
            })
        });
        assert!(
            left.is_err(),
            "what is around the limit is masked, and not what is inside"
        );
        assert_eq!(kept.get(), entered.get());
        // On a machine everything may stand still until the time is over.
        let machine = Runtime::current().unwrap().env().watch().is_some();
        assert!(entered.get() == 1 || machine);
    });
}
