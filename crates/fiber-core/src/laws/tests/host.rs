//! A host with a network in memory, right or wrong as asked; the rest is the script's.

extern crate std;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    ptr,
    sync::atomic::{AtomicPtr, AtomicU64, Ordering},
    time::Duration,
};
use std::{
    sync::Mutex,
    thread::{self, ThreadId},
};

use super::{
    fault::Fault,
    port::{MemoryPort, Shared},
};
use crate::{
    env::{
        AfterWork, Caps, Chooser, Clock, Entropy, Env, EnvError, HostInfo, Instant, Job, Offload,
        OffloadFull, Payload, Port, PortConfig, Room, Site, StackClass, StackError, StackMemory,
        StackStats, Stacks, ThreadHooks, Threads, Unwind, WallTime, WorkerId, Workers,
    },
    request::RequestKind,
    script::{Script, ScriptEnv, SeededChooser},
};

pub(super) struct MemoryEnv {
    inner: Arc<ScriptEnv>,
    shared: Arc<Mutex<Shared>>,
    caps: Caps,
    first_thread: ThreadId,
    asked: AtomicU64,
    stack: Mutex<Option<(usize, usize)>>,
    fault: Fault,
}

impl MemoryEnv {
    pub(super) fn new(fault: Fault) -> Arc<Self> {
        let inner = ScriptEnv::with(Script::new().chooser(SeededChooser::new(1)));
        let mut caps = *inner.caps();
        if fault == Fault::SupportsEverything {
            caps = Caps::new(&[RequestKind::Nop]);
            caps.unwind = true;
        }
        caps.aside |= fault == Fault::AsideIsInSight;
        Arc::new(Self {
            inner,
            shared: Arc::new(Mutex::new(Shared::new())),
            caps,
            first_thread: thread::current().id(),
            asked: AtomicU64::new(0),
            stack: Mutex::new(None),
            fault,
        })
    }
}

impl Env for MemoryEnv {
    fn open_port(&self, worker: WorkerId, config: &PortConfig) -> Result<Box<dyn Port>, EnvError> {
        let offered = match self.fault {
            Fault::SupportsEverything => |kind| kind == RequestKind::Nop,
            _ => |_| true,
        };
        let inner = self.inner.open_port(worker, config)?;
        let (clock, shared) = (Arc::clone(&self.inner), Arc::clone(&self.shared));
        Ok(Box::new(MemoryPort::new(
            clock, inner, shared, offered, self.fault,
        )))
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn chooser(&self) -> Option<&dyn Chooser> {
        match self.fault {
            Fault::ChooserOutOfRange => Some(&TooMuch),
            _ => self.inner.chooser(),
        }
    }

    fn describe(&self) -> HostInfo {
        HostInfo::new("fiber-core", "memory", "")
    }
}

struct TooMuch;

impl Chooser for TooMuch {
    fn choose(&self, _: Site, n: u32) -> u32 {
        n
    }
}

impl Clock for MemoryEnv {
    fn now(&self) -> Instant {
        const STEP: u64 = 1_000_000;
        let now = self.inner.now();
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::ClockJumpsBack if asked % 7 == 6 => {
                Instant::from_nanos(now.as_nanos().saturating_sub(STEP))
            }
            Fault::ClockOfEachThread if thread::current().id() != self.first_thread => {
                now + Duration::from_secs(3600)
            }
            _ => now,
        }
    }

    fn wall(&self) -> WallTime {
        self.inner.wall()
    }

    fn cpu(&self) -> Duration {
        self.inner.cpu()
    }
}

impl Entropy for MemoryEnv {
    fn fill(&self, bytes: &mut [u8]) {
        let missing = usize::from(self.fault == Fault::EntropyLeavesTheLastByte);
        let len = bytes.len().saturating_sub(missing);
        self.inner.fill(&mut bytes[..len]);
    }
}

// SAFETY: the script's own stacks, except for the planted fault, whose stacks overlap and are
// never given back; only a law that looks for that uses them (I-3).
unsafe impl Stacks for MemoryEnv {
    fn map_stack(&self, class: StackClass) -> Result<StackMemory, StackError> {
        if self.fault != Fault::StacksOverlap {
            return self.inner.map_stack(class);
        }
        let mut stack = self.stack.lock().unwrap();
        let memory = self.inner.map_stack(class)?;
        let (base, limit) = *stack.get_or_insert_with(|| {
            let addresses = (memory.base(), memory.limit());
            (
                addresses.0.as_ptr().expose_provenance(),
                addresses.1.as_ptr().expose_provenance(),
            )
        });
        let at = |address| ptr::NonNull::new(ptr::with_exposed_provenance_mut(address)).unwrap();
        // SAFETY: not kept on purpose, see above (I-3).
        Ok(unsafe { StackMemory::new(at(base), at(limit), class) })
    }

    unsafe fn unmap_stack(&self, memory: StackMemory) {
        if self.fault != Fault::StacksOverlap {
            // SAFETY: passed on from the caller (I-3).
            unsafe { self.inner.unmap_stack(memory) };
        }
    }

    unsafe fn unmap_stacks(&self, stacks: &mut Vec<StackMemory>) {
        let kept = usize::from(self.fault == Fault::StacksStay);
        for memory in stacks.drain(kept..) {
            // SAFETY: passed on from the caller (I-3).
            unsafe { self.unmap_stack(memory) };
        }
    }

    unsafe fn clear_stack(&self, memory: &StackMemory) -> bool {
        // SAFETY: passed on from the caller (I-3).
        unsafe { self.inner.clear_stack(memory) }
    }

    unsafe fn stack_depth(&self, memory: &StackMemory) -> Option<usize> {
        if self.fault == Fault::StackDepthIsZero {
            return Some(0);
        }
        // SAFETY: passed on from the caller (I-3).
        unsafe { self.inner.stack_depth(memory) }
    }

    fn leak_stack(&self, class: StackClass) {
        self.inner.leak_stack(class);
    }

    fn stack_stats(&self) -> StackStats {
        self.inner.stack_stats()
    }
}

impl Workers for MemoryEnv {
    fn run(&self, n: u16, body: &(dyn Fn(WorkerId) -> AfterWork + Sync)) -> Result<(), EnvError> {
        let missing = u16::from(self.fault == Fault::LastWorkerMissing);
        self.inner.run(n - missing, body)
    }

    fn parallelism(&self) -> u16 {
        self.inner.parallelism()
    }
}

impl Offload for MemoryEnv {
    fn offload(&self, job: Job) -> Result<(), OffloadFull> {
        match self.fault {
            Fault::OffloadForgets => Ok(()),
            _ => self.inner.offload(job),
        }
    }

    fn room(&self) -> &Room {
        self.inner.room()
    }
}

impl Unwind for MemoryEnv {
    fn catch(&self, body: &mut dyn FnMut()) -> Result<(), Payload> {
        let caught = self.inner.catch(body);
        match self.fault {
            Fault::CatchLosesThePayload => caught.map_err(|_| -> Payload { Box::new(()) }),
            _ => caught,
        }
    }

    fn throw(&self, payload: Payload) -> ! {
        self.inner.throw(payload)
    }

    fn is_unwinding(&self) -> bool {
        self.inner.is_unwinding()
    }

    fn can_unwind(&self) -> bool {
        self.inner.can_unwind()
    }
}

static SLOT: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static SLEPT: AtomicU64 = AtomicU64::new(0);

static FAULTY: ThreadHooks = ThreadHooks {
    slot: || SLOT.load(Ordering::Relaxed),
    set_slot: |pointer| SLOT.store(pointer.cast_mut(), Ordering::Relaxed),
    // Sleeps its whole time, on a clock that is as false.
    park: |timeout| {
        let nanos = timeout.map_or(0, |timeout| timeout.as_nanos());
        SLEPT.fetch_add(u64::try_from(nanos).unwrap(), Ordering::Relaxed);
    },
    unparker: || panic!("no law gets here"),
    relax: || {},
    is_unwinding: thread::panicking,
    watch_panics: |_| {},
    now: || Instant::from_nanos(SLEPT.load(Ordering::Relaxed)),
};

impl Threads for MemoryEnv {
    fn hooks(&self) -> &'static ThreadHooks {
        match self.fault {
            Fault::SlotOfAllThreads => &FAULTY,
            Fault::ParkMissesAnEarlyUnpark => &DEAF,
            Fault::PanicsAreNotTold => &FAULTY,
            _ => self.inner.hooks(),
        }
    }
}

struct Deaf;

impl crate::env::Unpark for Deaf {
    fn unpark(&self) {}
}

static DEAF: ThreadHooks = ThreadHooks {
    unparker: || Arc::new(Deaf),
    ..FAULTY
};
