//! Watched values: each receiver learns of the latest change that it has not seen, and of no other.

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;

use fiber::sync::channel::{
    RecvError, RecvTimeoutError, SendError, TryRecvError,
    watch::{self, Receiver, Sender},
};

use super::{
    FIBERS, Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Watched {
    value: u32,
    version: u32,
    /// By each fiber that has a receiver.
    seen: [Option<u32>; FIBERS],
    senders: usize,
    closed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Send(u32),
    Get,
    Changed,
    TryChanged,
    ChangedTimeout,
    Close,
    DropSender,
    DropReceiver,
    Subscribe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ret {
    Done,
    Value(u32),
    NotYet,
    Closed,
}

impl Watched {
    const fn is_closed(&self) -> bool {
        self.closed || self.senders == 0
    }
}

impl Model for Watched {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let (mut after, fiber) = (self.clone(), call.fiber);
        let mut expected = Ret::Done;
        match &call.op {
            Op::Send(_) if self.is_closed() || self.seen.iter().all(Option::is_none) => {
                expected = Ret::Closed;
            }
            Op::Send(value) => {
                after.value = *value;
                after.version += 1;
            }
            Op::Get => {
                after.seen[fiber] = Some(self.version);
                expected = Ret::Value(self.value);
            }
            Op::Changed | Op::TryChanged | Op::ChangedTimeout => {
                if self.seen[fiber] != Some(self.version) {
                    after.seen[fiber] = Some(self.version);
                } else if self.is_closed() {
                    expected = Ret::Closed;
                } else {
                    expected = Ret::NotYet;
                }
            }
            Op::Close => after.closed = true,
            Op::DropSender => after.senders -= 1,
            Op::DropReceiver => after.seen[fiber] = None,
            Op::Subscribe => after.seen[fiber] = Some(self.version),
        }
        (call.ret == expected).then_some(after)
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        let has_seen = |(fiber, _): &(usize, Op)| self.seen[*fiber] == Some(self.version);
        waiting.is_empty() || !self.is_closed() && waiting.iter().all(has_seen)
    }
}

pub(super) struct Channel {
    ends: Mutex<Vec<(Sender<u32>, Receiver<u32>)>>,
    values: AtomicU32,
}

pub(super) struct Ends<'object> {
    sender: Option<Sender<u32>>,
    receiver: Option<Receiver<u32>>,
    values: &'object AtomicU32,
    log: Log<Watched>,
}

impl Object for Channel {
    type Model = Watched;
    type Hand<'object> = Ends<'object>;

    fn new(_: &mut Dice) -> (Self, Watched) {
        let (sender, receiver) = watch::channel(0);
        // Which fiber gets which is not known before it asks, so all get the same.
        let ends = (0..FIBERS)
            .map(|_| (sender.clone(), receiver.clone()))
            .collect();
        let model = Watched {
            value: 0,
            version: 0,
            seen: [Some(0); FIBERS],
            senders: FIBERS,
            closed: false,
        };
        let object = Self {
            ends: Mutex::new(ends),
            values: AtomicU32::new(1),
        };
        (object, model)
    }

    fn hand(&self, log: Log<Watched>) -> Ends<'_> {
        let (sender, receiver) = self.ends.lock().unwrap().pop().unwrap();
        Ends {
            sender: Some(sender),
            receiver: Some(receiver),
            values: &self.values,
            log,
        }
    }
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

    fn send(&self, sender: &Sender<u32>) {
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        self.log.call(Op::Send(value), || match sender.send(value) {
            Ok(()) => Ret::Done,
            Err(SendError(back)) => {
                assert_eq!(back, value, "the value comes back");
                Ret::Closed
            }
        });
    }
}

/// Sees whether there is something new.
fn look(log: &Log<Watched>, receiver: &mut Receiver<u32>, dice: &mut Dice) {
    let span = dice.span();
    match dice.below(6) {
        0 => log.call(Op::Get, || Ret::Value(receiver.get())),
        1 => log.call(Op::TryChanged, || match receiver.try_changed() {
            Ok(()) => Ret::Done,
            Err(TryRecvError::Empty) => Ret::NotYet,
            Err(TryRecvError::Closed) => Ret::Closed,
        }),
        2 => log.call(Op::ChangedTimeout, || {
            match receiver.changed_timeout(span) {
                Ok(()) => Ret::Done,
                Err(RecvTimeoutError::Elapsed) => Ret::NotYet,
                Err(RecvTimeoutError::Closed) => Ret::Closed,
            }
        }),
        _ => log.call(Op::Changed, || match receiver.changed() {
            Ok(()) => Ret::Done,
            Err(RecvError) => Ret::Closed,
        }),
    }
}

impl Hand for Ends<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let kind = dice.below(16);
        match (&self.sender, &mut self.receiver) {
            (Some(_), _) if kind == 0 => self.drop_sender(),
            (_, Some(_)) if kind == 1 => self.drop_receiver(),
            (Some(sender), _) if kind == 2 && dice.one_in(4) => self.log.call(Op::Close, || {
                sender.close();
                Ret::Done
            }),
            (Some(sender), receiver @ None) => self.log.call(Op::Subscribe, || {
                *receiver = Some(sender.subscribe());
                Ret::Done
            }),
            (Some(sender), _) if kind < 9 => self.send(sender),
            (_, Some(receiver)) => look(&self.log, receiver, dice),
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
fn a_watched_value_is_linearizable() {
    prove::<Channel>(300);
}
