//! What the ports of this host promise beyond the general laws, on both drivers.

use core::time::Duration;

use fiber_core::{
    IoErrorKind,
    env::{Clock, Env, TryNow, Wait},
    request::{Extent, Interest, LentMut, Outcome, Request},
};
use host_linux::Linux;

use crate::rig::{self, Rig, leaked, opened};

macro_rules! on_both_drivers {
    ($($test:ident)*) => {
        mod ring {
            $(#[test] fn $test() { super::$test(&super::rig::ring()); })*
        }
        mod poll {
            $(#[test] fn $test() { super::$test(&super::rig::poll()); })*
        }
    };
}

on_both_drivers! {
    a_cancel_on_one_duplicate_leaves_the_other_waiting
    a_turn_with_nothing_to_do_makes_no_system_call
    a_number_reused_behind_a_ports_back_is_watched_again
    an_accept_that_finds_nobody_does_not_wait
    a_wait_with_an_armed_request_ends_at_its_deadline
    the_first_wait_of_a_port_ends_at_its_deadline
    a_transfer_of_nothing_waits_for_nothing
}

fn a_cancel_on_one_duplicate_leaves_the_other_waiting(linux: &Linux) {
    let mut rig = Rig::new(linux);
    let (client, server) = rig.pair();
    let twin = rig.now(&Request::Duplicate { descriptor: server });
    let twin = opened(&twin);
    let first = rig.recv(server, leaked(8));
    let second = rig.recv(twin, leaked(8));
    rig.turn(Wait::No);
    rig.stage(Request::CancelAllOn { descriptor: server });
    assert!(is_cancelled(rig.finish(first)));
    rig.close(server);
    rig.send(client, b"still");
    assert_eq!(rig.finish(second), Outcome::Done(5));
    rig.close(twin);
    rig.close(client);
}

fn a_turn_with_nothing_to_do_makes_no_system_call(linux: &Linux) {
    let mut rig = Rig::new(linux);
    let (client, server) = rig.pair();
    rig.drain();
    assert_eq!(rig.turn(Wait::No).enters, 0);
    if linux.describe().driver == "ring" {
        // A ring says in memory that an armed request has something to say.
        let armed = rig.recv(server, leaked(8));
        assert_eq!(rig.turn(Wait::No).enters, 1, "one call for the batch");
        assert_eq!(rig.turn(Wait::No).enters, 0);
        rig.send(client, b"now");
        assert_eq!(rig.finish(armed), Outcome::Done(3));
    }
    rig.close(client);
    rig.close(server);
}

fn a_number_reused_behind_a_ports_back_is_watched_again(linux: &Linux) {
    let (mut here, mut there) = (Rig::new(linux), Rig::new(linux));
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let (client, server) = there.pair();
        let armed = here.recv(server, leaked(8));
        here.turn(Wait::No);
        there.send(client, b"x");
        there.turn(Wait::No);
        assert_eq!(here.finish(armed), Outcome::Done(1));
        there.close(client);
        there.close(server);
        numbers.push(server);
    }
    assert_eq!(
        numbers[0], numbers[2],
        "the system gives the lowest free number"
    );
}

#[test]
fn a_number_that_another_host_closes_is_watched_again() {
    for other in [rig::poll(), rig::ring()] {
        let linux = rig::poll();
        let (mut here, mut there) = (Rig::new(&*linux), Rig::new(&*other));
        let mut numbers = Vec::new();
        for _ in 0..3 {
            let (client, server) = there.pair();
            let armed = here.recv(server, leaked(8));
            here.turn(Wait::No);
            there.send(client, b"x");
            there.turn(Wait::No);
            assert_eq!(here.finish(armed), Outcome::Done(1));
            there.close(client);
            there.close(server);
            numbers.push(server);
        }
        assert_eq!(numbers[0], numbers[2], "the same number each time");
    }
}

fn an_accept_that_finds_nobody_does_not_wait(linux: &Linux) {
    let mut rig = Rig::new(linux);
    let (listener, mut peer) = rig.listen();
    let accept = Request::Accept {
        descriptor: listener,
        peer: (&mut peer).into(),
    };
    assert_eq!(rig.now(&accept), TryNow::WouldBlock(Interest::Readable));
    rig.close(listener);
}

fn a_wait_with_an_armed_request_ends_at_its_deadline(linux: &Linux) {
    let mut rig = Rig::new(linux);
    let (client, server) = rig.pair();
    let armed = rig.recv(server, leaked(8));
    let deadline = linux.now() + Duration::from_millis(2);
    while linux.now() < deadline {
        rig.turn(Wait::Until(deadline));
        assert!(rig.out.is_empty());
    }
    rig.close(client);
    assert_eq!(rig.finish(armed), Outcome::Done(0), "the end of the stream");
    rig.close(server);
}

fn the_first_wait_of_a_port_ends_at_its_deadline(linux: &Linux) {
    let mut rig = Rig::new(linux);
    let deadline = linux.now() + Duration::from_millis(2);
    rig.turn(Wait::Until(deadline));
    let now = linux.now();
    assert!(
        now >= deadline,
        "a wait until {deadline:?} ended at {now:?}"
    );
}

fn a_transfer_of_nothing_waits_for_nothing(linux: &Linux) {
    let mut rig = Rig::new(linux);
    let (client, server) = rig.pair();
    let armed = rig.recv(server, leaked(8));
    rig.turn(Wait::No);
    let nothing = rig.recv(server, leaked(0));
    rig.turn(Wait::No);
    assert!(rig.out.iter().any(|end| end.token == nothing), "at once");
    assert_eq!(rig.finish(nothing), Outcome::Done(0));
    let into = LentMut::new(leaked(0));
    let nothing = rig.now(&Request::Recv {
        descriptor: server,
        into,
        extent: Extent::Some,
    });
    assert_eq!(nothing, TryNow::Done(Outcome::Done(0)));
    let nothing = rig.send(client, b"");
    assert_eq!(rig.finish(nothing), Outcome::Done(0));
    rig.send(client, b"more");
    assert_eq!(rig.finish(armed), Outcome::Done(4));
    rig.close(client);
    rig.close(server);
}

fn is_cancelled(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Failed(error) if error.kind() == IoErrorKind::Cancelled)
}
