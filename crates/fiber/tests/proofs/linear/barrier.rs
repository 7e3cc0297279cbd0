//! Barriers: who comes joins the round; the last one ends it, for all and as its leader.

use fiber::sync::{Barrier, BarrierWaitResult};

use super::{
    Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rounds {
    /// How many make a round.
    size: usize,
    waiting: Vec<usize>,
    /// Those whose round is over and who have not noticed; as leaders or not.
    passed: Vec<(usize, bool)>,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    TryWait,
    /// The call, of which these are steps.
    Wait,
    Come,
    Pass,
    GiveUp,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ret {
    Done,
    Passed { leads: bool },
    NotYet,
}

impl From<BarrierWaitResult> for Ret {
    fn from(result: BarrierWaitResult) -> Self {
        Self::Passed {
            leads: result.is_leader(),
        }
    }
}

impl Rounds {
    fn come(mut self, fiber: usize) -> Self {
        if self.waiting.len() + 1 < self.size {
            self.waiting.push(fiber);
            self.waiting.sort_unstable();
        } else {
            self.passed
                .extend(self.waiting.drain(..).map(|one| (one, false)));
            self.passed.push((fiber, true));
            self.passed.sort_unstable();
        }
        self
    }

    fn pass(mut self, fiber: usize, ret: Ret) -> Option<Self> {
        let Ret::Passed { leads } = ret else {
            return None;
        };
        let place = self.passed.iter().position(|one| *one == (fiber, leads))?;
        self.passed.remove(place);
        Some(self)
    }
}

impl Model for Rounds {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let (mut after, fiber) = (self.clone(), call.fiber);
        let is_last = self.waiting.len() + 1 == self.size;
        match (&call.op, call.ret) {
            (Op::Come, _) => Some(after.come(fiber)),
            (Op::Pass, ret) => after.pass(fiber, ret),
            (Op::GiveUp, _) => {
                let place = after.waiting.iter().position(|one| *one == fiber)?;
                after.waiting.remove(place);
                Some(after)
            }
            (Op::TryWait, Ret::NotYet) => (!is_last).then_some(after),
            (Op::TryWait, ret) if is_last => after.come(fiber).pass(fiber, ret),
            (Op::TryWait | Op::Wait, _) => None,
        }
    }

    fn may_sleep(&self, asleep: &[(usize, Op)]) -> bool {
        asleep.iter().all(|(fiber, _)| self.waiting.contains(fiber))
    }
}

pub(super) struct Comer<'object> {
    barrier: &'object Barrier,
    log: Log<Rounds>,
}

impl Object for Barrier {
    type Model = Rounds;
    type Hand<'object> = Comer<'object>;

    fn new(dice: &mut Dice) -> (Self, Rounds) {
        let size = 2 + dice.below(2);
        let model = Rounds {
            size,
            waiting: Vec::new(),
            passed: Vec::new(),
        };
        (Self::new(size), model)
    }

    fn hand(&self, log: Log<Rounds>) -> Comer<'_> {
        Comer { barrier: self, log }
    }
}

impl Hand for Comer<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let Self { barrier, log } = self;
        let (span, kind) = (dice.span(), dice.below(6));
        if kind == 0 {
            return log.call(Op::TryWait, || {
                barrier.try_wait().map_or(Ret::NotYet, Ret::from)
            });
        }
        let given_up = || vec![(Op::Come, Ret::Done), (Op::GiveUp, Ret::Done)];
        log.call_in_steps(Op::Wait, given_up(), || {
            let passed = match kind {
                1 | 2 => barrier.wait_timeout(span).ok(),
                _ => Some(barrier.wait()),
            };
            passed.map_or_else(given_up, |passed| {
                vec![(Op::Come, Ret::Done), (Op::Pass, Ret::from(passed))]
            })
        });
    }
}

#[test]
fn a_barrier_is_linearizable() {
    prove::<Barrier>(300);
}
