//! Two choices that face each other.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};

use fiber::{
    choose,
    operation::{Operation, choose_dyn},
    spawn,
    sync::{Mutex, Semaphore, channel},
    yield_now,
};

use crate::support::{Count, in_worlds, on_both, on_linux};

/// Gives `mine` to whoever swaps at the same time, and gets theirs.
fn swap(
    sender: &channel::Sender<u64>,
    receiver: &channel::Receiver<u64>,
    back: &channel::Sender<u64>,
    forth: &channel::Receiver<u64>,
    mine: u64,
) -> u64 {
    choose! {
        theirs = receiver.recv_operation() => {
            back.send(mine).unwrap();
            theirs.unwrap()
        }
        sent = sender.send_operation(mine) => {
            sent.unwrap();
            forth.recv().unwrap()
        }
    }
}

fn swaps(rounds: u64) {
    let (sender, receiver) = channel::rendezvous();
    let (back, forth) = channel::rendezvous();
    let other = spawn({
        let (sender, receiver) = (sender.clone(), receiver.clone());
        let (back, forth) = (back.clone(), forth.clone());
        move || {
            for round in 0..rounds {
                let theirs = swap(&sender, &receiver, &back, &forth, round + 1_000_000);
                assert_eq!(theirs, round);
            }
        }
    });
    for round in 0..rounds {
        let theirs = swap(&sender, &receiver, &back, &forth, round);
        assert_eq!(theirs, round + 1_000_000);
    }
    other.join().unwrap();
}

#[test]
fn two_who_swap_get_each_others_value() {
    on_linux(1, || swaps(100_000));
    on_linux(2, || swaps(100_000));
    in_worlds(1000, || swaps(50));
}

#[test]
fn one_who_offers_both_to_send_and_to_receive_does_not_meet_itself() {
    on_both(|| {
        let (sender, receiver) = channel::rendezvous();
        let meet = {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            move || {
                choose! {
                    value = receiver.recv_operation() => value.unwrap(),
                    sent = sender.send_operation(100) => { sent.unwrap(); 0 }
                }
            }
        };
        assert!(
            sender
                .send_operation(1)
                .or(receiver.recv_operation())
                .try_perform()
                .is_err()
        );
        let (first, second) = (spawn(meet.clone()), spawn(meet));
        let mut got = [first.join().unwrap(), second.join().unwrap()];
        got.sort_unstable();
        assert_eq!(got, [0, 100]);
    });
}

/// `fibers` choose among sending and receiving on all of `channels`, each as often as is asked.
fn crowd(fibers: usize, channels: usize, rounds: usize) {
    let pairs: Vec<_> = (0..channels)
        .map(|_| channel::rendezvous::<usize>())
        .collect();
    let pairs = Arc::new(pairs);
    let (sent, received) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let meetings = fibers * rounds / 2;
    let crowd: Vec<_> = (0..fibers)
        .map(|mine| {
            let pairs = Arc::clone(&pairs);
            let (sent, received) = (Arc::clone(&sent), Arc::clone(&received));
            spawn(move || {
                loop {
                    if sent.load(Ordering::SeqCst) >= meetings {
                        return;
                    }
                    let sends = pairs.iter().map(|(sender, _)| {
                        sender
                            .send_operation(mine)
                            .wrap(|sent| sent.map(|()| None))
                            .boxed()
                    });
                    let mut arms: Vec<_> = sends.collect();
                    arms.extend(pairs.iter().map(|(_, receiver)| {
                        receiver
                            .recv_operation()
                            .wrap(|value| Ok(Some(value.unwrap())))
                            .boxed()
                    }));
                    // When the others have left nobody is there to meet.
                    match choose_dyn(arms).perform_timeout(core::time::Duration::from_millis(5)) {
                        Ok(Ok(None)) => sent.fetch_add(1, Ordering::SeqCst),
                        Ok(Ok(Some(theirs))) => {
                            assert_ne!(theirs, mine, "nobody meets itself");
                            received.fetch_add(1, Ordering::SeqCst)
                        }
                        Ok(Err(closed)) => panic!("{closed}"),
                        Err(_) => 0,
                    };
                }
            })
        })
        .collect();
    for fiber in crowd {
        fiber.join().unwrap();
    }
    assert_eq!(sent.load(Ordering::SeqCst), received.load(Ordering::SeqCst));
}

#[test]
fn a_crowd_that_chooses_among_the_same_channels_goes_on() {
    for workers in [1, 2, 4] {
        on_linux(workers, || crowd(8, 4, 2000));
    }
    in_worlds(1000, || crowd(8, 4, 10));
}

#[test]
fn a_value_that_several_could_take_goes_to_one() {
    fn muxed(rounds: usize) {
        let pairs: Vec<_> = (0..4).map(|_| channel::rendezvous::<usize>()).collect();
        let (pairs, got) = (Arc::new(pairs), Arc::new(Mutex::new(vec![0; 4 * rounds])));
        let senders: Vec<_> = (0..4)
            .map(|index| {
                let pairs = Arc::clone(&pairs);
                spawn(move || {
                    for round in 0..rounds {
                        pairs[index].0.send(index * rounds + round).unwrap();
                    }
                })
            })
            .collect();
        let left = Arc::new(Semaphore::new(4 * rounds));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let (pairs, got, left) = (Arc::clone(&pairs), Arc::clone(&got), Arc::clone(&left));
                spawn(move || {
                    while let Some(permit) = left.try_acquire() {
                        permit.forget();
                        let value = choose! {
                            value = pairs[0].1.recv_operation() => value,
                            value = pairs[1].1.recv_operation() => value,
                            value = pairs[2].1.recv_operation() => value,
                            value = pairs[3].1.recv_operation() => value,
                        };
                        got.lock().unwrap()[value.unwrap()] += 1;
                    }
                })
            })
            .collect();
        for fiber in senders.into_iter().chain(takers) {
            fiber.join().unwrap();
        }
        assert!(got.lock().unwrap().iter().all(|count| *count == 1));
    }
    on_linux(2, || muxed(25_000));
    in_worlds(1000, || muxed(10));
}

#[test]
fn a_waiter_is_not_starved_by_one_who_posts_and_takes_all_the_time() {
    on_both(|| {
        let (first, second) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let served = Count::default();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (first, second, served) =
                    (Arc::clone(&first), Arc::clone(&second), served.clone());
                spawn(move || {
                    choose! {
                        permit = first.acquire_operation(1) => permit.forget(),
                        permit = second.acquire_operation(1) => permit.forget(),
                    }
                    served.add();
                })
            })
            .collect();
        while served.get() < 2 {
            for semaphore in [&first, &second] {
                semaphore.add_permits(1);
                if let Some(permit) = semaphore.try_acquire() {
                    permit.forget();
                }
            }
            yield_now();
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}
