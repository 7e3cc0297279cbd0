//! The thread that looks at workers from outside: one for the whole process, while somebody is
//! watched.
//!
//! Starting a thread costs more than a short runtime, so runtimes share one. It ends when nobody
//! was watched for [`LINGER`], and sleeps without a timer when all who are watched rest.

extern crate alloc;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;
use std::{
    fs, panic,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::Instant,
};

use fiber_core::env::{EnvError, Sample, ThreadNumber, Tick, Watch, Watched, Watching};

use crate::{errno::Errno, linux::Linux, sample, sys::thread as sys_thread};

/// How long the thread outlives the last one that it has watched.
const LINGER: Duration = Duration::from_millis(100);

static STATE: Mutex<State> = Mutex::new(State {
    thread: None,
    entries: Vec::new(),
    last_key: 0,
});
/// Somebody came, went, or does not rest any more.
static CHANGED: Condvar = Condvar::new();
/// A tick is over.
static TICKED: Condvar = Condvar::new();

struct State {
    thread: Option<ThreadId>,
    /// Bound: the runtimes of this process.
    entries: Vec<Entry>,
    last_key: u64,
}

struct Entry {
    key: u64,
    watched: Arc<dyn Watched>,
    period: Duration,
    due: Instant,
    resting: bool,
    /// It was woken since its last tick began.
    woken: bool,
    ticking: bool,
}

impl Watch for Linux {
    fn start(
        &self,
        period: Duration,
        watched: Arc<dyn Watched>,
    ) -> Result<Box<dyn Watching>, EnvError> {
        let mut state = lock();
        if state.thread.is_none() {
            let started = thread::Builder::new().name("fiber-watch".into()).spawn(run);
            let thread = started.map_err(|error| {
                EnvError::new(
                    "starting the watching thread",
                    Errno::from(&error).0,
                    "raise the limit of threads, or switch the runtime's watchdog off",
                )
            })?;
            state.thread = Some(thread.thread().id());
        }
        state.last_key += 1;
        let key = state.last_key;
        state.entries.push(Entry {
            key,
            watched,
            period,
            due: Instant::now() + period,
            resting: false,
            woken: false,
            ticking: false,
        });
        CHANGED.notify_one();
        Ok(Box::new(Guard { key }))
    }

    fn this_thread(&self) -> ThreadNumber {
        ThreadNumber(u64::from(sys_thread::number().cast_unsigned()))
    }

    fn cpu(&self, thread: ThreadNumber) -> Option<Duration> {
        sys_thread::cpu(pid(thread)?).ok()
    }

    fn is_asleep(&self, thread: ThreadNumber) -> bool {
        let stat = fs::read(format!("/proc/self/task/{}/stat", thread.0));
        // The state is the word behind the name, which is in parentheses and may contain some.
        let state = stat.ok().and_then(|stat| {
            let name_end = stat.iter().rposition(|&byte| byte == b')')?;
            stat.get(name_end + 2).copied()
        });
        matches!(state, Some(b'S' | b'D'))
    }

    fn sample(&self, thread: ThreadNumber) -> Option<Sample> {
        sample::sample(pid(thread)?)
    }
}

fn pid(thread: ThreadNumber) -> Option<libc::pid_t> {
    libc::pid_t::try_from(thread.0).ok()
}

/// One who is watched.
struct Guard {
    key: u64,
}

impl Watching for Guard {
    fn wake(&self) {
        let mut state = lock();
        if let Some(entry) = state.entry(self.key) {
            entry.woken = true;
            if entry.resting {
                entry.resting = false;
                entry.due = Instant::now() + entry.period;
                CHANGED.notify_one();
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = lock();
        let on_watch = state.thread == Some(thread::current().id());
        // A tick cannot wait for its own end.
        while !on_watch && state.entry(self.key).is_some_and(|entry| entry.ticking) {
            state = TICKED.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let place = state.entries.iter().position(|entry| entry.key == self.key);
        let ended = place.map(|place| state.entries.swap_remove(place));
        CHANGED.notify_one();
        drop(state);
        // What is dropped with it is the program's own code, which may begin to watch somebody.
        drop(ended);
    }
}

impl State {
    fn entry(&mut self, key: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    /// Who has been due for the longest time: nobody is passed over, however long ticks take.
    fn next_due(&mut self, now: Instant) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .filter(|entry| !entry.resting && entry.due <= now)
            .min_by_key(|entry| entry.due)
    }
}

/// The thread.
fn run() {
    let mut state = lock();
    loop {
        while let Some(entry) = state.next_due(Instant::now()) {
            let (key, watched) = (entry.key, Arc::clone(&entry.watched));
            (entry.ticking, entry.woken) = (true, false);
            drop(state);
            let tick = tick(&*watched);
            drop(watched);
            state = lock();
            if let Some(entry) = state.entry(key) {
                entry.ticking = false;
                entry.resting = tick == Tick::Rest && !entry.woken;
                entry.due = Instant::now() + entry.period;
            }
            TICKED.notify_all();
        }
        let awake = state.entries.iter().filter(|entry| !entry.resting);
        let span = match awake.map(|entry| entry.due).min() {
            Some(due) => due.saturating_duration_since(Instant::now()),
            None if state.entries.is_empty() => LINGER,
            None => Duration::MAX,
        };
        let waited = CHANGED.wait_timeout(state, span);
        let timeout;
        (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() && state.entries.is_empty() {
            state.thread = None;
            return;
        }
    }
}

/// What unwinds out of a tick is the program's own code, and was reported.
fn tick(watched: &dyn Watched) -> Tick {
    panic::catch_unwind(panic::AssertUnwindSafe(|| watched.tick())).unwrap_or(Tick::Again)
}

fn lock() -> MutexGuard<'static, State> {
    // Nothing panics under the lock, and the state is consistent at every step.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::config::Config;

    const PERIOD: Duration = Duration::from_millis(1);

    struct Tells {
        ticked: mpsc::Sender<()>,
        then: Tick,
        stopped: AtomicBool,
    }

    impl Watched for Tells {
        fn tick(&self) -> Tick {
            assert!(!self.stopped.load(Ordering::SeqCst), "after the guard went");
            let _ = self.ticked.send(());
            self.then
        }
    }

    fn watched(then: Tick) -> (Arc<Tells>, Box<dyn Watching>, mpsc::Receiver<()>) {
        let (ticked, ticks) = mpsc::channel();
        let tells = Arc::new(Tells {
            ticked,
            then,
            stopped: AtomicBool::new(false),
        });
        let linux = Linux::new(Config::default()).unwrap();
        let guard = linux.start(PERIOD, tells.clone()).unwrap();
        (tells, guard, ticks)
    }

    #[test]
    fn ticks_come_until_the_guard_is_dropped_and_not_after() {
        let (tells, guard, ticks) = watched(Tick::Again);
        for _ in 0..5 {
            ticks.recv().unwrap();
        }
        drop(guard);
        tells.stopped.store(true, Ordering::SeqCst);
        assert_eq!(Arc::strong_count(&tells), 1, "it is let go");
    }

    /// One whose end begins and ends another watching, as the end of a runtime inside of it would.
    struct WatchesAtItsEnd(mpsc::Sender<()>);

    impl Watched for WatchesAtItsEnd {
        fn tick(&self) -> Tick {
            Tick::Again
        }
    }

    impl Drop for WatchesAtItsEnd {
        fn drop(&mut self) {
            drop(watched(Tick::Again));
            self.0.send(()).unwrap();
        }
    }

    #[test]
    fn what_is_dropped_with_the_guard_may_be_watched_itself() {
        let linux = Linux::new(Config::default()).unwrap();
        let (tell, told) = mpsc::channel();
        let guard = linux.start(PERIOD, Arc::new(WatchesAtItsEnd(tell)));
        drop(guard.unwrap());
        told.recv().unwrap();
    }

    /// One whose ticks last longer than the period.
    struct Slow(mpsc::Sender<usize>, usize);

    impl Watched for Slow {
        fn tick(&self) -> Tick {
            let _ = self.0.send(self.1);
            let end = Instant::now() + PERIOD * 2;
            while Instant::now() < end {}
            Tick::Again
        }
    }

    #[test]
    fn slow_ticks_of_some_do_not_keep_others_from_being_looked_at() {
        let linux = Linux::new(Config::default()).unwrap();
        let (tell, told) = mpsc::channel();
        let start = |number| {
            let slow = Slow(tell.clone(), number);
            linux.start(PERIOD, Arc::new(slow)).unwrap()
        };
        let guards: Vec<_> = (0..4).map(start).collect();
        let last = guards.len() - 1;
        // What was told before the last one had begun says nothing of it.
        while told.try_recv().is_ok_and(|number| number != last) {}
        let before = told.iter().take(1000).position(|number| number == last);
        assert!(before.is_some(), "the last one was passed over");
        drop(guards);
    }

    #[test]
    fn one_that_rests_is_looked_at_when_it_is_woken() {
        let (_tells, guard, ticks) = watched(Tick::Rest);
        ticks.recv().unwrap();
        for _ in 0..5 {
            guard.wake();
            ticks.recv().unwrap();
        }
    }

    #[test]
    fn a_thread_s_processor_time_rises_as_it_runs_and_a_sleeper_is_seen_to_sleep() {
        let linux = Linux::new(Config::default()).unwrap();
        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let sleeper = thread::spawn(move || {
            let linux = Linux::new(Config::default()).unwrap();
            tell.send(linux.this_thread()).unwrap();
            let _ = released.recv();
        });
        let other = told.recv().unwrap();
        while !linux.is_asleep(other) {
            thread::yield_now();
        }
        let own = linux.this_thread();
        assert!(!linux.is_asleep(own));
        let before = linux.cpu(own).unwrap();
        while linux.cpu(own).unwrap() < before + PERIOD {}
        drop(release);
        sleeper.join().unwrap();
        assert_eq!(linux.cpu(ThreadNumber(u64::from(u32::MAX))), None);
    }

    #[test]
    fn a_thread_that_is_no_worker_has_no_fibers_to_show() {
        let linux = Linux::new(Config::default()).unwrap();
        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            let linux = Linux::new(Config::default()).unwrap();
            tell.send(linux.this_thread()).unwrap();
            let _ = released.recv();
        });
        assert!(linux.sample(told.recv().unwrap()).is_none());
        drop(release);
        other.join().unwrap();
    }
}
