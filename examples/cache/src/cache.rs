//! The cache that all connections share: its items and what is known about the server.

use crate::stats::Server;
use crate::store::Store;

/// How a [`Cache`] is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Bytes that items may take, with all that the allocator hands out for them. When they are
    /// used up, what was not used for longest makes room.
    pub memory_bytes: usize,
    /// The longest value; never more than half of the memory.
    pub value_bytes_max: usize,
    /// Parts that are locked separately; rounded up to a power of two, and fewer where the
    /// memory is too small for so many.
    pub shards: usize,
    /// Seed of the hash. The same seed places the same keys alike in every process.
    pub seed: u64,
    /// A planted mistake, for the simulation that has to find it: what was evicted stays counted.
    #[doc(hidden)]
    pub forgets_evicted: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            value_bytes_max: 1 << 20,
            shards: 64,
            seed: 0,
            forgets_evicted: false,
        }
    }
}

/// What all connections of a server share.
#[derive(Debug)]
pub struct Cache {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) server: Server,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(config: Config, server: Server) -> Self {
        Self {
            config,
            store: Store::new(&config),
            server,
        }
    }

    /// What `stats` tells about the server; the accept loop counts connections here.
    #[must_use]
    pub const fn server(&self) -> &Server {
        &self.server
    }
}
