//! A scripted host that breaks when told.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use fiber_core::{
    env::{
        AfterWork, Caps, Chooser, Clock, Entropy, Env, EnvError, HostFault, HostInfo, Instant, Job,
        Offload, OffloadFull, Payload, Port, PortConfig, Room, StackClass, StackError, StackMemory,
        Stacks, Staged, ThreadHooks, Threads, TryNow, TurnInfo, Undrained, Unpark, Unwind, Wait,
        WallTime, WorkerId, Workers,
    },
    request::{Completion, Request},
    script::ScriptEnv,
};

/// A host that works until one of its parts is switched off.
pub(crate) struct Faulty {
    inner: Arc<ScriptEnv>,
    /// Stacks of 1 MiB are refused.
    pub(crate) no_stacks: AtomicBool,
    /// Threads cannot be started.
    pub(crate) no_threads: bool,
    /// The worker whose port cannot be opened.
    pub(crate) no_port: Option<u16>,
    /// Turns fail from now on.
    pub(crate) broken: Arc<AtomicBool>,
    /// A turn has failed.
    pub(crate) failed: Arc<AtomicBool>,
    /// Helpers run beside the workers, which do not wait for them.
    pub(crate) free_helpers: bool,
}

impl Faulty {
    pub(crate) fn new() -> Self {
        Self {
            inner: ScriptEnv::new(),
            no_stacks: AtomicBool::new(false),
            no_threads: false,
            no_port: None,
            broken: Arc::new(AtomicBool::new(false)),
            failed: Arc::new(AtomicBool::new(false)),
            free_helpers: false,
        }
    }
}

struct FaultyPort {
    inner: Box<dyn Port>,
    broken: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
}

// SAFETY: everything goes to a port that keeps the promises, or fails before it gets there (I-3).
unsafe impl Port for FaultyPort {
    fn turn(
        &mut self,
        staged: &mut Staged,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> Result<TurnInfo, HostFault> {
        if self.broken.load(Ordering::SeqCst) {
            self.failed.store(true, Ordering::SeqCst);
            return Err(HostFault::new("a test", 1));
        }
        self.inner.turn(staged, wait, out)
    }

    unsafe fn try_now(&mut self, request: &Request) -> TryNow {
        // SAFETY: the caller's promise (I-3).
        unsafe { self.inner.try_now(request) }
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.inner.unparker()
    }

    fn drain(&mut self, grace: Duration, out: &mut Vec<Completion>) -> Result<(), Undrained> {
        self.inner.drain(grace, out)
    }
}

impl Env for Faulty {
    fn open_port(&self, worker: WorkerId, config: &PortConfig) -> Result<Box<dyn Port>, EnvError> {
        if self.no_port == Some(worker.0) {
            return Err(EnvError::new("a test", 1, "nothing"));
        }
        let inner = self.inner.open_port(worker, config)?;
        Ok(Box::new(FaultyPort {
            inner,
            broken: Arc::clone(&self.broken),
            failed: Arc::clone(&self.failed),
        }))
    }

    fn caps(&self) -> &Caps {
        self.inner.caps()
    }

    fn chooser(&self) -> Option<&dyn Chooser> {
        self.inner.chooser()
    }

    fn describe(&self) -> HostInfo {
        self.inner.describe()
    }
}

impl Clock for Faulty {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn wall(&self) -> WallTime {
        self.inner.wall()
    }

    fn cpu(&self) -> Duration {
        self.inner.cpu()
    }
}

impl Entropy for Faulty {
    fn fill(&self, bytes: &mut [u8]) {
        self.inner.fill(bytes);
    }
}

impl Workers for Faulty {
    fn run(&self, n: u16, body: &(dyn Fn(WorkerId) -> AfterWork + Sync)) -> Result<(), EnvError> {
        if self.no_threads {
            return Err(EnvError::new("a test", 1, "nothing"));
        }
        self.inner.run(n, body)
    }

    fn parallelism(&self) -> u16 {
        self.inner.parallelism()
    }
}

impl Offload for Faulty {
    fn offload(&self, job: Job) -> Result<(), OffloadFull> {
        if self.free_helpers {
            drop(std::thread::spawn(job));
            return Ok(());
        }
        self.inner.offload(job)
    }

    fn room(&self) -> &Room {
        self.inner.room()
    }
}

impl Unwind for Faulty {
    fn catch(&self, body: &mut dyn FnMut()) -> Result<(), Payload> {
        self.inner.catch(body)
    }

    fn throw(&self, payload: Box<dyn Any + Send>) -> ! {
        self.inner.throw(payload)
    }

    fn is_unwinding(&self) -> bool {
        self.inner.is_unwinding()
    }

    fn can_unwind(&self) -> bool {
        self.inner.can_unwind()
    }
}

impl Threads for Faulty {
    fn hooks(&self) -> &'static ThreadHooks {
        self.inner.hooks()
    }
}

// SAFETY: stacks come from a supplier that keeps the promises, or not at all (I-3).
unsafe impl Stacks for Faulty {
    fn map_stack(&self, class: StackClass) -> Result<StackMemory, StackError> {
        if class == StackClass::M1 && self.no_stacks.load(Ordering::SeqCst) {
            return Err(StackError::Exhausted {
                limit: 0,
                remedy: "wait",
            });
        }
        self.inner.map_stack(class)
    }

    unsafe fn unmap_stack(&self, memory: StackMemory) {
        // SAFETY: the caller's promise (I-3).
        unsafe { self.inner.unmap_stack(memory) };
    }
}
