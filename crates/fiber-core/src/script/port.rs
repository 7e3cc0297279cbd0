//! A worker's door to the script.

extern crate std;

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use std::thread;

use super::{Reply, Stage, parts::ThreadUnpark, signals::Signals, world::InFlight};
use crate::{
    IoErrorKind,
    env::{
        HostFault, Instant, Port, Staged, StagedRequest, TryNow, TurnInfo, Undrained, Unpark, Wait,
    },
    request::{Completion, Interest, LentMut, Outcome, RawDescriptor, Request, Token},
};

const CANCELLED: Outcome = Outcome::Failed(crate::IoError::new(IoErrorKind::Cancelled, 0));

pub(super) struct ScriptPort {
    stage: Arc<Stage>,
    number: usize,
    unpark: Arc<ThreadUnpark>,
    /// Reads of signals that wait.
    reads: Vec<Read>,
}

struct Read {
    token: Token,
    what: What,
}

/// What is asked about signals.
#[derive(Clone, Copy)]
enum What {
    Recv(RawDescriptor, LentMut),
    Ready(RawDescriptor),
}

impl What {
    fn of(request: &Request, signals: &Signals) -> Option<Self> {
        match *request {
            Request::Recv {
                descriptor, into, ..
            } if signals.has(descriptor) => Some(Self::Recv(descriptor, into)),
            Request::Ready {
                descriptor,
                interest: Interest::Readable,
            } if signals.has(descriptor) => Some(Self::Ready(descriptor)),
            _ => None,
        }
    }

    /// # Safety
    /// What it names is lent.
    unsafe fn attempt(self, signals: &mut Signals) -> Option<Outcome> {
        match self {
            // SAFETY: by the caller's promise (I-3).
            Self::Recv(from, into) => unsafe { signals.read(from, into) },
            Self::Ready(of) => signals.has_unread(of).then_some(Outcome::Done(0)),
        }
    }
}

impl ScriptPort {
    pub(super) fn open(stage: Arc<Stage>) -> Self {
        let mut world = stage.world();
        let number = world.open();
        let unpark = Arc::clone(&world.port(number).unpark);
        drop(world);
        Self {
            stage,
            number,
            unpark,
            reads: Vec::new(),
        }
    }

    fn take(&mut self, StagedRequest { token, request }: StagedRequest) {
        match request {
            Request::Cancel { token } => self.cancel(|other, _| other == token),
            Request::CancelAllOn { descriptor } => self.cancel(|_, on| on == Some(descriptor)),
            _ => {
                let reply = self.reply(&request);
                let mut world = self.stage.world();
                if reply == Reply::Never
                    && let Some(what) = What::of(&request, &world.signals)
                {
                    // SAFETY: lent until the request is over, which it is not (I-3).
                    if let Some(outcome) = unsafe { what.attempt(&mut world.signals) } {
                        return world.port(self.number).deliver(token, outcome);
                    }
                    self.reads.push(Read { token, what });
                }
                let port = world.port(self.number);
                let end = match reply {
                    Reply::Now(outcome) => return port.deliver(token, outcome),
                    Reply::At(moment, outcome) => Some((moment, outcome)),
                    Reply::Never => None,
                };
                port.inflight.push(InFlight {
                    token,
                    kind: request.kind(),
                    descriptor: request.descriptor(),
                    end,
                });
            }
        }
    }

    /// What becomes of `request`, which is not over yet.
    fn reply(&self, request: &Request) -> Reply {
        let reply = self.stage.reply(request);
        let mut world = self.stage.world();
        match *request {
            Request::Close { descriptor } => world.signals.close(descriptor),
            Request::OpenSignals { set } if reply == Reply::Never => {
                return Reply::Now(world.signals.open(set));
            }
            Request::RaiseSignal { signal } if reply == Reply::Never => {
                world.raise(signal);
                return Reply::Now(Outcome::Done(0));
            }
            _ => {}
        }
        reply
    }

    /// Ends the reads for which something has come.
    fn read_again(&mut self) {
        let mut world = self.stage.world();
        if !world.port(self.number).looks_again() {
            return;
        }
        self.reads.retain(|read| {
            let waits = |request: &InFlight| request.token == read.token;
            let Some(index) = world.port(self.number).inflight.iter().position(waits) else {
                return false;
            };
            // SAFETY: in flight, so what it lends is still lent (I-3).
            match unsafe { read.what.attempt(&mut world.signals) } {
                Some(outcome) => {
                    world.port(self.number).end(index, outcome);
                    false
                }
                None => true,
            }
        });
    }

    fn cancel(&self, whom: impl Fn(Token, Option<RawDescriptor>) -> bool) {
        let mut world = self.stage.world();
        let port = world.port(self.number);
        let hit = |request: &InFlight| whom(request.token, request.descriptor);
        while let Some(index) = port.inflight.iter().position(hit) {
            port.end(index, CANCELLED);
        }
    }

    /// Appends what has ended; how many that were.
    fn deliver(&mut self, out: &mut Vec<Completion>) -> usize {
        self.read_again();
        let mut world = self.stage.world();
        let now = world.now;
        let port = world.port(self.number);
        port.ripen(now);
        let before = out.len();
        out.extend(port.done.drain(..));
        out.len() - before
    }

    fn wait(&self, until: Instant) -> Result<(), HostFault> {
        self.stage.world().wait(self.number, until);
        loop {
            let end = self.stage.world().end_wait(self.number);
            match end {
                Some(Ok(())) => return Ok(()),
                Some(Err(())) => {
                    return Err(HostFault::new("its wait: nothing can ever happen", 0));
                }
                None => thread::park(),
            }
        }
    }
}

// SAFETY: lent memory is touched only by reads of signals, which are in flight or just taken (a
// script's closure may touch it, in the turn that takes the request); a request is delivered when
// it leaves `inflight` or at once, so exactly once, and `deliver` keeps quiet for `QUIET` (I-3).
unsafe impl Port for ScriptPort {
    fn turn(
        &mut self,
        staged: &mut Staged,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> Result<TurnInfo, HostFault> {
        let submitted = staged.len();
        for staged in staged.drain() {
            self.stage.world().asked.push(staged.request.kind());
            self.take(staged);
        }
        let mut completed = self.deliver(out);
        let until = match wait {
            Wait::No => None,
            Wait::Until(moment) => Some(moment),
            Wait::Forever => Some(Instant::NEVER),
        };
        if let Some(until) = until.filter(|_| completed == 0) {
            let waited = self.wait(until);
            // An unpark ends one wait: this one, or the one that it came too early for.
            self.unpark.take();
            waited?;
            completed = self.deliver(out);
        }
        Ok(TurnInfo {
            submitted: u32::try_from(submitted).unwrap_or(u32::MAX),
            completed: u32::try_from(completed).unwrap_or(u32::MAX),
            enters: 0,
        })
    }

    unsafe fn try_now(&mut self, request: &Request) -> TryNow {
        let mut world = self.stage.world();
        if let Some(what) = What::of(request, &world.signals) {
            // SAFETY: the caller's promise (I-3).
            let done = unsafe { what.attempt(&mut world.signals) };
            return done.map_or(TryNow::WouldBlock(Interest::Readable), TryNow::Done);
        }
        drop(world);
        if !request.is_immediate() {
            return TryNow::NotPossible;
        }
        match self.reply(request) {
            Reply::Now(outcome) => TryNow::Done(outcome),
            _ => TryNow::Done(Outcome::Failed(IoErrorKind::Unsupported.into())),
        }
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::<ThreadUnpark>::clone(&self.unpark)
    }

    fn drain(&mut self, _: Duration, out: &mut Vec<Completion>) -> Result<(), Undrained> {
        self.cancel(|_, _| true);
        self.deliver(out);
        Ok(())
    }
}

impl Drop for ScriptPort {
    fn drop(&mut self) {
        self.stage.world().close(self.number);
    }
}
