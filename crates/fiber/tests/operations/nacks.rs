//! A nack is ready when what it belongs to was not chosen, however that came, and never otherwise.

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use fiber::{
    catch_unwind, choose,
    operation::{
        Either, Nack, Operation, always, choose_dyn, never, timeout, try_perform, with_nack,
        with_nack_dyn,
    },
    sleep, spawn,
    sync::{Mutex, Semaphore, channel},
    yield_now,
};

use crate::support::{Count, in_worlds, on_both, on_linux};

const MS: Duration = Duration::from_millis(1);

/// Where a nack is put for the test to look at.
type Place = Arc<Mutex<Option<Nack>>>;

fn noting<O: Operation>(place: &Place, operation: O) -> impl Operation<Output = O::Output> {
    with_nack(move |nack| {
        *place.lock().unwrap() = Some(nack);
        operation
    })
}

fn taken(place: &Place) -> Nack {
    place.lock().unwrap().take().expect("the guard ran")
}

#[test]
fn a_nack_is_ready_after_a_try_that_missed_and_after_the_time_was_over() {
    on_both(|| {
        let place = Place::default();
        drop(try_perform(noting(&place, never::<()>())));
        assert!(taken(&place).is_ready());
        assert!(noting(&place, never::<()>()).perform_timeout(MS).is_err());
        assert!(taken(&place).is_ready());
    });
}

#[test]
fn a_nack_is_ready_before_the_arm_that_was_chosen_goes_on() {
    on_both(|| {
        let (first, second) = (Place::default(), Place::default());
        let seen = choose! {
            ready = always(()).wrap(|()| (taken(&first).is_ready(), taken(&second).is_ready()))
                => ready,
            () = noting(&first, never()) => unreachable!(),
            () = noting(&second, never()) => unreachable!(),
        };
        assert_eq!(seen, (true, true));
    });
}

#[test]
fn a_nack_is_not_ready_if_its_arm_was_chosen_or_any_in_the_choice_that_it_covers() {
    on_both(|| {
        let place = Place::default();
        noting(&place, always(())).perform();
        assert!(!taken(&place).is_ready());
        noting(&place, never::<()>().or(always(()))).perform();
        assert!(!taken(&place).is_ready());
        // A hundred inside of each other, of which the innermost is chosen.
        let nacks = Arc::new(Mutex::new(Vec::new()));
        let mut operation = always(()).boxed();
        for _ in 0..100 {
            let nacks = Arc::clone(&nacks);
            operation = with_nack_dyn(move |nack| {
                nacks.lock().unwrap().push(nack);
                choose_dyn([never().boxed(), operation])
            });
        }
        operation.perform();
        let nacks = nacks.lock().unwrap();
        assert_eq!(nacks.len(), 100);
        assert!(!nacks.iter().any(Nack::is_ready));
    });
}

#[test]
fn a_nack_is_ready_if_the_guard_of_a_sibling_panics_or_its_own_does() {
    on_both(|| {
        let place = Place::default();
        let panicking = || with_nack(|_| -> fiber::operation::Never<()> { panic!("a guard") });
        assert!(catch_unwind(|| noting(&place, never::<()>()).or(panicking()).perform()).is_err());
        assert!(taken(&place).is_ready());
        let own = Place::default();
        let caught = catch_unwind(|| {
            with_nack(|nack| -> fiber::operation::Never<()> {
                *own.lock().unwrap() = Some(nack);
                panic!("a guard")
            })
            .perform();
        });
        assert!(caught.is_err());
        assert!(taken(&own).is_ready());
    });
}

#[test]
fn a_nack_is_ready_if_the_performer_is_cancelled() {
    on_both(|| {
        let place = Place::default();
        let waiter = spawn({
            let place = Arc::clone(&place);
            move || noting(&place, never::<()>()).perform()
        });
        while place.lock().unwrap().is_none() {
            yield_now();
        }
        let nack = taken(&place);
        assert!(!nack.is_ready());
        waiter.cancel();
        nack.wait();
        assert!(waiter.join().is_err());
    });
}

#[test]
fn a_nack_that_others_watch_at_the_moment_of_the_choice_says_the_truth() {
    in_worlds(1000, || {
        let (sender, receiver) = channel::rendezvous();
        let (other, others) = channel::rendezvous();
        let (tell, told) = channel::bounded::<Nack>(1);
        let watcher = spawn(move || {
            let nack = told.recv().unwrap();
            choose! {
                () = nack.wait_operation() => true,
                () = timeout(MS * 100) => false,
            }
        });
        drop(spawn(move || sender.send(1)));
        drop(spawn(move || other.send(2)));
        let chosen = with_nack(|nack| {
            tell.send(nack).unwrap();
            receiver.recv_operation()
        })
        .or(others.recv_operation())
        .perform();
        let fired = watcher.join().unwrap();
        assert_eq!(fired, matches!(chosen, Either::Second(_)));
    });
}

/// Grants permits by request, takes each back that nobody came for.
fn serve(rounds: usize) {
    let (request, requests) = channel::rendezvous::<(channel::Sender<usize>, Nack)>();
    let (granted, freed) = (Count::default(), Count::default());
    let permits = Arc::new(Semaphore::new(1));
    let server = spawn({
        let (granted, freed, permits) = (granted.clone(), freed.clone(), Arc::clone(&permits));
        move || {
            for (number, (reply, nack)) in requests.iter().enumerate() {
                let reserved = permits.acquire();
                choose! {
                    sent = reply.send_operation(number) => match sent {
                        Ok(()) => granted.add(),
                        Err(_) => freed.add(),
                    },
                    () = nack.wait_operation() => freed.add(),
                }
                drop(reserved);
            }
        }
    });
    let mut got = 0;
    for round in 0..rounds {
        let (reply, replies) = channel::rendezvous();
        let asked = with_nack(|nack| {
            request.send((reply, nack)).unwrap();
            replies.recv_operation()
        });
        choose! {
            reply = asked => {
                reply.unwrap();
                got += 1;
            }
            // Now and then the client does not wait at all.
            () = timeout(if round % 3 == 0 { Duration::ZERO } else { MS }) => {}
        }
    }
    drop(request);
    server.join().unwrap();
    assert_eq!(granted.get(), got);
    assert_eq!(granted.get() + freed.get(), rounds);
    assert_eq!(permits.available_permits(), 1);
}

#[test]
fn a_server_frees_what_a_client_no_longer_waits_for() {
    on_linux(1, || serve(100_000));
    on_linux(2, || serve(20_000));
    in_worlds(1000, || {
        serve(20);
        sleep(MS);
    });
}
