//! The server in a simulated world that works against it.
//!
//! The node `server` runs [`serve`], exactly as the binary does. The node
//! `clients` runs a few clients, each on two connections, which remember what was acknowledged.
//! Meanwhile connections break, the network splits in one direction or both, and the server's
//! power is cut; it comes back empty.
//!
//! What must hold, whatever happens:
//!
//! - a value that was acknowledged is read back, from either connection, until the server has
//!   lost its power; afterwards it is absent, never an older one;
//! - what was deleted stays absent;
//! - no two acknowledged increments of one counter give the same number;
//! - once the faults are over, every client is served again.
//!
//! A request without an answer may have happened or not, now or later: its key is given up.

mod client;
mod connection;
mod model;

use alloc::sync::Arc;
use core::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fiber::{Runtime, io::TcpListener};
use host_sim::{Faults, Outcome, Sim};

use self::{client::Client, model::World};
use crate::{
    Cache, Config, Limits, Server,
    server::{Service, now, serve},
};

/// The port that the simulated server listens on.
const PORT: u16 = 11_211;
/// Faults happen within this window.
const FAULTS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
const CLIENTS: u64 = 3;

/// Which server is put into the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// The one that the binary runs.
    #[default]
    Real,
    /// One that answers before the store is updated: the simulation has to notice.
    AnswersEarly,
}

/// Lets clients and faults loose on one server, in the world `sim`.
///
/// A contradiction is a panic of the node `clients`, so the outcome is not `Finished`.
#[must_use]
pub fn simulate(mut sim: Sim, subject: Subject) -> Outcome {
    let boots = Arc::new(AtomicU64::new(0));
    let booted = Arc::clone(&boots);
    let server = sim.node("server", move |env| {
        booted.fetch_add(1, Ordering::SeqCst);
        Runtime::builder(env)
            .workers(2)
            .run(move || be_server(subject))
            .expect("the server runs");
    });
    let address = SocketAddr::new(server.address().into(), PORT);
    let clients = sim.node("clients", move |env| {
        let world = Arc::new(World::new(address, Arc::clone(&boots), FAULTS.1));
        Runtime::builder(env)
            .workers(2)
            .run(move || be_clients(&world))
            .expect("clients run");
    });
    sim.faults(
        Faults::within(FAULTS.0, FAULTS.1)
            .kills(2, &[server])
            .partitions(3)
            .resets(4),
    );
    sim.time_limit(Duration::from_secs(120))
        .until(clients)
        .run()
}

fn be_server(subject: Subject) {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).expect("the port is free");
    let cache = Arc::new(Cache::new(Config::default(), Server::new(1, 2, 100, now())));
    let service = match subject {
        Subject::Real => Service::new(Limits::default()),
        Subject::AnswersEarly => Service::new(Limits::default()).with_planted_mistake(),
    };
    serve(&listener, &cache, service).expect("it serves until the power is cut");
}

fn be_clients(world: &Arc<World>) {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let world = Arc::clone(world);
            fiber::spawn(move || Client::new(number, world).live())
        })
        .collect();
    for client in clients {
        if let Err(reason) = client.join() {
            panic!("{reason}");
        }
    }
}
