//! Values from coroutine to coroutine.

use alloc::{collections::VecDeque, rc::Rc};
use core::cell::RefCell;

use benches::{names::CHANNEL_CAPACITY, shares};

use crate::queue::{Me, Task};

/// A queue with a bound; with 0 the two sides meet.
struct Channel {
    capacity: usize,
    values: RefCell<VecDeque<u64>>,
    senders: RefCell<VecDeque<(Rc<Task>, u64)>>,
    receiver: RefCell<Option<Rc<Task>>>,
}

impl Channel {
    fn new(capacity: usize) -> Rc<Self> {
        Rc::new(Self {
            capacity,
            values: RefCell::default(),
            senders: RefCell::default(),
            receiver: RefCell::default(),
        })
    }

    fn send(&self, me: &Me<'_>, value: u64) {
        let receiver = self.receiver.borrow_mut().take();
        let has_room = receiver.is_some() || self.values.borrow().len() < self.capacity;
        if has_room {
            self.values.borrow_mut().push_back(value);
        } else {
            self.senders.borrow_mut().push_back((me.task(), value));
            me.park();
        }
        if let Some(receiver) = receiver {
            me.queue.wake(receiver);
        }
    }

    fn receive(&self, me: &Me<'_>) -> u64 {
        loop {
            let sender = self.senders.borrow_mut().pop_front();
            if let Some((sender, value)) = sender {
                self.values.borrow_mut().push_back(value);
                me.queue.wake(sender);
            }
            if let Some(value) = self.values.borrow_mut().pop_front() {
                return value;
            }
            *self.receiver.borrow_mut() = Some(me.task());
            me.park();
        }
    }
}

pub(crate) fn round_trips(me: &Me<'_>, ops: u64) {
    let (questions, answers) = (Channel::new(0), Channel::new(0));
    let (asked, answer) = (Rc::clone(&questions), Rc::clone(&answers));
    let answering = me.queue.spawn(move |me| {
        for _ in 0..ops {
            answer.send(me, asked.receive(me));
        }
    });
    let asking = me.queue.spawn(move |me| {
        for number in 0..ops {
            questions.send(me, number);
            assert_eq!(answers.receive(me), number);
        }
    });
    me.join(&asking);
    me.join(&answering);
}

pub(crate) fn bounded<const PRODUCERS: u64>(me: &Me<'_>, ops: u64) {
    let channel = Channel::new(CHANNEL_CAPACITY);
    for share in shares(ops, PRODUCERS) {
        let channel = Rc::clone(&channel);
        me.queue.spawn(move |me| {
            for number in 0..share {
                channel.send(me, number);
            }
        });
    }
    let consumer = me.queue.spawn(move |me| {
        for _ in 0..ops {
            channel.receive(me);
        }
    });
    me.join(&consumer);
}
