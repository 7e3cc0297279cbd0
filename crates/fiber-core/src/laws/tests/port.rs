//! A port onto the network in memory, right or wrong as asked.

extern crate std;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{mem, net::SocketAddr, ptr::NonNull, slice, time::Duration};
use std::sync::{Mutex, MutexGuard};

use super::{
    fault::Fault,
    network::{Attempt, Network},
    unpark::MemoryUnpark,
};
use crate::{
    IoErrorKind,
    env::{
        Clock, HostFault, Instant, Port, Staged, StagedRequest, TryNow, TurnInfo, Undrained,
        Unpark, Wait,
    },
    request::{
        Completion, Extent, Interest, Lent, LentMut, Outcome, RawDescriptor, Request, RequestKind,
        Shutdown, SocketOption, Token,
    },
    script::ScriptEnv,
};

const CANCELLED: Outcome = Outcome::Failed(crate::IoError::new(IoErrorKind::Cancelled, 0));

/// What the ports of one host share.
pub(super) struct Shared {
    pub(super) network: Network,
    sleepers: Vec<Arc<dyn Unpark>>,
}

pub(super) struct MemoryPort {
    clock: Arc<ScriptEnv>,
    inner: Box<dyn Port>,
    shared: Arc<Mutex<Shared>>,
    unpark: Arc<MemoryUnpark>,
    inflight: Vec<Pending>,
    /// Cancelled, but at work all the same.
    undead: Vec<Pending>,
    done: Vec<Completion>,
    late: Vec<LentMut>,
    opened: Vec<RawDescriptor>,
    ends_seen: Vec<RawDescriptor>,
    count: usize,
    offered: fn(RequestKind) -> bool,
    fault: Fault,
}

struct Pending {
    token: Token,
    request: Request,
    moved: usize,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            network: Network::default(),
            sleepers: Vec::new(),
        }
    }
}

impl MemoryPort {
    pub(super) fn new(
        clock: Arc<ScriptEnv>,
        inner: Box<dyn Port>,
        shared: Arc<Mutex<Shared>>,
        offered: fn(RequestKind) -> bool,
        fault: Fault,
    ) -> Self {
        let sleeper = inner.unparker();
        shared.lock().unwrap().sleepers.push(Arc::clone(&sleeper));
        let unpark = Arc::new(MemoryUnpark::new(sleeper, fault));
        Self {
            clock,
            inner,
            shared,
            unpark,
            inflight: Vec::new(),
            undead: Vec::new(),
            done: Vec::new(),
            late: Vec::new(),
            opened: Vec::new(),
            ends_seen: Vec::new(),
            count: 0,
            offered,
            fault,
        }
    }

    pub(super) fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    fn take(&mut self, staged: StagedRequest) {
        let StagedRequest { token, request } = staged;
        match request {
            Request::Cancel { token } => self.cancel(token),
            Request::CancelAllOn { .. } if self.is(Fault::CancelAllHitsNone) => {}
            Request::CancelAllOn { descriptor } => {
                let all = self.is(Fault::CancelAllHitsAll);
                self.end_where(|pending| all || pending.request.descriptor() == Some(descriptor));
            }
            _ if self.is(Fault::ForgetsBeyondAThousand) && self.inflight.len() >= 1000 => {}
            _ => self.inflight.push(Pending {
                token,
                request,
                moved: 0,
            }),
        }
    }

    fn cancel(&mut self, token: Token) {
        let hit = self.inflight.iter().find(|pending| pending.token == token);
        let on = hit.and_then(|pending| pending.request.descriptor());
        match self.fault {
            Fault::CancelIsIgnored => {}
            Fault::CancelHitsTheSlot => {
                self.end_where(|pending| pending.token.slot() == token.slot());
            }
            Fault::CancelHitsTheDescriptor if on.is_some() => {
                self.end_where(|pending| pending.request.descriptor() == on);
            }
            Fault::UnknownCancelHitsFirst if hit.is_none() => {
                let first = self.inflight.first().map(|pending| pending.token);
                self.end_where(|pending| Some(pending.token) == first);
            }
            _ => self.end_where(|pending| pending.token == token),
        }
    }

    fn end_where(&mut self, whom: impl Fn(&Pending) -> bool) {
        let (hit, rest) = mem::take(&mut self.inflight).into_iter().partition(whom);
        self.inflight = rest;
        let hit: Vec<Pending> = hit;
        for pending in hit {
            let hides = self.is(Fault::CancelHidesBytesSent);
            let outcome = match pending.moved {
                0 if self.is(Fault::CancelIsDone) => Outcome::Done(0),
                moved if moved > 0 && !hides => Outcome::Done(moved as u64),
                _ => CANCELLED,
            };
            if self.is(Fault::CancelEatsBytes)
                && let Request::Recv { descriptor, .. } = pending.request
            {
                let _ = self.shared().network.recv(descriptor, &mut [0; 100]);
            }
            self.deliver(&pending, outcome);
            if self.is(Fault::CancelledGoesOn) {
                self.undead.push(pending);
            }
        }
    }

    fn deliver(&mut self, pending: &Pending, outcome: Outcome) {
        self.count += 1;
        let forgotten = self.is(Fault::Forgets) && self.count.is_multiple_of(50);
        if forgotten || pending.token == Token::QUIET && !self.is(Fault::TellsQuiet) {
            return;
        }
        if let Request::Recv { into, .. } = pending.request {
            self.write_where_it_must_not(into, outcome);
        }
        let completion = Completion {
            token: pending.token,
            outcome,
            more: self.is(Fault::TellsMore),
        };
        self.done.push(completion);
        if self.is(Fault::CompletesTwice) {
            self.done.push(completion);
        }
    }

    fn write_where_it_must_not(&mut self, into: LentMut, outcome: Outcome) {
        if self.is(Fault::WritesLate) {
            self.late.push(into);
        }
        if self.is(Fault::WritesBeyond)
            && let Outcome::Done(number) = outcome
        {
            // SAFETY: at most one past the loan, where the rig keeps its red zone (I-3).
            let beyond = unsafe { into.start().add(usize::try_from(number).unwrap()) };
            // SAFETY: as above (I-3).
            unsafe { beyond.write(1) };
        }
    }

    /// Attempts everything in flight until nothing moves any more.
    fn progress(&mut self) {
        let mut moved = false;
        loop {
            let mut again = false;
            let mut undead = mem::take(&mut self.undead);
            undead.retain_mut(|pending| self.attempt(pending).is_err());
            self.undead = undead;
            let mut inflight = mem::take(&mut self.inflight);
            if self.is(Fault::LastRequestFirst) {
                inflight.reverse();
            }
            inflight.retain_mut(|pending| {
                let before = pending.moved;
                let outcome = self.attempt(pending);
                again |= pending.moved != before || outcome.is_ok();
                match outcome {
                    Ok(outcome) => self.deliver(pending, outcome),
                    Err(()) => return true,
                }
                false
            });
            self.inflight = inflight;
            moved |= again;
            if !again {
                break;
            }
        }
        if moved && !self.is(Fault::WakesNobody) {
            let shared = self.shared();
            let others = shared.sleepers.iter();
            others
                .filter(|sleeper| !Arc::ptr_eq(sleeper, self.unpark.sleeper()))
                .for_each(|sleeper| sleeper.unpark());
        }
    }

    /// One attempt; `Err` if the request has to wait.
    fn attempt(&mut self, pending: &mut Pending) -> Result<Outcome, ()> {
        let request = pending.request;
        if !(self.offered)(request.kind()) {
            return Ok(self.not_offered());
        }
        if let (Some(on), Fault::DescriptorsOfEachWorker) = (request.descriptor(), self.fault)
            && !self.opened.contains(&on)
        {
            return Ok(Outcome::Failed(IoErrorKind::Other.into()));
        }
        let result = match request {
            Request::Nop => Ok(Outcome::Done(u64::from(self.is(Fault::NopAnswersOne)))),
            Request::Ready { .. } if self.is(Fault::AlwaysReady) => Ok(Outcome::Done(0)),
            Request::Ready {
                descriptor,
                interest,
            } => self.ready(descriptor, interest),
            Request::Recv {
                descriptor,
                into,
                extent,
            } => self.recv(descriptor, &[into], extent, &mut pending.moved),
            Request::Send {
                descriptor,
                from,
                extent,
            } => {
                // SAFETY: lent until this request is over (I-3).
                let from = unsafe { slice::from_raw_parts(from.start().as_ptr(), from.len()) };
                self.send(descriptor, from, extent, &mut pending.moved)
            }
            Request::RecvVectored {
                descriptor,
                into,
                count,
            } => {
                // SAFETY: lent until this request is over (I-3).
                let into = unsafe { slice::from_raw_parts(into.as_ptr(), count as usize) };
                self.recv(descriptor, into, Extent::Some, &mut pending.moved)
            }
            Request::SendVectored {
                descriptor,
                from,
                count,
            } => self.send_vectored(descriptor, from, count, &mut pending.moved),
            Request::Accept { descriptor, peer } => {
                let accepted = self.shared().network.accept(descriptor);
                accepted.map(|(raw, from)| {
                    if !self.is(Fault::PeerIsUnknown) {
                        // SAFETY: lent until this request is over (I-3).
                        unsafe { peer.write(from) };
                    }
                    Outcome::Opened(raw)
                })
            }
            Request::Connect { to } => self.connect(to),
            Request::Close { descriptor } => self.close(descriptor),
            other => self.immediate(&other),
        };
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(None) => return Err(()),
            Err(Some(_)) if pending.moved > 0 => Outcome::Done(pending.moved as u64),
            Err(Some(kind)) => Outcome::Failed(kind.into()),
        };
        if let Outcome::Opened(raw) = outcome {
            self.opened.push(raw);
        }
        Ok(outcome)
    }

    fn send_vectored(
        &self,
        descriptor: RawDescriptor,
        from: NonNull<Lent>,
        count: u32,
        moved: &mut usize,
    ) -> Result<Outcome, Option<IoErrorKind>> {
        // SAFETY: lent until this request is over (I-3).
        let table = unsafe { slice::from_raw_parts(from.as_ptr(), count as usize) };
        let mut parts: Vec<&[u8]> = Vec::new();
        for lent in table {
            // SAFETY: lent until this request is over (I-3).
            let part = unsafe { slice::from_raw_parts(lent.start().as_ptr(), lent.len()) };
            parts.push(part);
        }
        if self.is(Fault::VectoredBackwards) {
            parts.reverse();
        }
        self.send(descriptor, &parts.concat(), Extent::Some, moved)
    }

    fn connect(&self, to: NonNull<SocketAddr>) -> Result<Outcome, Option<IoErrorKind>> {
        // SAFETY: lent until this request is over (I-3).
        let to = unsafe { to.read() };
        let forgets = self.is(Fault::ForgetsClients);
        match self.shared().network.connect(to, forgets) {
            Err(Some(IoErrorKind::ConnectionRefused)) if self.is(Fault::NeverRefuses) => {
                Err(Some(IoErrorKind::TimedOut))
            }
            other => other.map(Outcome::Opened),
        }
    }

    fn not_offered(&self) -> Outcome {
        if self.is(Fault::SupportsEverything) {
            return Outcome::Done(0);
        }
        Outcome::Failed(IoErrorKind::Unsupported.into())
    }

    fn ready(&self, on: RawDescriptor, interest: Interest) -> Attempt<Outcome> {
        let full = self.is(Fault::NeverReadyAgain) && interest == Interest::Writable;
        let ready = self.shared().network.is_ready(on, interest, full);
        ready.map(|()| Outcome::Done(0))
    }

    fn recv(
        &mut self,
        on: RawDescriptor,
        into: &[LentMut],
        extent: Extent,
        moved: &mut usize,
    ) -> Attempt<Outcome> {
        let len = into.iter().map(|part| part.len()).sum::<usize>();
        let mut buffer = alloc::vec![0; len - *moved];
        let got = self.shared().network.recv(on, &mut buffer)?;
        if got == 0 && len > 0 && self.is(Fault::EndIsOnce) {
            if self.ends_seen.contains(&on) {
                return Err(None);
            }
            self.ends_seen.push(on);
        }
        if got > 62 && self.is(Fault::Garbles) {
            buffer[62] ^= 1;
        }
        scatter(into, *moved, &buffer[..got]);
        *moved += got;
        let all = match extent {
            Extent::Some => self.is(Fault::SomeIsAll),
            Extent::All => !self.is(Fault::AllIsSome),
        };
        if all && got > 0 && *moved < len {
            return Err(None);
        }
        if got == 0 && *moved > 0 && self.is(Fault::EndForgetsBytes) {
            return Ok(Outcome::Done(0));
        }
        Ok(Outcome::Done(*moved as u64))
    }

    fn send(
        &self,
        on: RawDescriptor,
        from: &[u8],
        extent: Extent,
        moved: &mut usize,
    ) -> Attempt<Outcome> {
        let sent = self.shared().network.send(on, &from[*moved..]);
        let sent = match sent {
            Err(Some(IoErrorKind::ConnectionReset)) if self.is(Fault::WritesToNowhere) => {
                Ok(from.len() - *moved)
            }
            sent => sent,
        };
        *moved += sent?;
        let all = extent == Extent::All && !self.is(Fault::SendAllIsSome);
        if all && *moved < from.len() {
            return Err(None);
        }
        Ok(Outcome::Done(*moved as u64))
    }

    fn close(&mut self, on: RawDescriptor) -> Attempt<Outcome> {
        let all = self.is(Fault::CloseEndsDuplicates);
        let (silent, forgets) = (
            self.is(Fault::CloseIsSilent),
            self.is(Fault::CloseForgetsBytes),
        );
        self.ends_seen.retain(|seen| *seen != on);
        let closed = self.shared().network.close(on, all, silent, forgets);
        closed.map(|()| Outcome::Done(0))
    }

    fn immediate(&mut self, request: &Request) -> Attempt<Outcome> {
        let (both, deaf) = (
            self.is(Fault::ShutdownShutsBoth),
            self.is(Fault::ShutdownWakesNobody),
        );
        let shares = self.is(Fault::SharesAddresses);
        let mut shared = self.shared();
        let network = &mut shared.network;
        match *request {
            Request::Listen { at, backlog } => {
                // SAFETY: valid for the length of this call (I-3).
                let at = unsafe { at.read() };
                network.listen(at, backlog, shares).map(Outcome::Opened)
            }
            Request::Shutdown { descriptor, how } => {
                let how = match how {
                    Shutdown::Write if both => Shutdown::Both,
                    Shutdown::Both if deaf => Shutdown::Write,
                    how => how,
                };
                network.shutdown(descriptor, how).map(|()| Outcome::Done(0))
            }
            Request::Duplicate { descriptor } => network.duplicate(descriptor).map(Outcome::Opened),
            Request::Address {
                descriptor,
                end,
                into,
            } => network.address(descriptor, end).map(|address| {
                // SAFETY: valid for the length of this call (I-3).
                unsafe { into.write(address) };
                Outcome::Done(0)
            }),
            Request::SetOption {
                descriptor, value, ..
            } => network.stream(descriptor).map(|stream| {
                stream.no_delay = value;
                Outcome::Done(0)
            }),
            Request::ReadOption { descriptor, option } => {
                network.stream(descriptor).map(|stream| match option {
                    SocketOption::NoDelay => Outcome::Done(u64::from(stream.no_delay)),
                    _ => Outcome::Done(0),
                })
            }
            Request::OpenSignals { .. } | Request::RaiseSignal { .. } => {
                drop(shared);
                self.signals(request)
            }
            _ => Err(Some(IoErrorKind::Unsupported)),
        }
    }

    fn wait(&mut self, until: Instant) -> Result<(), HostFault> {
        let early = self.is(Fault::WaitEndsEarly)
            || self.is(Fault::WaitWithRequestsEndsEarly) && !self.inflight.is_empty();
        let now = self.clock.now();
        let until = if early {
            now + (until.saturating_since(now) * 9 / 10).max(Duration::from_nanos(1))
        } else {
            until
        };
        while self.done.is_empty() && !self.unpark.take() {
            if self.clock.now() >= until {
                return Ok(());
            }
            self.sleep(Wait::Until(until))?;
            self.progress();
        }
        Ok(())
    }

    fn sleep(&mut self, wait: Wait) -> Result<(), HostFault> {
        let mut nothing = Vec::new();
        self.inner.turn(&mut Staged::new(), wait, &mut nothing)?;
        Ok(())
    }
}

// SAFETY: without a fault, memory is touched in `attempt` alone, which sees only requests that
// are in flight; each leaves `inflight` with one completion, and descriptors are in it (I-3).
unsafe impl Port for MemoryPort {
    fn turn(
        &mut self,
        staged: &mut Staged,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> Result<TurnInfo, HostFault> {
        for lent in self.late.drain(..) {
            // SAFETY: the rig keeps memory until the port is gone (I-3).
            unsafe { lent.start().write(1) };
        }
        let submitted = staged.len();
        let mut taken: Vec<StagedRequest> = staged.drain().collect();
        if self.is(Fault::StagedIsLeft)
            && let Some(last) = taken.pop()
        {
            // SAFETY: it was lent to this queue (I-3).
            unsafe { staged.push(last.token, last.request) };
        }
        for request in taken {
            self.take(request);
        }
        self.progress();
        match wait {
            Wait::No if self.is(Fault::WaitsWhenItMustNot) => {
                self.wait(self.clock.now() + Duration::from_secs(1))?;
            }
            Wait::No => {}
            wait if self.is(Fault::WaitsWithCompletionsAtHand) && !self.done.is_empty() => {
                self.sleep(wait)?;
            }
            Wait::Until(deadline) => self.wait(deadline)?,
            Wait::Forever => self.wait(Instant::NEVER)?,
        }
        if self.is(Fault::ReversesCompletions) {
            self.done.reverse();
        }
        let completed = self.done.len() + usize::from(self.is(Fault::WrongCount));
        out.append(&mut self.done);
        Ok(TurnInfo {
            submitted: u32::try_from(submitted).unwrap(),
            completed: u32::try_from(completed).unwrap(),
            enters: 0,
        })
    }

    unsafe fn try_now(&mut self, request: &Request) -> TryNow {
        if self.is(Fault::ImmediateIsNot) && request.kind() == RequestKind::SetOption {
            return TryNow::NotPossible;
        }
        let mut pending = Pending {
            token: Token::QUIET,
            request: *request,
            moved: 0,
        };
        match self.attempt(&mut pending) {
            Ok(outcome) => TryNow::Done(outcome),
            Err(()) if self.is(Fault::TryNowSaysEnd) => TryNow::Done(Outcome::Done(0)),
            Err(()) => request
                .direction()
                .map_or(TryNow::NotPossible, TryNow::WouldBlock),
        }
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::<MemoryUnpark>::clone(&self.unpark)
    }

    fn drain(&mut self, _: Duration, out: &mut Vec<Completion>) -> Result<(), Undrained> {
        if !self.is(Fault::DrainForgets) {
            self.end_where(|_| true);
        }
        out.append(&mut self.done);
        Ok(())
    }
}

impl Drop for MemoryPort {
    fn drop(&mut self) {
        self.unpark.outlive();
    }
}

/// Writes `bytes` to `into`, `skip` bytes from its start.
fn scatter(into: &[LentMut], mut skip: usize, mut bytes: &[u8]) {
    for part in into {
        let here = bytes.len().min(part.len() - skip.min(part.len()));
        let (now, later) = bytes.split_at(here);
        if here > 0 {
            // SAFETY: `skip` is less than the part's length here (I-3).
            let at = unsafe { part.start().add(skip) };
            // SAFETY: lent until this request is over, and long enough (I-3).
            let room = unsafe { slice::from_raw_parts_mut(at.as_ptr(), here) };
            room.copy_from_slice(now);
        }
        skip = skip.saturating_sub(part.len());
        bytes = later;
    }
}
