//! The run loop: resumes whoever can run, and jumps to the next event when nobody can.
//!
//! ```text
//!  ┌─▶ events that are due ─▶ somebody runnable? ─ yes ─▶ resume one of them ─┐
//!  │                               │ no                                        │
//!  │                               ▼                                           │
//!  │                 the clock jumps to the next event; none: stalled          │
//!  └───────────────────────────────────────────────────────────────────────────┘
//! ```

use alloc::sync::Arc;
use core::{fmt::Write, time::Duration};

use fiber_core::{IoErrorKind, env::ThreadHooks, registry::IdSpace};

use crate::{
    arena::Key,
    choices,
    env::{NodeEnv, Shared},
    events::Event,
    node::{Life, Node},
    outcome::{Outcome, Verdict},
    overflow::{self, SignalStack},
    own_thread::OwnThread,
    sim::{Boot, Sim},
    stacks::WorkerStack,
    threads::HOOKS,
    token::Token,
    worker::{Resumed, VirtualThread},
    world::{Role, Start, Thread, ThreadState, World},
};

/// Runs a world to its end.
pub(crate) fn run(sim: Sim, token: Token) -> Outcome {
    HOOKS.install();
    overflow::install();
    let _signals = SignalStack::install();
    if !ThreadHooks::installed().is_some_and(|hooks| core::ptr::eq(hooks, &HOOKS)) {
        tracing::warn!(
            target: "host_sim",
            "another host's thread hooks were installed first: plain code of a node that parks \
             outside of a fiber would stop the whole simulation; run simulations in a process of \
             their own",
        );
    }
    let nodes: Vec<Node> = (0u16..)
        .zip(&sim.nodes)
        .map(|(number, (name, _))| Node::new(number, name))
        .collect();
    let mut world = World::new(sim.seed(), sim.config.clone(), nodes);
    world.plan_faults(sim.scripted, &sim.recipes);
    world.plan_boots();
    let mut loop_ = Loop {
        shared: Arc::new(Shared {
            world: OwnThread::new(world),
            ids: IdSpace::of_world(),
        }),
        boots: sim.nodes.into_iter().map(|(_, boot)| boot).collect(),
        until: sim.until,
        threads: Vec::new(),
    };
    // Who runs a world in a destructor perhaps unwinds; whoever lives in it does not.
    let mut verdict = None;
    host_std::set_aside(&mut || verdict = Some(loop_.run()));
    let verdict = verdict.expect("it has run");
    loop_.end(verdict, token)
}

struct Loop {
    shared: Arc<Shared>,
    boots: Vec<Boot>,
    until: Option<u16>,
    /// The coroutines, beside the world's records of them.
    threads: Vec<Option<(Key<Thread>, VirtualThread)>>,
}

/// What to do next.
enum Next {
    Resume(Key<Thread>, Option<(u16, Role, Start)>),
    Again,
    Halt(Verdict),
}

impl Loop {
    fn run(&mut self) -> Verdict {
        loop {
            let until = self.until;
            match self.shared.world.with(|world| world.next(until)) {
                Next::Resume(thread, start) => self.resume(thread, start),
                Next::Again => {}
                Next::Halt(verdict) => return verdict,
            }
        }
    }

    fn resume(&mut self, key: Key<Thread>, start: Option<(u16, Role, Start)>) {
        if let Some((node, _, start)) = start
            && let Err(error) = self.begin(key, node, start)
        {
            let verdict = Verdict::OutOfStacks(error.to_string());
            return self.shared.world.with(|world| world.halt = Some(verdict));
        }
        let Some((_, thread)) = self.threads[key.index()].as_mut() else {
            return;
        };
        let resumed = thread.resume();
        if let Resumed::Suspended = resumed {
            return;
        }
        let (_, thread) = self.threads[key.index()].take().expect("resumed just now");
        thread.into_stack().unmap();
        self.shared.world.with(|world| {
            if let Resumed::Panicked(message) = resumed {
                let node = world.threads.get(key).map_or(0, |thread| thread.node);
                world.panicked(node, message);
            }
            world.thread_ended(key);
        });
    }

    /// Gives a new thread its coroutine.
    fn begin(
        &mut self,
        key: Key<Thread>,
        node: u16,
        start: Start,
    ) -> Result<(), fiber_core::env::StackError> {
        let stack = WorkerStack::map()?;
        let shared = Arc::clone(&self.shared);
        let body: Box<dyn FnOnce()> = match start {
            Start::Boot => {
                let boot = Boot::clone(&self.boots[usize::from(node)]);
                let incarnation = shared.world.with(|world| world.node(node).incarnation);
                let env = Arc::new(NodeEnv::new(Arc::clone(&shared), node, incarnation));
                Box::new(move || boot(env))
            }
            Start::Worker(worker, body) => Box::new(move || body.call(worker)),
            Start::Job(job) => job,
        };
        let thread = VirtualThread::new(shared, key, stack, body);
        if self.threads.len() <= key.index() {
            self.threads.resize_with(key.index() + 1, || None);
        }
        let old = self.threads[key.index()].replace((key, thread));
        if let Some((_, killed)) = old {
            killed.abandon();
        }
        Ok(())
    }

    /// Leaves behind whoever still runs, and says how it was.
    fn end(mut self, verdict: Verdict, token: Token) -> Outcome {
        for (_, thread) in self.threads.drain(..).flatten() {
            thread.abandon();
        }
        self.shared.world.with(|world| {
            let verdict = match verdict {
                Verdict::TimedOut(_) => Verdict::TimedOut(world.report()),
                other => other,
            };
            for number in 0..world.nodes.len() {
                let number = u16::try_from(number).expect("node numbers are u16");
                let node = world.node(number);
                let left = (node.threads.len(), core::mem::take(&mut node.stacks));
                node.threads.clear();
                world.abandoned.threads += left.0 as u64;
                world.abandoned.fiber_stacks += left.1.iter().sum::<usize>() as u64;
            }
            // Leaked stacks keep the world alive; its bulk need not stay with them.
            world.forget_everything();
            let faults = world.plan.actions.iter();
            Outcome {
                verdict,
                hash: world.choices.journal.hash(),
                virtual_time: Duration::from_nanos(world.now),
                choices: world.choices.drawn(),
                steps: world.steps,
                abandoned: world.abandoned,
                faults: faults
                    .take_while(|(at, _)| *at <= world.now)
                    .map(|(at, action)| format!("{:?}: {action}", Duration::from_nanos(*at)))
                    .collect(),
                token,
            }
        })
    }
}

impl World {
    /// Moves on by one step.
    fn next(&mut self, until: Option<u16>) -> Next {
        while self.events.next_at().is_some_and(|at| at <= self.now) {
            self.next_event();
        }
        let over = match until {
            Some(node) => self.nodes[usize::from(node)].life == Life::Finished,
            None => self.nodes.iter().all(|node| node.life == Life::Finished),
        };
        if let Some(verdict) = self.halt.take() {
            return Next::Halt(verdict);
        }
        if over {
            return Next::Halt(Verdict::Finished);
        }
        if let Some(key) = self.pick() {
            let start = self.threads.get_mut(key).and_then(|thread| {
                let start = thread.start.take()?;
                Some((thread.node, thread.role, start))
            });
            return Next::Resume(key, start);
        }
        if self.events.next_at().is_none() {
            let nobody_left = until.is_none() && self.nodes.iter().all(|n| n.life != Life::Up);
            return Next::Halt(if nobody_left {
                Verdict::Finished
            } else {
                Verdict::Stalled(self.report())
            });
        }
        self.next_event();
        if self.now > choices::nanos(self.config.time_limit) {
            return Next::Halt(Verdict::TimedOut(String::new()));
        }
        Next::Again
    }

    fn next_event(&mut self) {
        let Some((at, event)) = self.events.pop() else {
            return;
        };
        self.now = self.now.max(at);
        match event {
            Event::Boot { node } => self.boot(node),
            Event::Timer { thread, armed } => self.timer_fired(thread, armed),
            Event::Begin { thread } => self.make_runnable(thread),
            Event::Arrive(packet) => self.arrive(packet),
            Event::ConnectTimeout { socket } => {
                self.connect_failed(socket, IoErrorKind::TimedOut);
            }
            Event::ConnectRetry { socket, attempt } => self.connect_retry(socket, attempt),
            Event::GiveUp { socket, since } => self.give_up(socket, since),
            Event::Cancel { op } => self.cancel_now(op),
            Event::Signal {
                node,
                incarnation,
                signal,
            } => {
                if self.node(node).incarnation == incarnation {
                    self.signal(node, signal);
                }
            }
            Event::Fault { number } => self.apply_fault(number),
        }
    }

    /// Who waits for what.
    fn report(&self) -> String {
        let mut report = String::new();
        for (_, thread) in self.threads.iter() {
            let node = &self.nodes[usize::from(thread.node)];
            let role = match thread.role {
                Role::Boot => "worker 0".to_owned(),
                Role::Worker(worker) => format!("worker {}", worker.0),
                Role::Helper => "helper".to_owned(),
            };
            let _ = write!(report, "  {} ({}) {role}: ", node.name, node.address);
            let _ = match thread.state {
                ThreadState::InTurn(port) => self.report_port(port, &mut report),
                ThreadState::Stalled => report.write_str("stalled: its processor is taken away"),
                ThreadState::Parked => report.write_str("parked as a plain thread"),
                ThreadState::Joining => report.write_str("waits for its workers to return"),
                ThreadState::Planned => report.write_str("not begun"),
                ThreadState::Runnable | ThreadState::Running => report.write_str("runnable"),
            };
            report.push('\n');
        }
        for node in self.nodes.iter().filter(|node| node.life == Life::Down) {
            let _ = writeln!(report, "  {} ({}): down", node.name, node.address);
        }
        report
    }

    fn report_port(
        &self,
        port: Key<crate::port::PortState>,
        report: &mut String,
    ) -> core::fmt::Result {
        const SHOWN: usize = 16;
        let Some(port) = self.ports.get(port) else {
            return report.write_str("its port is gone");
        };
        if port.tokens.is_empty() {
            return report.write_str("waits, with no request in flight");
        }
        write!(report, "waits for {} requests:", port.tokens.len())?;
        for op in port.tokens.values().take(SHOWN) {
            if let Some(op) = self.ops.get(*op) {
                let socket = self.describe_socket(op.socket);
                write!(report, " {:?} on {socket};", op.request.kind())?;
            }
        }
        Ok(())
    }
}
