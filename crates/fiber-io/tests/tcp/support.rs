//! Where the tests run: the same body on Linux with either driver, and in simulated worlds.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use fiber_core::env::SharedEnv;
use fiber_io::{IoErrorKind, TcpListener, TcpStream};
use fiber_sched::Runtime;
use host_linux::{Config, Io, Linux};
use host_sim::Sim;

/// How many simulated worlds a test runs in.
const SEEDS: u64 = 12;

/// Runs `body` as the main fiber of a runtime in every world.
pub(crate) fn everywhere(body: impl Fn() + Copy + Send + 'static) {
    on_linux(body);
    simulated(body);
}

/// Runs `body` as the main fiber on Linux, with both drivers, where they are to be had.
pub(crate) fn on_linux(body: impl Fn() + Copy + Send + 'static) {
    for driver in [Io::Ring, Io::Poll] {
        match Linux::new(Config::default().io(driver)) {
            Ok(linux) => [1, 2].into_iter().for_each(|n| run(linux.clone(), n, body)),
            Err(error) => eprintln!("skipped on {driver:?}: {error}"),
        }
    }
}

/// Runs `body` as the main fiber on one node of simulated worlds, each with another seed.
pub(crate) fn simulated(body: impl Fn() + Copy + Send + 'static) {
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed);
        let workers = u16::try_from(seed % 2).unwrap() + 1;
        let node = sim.node("node", move |env| run(env, workers, body));
        sim.until(node).run().expect_finished();
    }
}

/// Runs `body` as the main fiber of one runtime.
pub(crate) fn run(env: SharedEnv, workers: u16, body: impl FnOnce() + Send) {
    let world = env.describe();
    if let Err(error) = Runtime::builder(env).workers(workers).run(body) {
        panic!("in {world} with {workers} workers: {error}");
    }
}

/// Calls `test` with the loopback address of each family that this machine has.
pub(crate) fn each_family(test: impl Fn(SocketAddr)) {
    test((Ipv4Addr::LOCALHOST, 0).into());
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    match TcpListener::bind(v6) {
        Ok(_) => test(v6),
        Err(error) => {
            let absent = [IoErrorKind::AddrNotAvailable, IoErrorKind::Unsupported];
            assert!(absent.contains(&error.kind()), "{error}");
        }
    }
}

/// A listener at a free port.
pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Both ends of a connection: the one that connected, the one that accepted.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    pair_at((Ipv4Addr::LOCALHOST, 0).into())
}

/// [`pair`] through a listener at `address`.
pub(crate) fn pair_at(address: SocketAddr) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}
