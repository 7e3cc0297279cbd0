//! The cache server with its acceptor, its supervisor and its connections: whoever is killed, at
//! whatever moment, no answer is wrong, nobody stays counted, and the port is free again. One
//! client does not leave: the drain is over before it is gone, and its connection ends with the
//! server.

use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cache::{Limits, server::Service};
use fiber::{Process, io::TcpListener, sleep};

use crate::{
    everywhere::{Cast, kill_everywhere},
    world::{address, ask, connect, new_cache, start},
};

const CLIENTS: usize = 2;

/// Stores and reads, as long as there is somebody who answers. What comes is right as far as it
/// goes.
fn be_client(client: usize) {
    let Ok(stream) = connect() else { return };
    let request = format!("set k{client} 0 0 1\r\n{client}\r\nget k{client}\r\n");
    let expected = format!("STORED\r\nVALUE k{client} 0 1\r\n{client}\r\nEND\r\n");
    if let Ok(answer) = ask(&stream, &request, expected.len()) {
        assert!(expected.starts_with(&answer), "{answer:?}");
    }
}

/// Begins with a request and stays until it is hung up on.
fn stay() {
    let Ok(stream) = connect() else { return };
    let _ = ask(&stream, "set k 0 0 9\r\nhalf", usize::MAX);
}

/// How often a drain was over before everybody had gone.
static CUT_SHORT: AtomicUsize = AtomicUsize::new(0);

fn server(cast: &mut Cast) {
    let cache = new_cache();
    let served = alloc::sync::Arc::clone(&cache);
    let builder = Process::builder().grace(Duration::from_millis(1));
    cast.process(builder, move || {
        let (drain, _serving) = start(&served, Service::new(Limits::default()));
        sleep(Duration::from_millis(1));
        drain.begin();
        if !drain.wait(Duration::from_millis(1)) {
            CUT_SHORT.fetch_add(1, Ordering::Relaxed);
        }
        // What is left are its children, and end with it.
    });
    for client in 0..CLIENTS {
        cast.other(move || {
            sleep(Duration::from_micros(50));
            be_client(client);
        });
    }
    cast.other(stay);
    cast.check(move || {
        assert_eq!(cache.server().connections(), 0);
        drop(TcpListener::bind(address()).expect("the port is free again"));
    });
}

#[test]
fn a_kill_at_any_moment_of_the_server_hurts_nobody_else() {
    kill_everywhere("the cache server", server);
    let cut_short = CUT_SHORT.load(Ordering::Relaxed);
    assert!(
        cut_short > 100,
        "the kills came before the end of the drain"
    );
}
