//! Semaphores: no more permits than there are, and nobody waits who could have some.

use fiber::sync::{Semaphore, SemaphorePermit};

use super::{
    Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

const PERMITS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Permits(usize);

#[derive(Clone, Debug)]
pub(super) enum Op {
    Acquire(usize),
    TryAcquire(usize),
    AcquireTimeout(usize),
    Release(usize),
    Available,
}

#[derive(Clone, Debug)]
pub(super) enum Ret {
    Done,
    NotYet,
    Available(usize),
}

impl Op {
    /// Whether it stands in the queue, and so holds back those behind it.
    const fn waits(&self) -> bool {
        matches!(self, Self::Acquire(_) | Self::AcquireTimeout(_))
    }
}

impl Model for Permits {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        match (&call.op, &call.ret) {
            (Op::Acquire(n) | Op::TryAcquire(n) | Op::AcquireTimeout(n), Ret::Done) => {
                self.0.checked_sub(*n).map(Self)
            }
            (Op::TryAcquire(n) | Op::AcquireTimeout(n), Ret::NotYet) => {
                let held_back = call.beside.iter().any(Op::waits);
                (self.0 < *n || held_back).then(|| self.clone())
            }
            (Op::Release(n), Ret::Done) => Some(Self(self.0 + n)),
            (Op::Available, Ret::Available(n)) => (self.0 == *n).then(|| self.clone()),
            _ => None,
        }
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        // The first one in the queue wants more than there are.
        let wants_more = |op: &Op| matches!(op, Op::Acquire(n) if *n > self.0);
        waiting.is_empty() || waiting.iter().any(|(_, op)| wants_more(op))
    }
}

pub(super) struct Client<'object> {
    semaphore: &'object Semaphore,
    permits: Vec<SemaphorePermit<'object>>,
    log: Log<Permits>,
}

impl<'object> Client<'object> {
    fn acquire(&mut self, n: usize, dice: &mut Dice) {
        let Self {
            semaphore,
            permits,
            log,
        } = self;
        let mut got = |acquired: Option<SemaphorePermit<'object>>| {
            let ret = acquired.as_ref().map_or(Ret::NotYet, |_| Ret::Done);
            permits.extend(acquired);
            ret
        };
        let span = dice.span();
        match dice.below(4) {
            0 => log.call(Op::TryAcquire(n), || got(semaphore.try_acquire_many(n))),
            1 => log.call(Op::AcquireTimeout(n), || {
                got(semaphore.acquire_many_timeout(n, span).ok())
            }),
            _ => log.call(Op::Acquire(n), || got(Some(semaphore.acquire_many(n)))),
        }
    }

    fn release(&mut self, permit: SemaphorePermit<'object>) {
        self.log.call(Op::Release(permit.permits()), || {
            drop(permit);
            Ret::Done
        });
    }
}

impl Object for Semaphore {
    type Model = Permits;
    type Hand<'object> = Client<'object>;

    fn new(_: &mut Dice) -> (Self, Permits) {
        (Self::new(PERMITS), Permits(PERMITS))
    }

    fn hand(&self, log: Log<Permits>) -> Client<'_> {
        Client {
            semaphore: self,
            permits: Vec::new(),
            log,
        }
    }
}

impl Hand for Client<'_> {
    fn act(&mut self, dice: &mut Dice) {
        match self.permits.pop() {
            Some(permit) if dice.one_in(2) => self.release(permit),
            permit => {
                self.permits.extend(permit);
                match dice.below(8) {
                    0 => {
                        let semaphore = self.semaphore;
                        let count = || Ret::Available(semaphore.available_permits());
                        self.log.call(Op::Available, count);
                    }
                    1 => {
                        let semaphore = self.semaphore;
                        self.log.call(Op::Release(1), || {
                            semaphore.add_permits(1);
                            Ret::Done
                        });
                    }
                    n => self.acquire(1 + n % PERMITS, dice),
                }
            }
        }
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        while let Some(permit) = self.permits.pop() {
            self.release(permit);
        }
    }
}

#[test]
fn a_semaphore_is_linearizable() {
    prove::<Semaphore>(300);
}
