//! Mutexes: one holder at a time, who sees what the one before has left.

use fiber::sync::{LockTimeoutError, Mutex, MutexGuard, TryLockError};

use super::{
    Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Register {
    holder: Option<usize>,
    value: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Lock,
    TryLock,
    LockTimeout,
    /// Leaves this value.
    Unlock(u32),
}

#[derive(Clone, Debug)]
pub(super) enum Ret {
    /// The lock, and what it protects.
    Locked(u32),
    Unlocked,
    WouldBlock,
}

impl Model for Register {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let (possible, holder, value) = match (&call.op, &call.ret) {
            (Op::Unlock(value), Ret::Unlocked) => (self.holder == Some(call.fiber), None, *value),
            (_, Ret::Locked(value)) => {
                let is_free = self.holder.is_none();
                (is_free && *value == self.value, Some(call.fiber), *value)
            }
            (_, Ret::WouldBlock) => (self.holder.is_some(), self.holder, self.value),
            (_, Ret::Unlocked) => return None,
        };
        possible.then_some(Self { holder, value })
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        waiting.is_empty() || self.holder.is_some()
    }
}

pub(super) struct Locker<'object> {
    mutex: &'object Mutex<u32>,
    guard: Option<MutexGuard<'object, u32>>,
    log: Log<Register>,
}

impl<'object> Locker<'object> {
    fn lock(&mut self, dice: &mut Dice) {
        let Self {
            mutex, guard, log, ..
        } = self;
        let mut got = |locked: MutexGuard<'object, u32>| {
            let value = *locked;
            *guard = Some(locked);
            Ret::Locked(value)
        };
        let span = dice.span();
        match dice.below(4) {
            0 => log.call(Op::TryLock, || match mutex.try_lock() {
                Ok(locked) => got(locked),
                Err(TryLockError::WouldBlock) => Ret::WouldBlock,
                Err(error) => panic!("{error}"),
            }),
            1 => log.call(Op::LockTimeout, || match mutex.lock_timeout(span) {
                Ok(locked) => got(locked),
                Err(LockTimeoutError::Elapsed) => Ret::WouldBlock,
                Err(error) => panic!("{error}"),
            }),
            _ => log.call(Op::Lock, || got(mutex.lock().unwrap())),
        }
    }

    fn unlock(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let value = *guard + 1;
            self.log.call(Op::Unlock(value), || {
                *guard = value;
                drop(guard);
                Ret::Unlocked
            });
        }
    }
}

impl Object for Mutex<u32> {
    type Model = Register;
    type Hand<'object> = Locker<'object>;

    fn new(_: &mut Dice) -> (Self, Register) {
        (
            Self::new(0),
            Register {
                holder: None,
                value: 0,
            },
        )
    }

    fn hand(&self, log: Log<Register>) -> Locker<'_> {
        Locker {
            mutex: self,
            guard: None,
            log,
        }
    }
}

impl Hand for Locker<'_> {
    fn act(&mut self, dice: &mut Dice) {
        if self.guard.is_some() {
            self.unlock();
        } else {
            self.lock(dice);
        }
    }
}

impl Drop for Locker<'_> {
    fn drop(&mut self) {
        self.unlock();
    }
}

#[test]
fn a_mutex_is_linearizable() {
    prove::<Mutex<u32>>(300);
}
