//! Choices over two channels: one arm takes effect, wholly, and the other one not at all.

use alloc::collections::VecDeque;
use core::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use fiber::{
    choose,
    operation::{BoxedOperation, Operation, timeout},
    sync::channel::{Receiver, Sender, bounded, rendezvous},
};

use super::{
    Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::{Dice, EVER};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    queues: [VecDeque<u32>; 2],
    capacities: [usize; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm {
    /// On this one of the channels.
    Send(usize, u32),
    Recv(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    Tries,
    Waits,
    WaitsABit,
}

#[derive(Clone, Debug)]
pub(super) struct Op {
    arms: [Arm; 2],
    patience: Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ret {
    Sent(usize),
    Got(usize, u32),
    NotYet,
}

impl Op {
    /// What it has sent there.
    fn sent(&self, to: usize) -> Option<u32> {
        self.arms.iter().find_map(|arm| match arm {
            Arm::Send(channel, value) if *channel == to => Some(*value),
            _ => None,
        })
    }

    fn receives(&self, from: usize) -> bool {
        self.arms.contains(&Arm::Recv(from))
    }
}

impl Pair {
    fn is_ready(&self, arm: Arm) -> bool {
        match arm {
            Arm::Send(channel, _) => self.queues[channel].len() < self.capacities[channel],
            Arm::Recv(channel) => !self.queues[channel].is_empty(),
        }
    }
}

impl Model for Pair {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let mut after = self.clone();
        let possible = match call.ret {
            Ret::Sent(channel) => {
                let value = call.op.sent(channel)?;
                after.queues[channel].push_back(value);
                self.is_ready(Arm::Send(channel, value))
            }
            Ret::Got(channel, value) => {
                after.queues[channel].pop_front() == Some(value) && call.op.receives(channel)
            }
            Ret::NotYet => !call.op.arms.iter().any(|arm| self.is_ready(*arm)),
        };
        possible.then_some(after)
    }

    fn together(&self, send: &Call<Self>, recv: &Call<Self>) -> Option<Self> {
        let (Ret::Sent(to), Ret::Got(from, value)) = (send.ret, recv.ret) else {
            return None;
        };
        let waits = |call: &Call<Self>| call.op.patience != Patience::Tries;
        let meet = to == from
            && self.capacities[to] == 0
            && send.op.sent(to) == Some(value)
            && recv.op.receives(from)
            && (waits(send) || waits(recv));
        meet.then(|| self.clone())
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        let ready = |(_, op): &(usize, Op)| op.arms.iter().any(|arm| self.is_ready(*arm));
        let meets = |(fiber, op): &(usize, Op), (other, offer): &(usize, Op)| {
            fiber != other && (0..2).any(|on| op.sent(on).is_some() && offer.receives(on))
        };
        !waiting.iter().any(ready)
            && !waiting
                .iter()
                .any(|one| waiting.iter().any(|other| meets(one, other)))
    }
}

pub(super) struct Channels {
    channels: [(Sender<u32>, Receiver<u32>); 2],
    values: AtomicU32,
}

pub(super) struct Chooser<'object> {
    object: &'object Channels,
    log: Log<Pair>,
}

impl Object for Channels {
    type Model = Pair;
    type Hand<'object> = Chooser<'object>;

    fn new(dice: &mut Dice) -> (Self, Pair) {
        let capacities = [dice.below(2), 0];
        let model = Pair {
            queues: Default::default(),
            capacities,
        };
        let object = Self {
            channels: capacities.map(|capacity| match capacity {
                0 => rendezvous(),
                capacity => bounded(capacity),
            }),
            values: AtomicU32::new(0),
        };
        (object, model)
    }

    fn hand(&self, log: Log<Pair>) -> Chooser<'_> {
        Chooser { object: self, log }
    }
}

impl Chooser<'_> {
    fn draw(&self, dice: &mut Dice) -> Arm {
        let channel = dice.below(2);
        if dice.one_in(2) {
            return Arm::Recv(channel);
        }
        let value = self.object.values.fetch_add(1, Ordering::Relaxed);
        Arm::Send(channel, value)
    }

    fn operation(&self, arm: Arm) -> BoxedOperation<'_, Ret> {
        match arm {
            Arm::Send(on, value) => {
                let operation = self.object.channels[on].0.send_operation(value);
                operation
                    .wrap(move |sent| sent.map(|()| Ret::Sent(on)).unwrap())
                    .boxed()
            }
            Arm::Recv(on) => {
                let operation = self.object.channels[on].1.recv_operation();
                operation
                    .wrap(move |value| Ret::Got(on, value.unwrap()))
                    .boxed()
            }
        }
    }

    fn choose(&self, [one, other]: [Arm; 2], span: Duration) -> Ret {
        choose! {
            ret = self.operation(one) => ret,
            ret = self.operation(other) => ret,
            () = timeout(span) => Ret::NotYet,
        }
    }

    fn try_choose(&self, [one, other]: [Arm; 2]) -> Ret {
        choose! {
            ret = self.operation(one) => ret,
            ret = self.operation(other) => ret,
            else => Ret::NotYet,
        }
    }
}

impl Hand for Chooser<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let one = self.draw(dice);
        // One in four is as good as no choice.
        let other = match dice.one_in(4) {
            true => one,
            false => self.draw(dice),
        };
        let arms = match (one, other) {
            // A choice that sends here and there sends one value.
            (Arm::Send(_, value), Arm::Send(on, _)) => [one, Arm::Send(on, value)],
            arms => arms.into(),
        };
        let op = |patience| Op { arms, patience };
        // Without any time the limit is an arm as good as the others.
        let span = dice.span() + Duration::from_micros(1);
        match dice.below(6) {
            0 => self.log.call(op(Patience::Tries), || self.try_choose(arms)),
            1 => self
                .log
                .call(op(Patience::WaitsABit), || self.choose(arms, span)),
            _ => self
                .log
                .call(op(Patience::Waits), || self.choose(arms, EVER * 1000)),
        }
    }
}

#[test]
fn a_choice_over_two_channels_is_linearizable() {
    prove::<Channels>(400);
}
