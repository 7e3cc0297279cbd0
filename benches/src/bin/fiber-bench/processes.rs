//! What lightweight processes and ids cost. Nobody else has them, so there are no peers.

use core::{hint::black_box, time::Duration};

use benches::{names::BATCH, pieces};
use fiber::{
    Process, ProcessBuilder,
    core::Context,
    io::{TcpListener, TcpStream},
    operation::Operation,
    park, sleep, spawn_many, yield_now,
};

fn process() -> ProcessBuilder {
    Process::builder()
}

pub(crate) fn spawn_and_exit(ops: u64) {
    for _ in 0..ops {
        let process = process().spawn(|| ()).expect("there is no limit");
        process.join().expect("it does nothing");
    }
}

/// Kills processes with so many fibers each.
pub(crate) fn kills<const FIBERS: usize>(ops: u64) {
    for _ in pieces(ops, FIBERS as u64) {
        let process = process().spawn(|| {
            drop(spawn_many(FIBERS - 1, |_| park()));
            park();
        });
        let process = process.expect("there is no limit");
        while process.process().stats().parks < FIBERS as u64 {
            yield_now();
        }
        process.kill("it is measured");
        let _ = process.join().expect_err("it was killed");
    }
}

pub(crate) fn lookups(ops: u64) {
    with_stream(|stream| {
        let id = stream.into_id();
        Context::with(|context| {
            let space = context.expect("this is a fiber").env().id_space();
            for _ in 0..ops {
                assert!(black_box(space.is_live(black_box(id))));
            }
        });
        drop(TcpStream::from_id(id));
    });
}

pub(crate) fn entries(ops: u64) {
    with_stream(|stream| {
        let id = stream.into_id();
        Context::with(|context| {
            let context = context.expect("this is a fiber");
            let (space, worker) = (context.env().id_space(), context.worker().0);
            for _ in 0..ops {
                black_box(space.enter(black_box(id), Some(worker)).is_ok());
            }
        });
        drop(TcpStream::from_id(id));
    });
}

pub(crate) fn duplicates(ops: u64) {
    with_stream(|stream| {
        for batch in pieces(ops, BATCH / 2) {
            let copies = (0..batch).map(|_| stream.try_clone().expect("there is no limit"));
            drop(copies.collect::<Vec<_>>());
            // What was closed is so when the turn ends.
            sleep(Duration::from_nanos(1));
        }
    });
}

/// Runs `body` with a stream of which the other end is there.
fn with_stream(body: impl FnOnce(TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let at = listener.local_addr().expect("it is bound");
    let stream = TcpStream::connect(at).expect("somebody listens");
    let other = listener.accept().expect("somebody is there");
    body(stream);
    drop(other);
}

pub(crate) fn monitors(ops: u64) {
    let process = process().spawn(park).expect("there is no limit");
    for _ in 0..ops {
        let end = process.process().end_operation();
        assert!(end.perform_timeout(Duration::ZERO).is_err());
    }
    process.kill("it was measured");
    let _ = process.join().expect_err("it was killed");
}
