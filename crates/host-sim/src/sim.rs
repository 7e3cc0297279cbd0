//! Building a world: nodes, network, faults, limits.

use alloc::rc::Rc;
use core::{fmt, net::Ipv4Addr, time::Duration};

use fiber_core::env::SharedEnv;

use crate::{
    config::{Config, Network, Order, Poison, hash_of},
    fault::{Action, Faults},
    node::Node,
    outcome::Outcome,
    run,
    token::Token,
};

/// A node's program: called afresh at each start.
pub(crate) type Boot = Rc<dyn Fn(SharedEnv)>;

/// A world before its run.
///
/// ```
/// use host_sim::Sim;
///
/// let mut sim = Sim::new(7);
/// let only = sim.node("only", |env| {
///     let before = env.now();
///     assert!(env.now() > before, "even looking at the clock takes time");
/// });
/// assert!(sim.until(only).run().is_finished());
/// ```
pub struct Sim {
    seed: u64,
    pub(crate) config: Config,
    pub(crate) nodes: Vec<(String, Boot)>,
    pub(crate) scripted: Vec<(Duration, Action)>,
    pub(crate) recipes: Vec<Faults>,
    pub(crate) until: Option<u16>,
    last_token: Option<Rc<core::cell::Cell<Option<Token>>>>,
}

/// Names a node of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeHandle {
    number: u16,
    address: Ipv4Addr,
}

impl Sim {
    /// An empty world whose every draw comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            config: Config::default(),
            nodes: Vec::new(),
            scripted: Vec::new(),
            recipes: Vec::new(),
            until: None,
            last_token: None,
        }
    }

    /// The world that `token` names; its nodes and its configuration are the program's to repeat.
    pub fn replay(token: Token) -> Self {
        Self::new(token.seed()).order(token.order())
    }

    pub(crate) fn reporting_to(mut self, cell: Rc<core::cell::Cell<Option<Token>>>) -> Self {
        self.last_token = Some(cell);
        self
    }

    /// The seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Sets who runs next when several could.
    #[must_use]
    pub const fn order(mut self, order: Order) -> Self {
        self.config.order = order;
        self
    }

    /// Sets how the network behaves.
    #[must_use]
    pub const fn network(mut self, network: Network) -> Self {
        self.config.network = network;
        self
    }

    /// Ends the run when so much virtual time has passed; 10 minutes unless set.
    #[must_use]
    pub const fn time_limit(mut self, limit: Duration) -> Self {
        self.config.time_limit = limit;
        self
    }

    /// Ends the run after so many turns; 50 million unless set.
    #[must_use]
    pub const fn step_limit(mut self, limit: u64) -> Self {
        self.config.step_limit = limit;
        self
    }

    /// Sets how many workers are worth starting on a node; 2 unless set.
    #[must_use]
    pub const fn parallelism(mut self, workers: u16) -> Self {
        self.config.parallelism = workers;
        self
    }

    /// Sets how many descriptors a node can have open; 1024 unless set.
    #[must_use]
    pub const fn descriptors_max(mut self, limit: u32) -> Self {
        self.config.descriptors_max = limit;
        self
    }

    /// Sets how many fibers' stacks a node can have in use, those that its workers keep for reuse
    /// included; any number unless set.
    #[must_use]
    pub const fn stacks_max(mut self, limit: usize) -> Self {
        self.config.stacks_max = limit;
        self
    }

    /// Sets how many blocking calls the helpers of a node run at once; 512 unless set.
    ///
    /// # Panics
    /// When it is 0.
    #[must_use]
    pub const fn helpers_max(mut self, helpers: usize) -> Self {
        assert!(helpers > 0, "somebody has to run blocking calls");
        self.config.offload_max = helpers;
        self
    }

    /// Sets whether lent receive buffers are overwritten before anything is received.
    #[must_use]
    pub const fn poison(mut self, poison: Poison) -> Self {
        self.config.poison = poison;
        self
    }

    /// Sets how often a worker loses its processor after a turn (one turn in `one_in`; 0 is never),
    /// and for how long at most; once in 64, up to 5 ms, unless set. Never in [`Order::Fifo`].
    #[must_use]
    pub const fn stalls(mut self, one_in: u32, longest: Duration) -> Self {
        self.config.stalls = (one_in, longest);
        self
    }

    /// Computing takes no time in this world, and timers are exact: only waiting takes time. For
    /// tests that count on exact moments.
    #[must_use]
    pub fn costless(mut self) -> Self {
        self.config.turn_cost = Duration::ZERO;
        self.config.clock_cost = Duration::ZERO;
        self.config.timer_slack = Duration::ZERO;
        self.config.stalls = (0, Duration::ZERO);
        self
    }

    /// Sets how much later than its predecessor each node starts; 1 ms unless set.
    #[must_use]
    pub const fn boot_stagger(mut self, stagger: Duration) -> Self {
        self.config.boot_stagger = stagger;
        self
    }

    /// Adds a node. `boot` is its whole program: it runs at the node's start and at each restart,
    /// and when it returns the node has finished. Addresses count up from 10.0.0.1.
    ///
    /// `boot` captures what it shares with the test, which must not be locked across a call that
    /// can wait: a killed node never unlocks it.
    ///
    /// # Panics
    /// When the name is taken, or with more than 65 535 nodes.
    pub fn node(&mut self, name: &str, boot: impl Fn(SharedEnv) + 'static) -> NodeHandle {
        let taken = self.nodes.iter().any(|(other, _)| other == name);
        assert!(
            !taken,
            "two nodes are called {name}: draws are keyed by name"
        );
        let number = u16::try_from(self.nodes.len()).expect("a world has at most 65 535 nodes");
        let node = Node::new(number, name);
        self.nodes.push((name.to_owned(), Rc::new(boot)));
        NodeHandle::new(number, node.address)
    }

    /// Does `action` when so much virtual time has passed.
    pub fn at(&mut self, when: Duration, action: Action) -> &mut Self {
        self.scripted.push((when, action));
        self
    }

    /// Draws faults after a recipe.
    pub fn faults(&mut self, faults: Faults) -> &mut Self {
        self.recipes.push(faults);
        self
    }

    /// Ends the run when this node's boot closure has returned, whatever the others do. Without
    /// it, the run ends when every node has finished, or is down for good.
    #[must_use]
    pub const fn until(mut self, node: NodeHandle) -> Self {
        self.until = Some(node.number);
        self
    }

    /// The token of the run that this builder would make.
    pub fn token(&self) -> Token {
        let names: Vec<&str> = self.nodes.iter().map(|(name, _)| name.as_str()).collect();
        // The order has its own place in the token.
        let mut config = self.config.clone();
        config.order = Order::default();
        let description = format!(
            "{config:?} {names:?} {:?} {:?} {:?}",
            self.scripted, self.recipes, self.until
        );
        Token::new(self.seed, self.config.order, hash_of(&description))
    }

    /// Runs the world on this thread until it ends.
    pub fn run(self) -> Outcome {
        let token = self.token();
        if let Some(cell) = &self.last_token {
            cell.set(Some(token));
        }
        run::run(self, token)
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("token", &self.token())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl NodeHandle {
    pub(crate) const fn new(number: u16, address: Ipv4Addr) -> Self {
        Self { number, address }
    }

    pub(crate) const fn number(self) -> u16 {
        self.number
    }

    /// Where other nodes reach it.
    pub const fn address(self) -> Ipv4Addr {
        self.address
    }
}

impl fmt::Display for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}
