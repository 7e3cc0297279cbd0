//! What plays are made of: values that are counted, sections that exclude each other.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use std::sync::Mutex;

use fiber::{sleep, yield_now};

/// A time in which others do something.
pub(crate) const MOMENT: Duration = Duration::from_micros(20);

/// Lets others go on, some rounds or for a moment.
pub(crate) fn dawdle(turn: usize) {
    match turn % 3 {
        0 => sleep(MOMENT),
        1 => yield_now(),
        _ => {}
    }
}

/// Who has which value.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Books>);

#[derive(Default)]
struct Books {
    alive: AtomicUsize,
    sent: Mutex<Vec<usize>>,
    received: Mutex<Vec<usize>>,
}

/// A value that is somewhere.
pub(crate) struct Value {
    number: usize,
    ledger: Ledger,
}

impl Ledger {
    pub(crate) fn value(&self, number: usize) -> Value {
        self.0.alive.fetch_add(1, Ordering::SeqCst);
        Value {
            number,
            ledger: self.clone(),
        }
    }

    /// Notes that the call which sent this value has said so.
    pub(crate) fn sent(&self, number: usize) {
        self.0.sent.lock().unwrap().push(number);
    }

    pub(crate) fn received(&self, value: &Value) {
        self.0.received.lock().unwrap().push(value.number);
    }

    /// What was sent has been received once, and nothing else has; no value is left anywhere.
    pub(crate) fn balances(&self) {
        let sorted = |list: &Mutex<Vec<usize>>| {
            let mut list = list.lock().unwrap().clone();
            list.sort_unstable();
            list
        };
        assert_eq!(
            sorted(&self.0.sent),
            sorted(&self.0.received),
            "sent and received"
        );
        self.is_empty();
    }

    /// No value is left anywhere.
    pub(crate) fn is_empty(&self) {
        assert_eq!(self.0.alive.load(Ordering::SeqCst), 0, "values are left");
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.ledger.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Something that only so many may be in at once.
#[derive(Clone)]
pub(crate) struct Section {
    inside: Arc<AtomicUsize>,
    limit: usize,
}

/// Being inside of it.
pub(crate) struct Inside<'section>(&'section Section, usize);

impl Section {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            inside: Arc::new(AtomicUsize::new(0)),
            limit,
        }
    }

    /// Enters with a weight.
    pub(crate) fn enter(&self, weight: usize) -> Inside<'_> {
        let before = self.inside.fetch_add(weight, Ordering::SeqCst);
        assert!(before + weight <= self.limit, "too many are inside");
        Inside(self, weight)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(self.1, Ordering::SeqCst);
    }
}

/// Something that happens once.
#[derive(Clone, Default)]
pub(crate) struct Flag(Arc<AtomicBool>);

impl Flag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
