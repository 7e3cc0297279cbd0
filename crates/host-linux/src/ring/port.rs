//! The port: a turn, a sleep, a drain.

extern crate alloc;

use alloc::{boxed::Box, collections::VecDeque, sync::Arc};
use core::{
    mem::{ManuallyDrop, MaybeUninit},
    time::Duration,
};

use fiber_core::{
    env::{
        EnvError, HostFault, Instant, Port, Staged, StagedRequest, TryNow, TurnInfo, Undrained,
        Unpark, Wait,
    },
    request::{Completion, Outcome, Request, Token},
};
use io_uring::{IoUring, opcode, types::Fd};

use super::{
    entry::{self, Verdict},
    flight::{Flights, Stage},
    kernel::{self, Sleep},
    setup::{Refusal, RingSetup},
};
use crate::{clock, errno::Errno, immediate, poll, signals, sys::socket::Blocking, wake::Wake};

/// The ring's name for the eventfd's read.
const WAKE: u64 = Token::host(1).to_bits();
/// The ring's name for entries whose result means nothing.
const IGNORED: u64 = Token::host(2).to_bits();
/// How many completions are copied out of the queue at once.
const BATCH: usize = 32;
/// How long a port that is dropped without having been drained waits for the kernel.
const DROP_GRACE: Duration = Duration::from_secs(1);
/// The least limit of a wait on a word, which the kernel ends some fifty microseconds late.
const DOZE_MIN: Duration = Duration::from_millis(10);

/// One worker's ring.
pub(crate) struct RingPort {
    /// Leaked, with everything that the kernel may still write to, when something stays in flight.
    inner: ManuallyDrop<Inner>,
}

struct Inner {
    ring: IoUring,
    flights: Flights,
    /// Keys of waiting flights for which the queue had no room, in order.
    backlog: VecDeque<u64>,
    /// Keys of flights to cancel for which the queue had no room: they go first.
    cancels: VecDeque<u64>,
    wake: Arc<Wake>,
    /// Where the kernel puts the eventfd's count.
    rung: Box<u64>,
    /// Whether the eventfd's read is with the kernel.
    listening: bool,
    /// Whether this turn has taken a close.
    closing: bool,
    info: TurnInfo,
}

impl RingPort {
    pub(crate) fn open(setup: &RingSetup) -> Result<Self, EnvError> {
        let ring = setup
            .build()
            .map_err(|error| Refusal::of_setup(&error).error())?;
        let wake = Wake::new(0).map_err(|errno| {
            EnvError::new(
                "eventfd",
                errno.0,
                "raise `ulimit -n`, or close some descriptors",
            )
        })?;
        Ok(Self {
            inner: ManuallyDrop::new(Inner {
                ring,
                flights: Flights::default(),
                backlog: VecDeque::new(),
                cancels: VecDeque::new(),
                wake: Arc::new(wake),
                rung: Box::new(0),
                listening: false,
                closing: false,
                info: TurnInfo::default(),
            }),
        })
    }
}

// SAFETY: lent memory is named only by entries of flights, each of which gets exactly one
// completion when the kernel has answered for the last time; a port that is dropped waits for
// that or leaks what the kernel still has, and descriptors of completions that nobody takes are
// closed (I-3).
unsafe impl Port for RingPort {
    fn turn(
        &mut self,
        staged: &mut Staged,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> Result<TurnInfo, HostFault> {
        self.inner.turn(staged, wait, out)
    }

    unsafe fn try_now(&mut self, request: &Request) -> TryNow {
        if let Request::Close { descriptor } = *request {
            poll::closed_elsewhere(descriptor);
        }
        if entry::is_nothing(request) {
            return TryNow::Done(Outcome::Done(0));
        }
        // SAFETY: the caller's promise (I-3).
        unsafe { immediate::attempt(request, Blocking::Yes) }
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.inner.wake) as Arc<dyn Unpark>
    }

    fn drain(&mut self, grace: Duration, out: &mut Vec<Completion>) -> Result<(), Undrained> {
        self.inner.drain(grace, out)
    }
}

impl Drop for RingPort {
    fn drop(&mut self) {
        let mut unwanted = Vec::new();
        let drained = self.inner.drain(DROP_GRACE, &mut unwanted);
        for completion in unwanted {
            if let Outcome::Opened(descriptor) = completion.outcome {
                immediate::discard(descriptor);
            }
        }
        match drained {
            Ok(()) => {
                // SAFETY: dropped once, here; the kernel has nothing of it any more (I-3).
                unsafe { ManuallyDrop::drop(&mut self.inner) };
            }
            Err(undrained) => tracing::error!(
                target: "host_linux",
                requests = undrained.requests,
                "a ring is leaked: the kernel did not give its requests back",
            ),
        }
    }
}

impl Inner {
    fn turn(
        &mut self,
        staged: &mut Staged,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> Result<TurnInfo, HostFault> {
        self.info = TurnInfo::default();
        self.closing = false;
        let before = out.len();
        for request in staged.drain() {
            self.take(request, out)?;
        }
        self.reap(out);
        loop {
            let sleep = if out.len() > before {
                Sleep::Not
            } else {
                until(wait)
            };
            self.refill();
            if sleep == Sleep::Not {
                if !self.has_business() || !self.enter(Sleep::Not, out)? {
                    break;
                }
            } else if self.is_backed_up() && self.enter(Sleep::Not, out)? {
                // It has room again: what still waits may be what the sleep would wait for.
            } else if self.sleep(sleep, out)? {
                break;
            }
        }
        self.info.completed = count(out.len() - before);
        Ok(self.info)
    }

    /// Takes one staged request: into the queue if there is room, else into the backlog.
    fn take(
        &mut self,
        StagedRequest { token, request, .. }: StagedRequest,
        out: &mut Vec<Completion>,
    ) -> Result<(), HostFault> {
        match request {
            Request::Cancel { token } => {
                if token != Token::QUIET {
                    self.cancel(token.to_bits(), out);
                }
                return Ok(());
            }
            Request::CancelAllOn { descriptor } => {
                // By request, not by descriptor: the kernel would take a duplicate's requests too.
                let mut next = self.flights.on(descriptor).next();
                while let Some(key) = next {
                    next = self.flights.after(key);
                    self.cancel(key, out);
                }
                return Ok(());
            }
            Request::Close { descriptor } => {
                poll::closed_elsewhere(descriptor);
                signals::closing(descriptor);
                self.closing = true;
            }
            // The kernel lets go of a closed listener when the call that closes it returns: what is
            // closed before a connect must be so when the connect is made.
            Request::Connect { .. } if self.closing => {
                self.enter(Sleep::Not, out)?;
            }
            _ => {}
        }
        if let Some(outcome) = entry::trivial(&request) {
            deliver(token, outcome, out);
            return Ok(());
        }
        match entry::equip(&request, &mut self.flights) {
            Ok(equipment) => {
                let key = self.flights.insert(token, request, equipment);
                if self.backlog.is_empty() && self.submit(key) {
                    return Ok(());
                }
                self.backlog.push_back(key);
                self.make_room(out)
            }
            Err(errno) => {
                deliver(token, immediate::failed(errno), out);
                Ok(())
            }
        }
    }

    /// Ends a flight soon: at once if the kernel has not seen it, else through the kernel.
    fn cancel(&mut self, key: u64, out: &mut Vec<Completion>) {
        let Some(flight) = self.flights.get_mut(key) else {
            return;
        };
        match flight.stage {
            // Nothing stops a close, begun or not: whoever asked for it has let go of the number.
            _ if matches!(flight.request, Request::Close { .. }) => {}
            Stage::Waiting => {
                let outcome = flight.cancelled();
                self.finish(key, outcome, out);
            }
            Stage::Submitted => {
                flight.cancelled = true;
                self.cancels.push_back(key);
                self.refill_cancels();
            }
        }
    }

    /// Puts a waiting flight into the queue; `false` if there is no room.
    fn submit(&mut self, key: u64) -> bool {
        let Some(flight) = self.flights.get_mut(key) else {
            return true;
        };
        if flight.stage == Stage::Submitted {
            return true;
        }
        let pushed = kernel::try_push(&mut self.ring, &flight.entry());
        if pushed {
            flight.stage = Stage::Submitted;
            self.info.submitted += 1;
        }
        pushed
    }

    /// Flushes a full queue so that the backlog can move up. If the kernel takes nothing now, the
    /// backlog waits for a later turn.
    fn make_room(&mut self, out: &mut Vec<Completion>) -> Result<(), HostFault> {
        while !self.backlog.is_empty() {
            if !self.enter(Sleep::Not, out)? {
                break;
            }
            self.refill();
        }
        Ok(())
    }

    /// Moves what waits into the queue, cancels first.
    fn refill(&mut self) {
        self.refill_cancels();
        while let Some(&key) = self.backlog.front() {
            if !self.submit(key) {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn refill_cancels(&mut self) {
        while let Some(&key) = self.cancels.front() {
            let entry = entry::cancel(key).user_data(IGNORED);
            if !kernel::try_push(&mut self.ring, &entry) {
                return;
            }
            self.cancels.pop_front();
        }
    }

    /// Whether something waits for room in the queue.
    fn is_backed_up(&self) -> bool {
        !self.backlog.is_empty() || !self.cancels.is_empty()
    }

    /// Whether there is a reason to enter the kernel without waiting.
    fn has_business(&mut self) -> bool {
        let backed_up = self.is_backed_up();
        let queue = self.ring.submission();
        backed_up || !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Waits as told; whether the wait is over, for other reasons than a completion.
    fn sleep(&mut self, sleep: Sleep, out: &mut Vec<Completion>) -> Result<bool, HostFault> {
        let may_be_late = sleep.limit().is_none_or(|limit| limit >= DOZE_MIN);
        if may_be_late && self.flights.is_empty() && !self.has_business() {
            // No completion could end it: there is no need for the ring.
            self.info.enters += 1;
            return Ok(self.wake.doze(sleep.limit()));
        }
        if !self.listen() {
            // No room even for that: flush, and come back.
            self.enter(Sleep::Not, out)?;
            return Ok(false);
        }
        if !self.wake.fall_asleep() {
            if self.has_business() {
                self.enter(Sleep::Not, out)?;
            }
            return Ok(true);
        }
        let entered = self.enter(sleep, out);
        let unparked = self.wake.rise();
        entered?;
        Ok(unparked)
    }

    /// Arms the read of the eventfd; `false` if there is no room.
    fn listen(&mut self) -> bool {
        if !self.listening {
            let rung: *mut u64 = &raw mut *self.rung;
            let read = opcode::Read::new(Fd(self.wake.fd()), rung.cast(), 8).build();
            self.listening = kernel::try_push(&mut self.ring, &read.user_data(WAKE));
        }
        self.listening
    }

    /// Enters the kernel and reaps; `false` if that moved nothing.
    fn enter(&mut self, sleep: Sleep, out: &mut Vec<Completion>) -> Result<bool, HostFault> {
        self.info.enters += 1;
        let submitted = match kernel::enter(&self.ring, sleep) {
            Ok(submitted) => submitted,
            // Signals, full completion queues, short memory, time: reap, and go on.
            Err(Errno(libc::EINTR | libc::EBUSY | libc::EAGAIN | libc::ETIME | libc::ENOMEM)) => 0,
            Err(Errno(code)) => return Err(HostFault::new("io_uring_enter", code)),
        };
        let reaped = self.reap(out);
        Ok(submitted > 0 || reaped)
    }

    /// Takes everything out of the completion queue; whether there was anything.
    fn reap(&mut self, out: &mut Vec<Completion>) -> bool {
        let mut reaped = false;
        loop {
            let mut batch = [const { MaybeUninit::uninit() }; BATCH];
            let batch = self.ring.completion().fill(&mut batch);
            if batch.is_empty() {
                return reaped;
            }
            reaped = true;
            for completion in batch {
                match completion.user_data() {
                    WAKE => self.listening = false,
                    IGNORED => {}
                    key => self.complete(key, completion.result(), out),
                }
            }
        }
    }

    fn complete(&mut self, key: u64, result: i32, out: &mut Vec<Completion>) {
        let Some(flight) = self.flights.get_mut(key) else {
            debug_assert!(false, "the kernel completed what is not in flight");
            return;
        };
        match flight.judge(result) {
            Verdict::Over(outcome) => self.finish(key, outcome, out),
            Verdict::Again => {
                flight.stage = Stage::Waiting;
                if !self.backlog.is_empty() || !self.submit(key) {
                    self.backlog.push_back(key);
                }
            }
        }
    }

    fn finish(&mut self, key: u64, outcome: Outcome, out: &mut Vec<Completion>) {
        let flight = self.flights.remove(key);
        let flight = flight.expect("found by the caller");
        deliver(flight.token, outcome, out);
    }

    fn drain(&mut self, grace: Duration, out: &mut Vec<Completion>) -> Result<(), Undrained> {
        let deadline = clock::now() + grace;
        let keys: Vec<u64> = self.flights.keys().collect();
        for key in keys {
            self.cancel(key, out);
        }
        if self.listening {
            self.cancels.push_back(WAKE);
        }
        let undrained = |flights: &Flights| Undrained::new(flights.len());
        while !self.flights.is_empty() || self.listening {
            self.refill();
            let left = deadline.saturating_since(clock::now());
            let sleep = if left.is_zero() {
                Sleep::Not
            } else {
                Sleep::For(left)
            };
            let moved = self.enter(sleep, out).unwrap_or(false);
            if !moved && sleep == Sleep::Not {
                return Err(undrained(&self.flights));
            }
        }
        Ok(())
    }
}

/// How long to sleep now.
fn until(wait: Wait) -> Sleep {
    match wait {
        Wait::No => Sleep::Not,
        Wait::Forever | Wait::Until(Instant::NEVER) => Sleep::Forever,
        Wait::Until(deadline) => match deadline.saturating_since(clock::now()) {
            Duration::ZERO => Sleep::Not,
            left => Sleep::For(left),
        },
    }
}

/// Appends the terminal completion, or drops what nobody wants.
fn deliver(token: Token, outcome: Outcome, out: &mut Vec<Completion>) {
    if token != Token::QUIET {
        out.push(Completion::terminal(token, outcome));
    } else if let Outcome::Opened(descriptor) = outcome {
        immediate::discard(descriptor);
    }
}

fn count(completions: usize) -> u32 {
    u32::try_from(completions).unwrap_or(u32::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests;
