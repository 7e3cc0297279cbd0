//! `join!`, `try_join!` and `race!`.

use alloc::rc::Rc;
use core::{cell::Cell, time::Duration};

use fiber::{
    ExitReason, checkpoint, current, join, mask, park, race, scope, sleep, spawn, time, try_join,
    yield_now,
};
use host_sim::Sim;

use crate::{
    support::{WORKERS, in_worlds, on_both, on_linux},
    world::{Log, caught, fail, in_order, panics_of, simulated},
};

fn broken() {
    fail("as planned");
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn joined_expressions_run_at_once_borrow_locals_and_share_what_is_not_send() {
    simulated(Sim::new(0), 2, || {
        let begun = time::now();
        let text = String::from("borrowed");
        let shared = Rc::new(Cell::new(0));
        let nap = |value: u32| {
            sleep(SECOND);
            shared.set(shared.get() + value);
            text.len()
        };
        assert_eq!(join!(nap(1), nap(2), nap(4)), (8, 8, 8));
        assert_eq!(shared.get(), 7);
        assert_eq!(time::now().saturating_since(begun), SECOND);
        assert_eq!(join!(drop(text)), ((),));
    });
}

#[test]
fn the_first_expression_begins_at_once_and_the_others_in_their_order_when_it_suspends() {
    in_order(|| {
        let log = Log::default();
        let step = |name: &'static str, again: &'static str| {
            log.add(name);
            yield_now();
            log.add(again);
        };
        join!(step("a", "A"), step("b", "B"), step("c", "C"));
        assert_eq!(log.taken(), ["a", "b", "c", "A", "B", "C"]);
        let winner = race! {
            { log.add("a"); park(); 1 },
            { log.add("b"); park(); 2 },
            { log.add("c"); 3 },
        };
        assert_eq!((winner, log.taken()), (3, vec!["a", "b", "c"]));
        let winner = race! { 1, { log.add("never"); 2 } };
        assert_eq!((winner, log.taken()), (1, vec![]));
        // `spawn` itself: the parent goes on, its children follow in their order.
        scope(|s| {
            drop(s.spawn(|| log.add("b")));
            drop(s.spawn(|| log.add("c")));
            log.add("a");
        });
        assert_eq!(log.taken(), ["a", "b", "c"]);
    });
}

#[test]
fn a_panic_in_one_expression_cancels_the_others() {
    on_both(|| {
        let all = panics_of(|| join!(park(), broken(), park()));
        assert_eq!(all.count(), 1);
        let payload = caught(|| join!(broken(), park()));
        assert_eq!(*payload.downcast::<&str>().unwrap(), "as planned");
        assert_eq!(panics_of(|| race!(park(), broken())).count(), 1);
    });
}

#[test]
fn a_cancel_of_one_expression_cancels_the_others_and_leaves_no_value() {
    let main = || {
        let leave = || {
            current().unwrap().cancel();
            checkpoint();
        };
        let payload = caught(|| join!(park(), leave()));
        assert!(
            payload
                .downcast::<String>()
                .unwrap()
                .contains("cancelled by itself")
        );
        let payload = caught(|| join!((), leave()));
        assert!(
            payload
                .downcast::<String>()
                .unwrap()
                .contains("cancelled by itself")
        );
        assert_eq!(
            race!(
                {
                    sleep(SECOND);
                    1
                },
                {
                    leave();
                    2
                }
            ),
            1
        );
    };
    // These panics are printed.
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(50, main);
}

#[test]
fn a_caller_that_is_cancelled_takes_all_expressions_with_it() {
    on_both(|| {
        let join = spawn(|| join!((), sleep(Duration::MAX), park()));
        let race = spawn(|| race!(park(), sleep(Duration::MAX)));
        yield_now();
        join.cancel();
        race.cancel();
        assert!(matches!(join.join(), Err(ExitReason::Cancelled(_))));
        assert!(matches!(race.join(), Err(ExitReason::Cancelled(_))));
    });
}

#[test]
fn the_first_error_ends_the_other_expressions() {
    on_both(|| {
        let wait = || {
            park();
            Ok(())
        };
        let fail = |error| {
            yield_now();
            Err::<(), u32>(error)
        };
        assert_eq!(try_join!(wait(), fail(7)), Err(7));
        assert_eq!(try_join!(fail(7), wait()), Err(7));
        assert_eq!(try_join!(Ok::<_, u32>(1), Ok("two")), Ok((1, "two")));
    });
}

#[test]
fn the_first_to_end_wins_a_race_and_the_others_have_ended_when_it_is_over() {
    simulated(Sim::new(0), 2, || {
        let begun = time::now();
        let ended = Cell::new(false);
        let first = race! {
            { sleep(3 * SECOND); "slow" },
            { mask(|| sleep(2 * SECOND)); ended.set(true); "masked" },
            { sleep(SECOND); "fast" },
        };
        assert_eq!((first, ended.get()), ("fast", true));
        assert_eq!(time::now().saturating_since(begun), 2 * SECOND);
    });
}
