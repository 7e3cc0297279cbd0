//! A connection at a limit is told so, or closed, and the server goes on.

use core::time::Duration;

use cache::{
    Limits,
    server::{ClientLimits, Service},
};
use fiber::{Process, sleep};
use host_sim::Sim;

use crate::{
    support::run_to_the_end,
    world::{ask, connect, new_cache, start},
};

fn in_a_world(main: fn()) {
    let mut sim = Sim::new(1);
    sim.node("only", move |env| run_to_the_end(env, (2, 0), main));
    sim.run().expect_finished();
}

/// What each of some clients is told by a server with these limits, which is there to the end.
fn told_by(limits: ClientLimits) -> Vec<String> {
    let server = Process::builder().spawn(move || told(limits));
    // What is left of it ends with the process.
    server
        .unwrap()
        .join()
        .unwrap_or_else(|exit| panic!("{exit}"))
}

fn told(limits: ClientLimits) -> Vec<String> {
    let cache = new_cache();
    let service = Service::new(Limits::default()).client_limits(limits);
    let (drain, serving) = start(&cache, service);
    let ask_it = |_| {
        let stream = connect().expect("the server accepts");
        ask(&stream, "", usize::MAX).expect("it is closed in order")
    };
    let told = (0..3).map(ask_it).collect();
    while cache.server().connections() > 0 {
        sleep(Duration::from_millis(1));
    }
    drain.begin();
    assert!(drain.wait(Duration::from_secs(1)));
    serving.join().unwrap().expect("it served to the end");
    told
}

#[test]
fn a_connection_without_room_for_an_id_is_told_the_limit() {
    in_a_world(|| {
        let limits = ClientLimits {
            ids: 0,
            ..ClientLimits::default()
        };
        for told in told_by(limits) {
            assert!(told.starts_with("SERVER_ERROR "), "{told}");
            assert!(told.ends_with("\r\n") && told.contains("limit"), "{told}");
        }
    });
}

#[test]
fn a_connection_without_room_for_a_stack_is_closed_and_counted_out() {
    in_a_world(|| {
        let mut limits = ClientLimits::default();
        limits.stack_bytes -= 1;
        assert_eq!(told_by(limits), ["", "", ""]);
    });
}
