//! A node: a simulated machine with an address, a descriptor table, and a life.

use alloc::{
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};
use core::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use fiber_core::{
    IoErrorKind,
    env::{StackClass, StackError},
    request::RawDescriptor,
};

use crate::{
    arena::Key,
    config::hash_of,
    events::Event,
    net::Socket,
    outcome::Verdict,
    world::{Role, Start, Thread, World},
};

/// The first number that a node gives out, as on systems whose first three are taken.
const FIRST_DESCRIPTOR: u32 = 3;

/// A simulated machine.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    /// Its name's hash: what its draws are keyed with.
    pub(crate) key: u64,
    pub(crate) address: Ipv4Addr,
    pub(crate) life: Life,
    /// How often it was started.
    pub(crate) incarnation: u32,
    pub(crate) threads: Vec<Key<Thread>>,
    pub(crate) helpers: usize,
    /// Fiber stacks that this incarnation has in use, by class.
    pub(crate) stacks: StacksInUse,
    /// Those of fibers that were abandoned with their processes.
    pub(crate) leaked: StacksInUse,
    pub(crate) descriptors: Descriptors,
    /// How many sockets use each local port.
    pub(crate) ports_used: BTreeMap<u16, u32>,
    pub(crate) next_port: u16,
    pub(crate) refuses: bool,
    pub(crate) wall_offset: Duration,
}

/// How many stacks of each class.
pub(crate) type StacksInUse = [usize; StackClass::ALL.len()];

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Never started, or its power was cut.
    Down,
    Up,
    /// Its boot closure has returned.
    Finished,
}

impl Node {
    pub(crate) fn new(number: u16, name: &str) -> Self {
        let [high, low] = (number + 1).to_be_bytes();
        Self {
            name: Arc::from(name),
            key: hash_of(name),
            address: Ipv4Addr::new(10, 0, high, low),
            life: Life::Down,
            incarnation: 0,
            threads: Vec::new(),
            helpers: 0,
            stacks: StacksInUse::default(),
            leaked: StacksInUse::default(),
            descriptors: Descriptors::default(),
            ports_used: BTreeMap::new(),
            next_port: FIRST_EPHEMERAL,
            refuses: false,
            wall_offset: Duration::ZERO,
        }
    }
}

const FIRST_EPHEMERAL: u16 = 49_152;

impl Node {
    /// A free port of the ephemeral range; `None` when all are in use.
    pub(crate) fn ephemeral_port(&mut self) -> Option<u16> {
        for _ in FIRST_EPHEMERAL..=u16::MAX {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL);
            if !self.ports_used.contains_key(&port) {
                return Some(port);
            }
        }
        None
    }

    pub(crate) fn use_port(&mut self, port: u16) {
        *self.ports_used.entry(port).or_insert(0) += 1;
    }

    pub(crate) fn release_port(&mut self, port: u16) {
        if let Some(users) = self.ports_used.get_mut(&port) {
            *users -= 1;
            if *users == 0 {
                self.ports_used.remove(&port);
            }
        }
    }
}

/// Which socket each open number names; the smallest free number is given out first, so that a
/// stale number soon names a stranger.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    slots: Vec<Option<Key<Socket>>>,
    free: BinaryHeap<Reverse<u32>>,
    used: u32,
}

impl Descriptors {
    /// Opens a number for `socket`, unless `limit` numbers are open.
    pub(crate) fn open(
        &mut self,
        socket: Key<Socket>,
        limit: u32,
    ) -> Result<RawDescriptor, IoErrorKind> {
        if self.used >= limit {
            return Err(IoErrorKind::TooManyDescriptors);
        }
        self.used += 1;
        let slot = if let Some(Reverse(slot)) = self.free.pop() {
            self.slots[slot as usize] = Some(socket);
            slot
        } else {
            self.slots.push(Some(socket));
            u32::try_from(self.slots.len() - 1).expect("the limit is a u32")
        };
        Ok(RawDescriptor(slot + FIRST_DESCRIPTOR))
    }

    pub(crate) fn get(&self, descriptor: RawDescriptor) -> Option<Key<Socket>> {
        let slot = descriptor.0.checked_sub(FIRST_DESCRIPTOR)?;
        *self.slots.get(slot as usize)?
    }

    pub(crate) fn close(&mut self, descriptor: RawDescriptor) -> Option<Key<Socket>> {
        let slot = descriptor.0.checked_sub(FIRST_DESCRIPTOR)?;
        let socket = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(Reverse(slot));
        self.used -= 1;
        Some(socket)
    }

    /// Every open number.
    pub(crate) fn open_numbers(&self) -> Vec<RawDescriptor> {
        (FIRST_DESCRIPTOR..)
            .zip(&self.slots)
            .filter(|(_, socket)| socket.is_some())
            .map(|(number, _)| RawDescriptor(number))
            .collect()
    }
}

impl World {
    pub(crate) fn node(&mut self, node: u16) -> &mut Node {
        &mut self.nodes[usize::from(node)]
    }

    /// The node that owns `address`, as seen from `from`.
    pub(crate) fn node_at(&self, from: u16, address: IpAddr) -> Option<u16> {
        if address.is_loopback() || address.is_unspecified() {
            return Some(from);
        }
        let IpAddr::V4(address) = address else {
            return None;
        };
        let [10, 0, high, low] = address.octets() else {
            return None;
        };
        let number = u16::from_be_bytes([high, low]).checked_sub(1)?;
        (usize::from(number) < self.nodes.len()).then_some(number)
    }

    /// Starts a node that is down; a node that is up stays as it is.
    pub(crate) fn boot(&mut self, number: u16) {
        let node = self.node(number);
        if node.life == Life::Up {
            return;
        }
        node.life = Life::Up;
        node.incarnation += 1;
        tracing::debug!(target: "host_sim::node", node = &*node.name, "boot");
        let key = self.start_thread(Thread::new(number, Role::Boot, Start::Boot));
        self.node(number).threads.push(key);
        self.release_held(|link| link.to == number);
    }

    /// Cuts a node's power: its threads are never resumed nor unwound, its sockets vanish.
    pub(crate) fn kill(&mut self, number: u16) {
        let node = self.node(number);
        if node.life != Life::Up {
            return;
        }
        node.life = Life::Down;
        tracing::debug!(target: "host_sim::node", node = &*node.name, "power cut");
        let threads = core::mem::take(&mut node.threads);
        self.abandoned.threads += threads.len() as u64;
        self.abandoned.nodes += 1;
        let stacks = core::mem::take(&mut self.node(number).stacks);
        self.abandoned.fiber_stacks += stacks.iter().sum::<usize>() as u64;
        self.node(number).leaked = StacksInUse::default();
        self.node(number).helpers = 0;
        for thread in threads {
            // Its start may own a job, which belongs to the abandoned memory.
            core::mem::forget(self.threads.remove(thread));
        }
        let threads = &self.threads;
        self.runnable
            .retain(|&thread| threads.get(thread).is_some());
        self.forget_ports_of(number);
        self.vanish_sockets_of(number);
        let node = self.node(number);
        node.descriptors = Descriptors::default();
        node.ports_used.clear();
        node.refuses = false;
    }

    /// A node's boot closure has returned: the system closes what it left open.
    pub(crate) fn node_finished(&mut self, number: u16) {
        for descriptor in self.node(number).descriptors.open_numbers() {
            let _ = self.close(number, descriptor);
        }
        let node = self.node(number);
        node.life = Life::Finished;
        tracing::debug!(target: "host_sim::node", node = &*node.name, "finished");
    }

    pub(crate) fn panicked(&mut self, node: u16, message: String) {
        let name = self.node(node).name.to_string();
        self.halt.get_or_insert(Verdict::Panicked {
            node: name,
            message,
        });
    }

    /// Counts a stack that a node is about to take.
    pub(crate) fn take_stack(
        &mut self,
        node: u16,
        incarnation: u32,
        class: StackClass,
    ) -> Result<(), StackError> {
        let limit = self.config.stacks_max;
        let node = self.node(node);
        if node.incarnation != incarnation {
            return Ok(());
        }
        if node.stacks.iter().chain(&node.leaked).sum::<usize>() >= limit {
            let remedy = "run fewer fibers at once on this node, or raise `Sim::stacks_max`";
            return Err(StackError::Exhausted { limit, remedy });
        }
        node.stacks[class.index()] += 1;
        Ok(())
    }

    /// Counts a stack that a node gives back.
    pub(crate) fn give_stack(&mut self, node: u16, incarnation: u32, class: StackClass) {
        let node = self.node(node);
        if node.incarnation == incarnation {
            let in_use = &mut node.stacks[class.index()];
            *in_use = in_use.saturating_sub(1);
        }
    }

    /// Counts a stack that a node will never give back.
    pub(crate) fn leak_stack(&mut self, node: u16, incarnation: u32, class: StackClass) {
        self.give_stack(node, incarnation, class);
        self.abandoned.fiber_stacks += 1;
        let node = self.node(node);
        if node.incarnation == incarnation {
            node.leaked[class.index()] += 1;
        }
    }

    /// How many stacks a node has in use, and how many it has leaked.
    pub(crate) fn stacks_of(&mut self, node: u16, incarnation: u32) -> (StacksInUse, StacksInUse) {
        let node = self.node(node);
        if node.incarnation == incarnation {
            (node.stacks, node.leaked)
        } else {
            Default::default()
        }
    }

    /// Plans the first boot of every node.
    pub(crate) fn plan_boots(&mut self) {
        let stagger = crate::choices::nanos(self.config.boot_stagger);
        for number in 0..self.nodes.len() {
            let skew = self.config.wall_skew;
            let key = crate::choices::at(crate::choices::site("sim.wall"), self.nodes[number].key);
            let offset = self.choices.nanos_below(key, skew);
            self.nodes[number].wall_offset = Duration::from_nanos(offset);
            let node = u16::try_from(number).expect("node numbers are u16");
            self.events
                .push(stagger * number as u64, Event::Boot { node });
        }
    }
}
