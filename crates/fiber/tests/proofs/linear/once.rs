//! Values that are written once: by the first one that comes to an end with making it.

use core::sync::atomic::{AtomicU32, Ordering};

use fiber::sync::OnceLock;

use super::{
    Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(Option<u32>);

#[derive(Clone, Debug)]
pub(super) enum Op {
    Get,
    Set(u32),
    GetOrInit(u32),
    Wait,
    WaitTimeout,
}

#[derive(Clone, Debug)]
pub(super) enum Ret {
    Value(Option<u32>),
    Written(bool),
}

impl Model for Place {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        match (&call.op, &call.ret) {
            (Op::Set(value), Ret::Written(true)) => self.0.is_none().then_some(Self(Some(*value))),
            (Op::Set(_), Ret::Written(false)) => self.0.is_some().then(|| self.clone()),
            (Op::GetOrInit(own), Ret::Value(Some(value))) => {
                (self.0.unwrap_or(*own) == *value).then_some(Self(Some(*value)))
            }
            (Op::Get | Op::Wait | Op::WaitTimeout, Ret::Value(value)) => {
                (self.0 == *value).then(|| self.clone())
            }
            _ => None,
        }
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        self.0.is_none() && waiting.iter().all(|(_, op)| matches!(op, Op::Wait))
            || waiting.is_empty()
    }
}

#[derive(Default)]
pub(super) struct Once {
    lock: OnceLock<u32>,
    values: AtomicU32,
}

pub(super) struct Client<'object> {
    once: &'object Once,
    log: Log<Place>,
}

impl Object for Once {
    type Model = Place;
    type Hand<'object> = Client<'object>;

    fn new(_: &mut Dice) -> (Self, Place) {
        (Self::default(), Place(None))
    }

    fn hand(&self, log: Log<Place>) -> Client<'_> {
        Client { once: self, log }
    }
}

impl Hand for Client<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let Self {
            once: Once { lock, values },
            log,
        } = self;
        let value = values.fetch_add(1, Ordering::Relaxed);
        let span = dice.span();
        match dice.below(8) {
            0 => log.call(Op::Get, || Ret::Value(lock.get().copied())),
            1 => log.call(Op::Set(value), || Ret::Written(lock.set(value).is_ok())),
            2 | 3 => log.call(Op::GetOrInit(value), || {
                // May be cancelled in the middle, and then it is the next one's turn.
                let make = || {
                    (0..3).for_each(|_| dice.pause());
                    value
                };
                Ret::Value(Some(*lock.get_or_init(make)))
            }),
            4 => log.call(Op::WaitTimeout, || {
                Ret::Value(lock.wait_timeout(span).ok().copied())
            }),
            _ => log.call(Op::Wait, || Ret::Value(Some(*lock.wait()))),
        }
    }
}

#[test]
fn a_value_written_once_is_linearizable() {
    prove::<Once>(300);
}
