//! Credits: no value is in flight, and no credit held, that the window has no room for.

use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;

use fiber::sync::channel::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
    credit::{self, Credit, Receiver, Sender},
};

use super::{
    FIBERS, Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Window {
    available: usize,
    queue: VecDeque<u32>,
    owed: usize,
    batch: usize,
    receivers: usize,
    /// By one who has said so.
    closed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Credit,
    TryCredit,
    CreditTimeout,
    DropCredit,
    /// With a credit.
    Send(u32),
    Available,
    Recv,
    TryRecv,
    RecvTimeout,
    /// The second step of a receive that has got something.
    GiveBack,
    Close,
    DropReceiver,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ret {
    Done,
    Got(u32),
    NotYet,
    Closed,
    Number(usize),
}

impl Op {
    const fn waits_for_credit(&self) -> bool {
        matches!(self, Self::Credit | Self::CreditTimeout)
    }
}

impl Window {
    const fn is_closed(&self) -> bool {
        self.closed || self.receivers == 0
    }

    fn take(&mut self) -> Ret {
        match (self.is_closed(), self.available.checked_sub(1)) {
            (true, _) => Ret::Closed,
            (false, Some(left)) => {
                self.available = left;
                Ret::Done
            }
            (false, None) => Ret::NotYet,
        }
    }

    fn recv(&mut self) -> Ret {
        match self.queue.pop_front() {
            Some(value) => Ret::Got(value),
            None if self.is_closed() => Ret::Closed,
            None => Ret::NotYet,
        }
    }
}

impl Model for Window {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let mut after = self.clone();
        // Who waits may have been given one, and find the channel closed when it comes to look.
        let on_its_way = call.beside.iter().any(Op::waits_for_credit);
        let expected = match &call.op {
            Op::TryCredit | Op::CreditTimeout if on_its_way && call.ret == Ret::NotYet => {
                Ret::NotYet
            }
            Op::Credit | Op::TryCredit | Op::CreditTimeout => after.take(),
            Op::DropCredit => {
                after.available += 1;
                Ret::Done
            }
            Op::Send(_) if self.is_closed() => {
                after.available += 1;
                Ret::Closed
            }
            Op::Send(value) => {
                after.queue.push_back(*value);
                Ret::Done
            }
            // After the end nobody counts them.
            Op::Available if self.is_closed() || on_its_way => call.ret.clone(),
            Op::Available => Ret::Number(self.available),
            Op::Recv | Op::TryRecv | Op::RecvTimeout => after.recv(),
            Op::GiveBack => {
                after.owed += 1;
                if after.owed >= after.batch {
                    after.available += after.owed;
                    after.owed = 0;
                }
                Ret::Done
            }
            Op::Close => {
                after.closed = true;
                Ret::Done
            }
            Op::DropReceiver => {
                after.receivers -= 1;
                if after.receivers == 0 {
                    after.queue.clear();
                }
                Ret::Done
            }
        };
        (call.ret == expected).then_some(after)
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        let rightly = |(_, op): &(usize, Op)| match op {
            Op::Credit => self.available == 0,
            _ => self.queue.is_empty(),
        };
        waiting.is_empty() || !self.is_closed() && waiting.iter().all(rightly)
    }
}

pub(super) struct Channel {
    sender: Sender<u32>,
    receivers: Mutex<Vec<Receiver<u32>>>,
    values: AtomicU32,
}

pub(super) struct Party<'object> {
    channel: &'object Channel,
    credits: Vec<Credit<'object, u32>>,
    receiver: Option<Receiver<u32>>,
    log: Log<Window>,
}

impl Object for Channel {
    type Model = Window;
    type Hand<'object> = Party<'object>;

    fn new(dice: &mut Dice) -> (Self, Window) {
        let batch = 1 + dice.below(2);
        let (sender, receiver) = credit::in_batches(2, batch);
        let model = Window {
            available: 2,
            queue: VecDeque::new(),
            owed: 0,
            batch,
            receivers: FIBERS,
            closed: false,
        };
        let object = Self {
            sender,
            receivers: Mutex::new(vec![receiver; FIBERS]),
            values: AtomicU32::new(0),
        };
        (object, model)
    }

    fn hand(&self, log: Log<Window>) -> Party<'_> {
        Party {
            channel: self,
            credits: Vec::new(),
            receiver: self.receivers.lock().unwrap().pop(),
            log,
        }
    }
}

impl<'object> Party<'object> {
    fn take_credit(&mut self, dice: &mut Dice) {
        let Self {
            channel,
            credits,
            log,
            ..
        } = self;
        let sender = &channel.sender;
        let mut got = |credit: Credit<'object, u32>| {
            credits.push(credit);
            Ret::Done
        };
        let span = dice.span();
        match dice.below(4) {
            0 => log.call(Op::TryCredit, || match sender.try_credit() {
                Ok(credit) => got(credit),
                Err(TrySendError::Full(())) => Ret::NotYet,
                Err(TrySendError::Closed(())) => Ret::Closed,
            }),
            1 => log.call(Op::CreditTimeout, || match sender.credit_timeout(span) {
                Ok(credit) => got(credit),
                Err(SendTimeoutError::Elapsed(())) => Ret::NotYet,
                Err(SendTimeoutError::Closed(())) => Ret::Closed,
            }),
            _ => log.call(Op::Credit, || sender.credit().map_or(Ret::Closed, got)),
        }
    }

    fn use_credit(&self, credit: Credit<'object, u32>, dice: &mut Dice) {
        if dice.one_in(4) {
            return self.drop_credit(credit);
        }
        let value = self.channel.values.fetch_add(1, Ordering::Relaxed);
        self.log.call(Op::Send(value), || match credit.send(value) {
            Ok(()) => Ret::Done,
            Err(SendError(back)) => {
                assert_eq!(back, value, "the value comes back");
                Ret::Closed
            }
        });
    }

    fn drop_credit(&self, credit: Credit<'object, u32>) {
        self.log.call(Op::DropCredit, || {
            drop(credit);
            Ret::Done
        });
    }

    fn recv(&self, receiver: &Receiver<u32>, dice: &mut Dice) {
        let kind = dice.below(4);
        let op = match kind {
            0 => Op::TryRecv,
            1 => Op::RecvTimeout,
            _ => Op::Recv,
        };
        let span = dice.span();
        self.log.call_in_steps(op.clone(), Vec::new(), || {
            let ret = match kind {
                0 => receiver.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => Ret::NotYet,
                    TryRecvError::Closed => Ret::Closed,
                }),
                1 => receiver.recv_timeout(span).map_err(|error| match error {
                    RecvTimeoutError::Elapsed => Ret::NotYet,
                    RecvTimeoutError::Closed => Ret::Closed,
                }),
                _ => receiver.recv().map_err(|RecvError| Ret::Closed),
            };
            match ret {
                Ok(value) => vec![(op, Ret::Got(value)), (Op::GiveBack, Ret::Done)],
                Err(ret) => vec![(op, ret)],
            }
        });
    }

    fn drop_receiver(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            self.log.call(Op::DropReceiver, || {
                drop(receiver);
                Ret::Done
            });
        }
    }
}

impl Hand for Party<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let channel = self.channel;
        match dice.below(24) {
            0 => self.drop_receiver(),
            1 if dice.one_in(4) => self.log.call(Op::Close, || {
                channel.sender.close();
                Ret::Done
            }),
            2 => self
                .log
                .call(Op::Available, || Ret::Number(channel.sender.available())),
            3..12 => match &self.receiver {
                Some(receiver) => self.recv(receiver, dice),
                None => self.take_credit(dice),
            },
            _ => match self.credits.pop() {
                Some(credit) => self.use_credit(credit, dice),
                None => self.take_credit(dice),
            },
        }
    }
}

impl Drop for Party<'_> {
    fn drop(&mut self) {
        while let Some(credit) = self.credits.pop() {
            self.drop_credit(credit);
        }
        self.drop_receiver();
    }
}

#[test]
fn a_window_of_credits_is_linearizable() {
    prove::<Channel>(300);
}
