//! Promises: one value, or none, for the first who asks or for all.

use alloc::sync::Arc;
use core::{marker::PhantomData, time::Duration};
use std::sync::Mutex;

use fiber::sync::channel::{
    RecvError, RecvTimeoutError, TryRecvError,
    oneshot::{self, Receiver, Sender, SharedReceiver, SharedSender},
};

use super::{
    FIBERS, Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

const VALUE: u32 = 7;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Promise {
    is_shared: bool,
    state: State,
    receivers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Empty,
    Sent,
    Closed,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Send,
    DropSender,
    Recv,
    TryRecv,
    RecvTimeout,
    DropReceiver,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ret {
    Done,
    Got(u32),
    NotYet,
    Closed,
}

impl Model for Promise {
    type Op = Op;
    type Ret = Ret;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let mut after = self.clone();
        let expected = match (&call.op, &self.state) {
            (Op::Send, State::Empty) => {
                after.state = State::Sent;
                Ret::Done
            }
            (Op::Send, _) => Ret::Closed,
            (Op::DropSender, state) => {
                if *state == State::Empty {
                    after.state = State::Closed;
                }
                Ret::Done
            }
            (Op::DropReceiver, _) => {
                after.receivers -= 1;
                if after.receivers == 0 {
                    after.state = State::Closed;
                }
                Ret::Done
            }
            (Op::Recv | Op::TryRecv | Op::RecvTimeout, State::Sent) => {
                if !self.is_shared {
                    after.state = State::Closed;
                }
                Ret::Got(VALUE)
            }
            (Op::TryRecv | Op::RecvTimeout, State::Empty) => Ret::NotYet,
            (Op::Recv, State::Empty) => return None,
            (Op::Recv | Op::TryRecv | Op::RecvTimeout, State::Closed) => Ret::Closed,
        };
        (call.ret == expected).then_some(after)
    }

    fn may_sleep(&self, waiting: &[(usize, Op)]) -> bool {
        waiting.is_empty() || self.state == State::Empty
    }
}

/// Both kinds of promises, as they are used here.
pub(super) trait Kind: Send + Sync + 'static {
    const IS_SHARED: bool;
    type Sender: Send;
    type Receiver: Clone + Send;

    fn open() -> (Self::Sender, Self::Receiver);
    fn send(sender: Self::Sender) -> bool;
    fn recv(receiver: &Self::Receiver) -> Result<u32, RecvError>;
    fn try_recv(receiver: &Self::Receiver) -> Result<u32, TryRecvError>;
    fn recv_timeout(receiver: &Self::Receiver, span: Duration) -> Result<u32, RecvTimeoutError>;
}

macro_rules! kind {
    ($name:ident, $is_shared:literal, $sender:ty, $receiver:ty, $open:expr) => {
        pub(super) struct $name;

        impl Kind for $name {
            const IS_SHARED: bool = $is_shared;
            type Sender = $sender;
            type Receiver = $receiver;

            fn open() -> (Self::Sender, Self::Receiver) {
                $open
            }

            fn send(sender: Self::Sender) -> bool {
                sender.send(VALUE).is_ok()
            }

            fn recv(receiver: &Self::Receiver) -> Result<u32, RecvError> {
                receiver.recv()
            }

            fn try_recv(receiver: &Self::Receiver) -> Result<u32, TryRecvError> {
                receiver.try_recv()
            }

            fn recv_timeout(
                receiver: &Self::Receiver,
                span: Duration,
            ) -> Result<u32, RecvTimeoutError> {
                receiver.recv_timeout(span)
            }
        }
    };
}

// Several may ask for what only one can get.
kind!(Single, false, Sender<u32>, Arc<Receiver<u32>>, {
    let (sender, receiver) = oneshot::channel();
    (sender, Arc::new(receiver))
});
kind!(
    Shared,
    true,
    SharedSender<u32>,
    SharedReceiver<u32>,
    oneshot::shared()
);

/// Both of its ends, one for each fiber.
type Ends<K> = (Option<<K as Kind>::Sender>, Option<<K as Kind>::Receiver>);

pub(super) struct Of<K: Kind> {
    ends: Mutex<Vec<Ends<K>>>,
}

pub(super) struct Party<'object, K: Kind> {
    ends: Ends<K>,
    log: Log<Promise>,
    object: PhantomData<&'object Of<K>>,
}

impl<K: Kind> Object for Of<K> {
    type Model = Promise;
    type Hand<'object> = Party<'object, K>;

    fn new(_: &mut Dice) -> (Self, Promise) {
        let (sender, receiver) = K::open();
        let mut ends = vec![(Some(sender), None)];
        ends.resize_with(FIBERS, || (None, Some(receiver.clone())));
        let model = Promise {
            is_shared: K::IS_SHARED,
            state: State::Empty,
            receivers: FIBERS - 1,
        };
        let ends = Mutex::new(ends);
        (Self { ends }, model)
    }

    fn hand(&self, log: Log<Promise>) -> Party<'_, K> {
        Party {
            ends: self.ends.lock().unwrap().pop().unwrap(),
            log,
            object: PhantomData,
        }
    }
}

impl<K: Kind> Party<'_, K> {
    fn drop_receiver(&mut self) {
        if let Some(receiver) = self.ends.1.take() {
            self.log.call(Op::DropReceiver, || {
                drop(receiver);
                Ret::Done
            });
        }
    }

    fn drop_sender(&mut self) {
        if let Some(sender) = self.ends.0.take() {
            self.log.call(Op::DropSender, || {
                drop(sender);
                Ret::Done
            });
        }
    }

    fn recv(&self, receiver: &K::Receiver, dice: &mut Dice) {
        let span = dice.span();
        match dice.below(4) {
            0 => self.log.call(Op::TryRecv, || match K::try_recv(receiver) {
                Ok(value) => Ret::Got(value),
                Err(TryRecvError::Empty) => Ret::NotYet,
                Err(TryRecvError::Closed) => Ret::Closed,
            }),
            1 => self
                .log
                .call(Op::RecvTimeout, || match K::recv_timeout(receiver, span) {
                    Ok(value) => Ret::Got(value),
                    Err(RecvTimeoutError::Elapsed) => Ret::NotYet,
                    Err(RecvTimeoutError::Closed) => Ret::Closed,
                }),
            _ => self.log.call(Op::Recv, || match K::recv(receiver) {
                Ok(value) => Ret::Got(value),
                Err(RecvError) => Ret::Closed,
            }),
        }
    }
}

impl<K: Kind> Hand for Party<'_, K> {
    fn act(&mut self, dice: &mut Dice) {
        match &mut self.ends {
            (sender @ Some(_), _) if dice.one_in(3) => {
                if let Some(sender) = sender.take() {
                    self.log.call(Op::Send, || {
                        if K::send(sender) {
                            Ret::Done
                        } else {
                            Ret::Closed
                        }
                    });
                }
            }
            (Some(_), _) if dice.one_in(8) => self.drop_sender(),
            (_, Some(_)) if dice.one_in(8) => self.drop_receiver(),
            (_, Some(receiver)) => {
                let receiver = receiver.clone();
                self.recv(&receiver, dice);
            }
            _ => {}
        }
    }
}

impl<K: Kind> Drop for Party<'_, K> {
    fn drop(&mut self) {
        self.drop_sender();
        self.drop_receiver();
    }
}

#[test]
fn a_promise_is_linearizable() {
    prove::<Of<Single>>(200);
    prove::<Of<Shared>>(200);
}
