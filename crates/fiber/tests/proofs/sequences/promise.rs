//! Promises: one value, to the first who asks or to all; and if there will be none, all know.

use alloc::sync::Arc;
use core::mem;
use std::sync::Mutex;

use fiber::{
    JoinHandle, spawn,
    sync::channel::{
        RecvError, TryRecvError,
        oneshot::{self, Receiver, Sender, SharedReceiver, SharedSender},
    },
};
use proptest::{
    collection::vec,
    prop_oneof,
    strategy::{Just, Strategy},
};

use super::{settle, try_sequences};

#[derive(Clone, Copy, Debug)]
enum Step {
    Send,
    TryRecv,
    /// By a fiber, with a receiver of its own or its share of one.
    Recv,
    /// Of those that wait, the one that waits so many-th longest.
    Cancel(usize),
    DropSender,
    DropReceiver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Send),
        2 => Just(Step::TryRecv),
        6 => Just(Step::Recv),
        2 => (0..4_usize).prop_map(Step::Cancel),
        1 => Just(Step::DropSender),
        1 => Just(Step::DropReceiver),
    ]
}

/// A promise, a second sort of which is shared.
#[derive(Clone)]
enum Receiving {
    Single(Arc<Receiver<usize>>),
    Shared(SharedReceiver<usize>),
}

enum Sending {
    Single(Sender<usize>),
    Shared(SharedSender<usize>),
}

impl Sending {
    fn send(self, value: usize) -> bool {
        match self {
            Self::Single(sender) => sender.send(value).is_ok(),
            Self::Shared(sender) => sender.send(value).is_ok(),
        }
    }
}

impl Receiving {
    fn recv(&self) -> Result<usize, RecvError> {
        match self {
            Self::Single(receiver) => receiver.recv(),
            Self::Shared(receiver) => receiver.recv(),
        }
    }

    fn try_recv(&self) -> Result<usize, TryRecvError> {
        match self {
            Self::Single(receiver) => receiver.try_recv(),
            Self::Shared(receiver) => receiver.try_recv(),
        }
    }
}

fn open(is_shared: bool) -> (Sending, Receiving) {
    if is_shared {
        let (sender, receiver) = oneshot::shared();
        return (Sending::Shared(sender), Receiving::Shared(receiver));
    }
    let (sender, receiver) = oneshot::channel();
    (
        Sending::Single(sender),
        Receiving::Single(Arc::new(receiver)),
    )
}

/// What a call has given, by its number.
type Event = (usize, Ret);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ret {
    Sent,
    Got(usize),
    NotYet,
    Closed,
}

#[derive(Clone, Copy)]
enum State {
    Empty,
    Sent(usize),
    Closed,
}

/// The promise as it should be.
struct Model {
    is_shared: bool,
    state: State,
    has_receiver: bool,
    waiting: Vec<usize>,
    events: Vec<Event>,
}

impl Model {
    fn new(is_shared: bool) -> Self {
        Self {
            is_shared,
            state: State::Empty,
            has_receiver: true,
            waiting: Vec::new(),
            events: Vec::new(),
        }
    }

    fn send(&mut self, value: usize) {
        let is_open = matches!(self.state, State::Empty);
        if is_open {
            self.state = State::Sent(value);
        }
        let ret = if is_open { Ret::Sent } else { Ret::Closed };
        self.events.push((value, ret));
    }

    fn look(&mut self) -> Ret {
        match self.state {
            State::Empty => Ret::NotYet,
            State::Closed => Ret::Closed,
            State::Sent(value) => {
                if !self.is_shared {
                    self.state = State::Closed;
                }
                Ret::Got(value)
            }
        }
    }

    /// Those who wait learn what has become of it, first come, first served.
    fn end(&mut self) {
        if !self.has_receiver && self.waiting.is_empty() {
            self.state = State::Closed;
        }
        if !matches!(self.state, State::Empty) {
            for number in mem::take(&mut self.waiting) {
                let ret = self.look();
                self.events.push((number, ret));
            }
        }
    }
}

fn follow(steps: &[Step], is_shared: bool) {
    let (sender, receiver) = open(is_shared);
    let (mut sender, mut receiver) = (Some(sender), Some(receiver));
    let mut fibers: Vec<(usize, JoinHandle<()>)> = Vec::new();
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let mut model = Model::new(is_shared);
    for (number, step) in steps.iter().enumerate() {
        let tell = |ret| events.lock().unwrap().push((number, ret));
        match step {
            Step::Send => {
                if let Some(sender) = sender.take() {
                    let sent = sender.send(number);
                    tell(if sent { Ret::Sent } else { Ret::Closed });
                    model.send(number);
                }
            }
            Step::TryRecv => {
                if let Some(receiver) = &receiver {
                    tell(match receiver.try_recv() {
                        Ok(value) => Ret::Got(value),
                        Err(TryRecvError::Empty) => Ret::NotYet,
                        Err(TryRecvError::Closed) => Ret::Closed,
                    });
                    let ret = model.look();
                    model.events.push((number, ret));
                }
            }
            Step::Recv => {
                if let Some(receiver) = receiver.clone() {
                    let events = Arc::clone(&events);
                    let fiber = spawn(move || {
                        let ret = receiver.recv().map_or(Ret::Closed, Ret::Got);
                        events.lock().unwrap().push((number, ret));
                    });
                    fibers.push((number, fiber));
                    model.waiting.push(number);
                }
            }
            Step::Cancel(place) if *place < model.waiting.len() => {
                let number = model.waiting.remove(*place);
                let fiber = fibers.iter().find(|(one, _)| *one == number);
                fiber.expect("the model knows it").1.cancel();
            }
            Step::Cancel(_) => {}
            Step::DropSender => {
                if sender.take().is_some() && matches!(model.state, State::Empty) {
                    model.state = State::Closed;
                }
            }
            Step::DropReceiver => {
                receiver = None;
                model.has_receiver = false;
            }
        }
        settle();
        model.end();
        let mut news = mem::take(&mut *events.lock().unwrap());
        let mut expected = mem::take(&mut model.events);
        news.sort_unstable();
        expected.sort_unstable();
        assert_eq!(news, expected, "after step {number} of {steps:?}");
    }
    for (_, fiber) in fibers {
        fiber.cancel();
        let _ = fiber.join();
    }
}

#[test]
fn a_promise_does_what_its_model_does() {
    try_sequences(&vec(step(), 0..20), |steps| follow(&steps, false));
    try_sequences(&vec(step(), 0..20), |steps| follow(&steps, true));
}
