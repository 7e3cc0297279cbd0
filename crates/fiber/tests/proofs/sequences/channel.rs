//! Channels and mailboxes: values in order, and both sides served in the order in which they came.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use core::{mem, time::Duration};
use std::sync::Mutex;

use fiber::{
    JoinHandle, spawn,
    sync::channel::{
        Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError,
    },
};
use proptest::{
    collection::vec,
    prop_oneof,
    strategy::{Just, Strategy},
};

use super::{settle, try_sequences};
use crate::kinds::{
    Blocking, Bounded, Disconnecting, DroppingOldest, Kind, Penalising, Rendezvous, Unbounded,
    WhenFull,
};

#[derive(Clone, Copy, Debug)]
enum Step {
    TrySend,
    TryRecv,
    /// By a fiber, which may have to wait.
    Send,
    Recv,
    /// With no time to wait.
    SendTimeout,
    RecvTimeout,
    /// One of those that wait, counted from the one that waits longest.
    CancelSender(usize),
    CancelReceiver(usize),
    /// Also the ends that the fibers have: who waits goes on waiting.
    DropSender,
    DropReceiver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::TrySend),
        3 => Just(Step::TryRecv),
        4 => Just(Step::Send),
        4 => Just(Step::Recv),
        1 => Just(Step::SendTimeout),
        1 => Just(Step::RecvTimeout),
        2 => (0..4_usize).prop_map(Step::CancelSender),
        2 => (0..4_usize).prop_map(Step::CancelReceiver),
        1 => Just(Step::DropSender),
        1 => Just(Step::DropReceiver),
    ]
}

/// What came of something: of a send by its value, of a receive by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Sent(u32),
    SendFailed(u32, Why),
    Received(u32, u32),
    RecvFailed(u32, Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    NotNow,
    Closed,
}

/// The channel as it should be.
#[derive(Default)]
struct Model {
    capacity: usize,
    when_full: WhenFull,
    /// By a sender that has found it full.
    closed: bool,
    buffer: VecDeque<u32>,
    sending: VecDeque<u32>,
    receiving: VecDeque<u32>,
    has_sender: bool,
    has_receiver: bool,
    events: Vec<Event>,
}

impl Model {
    /// Whether any receiver is left: ours, or that of somebody who waits with it.
    fn can_be_received(&self) -> bool {
        !self.closed && self.is_received_from()
    }

    fn is_received_from(&self) -> bool {
        self.has_receiver || !self.receiving.is_empty()
    }

    fn can_be_sent(&self) -> bool {
        !self.closed && (self.has_sender || !self.sending.is_empty())
    }

    fn send(&mut self, value: u32, waits: bool) {
        if !self.can_be_received() {
            self.events.push(Event::SendFailed(value, Why::Closed));
        } else if let Some(number) = self.receiving.pop_front() {
            self.events.push(Event::Sent(value));
            self.events.push(Event::Received(number, value));
        } else if self.buffer.len() < self.capacity {
            self.buffer.push_back(value);
            self.events.push(Event::Sent(value));
        } else if self.when_full == WhenFull::DropsOldest {
            self.buffer.pop_front();
            self.buffer.push_back(value);
            self.events.push(Event::Sent(value));
        } else if self.when_full == WhenFull::Closes {
            self.closed = true;
            self.events.push(Event::SendFailed(value, Why::Closed));
        } else if waits {
            self.sending.push_back(value);
        } else {
            self.events.push(Event::SendFailed(value, Why::NotNow));
        }
        self.end();
    }

    fn recv(&mut self, number: u32, waits: bool) {
        if let Some(value) = self.buffer.pop_front() {
            self.events.push(Event::Received(number, value));
            if let Some(next) = self.sending.pop_front() {
                self.buffer.push_back(next);
                self.events.push(Event::Sent(next));
            }
        } else if let Some(value) = self.sending.pop_front() {
            self.events.push(Event::Received(number, value));
            self.events.push(Event::Sent(value));
        } else if !self.can_be_sent() {
            self.events.push(Event::RecvFailed(number, Why::Closed));
        } else if waits {
            self.receiving.push_back(number);
        } else {
            self.events.push(Event::RecvFailed(number, Why::NotNow));
        }
        self.end();
    }

    /// Tells those who wait for a side that nobody is left on.
    fn end(&mut self) {
        if !self.is_received_from() {
            self.buffer.clear();
        }
        if !self.can_be_received() {
            let waiting = self.sending.drain(..);
            self.events
                .extend(waiting.map(|value| Event::SendFailed(value, Why::Closed)));
        }
        if !self.can_be_sent() {
            let waiting = self.receiving.drain(..);
            self.events
                .extend(waiting.map(|number| Event::RecvFailed(number, Why::Closed)));
        }
    }
}

/// The channel as it is, and the fibers that have ends of it.
struct Real {
    sender: Option<Sender<u32>>,
    receiver: Option<Receiver<u32>>,
    senders: BTreeMap<u32, JoinHandle<()>>,
    receivers: BTreeMap<u32, JoinHandle<()>>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Real {
    fn of<K: Kind>() -> Self {
        let (sender, receiver) = K::open();
        Self {
            sender: Some(sender),
            receiver: Some(receiver),
            senders: BTreeMap::new(),
            receivers: BTreeMap::new(),
            events: Arc::default(),
        }
    }

    fn try_send(&self, value: u32) {
        let Some(sender) = &self.sender else { return };
        self.tell(match sender.try_send(value) {
            Ok(()) => Event::Sent(value),
            Err(TrySendError::Full(back)) => Event::SendFailed(back, Why::NotNow),
            Err(TrySendError::Closed(back)) => Event::SendFailed(back, Why::Closed),
        });
    }

    fn send_timeout(&self, value: u32) {
        let Some(sender) = &self.sender else { return };
        self.tell(match sender.send_timeout(value, Duration::ZERO) {
            Ok(()) => Event::Sent(value),
            Err(SendTimeoutError::Elapsed(back)) => Event::SendFailed(back, Why::NotNow),
            Err(SendTimeoutError::Closed(back)) => Event::SendFailed(back, Why::Closed),
        });
    }

    fn send(&mut self, value: u32) {
        let (sender, events) = (self.sender.clone(), Arc::clone(&self.events));
        let Some(sender) = sender else { return };
        let fiber = spawn(move || {
            let event = match sender.send(value) {
                Ok(()) => Event::Sent(value),
                Err(error) => Event::SendFailed(error.into_inner(), Why::Closed),
            };
            events.lock().unwrap().push(event);
        });
        self.senders.insert(value, fiber);
    }

    fn try_recv(&self, number: u32) {
        let Some(receiver) = &self.receiver else {
            return;
        };
        self.tell(match receiver.try_recv() {
            Ok(value) => Event::Received(number, value),
            Err(TryRecvError::Empty) => Event::RecvFailed(number, Why::NotNow),
            Err(TryRecvError::Closed) => Event::RecvFailed(number, Why::Closed),
        });
    }

    fn recv_timeout(&self, number: u32) {
        let Some(receiver) = &self.receiver else {
            return;
        };
        self.tell(match receiver.recv_timeout(Duration::ZERO) {
            Ok(value) => Event::Received(number, value),
            Err(RecvTimeoutError::Elapsed) => Event::RecvFailed(number, Why::NotNow),
            Err(RecvTimeoutError::Closed) => Event::RecvFailed(number, Why::Closed),
        });
    }

    fn recv(&mut self, number: u32) {
        let (receiver, events) = (self.receiver.clone(), Arc::clone(&self.events));
        let Some(receiver) = receiver else { return };
        let fiber = spawn(move || {
            let event = match receiver.recv() {
                Ok(value) => Event::Received(number, value),
                Err(_) => Event::RecvFailed(number, Why::Closed),
            };
            events.lock().unwrap().push(event);
        });
        self.receivers.insert(number, fiber);
    }

    fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    /// What has happened since the last time. Who of those that one step wakes runs first is not
    /// the channel's to say.
    fn news(&self) -> Vec<Event> {
        settle();
        let mut news = mem::take(&mut *self.events.lock().unwrap());
        news.sort_unstable();
        news
    }

    fn len(&self) -> Option<usize> {
        let of_sender = self.sender.as_ref().map(Sender::len);
        of_sender.or_else(|| self.receiver.as_ref().map(Receiver::len))
    }
}

fn take_step(step: Step, number: u32, model: &mut Model, real: &mut Real) {
    match step {
        Step::TrySend => real.try_send(number),
        Step::SendTimeout => real.send_timeout(number),
        Step::Send => real.send(number),
        Step::TryRecv => real.try_recv(number),
        Step::RecvTimeout => real.recv_timeout(number),
        Step::Recv => real.recv(number),
        Step::CancelSender(place) => {
            if let Some(value) = model.sending.remove(place) {
                real.senders[&value].cancel();
            }
        }
        Step::CancelReceiver(place) => {
            if let Some(number) = model.receiving.remove(place) {
                real.receivers[&number].cancel();
            }
        }
        Step::DropSender => {
            real.sender = None;
            model.has_sender = false;
        }
        Step::DropReceiver => {
            real.receiver = None;
            model.has_receiver = false;
        }
    }
    match step {
        Step::TrySend | Step::SendTimeout | Step::Send if model.has_sender => {
            model.send(number, matches!(step, Step::Send));
        }
        Step::TryRecv | Step::RecvTimeout | Step::Recv if model.has_receiver => {
            model.recv(number, matches!(step, Step::Recv));
        }
        _ => model.end(),
    }
}

fn follow<K: Kind>(steps: Vec<Step>) {
    let mut model = Model {
        capacity: K::CAPACITY,
        when_full: K::WHEN_FULL,
        has_sender: true,
        has_receiver: true,
        ..Model::default()
    };
    let mut real = Real::of::<K>();
    for (number, step) in (0..).zip(&steps) {
        take_step(*step, number, &mut model, &mut real);
        let mut expected = mem::take(&mut model.events);
        expected.sort_unstable();
        assert_eq!(real.news(), expected, "after step {number} of {steps:?}");
        if let Some(len) = real.len() {
            assert_eq!(len, model.buffer.len(), "after step {number} of {steps:?}");
        }
    }
    for fiber in real
        .senders
        .into_values()
        .chain(real.receivers.into_values())
    {
        fiber.cancel();
        let _ = fiber.join();
    }
}

#[test]
fn a_rendezvous_does_what_its_model_does() {
    try_sequences(&vec(step(), 0..40), follow::<Rendezvous>);
}

#[test]
fn a_bounded_channel_does_what_its_model_does() {
    try_sequences(&vec(step(), 0..40), follow::<Bounded<1>>);
    try_sequences(&vec(step(), 0..40), follow::<Bounded<3>>);
}

#[test]
fn a_channel_without_a_bound_does_what_its_model_does() {
    try_sequences(&vec(step(), 0..40), follow::<Unbounded>);
}

#[test]
fn a_mailbox_does_what_its_policy_says() {
    try_sequences(&vec(step(), 0..40), follow::<Blocking>);
    try_sequences(&vec(step(), 0..40), follow::<DroppingOldest>);
    try_sequences(&vec(step(), 0..40), follow::<Disconnecting>);
    try_sequences(&vec(step(), 0..40), follow::<Penalising>);
}
