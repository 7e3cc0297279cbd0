//! Asking workers about their fibers: each answers by itself, between two turns.
//!
//! ```text
//! asker    put the question into each lane, wake the worker ─▶ wait for each latch, with a limit
//! worker   at its next turn: write the answer, open the latch
//! ```
//!
//! Nothing is stopped: a worker that runs a fiber answers when that lets others run, or too late.

use alloc::{sync::Arc, vec::Vec};
use core::{mem, panic::Location};

use fiber_core::{
    Id,
    context::{Context, FiberReport},
    fiber::Fiber,
    operation::Latch,
    registry::IdSpace,
    spin::SpinLock,
};

use crate::{
    dump::FiberState,
    lane::Lane,
    primitive::{AtomicBool, AtomicUsize, Ordering},
    report::Outlook,
};

/// What is wanted.
#[derive(Debug)]
pub(crate) struct Question {
    /// How many fibers may still be told of; each worker takes from it what it needs.
    pub(crate) left: AtomicUsize,
    /// How many frames of each fiber; none if there are to be no backtraces.
    pub(crate) frames_max: usize,
}

/// A question to one worker.
#[derive(Debug)]
pub(crate) struct Ask {
    question: Arc<Question>,
    answer: SpinLock<Option<Answer>>,
    pub(crate) done: Latch,
}

/// What a worker says about its fibers.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) fibers: Vec<RawFiber>,
    /// Fibers above the bound.
    pub(crate) left_out: usize,
    /// The worker has not begun, or has ended.
    pub(crate) closed: bool,
}

/// A fiber, its frames still as addresses.
#[derive(Debug)]
pub(crate) struct RawFiber {
    pub(crate) id: Option<Id>,
    pub(crate) name: Option<alloc::string::String>,
    pub(crate) process: Option<Id>,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) state: FiberState,
    pub(crate) waiting_for: &'static str,
    pub(crate) outlook: Outlook,
    pub(crate) addresses: Vec<usize>,
}

impl Question {
    /// Takes up to `wanted` of what is left.
    fn take(&self, wanted: usize) -> usize {
        let mut left = self.left.load(Ordering::Relaxed);
        loop {
            let taken = wanted.min(left);
            let rest = left - taken;
            match self
                .left
                .compare_exchange(left, rest, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return taken,
                Err(seen) => left = seen,
            }
        }
    }
}

impl Ask {
    pub(crate) fn new(question: &Arc<Question>) -> Arc<Self> {
        Arc::new(Self {
            question: Arc::clone(question),
            answer: SpinLock::new(None),
            done: Latch::new(),
        })
    }

    pub(crate) fn take_answer(&self) -> Option<Answer> {
        self.answer.lock().take()
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock() = Some(answer);
        self.done.open();
    }
}

/// The questions that wait for one worker. Bound: the dumps that are being taken.
#[derive(Debug)]
pub(crate) struct Asks {
    open: AtomicBool,
    waiting: AtomicBool,
    list: SpinLock<Vec<Arc<Ask>>>,
}

impl Asks {
    pub(crate) fn new() -> Self {
        Self {
            open: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            list: SpinLock::new(Vec::new()),
        }
    }

    /// Whether a question waits.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// From here on the worker answers.
    pub(crate) fn open(&self) {
        let _list = self.list.lock();
        self.open.store(true, Ordering::Relaxed);
    }

    /// The worker answers no more.
    pub(crate) fn close(&self) {
        let list = {
            let mut list = self.list.lock();
            self.open.store(false, Ordering::Relaxed);
            self.waiting.store(false, Ordering::SeqCst);
            mem::take(&mut *list)
        };
        for ask in list {
            ask.answer(Answer::closed());
        }
    }

    fn push(&self, ask: &Arc<Ask>) -> bool {
        let mut list = self.list.lock();
        let open = self.open.load(Ordering::Relaxed);
        if open {
            list.push(Arc::clone(ask));
            self.waiting.store(true, Ordering::SeqCst);
        }
        open
    }

    fn take(&self) -> Vec<Arc<Ask>> {
        let mut list = self.list.lock();
        self.waiting.store(false, Ordering::SeqCst);
        mem::take(&mut *list)
    }
}

impl Answer {
    fn closed() -> Self {
        Self {
            closed: true,
            ..Self::default()
        }
    }
}

impl Lane {
    /// Asks the worker; if it is gone, or has not begun, that is the answer.
    pub(crate) fn ask(&self, ask: &Arc<Ask>) {
        if self.asks.push(ask) {
            self.notify();
        } else {
            ask.answer(Answer::closed());
        }
    }

    /// Answers what the calling worker was asked, outside of its fibers.
    #[cold]
    pub(crate) fn answer(&self, context: &Context) {
        for ask in self.asks.take() {
            let answer = self.tell(context, &ask.question);
            ask.answer(answer);
        }
    }

    fn tell(&self, context: &Context, question: &Question) -> Answer {
        let mut fibers = Vec::new();
        let ids = context.id_space();
        let started = context.started();
        let max = question.take(started);
        let trace = context.env().trace().filter(|_| question.frames_max > 0);
        let mut addresses = alloc::vec![0; question.frames_max];
        context.report_with_backtraces(max, trace, &mut addresses, |fiber, addresses| {
            fibers.push(RawFiber::started(&fiber, ids, addresses));
        });
        let unstarted = question.take(self.unstarted_len() + context.ready_len());
        let mut handles = context.unstarted(unstarted);
        let rest = self.unstarted_fibers(unstarted - handles.len());
        handles.extend(rest);
        // What was taken and not needed is for others.
        let unused = unstarted - handles.len();
        question.left.fetch_add(unused, Ordering::Relaxed);
        let left_out = (started - max) + self.unstarted_len().saturating_sub(unstarted);
        fibers.extend(handles.iter().map(RawFiber::unstarted));
        Answer {
            fibers,
            left_out,
            closed: false,
        }
    }
}

impl RawFiber {
    fn started(fiber: &FiberReport<'_>, ids: &IdSpace, addresses: &[usize]) -> Self {
        Self {
            id: fiber.id,
            name: fiber.name.map(Into::into),
            process: fiber.process,
            spawned_at: fiber.spawned_at,
            state: if fiber.is_parked {
                FiberState::Parked
            } else {
                FiberState::Ready
            },
            waiting_for: fiber.waiting_for,
            outlook: Outlook::new(fiber, ids),
            addresses: addresses.into(),
        }
    }

    fn unstarted(fiber: &Fiber) -> Self {
        Self {
            id: fiber.id(),
            name: fiber.name().map(Into::into),
            process: None,
            spawned_at: fiber.spawned_at(),
            state: FiberState::Unstarted,
            waiting_for: "its first run",
            outlook: Outlook::default(),
            addresses: Vec::new(),
        }
    }
}
