//! The shim: a full port on top of readiness.

use alloc::{sync::Arc, vec::Vec};
use core::{slice, time::Duration};

use super::{
    Attempt, BeforeIo, Event, Polled,
    queues::{Line, Place, Queues, Waiting},
};
use crate::{
    IoError, IoErrorKind,
    env::{HostFault, Port, Staged, StagedRequest, TryNow, TurnInfo, Undrained, Unpark, Wait},
    request::{
        Completion, Extent, Interest, Lent, LentMut, Outcome, RawDescriptor, Request, Token,
    },
};

/// A [`Port`] made of a [`BeforeIo`]: the one place where "after" is built from "before".
#[derive(Debug)]
pub struct AfterOverBefore<B: BeforeIo> {
    host: B,
    queues: Queues,
    events: Vec<Event>,
    /// Attempts made in this turn: a system call each.
    attempts: u32,
    /// Whether the last turn had enough to tell without asking the host what happened.
    unasked: bool,
}

impl<B: BeforeIo> AfterOverBefore<B> {
    /// A port over `host`.
    pub fn new(host: B) -> Self {
        Self {
            host,
            queues: Queues::default(),
            events: Vec::new(),
            attempts: 0,
            unasked: false,
        }
    }

    fn take(&mut self, staged: StagedRequest, out: &mut Vec<Completion>) {
        let StagedRequest { token, request } = staged;
        match request {
            Request::Cancel { token } => {
                if token != Token::QUIET
                    && let Some((_, waiting)) = self.queues.take(token)
                {
                    self.cancel(waiting, out);
                }
            }
            Request::CancelAllOn { descriptor } => self.cancel_all_on(descriptor, out),
            Request::Close { descriptor } => {
                // The core closes only what is idle; should a request wait nevertheless, it ends.
                self.cancel_all_on(descriptor, out);
                for place in Place::all(descriptor) {
                    self.queues.set_unready(place, false);
                }
                let outcome = close(&mut self.host, descriptor);
                self.deliver(token, outcome, out);
            }
            _ => self.start(token, request, out),
        }
    }

    /// Tries a request unless others were first, and queues it if it has to wait.
    fn start(&mut self, token: Token, request: Request, out: &mut Vec<Completion>) {
        if is_nothing(&request) {
            return self.deliver(token, Outcome::Done(0), out);
        }
        let mut waiting = Waiting {
            token,
            request,
            moved: 0,
            under_way: None,
        };
        let mut place = place_of(&request);
        let in_line =
            place.is_some_and(|place| self.queues.has(place) || self.queues.is_unready(place));
        if !in_line {
            match attempt(&mut self.host, &mut waiting, &mut self.attempts) {
                Some(outcome) => return self.deliver(token, outcome, out),
                None => place = place.or_else(|| connecting(&waiting)),
            }
        }
        match place {
            Some(place) => self.wait(place, waiting, out),
            None => self.deliver(token, unsupported(), out),
        }
    }

    fn wait(&mut self, place: Place, waiting: Waiting, out: &mut Vec<Completion>) {
        self.queues.set_unready(place, true);
        let token = waiting.token;
        let is_first = self.queues.push(place, waiting);
        if !is_first {
            return;
        }
        if let Err(error) = self.host.arm(place.descriptor, place.interest) {
            self.queues.set_unready(place, false);
            let waiting = self.queues.pop(place).expect("pushed above, as the first");
            self.give_up(&waiting);
            self.deliver(token, Outcome::Failed(error), out);
        }
    }

    /// Serves a queue as far as it goes.
    fn serve(&mut self, place: Place, out: &mut Vec<Completion>) {
        self.queues.set_unready(place, false);
        while let Some(first) = self.queues.first_mut(place) {
            let Some(outcome) = attempt(&mut self.host, first, &mut self.attempts) else {
                self.queues.set_unready(place, true);
                return;
            };
            let waiting = self.queues.pop(place).expect("it was the first");
            if !matches!(outcome, Outcome::Opened(_)) {
                self.give_up(&waiting);
            }
            self.deliver(waiting.token, outcome, out);
        }
    }

    /// Asks the host what happened, and serves it; also says whether nothing did.
    fn ask(&mut self, wait: Wait, out: &mut Vec<Completion>) -> Result<(Polled, bool), HostFault> {
        let mut events = core::mem::take(&mut self.events);
        let polled = self.host.poll(wait, &mut events);
        let quiet = events.is_empty();
        for Event {
            descriptor,
            interest,
        } in events.drain(..)
        {
            for place in Place::of(descriptor, interest) {
                self.serve(place, out);
            }
        }
        self.events = events;
        polled.map(|polled| (polled, quiet))
    }

    fn cancel_all_on(&mut self, descriptor: RawDescriptor, out: &mut Vec<Completion>) {
        for place in Place::all(descriptor) {
            while let Some(waiting) = self.queues.pop(place) {
                self.cancel(waiting, out);
            }
        }
    }

    /// Ends a request that waited: nothing of it was done, or so much as it says.
    fn cancel(&mut self, waiting: Waiting, out: &mut Vec<Completion>) {
        self.give_up(&waiting);
        let outcome = match waiting.moved {
            0 => Outcome::Failed(IoErrorKind::Cancelled.into()),
            moved => Outcome::Done(moved),
        };
        self.deliver(waiting.token, outcome, out);
    }

    /// Closes the socket of a connect that led nowhere.
    fn give_up(&mut self, waiting: &Waiting) {
        if let Some(descriptor) = waiting.under_way {
            let _ = close(&mut self.host, descriptor);
        }
    }

    fn deliver(&mut self, token: Token, outcome: Outcome, out: &mut Vec<Completion>) {
        if token != Token::QUIET {
            out.push(Completion::terminal(token, outcome));
        } else if let Outcome::Opened(descriptor) = outcome {
            let _ = close(&mut self.host, descriptor);
        }
    }
}

// SAFETY: lent memory goes to the host only inside `try_now`, which touches it only during the
// call (contract of `BeforeIo`), and never after the request was taken out of its queue; each
// request is delivered when it is taken out, once; descriptors nobody takes are closed (I-3).
unsafe impl<B: BeforeIo> Port for AfterOverBefore<B> {
    fn turn(
        &mut self,
        staged: &mut Staged,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> Result<TurnInfo, HostFault> {
        let before = out.len();
        self.attempts = 0;
        let mut info = TurnInfo {
            submitted: count(staged.len()),
            ..TurnInfo::default()
        };
        let mut told = Ok(Polled::default());
        for staged in staged.drain() {
            // What came before the cancel counts, also if the last turn did not ask for it.
            let is_cancel = matches!(staged.request, Request::Cancel { .. });
            if self.unasked && is_cancel && !self.queues.is_empty() {
                self.unasked = false;
                told = self.ask(Wait::No, out).map(|(polled, _)| polled);
            }
            self.take(staged, out);
        }
        let told = told?;
        info.enters += told.calls;
        loop {
            let has_news = told.unparked || out.len() > before;
            let wait = if has_news { Wait::No } else { wait };
            if wait == Wait::No && self.queues.is_empty() {
                break;
            }
            // What answers a request by another has both in a turn each: asked once, not twice.
            self.unasked = has_news && !self.unasked;
            if self.unasked {
                break;
            }
            let (polled, quiet) = self.ask(wait, out)?;
            info.enters += polled.calls;
            // Events that completed nothing do not end a wait; silence does: it is over.
            if wait == Wait::No || polled.unparked || quiet || out.len() > before {
                break;
            }
        }
        info.enters += self.attempts;
        info.completed = count(out.len() - before);
        Ok(info)
    }

    unsafe fn try_now(&mut self, request: &Request) -> TryNow {
        if is_nothing(request) {
            return TryNow::Done(Outcome::Done(0));
        }
        if is_whole(request) || request.is_control() || matches!(request, Request::Connect { .. }) {
            return TryNow::NotPossible;
        }
        if let Some(place) = place_of(request)
            && self.queues.has(place)
        {
            return TryNow::WouldBlock(place.interest);
        }
        if let Request::Close { descriptor } = *request {
            return TryNow::Done(close(&mut self.host, descriptor));
        }
        // SAFETY: the caller's promise (I-3).
        match unsafe { self.host.try_now(request, None) } {
            Attempt::Done(outcome) => TryNow::Done(outcome),
            Attempt::WouldBlock => request
                .direction()
                .map_or(TryNow::NotPossible, TryNow::WouldBlock),
            Attempt::Started(_) | Attempt::NotPossible => TryNow::NotPossible,
        }
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.host.unparker()
    }

    fn drain(&mut self, _grace: Duration, out: &mut Vec<Completion>) -> Result<(), Undrained> {
        while let Some((_, waiting)) = self.queues.take_any() {
            self.cancel(waiting, out);
        }
        Ok(())
    }
}

impl<B: BeforeIo> Drop for AfterOverBefore<B> {
    fn drop(&mut self) {
        while let Some((_, waiting)) = self.queues.take_any() {
            self.give_up(&waiting);
        }
    }
}

/// One attempt, or as many as make progress for a request that wants everything; `None` when it
/// has to wait.
fn attempt<B: BeforeIo>(
    host: &mut B,
    waiting: &mut Waiting,
    attempts: &mut u32,
) -> Option<Outcome> {
    loop {
        if host.would_block(&waiting.request) {
            return None;
        }
        *attempts += 1;
        let Some((part, whole)) = rest(&waiting.request, waiting.moved) else {
            return attempt_once(host, waiting);
        };
        // SAFETY: memory of a request that waits is lent until its completion is delivered
        // (contract of `Staged::push`), and the part lies within it (I-3).
        match unsafe { host.try_now(&part, None) } {
            Attempt::Done(Outcome::Done(bytes)) => {
                waiting.moved += bytes;
                if bytes == 0 || waiting.moved >= whole {
                    return Some(Outcome::Done(waiting.moved));
                }
            }
            // An error after some bytes shows at the next request; the bytes count now.
            Attempt::Done(Outcome::Failed(_)) if waiting.moved > 0 => {
                return Some(Outcome::Done(waiting.moved));
            }
            Attempt::Done(outcome) => return Some(outcome),
            Attempt::WouldBlock => return None,
            Attempt::Started(_) | Attempt::NotPossible => return Some(unsupported()),
        }
    }
}

fn attempt_once<B: BeforeIo>(host: &mut B, waiting: &mut Waiting) -> Option<Outcome> {
    // SAFETY: memory of a request that waits is lent until its completion is delivered (contract
    // of `Staged::push`, I-3).
    match unsafe { host.try_now(&waiting.request, waiting.under_way) } {
        Attempt::Done(outcome) => Some(outcome),
        Attempt::WouldBlock => None,
        Attempt::Started(descriptor) => {
            waiting.under_way = Some(descriptor);
            None
        }
        Attempt::NotPossible => Some(unsupported()),
    }
}

/// What is left of a request that wants everything, as one that takes what it gets, and how much
/// everything is.
fn rest(request: &Request, moved: u64) -> Option<(Request, u64)> {
    let moved = usize::try_from(moved).expect("moved within a buffer");
    match *request {
        Request::Recv {
            descriptor,
            into,
            extent: Extent::All,
        } => {
            let part = Request::Recv {
                descriptor,
                into: skip_mut(into, moved),
                extent: Extent::Some,
            };
            Some((part, into.len() as u64))
        }
        Request::Send {
            descriptor,
            from,
            extent: Extent::All,
        } => {
            let part = Request::Send {
                descriptor,
                from: skip(from, moved),
                extent: Extent::Some,
            };
            Some((part, from.len() as u64))
        }
        _ => None,
    }
}

fn skip(lent: Lent, bytes: usize) -> Lent {
    let start = lent.start().as_ptr().wrapping_add(bytes);
    // SAFETY: the end of memory that is lent to us (contract of `Staged::push`, I-3).
    Lent::new(unsafe { slice::from_raw_parts(start, lent.len() - bytes) })
}

fn skip_mut(lent: LentMut, bytes: usize) -> LentMut {
    let start = lent.start().as_ptr().wrapping_add(bytes);
    // SAFETY: the end of memory that is lent to us alone (contract of `Staged::push`, I-3).
    LentMut::new(unsafe { slice::from_raw_parts_mut(start, lent.len() - bytes) })
}

/// A transfer without room or bytes: a system would have it wait for some that it cannot take.
const fn is_nothing(request: &Request) -> bool {
    match request {
        Request::Recv { into, .. } => into.is_empty(),
        Request::Send { from, .. } => from.is_empty(),
        _ => false,
    }
}

const fn is_whole(request: &Request) -> bool {
    matches!(
        request,
        Request::Recv {
            extent: Extent::All,
            ..
        } | Request::Send {
            extent: Extent::All,
            ..
        }
    )
}

fn place_of(request: &Request) -> Option<Place> {
    Some(Place {
        descriptor: request.descriptor()?,
        interest: request.direction()?,
        line: match request {
            Request::Ready { .. } => Line::Waits,
            _ => Line::Transfers,
        },
    })
}

fn connecting(waiting: &Waiting) -> Option<Place> {
    waiting.under_way.map(|descriptor| Place {
        descriptor,
        interest: Interest::Writable,
        line: Line::Transfers,
    })
}

fn close<B: BeforeIo>(host: &mut B, descriptor: RawDescriptor) -> Outcome {
    host.forget(descriptor);
    // SAFETY: a close names no memory (I-3).
    match unsafe { host.try_now(&Request::Close { descriptor }, None) } {
        Attempt::Done(outcome) => outcome,
        _ => unsupported(),
    }
}

fn unsupported() -> Outcome {
    Outcome::Failed(IoError::from(IoErrorKind::Unsupported))
}

fn count(requests: usize) -> u32 {
    u32::try_from(requests).unwrap_or(u32::MAX)
}
