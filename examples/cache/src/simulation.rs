//! The server in a simulated world that works against it.
//!
//! The node `server` runs [`operate`], exactly as the binary does. The node `clients` runs a few
//! clients, each on two connections, which remember what was acknowledged, and visitors who are
//! slow. The node `rude` stops in the middle of requests. Meanwhile connections break, the network
//! splits in one direction or both, signals drain the server, and power is cut; the server comes
//! back empty.
//!
//! What must hold, whatever happens:
//!
//! - a value that was acknowledged is read back, from either connection, until the server's life
//!   is over; afterwards it is absent, never an older one, and never that of another key;
//! - in a tight world, where memory is short, it may be absent, because the server evicts; but what
//!   is to be stored is, after a few attempts;
//! - what was deleted stays absent;
//! - no two acknowledged increments of one counter give the same number, in a spacious world;
//! - no answer ends in its middle, unless power, a network fault or an impatient operator cut it;
//!   in a calm world there are none of these;
//! - memory in use is never above the limit, nor are connections;
//! - once the faults are over, every client is served again; who speaks now and then is not
//!   closed; who is silent is closed in time; and in the end nobody is counted any more.
//!
//! A request without an answer may have happened or not, now or later: its key is given up.

mod audit;
mod client;
mod connection;
mod epilogue;
mod model;
mod visitors;

use alloc::sync::Arc;
use core::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use fiber::{
    Runtime,
    io::{
        TcpListener,
        signal::{Signal, Signals},
    },
};
use host_sim::{Action, Faults, Network, Outcome, Sim};

use self::{
    audit::audit_for_ever,
    client::Client,
    model::{Dice, Shared, World},
};
pub use crate::server::Mistake;
use crate::{
    Cache, Config, Limits, Server,
    server::{Ending, Listeners, SIGNALS, Service, now, operate},
};

/// The port that the simulated server listens on.
const PORT: u16 = 11_211;
/// Faults happen within this window.
const FAULTS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(4));
/// When signals come in a calm world: never while a drain is still under way.
const CALM_SIGNALS: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(2_300)];
const CLIENTS: u64 = 3;
const CONNECTIONS_MAX: u64 = 100;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(1_500);
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_millis(500);
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_millis(400);

/// What distinguishes worlds, besides chance; drawn from the seed.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Memory is short, and the server evicts.
    is_tight: bool,
    /// No power cuts, no network faults, no second signals: nothing excuses a broken answer.
    is_calm: bool,
}

impl Kind {
    const fn of(seed: u64) -> Self {
        Self {
            is_tight: seed & 1 != 0,
            is_calm: seed & 2 != 0,
        }
    }
}

/// Lets clients and faults loose on one server, which makes `mistake`, in the world `sim`.
///
/// A contradiction is a panic of the node `clients`, so the outcome is not `Finished`.
#[must_use]
pub fn simulate(mut sim: Sim, mistake: Mistake) -> Outcome {
    let seed = sim.seed();
    let kind = Kind::of(seed);
    let shared = Arc::new(Shared::default());
    let its_own = Arc::clone(&shared);
    let server = sim.node("server", move |env| {
        loop {
            its_own.boots.fetch_add(1, Ordering::SeqCst);
            let shared = Arc::clone(&its_own);
            Runtime::builder(Arc::clone(&env))
                .workers(2)
                .run(move || be_server(&shared, kind, mistake))
                .expect("the server runs");
        }
    });
    let address = SocketAddr::new(server.address().into(), PORT);
    let clients = sim.node("clients", move |env| {
        let world = Arc::new(World::new(address, Arc::clone(&shared), kind, FAULTS.1));
        Runtime::builder(env)
            .workers(2)
            .run(move || be_clients(&world))
            .expect("clients run");
    });
    let rude = sim.node("rude", move |env| {
        Runtime::builder(env)
            .workers(1)
            .run(move || visitors::be_rude(address, FAULTS.1))
            .expect("the rude run");
    });
    let faults = Faults::within(FAULTS.0, FAULTS.1);
    if kind.is_calm {
        for when in CALM_SIGNALS {
            sim.at(when, Action::Signal(server, Signal::Terminate));
        }
        sim.faults(faults.kills(2, &[rude]));
    } else {
        for when in wild_signals(seed) {
            sim.at(when, Action::Signal(server, Signal::Interrupt));
        }
        // A signal that finds nobody who wants it ends the node.
        sim.at(FAULTS.1, Action::Restart(server));
        sim.faults(faults.kills(3, &[server, rude]).partitions(3).resets(4));
    }
    sim.network(Network::lan().buffer_bytes(8 << 10))
        .time_limit(Duration::from_secs(120))
        .until(clients)
        .run()
}

/// Signals at any time; sometimes the second comes while the first one's drain is under way.
fn wild_signals(seed: u64) -> [Duration; 2] {
    let first = 50 + seed.wrapping_mul(0x9e37_79b9) % 2_000;
    let second = first + seed.wrapping_mul(0x85eb_ca6b) % 1_500;
    [first, second].map(Duration::from_millis)
}

fn be_server(shared: &Arc<Shared>, kind: Kind, mistake: Mistake) {
    let signals = Signals::new(&SIGNALS).expect("the host has signals");
    let listener = TcpListener::bind(("0.0.0.0", PORT)).expect("the port is free");
    let mut config = Config::default();
    if kind.is_tight {
        (config.memory_bytes, config.shards) = (model::TIGHT_MEMORY_BYTES, 2);
    }
    config.forgets_evicted = mistake == Mistake::ForgetsEvicted;
    let server = Server::new(1, 2, CONNECTIONS_MAX, now());
    let cache = Arc::new(Cache::new(config, server));
    shared.serve_from(&cache);
    let (its_own, audited) = (Arc::clone(shared), Arc::clone(&cache));
    drop(fiber::spawn(move || audit_for_ever(&its_own, &audited)));
    let service = Service::new(Limits::default())
        .idle_timeout(Some(IDLE_TIMEOUT))
        .write_timeout(WRITE_TIMEOUT)
        .with_mistake(mistake);
    let listeners = Listeners {
        clients: listener,
        admin: None,
    };
    let ending = operate(listeners, cache, service, DRAIN_TIMEOUT, signals);
    if !matches!(ending, Ok(Ending::Drained)) {
        shared.was_cut.store(true, Ordering::SeqCst);
    }
    ending.expect("it serves until it is told to stop");
}

fn be_clients(world: &Arc<World>) {
    let mut guests: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let world = Arc::clone(world);
            fiber::spawn(move || Client::new(number, world).live())
        })
        .collect();
    for visit in visitors::ALL {
        let world = Arc::clone(world);
        guests.push(fiber::spawn(move || visit(&world, &mut Dice::new())));
    }
    for guest in guests {
        if let Err(reason) = guest.join() {
            panic!("{reason}");
        }
    }
    epilogue::check(world);
    world.shared.expect_no_violation();
}
