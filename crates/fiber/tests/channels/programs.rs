//! Whole programs that are made of channels.

use alloc::collections::VecDeque;
use core::ops::{Add, Mul, Neg};

use fiber::{
    operation::{Operation, choose_dyn},
    spawn,
    sync::channel::{Receiver, RecvError, SendError, Sender, broadcast, rendezvous, unbounded},
};
use host_sim::Sim;

use crate::support::{WORKERS, in_world, in_worlds, on_linux};

/// One value through so many hands.
fn daisy_chain(relays: usize) {
    let (first, mut last) = rendezvous();
    for _ in 0..relays {
        let (sender, receiver) = rendezvous();
        let before = core::mem::replace(&mut last, receiver);
        let _ = spawn(move || sender.send(before.recv().unwrap() + 1).unwrap());
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
    in_world(Sim::new(1), 2, || daisy_chain(10_000));
}

/// The first primes: each prime takes its multiples out of a stream, and passes on the rest.
fn sieve(count: usize) -> Vec<u32> {
    let (sender, mut numbers) = rendezvous();
    let _ = spawn(move || (2..).try_for_each(|number| sender.send(number)).is_err());
    (0..count)
        .map(|_| {
            let (sender, rest) = rendezvous();
            let numbers = core::mem::replace(&mut numbers, rest);
            let prime = numbers.recv().unwrap();
            let _ = spawn(move || {
                let mut rest = numbers
                    .iter()
                    .filter(|number: &u32| !number.is_multiple_of(prime));
                rest.try_for_each(|number| sender.send(number)).is_err()
            });
            prime
        })
        .collect()
}

/// The primes up to `max` by a stream that everybody hears: who gets a number that nobody else
/// strikes has a prime, and from then on strikes its multiples.
fn multicast(max: u32) -> Vec<u32> {
    let (numbers, mut first) = broadcast::channel(max as usize);
    // A copy of the port has the same future as the original.
    let mut copy = first.clone();
    let (strikes, struck) = unbounded();
    let mut hearers = Vec::new();
    for prime in (2..=max).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)) {
        let (mut stream, strikes) = (first.clone(), strikes.clone());
        hearers.push(spawn(move || {
            while let Ok(number) = stream.recv() {
                let number: u32 = number;
                if number > prime && number.is_multiple_of(prime) {
                    strikes.send(number).unwrap();
                }
            }
        }));
    }
    drop(strikes);
    for number in 2..=max {
        numbers.send(number).unwrap();
    }
    drop(numbers);
    let struck: Vec<_> = struck.iter().collect();
    for hearer in hearers {
        hearer.join().unwrap();
    }
    let mut heard = core::iter::from_fn(|| first.recv().ok());
    let primes = heard.by_ref().filter(|n| !struck.contains(n)).collect();
    assert!(core::iter::from_fn(|| copy.recv().ok()).eq(2..=max));
    primes
}

#[test]
fn a_sieve_whose_fibers_all_hear_the_same_stream_finds_the_same_primes() {
    fn both(count: usize) {
        let primes = sieve(count);
        assert_eq!(multicast(*primes.last().unwrap()), primes);
    }
    for workers in WORKERS {
        on_linux(workers, || both(50));
    }
    in_worlds(1000, || both(6));
}

fn first_primes(count: usize) {
    let is_prime = |n: &u32| {
        (2..*n)
            .take_while(|d| d * d <= *n)
            .all(|d| !n.is_multiple_of(d))
    };
    let expected: Vec<_> = (2..).filter(is_prime).take(count).collect();
    assert_eq!(sieve(count), expected);
}

#[test]
fn a_sieve_of_fibers_finds_the_first_primes() {
    for workers in WORKERS {
        on_linux(workers, || first_primes(100));
    }
    in_worlds(1000, || first_primes(8));
    in_world(Sim::new(1), 4, || first_primes(100));
}

/// A rational number, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio(i128, i128);

impl Ratio {
    fn new(above: i128, below: i128) -> Self {
        let (mut a, mut b) = (above.abs(), below.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let sign = below.signum();
        Self(sign * above / a, sign * below / a)
    }

    const fn whole(number: i128) -> Self {
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
    let _ = spawn(move || make(&sender));
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

/// How far one copy of a series may be ahead of the other: one that feeds itself knows no end.
const AHEAD_MAX: usize = 4;

/// The same twice, until one of them is not wanted.
fn split(from: Series) -> (Series, Series) {
    let (to_first, first) = rendezvous();
    let (to_second, second) = rendezvous();
    let _ = spawn(move || {
        let ends = [to_first, to_second];
        let mut behind = [VecDeque::new(), VecDeque::new()];
        // What has come is offered, and more is asked for when one of them has had everything; but
        // not waited for, since the source may itself be made of what the other one gets.
        loop {
            let asks = behind.iter().any(VecDeque::is_empty)
                && behind.iter().all(|all| all.len() < AHEAD_MAX);
            let asked = asks.then(|| from.recv_operation().wrap(Step::Came).boxed());
            let offers = (0..2).filter_map(|side| {
                let offer = ends[side].send_operation(*behind[side].front()?);
                Some(offer.wrap(move |sent| Step::Went(side, sent)).boxed())
            });
            match choose_dyn(offers.chain(asked).collect::<Vec<_>>()).perform() {
                Step::Came(Ok(number)) => behind.iter_mut().for_each(|all| all.push_back(number)),
                Step::Went(side, Ok(())) => _ = behind[side].pop_front(),
                Step::Came(Err(_)) | Step::Went(_, Err(_)) => return,
            }
        }
    });
    (first, second)
}

/// What happens between a series and its two copies.
enum Step {
    Came(Result<Ratio, RecvError>),
    Went(usize, Result<(), SendError<Ratio>>),
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
    let _ = spawn(move || copy(&again, &back));
    result
}

fn begins_with(a: &Series, expected: &[(i128, i128)]) {
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
