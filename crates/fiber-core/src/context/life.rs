//! A fiber's life on its worker: first run, resume, end.

use core::ptr::{self, NonNull};

use corosensei::{Coroutine, CoroutineResult};

use super::{Arc, Context, Id, Namespace, Placement, mem};
use crate::{
    env::{Payload, StackError, Unwind},
    fiber::{ExitReason, Fiber, FiberQueue, Header, Position, Reason, Runnable, Started},
    operation::CHOICE,
    park::{BUDGET, Masked},
    process::{HEAP_LIMIT, Record, Stage},
    registry::{Closing, Full, Named, Object},
    stack::OwnedStack,
    timeout::TimeoutScope,
};

/// Why a fiber of a process does not start.
const NO_ID: Reason = Reason::new("no id was left for it, by which its process could find it");

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

impl Context {
    /// Gives a new fiber its id and its process and hands it to the scheduler.
    pub fn launch(&self, fiber: Runnable, placement: Placement) {
        self.register(&fiber);
        tracing::trace!(
            target: "fiber::core",
            fiber = %fiber.fiber(), spawned_at = %fiber.fiber().spawned_at(), "launched"
        );
        self.schedule().launch(self, fiber, placement);
    }

    /// [`Context::launch`] of many, spread over all workers.
    pub fn launch_many(&self, fibers: impl Iterator<Item = Runnable>) {
        let mut registered = FiberQueue::new();
        for fiber in fibers {
            self.register(&fiber);
            registered.push(fiber);
        }
        self.schedule().launch_many(registered);
    }

    fn register(&self, fiber: &Runnable) {
        self.identify(fiber.fiber());
    }

    fn identify(&self, fiber: &Fiber) {
        let header = fiber.header();
        let mut shard = self.shard.borrow_mut();
        if shard.should_receive() {
            drop(shard);
            self.receive_closing();
            shard = self.shard.borrow_mut();
        }
        let (named, owner) = (Named::fiber(fiber.as_raw()), header.process());
        let opened = shard.name(self.id_space(), named, owner);
        drop(shard);
        match opened {
            Ok(id) => {
                header.set_id(id);
                header.joiner().open(self.id_space().waits());
            }
            Err(error) => {
                tracing::warn!(target: "fiber::core", %error, "a fiber goes without an id");
                if owner.is_some() {
                    // No sweep would ever find it.
                    header.cancel(NO_ID);
                }
            }
        }
        // From here on a sweep finds it; if one was before, its process has come further.
        if let Some(process) = owner {
            let stage = process.stage();
            if stage > Stage::Running {
                header.heed(stage, process.reason());
            }
        }
    }

    /// Names `object`: its id belongs to the calling fiber's process.
    ///
    /// # Errors
    /// At a limit of ids; the object is dropped.
    pub fn name_object(&self, namespace: Namespace, object: Object) -> Result<Id, Full> {
        self.name_object_for(namespace, object, self.process().as_ref())
    }

    pub(crate) fn name_object_for(
        &self,
        namespace: Namespace,
        object: Object,
        owner: Option<&Arc<Record>>,
    ) -> Result<Id, Full> {
        self.receive_closing();
        let space = self.id_space();
        let mut shard = self.shard.borrow_mut();
        let id = shard.open_object(space, namespace, object, owner)?;
        drop(shard);
        self.close_if_ended(id, owner);
        Ok(id)
    }

    /// Names `process`, which belongs to the calling fiber's.
    ///
    /// # Errors
    /// At the limit of ids.
    pub fn name_process(&self, process: &Arc<Record>) -> Result<Id, Full> {
        self.receive_closing();
        let named = Named::process(Arc::clone(process));
        let (space, owner) = (self.id_space(), self.process());
        let id = self.shard.borrow_mut().name(space, named, owner.as_ref())?;
        process.set_id(id);
        Ok(id)
    }

    /// Runs `fiber`, a ready or new one of this worker, until it suspends or ends.
    ///
    /// # Panics
    /// When called from inside of a fiber.
    pub fn resume(&self, fiber: Runnable) -> Resumed {
        if fiber.fiber().is_started() {
            return self.resume_started(fiber);
        }
        match self.begin(fiber) {
            Ok(fiber) => self.resume_started(fiber),
            Err(resumed) => resumed,
        }
    }

    /// Has a fiber that has not started do so: it is resumed next. Or says what became of it
    /// without that: it waits, without a stack, or has ended.
    ///
    /// # Errors
    /// See above.
    ///
    /// # Panics
    /// When called from inside of a fiber, or with one that has started.
    // Not inlined: there is one place from which fibers are resumed, see `Header::switch_out`.
    #[inline(never)]
    pub fn begin(&self, fiber: Runnable) -> Result<Runnable, Resumed> {
        assert!(!self.is_on_fiber(), "fibers are resumed by their worker");
        let header = fiber.fiber().header();
        assert!(!header.is_started(), "a fiber starts once");
        if !header.begin(fiber.fiber().as_raw(), self) {
            // The right to run it stays with the fiber, as with one that is parked.
            let _ = fiber.into_raw();
            return Err(Resumed::Suspended);
        }
        if let Err(reason) = self.start(fiber.fiber()) {
            self.fail(fiber.into_fiber(), reason);
            return Err(Resumed::Finished);
        }
        self.position.set(Position::First);
        Ok(fiber)
    }

    /// [`Context::resume`] of one that has started.
    ///
    /// # Panics
    /// When called from inside of a fiber.
    // Into the scheduler's loop: see `Header::switch_out`.
    #[inline(always)]
    pub fn resume_started(&self, fiber: Runnable) -> Resumed {
        assert!(!self.is_on_fiber(), "fibers are resumed by their worker");
        let header = fiber.fiber().header();
        self.set_running(header);
        self.budget().set(BUDGET);
        // SAFETY: on the home worker, outside of the fiber, and nothing else reaches the place
        // while it runs (I-11).
        let coroutine = unsafe { header.started_part().coroutine() };
        let result = coroutine.resume(None);
        self.set_running(ptr::null());
        self.position.set(Position::Last);
        let sample = self.budget().take_sample();
        if let Some(process) = header.process() {
            self.account(process, sample);
        }
        let resumed = match result {
            CoroutineResult::Yield(()) if !header.rests() => {
                if let Some(process) = header.process() {
                    process.count_park();
                }
                // The right to run it stays with the parked fiber, or is in a queue by now.
                let _ = fiber.into_raw();
                Resumed::Suspended
            }
            result => {
                self.come_off(fiber, matches!(result, CoroutineResult::Return(())));
                Resumed::Finished
            }
        };
        if self.later.get() {
            self.see_to_later();
        }
        resumed
    }

    /// A fiber has come back for the last time: it has ended, or rests.
    #[inline(never)]
    fn come_off(&self, fiber: Runnable, has_ended: bool) {
        if !has_ended {
            return self.bury(fiber);
        }
        self.reclaim(fiber.fiber().header());
        self.end(fiber.into_fiber());
    }

    /// A fiber of `process` has come back: what it has used is seen to.
    #[inline]
    fn account(&self, process: &Arc<Record>, sample_ns: u64) {
        if sample_ns > 0 {
            process.count_cpu(sample_ns);
        }
        if process.heap().is_over() {
            self.schedule().cancel_process(process, HEAP_LIMIT);
        }
    }

    /// Attaches a stack; from here on the fiber stays on this thread (I-11).
    ///
    /// A cancelled one never runs. It gets a stack, most likely one that was used before, only if
    /// its closure has something to drop, which may park.
    fn start(&self, fiber: &Fiber) -> Result<(), ExitReason> {
        let header = fiber.header();
        let cancelled = header.is_cancelled();
        if cancelled && header.drops_nothing() {
            return Err(ExitReason::unstarted(header));
        }
        if header.id().is_none() {
            // Launched from outside, where there is no worker that could have named it.
            self.identify(fiber);
        }
        let bytes = header.stack_class().bytes();
        let admitted = header.process().map_or(Ok(()), |it| it.take_stack(bytes));
        let taken = match admitted {
            Ok(()) => self
                .take_first_stack(header.stack_class())
                .inspect_err(|_| {
                    if let Some(process) = header.process() {
                        process.give_stack(bytes);
                    }
                }),
            Err(limit) => Err(StackError::Process(limit)),
        };
        let (memory, measured) = taken.map_err(|error| match cancelled {
            true => ExitReason::unstarted(header),
            false => ExitReason::NoStack(error),
        })?;
        let raw = fiber.as_raw();
        let mut stack = OwnedStack::new(memory, raw);
        stack.set_measured(measured);
        let place = stack.started_part();
        // SAFETY: both stay beside each other, and the fiber alone runs there (I-3).
        let frames = unsafe { stack.frames() };
        let coroutine = Coroutine::with_stack(frames, move |yielder, _| {
            // SAFETY: the runtime holds a reference until the coroutine has returned (I-3).
            unsafe { raw.as_ref() }.set_yielder(yielder);
            Self::body(raw);
        });
        // SAFETY: kept free for it on its stack, on which no frame is yet (I-3).
        unsafe { place.write(Started::new(coroutine, stack)) };
        header.set_started_part(Some(place));
        header.set_home(self.home());
        header.set_started();
        self.link(&header.started_part().links, header);
        Ok(())
    }

    /// Ends a fiber for which there is no stack. What it has is dropped here, outside of any
    /// fiber: what would block panics, and no panic gets further.
    fn fail(&self, fiber: Fiber, reason: ExitReason) {
        let (header, raw) = (fiber.header(), fiber.as_raw());
        clean_up(self.env(), || header.fail(raw, reason));
        self.end(fiber);
    }

    /// The base frame of every fiber: no panic leaves it (I-9).
    fn body(raw: NonNull<Header>) {
        // SAFETY: as in `start` (I-3).
        let header = unsafe { raw.as_ref() };
        Self::with_fiber("a fiber's body", |context, _| {
            // What is only dropped is dropped here, on a fiber, for it is the user's code: it may
            // park and panic. It is masked, so that it can do the former.
            tell(context, header, "started");
            if header.is_cancelled() {
                let _masked = Masked::new(header);
                clean_up(context.env(), || {
                    header.fail(raw, ExitReason::unstarted(header));
                });
            } else {
                header.run(raw, context.env());
            }
            if header.result_is_orphaned() {
                let _masked = Masked::new(header);
                clean_up(context.env(), || header.discard(raw));
            }
            header.drop_locals(|drop_it| clean_up(context.env(), drop_it));
            tell(context, header, "ended");
            // A subscriber is the user's code, and may have values of its own.
            header.drop_locals(|drop_it| clean_up(context.env(), drop_it));
        });
    }

    fn reclaim(&self, header: &Header) {
        let part = header.started_part();
        self.unlink(&part.links);
        header.set_started_part(None);
        // SAFETY: on the home worker, and the fiber has returned (I-11).
        let stack = unsafe { Started::end(part.into()) };
        if let Some(process) = header.process() {
            process.give_stack(header.stack_class().bytes());
        }
        self.give_last_stack(stack, header.spawned_at());
    }

    /// The last steps of a death (I-5): its requests have ended and its frames are left, so its id
    /// goes stale, and then those who wait are told.
    fn end(&self, fiber: Fiber) {
        self.close_fiber(&fiber, Closing::Asked);
        fiber.header().finish();
    }

    pub(crate) fn close_fiber(&self, fiber: &Fiber, why: Closing) {
        if let Some(id) = fiber.id() {
            if why == Closing::Asked
                && let Ok(mut shard) = self.shard.try_borrow_mut()
                && shard.free_fiber(self.id_space(), id)
            {
                return;
            }
            // At a broken end the shard that opened it may have closed it already.
            let _ = self.id_space().close_fiber(id, fiber, why);
        }
    }

    /// The fiber was abandoned and never runs again: its stack and its block stay as they are, and
    /// so does all that it holds and borrows (I-3). Its id is marked, for whoever waits for what it
    /// holds; and who waits for its end, without lending it anything, is told.
    #[cold]
    fn bury(&self, fiber: Runnable) {
        let fiber = fiber.into_fiber();
        let header = fiber.header();
        TimeoutScope::disarm_all(header.scopes().get(), self);
        self.unlink(&header.started_part().links);
        self.at_rest.set(self.at_rest.get() + 1);
        if let Some(process) = header.process() {
            process.give_stack(header.stack_class().bytes());
        }
        let reason = header.cancel_reason().unwrap_or_default();
        header.fail(fiber.as_raw(), ExitReason::Abandoned(reason));
        // Before the mark: whoever sees that may look at the block for ever.
        mem::forget(fiber.clone());
        self.close_fiber(&fiber, Closing::Lost);
        self.env().leak_stack(header.stack_class());
        if let Some(process) = header.process() {
            // From here on it is not one that still runs.
            process.count_abandoned();
        }
        header.finish();
        self.id_space().tell_of_loss();
    }

    /// Wakes the fibers that have started here and wait, perhaps among other things, for what an
    /// abandoned one holds: they look again, and find out.
    pub fn look_for_lost(&self) {
        let space = self.id_space();
        self.each_started(|header| {
            let looks = match header.stored_waits() {
                None => header.waiting_for() == CHOICE,
                Some(waits) => {
                    let mut lost = false;
                    waits.resource.obstacles(&mut |holder| {
                        lost |= holder.fiber.is_some_and(|fiber| space.is_lost(fiber));
                    });
                    lost
                }
            };
            if looks {
                header.wake();
            }
        });
    }

    /// How many fibers were abandoned here with their processes: their frames are on this thread.
    pub fn at_rest(&self) -> usize {
        self.at_rest.get()
    }

    /// The worker ends, all of its fibers have: drops its values, here, where nothing can suspend.
    pub fn drop_locals(&self) {
        // A destructor may make others; what is made without end is leaked.
        for _ in 0..4 {
            for value in self.locals().take() {
                clean_up(self.env(), || drop(value));
            }
        }
        self.leak_locals();
    }

    /// The worker ends, and its values stay as they are: frames may name them that do, too (I-3).
    pub fn leak_locals(&self) {
        mem::forget(self.locals().take());
    }

    /// What the fiber has left to do that has come back.
    #[cold]
    fn see_to_later(&self) {
        self.pay_debt();
        if self.deferred.get() {
            self.wake_interrupted();
        }
    }
}

/// One event of a fiber's life, told on its own stack: the subscriber is the user's code, and what
/// unwinds out of it goes no further (I-9).
fn tell(context: &Context, header: &Header, what: &str) {
    if !tracing::enabled!(target: "fiber::core", tracing::Level::TRACE) {
        return;
    }
    let told = context.env().catch(&mut || {
        tracing::trace!(
            target: "fiber::core",
            fiber = %header.handle(), worker = context.worker().0, "{what}"
        );
    });
    if let Err(payload) = told {
        forget_payload(context.env(), payload);
    }
}

/// Runs what drops something of the user's: what unwinds out of it is told, and goes no further
/// (I-9).
pub(super) fn clean_up(unwind: &dyn Unwind, drop_it: impl FnOnce()) {
    let mut drop_it = Some(drop_it);
    let caught = unwind.catch(&mut || {
        if let Some(drop_it) = drop_it.take() {
            drop_it();
        }
    });
    if let Err(payload) = caught {
        forget_payload(unwind, payload);
        // The subscriber is the user's code, too.
        let told = unwind.catch(&mut || {
            tracing::error!(target: "fiber::core", "a destructor panicked at the end of a fiber");
        });
        if let Err(payload) = told {
            forget_payload(unwind, payload);
        }
    }
}

/// Drops what a panic carried; what carries on from there is leaked.
fn forget_payload(unwind: &dyn Unwind, payload: Payload) {
    let mut payload = Some(payload);
    if let Err(again) = unwind.catch(&mut || drop(payload.take())) {
        mem::forget(again);
    }
}
