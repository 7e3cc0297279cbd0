//! Channels and mailboxes: a queue with room for so many values, or a place to meet.

use alloc::collections::VecDeque;
use core::{
    marker::PhantomData,
    sync::atomic::{AtomicU32, Ordering},
};
use std::sync::Mutex;

use fiber::sync::channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError,
};

use super::{
    FIBERS, Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::{
    kinds::{
        Blocking, Bounded, Disconnecting, DroppingOldest, Kind, Penalising, Rendezvous, Unbounded,
        WhenFull,
    },
    support::Dice,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Channel {
    /// 0 is a rendezvous, whose values pass from one call to the other.
    capacity: usize,
    when_full: WhenFull,
    queue: VecDeque<u32>,
    senders: usize,
    receivers: usize,
    /// By a sender that has found it full.
    closed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Send(u32),
    TrySend(u32),
    SendTimeout(u32),
    Recv,
    TryRecv,
    RecvTimeout,
    Len,
    DropSender,
    DropReceiver,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ret {
    Done,
    Got(u32),
    /// Not now, or not in time.
    NotYet,
    Closed,
    Length(usize),
}

impl Op {
    const fn sent(&self) -> Option<u32> {
        match self {
            Self::Send(value) | Self::TrySend(value) | Self::SendTimeout(value) => Some(*value),
            _ => None,
        }
    }

    const fn waits(&self) -> bool {
        !matches!(self, Self::TrySend(_) | Self::TryRecv)
    }
}

impl Channel {
    fn is_full(&self) -> bool {
        self.queue.len() >= self.capacity
    }

    /// Whether a sender must wait now.
    fn holds_up(&self) -> bool {
        self.is_full() && self.when_full == WhenFull::Waits
    }

    const fn is_sent_to(&self) -> bool {
        self.receivers > 0 && !self.closed
    }

    fn is_received_from(&self) -> bool {
        self.senders > 0 && !self.closed || !self.queue.is_empty()
    }

    fn send(&self, value: u32, ret: &Ret) -> Option<Self> {
        let mut after = self.clone();
        let possible = match ret {
            Ret::Done => {
                if self.is_full() {
                    after.queue.pop_front();
                }
                after.queue.push_back(value);
                self.is_sent_to() && (!self.is_full() || self.when_full == WhenFull::DropsOldest)
            }
            Ret::NotYet => self.is_sent_to() && self.holds_up(),
            Ret::Closed if self.is_sent_to() => {
                after.closed = true;
                self.is_full() && self.when_full == WhenFull::Closes
            }
            Ret::Closed => true,
            Ret::Got(_) | Ret::Length(_) => false,
        };
        possible.then_some(after)
    }

    fn recv(&self, ret: &Ret) -> Option<Self> {
        let mut after = self.clone();
        let possible = match ret {
            Ret::Got(value) => after.queue.pop_front() == Some(*value),
            Ret::NotYet => self.queue.is_empty() && self.is_received_from(),
            Ret::Closed => !self.is_received_from(),
            Ret::Done | Ret::Length(_) => false,
        };
        possible.then_some(after)
    }
}

impl Model for Channel {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let mut after = self.clone();
        match &call.op {
            Op::Send(value) | Op::TrySend(value) | Op::SendTimeout(value) => {
                return self.send(*value, &call.ret);
            }
            Op::Recv | Op::TryRecv | Op::RecvTimeout => return self.recv(&call.ret),
            Op::Len => return (call.ret == Ret::Length(self.queue.len())).then_some(after),
            Op::DropSender => after.senders -= 1,
            Op::DropReceiver => {
                after.receivers -= 1;
                if after.receivers == 0 {
                    after.queue.clear();
                }
            }
        }
        Some(after)
    }

    fn together(&self, send: &Call<Self>, recv: &Call<Self>) -> Option<Self> {
        let meet = self.capacity == 0
            && send.ret == Ret::Done
            && send
                .op
                .sent()
                .is_some_and(|value| recv.ret == Ret::Got(value))
            && (send.op.waits() || recv.op.waits());
        meet.then(|| self.clone())
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        let senders = waiting.iter().filter(|(_, op)| op.sent().is_some()).count();
        let receivers = waiting.len() - senders;
        (senders == 0 || self.is_sent_to() && self.holds_up())
            && (receivers == 0 || self.is_received_from() && self.queue.is_empty())
            && (senders == 0 || receivers == 0)
    }
}

type MaySend = Option<Sender<u32>>;
type MayRecv = Option<Receiver<u32>>;

/// What a fiber has of a channel.
pub(super) struct Ends<'object> {
    sender: MaySend,
    receiver: MayRecv,
    values: &'object AtomicU32,
    log: Log<Channel>,
}

impl Ends<'_> {
    fn drop_sender(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.log.call(Op::DropSender, || {
                drop(sender);
                Ret::Done
            });
        }
    }

    fn drop_receiver(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            self.log.call(Op::DropReceiver, || {
                drop(receiver);
                Ret::Done
            });
        }
    }

    fn send(&self, sender: &Sender<u32>, dice: &mut Dice) {
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let kept = |back: u32, why| {
            assert_eq!(back, value, "the value comes back");
            why
        };
        let span = dice.span();
        match dice.below(4) {
            0 => self
                .log
                .call(Op::TrySend(value), || match sender.try_send(value) {
                    Ok(()) => Ret::Done,
                    Err(TrySendError::Full(back)) => kept(back, Ret::NotYet),
                    Err(TrySendError::Closed(back)) => kept(back, Ret::Closed),
                }),
            1 => self.log.call(Op::SendTimeout(value), || {
                match sender.send_timeout(value, span) {
                    Ok(()) => Ret::Done,
                    Err(SendTimeoutError::Elapsed(back)) => kept(back, Ret::NotYet),
                    Err(SendTimeoutError::Closed(back)) => kept(back, Ret::Closed),
                }
            }),
            _ => self.log.call(Op::Send(value), || match sender.send(value) {
                Ok(()) => Ret::Done,
                Err(SendError(back)) => kept(back, Ret::Closed),
            }),
        }
    }

    fn recv(&self, receiver: &Receiver<u32>, dice: &mut Dice) {
        let span = dice.span();
        match dice.below(4) {
            0 => self.log.call(Op::TryRecv, || match receiver.try_recv() {
                Ok(value) => Ret::Got(value),
                Err(TryRecvError::Empty) => Ret::NotYet,
                Err(TryRecvError::Closed) => Ret::Closed,
            }),
            1 => self
                .log
                .call(Op::RecvTimeout, || match receiver.recv_timeout(span) {
                    Ok(value) => Ret::Got(value),
                    Err(RecvTimeoutError::Elapsed) => Ret::NotYet,
                    Err(RecvTimeoutError::Closed) => Ret::Closed,
                }),
            _ => self.log.call(Op::Recv, || match receiver.recv() {
                Ok(value) => Ret::Got(value),
                Err(RecvError) => Ret::Closed,
            }),
        }
    }
}

/// A channel whose ends nobody has taken yet.
pub(super) struct Of<K> {
    ends: Mutex<Vec<(MaySend, MayRecv)>>,
    values: AtomicU32,
    kind: PhantomData<K>,
}

impl<K: Kind> Object for Of<K> {
    type Model = Channel;
    type Hand<'object> = Ends<'object>;

    fn new(dice: &mut Dice) -> (Self, Channel) {
        let (sender, receiver) = K::open();
        let deal = |fiber| {
            // Some have both.
            let both = dice.one_in(4);
            let sends = (fiber % 2 == 0 || both).then(|| sender.clone());
            let receives = (fiber % 2 == 1 || both).then(|| receiver.clone());
            (sends, receives)
        };
        let ends: Vec<_> = (0..FIBERS).map(deal).collect();
        let model = Channel {
            capacity: K::CAPACITY,
            when_full: K::WHEN_FULL,
            closed: false,
            queue: VecDeque::new(),
            senders: ends.iter().filter(|(sender, _)| sender.is_some()).count(),
            receivers: ends
                .iter()
                .filter(|(_, receiver)| receiver.is_some())
                .count(),
        };
        let object = Self {
            ends: Mutex::new(ends),
            values: AtomicU32::new(0),
            kind: PhantomData,
        };
        (object, model)
    }

    fn hand(&self, log: Log<Channel>) -> Ends<'_> {
        let (sender, receiver) = self.ends.lock().unwrap().pop().unwrap();
        Ends {
            sender,
            receiver,
            values: &self.values,
            log,
        }
    }
}

impl Hand for Ends<'_> {
    fn act(&mut self, dice: &mut Dice) {
        match (&self.sender, &self.receiver) {
            (Some(_), _) if dice.one_in(12) => self.drop_sender(),
            (_, Some(_)) if dice.one_in(12) => self.drop_receiver(),
            (Some(sender), _) if dice.one_in(12) => {
                self.log.call(Op::Len, || Ret::Length(sender.len()));
            }
            (Some(sender), Some(_)) if dice.one_in(2) => self.send(sender, dice),
            (_, Some(receiver)) => self.recv(receiver, dice),
            (Some(sender), None) => self.send(sender, dice),
            (None, None) => {}
        }
    }
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.drop_sender();
        self.drop_receiver();
    }
}

#[test]
fn a_rendezvous_is_linearizable() {
    prove::<Of<Rendezvous>>(300);
}

#[test]
fn a_channel_with_room_for_one_is_linearizable() {
    prove::<Of<Bounded<1>>>(300);
}

#[test]
fn a_channel_with_room_for_three_is_linearizable() {
    prove::<Of<Bounded<3>>>(300);
}

#[test]
fn a_channel_without_a_bound_is_linearizable() {
    prove::<Of<Unbounded>>(200);
}

#[test]
fn a_mailbox_is_linearizable_whatever_it_does_when_it_is_full() {
    prove::<Of<Blocking>>(200);
    prove::<Of<DroppingOldest>>(200);
    prove::<Of<Disconnecting>>(200);
    prove::<Of<Penalising>>(200);
}
