//! One node's view of its world: the `Env` that a boot closure is given.

use alloc::sync::Arc;
use core::time::Duration;
use std::{panic, thread};

use fiber_core::{
    env::{
        AfterWork, Caps, Chooser, Clock, Entropy, Env, EnvError, HostInfo, Instant, Job, Offload,
        OffloadFull, Payload, Port, PortConfig, Room, Site, StackClass, StackError, StackMemory,
        StackStats, Stacks, ThreadHooks, Threads, Unwind, WallTime, WorkerId, Workers,
    },
    registry::IdSpace,
    request::RequestKind,
};

use crate::{
    choices::{self, site},
    own_thread::OwnThread,
    port::SimPort,
    stacks,
    threads::HOOKS,
    worker::{self, BodyRef},
    world::{Role, Start, Thread, ThreadState, World},
};

/// 2026-01-01 00:00:00 UTC: when every world begins.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

const KINDS: [RequestKind; 19] = [
    RequestKind::Nop,
    RequestKind::Ready,
    RequestKind::Recv,
    RequestKind::Send,
    RequestKind::RecvVectored,
    RequestKind::SendVectored,
    RequestKind::Accept,
    RequestKind::Connect,
    RequestKind::Listen,
    RequestKind::Shutdown,
    RequestKind::Duplicate,
    RequestKind::Address,
    RequestKind::SetOption,
    RequestKind::ReadOption,
    RequestKind::OpenSignals,
    RequestKind::RaiseSignal,
    RequestKind::Close,
    RequestKind::Cancel,
    RequestKind::CancelAllOn,
];

/// What all handles into one world share.
pub(crate) struct Shared {
    pub(crate) world: OwnThread<World>,
    /// Ids of this world alone: the same numbers in every run (I-6), none of them the process's.
    pub(crate) ids: IdSpace,
}

/// One incarnation of a node, seen from inside.
pub(crate) struct NodeEnv {
    shared: Arc<Shared>,
    node: u16,
    incarnation: u32,
    caps: Caps,
    room: Room,
}

impl NodeEnv {
    pub(crate) fn new(shared: Arc<Shared>, node: u16, incarnation: u32) -> Self {
        let mut caps = Caps::new(&KINDS);
        caps.lossless_cancel = true;
        caps.closed_world = true;
        caps.unwind = cfg!(panic = "unwind");
        caps.aside = host_std::works();
        caps.parallel = true;
        let helpers = shared.world.with(|world| world.config.offload_max);
        Self {
            room: Room::new(helpers),
            shared,
            node,
            incarnation,
            caps,
        }
    }

    fn with<R>(&self, visit: impl FnOnce(&mut World) -> R) -> R {
        self.shared.world.with(visit)
    }
}

impl Env for NodeEnv {
    fn open_port(&self, _: WorkerId, _: &PortConfig) -> Result<Box<dyn Port>, EnvError> {
        let thread = worker::current(|identity| identity.thread).ok_or(EnvError::new(
            "open_port",
            0,
            "open it inside of the node's boot closure, on the worker's own thread",
        ))?;
        Ok(Box::new(SimPort::open(
            Arc::clone(&self.shared),
            self.node,
            thread,
        )))
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn chooser(&self) -> Option<&dyn Chooser> {
        Some(self)
    }

    fn id_space(&self) -> &IdSpace {
        &self.shared.ids
    }

    fn describe(&self) -> HostInfo {
        HostInfo::new("host-sim", "sim", "")
    }
}

impl Chooser for NodeEnv {
    fn choose(&self, site: Site, n: u32) -> u32 {
        self.with(|world| world.decide(self.node, site, n))
    }
}

impl Clock for NodeEnv {
    fn now(&self) -> Instant {
        let thread = worker::current(|identity| identity.thread);
        Instant::from_nanos(self.with(|world| {
            let cost = choices::nanos(world.config.clock_cost);
            match thread {
                Some(thread) => world.spend(thread, cost),
                None => world.now += cost,
            }
            world.now
        }))
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix(self.with(|world| {
            let offset = world.nodes[usize::from(self.node)].wall_offset;
            EPOCH + Duration::from_nanos(world.now) + offset
        }))
    }

    fn cpu(&self) -> Duration {
        let thread = worker::current(|identity| identity.thread);
        let used = self.with(|world| world.threads.get(thread?).map(|thread| thread.cpu));
        Duration::from_nanos(used.unwrap_or(0))
    }
}

impl Entropy for NodeEnv {
    fn fill(&self, bytes: &mut [u8]) {
        self.with(|world| {
            let key = world.nodes[usize::from(self.node)].key;
            let key = choices::at(site("env.entropy"), key);
            for chunk in bytes.chunks_mut(8) {
                let word = world.choices.bits(key).to_le_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
        });
    }
}

// SAFETY: stacks are parts of private mappings that are never unmapped, each with a guard below
// (I-3).
unsafe impl Stacks for NodeEnv {
    fn map_stack(&self, class: StackClass) -> Result<StackMemory, StackError> {
        self.with(|world| world.take_stack(self.node, self.incarnation, class))?;
        stacks::map(class).inspect_err(|_| {
            self.with(|world| world.give_stack(self.node, self.incarnation, class));
        })
    }

    unsafe fn unmap_stack(&self, memory: StackMemory) {
        self.with(|world| world.give_stack(self.node, self.incarnation, memory.class()));
        stacks::unmap(memory);
    }

    fn leak_stack(&self, class: StackClass) {
        self.with(|world| world.leak_stack(self.node, self.incarnation, class));
    }

    unsafe fn clear_stack(&self, memory: &StackMemory) -> bool {
        stacks::clear(memory)
    }

    unsafe fn stack_depth(&self, memory: &StackMemory) -> Option<usize> {
        // SAFETY: the caller's promise (I-3).
        unsafe { stacks::depth(memory) }
    }

    /// What this incarnation of the node has in use. What is free belongs to the whole process,
    /// and may not be seen from inside of a world.
    fn stack_stats(&self) -> StackStats {
        let (in_use, leaked) = self.with(|world| world.stacks_of(self.node, self.incarnation));
        let mut stats = StackStats::default();
        for class in StackClass::ALL {
            let (in_use, leaked) = (in_use[class.index()], leaked[class.index()]);
            let numbers = &mut stats.classes[class.index()];
            numbers.in_use = in_use;
            numbers.leaked = leaked;
            numbers.mapped_bytes = (in_use + leaked) * class.bytes();
        }
        stats
    }
}

impl Workers for NodeEnv {
    fn run(&self, n: u16, body: &(dyn Fn(WorkerId) -> AfterWork + Sync)) -> Result<(), EnvError> {
        let caller = worker::current(|identity| identity.thread).ok_or(EnvError::new(
            "starting workers",
            0,
            "start them inside of the node's boot closure",
        ))?;
        // SAFETY: this frame is left only when every worker has returned: it waits for them
        // below, and an unwinding body never leaves it; a killed node abandons it whole (I-3).
        let body = unsafe { BodyRef::new(body) };
        self.with(|world| world.start_workers(caller, n, body));
        if n > 0 {
            let ended = panic::catch_unwind(panic::AssertUnwindSafe(|| body.call(WorkerId(0))));
            if let Err(payload) = ended {
                let message = crate::threads::message_of(&*payload);
                self.with(|world| world.panicked(self.node, message));
                loop {
                    self.with(|world| world.wait(caller, ThreadState::Joining, None));
                    worker::suspend();
                }
            }
        }
        while self.with(|world| world.must_join(caller)) {
            worker::suspend();
        }
        Ok(())
    }

    fn parallelism(&self) -> u16 {
        self.with(|world| world.config.parallelism)
    }
}

impl Threads for NodeEnv {
    fn hooks(&self) -> &'static ThreadHooks {
        &HOOKS
    }
}

impl Offload for NodeEnv {
    fn offload(&self, job: Job) -> Result<(), OffloadFull> {
        let refused = self.with(|world| {
            let node = &world.nodes[usize::from(self.node)];
            if node.helpers >= world.config.offload_max || node.incarnation != self.incarnation {
                return Some(job);
            }
            world.start_helper(self.node, job);
            None
        });
        refused.map_or(Ok(()), |job| Err(OffloadFull::new(job)))
    }

    fn room(&self) -> &Room {
        &self.room
    }
}

impl Unwind for NodeEnv {
    fn catch(&self, body: &mut dyn FnMut()) -> Result<(), Payload> {
        panic::catch_unwind(panic::AssertUnwindSafe(body))
    }

    fn throw(&self, payload: Payload) -> ! {
        panic::resume_unwind(payload)
    }

    fn is_unwinding(&self) -> bool {
        thread::panicking()
    }

    fn set_aside(&self, body: &mut dyn FnMut()) {
        host_std::set_aside(body);
    }

    fn can_unwind(&self) -> bool {
        cfg!(panic = "unwind")
    }
}

impl World {
    fn start_workers(&mut self, caller: crate::arena::Key<Thread>, n: u16, body: BodyRef) {
        let Some(thread) = self.threads.get_mut(caller) else {
            return;
        };
        thread.children += u32::from(n.saturating_sub(1));
        let node = thread.node;
        for worker in (1..n).map(WorkerId) {
            let mut thread = Thread::new(node, Role::Worker(worker), Start::Worker(worker, body));
            thread.parent = Some(caller);
            let key = self.start_thread(thread);
            self.nodes[usize::from(node)].threads.push(key);
        }
    }

    /// Whether `caller` has workers that still run; if so it is recorded as waiting for them.
    fn must_join(&mut self, caller: crate::arena::Key<Thread>) -> bool {
        let must = self
            .threads
            .get(caller)
            .is_some_and(|thread| thread.children > 0);
        if must {
            self.wait(caller, ThreadState::Joining, None);
        }
        must
    }

    fn start_helper(&mut self, node: u16, job: Job) {
        let key = self
            .threads
            .insert(Thread::new(node, Role::Helper, Start::Job(job)));
        let record = &mut self.nodes[usize::from(node)];
        record.helpers += 1;
        record.threads.push(key);
        let draw = choices::at(site("sim.helper"), record.key);
        let at = self.now + self.choices.nanos_below(draw, self.config.timer_slack);
        self.events
            .push(at, crate::events::Event::Begin { thread: key });
    }
}
