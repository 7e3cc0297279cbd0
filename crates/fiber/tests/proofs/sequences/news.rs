//! Watched values and broadcasts: what each receiver learns, and how much it is told it has missed.

use alloc::sync::Arc;
use core::mem;
use std::sync::Mutex;

use fiber::{
    JoinHandle, spawn,
    sync::channel::{TryRecvError, broadcast, watch},
};
use proptest::{
    collection::vec,
    prop_oneof,
    strategy::{Just, Strategy},
};

use super::{settle, try_sequences};

const RECEIVERS: usize = 2;
const CAPACITY: u64 = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many, before anybody runs.
    Send(u64),
    /// With this receiver.
    TryRecv(usize),
    /// By a fiber, with a clone of this receiver.
    Recv(usize),
    /// Of those that wait, the one that waits so many-th longest.
    Cancel(usize),
    /// A new receiver takes the place of this one.
    Subscribe(usize),
    /// For good.
    Drop(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..6_u64).prop_map(Step::Send),
        6 => (0..RECEIVERS).prop_map(Step::TryRecv),
        6 => (0..RECEIVERS).prop_map(Step::Recv),
        2 => (0..4_usize).prop_map(Step::Cancel),
        1 => (0..RECEIVERS).prop_map(Step::Subscribe),
        1 => (0..RECEIVERS).prop_map(Step::Drop),
        1 => Just(Step::Close),
    ]
}

/// What a call has given, by its number.
type Event = (usize, Ret);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ret {
    Sent,
    NobodyThere,
    Got(u64),
    Missed(u64),
    NotYet,
    Closed,
}

/// A kind of channel, and what its receivers learn.
trait Kind: 'static {
    type Sender;
    type Receiver: Clone + Send + 'static;

    fn open() -> (Self::Sender, Self::Receiver);
    fn send(sender: &Self::Sender, message: u64) -> bool;
    fn subscribe(sender: &Self::Sender) -> Self::Receiver;
    fn close(sender: &Self::Sender);
    fn try_recv(receiver: &mut Self::Receiver) -> Ret;
    fn recv(receiver: &mut Self::Receiver) -> Ret;

    /// What one learns that has had `seen` of `sent` messages; if anything, it moves on.
    fn learn(seen: &mut u64, sent: u64) -> Option<Ret>;
}

/// Of which the latest value counts, which here is how many were sent.
struct Watched;

impl Kind for Watched {
    type Sender = watch::Sender<u64>;
    type Receiver = watch::Receiver<u64>;

    fn open() -> (Self::Sender, Self::Receiver) {
        watch::channel(0)
    }

    fn send(sender: &Self::Sender, message: u64) -> bool {
        sender.send(message).is_ok()
    }

    fn subscribe(sender: &Self::Sender) -> Self::Receiver {
        sender.subscribe()
    }

    fn close(sender: &Self::Sender) {
        sender.close();
    }

    fn try_recv(receiver: &mut Self::Receiver) -> Ret {
        match receiver.try_changed() {
            Ok(()) => Ret::Got(*receiver.borrow()),
            Err(TryRecvError::Empty) => Ret::NotYet,
            Err(TryRecvError::Closed) => Ret::Closed,
        }
    }

    fn recv(receiver: &mut Self::Receiver) -> Ret {
        let changed = receiver.changed();
        changed.map_or(Ret::Closed, |()| Ret::Got(receiver.get()))
    }

    fn learn(seen: &mut u64, sent: u64) -> Option<Ret> {
        let before = mem::replace(seen, sent);
        (before != sent).then_some(Ret::Got(sent))
    }
}

/// Of which each message counts.
struct Broadcast;

impl From<broadcast::RecvError> for Ret {
    fn from(error: broadcast::RecvError) -> Self {
        match error {
            broadcast::RecvError::Lagged(missed) => Self::Missed(missed),
            broadcast::RecvError::Closed => Self::Closed,
        }
    }
}

impl Kind for Broadcast {
    type Sender = broadcast::Sender<u64>;
    type Receiver = broadcast::Receiver<u64>;

    fn open() -> (Self::Sender, Self::Receiver) {
        broadcast::channel(usize::try_from(CAPACITY).unwrap())
    }

    fn send(sender: &Self::Sender, message: u64) -> bool {
        sender.send(message).is_ok()
    }

    fn subscribe(sender: &Self::Sender) -> Self::Receiver {
        sender.subscribe()
    }

    fn close(sender: &Self::Sender) {
        sender.close();
    }

    fn try_recv(receiver: &mut Self::Receiver) -> Ret {
        match receiver.try_recv() {
            Ok(message) => Ret::Got(message),
            Err(broadcast::TryRecvError::Empty) => Ret::NotYet,
            Err(broadcast::TryRecvError::Lagged(missed)) => Ret::Missed(missed),
            Err(broadcast::TryRecvError::Closed) => Ret::Closed,
        }
    }

    fn recv(receiver: &mut Self::Receiver) -> Ret {
        receiver.recv().map_or_else(Ret::from, Ret::Got)
    }

    fn learn(seen: &mut u64, sent: u64) -> Option<Ret> {
        let oldest = sent.saturating_sub(CAPACITY);
        if *seen < oldest {
            let missed = oldest - mem::replace(seen, oldest);
            return Some(Ret::Missed(missed));
        }
        (*seen < sent).then(|| {
            *seen += 1;
            Ret::Got(*seen)
        })
    }
}

/// The channel as it should be.
#[derive(Default)]
struct Model {
    sent: u64,
    closed: bool,
    seen: [Option<u64>; RECEIVERS],
    /// By which call, and what it has seen.
    waiting: Vec<(usize, u64)>,
    events: Vec<Event>,
}

impl Model {
    fn tell(&mut self, number: usize, ret: Ret) {
        self.events.push((number, ret));
    }

    fn look<K: Kind>(&self, seen: &mut u64) -> Option<Ret> {
        K::learn(seen, self.sent).or_else(|| self.closed.then_some(Ret::Closed))
    }

    fn send(&mut self, number: usize, count: u64) {
        let anybody = !self.waiting.is_empty() || self.seen.iter().any(Option::is_some);
        for _ in 0..count {
            if anybody && !self.closed {
                self.sent += 1;
                self.tell(number, Ret::Sent);
            } else {
                self.tell(number, Ret::NobodyThere);
            }
        }
    }

    /// Those who wait learn what has come.
    fn wake<K: Kind>(&mut self) {
        for (number, mut seen) in mem::take(&mut self.waiting) {
            match self.look::<K>(&mut seen) {
                Some(ret) => self.tell(number, ret),
                None => self.waiting.push((number, seen)),
            }
        }
    }
}

/// The channel as it is, and the fibers that wait for it, by call.
struct Real<K: Kind> {
    sender: K::Sender,
    receivers: [Option<K::Receiver>; RECEIVERS],
    waiting: Vec<(usize, JoinHandle<()>)>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl<K: Kind> Real<K> {
    fn new() -> Self {
        let (sender, receiver) = K::open();
        Self {
            sender,
            receivers: [Some(receiver.clone()), Some(receiver)],
            waiting: Vec::new(),
            events: Arc::default(),
        }
    }

    fn tell(&self, number: usize, ret: Ret) {
        self.events.lock().unwrap().push((number, ret));
    }

    fn recv(&mut self, number: usize, mut receiver: K::Receiver) {
        let events = Arc::clone(&self.events);
        let fiber = spawn(move || {
            let ret = K::recv(&mut receiver);
            events.lock().unwrap().push((number, ret));
        });
        self.waiting.push((number, fiber));
    }

    fn cancel(&self, number: usize) {
        let waiting = self.waiting.iter().find(|(one, _)| *one == number);
        waiting.expect("the model knows it").1.cancel();
    }

    fn news(&self) -> Vec<Event> {
        settle();
        let mut news = mem::take(&mut *self.events.lock().unwrap());
        news.sort_unstable();
        news
    }
}

fn take_step<K: Kind>(step: Step, number: usize, model: &mut Model, real: &mut Real<K>) {
    match step {
        Step::Send(count) => {
            for message in model.sent + 1..=model.sent + count {
                let sent = K::send(&real.sender, message);
                real.tell(number, if sent { Ret::Sent } else { Ret::NobodyThere });
            }
            model.send(number, count);
        }
        Step::TryRecv(which) => {
            if let (Some(receiver), Some(mut seen)) =
                (&mut real.receivers[which], model.seen[which])
            {
                let ret = K::try_recv(receiver);
                real.tell(number, ret);
                let ret = model.look::<K>(&mut seen).unwrap_or(Ret::NotYet);
                model.tell(number, ret);
                model.seen[which] = Some(seen);
            }
        }
        Step::Recv(which) => {
            if let (Some(receiver), Some(seen)) = (&real.receivers[which], model.seen[which]) {
                real.recv(number, receiver.clone());
                model.waiting.push((number, seen));
            }
        }
        Step::Cancel(place) if place < model.waiting.len() => {
            real.cancel(model.waiting.remove(place).0);
        }
        Step::Cancel(_) => {}
        Step::Subscribe(which) => {
            real.receivers[which] = Some(K::subscribe(&real.sender));
            model.seen[which] = Some(model.sent);
        }
        Step::Drop(which) => {
            real.receivers[which] = None;
            model.seen[which] = None;
        }
        Step::Close => {
            K::close(&real.sender);
            model.closed = true;
        }
    }
    model.wake::<K>();
}

fn follow<K: Kind>(steps: Vec<Step>) {
    let mut real = Real::<K>::new();
    let mut model = Model {
        seen: [Some(0); RECEIVERS],
        ..Model::default()
    };
    for (number, step) in steps.iter().enumerate() {
        take_step(*step, number, &mut model, &mut real);
        let mut expected = mem::take(&mut model.events);
        expected.sort_unstable();
        assert_eq!(real.news(), expected, "after step {number} of {steps:?}");
    }
    for (_, fiber) in real.waiting {
        fiber.cancel();
        let _ = fiber.join();
    }
}

#[test]
fn a_watched_value_does_what_its_model_does() {
    try_sequences(&vec(step(), 0..40), follow::<Watched>);
}

#[test]
fn a_broadcast_does_what_its_model_does() {
    try_sequences(&vec(step(), 0..40), follow::<Broadcast>);
}
