//! A fiber's life on its worker: first run, resume, end.

use core::{
    panic::Location,
    ptr::{self, NonNull},
};

use corosensei::{Coroutine, CoroutineResult};

use super::{Context, Id, Namespace, Placement, mem};
use crate::{
    env::{StackClass, StackError, StackMemory},
    fiber::{ExitReason, Fiber, Header},
    request::RawDescriptor,
    stack::OwnedStack,
};

/// How many free stacks of each class a worker keeps.
const STACKS_KEPT: usize = 256;

/// What became of a resumed fiber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a fiber comes back in one of two ways"
)]
pub enum Resumed {
    /// It is parked, or ready again.
    Suspended,
    /// It has ended.
    Finished,
}

/// One started fiber, for reports.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FiberReport<'a> {
    /// Its id.
    pub id: Option<Id>,
    /// Its name.
    pub name: Option<&'a str>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for.
    pub waiting_for: &'static str,
    /// Whether it is parked, rather than ready.
    pub is_parked: bool,
}

impl Context {
    /// Gives a new fiber its id and its process and hands it to the scheduler.
    pub fn launch(&self, fiber: Fiber, placement: Placement) {
        let process = self.process();
        let opened = self.shard.borrow_mut().open(
            self.env().id_space(),
            Namespace::FIBER,
            RawDescriptor(0),
            process,
        );
        if let Err(full) = opened {
            tracing::warn!(target: "fiber::core", error = %full, "a fiber goes without an id");
        }
        fiber.header().set_identity(opened.ok(), process);
        self.schedule().launch(fiber, placement);
    }

    /// Runs `fiber`, a ready or new one of this worker, until it suspends or ends.
    ///
    /// # Panics
    /// When called from inside of a fiber.
    #[inline]
    pub fn resume(&self, fiber: Fiber) -> Resumed {
        assert!(!self.is_on_fiber(), "fibers are resumed by their worker");
        let header = fiber.header();
        if !header.is_started()
            && let Err(reason) = self.start(&fiber)
        {
            fiber.fail(reason);
            self.end(fiber);
            return Resumed::Finished;
        }
        self.current.set(header);
        // SAFETY: on the home worker, outside of the fiber, and nothing else reaches the place
        // while it runs (I-11).
        let coroutine = unsafe { header.coroutine() };
        let result = coroutine
            .as_mut()
            .expect("a started fiber has its stack")
            .resume(());
        self.current.set(ptr::null());
        match result {
            CoroutineResult::Yield(()) => {
                // The runtime's reference stays with the parked fiber, or is in a queue by now.
                let _ = fiber.into_raw();
                Resumed::Suspended
            }
            CoroutineResult::Return(()) => {
                self.reclaim(header);
                self.end(fiber);
                Resumed::Finished
            }
        }
    }

    /// Attaches a stack; from here on the fiber stays on this thread (I-11).
    fn start(&self, fiber: &Fiber) -> Result<(), ExitReason> {
        let header = fiber.header();
        if header.is_cancelled() {
            return Err(ExitReason::Cancelled);
        }
        let memory = self
            .take_stack(header.stack_class())
            .map_err(ExitReason::NoStack)?;
        let raw = fiber.as_raw();
        let stack = OwnedStack::new(memory, raw);
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            // SAFETY: the runtime holds a reference until the coroutine has returned (I-3).
            unsafe { raw.as_ref() }.set_yielder(yielder);
            Self::body(raw);
        });
        // SAFETY: on the home worker, outside of the fiber, which has not run yet (I-11).
        *unsafe { header.coroutine() } = Some(coroutine);
        header.set_home(self.home());
        self.link(header);
        Ok(())
    }

    /// The base frame of every fiber: no panic leaves it (I-9).
    fn body(raw: NonNull<Header>) {
        // SAFETY: as in `start` (I-3).
        let header = unsafe { raw.as_ref() };
        Self::with_fiber("a fiber's body", |context, _| {
            header.run(raw, context.env());
            if header.result_is_orphaned() {
                // Its drop is the user's code: it runs here, on a fiber, and may panic.
                if context.env().catch(&mut || header.discard(raw)).is_err() {
                    tracing::error!(target: "fiber::core", "a detached fiber's result panicked in its drop");
                }
            }
        });
    }

    fn reclaim(&self, header: &Header) {
        // SAFETY: on the home worker, and the fiber has returned (I-11).
        let coroutine = unsafe { header.coroutine() }
            .take()
            .expect("it has just run");
        self.unlink(header);
        self.give_stack(coroutine.into_stack().into_memory());
    }

    fn end(&self, fiber: Fiber) {
        if let Some(id) = fiber.id() {
            self.close_id(id);
        }
        fiber.header().finish();
    }

    fn take_stack(&self, class: StackClass) -> Result<StackMemory, StackError> {
        match self.stacks.borrow_mut()[class.index()].pop() {
            Some(memory) => Ok(memory),
            None => self.env().map_stack(class),
        }
    }

    fn give_stack(&self, memory: StackMemory) {
        let kept = &mut self.stacks.borrow_mut()[memory.class().index()];
        if kept.len() < STACKS_KEPT {
            kept.push(memory);
        } else {
            // SAFETY: its last frame has returned, and a fiber ends only when its requests have
            // (I-3).
            unsafe { self.env().unmap_stack(memory) };
        }
    }

    pub(super) fn give_stacks_back(&self) {
        for memory in mem::take(&mut *self.stacks.borrow_mut())
            .into_iter()
            .flatten()
        {
            // SAFETY: free stacks have no frames (I-3).
            unsafe { self.env().unmap_stack(memory) };
        }
    }

    fn link(&self, header: &Header) {
        let first = self.started.replace(header);
        header.all_next.set(first);
        header.all_prev.set(ptr::null());
        if let Some(first) = reach(first) {
            first.all_prev.set(header);
        }
        self.started_count.set(self.started_count.get() + 1);
    }

    fn unlink(&self, header: &Header) {
        let (prev, next) = (header.all_prev.get(), header.all_next.get());
        match reach(prev) {
            None => self.started.set(next),
            Some(prev) => prev.all_next.set(next),
        }
        if let Some(next) = reach(next) {
            next.all_prev.set(prev);
        }
        self.started_count.set(self.started_count.get() - 1);
    }

    /// How many fibers have started here and not ended.
    pub fn started(&self) -> usize {
        self.started_count.get()
    }

    /// Cancels every fiber that has started here and not ended.
    pub fn cancel_all(&self) {
        self.each_started(|header| {
            header.cancel();
        });
    }

    /// Tells about every fiber that has started here and not ended, newest first.
    pub fn report(&self, mut tell: impl FnMut(FiberReport<'_>)) {
        self.each_started(|header| {
            tell(FiberReport {
                id: header.id(),
                name: header.name(),
                spawned_at: header.spawned_at(),
                waiting_for: header.waiting_for().get(),
                is_parked: header.wake_word().is_parked(),
            });
        });
    }

    fn each_started(&self, mut visit: impl FnMut(&Header)) {
        let mut at = self.started.get();
        while let Some(header) = reach(at) {
            at = header.all_next.get();
            visit(header);
        }
    }
}

fn reach<'a>(header: *const Header) -> Option<&'a Header> {
    // SAFETY: the list holds started fibers that have not ended, whose blocks the runtime's
    // reference keeps alive (I-3).
    unsafe { header.as_ref() }
}
