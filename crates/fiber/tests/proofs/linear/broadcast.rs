//! Broadcasts: every message to every receiver, or the exact number of those that it has missed.

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;

use fiber::sync::channel::{
    SendError,
    broadcast::{self, Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError},
};

use super::{
    FIBERS, Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

const CAPACITY: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct News {
    /// Everything that was ever sent.
    messages: Vec<u32>,
    /// How much of it each receiver has had or missed.
    cursors: [Option<usize>; FIBERS],
    senders: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Send(u32),
    Recv,
    TryRecv,
    RecvTimeout,
    Len,
    DropSender,
    DropReceiver,
    Subscribe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ret {
    Done,
    /// To so many.
    Sent(usize),
    Got(u32),
    Lagged(u64),
    Length(u64),
    NotYet,
    Closed,
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap()
}

impl News {
    fn recv(&mut self, fiber: usize) -> Option<Ret> {
        let cursor = self.cursors[fiber].as_mut()?;
        let oldest = self.messages.len().saturating_sub(CAPACITY);
        if *cursor < oldest {
            let missed = count(oldest - *cursor);
            *cursor = oldest;
            return Some(Ret::Lagged(missed));
        }
        Some(match self.messages.get(*cursor) {
            Some(message) => {
                *cursor += 1;
                Ret::Got(*message)
            }
            None if self.senders == 0 => Ret::Closed,
            None => Ret::NotYet,
        })
    }
}

impl Model for News {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let (mut after, fiber) = (self.clone(), call.fiber);
        let expected = match &call.op {
            Op::Send(message) => match self.cursors.iter().flatten().count() {
                0 => Ret::Closed,
                receivers => {
                    after.messages.push(*message);
                    Ret::Sent(receivers)
                }
            },
            Op::Recv | Op::TryRecv | Op::RecvTimeout => after.recv(fiber)?,
            Op::Len => Ret::Length(count(self.messages.len() - self.cursors[fiber]?)),
            Op::DropSender => {
                after.senders -= 1;
                Ret::Done
            }
            Op::DropReceiver => {
                after.cursors[fiber] = None;
                Ret::Done
            }
            Op::Subscribe => {
                after.cursors[fiber] = Some(self.messages.len());
                Ret::Done
            }
        };
        (call.ret == expected).then_some(after)
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        let has_all = |(fiber, _): &(usize, Op)| self.cursors[*fiber] == Some(self.messages.len());
        waiting.is_empty() || self.senders > 0 && waiting.iter().all(has_all)
    }
}

pub(super) struct Channel {
    ends: Mutex<Vec<(Sender<u32>, Receiver<u32>)>>,
    messages: AtomicU32,
}

pub(super) struct Ends<'object> {
    sender: Option<Sender<u32>>,
    receiver: Option<Receiver<u32>>,
    messages: &'object AtomicU32,
    log: Log<News>,
}

impl Object for Channel {
    type Model = News;
    type Hand<'object> = Ends<'object>;

    fn new(_: &mut Dice) -> (Self, News) {
        let ends = broadcast::channel(CAPACITY);
        let model = News {
            messages: Vec::new(),
            cursors: [Some(0); FIBERS],
            senders: FIBERS,
        };
        let object = Self {
            ends: Mutex::new(vec![ends; FIBERS]),
            messages: AtomicU32::new(0),
        };
        (object, model)
    }

    fn hand(&self, log: Log<News>) -> Ends<'_> {
        let (sender, receiver) = self.ends.lock().unwrap().pop().unwrap();
        Ends {
            sender: Some(sender),
            receiver: Some(receiver),
            messages: &self.messages,
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
        let message = self.messages.fetch_add(1, Ordering::Relaxed);
        self.log
            .call(Op::Send(message), || match sender.send(message) {
                Ok(receivers) => Ret::Sent(receivers),
                Err(SendError(back)) => {
                    assert_eq!(back, message, "the message comes back");
                    Ret::Closed
                }
            });
    }
}

fn recv(log: &Log<News>, receiver: &mut Receiver<u32>, dice: &mut Dice) {
    let span = dice.span();
    match dice.below(6) {
        0 => log.call(Op::Len, || Ret::Length(receiver.len())),
        1 => log.call(Op::TryRecv, || match receiver.try_recv() {
            Ok(message) => Ret::Got(message),
            Err(TryRecvError::Empty) => Ret::NotYet,
            Err(TryRecvError::Lagged(missed)) => Ret::Lagged(missed),
            Err(TryRecvError::Closed) => Ret::Closed,
        }),
        2 => log.call(Op::RecvTimeout, || match receiver.recv_timeout(span) {
            Ok(message) => Ret::Got(message),
            Err(RecvTimeoutError::Elapsed) => Ret::NotYet,
            Err(RecvTimeoutError::Lagged(missed)) => Ret::Lagged(missed),
            Err(RecvTimeoutError::Closed) => Ret::Closed,
        }),
        _ => log.call(Op::Recv, || match receiver.recv() {
            Ok(message) => Ret::Got(message),
            Err(RecvError::Lagged(missed)) => Ret::Lagged(missed),
            Err(RecvError::Closed) => Ret::Closed,
        }),
    }
}

impl Hand for Ends<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let kind = dice.below(16);
        match (&self.sender, &mut self.receiver) {
            (Some(_), _) if kind == 0 => self.drop_sender(),
            (_, Some(_)) if kind == 1 => self.drop_receiver(),
            (Some(sender), receiver @ None) => self.log.call(Op::Subscribe, || {
                *receiver = Some(sender.subscribe());
                Ret::Done
            }),
            (Some(sender), _) if kind < 9 => self.send(sender),
            (_, Some(receiver)) => recv(&self.log, receiver, dice),
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
fn a_broadcast_is_linearizable() {
    prove::<Channel>(300);
}
