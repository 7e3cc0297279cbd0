//! Handles as owners of ids: taken up, given up, shared and given away.

use core::time::Duration;
use std::io::{Read, Write};

use fiber_io::{
    Id, IoErrorKind, StaleReason, TcpListener, TcpStream,
    signal::{Signal, Signals},
};
use fiber_sched::{Process, park, sleep, spawn};

use crate::support::{everywhere, listener, pair};

fn idle() -> fiber_sched::ProcessHandle<()> {
    Process::builder().spawn(park).unwrap()
}

fn end(process: fiber_sched::ProcessHandle<()>) {
    process.cancel("over");
    process.join().unwrap_err();
}

#[test]
fn a_listener_that_is_given_away_goes_on_with_its_new_owner() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let maker = idle();
        let given = listener.transfer_to(maker.process()).unwrap();
        let given = given.transfer_to(&Process::current()).unwrap();
        end(maker);
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, _) = given.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn a_listener_ends_with_the_process_that_it_was_given_to() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let owner = idle();
        let given = listener.transfer_to(owner.process()).unwrap();
        end(owner);
        let refused = given.accept().unwrap_err();
        assert_eq!(refused.stale_reason(), Some(StaleReason::OwnerDied));
        assert!(refused.to_string().contains("has died"), "{refused}");
        // The port can be bound again.
        drop(TcpListener::bind(address).unwrap());
    });
}

#[test]
fn signals_that_are_given_away_are_caught_until_their_owner_ends() {
    everywhere(|| {
        let signals = Signals::new(&[Signal::User1]).unwrap();
        let kept = Signals::new(&[Signal::User1]).unwrap();
        let owner = idle();
        let given = signals.transfer_to(owner.process()).unwrap();
        fiber_io::signal::raise(Signal::User1).unwrap();
        assert_eq!(given.wait().unwrap(), Signal::User1);
        assert_eq!(kept.wait().unwrap(), Signal::User1);
        end(owner);
        let refused = given.wait().unwrap_err();
        assert_eq!(refused.stale_reason(), Some(StaleReason::OwnerDied));
    });
}

#[test]
fn a_connection_moves_between_workers_with_what_it_has_received() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        for round in 0..10 {
            let mut byte = [0];
            client.write_all(&[round]).unwrap();
            // Given away by whichever worker is free, in the middle of what it has to read.
            let giver = spawn(move || server.transfer_to(&None::<Process>).unwrap());
            server = giver.join().unwrap();
            server.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [round]);
            let reader = spawn(move || {
                server.read_exact(&mut byte).unwrap();
                server
            });
            client.write_all(&[round]).unwrap();
            server = reader.join().unwrap();
        }
    });
}

#[test]
fn an_id_is_taken_up_as_what_it_is_and_as_nothing_else() {
    everywhere(|| {
        let (_client, server) = pair();
        let id = server.into_id();
        assert_eq!(
            TcpListener::from_id(id).unwrap_err().reason,
            StaleReason::WrongNamespace
        );
        assert_eq!(
            Signals::from_id(id).unwrap_err().reason,
            StaleReason::WrongNamespace
        );
        let forged = Id::from_bits(id.to_bits() ^ 1 << 20).unwrap();
        assert!(TcpStream::from_id(forged).is_err());
        drop(TcpStream::from_id(id).unwrap());
        assert_eq!(
            TcpStream::from_id(id).unwrap_err().reason,
            StaleReason::Closed
        );
    });
}

#[test]
fn whoever_accepts_from_a_closed_listener_never_sees_the_next_one_of_its_number() {
    everywhere(|| {
        for round in 0..5 {
            let old = listener();
            let id = old.id();
            let waiter = spawn(move || old.accept().map(drop).unwrap_err().kind());
            if round % 2 == 0 {
                sleep(Duration::from_millis(1));
            }
            drop(TcpListener::from_id(id).unwrap());
            let new = listener();
            let client = TcpStream::connect(new.local_addr().unwrap()).unwrap();
            let (_, peer) = new.accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            let told = waiter.join().unwrap();
            assert!(matches!(told, IoErrorKind::Closed | IoErrorKind::Stale));
        }
    });
}
