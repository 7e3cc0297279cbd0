//! Counters and wait groups: a number, and those who wait until it is another one.

use fiber::sync::{Counter, WaitGroup, WaitToken};

use super::{
    Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Number(usize);

#[derive(Clone, Debug)]
pub(super) enum Op {
    Add(usize),
    Sub(usize),
    Value,
    Wait(usize),
    TryWait(usize),
    WaitTimeout(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Ret {
    Is(usize),
    /// It was not what was waited for.
    NotYet,
    /// Whatever it is.
    Done,
}

impl Model for Number {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let (after, possible) = match call.op {
            Op::Add(n) => (self.0 + n, true),
            Op::Sub(n) => (self.0.checked_sub(n)?, true),
            Op::Value => (self.0, true),
            Op::Wait(n) | Op::TryWait(n) | Op::WaitTimeout(n) => {
                (self.0, (self.0 == n) != matches!(call.ret, Ret::NotYet))
            }
        };
        let as_told = !matches!(call.ret, Ret::Is(value) if value != after);
        (possible && as_told).then_some(Self(after))
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        let waits_for_more = |op: &Op| !matches!(op, Op::Wait(n) if *n == self.0);
        waiting.iter().all(|(_, op)| waits_for_more(op))
    }
}

fn is_reached(reached: bool) -> Ret {
    if reached { Ret::Done } else { Ret::NotYet }
}

pub(super) struct Client<'object> {
    counter: &'object Counter,
    /// What it has added, and may take away.
    added: usize,
    log: Log<Number>,
}

impl Object for Counter {
    type Model = Number;
    type Hand<'object> = Client<'object>;

    fn new(_: &mut Dice) -> (Self, Number) {
        (Self::new(1), Number(1))
    }

    fn hand(&self, log: Log<Number>) -> Client<'_> {
        Client {
            counter: self,
            added: 0,
            log,
        }
    }
}

impl Hand for Client<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let Self {
            counter,
            added,
            log,
        } = self;
        let (n, span) = (1 + dice.below(2), dice.span());
        let awaited = dice.below(4);
        match dice.below(10) {
            0..=2 => {
                *added += n;
                log.call(Op::Add(n), || Ret::Is(counter.add(n)));
            }
            3..=5 if *added >= n => {
                *added -= n;
                log.call(Op::Sub(n), || Ret::Is(counter.sub(n)));
            }
            6 => log.call(Op::Value, || Ret::Is(counter.value())),
            7 => log.call(Op::TryWait(awaited), || {
                is_reached(counter.try_wait(awaited))
            }),
            8 => log.call(Op::WaitTimeout(awaited), || {
                is_reached(counter.wait_timeout(awaited, span).is_ok())
            }),
            _ => log.call(Op::Wait(awaited), || {
                counter.wait(awaited);
                Ret::Done
            }),
        }
    }
}

pub(super) struct Member<'object> {
    group: &'object WaitGroup,
    tokens: Vec<WaitToken>,
    log: Log<Number>,
}

impl Member<'_> {
    fn leave(&mut self) {
        if let Some(token) = self.tokens.pop() {
            self.log.call(Op::Sub(1), || {
                drop(token);
                Ret::Done
            });
        }
    }

    fn wait(&self, dice: &mut Dice) {
        let Self { group, log, .. } = self;
        let span = dice.span();
        match dice.below(4) {
            0 => log.call(Op::TryWait(0), || is_reached(group.try_wait())),
            1 => log.call(Op::WaitTimeout(0), || {
                is_reached(group.wait_timeout(span).is_ok())
            }),
            _ => log.call(Op::Wait(0), || {
                group.wait();
                Ret::Done
            }),
        }
    }
}

impl Object for WaitGroup {
    type Model = Number;
    type Hand<'object> = Member<'object>;

    fn new(_: &mut Dice) -> (Self, Number) {
        (Self::new(), Number(0))
    }

    fn hand(&self, log: Log<Number>) -> Member<'_> {
        Member {
            group: self,
            tokens: Vec::new(),
            log,
        }
    }
}

impl Hand for Member<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let Self { group, tokens, log } = self;
        match dice.below(8) {
            0..=2 => log.call(Op::Add(1), || {
                tokens.push(
                    tokens
                        .last()
                        .map_or_else(|| group.token(), WaitToken::clone),
                );
                Ret::Done
            }),
            3 => log.call(Op::Value, || Ret::Is(group.tokens())),
            4 | 5 => self.leave(),
            _ => self.wait(dice),
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        while !self.tokens.is_empty() {
            self.leave();
        }
    }
}

#[test]
fn a_counter_is_linearizable() {
    prove::<Counter>(200);
}

#[test]
fn a_wait_group_is_linearizable() {
    prove::<WaitGroup>(200);
}
