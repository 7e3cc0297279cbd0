//! Ids as the names of everything: shared, given away, closed, and refused when they are stale.

use alloc::sync::Arc;
use core::time::Duration;

use fiber::{
    End, Id, IoErrorKind, Namespace, OnStale, Process, StaleReason, core as fiber_core, id,
    io::{Read, Shutdown, TcpListener, TcpStream, Write},
    no_suspend, park, sleep, spawn,
    sync::channel,
};
use fiber_core::{Context, IoError, registry::IdSpace};

use crate::world::everywhere;

/// Longer than the host takes to close a descriptor.
const MOMENT: Duration = Duration::from_millis(20);

/// Both ends of a connection, of which the second is the caller's.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// A process that does nothing until it is told to end.
fn idle() -> fiber::ProcessHandle<()> {
    Process::builder().spawn(park).unwrap()
}

fn end(process: fiber::ProcessHandle<()>) {
    process.cancel("over");
    process.join().unwrap_err();
}

/// What becomes of a use of `id`.
fn used(id: Id) -> Result<(), IoError> {
    fiber_core::io::set_option(id, fiber_core::request::SocketOption::NoDelay, 1)
}

fn reason(id: Id) -> StaleReason {
    used(id).unwrap_err().stale_reason().unwrap()
}

fn exchange(one: &TcpStream, other: &TcpStream) {
    let mut byte = [0];
    (&mut &*one).write_all(&[7]).unwrap();
    (&mut &*other).read_exact(&mut byte).unwrap();
    assert_eq!(byte, [7]);
}

/// What is opened once the host has closed what was there before.
fn when_there_is_room<T>(open: impl Fn() -> Result<T, fiber::io::Error>) -> T {
    loop {
        match open() {
            Ok(opened) => return opened,
            Err(error) => assert_eq!(error.kind(), IoErrorKind::ProcessIds, "{error}"),
        }
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_shared_connection_outlives_its_first_owner_and_closes_with_the_last() {
    everywhere(|| {
        let (mut client, server) = pair();
        let owner = idle();
        // The owner's and, left without one, the caller's.
        let theirs = server.transfer_to(owner.process()).unwrap();
        let shared = theirs.dup_to(&Process::current()).unwrap();
        let described = id::describe(theirs.id()).unwrap();
        assert_eq!(described.owner, Some(owner.id()));
        assert_ne!(id::describe(shared.id()).unwrap().owner, described.owner);
        end(owner);
        assert_eq!(reason(theirs.id()), StaleReason::OwnerDied);
        exchange(&shared, &client);
        exchange(&client, &shared);
        drop(theirs);
        exchange(&shared, &client);
        drop(shared);
        // Once, and for good.
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_shutdown_is_seen_through_every_share() {
    everywhere(|| {
        let (client, server) = pair();
        let owner = idle();
        let shared = server.dup_to(owner.process()).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&client).read(&mut [0]).unwrap(), 0);
        assert!((&shared).write(&[1]).is_err());
        exchange(&client, &shared);
        end(owner);
    });
}

#[test]
fn what_is_given_away_has_one_id_and_one_owner() {
    everywhere(|| {
        let (client, server) = pair();
        let owner = idle();
        let old = server.id();
        let server = server.transfer_to(owner.process()).unwrap();
        assert_ne!(server.id(), old);
        assert_eq!(reason(old), StaleReason::Transferred);
        assert_eq!(id::close(old).unwrap_err().reason, StaleReason::Transferred);
        assert_eq!(id::describe(server.id()).unwrap().owner, Some(owner.id()));
        exchange(&client, &server);
        // And back.
        let server = server.transfer_to(&None::<Process>).unwrap();
        end(owner);
        exchange(&server, &client);
        let stale = id::describe(old).unwrap_err();
        assert_eq!(stale.reason, StaleReason::Transferred);
    });
}

#[test]
fn what_somebody_is_inside_of_is_not_given_away() {
    everywhere(|| {
        let (client, server) = pair();
        let (server, owner) = (Arc::new(server), idle());
        let reading = Arc::clone(&server);
        let reader = spawn(move || (&mut &*reading).read(&mut [0]).unwrap());
        while id::describe(server.id()).unwrap().users == 0 {
            sleep(Duration::from_millis(1));
        }
        assert_eq!(id::describe(server.id()).unwrap().users, 1);
        let refused = id::transfer_to(server.id(), owner.process()).unwrap_err();
        assert_eq!(refused.kind(), IoErrorKind::Busy);
        assert_eq!(owner.process().record().ids(), 0);
        (&client).write_all(&[1]).unwrap();
        assert_eq!(reader.join().unwrap(), 1);
        let server = Arc::into_inner(server).unwrap();
        let server = server.transfer_to(owner.process()).unwrap();
        exchange(&server, &client);
        end(owner);
    });
}

#[test]
fn an_arm_that_has_lost_does_not_keep_a_connection_from_being_given_away() {
    everywhere(|| {
        let (client, server) = pair();
        let owner = idle();
        fiber::choose! {
            _ = server.readable_operation() => panic!("nobody writes"),
            () = fiber::operation::timeout(Duration::from_millis(1)) => {}
        }
        let server = server.transfer_to(owner.process()).unwrap();
        exchange(&server, &client);
        end(owner);
    });
}

#[test]
fn a_refused_handle_comes_back() {
    everywhere(|| {
        let (client, server) = pair();
        let ended = idle();
        let process = ended.process().clone();
        end(ended);
        let refused = server.transfer_to(&process).unwrap_err();
        assert_eq!(refused.error().kind(), IoErrorKind::ProcessEnded);
        let server = refused.into_handle();
        exchange(&server, &client);
        let refused = server.dup_to(&process).unwrap_err();
        assert_eq!(refused.kind(), IoErrorKind::ProcessEnded);
    });
}

#[test]
fn a_transfer_meets_the_death_of_either_process_and_nothing_leaks() {
    everywhere(|| {
        for round in 0..6 {
            let (mut client, server) = pair();
            let (from, to) = (idle(), idle());
            let server = server.transfer_to(from.process()).unwrap().into_id();
            let target = to.process().clone();
            let giver = spawn(move || id::transfer_to(server, &target));
            if round % 2 == 0 {
                from.kill("now");
            } else {
                to.kill("now");
            }
            let given = giver.join().unwrap();
            end(from);
            end(to);
            if let Err(error) = given {
                let expected = [IoErrorKind::Stale, IoErrorKind::ProcessEnded];
                assert!(expected.contains(&error.kind()), "{error}");
            }
            // Whoever had it has closed it, once.
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn whoever_closes_and_whoever_gives_away_agree() {
    everywhere(|| {
        for _ in 0..4 {
            let (mut client, server) = pair();
            let owner = idle();
            let server = server.into_id();
            let target = owner.process().clone();
            let giver = spawn(move || id::transfer_to(server, &target));
            let closer = spawn(move || id::close(server));
            let (given, closed) = (giver.join().unwrap(), closer.join().unwrap());
            assert_ne!(given.is_ok(), closed.is_ok());
            end(owner);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn a_foreign_id_works_until_its_owner_dies() {
    everywhere(|| {
        let (sender, receiver) = channel::bounded(1);
        let owner = Process::builder().spawn(move || {
            let (client, server) = pair();
            sender.send(client.into_id()).unwrap();
            park();
            drop(server);
        });
        let owner = owner.unwrap();
        let foreign = receiver.recv().unwrap();
        used(foreign).unwrap();
        owner.kill("now");
        owner.join().unwrap_err();
        assert_eq!(reason(foreign), StaleReason::OwnerDied);
    });
}

#[test]
fn the_dead_owner_of_an_id_is_named() {
    everywhere(|| {
        let (_client, server) = pair();
        let owner = idle();
        let server = server.transfer_to(owner.process()).unwrap();
        let process = owner.id();
        end(owner);
        let stale = id::describe(server.id()).unwrap_err();
        assert_eq!(
            (stale.reason, stale.owner),
            (StaleReason::OwnerDied, Some(process))
        );
    });
}

#[test]
fn a_second_close_is_refused_and_so_is_every_use_after_the_first() {
    everywhere(|| {
        let (_client, server) = pair();
        let server = server.into_id();
        id::close(server).unwrap();
        assert_eq!(id::close(server).unwrap_err().reason, StaleReason::Closed);
        assert_eq!(reason(server), StaleReason::Closed);
        sleep(MOMENT);
        assert_eq!(id::close(server).unwrap_err().reason, StaleReason::Closed);
        let refused = id::dup_to(server, &Process::current()).unwrap_err();
        assert_eq!(refused.stale_reason(), Some(StaleReason::Closed));
        let refused = id::transfer_to(server, &Process::current()).unwrap_err();
        assert_eq!(refused.stale_reason(), Some(StaleReason::Closed));
        assert_eq!(
            TcpStream::from_id(server).unwrap_err().reason,
            StaleReason::Closed
        );
    });
}

#[test]
fn what_runs_is_cancelled_and_not_closed_shared_or_given_away() {
    everywhere(|| {
        let process = idle();
        let fiber = spawn(park);
        let fiber_id = loop {
            match fiber.fiber().id() {
                Some(id) => break id,
                None => sleep(Duration::from_millis(1)),
            }
        };
        for id in [process.id(), fiber_id] {
            assert_eq!(id::close(id).unwrap_err().reason, StaleReason::Runs);
            for refused in [
                id::dup_to(id, process.process()),
                id::transfer_to(id, process.process()),
            ] {
                let reason = refused.unwrap_err().stale_reason();
                assert_eq!(reason, Some(StaleReason::Runs));
            }
            assert_eq!(id::describe(id).unwrap().kind, id.namespace());
        }
        fiber.cancel();
        assert!(fiber.join().is_err());
        end(process);
    });
}

#[test]
fn an_object_is_shared_and_given_away_as_a_descriptor_is() {
    struct Bell(channel::Sender<()>);
    impl Drop for Bell {
        fn drop(&mut self) {
            let _ = self.0.try_send(());
        }
    }
    everywhere(|| {
        let (rings, ring) = channel::bounded(8);
        let name = |context: Option<&Context>| {
            let object = Arc::new(Bell(rings.clone()));
            context.unwrap().name_object(Namespace::MAILBOX, object)
        };
        let first = Context::with(name).unwrap();
        let owner = idle();
        let second = id::dup_to(first, owner.process()).unwrap();
        let third = id::transfer_to(first, &Process::current()).unwrap();
        assert_eq!(id::describe(second).unwrap().owner, Some(owner.id()));
        end(owner);
        assert_eq!(
            id::describe(second).unwrap_err().reason,
            StaleReason::OwnerDied
        );
        assert!(ring.try_recv().is_err(), "one has it still");
        id::close(third).unwrap();
        ring.recv().unwrap();
        assert!(ring.try_recv().is_err(), "it was dropped once");
    });
}

#[test]
fn a_process_that_wants_it_is_killed_by_its_first_stale_use() {
    everywhere(|| {
        let (_client, server) = pair();
        let owner = idle();
        let server = server.transfer_to(owner.process()).unwrap().into_id();
        end(owner);
        let user = Process::builder().on_stale(OnStale::Kill).spawn(move || {
            let refused = used(server).unwrap_err();
            assert_eq!(refused.stale_reason(), Some(StaleReason::OwnerDied));
            park();
        });
        let exit = user.unwrap().join().unwrap_err();
        let End::Killed(why) = &exit.end else {
            panic!("{exit}")
        };
        let why = why.to_string();
        assert!(why.contains(&server.to_string()), "{why}");
        assert!(why.contains("has died"), "{why}");
    });
}

#[test]
fn drops_questions_and_closes_under_way_kill_nobody() {
    everywhere(|| {
        let user = Process::builder().on_stale(OnStale::Kill).spawn(|| {
            let (client, server) = pair();
            let (old, kept) = (client.id(), server.id());
            let other = TcpStream::from_id(old).unwrap();
            // The close is under way, for as long as nothing suspends.
            no_suspend(|| {
                drop(other);
                assert_eq!(reason(old), StaleReason::Closed);
            });
            sleep(MOMENT);
            assert!(id::describe(old).is_err());
            assert!(TcpStream::from_id(old).is_err());
            assert!(Process::of_id(old).is_err());
            drop(client);
            sleep(MOMENT);
            used(kept).unwrap();
        });
        user.unwrap().join().unwrap();
    });
}

#[test]
fn the_limit_of_ids_is_a_process_s_own_and_what_is_closed_is_given_back() {
    everywhere(|| {
        let limited = Process::builder().ids_max(3).spawn(|| {
            let (client, server) = pair();
            // The listener of the pair is on its way.
            let listener = when_there_is_room(|| TcpListener::bind("127.0.0.1:0"));
            let refused = TcpListener::bind("127.0.0.1:0").unwrap_err();
            assert_eq!(refused.kind(), IoErrorKind::ProcessIds);
            let refused = client.try_clone().unwrap_err();
            assert_eq!(refused.kind(), IoErrorKind::ProcessIds);
            drop(listener);
            let clone = when_there_is_room(|| client.try_clone());
            exchange(&clone, &server);
            // What is given away makes room, what is shared takes that of the other.
            let given = clone.transfer_to(&None::<Process>).unwrap();
            drop(when_there_is_room(|| client.dup_to(&None::<Process>)));
            drop(when_there_is_room(|| client.try_clone()));
            given
        });
        let given = limited.unwrap().join().unwrap();
        used(given.id()).unwrap();
        let others = [pair(), pair()];
        exchange(&others[1].0, &others[1].1);
    });
}

#[test]
fn a_process_at_its_limit_is_given_nothing_and_nothing_has_changed() {
    everywhere(|| {
        let (client, server) = pair();
        let full = Process::builder().ids_max(0).spawn(park).unwrap();
        let refused = server.dup_to(full.process()).unwrap_err();
        assert_eq!(refused.kind(), IoErrorKind::ProcessIds);
        let refused = server.transfer_to(full.process()).unwrap_err();
        assert_eq!(refused.error().kind(), IoErrorKind::ProcessIds);
        let server = refused.into_handle();
        exchange(&client, &server);
        end(full);
    });
}

#[test]
fn any_number_is_answered() {
    everywhere(|| {
        let (client, server) = pair();
        let mut number = client.id().to_bits();
        for _ in 0..500 {
            number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            for bits in [number, client.id().to_bits() ^ (1 << (number >> 58))] {
                let Some(guess) = Id::from_bits(bits) else {
                    continue;
                };
                let live = id::describe(guess).is_ok();
                assert!(!live || !guess.namespace().is_descriptor() || guess == server.id());
                if !live {
                    used(guess).unwrap_err();
                    id::close(guess).unwrap_err();
                    id::dup_to(guess, &Process::current()).unwrap_err();
                    id::transfer_to(guess, &Process::current()).unwrap_err();
                    TcpStream::from_id(guess).unwrap_err();
                }
            }
        }
        exchange(&client, &server);
    });
}

#[test]
fn a_plain_thread_may_ask_and_close_but_not_share() {
    let nobody = Id::from_bits(77 << 32 | 3 << 16 | 9).unwrap();
    assert!(!IdSpace::of_process().is_live(nobody));
    assert!(id::describe(nobody).is_err());
    assert!(id::close(nobody).is_err());
    let refused = id::dup_to(nobody, &None::<Process>).unwrap_err();
    assert_eq!(refused.kind(), IoErrorKind::NoRuntime);
}
