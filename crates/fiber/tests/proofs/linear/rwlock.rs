//! Read-write locks: many who read what the last writer has left, or one who writes.

use fiber::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{
    FIBERS, Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shared {
    writer: Option<usize>,
    readers: [bool; FIBERS],
    value: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Lock(Access),
    TryLock(Access),
    LockTimeout(Access),
    /// As a reader.
    Leave,
    /// As the writer, and leaves this value.
    Unlock(u32),
    /// The same, and is a reader then.
    Downgrade(u32),
}

#[derive(Clone, Debug)]
pub(super) enum Ret {
    /// The lock, and what it protects.
    Locked(u32),
    Unlocked,
    WouldBlock,
}

impl Op {
    const fn access(&self) -> Option<Access> {
        match self {
            Self::Lock(access) | Self::TryLock(access) | Self::LockTimeout(access) => Some(*access),
            _ => None,
        }
    }

    /// Whether it stands in the queue, and so holds back those behind it.
    const fn waits(&self) -> bool {
        matches!(self, Self::Lock(_) | Self::LockTimeout(_))
    }
}

impl Shared {
    fn has_room(&self, access: Access) -> bool {
        self.writer.is_none() && (access == Access::Read || !self.is_read())
    }

    fn is_read(&self) -> bool {
        self.readers.contains(&true)
    }

    fn lock(mut self, fiber: usize, access: Access) -> Self {
        match access {
            Access::Read => self.readers[fiber] = true,
            Access::Write => self.writer = Some(fiber),
        }
        self
    }
}

impl Model for Shared {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let (mut after, fiber) = (self.clone(), call.fiber);
        match (&call.op, &call.ret) {
            (Op::Leave, Ret::Unlocked) => {
                after.readers[fiber] = false;
                self.readers[fiber].then_some(after)
            }
            (Op::Unlock(value) | Op::Downgrade(value), Ret::Unlocked) => {
                (after.writer, after.value) = (None, *value);
                after.readers[fiber] = matches!(call.op, Op::Downgrade(_));
                (self.writer == Some(fiber)).then_some(after)
            }
            (op, Ret::Locked(value)) => {
                let access = op.access()?;
                let possible = self.has_room(access) && *value == self.value;
                possible.then(|| after.lock(fiber, access))
            }
            (op, Ret::WouldBlock) => {
                let held_back = call.beside.iter().any(Op::waits);
                (held_back || !self.has_room(op.access()?)).then_some(after)
            }
            (_, Ret::Unlocked) => None,
        }
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        // Readers sleep only behind a writer, be it one that waits.
        let must_wait = |(_, op): &(usize, Op)| op.access().is_some_and(|one| !self.has_room(one));
        waiting.is_empty() || waiting.iter().any(must_wait)
    }
}

enum Guard<'object> {
    Read(RwLockReadGuard<'object, u32>),
    Write(RwLockWriteGuard<'object, u32>),
}

pub(super) struct Visitor<'object> {
    lock: &'object RwLock<u32>,
    guard: Option<Guard<'object>>,
    log: Log<Shared>,
}

impl<'object> Visitor<'object> {
    fn lock(&mut self, dice: &mut Dice, access: Access) {
        let Self { lock, guard, log } = self;
        let mut got = |locked: Guard<'object>| {
            let value = match &locked {
                Guard::Read(guard) => **guard,
                Guard::Write(guard) => **guard,
            };
            *guard = Some(locked);
            Ret::Locked(value)
        };
        let span = dice.span();
        match dice.below(4) {
            0 => log.call(Op::TryLock(access), || {
                let locked = match access {
                    Access::Read => lock.try_read().ok().map(Guard::Read),
                    Access::Write => lock.try_write().ok().map(Guard::Write),
                };
                locked.map_or(Ret::WouldBlock, &mut got)
            }),
            1 => log.call(Op::LockTimeout(access), || {
                let locked = match access {
                    Access::Read => lock.read_timeout(span).ok().map(Guard::Read),
                    Access::Write => lock.write_timeout(span).ok().map(Guard::Write),
                };
                locked.map_or(Ret::WouldBlock, &mut got)
            }),
            _ => log.call(Op::Lock(access), || {
                got(match access {
                    Access::Read => Guard::Read(lock.read().unwrap()),
                    Access::Write => Guard::Write(lock.write().unwrap()),
                })
            }),
        }
    }

    fn downgrade(&mut self, mut guard: RwLockWriteGuard<'object, u32>) {
        let value = *guard + 1;
        self.log.call(Op::Downgrade(value), || {
            *guard = value;
            self.guard = Some(Guard::Read(guard.downgrade()));
            Ret::Unlocked
        });
    }

    fn unlock(&mut self) {
        match self.guard.take() {
            Some(Guard::Read(guard)) => self.log.call(Op::Leave, || {
                drop(guard);
                Ret::Unlocked
            }),
            Some(Guard::Write(mut guard)) => {
                let value = *guard + 1;
                self.log.call(Op::Unlock(value), || {
                    *guard = value;
                    drop(guard);
                    Ret::Unlocked
                });
            }
            None => {}
        }
    }
}

impl Object for RwLock<u32> {
    type Model = Shared;
    type Hand<'object> = Visitor<'object>;

    fn new(_: &mut Dice) -> (Self, Shared) {
        (Self::new(0), Shared::default())
    }

    fn hand(&self, log: Log<Shared>) -> Visitor<'_> {
        Visitor {
            lock: self,
            guard: None,
            log,
        }
    }
}

impl Hand for Visitor<'_> {
    fn act(&mut self, dice: &mut Dice) {
        match self.guard.take() {
            None => {
                let access = [Access::Read, Access::Write][dice.below(2)];
                self.lock(dice, access);
            }
            Some(Guard::Write(guard)) if dice.one_in(3) => self.downgrade(guard),
            guard => {
                self.guard = guard;
                self.unlock();
            }
        }
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        self.unlock();
    }
}

#[test]
fn a_read_write_lock_is_linearizable() {
    prove::<RwLock<u32>>(300);
}
