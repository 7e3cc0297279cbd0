//! A host without an operating system behind it: the readable specification of [`Env`], and the
//! host of the runtime's own unit tests.
//!
//! ```text
//! request ──▶ reply ─┬─ Now(outcome) ────────────▶ completion
//!                    ├─ At(moment, outcome) ─────▶ completion, when the clock is there
//!                    └─ Never ───▶ in flight until `complete`, a cancel, or drain
//! ```
//!
//! Time is virtual: when every worker waits, the clock jumps to what is due first. When nothing is
//! due either, nothing can ever happen, and every waiting turn fails and says so. One worker is
//! deterministic; several run on threads of their own. Signals are raised by requests and end
//! nobody. Read on in `world` (who waits for what),
//! `port` (turns), `parts` (what std lends: thread slot, memory, unwinding) and `chooser`.

extern crate std;

mod chooser;
mod parts;
mod port;
mod signals;
#[cfg(test)]
mod tests;
mod world;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::chooser::SeededChooser;
use self::{port::ScriptPort, world::World};
use crate::{
    env::{
        Caps, Chooser, Env, EnvError, HostInfo, Instant, Port, PortConfig, Room, Threads, WorkerId,
    },
    request::{Outcome, Request, RequestKind},
};

/// Jobs that the helpers take at once. A worker waits for its job, so it has one at a time.
const HELPERS_MAX: usize = 64;

/// The scripted host.
#[derive(Debug)]
pub struct ScriptEnv {
    stage: Arc<Stage>,
    room: Room,
}

/// What the host shares with its ports: they may outlive the call that opened them.
struct Stage {
    script: Script,
    world: Mutex<World>,
}

/// What a [`ScriptEnv`] is and how it answers.
pub struct Script {
    caps: Caps,
    reply: Box<Answer>,
    chooser: Option<Box<dyn Chooser>>,
    stacks_max: usize,
}

type Answer = dyn Fn(&Request, Instant) -> Reply + Send + Sync;

/// When a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "tests build it")]
pub enum Reply {
    /// In the turn that takes it.
    Now(Outcome),
    /// At that moment of the virtual clock.
    At(Instant, Outcome),
    /// Not by itself.
    Never,
}

impl ScriptEnv {
    /// The host of [`Script::new`].
    pub fn new() -> Arc<Self> {
        Self::with(Script::new())
    }

    /// A host that follows `script`.
    pub fn with(script: Script) -> Arc<Self> {
        let world = Mutex::new(World::new(!script.caps.closed_world));
        let stage = Arc::new(Stage { script, world });
        let env = Arc::new(Self {
            stage,
            room: Room::new(HELPERS_MAX),
        });
        env.hooks().install();
        env
    }

    /// The next request of `kind` ends with `outcome` at once; called again, the one after it.
    pub fn answer(&self, kind: RequestKind, outcome: Outcome) {
        self.stage.world().answers.push((kind, outcome));
    }

    /// Ends the oldest request of `kind` that is in flight; false if there is none.
    pub fn complete(&self, kind: RequestKind, outcome: Outcome) -> bool {
        self.stage.world().complete(kind, outcome)
    }

    /// The kinds of all staged requests so far, in the order in which ports took them.
    pub fn asked(&self) -> Vec<RequestKind> {
        self.stage.world().asked.clone()
    }
}

impl Env for ScriptEnv {
    fn open_port(&self, _: WorkerId, _: &PortConfig) -> Result<Box<dyn Port>, EnvError> {
        Ok(Box::new(ScriptPort::open(Arc::clone(&self.stage))))
    }

    fn caps(&self) -> &Caps {
        &self.stage.script.caps
    }

    fn chooser(&self) -> Option<&dyn Chooser> {
        self.stage.script.chooser.as_deref()
    }

    fn describe(&self) -> HostInfo {
        HostInfo::new("fiber-core", "script", "")
    }
}

impl Script {
    /// Offers every kind of request, answers `Nop`, `Close` and those about signals, and leaves the
    /// rest in flight.
    pub fn new() -> Self {
        let mut caps = Caps::new(&RequestKind::ALL);
        (caps.lossless_cancel, caps.closed_world) = (true, true);
        caps.unwind = cfg!(panic = "unwind");
        caps.closed_world = true;
        let reply = |request: &Request, _| match request {
            Request::Nop | Request::Close { .. } => Reply::Now(Outcome::Done(0)),
            _ => Reply::Never,
        };
        Self {
            caps,
            reply: Box::new(reply),
            chooser: None,
            stacks_max: usize::MAX,
        }
    }

    /// Has so many stacks and no more.
    #[must_use]
    pub fn stacks_max(self, stacks_max: usize) -> Self {
        Self { stacks_max, ..self }
    }

    /// Offers these kinds only.
    #[must_use]
    pub fn kinds(mut self, kinds: &[RequestKind]) -> Self {
        self.caps = self.caps.with_kinds(kinds);
        self
    }

    /// Asks `reply` about each request for which no [`ScriptEnv::answer`] waits.
    #[must_use]
    pub fn reply(
        mut self,
        reply: impl Fn(&Request, Instant) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.reply = Box::new(reply);
        self
    }

    /// Takes the scheduler's decisions.
    #[must_use]
    pub fn chooser(mut self, chooser: impl Chooser + 'static) -> Self {
        self.chooser = Some(Box::new(chooser));
        self
    }

    /// Plain threads may wake workers: an endless wait is no failure.
    #[must_use]
    pub fn outsiders(mut self) -> Self {
        self.caps.closed_world = false;
        self.caps.closed_world = false;
        self
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of `request`. The closure is asked without the lock: it may use the host.
    fn reply(&self, request: &Request) -> Reply {
        if !self.script.caps.has(request.kind()) {
            return Reply::Now(Outcome::Failed(crate::IoErrorKind::Unsupported.into()));
        }
        let mut world = self.world();
        let (answer, now) = (world.take_answer(request.kind()), world.now);
        drop(world);
        answer.map_or_else(|| (self.script.reply)(request, now), Reply::Now)
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("caps", &self.caps)
            .finish_non_exhaustive()
    }
}
