//! Which workers sleep, so that one of them is called when there is work that anybody may do.
//!
//! ```text
//!  spawner                               sleeper
//!  push, then call_one ──▶ its bit is cleared, `calling` is set, it is unparked
//!      others who push meanwhile         `awake`: `calling` is cleared, then it looks everywhere,
//!      need not call                     and calls the next one if there is more than it takes
//!                                        `about_to_sleep`: its bit is set, `calling` is cleared,
//!                                        then it looks everywhere once more
//! ```
//!
//! So there is one call on its way at a time: a burst of spawns does not ring for each fiber. Who
//! clears `calling` looks at all queues afterwards, and whoever found it set had pushed before.

use alloc::vec::Vec;

use fiber_core::env::WorkerId;

use crate::primitive::{AtomicBool, AtomicU64, Ordering, loom_fence};

/// The workers that sleep or are about to.
#[derive(Debug)]
pub(crate) struct Idle {
    /// One bit a worker.
    words: Vec<AtomicU64>,
    calling: AtomicBool,
}

impl Idle {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            words: (0..workers.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
            calling: AtomicBool::new(false),
        }
    }

    /// `worker` is about to sleep. It looks at all queues once more afterwards.
    pub(crate) fn about_to_sleep(&self, worker: WorkerId) {
        let (word, bit) = self.place(worker);
        word.fetch_or(bit, Ordering::SeqCst);
        loom_fence();
        // Somebody may have looked for a sleeper just before and found none, but not said so yet.
        self.end_call();
    }

    /// `worker` does not sleep after all, or has slept. It looks at all queues afterwards.
    pub(crate) fn awake(&self, worker: WorkerId) {
        let (word, bit) = self.place(worker);
        // Who sees that somebody has taken the bit sees the call, too.
        if word.load(Ordering::Acquire) & bit != 0 {
            word.fetch_and(!bit, Ordering::SeqCst);
        }
        self.end_call();
    }

    /// Picks a sleeper to be unparked for work that was pushed before; `None` if nobody sleeps, or
    /// one who was called has not risen yet.
    pub(crate) fn call_one(&self) -> Option<WorkerId> {
        loom_fence();
        // Who falls asleep after this look sees what was pushed before it.
        let nobody = |word: &AtomicU64| word.load(Ordering::SeqCst) == 0;
        if self.words.iter().all(nobody) {
            return None;
        }
        if self.calling.load(Ordering::SeqCst) || self.calling.swap(true, Ordering::SeqCst) {
            return None;
        }
        let called = self.take_one();
        if called.is_none() {
            self.calling.store(false, Ordering::SeqCst);
            loom_fence();
        }
        called
    }

    fn end_call(&self) {
        if self.calling.load(Ordering::SeqCst) {
            self.calling.store(false, Ordering::SeqCst);
            loom_fence();
        }
    }

    fn take_one(&self) -> Option<WorkerId> {
        loom_fence();
        for (index, word) in self.words.iter().enumerate() {
            let mut idle = word.load(Ordering::SeqCst);
            while idle != 0 {
                let bit = idle & idle.wrapping_neg();
                match word.compare_exchange(idle, idle & !bit, Ordering::SeqCst, Ordering::SeqCst) {
                    Ok(_) => {
                        let worker = index * 64 + bit.trailing_zeros() as usize;
                        let worker = u16::try_from(worker).expect("workers are numbered by u16");
                        return Some(WorkerId(worker));
                    }
                    Err(seen) => idle = seen,
                }
            }
        }
        None
    }

    fn place(&self, worker: WorkerId) -> (&AtomicU64, u64) {
        (&self.words[worker.index() / 64], 1 << (worker.index() % 64))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_sleeper_is_called_at_a_time_and_the_next_when_it_is_awake() {
        let idle = Idle::new(130);
        let (first, last) = (WorkerId(3), WorkerId(129));
        idle.about_to_sleep(first);
        idle.about_to_sleep(last);
        assert_eq!(idle.call_one(), Some(first));
        assert_eq!(idle.call_one(), None, "one is on its way");
        idle.awake(first);
        assert_eq!(idle.call_one(), Some(last));
        idle.awake(last);
        assert_eq!(idle.call_one(), None, "nobody sleeps");
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::{Arc, atomic::AtomicUsize};

    use super::*;

    /// Two spawners push one fiber each; the worker sleeps when it finds nothing. It must not be
    /// asleep and uncalled at the end while a fiber waits.
    #[test]
    fn loom_no_worker_sleeps_uncalled_while_a_fiber_waits() {
        loom::model(|| {
            let shared = Arc::new((Idle::new(1), AtomicUsize::new(0), AtomicUsize::new(0)));
            let spawner = |shared: &Arc<(Idle, AtomicUsize, AtomicUsize)>| {
                let (idle, queue, calls) = &**shared;
                queue.fetch_add(1, Ordering::SeqCst);
                if idle.call_one().is_some() {
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            };
            let other = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || spawner(&shared))
            };
            let sleeper = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    let (idle, queue, calls) = &*shared;
                    let worker = WorkerId(0);
                    // Each turn: look, say so, look again; a call ends the sleep.
                    for _ in 0..2 {
                        queue.swap(0, Ordering::SeqCst);
                        idle.about_to_sleep(worker);
                        if queue.load(Ordering::SeqCst) > 0 {
                            idle.awake(worker);
                            continue;
                        }
                        if calls.swap(0, Ordering::SeqCst) == 0 {
                            return false;
                        }
                        idle.awake(worker);
                    }
                    true
                })
            };
            spawner(&shared);
            other.join().unwrap();
            let awake = sleeper.join().unwrap();
            let (_, queue, calls) = &*shared;
            let waiting = queue.load(Ordering::SeqCst) > 0;
            let called = calls.load(Ordering::SeqCst) > 0;
            assert!(awake || called || !waiting, "a fiber waits for a sleeper");
        });
    }
}
