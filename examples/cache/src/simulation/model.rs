//! What the clients know, and may demand.

use alloc::{collections::BTreeSet, sync::Arc};
use core::{
    fmt,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use std::sync::Mutex as PlainMutex;

use fiber::{
    core::{Context, env::Instant},
    sync::Mutex,
};

use super::{Kind, connection::Connection};
use crate::Cache;

/// What items may take in a tight world.
pub(super) const TIGHT_MEMORY_BYTES: usize = 10 << 10;

/// What the server says when memory is short.
const NO_MEMORY: &str = "SERVER_ERROR out of memory storing object";
/// So many values in a row can be refused for the moment; more are refused for good.
const REFUSALS_MAX: u64 = 12;

/// What the nodes tell each other behind the back of the network.
///
/// Its locks are a plain thread's: they are never held across a call that can wait.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// How many lives the server has had.
    pub(super) boots: AtomicU64,
    /// Whether a life of the server ended before everybody had left.
    pub(super) was_cut: AtomicBool,
    cache: PlainMutex<Option<Arc<Cache>>>,
    violations: PlainMutex<Vec<String>>,
}

impl Shared {
    /// A new life begins.
    pub(super) fn serve_from(&self, cache: &Arc<Cache>) {
        let mut place = self.cache.lock().expect("nobody panics with it");
        let before = place.replace(Arc::clone(cache));
        // What a killed node has locked stays locked: it is left as it is.
        core::mem::forget(before);
    }

    /// The cache of the server's present life.
    pub(super) fn cache(&self) -> Arc<Cache> {
        let cache = self.cache.lock().expect("nobody panics with it");
        Arc::clone(cache.as_ref().expect("the server has started"))
    }

    pub(super) fn violated(&self, what: String) {
        let mut violations = self.violations.lock().expect("nobody panics with it");
        violations.push(what);
    }

    pub(super) fn expect_no_violation(&self) {
        let violations = self.violations.lock().expect("nobody panics with it");
        if let Some(first) = violations.first() {
            panic!("{first} (and {} more)", violations.len() - 1);
        }
    }
}

/// What all clients share.
pub(super) struct World {
    pub(super) server: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) kind: Kind,
    /// From here on the world is whole.
    whole_at: Instant,
    /// How many values were refused since one was stored.
    refused: AtomicU64,
    /// Acknowledged increments: the server's life, and the number it gave.
    counted: Mutex<BTreeSet<(u64, u64)>>,
}

impl World {
    pub(super) fn new(
        server: SocketAddr,
        shared: Arc<Shared>,
        kind: Kind,
        whole_after: Duration,
    ) -> Self {
        let whole_at = Instant::ORIGIN + whole_after;
        Self {
            server,
            shared,
            kind,
            whole_at,
            refused: AtomicU64::new(0),
            counted: Mutex::new(BTreeSet::new()),
        }
    }

    /// Which life of the server it is now.
    pub(super) fn boot(&self) -> u64 {
        self.shared.boots.load(Ordering::SeqCst)
    }

    pub(super) fn is_whole(&self) -> bool {
        fiber::time::now() >= self.whole_at
    }

    /// Whether a value was stored, which is so, but for a moment in a tight world: what others are
    /// just about to store cannot be evicted.
    pub(super) fn is_stored(&self, line: &str) -> bool {
        if line == "STORED" {
            self.refused.store(0, Ordering::SeqCst);
            return true;
        }
        let refused = self.refused.fetch_add(1, Ordering::SeqCst);
        assert!(
            self.kind.is_tight && line == NO_MEMORY && refused < REFUSALS_MAX,
            "the answer to a set, after {refused} that were refused: {line}"
        );
        false
    }

    /// Whether an item may be absent that was stored in the server's present life.
    pub(super) fn may_evict(&self) -> bool {
        self.kind.is_tight
    }

    /// Complains if an answer has a beginning and no end, and nobody is to blame but the server.
    pub(super) fn check_end(&self, connection: &Connection) {
        let excused = self.shared.was_cut.load(Ordering::SeqCst);
        assert!(
            excused || !connection.ended_in_an_answer(),
            "the server has ended a connection in the middle of an answer"
        );
    }

    /// Holds what was read against what was stored on the same connection, under a key that nobody
    /// else uses.
    pub(super) fn check_alone(
        &self,
        key: &str,
        connection: &Connection,
        stored: &Value,
        got: Option<&str>,
    ) {
        let is_evicted = got.is_none() && self.may_evict();
        assert!(
            is_evicted || got == Some(&*stored.to_string()),
            "{key} was stored and read as {got:?} in life {}",
            connection.boot
        );
    }

    /// An increment was acknowledged.
    pub(super) fn counted(&self, boot: u64, number: u64) {
        if self.may_evict() {
            return;
        }
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

/// What is stored: a number, and a tail that says by each of its bytes to which number it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) number: u64,
    tail: usize,
}

impl Value {
    pub(super) const fn of(number: u64, tail: usize) -> Self {
        Self { number, tail }
    }

    pub(super) fn len(self) -> usize {
        self.to_string().len()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = char::from(b'a' + u8::try_from(self.number % 26).expect("it is below 26"));
        write!(
            f,
            "{}:{}",
            self.number,
            String::from(letter).repeat(self.tail)
        )
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
    value: Option<Value>,
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
    pub(super) fn next_value(&mut self) -> Value {
        self.written += 1;
        let tail = self.written * 131 % 700;
        Value::of(self.written, usize::try_from(tail).expect("it is small"))
    }

    pub(super) fn stored(&mut self, boot: u64, value: Value) {
        self.known = Some(Known {
            boot,
            value: Some(value),
        });
    }

    pub(super) fn deleted(&mut self, boot: u64, existed: bool, world: &World) {
        if !existed {
            self.read(boot, None, world);
        }
        self.known = Some(Known { boot, value: None });
    }

    /// A request on the key was not answered: nothing is known any more, nor ever will be.
    pub(super) fn give_up(&mut self) {
        self.name += 1;
        self.known = None;
    }

    /// The server answered a read in its life `boot`.
    pub(super) fn read(&mut self, boot: u64, value: Option<&str>, world: &World) {
        let expected = match self.known {
            Some(known) if known.boot == boot => known.value,
            // Never written under this name, or lost with the server's life: it must be absent.
            _ => None,
        };
        if value.is_none() && expected.is_some() && world.may_evict() {
            // From here on it is gone for good.
            self.known = Some(Known { boot, value: None });
            return;
        }
        let wanted = expected.map(|value| value.to_string());
        assert_eq!(
            value,
            wanted.as_deref(),
            "{} was acknowledged as {wanted:?} and read as {value:?} in life {boot}",
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
