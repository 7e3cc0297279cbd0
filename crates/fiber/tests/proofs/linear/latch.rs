//! Latches: whoever waits goes on once it is open, and it stays open.

use fiber::core::operation::{Latch, perform, perform_until, try_perform};

use super::{
    Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct IsOpen(bool);

#[derive(Clone, Debug)]
pub(super) enum Op {
    Open,
    Wait,
    TryWait,
    WaitTimeout,
    IsOpen,
}

/// Whether it was open.
pub(super) type Ret = bool;

impl Model for IsOpen {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        match call.op {
            Op::Open => Some(Self(true)),
            _ => (self.0 == call.ret).then(|| self.clone()),
        }
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        waiting.is_empty() || !self.0
    }
}

pub(super) struct Passer<'object> {
    latch: &'object Latch,
    log: Log<IsOpen>,
}

impl Object for Latch {
    type Model = IsOpen;
    type Hand<'object> = Passer<'object>;

    fn new(_: &mut Dice) -> (Self, IsOpen) {
        (Self::new(), IsOpen(false))
    }

    fn hand(&self, log: Log<IsOpen>) -> Passer<'_> {
        Passer { latch: self, log }
    }
}

impl Hand for Passer<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let Self { latch, log } = self;
        let span = dice.span();
        match dice.below(12) {
            0 => log.call(Op::Open, || {
                latch.open();
                true
            }),
            1..=3 => log.call(Op::WaitTimeout, || {
                perform_until(latch.wait_operation("a latch"), Some(span)).is_ok()
            }),
            4 => log.call(Op::TryWait, || {
                try_perform(latch.wait_operation("a latch")).is_ok()
            }),
            5 => log.call(Op::IsOpen, || latch.is_open()),
            _ => log.call(Op::Wait, || {
                perform(latch.wait_operation("a latch"));
                true
            }),
        }
    }
}

#[test]
fn a_latch_is_linearizable() {
    prove::<Latch>(300);
}
