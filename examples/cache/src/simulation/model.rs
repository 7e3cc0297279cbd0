//! What the clients know, and may demand.

use alloc::{collections::BTreeSet, sync::Arc};
use core::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fiber::{
    core::{Context, env::Instant},
    sync::Mutex,
};

/// What all clients share.
pub(super) struct World {
    pub(super) server: SocketAddr,
    boots: Arc<AtomicU64>,
    /// From here on the world is whole.
    whole_at: Instant,
    /// Acknowledged increments: the server's life, and the number it gave.
    counted: Mutex<BTreeSet<(u64, u64)>>,
}

impl World {
    pub(super) fn new(server: SocketAddr, boots: Arc<AtomicU64>, whole_after: Duration) -> Self {
        let whole_at = Instant::ORIGIN + whole_after;
        Self {
            server,
            boots,
            whole_at,
            counted: Mutex::new(BTreeSet::new()),
        }
    }

    /// Which life of the server it is now.
    pub(super) fn boot(&self) -> u64 {
        self.boots.load(Ordering::SeqCst)
    }

    pub(super) fn is_whole(&self) -> bool {
        fiber::time::now() >= self.whole_at
    }

    /// An increment was acknowledged.
    pub(super) fn counted(&self, boot: u64, number: u64) {
        let mut counted = self
            .counted
            .lock()
            .expect("clients do not panic while they hold it");
        assert!(
            counted.insert((boot, number)),
            "two increments were acknowledged with the number {number}"
        );
    }
}

/// What one client knows about one of its keys; nobody else writes it.
#[derive(Debug)]
pub(super) struct Key {
    client: u64,
    index: usize,
    /// Moves on when the outcome of a request is unknown: the old name is never used again.
    name: u64,
    /// The last value written under any name.
    written: u64,
    known: Option<Known>,
}

/// What was last acknowledged under the current name.
#[derive(Clone, Copy, Debug)]
struct Known {
    boot: u64,
    value: Option<u64>,
}

impl Key {
    pub(super) fn new(client: u64, index: usize) -> Self {
        Self {
            client,
            index,
            name: 0,
            written: 0,
            known: None,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("key-{}-{}-{}", self.client, self.index, self.name)
    }

    /// The next value to write.
    pub(super) fn next_value(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    pub(super) fn stored(&mut self, boot: u64, value: u64) {
        self.known = Some(Known {
            boot,
            value: Some(value),
        });
    }

    pub(super) fn deleted(&mut self, boot: u64, existed: bool) {
        if !existed {
            self.read(boot, None);
        }
        self.known = Some(Known { boot, value: None });
    }

    /// A request on the key was not answered: nothing is known any more, nor ever will be.
    pub(super) fn give_up(&mut self) {
        self.name += 1;
        self.known = None;
    }

    /// The server answered a read in its life `boot`.
    pub(super) fn read(&mut self, boot: u64, value: Option<u64>) {
        let expected = match self.known {
            Some(known) if known.boot == boot => known.value,
            // Never written under this name, or lost with the power: it must be absent.
            _ => None,
        };
        assert_eq!(
            value,
            expected,
            "{} was acknowledged as {expected:?} and read as {value:?} in life {boot}",
            self.name()
        );
    }
}

/// Draws of one client, from the simulated world's entropy.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new() -> Self {
        let mut seed = [0; 8];
        Context::with(|context| context.expect("on a fiber").env().fill(&mut seed));
        Self(u64::from_le_bytes(seed) | 1)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}
