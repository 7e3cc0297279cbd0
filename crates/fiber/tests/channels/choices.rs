//! Channels in choices.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fiber::{
    choose, no_suspend,
    operation::{Operation, choose_dyn, deadline, never, timeout, try_perform},
    spawn,
    sync::channel::{Receiver, RecvError, SendError, Sender, TryRecvError, bounded, rendezvous},
    time,
};
use host_sim::Sim;

use crate::{
    support::{WORKERS, in_world, in_worlds, on_both, on_linux},
    waits::until_it_waits,
};

/// Long enough for everybody else to do what they do; in a simulated world a moment.
const A_WHILE: Duration = Duration::from_millis(20);

fn of_capacity<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    match capacity {
        0 => rendezvous(),
        capacity => bounded(capacity),
    }
}

/// Lets everybody run until they wait.
fn settle() {
    fiber::sleep(A_WHILE);
}

/// One of two channels is ready at every moment: first one, then both, then the other one. A try of
/// both finds one, whenever it looks.
fn one_is_always_ready(rounds: usize, second_is_closed: bool) {
    for _ in 0..rounds {
        let (first_sender, first) = bounded(1);
        let (second_sender, second) = bounded(1);
        first_sender.send(1).unwrap();
        let (a, b) = (first.clone(), second.clone());
        let other = spawn(move || {
            choose! {
                _ = a.recv_operation() => true,
                _ = b.recv_operation() => true,
                else => false,
            }
        });
        if second_is_closed {
            second_sender.close();
        } else {
            second_sender.send(1).unwrap();
        }
        // By now the second one is ready, unless the other fiber has had it.
        let _ = first.try_recv();
        assert!(other.join().unwrap(), "it has looked at two moments");
    }
}

#[test]
fn a_try_of_two_channels_of_which_one_is_ready_succeeds() {
    for workers in WORKERS {
        on_linux(workers, || one_is_always_ready(10_000, false));
    }
    in_worlds(1000, || one_is_always_ready(20, false));
}

#[test]
fn a_try_of_two_channels_of_which_one_is_ready_or_closed_succeeds() {
    for workers in WORKERS {
        on_linux(workers, || one_is_always_ready(10_000, true));
    }
    in_worlds(1000, || one_is_always_ready(20, true));
}

fn a_value_outlives_the_close(rounds: usize) {
    for _ in 0..rounds {
        let (sender, receiver) = bounded(1);
        sender.send(1).unwrap();
        let other = receiver.clone();
        let other = spawn(move || other.try_recv());
        sender.close();
        let ours = receiver.recv();
        let theirs = other.join().unwrap();
        assert!(
            (ours == Ok(1)) != (theirs == Ok(1)) && theirs != Err(TryRecvError::Empty),
            "{ours:?} {theirs:?}"
        );
    }
}

#[test]
fn a_close_does_not_hide_the_value_before_it() {
    for workers in WORKERS {
        on_linux(workers, || a_value_outlives_the_close(5_000));
    }
    in_worlds(1000, || a_value_outlives_the_close(20));
}

/// Of everybody who has something left to do, one that can.
fn while_any_is_left<'a, T>(
    mut left: [usize; 4],
    arm: impl Fn(usize) -> fiber::operation::BoxedOperation<'a, T>,
) {
    while left.iter().any(|left| *left > 0) {
        let arms = (0..4)
            .filter(|index| left[*index] > 0)
            .map(|index| arm(index).wrap(move |_| index).boxed());
        left[choose_dyn(arms.collect::<Vec<_>>()).perform()] -= 1;
    }
}

/// Four channels; on each a sender and a receiver of their own, and one of each that chooses.
fn stress(each: usize) {
    let channels = Arc::new([0, 0, 2, 3].map(of_capacity::<usize>));
    let mut fibers = Vec::new();
    for index in 0..4 {
        let of = Arc::clone(&channels);
        fibers.push(spawn(move || {
            (0..each).for_each(|number| of[index].0.send(number).unwrap());
        }));
        let of = Arc::clone(&channels);
        fibers.push(spawn(move || {
            (0..each).for_each(|_| assert!(of[index].1.recv().is_ok()));
        }));
    }
    let of = Arc::clone(&channels);
    fibers.push(spawn(move || {
        while_any_is_left([each; 4], |index| of[index].0.send_operation(0).boxed());
    }));
    let of = Arc::clone(&channels);
    fibers.push(spawn(move || {
        while_any_is_left([each; 4], |index| of[index].1.recv_operation().boxed());
    }));
    for fiber in fibers {
        fiber.join().unwrap();
    }
    for (sender, receiver) in channels.iter() {
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(sender.len(), 0);
    }
}

#[test]
fn choices_and_plain_calls_share_four_channels() {
    on_linux(1, || stress(10_000));
    on_linux(2, || stress(100_000));
    on_linux(4, || stress(10_000));
    in_worlds(1000, || stress(10));
}

fn both_values_are_sent(capacity: usize) {
    let (sender, receiver) = of_capacity(capacity);
    let counting = spawn(move || {
        let mut counts = [0; 2];
        receiver
            .into_iter()
            .for_each(|value: usize| counts[value] += 1);
        counts
    });
    for _ in 0..100 {
        choose! {
            sent = sender.send_operation(0) => sent.unwrap(),
            sent = sender.send_operation(1) => sent.unwrap(),
        }
    }
    drop(sender);
    let counts = counting.join().unwrap();
    assert_eq!(counts[0] + counts[1], 100);
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
}

#[test]
fn of_two_sends_that_can_commit_either_is_chosen() {
    for workers in WORKERS {
        on_linux(workers, || both_values_are_sent(0));
        on_linux(workers, || both_values_are_sent(100));
    }
    // Not in drawn worlds, where the chances are drawn too.
    in_world(Sim::new(1), 2, || both_values_are_sent(100));
}

/// The first waits twice on one channel and is served by another one: its places go from the middle
/// and the front of the queue, and the second is still in it.
fn one_channel_twice() {
    let (doubled_sender, doubled) = rendezvous();
    let (other_sender, other) = rendezvous();
    let receiver = doubled.clone();
    let first = spawn(move || {
        choose! {
            value = receiver.recv_operation() => value,
            value = receiver.recv_operation() => value,
            value = other.recv_operation() => value,
        }
    });
    until_it_waits(&first);
    let second = spawn(move || doubled.recv());
    until_it_waits(&second);
    other_sender.send(7).unwrap();
    assert_eq!(first.join().unwrap(), Ok(7));
    doubled_sender.send(8).unwrap();
    assert_eq!(second.join().unwrap(), Ok(8));
    // And with senders, of which the first is served.
    let (sender, receiver) = rendezvous();
    let (doubled, last) = (sender.clone(), sender);
    let first = spawn(move || {
        choose! {
            sent = doubled.send_operation(1) => sent,
            sent = doubled.send_operation(1) => sent,
        }
    });
    until_it_waits(&first);
    let second = spawn(move || last.send(2));
    until_it_waits(&second);
    assert!(receiver.iter().eq([1, 2]));
    assert_eq!(first.join().unwrap(), Ok(()));
    assert_eq!(second.join().unwrap(), Ok(()));
}

#[test]
fn the_same_channel_may_stand_twice_in_a_choice() {
    on_both(one_channel_twice);
}

/// Four channels that carry the numbers side by side into one.
fn chosen_once(numbers: usize) {
    let channels = [(); 4].map(|()| rendezvous());
    let (all, together) = rendezvous();
    let senders = Arc::new(channels.map(|(sender, receiver)| {
        let all = all.clone();
        let _ = spawn(move || {
            for number in receiver {
                all.send(number).unwrap();
            }
        });
        sender
    }));
    drop(all);
    let _ = spawn(move || {
        let [a, b, c, d] = &*senders;
        for number in 0..numbers {
            choose! {
                sent = a.send_operation(number) => sent.unwrap(),
                sent = b.send_operation(number) => sent.unwrap(),
                sent = c.send_operation(number) => sent.unwrap(),
                sent = d.send_operation(number) => sent.unwrap(),
            }
        }
    });
    let mut seen = vec![false; numbers];
    for number in together {
        assert!(!core::mem::replace(&mut seen[number], true), "came twice");
    }
    assert!(seen.into_iter().all(|seen| seen), "one was lost");
}

#[test]
fn of_four_sends_in_a_choice_one_is_done() {
    on_linux(1, || chosen_once(10_000));
    on_linux(2, || chosen_once(100_000));
    on_linux(4, || chosen_once(10_000));
    in_worlds(1000, || chosen_once(50));
}

fn what_waits_and_what_does_not() {
    let (sender, receiver) = rendezvous::<u8>();
    assert!(never::<()>().perform_timeout(A_WHILE).is_err());
    let nothing = never::<()>().or(never::<()>());
    assert!(nothing.perform_timeout(A_WHILE).is_err());
    let with_oneself = sender.send_operation(1).or(receiver.recv_operation());
    assert!(with_oneself.perform_timeout(A_WHILE).is_err());
    assert!(receiver.recv_operation().perform_timeout(A_WHILE).is_err());
    assert!(sender.send_operation(1).perform_timeout(A_WHILE).is_err());
    no_suspend(|| {
        assert!(try_perform(sender.send_operation(1).or(receiver.recv_operation())).is_err());
        let neither = choose! {
            _ = never::<()>() => false,
            _ = receiver.recv_operation() => false,
            else => true,
        };
        assert!(neither);
        let (closed, closed_receiver) = rendezvous();
        closed.close();
        assert_eq!(closed_receiver.recv(), Err(RecvError));
        assert_eq!(closed.send(5), Err(SendError(5)));
        choose! {
            _ = never::<()>() => unreachable!("it never does"),
            _ = receiver.recv_operation() => unreachable!("nothing is sent"),
            received = closed_receiver.recv_operation() => assert_eq!(received, Err(RecvError)),
        }
        choose! {
            _ = receiver.recv_operation() => unreachable!("nothing is sent"),
            sent = closed.send_operation(6) => assert_eq!(sent, Err(SendError(6))),
        }
    });
}

#[test]
fn it_is_known_what_waits_and_what_does_not() {
    on_both(what_waits_and_what_does_not);
}

/// One who could send and receive on a channel meets the others, on either side.
fn two_with_both_arms() {
    let (sender, receiver) = rendezvous();
    let both = move |mine: u32| {
        choose! {
            sent = sender.send_operation(mine) => sent.map(|()| None),
            received = receiver.recv_operation() => Ok(received.ok()),
        }
    };
    let other = both.clone();
    let other = spawn(move || other(1));
    let ours = both(2).unwrap();
    let theirs = other.join().unwrap().unwrap();
    assert!(
        matches!((ours, theirs), (None, Some(2)) | (Some(1), None)),
        "{ours:?} {theirs:?}"
    );
}

#[test]
fn two_who_may_send_or_receive_exchange_one_value() {
    on_both(two_with_both_arms);
}

fn moments_and_channels() {
    let (sender, receiver) = rendezvous();
    let late = spawn(move || {
        settle();
        settle();
        sender.send(5).unwrap();
    });
    choose! {
        () = timeout(A_WHILE) => {}
        _ = receiver.recv_operation() => unreachable!("it comes later"),
    }
    choose! {
        () = deadline(time::now() + 100 * A_WHILE) => unreachable!("it comes before"),
        received = receiver.recv_operation() => assert_eq!(received, Ok(5)),
    }
    late.join().unwrap();
}

#[test]
fn a_choice_ends_with_its_deadline_or_before() {
    in_worlds(1000, moments_and_channels);
}

/// What was not chosen is as if it had never been tried.
fn losers_leave_no_trace() {
    let (taken_sender, taken) = rendezvous();
    let (left_sender, left) = rendezvous();
    let mut kept = Some(Box::new(1));
    let (chooser_sender, chooser_receiver) = (left_sender.clone(), left.clone());
    let chooser = spawn(move || {
        choose! {
            value = taken.recv_operation() => assert_eq!(value, Ok(3)),
            _ = chooser_receiver.recv_operation() => unreachable!("nobody sends"),
            _ = chooser_sender.send_operation_from(&mut kept) => unreachable!("nobody receives"),
        }
        kept
    });
    until_it_waits(&chooser);
    taken_sender.send(3).unwrap();
    assert_eq!(chooser.join().unwrap(), Some(Box::new(1)));
    assert_eq!(left.try_recv(), Err(TryRecvError::Empty));
    assert!(left_sender.try_send(Box::new(2)).is_err());
}

#[test]
fn a_choice_leaves_nothing_behind_but_what_it_chose() {
    on_both(losers_leave_no_trace);
}

/// Choices and plain calls wait in one queue.
fn first_come_first_served() {
    let (sender, receiver) = rendezvous();
    let served = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..4)
        .map(|place| {
            let (receiver, served) = (receiver.clone(), Arc::clone(&served));
            let waiter = spawn(move || {
                let number = if place % 2 == 0 {
                    receiver.recv().unwrap()
                } else {
                    choose! {
                        _ = never::<()>() => unreachable!("it never does"),
                        received = receiver.recv_operation() => received.unwrap(),
                    }
                };
                assert_eq!(number, place);
                served.fetch_add(1, Ordering::SeqCst);
            });
            until_it_waits(&waiter);
            waiter
        })
        .collect();
    for number in 0..4 {
        sender.try_send(number).unwrap();
    }
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
    assert_eq!(served.load(Ordering::SeqCst), 4);
}

#[test]
fn who_chooses_keeps_his_place_among_those_who_wait() {
    on_both(first_come_first_served);
}
