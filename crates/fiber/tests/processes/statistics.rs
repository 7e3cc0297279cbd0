//! What is told of processes in numbers.

use core::{hint::black_box, net::Ipv4Addr, time::Duration};
use std::io::{Read, Write};

use fiber::{
    Drain, Process, Runtime, checkpoint,
    io::{TcpListener, TcpStream},
    park, sleep, spawn, yield_now,
};
use host_linux::{Config, Linux};

use crate::world::everywhere;

#[test]
fn a_process_tells_what_it_has_and_what_it_has_done() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let at = listener.local_addr().unwrap();
            let client = spawn(move || TcpStream::connect(at).unwrap().write_all(b"x").unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0]).unwrap();
            client.join().unwrap();
            yield_now();
            park();
        });
        let process = process.unwrap();
        // The last thing that it does is to wait for us.
        let handle = process.process();
        while handle.stats().ids != 2 || handle.stats().fibers > 1 || handle.stats().requests < 3 {
            sleep(Duration::from_millis(1));
        }
        let stats = handle.stats();
        assert!(stats.parks > 0 && stats.stack_bytes > 0, "{stats}");
        assert!(stats.to_string().starts_with("1 fibers, 2 ids"), "{stats}");
        let roots = Runtime::current().unwrap().processes();
        assert!(matches!(&roots[..], [root] if root == handle));
        process.kill("seen");
        process.join().unwrap_err();
        assert!(Runtime::current().unwrap().processes().is_empty());
    });
}

#[test]
fn processor_time_is_counted_to_who_uses_it() {
    const ENOUGH: Duration = Duration::from_millis(200);
    let env = Linux::new(Config::default()).unwrap();
    let builder = Runtime::builder(env).workers(1).drain(Drain::Wait);
    let run = builder.run(|| {
        let idle = Process::builder().spawn(|| {
            loop {
                sleep(Duration::from_millis(1));
            }
        });
        let idle = idle.unwrap();
        let other = idle.process().clone();
        let busy = Process::builder().spawn(move || {
            let here = Process::current().unwrap();
            let used = |process: &Process| process.stats().cpu;
            // Ends when it has been met often enough, however long that takes: a sample that came
            // late may be the other's.
            while used(&here) < ENOUGH || used(&other) >= used(&here) / 2 {
                black_box((0..1000).map(black_box).sum::<u64>());
                checkpoint();
            }
        });
        busy.unwrap().join().unwrap();
        idle.kill("seen");
        idle.join().unwrap_err();
    });
    run.unwrap();
}
