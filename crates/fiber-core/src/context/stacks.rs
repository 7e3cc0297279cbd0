//! A worker's own free stacks, and what samples of them say about their use.
//!
//! ```text
//! fiber ends ─▶ cache, newest last ─▶ next fiber starts         no call of the host
//!                  │ full: the older half, in one call
//!                  │ untouched over some waits: all but a few, in one call
//!                  ▼
//!                 host
//! ```

use alloc::vec::Vec;
use core::{mem, panic::Location};

use super::Context;
use crate::{
    env::{StackClass, StackError, StackMemory},
    stack::OwnedStack,
};

mod poison;

/// How many bytes of free stacks of one class a worker keeps, if all of them had been used to
/// their ends.
const KEPT_BYTES: usize = 32 << 20;
const KEPT_MAX: usize = 256;
/// How many an idle worker keeps of each class.
const KEPT_IDLE: usize = 8;
/// A worker looks for surplus each time it was about to sleep so often.
const WAITS: u32 = 16;
/// One start of so many is measured, at first and later. Primes: whatever repeats among fibers is
/// met in each phase.
const SAMPLE_EVERY: [u32; 2] = [1021, 8191];
/// How many samples are the first ones.
const FIRST_SAMPLES: u32 = 8;
/// How many spawn sites are told apart, each class on its own.
const SITES_MAX: usize = 256;

const CLASSES: usize = StackClass::ALL.len();

const fn kept_max(class: StackClass) -> usize {
    let kept = KEPT_BYTES / class.bytes();
    if kept > KEPT_MAX { KEPT_MAX } else { kept }
}

/// What samples say about the stacks of fibers that were spawned at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackUse {
    /// The place; `None` for all those that came when the table was full.
    pub spawned_at: Option<&'static Location<'static>>,
    /// The class of their stacks.
    pub class: StackClass,
    /// How many of them were measured.
    pub samples: u64,
    /// The deepest use among those, in bytes, as exact as the host can tell.
    pub deepest_bytes: usize,
}

/// Free stacks of one worker, and the samples.
#[derive(Default)]
pub(super) struct StackCache {
    free: [Vec<StackMemory>; CLASSES],
    /// The least length of each since the last look for surplus.
    unneeded: [usize; CLASSES],
    /// What is on its way to the host.
    batch: Vec<StackMemory>,
    waits: u32,
    /// How many starts there are before the next one that is measured.
    unmeasured: u32,
    sampled: u32,
    samples: Samples,
}

impl StackCache {
    #[inline]
    fn pop(&mut self, class: StackClass) -> Option<StackMemory> {
        let index = class.index();
        let memory = self.free[index].pop()?;
        self.unneeded[index] = self.unneeded[index].min(self.free[index].len());
        Some(memory)
    }

    /// Keeps `memory`; if that is too much, the older half is put into the batch.
    fn push(&mut self, memory: StackMemory) {
        let (max, index) = (kept_max(memory.class()), memory.class().index());
        let free = &mut self.free[index];
        free.push(memory);
        if free.len() > max {
            self.batch.extend(free.drain(..max.div_ceil(2)));
            self.unneeded[index] = self.unneeded[index].min(free.len());
        }
    }

    /// Puts what nobody has needed of late into the batch.
    fn collect_surplus(&mut self) {
        self.waits = 0;
        for (free, unneeded) in self.free.iter_mut().zip(&mut self.unneeded) {
            let surplus = unneeded.saturating_sub(KEPT_IDLE);
            self.batch.extend(free.drain(..surplus));
            *unneeded = free.len();
        }
    }

    fn collect_all(&mut self) {
        for free in &mut self.free {
            self.batch.append(free);
        }
        self.unneeded = [0; CLASSES];
    }

    /// Whether the stack of the fiber that starts now is to be measured.
    fn is_sampled(&mut self) -> bool {
        if let Some(left) = self.unmeasured.checked_sub(1) {
            self.unmeasured = left;
            return false;
        }
        let later = self.sampled >= FIRST_SAMPLES;
        self.sampled += u32::from(!later);
        self.unmeasured = SAMPLE_EVERY[usize::from(later)] - 1;
        true
    }
}

/// The deepest use by place and class; bounded, and what comes too late is counted together.
#[derive(Default)]
struct Samples {
    sites: Vec<StackUse>,
    others: [Option<StackUse>; CLASSES],
    taken: u64,
}

impl Samples {
    fn add(&mut self, spawned_at: &'static Location<'static>, class: StackClass, bytes: usize) {
        let none = StackUse {
            spawned_at: Some(spawned_at),
            class,
            samples: 0,
            deepest_bytes: 0,
        };
        let known = self
            .sites
            .iter()
            .position(|site| site.class == class && site.spawned_at == Some(spawned_at));
        let site = match known {
            Some(index) => &mut self.sites[index],
            None if self.sites.len() < SITES_MAX => {
                self.sites.push(none);
                self.sites.last_mut().expect("pushed just now")
            }
            None => self.others[class.index()].get_or_insert(StackUse {
                spawned_at: None,
                ..none
            }),
        };
        self.taken += 1;
        site.samples += 1;
        site.deepest_bytes = site.deepest_bytes.max(bytes);
    }
}

impl Context {
    /// A stack with arbitrary content, from the worker's own free ones if possible.
    // Inlined: what it gives has a narrow part, and is not to be put together from pieces.
    #[inline]
    pub(crate) fn take_stack(&self, class: StackClass) -> Result<StackMemory, StackError> {
        let kept = self.stacks.borrow_mut().pop(class);
        match kept {
            Some(memory) => {
                poison::check(&memory);
                Ok(memory)
            }
            None => self
                .env()
                .map_stack(class)
                .or_else(|error| self.map_with_less_kept(class, error)),
        }
    }

    /// The host has no stack: what this worker keeps of other classes may be what is missing.
    #[cold]
    fn map_with_less_kept(
        &self,
        class: StackClass,
        error: StackError,
    ) -> Result<StackMemory, StackError> {
        if self.stacks_kept().iter().all(|&kept| kept == 0) {
            return Err(error);
        }
        self.give_stacks_back();
        self.env().map_stack(class)
    }

    /// A stack for a fiber that starts, and whether it is to be measured at the fiber's end.
    #[inline]
    pub(super) fn take_first_stack(
        &self,
        class: StackClass,
    ) -> Result<(StackMemory, bool), StackError> {
        let memory = self.take_stack(class)?;
        let sampled = self.stacks.borrow_mut().is_sampled();
        // SAFETY: it was free until now, so it has no frame and no content that matters (I-3).
        let measured = sampled && unsafe { self.env().clear_stack(&memory) };
        Ok((memory, measured))
    }

    /// Takes back the stack of a fiber that has ended.
    pub(super) fn give_last_stack(
        &self,
        stack: OwnedStack,
        spawned_at: &'static Location<'static>,
    ) {
        let measured = stack.is_measured();
        let memory = stack.into_memory();
        if measured {
            self.measure(&memory, spawned_at);
        }
        // SAFETY: its last frame has returned, and a fiber ends only when its requests have (I-3).
        unsafe { self.give_stack(memory) };
    }

    #[cold]
    fn measure(&self, memory: &StackMemory, spawned_at: &'static Location<'static>) {
        // SAFETY: cleared when its fiber started, and the last frame on it has returned (I-3).
        if let Some(bytes) = unsafe { self.env().stack_depth(memory) } {
            let mut stacks = self.stacks.borrow_mut();
            stacks.samples.add(spawned_at, memory.class(), bytes);
        }
    }

    /// Takes a free stack back.
    ///
    /// # Safety
    /// No frame on it is live, and no request points into it (I-3).
    pub(crate) unsafe fn give_stack(&self, memory: StackMemory) {
        poison::spread(&memory);
        let mut stacks = self.stacks.borrow_mut();
        stacks.push(memory);
        if !stacks.batch.is_empty() {
            let batch = mem::take(&mut stacks.batch);
            drop(stacks);
            self.give_back(batch);
        }
    }

    /// The worker has nothing to do: what it has not needed for some time goes to the host.
    pub(super) fn give_surplus_back(&self) {
        let mut stacks = self.stacks.borrow_mut();
        stacks.waits += 1;
        if stacks.waits < WAITS {
            return;
        }
        stacks.collect_surplus();
        let batch = mem::take(&mut stacks.batch);
        drop(stacks);
        self.give_back(batch);
    }

    pub(super) fn give_stacks_back(&self) {
        let mut stacks = self.stacks.borrow_mut();
        stacks.collect_all();
        let batch = mem::take(&mut stacks.batch);
        drop(stacks);
        self.give_back(batch);
    }

    fn give_back(&self, mut batch: Vec<StackMemory>) {
        if !batch.is_empty() {
            batch.iter().for_each(poison::lift);
            // SAFETY: free stacks have no frames, and no requests point into them (I-3).
            unsafe { self.env().unmap_stacks(&mut batch) };
        }
        debug_assert!(batch.is_empty(), "the host has taken all of them");
        self.stacks.borrow_mut().batch = batch;
    }

    /// How deep stacks were used on this worker, by where their fibers were spawned: the deepest
    /// of samples, about one fiber in 1000 at first, and one in 8000 later. Empty where the host
    /// cannot measure. Of 256 places at
    /// the most; fibers from further ones are counted together, without a place.
    pub fn stack_use(&self) -> Vec<StackUse> {
        let stacks = self.stacks.borrow();
        let others = stacks.samples.others.iter().flatten();
        stacks.samples.sites.iter().chain(others).copied().collect()
    }

    /// How many stacks were measured on this worker: [`Context::stack_use`] changes with it.
    pub fn stack_samples(&self) -> u64 {
        self.stacks.borrow().samples.taken
    }

    /// How many free stacks this worker keeps for itself, by class in the order of
    /// [`StackClass::ALL`].
    pub fn stacks_kept(&self) -> [usize; StackClass::ALL.len()] {
        self.stacks.borrow().free.each_ref().map(Vec::len)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
