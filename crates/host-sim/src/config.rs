//! What a world is like: sizes, latencies, limits.

use core::time::Duration;

use crate::choices::scramble;

/// How the next one among several that could run is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// By draw: every seed another interleaving.
    #[default]
    Random,
    /// First come, first served: what production does. Faults and latencies are still drawn.
    Fifo,
}

/// How the network between nodes behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// The least time from node to node.
    pub latency: Duration,
    /// What is drawn on top of it.
    pub jitter: Duration,
    /// One packet in so many takes up to sixteen times as long; 0 is never.
    pub tail_one_in: u32,
    /// The least time from a node to itself.
    pub loopback: Duration,
    /// One send in so many arrives in several pieces; 0 is never.
    pub segment_one_in: u32,
    /// One transfer that may be short is short, in so many; 0 is never.
    pub short_one_in: u32,
    /// How many sent bytes that the peer has not read a connection holds; at least 1.
    pub buffer_bytes: usize,
    /// After how long a connection attempt that hears nothing fails.
    pub connect_timeout: Duration,
    /// After how long a sender that hears nothing gives its connection up.
    pub give_up: Duration,
    /// The longest time that a healed link takes to carry what was held up.
    pub retransmit: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self::lan()
    }
}

impl Network {
    /// A local network: 100 to 300 µs, now and then a few milliseconds.
    pub const fn lan() -> Self {
        Self {
            latency: Duration::from_micros(100),
            jitter: Duration::from_micros(200),
            tail_one_in: 64,
            loopback: Duration::from_micros(5),
            segment_one_in: 8,
            short_one_in: 16,
            buffer_bytes: 128 << 10,
            connect_timeout: Duration::from_secs(10),
            give_up: Duration::from_secs(30),
            retransmit: Duration::from_millis(200),
        }
    }

    /// A wide network: 20 to 60 ms.
    pub const fn wan() -> Self {
        let mut wan = Self::lan();
        wan.latency = Duration::from_millis(20);
        wan.jitter = Duration::from_millis(40);
        wan
    }

    /// The same with another least latency and another jitter.
    #[must_use]
    pub const fn latency(mut self, least: Duration, jitter: Duration) -> Self {
        self.latency = least;
        self.jitter = jitter;
        self
    }

    /// The same, where sends arrive in pieces and transfers are short once in so many; 0 is never.
    #[must_use]
    pub const fn segmentation(mut self, segment_one_in: u32, short_one_in: u32) -> Self {
        self.segment_one_in = segment_one_in;
        self.short_one_in = short_one_in;
        self
    }

    /// The same with connections that hold so many unread bytes.
    ///
    /// # Panics
    /// When `buffer_bytes` is 0: nothing could ever be sent.
    #[must_use]
    pub const fn buffer_bytes(mut self, buffer_bytes: usize) -> Self {
        assert!(buffer_bytes > 0, "a connection must hold at least one byte");
        self.buffer_bytes = buffer_bytes;
        self
    }

    /// The same with other times after which connecting fails, and a silent connection ends.
    #[must_use]
    pub const fn timeouts(mut self, connect: Duration, give_up: Duration) -> Self {
        self.connect_timeout = connect;
        self.give_up = give_up;
        self
    }
}

/// Everything that shapes a run besides its seed and its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) order: Order,
    pub(crate) network: Network,
    pub(crate) time_limit: Duration,
    pub(crate) step_limit: u64,
    pub(crate) parallelism: u16,
    pub(crate) descriptors_max: u32,
    pub(crate) stacks_max: usize,
    pub(crate) offload_max: usize,
    pub(crate) turn_cost: Duration,
    pub(crate) clock_cost: Duration,
    pub(crate) timer_slack: Duration,
    pub(crate) wall_skew: Duration,
    pub(crate) boot_stagger: Duration,
    pub(crate) cancel_delay: Duration,
    pub(crate) poison: Poison,
    /// One turn in so many is followed by a stall, of at most that length.
    pub(crate) stalls: (u32, Duration),
}

/// Whether lent receive buffers are overwritten before anything is received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Poison {
    /// In one seed of four.
    #[default]
    Drawn,
    /// In every run.
    Always,
    /// In none.
    Never,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            order: Order::default(),
            network: Network::default(),
            time_limit: Duration::from_secs(600),
            step_limit: 50_000_000,
            parallelism: 2,
            descriptors_max: 1024,
            stacks_max: usize::MAX,
            offload_max: 512,
            turn_cost: Duration::from_nanos(70),
            clock_cost: Duration::from_nanos(10),
            timer_slack: Duration::from_micros(50),
            wall_skew: Duration::from_millis(50),
            boot_stagger: Duration::from_millis(1),
            cancel_delay: Duration::from_micros(20),
            poison: Poison::default(),
            stalls: (64, Duration::from_millis(5)),
        }
    }
}

/// A hash of a description, stable as long as the description is.
pub(crate) fn hash_of(description: &str) -> u64 {
    description
        .bytes()
        .fold(0, |hash, byte| scramble(hash ^ u64::from(byte)))
}
