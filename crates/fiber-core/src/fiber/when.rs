//! A fiber that waits for an operation before it starts, without a stack.
//!
//! ```text
//! New ── first asked: try, publish ──▶ Waiting ── woken: settled? ──▶ Committed(arm) ── start
//!  │ │ can commit at once                │ cancelled                                ▲      ▲
//!  │ └───────────────────────────────────┼──────────────────────────────────────────┘      │
//!  │                                     └──▶ Lost ── the fiber ends unstarted             │
//!  └ waits for itself, through others ──────▶ Refused ─────────────────────────────────────┘
//! ```
//!
//! The operation lies in the fiber's block while it waits (I-12). It is published and retracted on
//! the worker that has the fiber, outside of any fiber; its value is made on the fiber's own stack,
//! where the user's code may wait.

use alloc::boxed::Box;
use core::{mem, pin::Pin, ptr};

use super::{block::Body, header::Header, started::Links};
use crate::{
    context::Context,
    operation::{
        Alarm, CellState, Deadlock, Edge, How, Operation, Published, StoredWaits, WaitCell, Waiter,
    },
    spin,
    timer::{Armed, TimerNode},
};

/// An operation, and what is done with its value.
pub(super) struct When<O: Operation, F> {
    outcome: Outcome<O>,
    then: F,
    wait: Wait,
}

/// The operation; what was committed is taken and dropped if nobody else takes it.
struct Outcome<O: Operation> {
    operation: O,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    Waiting,
    Committed(u16),
    /// What it comes to, the operation says when it is told of the circle.
    Refused,
    Lost,
    Taken,
}

/// What others reach while it waits.
struct Wait {
    cell: Option<WaitCell>,
    links: Links,
    /// In a box, so that who waits for a partner only does not pay for what that does not need.
    besides: Option<Box<Besides>>,
}

/// What else may end it, and what the graph knows of it meanwhile.
struct Besides {
    waits: Option<StoredWaits>,
    end: End,
}

/// What may end the wait besides a partner and a cancel. One of these at the most: who gives up in
/// time is in no circle.
enum End {
    Nothing,
    Clock {
        alarm: Alarm,
        timer: TimerNode,
    },
    /// Its edge is entered, so that others see if they close a circle.
    Graph(Edge),
    /// It would close one itself.
    Circle(Deadlock),
}

impl<O: Operation, F> When<O, F> {
    pub(super) fn new(mut operation: O, then: F) -> Self {
        operation.prepare(How::PERFORM);
        Self {
            outcome: Outcome {
                operation,
                stage: Stage::New,
            },
            then,
            wait: Wait {
                cell: None,
                links: Links::new(),
                besides: None,
            },
        }
    }
}

impl<O: Operation, F: FnOnce(O::Output) -> T, T> Body for When<O, F> {
    type Output = T;
    const WAITS: bool = true;

    fn call(self) -> T {
        let Self {
            outcome,
            then,
            wait,
        } = self;
        then(outcome.take(wait.besides))
    }

    fn waiting_for(&self) -> &'static str {
        match self.outcome.stage {
            Stage::New => "its first run",
            _ => self.outcome.operation.name(),
        }
    }

    fn waits(&self) -> Option<StoredWaits> {
        let Stage::Waiting = self.outcome.stage else {
            return None;
        };
        let is_limited = matches!(self.wait.end(), Some(End::Clock { .. }));
        let waits = self.outcome.operation.waits();
        // SAFETY: what it waits for lives as long as the operation, and who asks has done with it
        // before the fiber is asked whether it can begin (I-12).
        waits.map(|waits| unsafe { StoredWaits::new(waits, is_limited) })
    }

    fn begin(self: Pin<&mut Self>, header: &Header, context: &Context) -> bool {
        // SAFETY: nothing is moved out of it here (I-12).
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: the operation is pinned with the body that it is a part of (I-12).
        let operation = unsafe { Pin::new_unchecked(&mut this.outcome.operation) };
        let stage = context.acting_for(header, || match this.outcome.stage {
            Stage::New => first(operation, &mut this.wait, header, context),
            Stage::Waiting => {
                header.wake_word().resumed();
                park(operation, &this.wait, header)
            }
            _ => unreachable!("it has begun"),
        });
        this.outcome.stage = stage;
        if matches!(stage, Stage::Waiting) {
            return false;
        }
        match this.wait.end() {
            Some(End::Clock { timer, .. }) => timer.disarm(context),
            Some(End::Graph(edge)) => context.id_space().waits().leave(edge),
            Some(End::Nothing | End::Circle(_)) | None => {}
        }
        header.waits().set(ptr::null());
        context.unlink(&this.wait.links);
        true
    }
}

/// Asked for the first time: commits, or publishes and parks.
fn first<O: Operation>(
    mut operation: Pin<&mut O>,
    wait: &mut Wait,
    header: &Header,
    context: &Context,
) -> Stage {
    // Before anything else: from here on it may be woken, and whoever begins is unlinked.
    header.set_home(context.home());
    context.link(&wait.links, header);
    if header.is_cancelled() {
        return Stage::Lost;
    }
    // SAFETY: `try_now` moves nothing that must stay, as implementors promise (I-12).
    if let Some(arm) = unsafe { operation.as_mut().get_unchecked_mut() }.try_now() {
        return Stage::Committed(arm);
    }
    let cell = wait.cell.insert(WaitCell::new(Waiter::fiber(header)));
    // SAFETY: the cell is in the block, which stays until the operation was retracted (I-12).
    if let Published::Committed(arm) = unsafe { operation.as_mut().publish(cell, 0) } {
        operation.retract(Some(arm));
        return Stage::Committed(arm);
    }
    let alarm = Alarm::of(&*operation, None, &|| context.now());
    let waits = operation.waits().map(|waits| {
        // SAFETY: what it waits for lives as long as the operation, and is forgotten when that is
        // retracted (I-12).
        unsafe { StoredWaits::new(waits, alarm.is_some()) }
    });
    let end = match alarm {
        Some(alarm) => End::Clock {
            alarm,
            timer: TimerNode::new(),
        },
        None => Edge::of(header, waits, cell).map_or(End::Nothing, End::Graph),
    };
    if !matches!(end, End::Nothing) {
        let besides = wait.besides.insert(Box::new(Besides { waits, end }));
        header
            .waits()
            .set(besides.waits.as_ref().map_or(ptr::null(), ptr::from_ref));
        if let Some(deadlock) = besides.end.begin(context, header) {
            besides.end = End::Circle(deadlock);
        }
    }
    park(operation, wait, header)
}

impl Wait {
    fn end(&self) -> Option<&End> {
        self.besides.as_ref().map(|besides| &besides.end)
    }
}

impl End {
    /// From here on it may come; not if it would close a circle, which is told then.
    fn begin(&self, context: &Context, header: &Header) -> Option<Deadlock> {
        match self {
            Self::Clock { alarm, timer } => {
                // SAFETY: its box stays until it was disarmed (I-12).
                let timer = unsafe { Pin::new_unchecked(timer) };
                mem::forget(Armed::new(timer, context, header, alarm.at()));
                None
            }
            Self::Graph(edge) => {
                // SAFETY: its box stays until it has left the graph (I-12).
                let edge = unsafe { Pin::new_unchecked(edge) };
                // SAFETY: as above; what it leads to is noted until it has left (I-12).
                let entered = unsafe { context.id_space().waits().enter(edge) };
                entered.map(mem::forget).err()
            }
            Self::Nothing | Self::Circle(_) => None,
        }
    }
}

/// The loop of a wait, as that of a performer, which leaves instead of switching out.
fn park<O: Operation>(mut operation: Pin<&mut O>, wait: &Wait, header: &Header) -> Stage {
    let cell = wait.cell.as_ref().expect("it was published");
    let mut spins = 0;
    loop {
        match cell.state() {
            CellState::Settled(arm) => {
                operation.retract(Some(arm));
                return Stage::Committed(arm);
            }
            CellState::Claimed => spin::relax(&mut spins),
            CellState::Waiting => {
                if header.is_cancelled() {
                    if cell.withdraw() {
                        operation.retract(None);
                        return Stage::Lost;
                    }
                } else if let Some(End::Circle(_)) = wait.end() {
                    if cell.withdraw() {
                        operation.retract(None);
                        return Stage::Refused;
                    }
                } else if let Some(End::Clock { alarm, timer }) = wait.end()
                    && timer.has_fired()
                {
                    alarm.ring(cell);
                } else if operation.as_mut().look_again(cell, 0) == Published::Waiting
                    && header.wake_word().announce_park()
                {
                    return Stage::Waiting;
                }
            }
        }
    }
}

impl<O: Operation> Outcome<O> {
    /// The value, on the fiber's own stack.
    fn take(mut self, besides: Option<Box<Besides>>) -> O::Output {
        // SAFETY: it is not moved any more before it is dropped (I-12).
        let operation = unsafe { Pin::new_unchecked(&mut self.operation) };
        let end = besides.map(|besides| besides.end);
        match (mem::replace(&mut self.stage, Stage::Taken), end) {
            // SAFETY: this arm was committed, everything is retracted, and this is the only call
            // (I-12).
            (Stage::Committed(arm), _) => unsafe { operation.finish(arm) },
            (Stage::Refused, Some(End::Circle(deadlock))) => operation.refuse(deadlock),
            _ => unreachable!("a fiber starts when its operation has come to something"),
        }
    }
}

impl<O: Operation> Drop for Outcome<O> {
    /// The fiber never ran.
    fn drop(&mut self) {
        // SAFETY: it is not moved any more before it is dropped (I-12).
        let operation = unsafe { Pin::new_unchecked(&mut self.operation) };
        match self.stage {
            // SAFETY: as in `take`, which has not been called (I-12).
            Stage::Committed(arm) => drop(unsafe { operation.finish(arm) }),
            Stage::Lost | Stage::New | Stage::Refused => operation.lose(),
            Stage::Waiting => unreachable!("a fiber that waits is asked before it ends"),
            Stage::Taken => {}
        }
    }
}
