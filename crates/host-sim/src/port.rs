//! One worker's door to its world.

use alloc::{collections::BTreeMap, sync::Arc};
use core::{mem, time::Duration};

use fiber_core::{
    env::{HostFault, Port, Staged, TryNow, TurnInfo, Undrained, Unpark, Wait},
    request::{Completion, Outcome, Request},
};

use crate::{
    arena::Key,
    choices::{self, site},
    config::Order,
    env::Shared,
    op::Op,
    worker,
    world::{Thread, ThreadState, World},
};

/// What the world keeps for a port.
#[derive(Debug)]
pub(crate) struct PortState {
    pub(crate) node: u16,
    pub(crate) thread: Key<Thread>,
    /// Completions in the order in which they happened, until the worker's next turn.
    pub(crate) inbox: Vec<Completion>,
    /// Requests in flight, by token.
    pub(crate) tokens: BTreeMap<u64, Key<Op>>,
    /// Quiet requests in flight, which have no token to be found by.
    pub(crate) quiet: Vec<Key<Op>>,
    /// Its next wait returns at once.
    unparked: bool,
}

/// A worker's port.
pub(crate) struct SimPort {
    shared: Arc<Shared>,
    node: u16,
    key: Key<PortState>,
    thread: Key<Thread>,
}

impl SimPort {
    pub(crate) fn open(shared: Arc<Shared>, node: u16, thread: Key<Thread>) -> Self {
        let key = shared.world.with(|world| {
            world.ports.insert(PortState {
                node,
                thread,
                inbox: Vec::new(),
                tokens: BTreeMap::new(),
                quiet: Vec::new(),
                unparked: false,
            })
        });
        Self {
            shared,
            node,
            key,
            thread,
        }
    }
}

// SAFETY: lent memory is touched only by `World::attempt`, for requests in `World::ops`; a request
// leaves that table before its completion is queued, and all requests of a port leave it when the
// port is dropped or its node is killed. Each is completed exactly once, because completing takes
// it out of the table (I-3).
unsafe impl Port for SimPort {
    fn turn(
        &mut self,
        staged: &mut Staged,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> Result<TurnInfo, HostFault> {
        let here = worker::current(|identity| identity.thread);
        assert_eq!(
            here,
            Some(self.thread),
            "a port is used on the worker that opened it"
        );
        let (submitted, must_suspend) = self
            .shared
            .world
            .with(|world| world.begin_turn(self.key, staged, wait));
        if must_suspend {
            worker::suspend();
        }
        if self.shared.world.with(|world| world.stall(self.thread)) {
            worker::suspend();
        }
        let completed = self
            .shared
            .world
            .with(|world| world.end_turn(self.key, out));
        Ok(TurnInfo {
            submitted,
            completed,
            enters: 1,
        })
    }

    unsafe fn try_now(&mut self, request: &Request) -> TryNow {
        self.shared.world.with(|world| {
            world.spend(self.thread, choices::nanos(world.config.clock_cost));
            world.try_now(self.key, self.node, request)
        })
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(PortUnparker {
            shared: Arc::clone(&self.shared),
            port: self.key,
        })
    }

    fn drain(&mut self, _: Duration, out: &mut Vec<Completion>) -> Result<(), Undrained> {
        self.shared.world.with(|world| {
            world.cancel_all_of(self.key);
            world.end_turn(self.key, out);
        });
        Ok(())
    }
}

impl Drop for SimPort {
    fn drop(&mut self) {
        self.shared.world.with(|world| world.close_port(self.key));
    }
}

/// Ends a port's wait.
struct PortUnparker {
    shared: Arc<Shared>,
    port: Key<PortState>,
}

impl Unpark for PortUnparker {
    fn unpark(&self) {
        self.shared.world.with(|world| world.unpark_port(self.port));
    }
}

impl World {
    /// The first half of a turn: how many requests were taken, and whether the thread must now
    /// suspend.
    fn begin_turn(&mut self, key: Key<PortState>, staged: &mut Staged, wait: Wait) -> (u32, bool) {
        let Some(port) = self.ports.get(key) else {
            return (0, true);
        };
        let (node, thread) = (port.node, port.thread);
        self.spend(thread, choices::nanos(self.config.turn_cost));
        self.step();
        let submitted = u32::try_from(staged.len()).unwrap_or(u32::MAX);
        for request in staged.drain() {
            self.submit(key, node, request);
        }
        let worker = thread.index() as u64;
        let now = self.now;
        self.choices
            .journal
            .fold(worker << 32 | u64::from(submitted), now);
        let port = self.ports.get_mut(key).expect("looked up above");
        let at_hand = !port.inbox.is_empty();
        let deadline = match wait {
            _ if at_hand => None,
            Wait::No => None,
            Wait::Until(at) if at.as_nanos() <= now => None,
            _ if mem::take(&mut port.unparked) => None,
            Wait::Until(at) => Some(at.as_nanos()),
            Wait::Forever => Some(u64::MAX),
        };
        let Some(deadline) = deadline else {
            return (submitted, self.give_way(thread));
        };
        let deadline = (deadline != u64::MAX).then_some(deadline);
        self.wait(thread, ThreadState::InTurn(key), deadline);
        (submitted, true)
    }

    /// Whether the thread loses its processor for a while, as the operating system's scheduler
    /// does to everybody: what it has asked for happens, and it does not see it yet.
    fn stall(&mut self, thread: Key<Thread>) -> bool {
        const STALL: u64 = site("sim.stall");
        const LENGTH: u64 = site("sim.stall.length");
        let (one_in, longest) = self.config.stalls;
        if self.config.order == Order::Fifo || !self.choices.one_in(STALL, one_in) {
            return false;
        }
        let until = self.now + self.choices.nanos_below(LENGTH, longest);
        self.wait(thread, ThreadState::Stalled, Some(until));
        true
    }

    /// The second half: hands the completions out.
    fn end_turn(&mut self, key: Key<PortState>, out: &mut Vec<Completion>) -> u32 {
        let Some(port) = self.ports.get_mut(key) else {
            return 0;
        };
        for completion in &port.inbox {
            self.choices
                .journal
                .fold(completion.token.to_bits(), word_of(completion.outcome));
        }
        let completed = u32::try_from(port.inbox.len()).unwrap_or(u32::MAX);
        out.append(&mut port.inbox);
        completed
    }

    fn unpark_port(&mut self, key: Key<PortState>) {
        let Some(port) = self.ports.get_mut(key) else {
            return;
        };
        let thread = port.thread;
        let waits = self
            .threads
            .get(thread)
            .is_some_and(|thread| thread.state == ThreadState::InTurn(key));
        if waits {
            self.make_runnable(thread);
        } else {
            port.unparked = true;
        }
    }

    /// Forgets a port whose worker is done with it: nothing lent to it is touched any more, and
    /// what was opened for it and not delivered is closed.
    fn close_port(&mut self, key: Key<PortState>) {
        self.cancel_all_of(key);
        let Some(port) = self.ports.remove(key) else {
            return;
        };
        for completion in port.inbox {
            if let Outcome::Opened(descriptor) = completion.outcome {
                let _ = self.close(port.node, descriptor);
            }
        }
    }

    /// Forgets the ports of a killed node with all their requests, which are never completed.
    pub(crate) fn forget_ports_of(&mut self, node: u16) {
        for key in self.ports.keys_where(|port| port.node == node) {
            let port = self.ports.remove(key).expect("just found");
            for op in port.tokens.into_values().chain(port.quiet) {
                self.ops.remove(op);
            }
        }
    }
}

/// An outcome as a word of the journal.
pub(crate) fn word_of(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Done(n) => n << 2,
        Outcome::Opened(descriptor) => u64::from(descriptor.0) << 2 | 1,
        Outcome::Failed(error) => (error.kind() as u64) << 2 | 2,
    }
}
