//! Whole programs that are made of channels.

use alloc::collections::VecDeque;
use core::ops::{Add, Mul, Neg};

use fiber::{
    operation::{Operation, choose_dyn},
    spawn,
    sync::channel::{Receiver, Sender, rendezvous},
};
use host_sim::Sim;

use crate::support::{WORKERS, in_world, in_worlds, on_linux};

/// One value through so many hands.
fn daisy_chain(relays: usize) {
    let (first, mut last) = rendezvous();
    for _ in 0..relays {
        let (sender, receiver) = rendezvous();
        let before = core::mem::replace(&mut last, receiver);
        spawn(move || sender.send(before.recv().unwrap() + 1).unwrap());
    }
    first.send(0).unwrap();
    assert_eq!(last.recv(), Ok(relays));
    assert!(last.recv().is_err(), "every relay is gone");
}

#[test]
fn a_value_passes_through_ten_thousand_relays() {
    for workers in WORKERS {
        on_linux(workers, || daisy_chain(10_000));
    }
    in_worlds(1000, || daisy_chain(100));
    in_world(Sim::seed(1), 2, || daisy_chain(10_000));
}

/// The first primes: each prime takes its multiples out of a stream, and passes on the rest.
fn sieve(count: usize) -> Vec<u32> {
    let (sender, mut numbers) = rendezvous();
    spawn(move || (2..).try_for_each(|number| sender.send(number)).is_err());
    (0..count)
        .map(|_| {
            let (sender, rest) = rendezvous();
            let numbers = core::mem::replace(&mut numbers, rest);
            let prime = numbers.recv().unwrap();
            spawn(move || {
                let mut rest = numbers.iter().filter(|number| number % prime != 0);
                rest.try_for_each(|number| sender.send(number)).is_err()
            });
            prime
        })
        .collect()
}

fn first_primes(count: usize) {
    let is_prime = |n: &u32| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0);
    let expected: Vec<_> = (2..).filter(is_prime).take(count).collect();
    assert_eq!(sieve(count), expected);
}

#[test]
fn a_sieve_of_fibers_finds_the_first_primes() {
    for workers in WORKERS {
        on_linux(workers, || first_primes(100));
    }
    in_worlds(1000, || first_primes(8));
    in_world(Sim::seed(1), 4, || first_primes(100));
}

/// A rational number, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio(i64, i64);

impl Ratio {
    fn new(above: i64, below: i64) -> Self {
        let (mut a, mut b) = (above.abs(), below.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let sign = below.signum();
        Self(sign * above / a, sign * below / a)
    }

    const fn whole(number: i64) -> Self {
        Self(number, 1)
    }
}

impl Add for Ratio {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.0 * other.1 + other.0 * self.1, self.1 * other.1)
    }
}

impl Mul for Ratio {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::new(self.0 * other.0, self.1 * other.1)
    }
}

impl Neg for Ratio {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0, self.1)
    }
}

/// The coefficients of a power series, as many as anybody asks for.
type Series = Receiver<Ratio>;

/// A series that a fiber makes until nobody wants more of it, or its sources end.
fn series(make: impl FnOnce(&Sender<Ratio>) -> Option<()> + Send + 'static) -> Series {
    let (sender, receiver) = rendezvous();
    spawn(move || make(&sender));
    receiver
}

/// Passes the whole of `from` on.
fn copy(from: &Series, to: &Sender<Ratio>) -> Option<()> {
    loop {
        to.send(from.recv().ok()?).ok()?;
    }
}

fn ones() -> Series {
    series(|sender| {
        loop {
            sender.send(Ratio::whole(1)).ok()?;
        }
    })
}

/// The same twice, each as far ahead of the other as it likes.
fn split(from: Series) -> (Series, Series) {
    let (to_first, first) = rendezvous();
    let (to_second, second) = rendezvous();
    spawn(move || {
        let mut behind = [VecDeque::new(), VecDeque::new()];
        let mut ends = [Some(to_first), Some(to_second)];
        while ends.iter().any(Option::is_some) {
            // Each is offered what it has not had yet; the one that takes it is chosen.
            for (queue, end) in behind.iter().zip(&ends) {
                if end.is_some() && queue.is_empty() {
                    let Ok(number) = from.recv() else { return };
                    behind.iter_mut().for_each(|queue| queue.push_back(number));
                    break;
                }
            }
            let offers = (0..2).filter_map(|side| {
                let number = *behind[side].front()?;
                let offer = ends[side].as_ref()?.send_operation(number);
                Some(offer.wrap(move |sent| (side, sent.is_ok())).boxed())
            });
            let (side, taken) = choose_dyn(offers.collect::<Vec<_>>()).perform();
            behind[side].pop_front();
            if !taken {
                ends[side] = None;
            }
        }
    });
    (first, second)
}

fn sum(a: Series, b: Series) -> Series {
    series(move |sender| {
        loop {
            sender.send(a.recv().ok()? + b.recv().ok()?).ok()?;
        }
    })
}

fn scale(factor: Ratio, a: Series) -> Series {
    series(move |sender| {
        loop {
            sender.send(factor * a.recv().ok()?).ok()?;
        }
    })
}

/// `first + x * rest`.
fn shift(first: Ratio, rest: Series) -> Series {
    series(move |sender| {
        sender.send(first).ok()?;
        copy(&rest, sender)
    })
}

/// `(f + xF)(g + xG) = fg + x(fG + gF + xFG)`.
fn product(a: Series, b: Series) -> Series {
    series(move |sender| {
        let (f, g) = (a.recv().ok()?, b.recv().ok()?);
        sender.send(f * g).ok()?;
        let ((a1, a2), (b1, b2)) = (split(a), split(b));
        let cross = sum(scale(f, b1), scale(g, a1));
        sender.send(cross.recv().ok()?).ok()?;
        copy(&sum(cross, product(a2, b2)), sender)
    })
}

fn derivative(a: Series) -> Series {
    series(move |sender| {
        a.recv().ok()?;
        for power in 1.. {
            sender.send(Ratio::whole(power) * a.recv().ok()?).ok()?;
        }
        None
    })
}

fn integral(constant: Ratio, a: Series) -> Series {
    series(move |sender| {
        sender.send(constant).ok()?;
        for power in 1.. {
            sender.send(Ratio::new(1, power) * a.recv().ok()?).ok()?;
        }
        None
    })
}

/// `e` to the power of a series without a constant: it is the integral of itself times the
/// derivative of that, so it is made of what it has made.
fn exponential(a: Series) -> Series {
    let (back, own) = rendezvous();
    let (result, again) = split(integral(Ratio::whole(1), product(own, derivative(a))));
    spawn(move || copy(&again, &back));
    result
}

fn begins_with(a: &Series, expected: &[(i64, i64)]) {
    for &(above, below) in expected {
        assert_eq!(a.recv(), Ok(Ratio::new(above, below)));
    }
}

fn power_series() {
    begins_with(&product(ones(), ones()), &[(1, 1), (2, 1), (3, 1), (4, 1)]);
    begins_with(
        &sum(
            scale(-Ratio::whole(1), ones()),
            shift(Ratio::whole(1), ones()),
        ),
        &[(0, 1), (0, 1), (0, 1)],
    );
    begins_with(&derivative(ones()), &[(1, 1), (2, 1), (3, 1), (4, 1)]);
    let x = || {
        series(|sender| {
            sender.send(Ratio::whole(0)).ok()?;
            sender.send(Ratio::whole(1)).ok()?;
            loop {
                sender.send(Ratio::whole(0)).ok()?;
            }
        })
    };
    begins_with(
        &exponential(x()),
        &[(1, 1), (1, 1), (1, 2), (1, 6), (1, 24), (1, 120)],
    );
}

#[test]
fn power_series_are_multiplied_integrated_and_made_of_themselves() {
    for workers in WORKERS {
        on_linux(workers, power_series);
    }
    in_worlds(100, power_series);
}
