//! The state of a whole simulated world, and the rules of who runs when.
//!
//! ```text
//!            ┌────────── runnable ◀──────────── wake: completion, unpark, deadline
//!   pick ──▶ │ running ── turn, park, join ──▶ waiting
//!            └────────── ended                     killed: forgotten, never resumed
//! ```
//!
//! The world is plain data. The coroutines themselves belong to the run loop (`run`), which alone
//! resumes them, and only while nobody has the world borrowed.

use alloc::collections::VecDeque;
use fiber_core::{
    env::{Job, Site, WorkerId},
    request::Completion,
};

use crate::{
    arena::{Arena, Key},
    choices::{self, Choices, site},
    config::{Config, Order, Poison},
    events::{Event, Events},
    fault::Plan,
    net::Net,
    node::Node,
    op::Op,
    outcome::{Abandoned, Verdict},
    port::PortState,
    worker::BodyRef,
};

/// A simulated world.
pub(crate) struct World {
    pub(crate) config: Config,
    /// Virtual nanoseconds since the world began.
    pub(crate) now: u64,
    pub(crate) choices: Choices,
    pub(crate) events: Events,
    pub(crate) threads: Arena<Thread>,
    pub(crate) runnable: VecDeque<Key<Thread>>,
    pub(crate) ports: Arena<PortState>,
    pub(crate) ops: Arena<Op>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Net,
    pub(crate) plan: Plan,
    /// Why the run is over, once it is.
    pub(crate) halt: Option<Verdict>,
    pub(crate) steps: u64,
    pub(crate) abandoned: Abandoned,
    pub(crate) poison: bool,
}

/// A virtual thread: a node's boot thread, one of its workers, or a helper.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) node: u16,
    pub(crate) role: Role,
    pub(crate) state: ThreadState,
    /// What it runs at its first resume.
    pub(crate) start: Option<Start>,
    /// Who waits for its end, and how many ends it waits for itself.
    pub(crate) parent: Option<Key<Self>>,
    pub(crate) children: u32,
    /// `park` of a plain thread returns at once.
    pub(crate) unparked: bool,
    /// The moment at which its wait is over, and the timer that looks after it.
    deadline: Option<u64>,
    armed: Option<(u64, u64)>,
    timers: u64,
    pub(crate) cpu: u64,
}

/// What a virtual thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It runs the boot closure, and worker 0 of whatever that starts.
    Boot,
    /// One further worker.
    Worker(WorkerId),
    /// An offloaded job.
    Helper,
}

/// What a virtual thread does first.
pub(crate) enum Start {
    Boot,
    Worker(WorkerId, BodyRef),
    Job(Job),
}

/// Where a virtual thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadState {
    /// In the queue of runnable threads.
    Runnable,
    /// The one that runs.
    Running,
    /// In its port's `turn`.
    InTurn(Key<PortState>),
    /// Back from its port's `turn`, but without a processor until its time has come.
    Stalled,
    /// In `park` of a plain thread.
    Parked,
    /// In `Workers::run`, until its workers have returned.
    Joining,
    /// Not yet begun.
    Planned,
}

impl Thread {
    pub(crate) const fn new(node: u16, role: Role, start: Start) -> Self {
        Self {
            node,
            role,
            state: ThreadState::Planned,
            start: Some(start),
            parent: None,
            children: 0,
            unparked: false,
            deadline: None,
            armed: None,
            timers: 0,
            cpu: 0,
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64, config: Config, nodes: Vec<Node>) -> Self {
        let mut choices = Choices::new(seed);
        let poison = match config.poison {
            Poison::Always => true,
            Poison::Never => false,
            Poison::Drawn => choices.one_in(site("sim.poison"), 4),
        };
        Self {
            config,
            now: 0,
            choices,
            events: Events::new(),
            threads: Arena::new(),
            runnable: VecDeque::new(),
            ports: Arena::new(),
            ops: Arena::new(),
            nodes,
            net: Net::new(),
            plan: Plan::default(),
            halt: None,
            steps: 0,
            abandoned: Abandoned::default(),
            poison,
        }
    }

    /// Frees the bulk of a world that is over; handles into it find nothing any more.
    pub(crate) fn forget_everything(&mut self) {
        self.events = Events::new();
        self.ports = Arena::new();
        self.ops = Arena::new();
        self.net = Net::new();
        self.runnable = VecDeque::new();
    }

    /// A decision of the runtime's own; 0 is always the production order.
    pub(crate) fn decide(&mut self, node: u16, asked: Site, n: u32) -> u32 {
        if n <= 1 || self.config.order == Order::Fifo && asked.name().starts_with("sched.") {
            return 0;
        }
        let key = choices::at(asked.hash(), self.nodes[usize::from(node)].key);
        #[expect(clippy::cast_possible_truncation, reason = "the value is below a u32")]
        let answer = self.choices.below(key, u64::from(n)) as u32;
        answer
    }

    /// Spends virtual time on behalf of `thread`.
    #[inline]
    pub(crate) fn spend(&mut self, thread: Key<Thread>, nanos: u64) {
        self.now += nanos;
        if let Some(thread) = self.threads.get_mut(thread) {
            thread.cpu += nanos;
        }
    }

    /// Counts a step, and ends the run when it has had its share.
    #[inline]
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        if self.halt.is_some() {
            return;
        }
        if self.steps > self.config.step_limit {
            self.halt = Some(Verdict::StepLimit);
        } else if self.now > choices::nanos(self.config.time_limit) {
            self.halt = Some(Verdict::TimedOut(String::new()));
        }
    }

    /// Adds a thread and makes it runnable.
    pub(crate) fn start_thread(&mut self, thread: Thread) -> Key<Thread> {
        let key = self.threads.insert(thread);
        self.make_runnable(key);
        key
    }

    pub(crate) fn make_runnable(&mut self, key: Key<Thread>) {
        if let Some(thread) = self.threads.get_mut(key) {
            thread.state = ThreadState::Runnable;
            thread.deadline = None;
            self.runnable.push_back(key);
        }
    }

    /// The running thread offers its turn. `true`: it must suspend; others want to run.
    #[inline]
    pub(crate) fn give_way(&mut self, key: Key<Thread>) -> bool {
        let due = self.events.next_at().is_some_and(|at| at <= self.now);
        if self.runnable.is_empty() && !due && self.halt.is_none() {
            return false;
        }
        self.make_runnable(key);
        true
    }

    /// The running thread waits, until `deadline` if there is one. It must suspend now.
    pub(crate) fn wait(&mut self, key: Key<Thread>, state: ThreadState, deadline: Option<u64>) {
        if let Some(thread) = self.threads.get_mut(key) {
            thread.state = state;
        }
        if let Some(deadline) = deadline {
            self.arm(key, deadline);
        }
    }

    /// Ends the wait of a thread that is in one of `states`.
    #[inline]
    pub(crate) fn wake_if(&mut self, key: Key<Thread>, state: ThreadState) {
        if self
            .threads
            .get(key)
            .is_some_and(|thread| thread.state == state)
        {
            self.make_runnable(key);
        }
    }

    /// Takes the next thread to run from the queue.
    pub(crate) fn pick(&mut self) -> Option<Key<Thread>> {
        let choices = self.runnable.len();
        let key = if choices > 1 && self.config.order == Order::Random {
            let index = self.choices.index(site("sim.worker"), choices);
            self.runnable.swap_remove_front(index)?
        } else {
            self.runnable.pop_front()?
        };
        if let Some(thread) = self.threads.get_mut(key) {
            thread.state = ThreadState::Running;
        }
        Some(key)
    }

    /// Sees to it that `thread` is woken at `deadline` or a little later, never earlier.
    ///
    /// A timer that is already armed for an earlier moment serves: it looks again when it fires,
    /// so that a thread which moves its deadline on every turn does not fill the queue.
    fn arm(&mut self, key: Key<Thread>, deadline: u64) {
        let Some(thread) = self.threads.get_mut(key) else {
            return;
        };
        thread.deadline = Some(deadline);
        if deadline == u64::MAX || thread.armed.is_some_and(|(at, _)| at <= deadline) {
            return;
        }
        let slack_site = choices::at(site("sim.timer"), self.nodes[usize::from(thread.node)].key);
        let slack = self
            .choices
            .nanos_below(slack_site, self.config.timer_slack);
        let at = deadline.saturating_add(slack).max(self.now);
        thread.timers += 1;
        thread.armed = Some((at, thread.timers));
        let armed = thread.timers;
        self.events.push(at, Event::Timer { thread: key, armed });
    }

    /// A timer has fired: for this wait, for an earlier one, or before its deadline moved.
    pub(crate) fn timer_fired(&mut self, key: Key<Thread>, armed: u64) {
        let now = self.now;
        let Some(thread) = self.threads.get_mut(key) else {
            return;
        };
        if thread.armed.is_none_or(|(_, number)| number != armed) {
            return;
        }
        thread.armed = None;
        let waits = matches!(
            thread.state,
            ThreadState::InTurn(_) | ThreadState::Stalled | ThreadState::Parked
        );
        match thread.deadline {
            Some(deadline) if waits && deadline <= now => self.make_runnable(key),
            Some(deadline) if waits => self.arm(key, deadline),
            _ => {}
        }
    }

    /// Queues `completion` at a port and wakes its worker.
    #[inline]
    pub(crate) fn complete(&mut self, port: Key<PortState>, completion: Completion) {
        let Some(state) = self.ports.get_mut(port) else {
            return;
        };
        state.inbox.push(completion);
        let thread = state.thread;
        self.wake_if(thread, ThreadState::InTurn(port));
    }

    /// A thread has returned from what it was started for.
    pub(crate) fn thread_ended(&mut self, key: Key<Thread>) {
        let Some(thread) = self.threads.remove(key) else {
            return;
        };
        self.nodes[usize::from(thread.node)]
            .threads
            .retain(|&other| other != key);
        if let Some(parent) = thread.parent
            && let Some(waiting) = self.threads.get_mut(parent)
        {
            waiting.children -= 1;
            if waiting.children == 0 {
                self.wake_if(parent, ThreadState::Joining);
            }
        }
        match thread.role {
            Role::Boot => self.node_finished(thread.node),
            Role::Helper => self.nodes[usize::from(thread.node)].helpers -= 1,
            Role::Worker(_) => {}
        }
    }
}

impl core::fmt::Debug for Start {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Boot => "Boot",
            Self::Worker(..) => "Worker",
            Self::Job(_) => "Job",
        })
    }
}
