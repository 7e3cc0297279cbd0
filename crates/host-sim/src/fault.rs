//! Faults as data: what goes wrong, and when.

use core::{fmt, time::Duration};

use fiber_core::signal::Signal;

use crate::{
    choices::{self, site},
    events::Event,
    net::Link,
    node::Life,
    sim::NodeHandle,
    world::World,
};

/// Something that is done to the world from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Nothing passes between the two any more, in neither direction.
    Partition(NodeHandle, NodeHandle),
    /// Nothing passes from the first to the second any more; the other way still works.
    PartitionOneWay {
        /// Whose packets are held up.
        from: NodeHandle,
        /// Whom they do not reach.
        to: NodeHandle,
    },
    /// Packets pass between the two again; what was held up arrives late.
    Heal(NodeHandle, NodeHandle),
    /// Packets pass everywhere again.
    HealAll,
    /// Cuts the node's power: it stops where it is, nothing is unwound, nobody is told.
    Kill(NodeHandle),
    /// Starts a node whose power was cut, from its boot closure; others stay as they are.
    Restart(NodeHandle),
    /// Breaks every connection between the two.
    Reset(NodeHandle, NodeHandle),
    /// The node refuses new connections, as if nobody listened.
    Refuse(NodeHandle),
    /// The node takes new connections again.
    Welcome(NodeHandle),
    /// Sends the node a signal. What its program has asked to be told of, it is told; what it has
    /// not, ends the node as [`Action::Kill`] does. A node that is down hears nothing.
    ///
    /// A world whose nodes have all ended is finished, also where a signal has ended one: name the
    /// node with [`Sim::until`](crate::Sim::until) where its program has to end by itself.
    Signal(NodeHandle, Signal),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Partition(a, b) => write!(f, "partition {a} | {b}"),
            Self::PartitionOneWay { from, to } => write!(f, "partition {from} -> {to}"),
            Self::Heal(a, b) => write!(f, "heal {a}, {b}"),
            Self::HealAll => f.write_str("heal all"),
            Self::Kill(node) => write!(f, "kill {node}"),
            Self::Restart(node) => write!(f, "restart {node}"),
            Self::Reset(a, b) => write!(f, "reset {a}, {b}"),
            Self::Refuse(node) => write!(f, "refuse at {node}"),
            Self::Welcome(node) => write!(f, "welcome at {node}"),
            Self::Signal(node, signal) => write!(f, "{signal} to {node}"),
        }
    }
}

/// A recipe for drawn faults: how many of each kind, within which window.
///
/// Everything is healed and restarted at the window's end at the latest, so that a program can be
/// asked to recover.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// When the first fault may happen.
    pub from: Duration,
    /// When everything is whole again.
    pub until: Duration,
    /// At most so many power cuts, each followed by a restart.
    pub kills: u32,
    /// At most so many partitions, one-way or two-way, each followed by a heal.
    pub partitions: u32,
    /// At most so many times that all connections of a pair are reset.
    pub resets: u32,
    /// Who may be killed; empty is every node.
    pub victims: Vec<NodeHandle>,
}

impl Faults {
    /// No faults yet, in this window.
    pub const fn within(from: Duration, until: Duration) -> Self {
        Self {
            from,
            until,
            kills: 0,
            partitions: 0,
            resets: 0,
            victims: Vec::new(),
        }
    }

    /// The same with at most so many power cuts, of `victims` alone if there are any.
    #[must_use]
    pub fn kills(mut self, kills: u32, victims: &[NodeHandle]) -> Self {
        self.kills = kills;
        self.victims = victims.to_vec();
        self
    }

    /// The same with at most so many partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// The same with at most so many resets.
    #[must_use]
    pub fn resets(mut self, resets: u32) -> Self {
        self.resets = resets;
        self
    }
}

/// What was and will be done to a world.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<(u64, Action)>,
}

impl World {
    /// Plans scripted actions and draws those of the recipes.
    pub(crate) fn plan_faults(&mut self, scripted: Vec<(Duration, Action)>, recipes: &[Faults]) {
        let mut actions: Vec<(u64, Action)> = scripted
            .into_iter()
            .map(|(at, action)| (choices::nanos(at), action))
            .collect();
        for recipe in recipes {
            self.draw_faults(recipe, &mut actions);
        }
        actions.sort_by_key(|&(at, _)| at);
        for (number, &(at, _)) in actions.iter().enumerate() {
            self.events.push(at, Event::Fault { number });
        }
        self.plan = Plan { actions };
    }

    fn draw_faults(&mut self, recipe: &Faults, actions: &mut Vec<(u64, Action)>) {
        let everyone: Vec<NodeHandle> = (0u16..)
            .zip(&self.nodes)
            .map(|(number, node)| NodeHandle::new(number, node.address))
            .collect();
        let victims = if recipe.victims.is_empty() {
            &everyone
        } else {
            &recipe.victims
        };
        if victims.is_empty() {
            return;
        }
        for _ in 0..self.draw_count(site("fault.kills"), recipe.kills) {
            let (at, end) = self.draw_window(site("fault.kill.time"), recipe);
            let victim = victims[self.choices.index(site("fault.kill.victim"), victims.len())];
            actions.push((at, Action::Kill(victim)));
            actions.push((end, Action::Restart(victim)));
        }
        if everyone.len() > 1 {
            self.draw_network_faults(recipe, &everyone, actions);
        }
        let end = choices::nanos(recipe.until);
        actions.push((end, Action::HealAll));
        for &victim in victims.iter().filter(|_| recipe.kills > 0) {
            actions.push((end, Action::Restart(victim)));
        }
    }

    fn draw_network_faults(
        &mut self,
        recipe: &Faults,
        everyone: &[NodeHandle],
        actions: &mut Vec<(u64, Action)>,
    ) {
        for _ in 0..self.draw_count(site("fault.partitions"), recipe.partitions) {
            let (at, end) = self.draw_window(site("fault.partition.time"), recipe);
            let (a, b) = self.draw_pair(site("fault.partition.pair"), everyone);
            let action = if self.choices.one_in(site("fault.partition.way"), 2) {
                Action::PartitionOneWay { from: a, to: b }
            } else {
                Action::Partition(a, b)
            };
            actions.push((at, action));
            actions.push((end, Action::Heal(a, b)));
        }
        for _ in 0..self.draw_count(site("fault.resets"), recipe.resets) {
            let (at, _) = self.draw_window(site("fault.reset.time"), recipe);
            let (a, b) = self.draw_pair(site("fault.reset.pair"), everyone);
            actions.push((at, Action::Reset(a, b)));
        }
    }

    fn draw_count(&mut self, draw: u64, most: u32) -> u64 {
        self.choices.below(draw, u64::from(most) + 1)
    }

    /// A moment in the recipe's window, and a later one.
    fn draw_window(&mut self, draw: u64, recipe: &Faults) -> (u64, u64) {
        let from = choices::nanos(recipe.from);
        let until = choices::nanos(recipe.until).max(from + 1);
        let at = from + self.choices.below(draw, until - from);
        let end = at + 1 + self.choices.below(draw, until - at);
        (at, end)
    }

    fn draw_pair(&mut self, draw: u64, everyone: &[NodeHandle]) -> (NodeHandle, NodeHandle) {
        let a = self.choices.index(draw, everyone.len());
        let b = self.choices.index(draw, everyone.len() - 1);
        (everyone[a], everyone[b + usize::from(b >= a)])
    }

    /// Does what the plan says.
    pub(crate) fn apply_fault(&mut self, number: usize) {
        let (_, action) = self.plan.actions[number];
        // The moment is data of the world: telling reads no clock (I-8).
        tracing::debug!(target: "host_sim::fault", at = self.now, %action, "fault");
        self.choices.journal.fold(number as u64, self.now);
        let link = |from: NodeHandle, to: NodeHandle| Link {
            from: from.number(),
            to: to.number(),
        };
        match action {
            Action::Partition(a, b) => {
                self.cut(link(a, b));
                self.cut(link(b, a));
            }
            Action::PartitionOneWay { from, to } => self.cut(link(from, to)),
            Action::Heal(a, b) => self.heal(|l| l == link(a, b) || l == link(b, a)),
            Action::HealAll => self.heal(|_| true),
            Action::Kill(node) => self.kill(node.number()),
            Action::Restart(node) => {
                if self.node(node.number()).life == Life::Down {
                    self.boot(node.number());
                }
            }
            Action::Reset(a, b) => self.reset_between(a.number(), b.number()),
            Action::Refuse(node) => self.node(node.number()).refuses = true,
            Action::Welcome(node) => self.node(node.number()).refuses = false,
            Action::Signal(node, signal) => self.signal(node.number(), signal),
        }
    }
}
