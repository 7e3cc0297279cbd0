//! What the ports of this host promise beyond the general laws, on both drivers.

use core::time::Duration;

use fiber_core::{
    IoErrorKind,
    env::{Clock, Env, TryNow, Wait},
    request::{Extent, Interest, LentMut, Outcome, RawDescriptor, Request, Shutdown},
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
    an_end_that_comes_with_the_last_bytes_is_told_after_them
    who_shuts_reading_down_reads_the_end
    an_urgent_byte_holds_nothing_up
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

/// Both ends of a connection of which the port knows that nothing is in there.
fn an_empty_pair(rig: &mut Rig) -> (RawDescriptor, RawDescriptor) {
    let (client, server) = rig.pair();
    let armed = rig.recv(server, leaked(64));
    rig.turn(Wait::No);
    rig.send(client, b"first");
    assert_eq!(rig.finish(armed), Outcome::Done(5));
    (client, server)
}

fn shut_down(rig: &mut Rig, descriptor: RawDescriptor, how: Shutdown) {
    let shut = rig.now(&Request::Shutdown { descriptor, how });
    assert_eq!(shut, TryNow::Done(Outcome::Done(0)));
}

fn an_end_that_comes_with_the_last_bytes_is_told_after_them(linux: &Linux) {
    for extent in [Extent::Some, Extent::All] {
        for turns in [0, 1] {
            let mut rig = Rig::new(linux);
            let (client, server) = an_empty_pair(&mut rig);
            let sent = rig.send(client, b"last");
            assert_eq!(rig.finish(sent), Outcome::Done(4));
            let last = rig.stage(Request::Recv {
                descriptor: server,
                into: LentMut::new(leaked(64)),
                extent,
            });
            for _ in 0..turns {
                rig.turn(Wait::No);
            }
            shut_down(&mut rig, client, Shutdown::Write);
            assert_eq!(rig.finish(last), Outcome::Done(4));
            for _ in 0..2 {
                let end = rig.recv(server, leaked(64));
                assert_eq!(rig.finish(end), Outcome::Done(0));
            }
            rig.close(client);
            rig.close(server);
        }
    }
}

fn who_shuts_reading_down_reads_the_end(linux: &Linux) {
    let mut rig = Rig::new(linux);
    let (client, server) = an_empty_pair(&mut rig);
    shut_down(&mut rig, server, Shutdown::Read);
    let end = rig.recv(server, leaked(64));
    assert_eq!(rig.finish(end), Outcome::Done(0));
    rig.close(client);
    rig.close(server);
}

fn an_urgent_byte_holds_nothing_up(linux: &Linux) {
    for before in [&b"before"[..], b""] {
        let mut rig = Rig::new(linux);
        let (client, server) = an_empty_pair(&mut rig);
        for (bytes, flags) in [(before, 0), (b"!", libc::MSG_OOB), (b"behind", 0)] {
            let (socket, start) = (client.0.cast_signed(), bytes.as_ptr().cast());
            // SAFETY: the bytes are constants (I-3).
            let sent = unsafe { libc::send(socket, start, bytes.len(), flags) };
            assert_eq!(sent.unsigned_abs(), bytes.len());
        }
        let all = (before.len() + b"behind".len()) as u64;
        let mut received = 0;
        while received < all {
            let part = rig.recv(server, leaked(64));
            match rig.finish(part) {
                Outcome::Done(bytes) if bytes > 0 => received += bytes,
                other => panic!("{other:?} after {received} of {all} bytes"),
            }
        }
        rig.close(client);
        rig.close(server);
    }
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
