//! Credits: the window is never larger than it was, nor smaller, and who waits is served in order.

use alloc::{collections::VecDeque, sync::Arc};
use core::mem;
use std::sync::Mutex;

use fiber::{
    JoinHandle, spawn,
    sync::channel::{
        TryRecvError, TrySendError,
        credit::{self, Receiver, Sender},
        oneshot,
    },
};
use proptest::{
    collection::vec,
    prop_oneof,
    strategy::{Just, Strategy},
};

use super::{settle, try_sequences};

const WINDOW: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    TrySend,
    TryRecv,
    /// By a fiber, which holds the credit until it is told what to do with it.
    Credit,
    Recv,
    /// Of those that hold a credit, the one that has had it so many-th longest sends.
    Use(usize),
    /// The same, but it does not.
    GiveUp(usize),
    /// Of those that wait for a credit.
    CancelSender(usize),
    CancelReceiver(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::TrySend),
        8 => Just(Step::TryRecv),
        12 => Just(Step::Credit),
        8 => Just(Step::Recv),
        8 => (0..4_usize).prop_map(Step::Use),
        4 => (0..4_usize).prop_map(Step::GiveUp),
        4 => (0..4_usize).prop_map(Step::CancelSender),
        4 => (0..4_usize).prop_map(Step::CancelReceiver),
        1 => Just(Step::Close),
    ]
}

/// What a call has given, by its number.
type Event = (usize, Ret);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ret {
    Credit,
    Sent,
    Got(usize),
    NotYet,
    Closed,
}

/// The window as it should be.
#[derive(Default)]
struct Model {
    available: usize,
    batch: usize,
    owed: usize,
    closed: bool,
    queue: VecDeque<usize>,
    /// Calls that hold a credit, that wait for one, and that wait for a value.
    holding: Vec<usize>,
    sending: Vec<usize>,
    receiving: Vec<usize>,
    events: Vec<Event>,
}

impl Model {
    fn tell(&mut self, number: usize, ret: Ret) {
        self.events.push((number, ret));
    }

    fn try_send(&mut self, number: usize) {
        let ret = match (self.closed, self.available) {
            (true, _) => Ret::Closed,
            (false, 0) => Ret::NotYet,
            (false, _) => {
                self.available -= 1;
                self.queue.push_back(number);
                Ret::Sent
            }
        };
        self.tell(number, ret);
    }

    fn try_recv(&mut self, number: usize) {
        let ret = match self.queue.pop_front() {
            Some(value) => {
                self.give_back();
                Ret::Got(value)
            }
            None if self.closed => Ret::Closed,
            None => Ret::NotYet,
        };
        self.tell(number, ret);
    }

    fn give_back(&mut self) {
        self.owed += 1;
        if self.owed >= self.batch {
            self.available += mem::take(&mut self.owed);
        }
    }

    fn use_up(&mut self, number: usize) {
        if self.closed {
            self.tell(number, Ret::Closed);
        } else {
            self.queue.push_back(number);
            self.tell(number, Ret::Sent);
        }
    }

    /// Serves those who wait, until nobody can be served.
    fn settle(&mut self) {
        loop {
            if !self.receiving.is_empty() && (self.closed || !self.queue.is_empty()) {
                let number = self.receiving.remove(0);
                self.try_recv(number);
            } else if !self.sending.is_empty() && self.closed {
                let number = self.sending.remove(0);
                self.tell(number, Ret::Closed);
            } else if !self.sending.is_empty() && self.available > 0 {
                self.available -= 1;
                let number = self.sending.remove(0);
                self.holding.push(number);
                self.tell(number, Ret::Credit);
            } else {
                return;
            }
        }
    }
}

/// A fiber that asks for credit, or for a value.
struct Party {
    number: usize,
    fiber: JoinHandle<()>,
    /// Says whether to use the credit.
    decide: Option<oneshot::Sender<bool>>,
}

/// The window as it is.
struct Real {
    sender: Arc<Sender<usize>>,
    receiver: Arc<Receiver<usize>>,
    parties: Vec<Party>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Real {
    fn new(batch: usize) -> Self {
        let (sender, receiver) = credit::in_batches(WINDOW, batch);
        Self {
            sender: Arc::new(sender),
            receiver: Arc::new(receiver),
            parties: Vec::new(),
            events: Arc::default(),
        }
    }

    fn tell(&self, number: usize, ret: Ret) {
        self.events.lock().unwrap().push((number, ret));
    }

    fn spawn(
        &mut self,
        number: usize,
        decide: Option<oneshot::Sender<bool>>,
        body: impl FnOnce(&dyn Fn(Ret)) + Send + 'static,
    ) {
        let events = Arc::clone(&self.events);
        let fiber = spawn(move || body(&|ret| events.lock().unwrap().push((number, ret))));
        self.parties.push(Party {
            number,
            fiber,
            decide,
        });
    }

    fn credit(&mut self, number: usize) {
        let (decide, decision) = oneshot::channel();
        let sender = Arc::clone(&self.sender);
        self.spawn(number, Some(decide), move |tell| match sender.credit() {
            Err(_) => tell(Ret::Closed),
            Ok(credit) => {
                tell(Ret::Credit);
                if decision.recv().unwrap_or(false) {
                    let sent = credit.send(number);
                    tell(sent.map_or(Ret::Closed, |()| Ret::Sent));
                }
            }
        });
    }

    fn recv(&mut self, number: usize) {
        let receiver = Arc::clone(&self.receiver);
        self.spawn(number, None, move |tell| {
            tell(receiver.recv().map_or(Ret::Closed, Ret::Got));
        });
    }

    fn party(&mut self, number: usize) -> &mut Party {
        let mut parties = self.parties.iter_mut();
        parties
            .find(|party| party.number == number)
            .expect("the model knows it")
    }

    fn decide(&mut self, number: usize, uses: bool) {
        let decide = self.party(number).decide.take();
        decide.expect("once").send(uses).expect("it asks");
    }

    fn news(&self) -> Vec<Event> {
        settle();
        let mut news = mem::take(&mut *self.events.lock().unwrap());
        news.sort_unstable();
        news
    }
}

fn take_step(step: Step, number: usize, model: &mut Model, real: &mut Real) {
    match step {
        Step::TrySend => {
            real.tell(
                number,
                match real.sender.try_send(number) {
                    Ok(()) => Ret::Sent,
                    Err(TrySendError::Full(_)) => Ret::NotYet,
                    Err(TrySendError::Closed(_)) => Ret::Closed,
                },
            );
            model.try_send(number);
        }
        Step::TryRecv => {
            real.tell(
                number,
                match real.receiver.try_recv() {
                    Ok(value) => Ret::Got(value),
                    Err(TryRecvError::Empty) => Ret::NotYet,
                    Err(TryRecvError::Closed) => Ret::Closed,
                },
            );
            model.try_recv(number);
        }
        Step::Credit => {
            real.credit(number);
            model.sending.push(number);
        }
        Step::Recv => {
            real.recv(number);
            model.receiving.push(number);
        }
        Step::Use(place) if place < model.holding.len() => {
            let number = model.holding.remove(place);
            real.decide(number, true);
            model.use_up(number);
        }
        Step::GiveUp(place) if place < model.holding.len() => {
            real.decide(model.holding.remove(place), false);
            model.available += 1;
        }
        Step::CancelSender(place) if place < model.sending.len() => {
            let number = model.sending.remove(place);
            real.party(number).fiber.cancel();
        }
        Step::CancelReceiver(place) if place < model.receiving.len() => {
            let number = model.receiving.remove(place);
            real.party(number).fiber.cancel();
        }
        Step::Use(_) | Step::GiveUp(_) | Step::CancelSender(_) | Step::CancelReceiver(_) => {}
        Step::Close => {
            real.sender.close();
            model.closed = true;
        }
    }
    model.settle();
}

fn follow<const BATCH: usize>(steps: Vec<Step>) {
    let mut real = Real::new(BATCH);
    let mut model = Model {
        available: WINDOW,
        batch: BATCH,
        ..Model::default()
    };
    for (number, step) in steps.iter().enumerate() {
        take_step(*step, number, &mut model, &mut real);
        let mut expected = mem::take(&mut model.events);
        expected.sort_unstable();
        assert_eq!(real.news(), expected, "after step {number} of {steps:?}");
        if !model.closed {
            let counts = (real.sender.available(), real.receiver.len());
            let expected = (model.available, model.queue.len());
            assert_eq!(counts, expected, "after step {number} of {steps:?}");
        }
    }
    for party in real.parties {
        party.fiber.cancel();
        let _ = party.fiber.join();
    }
}

#[test]
fn a_window_of_credits_does_what_its_model_does() {
    try_sequences(&vec(step(), 0..40), follow::<1>);
    try_sequences(&vec(step(), 0..40), follow::<WINDOW>);
}
