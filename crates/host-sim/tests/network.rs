//! TCP between nodes, driven by hand: what production would see, a world must show.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

extern crate alloc;

mod support;

use alloc::rc::Rc;
use core::cell::RefCell;
use core::time::Duration;

use fiber_core::{IoErrorKind, env::SharedEnv, request::Shutdown};
use host_sim::{Action, Network, NodeHandle, Outcome, Sim};

use support::{Hand, alone};

const SERVER: &str = "10.0.0.1:80";

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A server that greets, and echoes until the end of the stream, one connection at a time.
fn echo(env: &SharedEnv) {
    alone(env, |hand| {
        let listener = hand.listen("0.0.0.0:80").unwrap();
        while let Ok(connection) = hand.accept(listener) {
            while let Ok(bytes) = hand.recv(connection) {
                if bytes.is_empty() || hand.send(connection, &bytes).is_err() {
                    break;
                }
            }
            hand.close(connection);
        }
    });
}

/// One echo server, one client whose result is handed out.
fn with_client<T: Send + 'static>(
    mut sim: Sim,
    script: impl FnOnce(&mut Sim, NodeHandle, NodeHandle),
    client: impl Fn(&mut Hand<'_>) -> T + Sync + 'static,
) -> (Outcome, T) {
    let result = Rc::new(RefCell::new(None));
    let server = sim.node("server", |env| echo(&env));
    let seen = Rc::clone(&result);
    let client = sim.node("client", move |env| {
        let got = std::sync::Mutex::new(None);
        alone(&env, |hand| {
            let value = client(hand);
            *got.lock().unwrap() = Some(value);
        });
        *seen.borrow_mut() = got.into_inner().unwrap();
    });
    script(&mut sim, server, client);
    let outcome = sim.until(client).run().expect_finished();
    let result = result.borrow_mut().take().expect("the client has returned");
    (outcome, result)
}

fn for_seeds(test: impl Fn(Sim)) {
    (0..30).for_each(|seed| test(Sim::new(seed)));
}

#[test]
fn an_echo_crosses_two_nodes_in_order() {
    for_seeds(|sim| {
        let network = Network::lan().segmentation(2, 2);
        let (outcome, got) = with_client(
            sim.network(network),
            |_, _, _| {},
            |hand| {
                let connection = hand.connect(SERVER).unwrap();
                let sent: Vec<u8> = (0..=255).cycle().take(3000).collect();
                hand.send(connection, &sent).unwrap();
                let got = hand.recv_all(connection, sent.len()).unwrap();
                hand.close(connection);
                got == sent
            },
        );
        assert!(got, "{outcome}");
        assert!(
            outcome.virtual_time > ms(1),
            "latency takes time: {outcome}"
        );
    });
}

#[test]
fn nobody_listens_is_refused_and_an_unknown_host_unreachable() {
    for_seeds(|sim| {
        let (_, got) = with_client(
            sim,
            |_, _, _| {},
            |hand| (hand.connect("10.0.0.1:81"), hand.connect("10.0.9.9:80")),
        );
        assert_eq!(got.0, Err(IoErrorKind::ConnectionRefused));
        assert_eq!(got.1, Err(IoErrorKind::HostUnreachable));
    });
}

#[test]
fn a_partition_is_silence_until_connecting_times_out() {
    for_seeds(|sim| {
        let network = Network::lan().timeouts(Duration::from_secs(3), Duration::from_secs(9));
        let cut = |sim: &mut Sim, server, client| {
            sim.at(Duration::ZERO, Action::Partition(server, client));
        };
        let (outcome, got) = with_client(sim.network(network), cut, |hand| hand.connect(SERVER));
        assert_eq!(got, Err(IoErrorKind::TimedOut));
        assert!(outcome.virtual_time >= Duration::from_secs(3));
    });
}

#[test]
fn what_a_partition_held_up_arrives_after_the_heal() {
    for_seeds(|sim| {
        let script = |sim: &mut Sim, server, client| {
            sim.at(ms(100), Action::Partition(server, client));
            sim.at(ms(5000), Action::Heal(client, server));
        };
        let (_, (early, late, when)) = with_client(sim, script, |hand| {
            let connection = hand.connect_at_last(SERVER);
            hand.sleep(ms(200));
            hand.send(connection, b"through").unwrap();
            let early = hand.recv_within(connection, Some(ms(1000))).is_some();
            let late = hand.recv_all(connection, 7);
            (early, late, hand.env.now().as_nanos())
        });
        assert!(!early, "nothing passes a cut link");
        assert_eq!(late.as_deref(), Ok(&b"through"[..]));
        assert!(when >= 5_000_000_000);
    });
}

#[test]
fn a_one_way_partition_lets_the_other_way_pass() {
    // The request arrives and is answered; the answer is what does not come through.
    for_seeds(|sim| {
        let script = |sim: &mut Sim, server, client| {
            sim.at(
                ms(100),
                Action::PartitionOneWay {
                    from: server,
                    to: client,
                },
            );
            sim.at(ms(5000), Action::HealAll);
            sim.at(ms(3000), Action::Kill(server));
        };
        let (_, got) = with_client(sim, script, |hand| {
            let connection = hand.connect_at_last(SERVER);
            hand.sleep(ms(200));
            hand.send(connection, b"lost").unwrap();
            hand.recv_within(connection, Some(ms(20_000)))
        });
        assert_eq!(
            got, None,
            "the answer died with the server that had sent it"
        );
    });
}

#[test]
fn a_handshake_that_dies_with_the_server_is_repeated_to_the_next_life() {
    // The server's answer is held up by the cut and lost with its power.
    for_seeds(|sim| {
        let script = |sim: &mut Sim, server, client| {
            sim.at(
                Duration::ZERO,
                Action::PartitionOneWay {
                    from: server,
                    to: client,
                },
            );
            sim.at(ms(100), Action::Kill(server));
            sim.at(ms(200), Action::Restart(server));
            sim.at(ms(300), Action::HealAll);
        };
        let (outcome, got) = with_client(sim, script, |hand| hand.connect(SERVER).is_ok());
        assert!(got, "{outcome}");
        assert!(outcome.virtual_time < Duration::from_secs(3), "{outcome}");
    });
}

#[test]
fn a_silent_peer_is_given_up_at_last() {
    for_seeds(|sim| {
        let network = Network::lan().timeouts(Duration::from_secs(3), Duration::from_secs(9));
        let script = |sim: &mut Sim, server, client| {
            sim.at(ms(100), Action::Partition(server, client));
        };
        let (outcome, got) = with_client(sim.network(network), script, |hand| {
            let connection = hand.connect_at_last(SERVER);
            hand.sleep(ms(200));
            hand.send(connection, b"hello").unwrap();
            let read = hand.recv(connection);
            (read, hand.recv(connection), hand.send(connection, b"x"))
        });
        assert_eq!(got.0, Err(IoErrorKind::TimedOut));
        assert_eq!(got.1, Ok(Vec::new()), "an error is reported once");
        assert_eq!(got.2, Err(IoErrorKind::BrokenPipe));
        assert!(outcome.virtual_time >= Duration::from_secs(9));
    });
}

#[test]
fn a_restarted_node_resets_connections_of_its_former_life() {
    for_seeds(|sim| {
        let script = |sim: &mut Sim, server, _| {
            sim.at(ms(100), Action::Kill(server));
            sim.at(ms(1000), Action::Restart(server));
        };
        let (outcome, got) = with_client(sim, script, |hand| {
            let connection = hand.connect_at_last(SERVER);
            hand.sleep(ms(200));
            hand.send(connection, b"are you there").unwrap();
            let answer = hand.recv(connection);
            let again = hand.connect_at_last(SERVER);
            hand.send(again, b"now").unwrap();
            (answer, hand.recv_all(again, 3))
        });
        assert_eq!(got.0, Err(IoErrorKind::ConnectionReset), "{outcome}");
        assert_eq!(got.1.as_deref(), Ok(&b"now"[..]));
        assert_eq!(outcome.abandoned.nodes, 1);
    });
}

#[test]
fn a_reset_is_seen_by_both_ends() {
    for_seeds(|sim| {
        let script = |sim: &mut Sim, server, client| {
            sim.at(ms(100), Action::Reset(server, client));
        };
        let (_, got) = with_client(sim, script, |hand| {
            let connection = hand.connect_at_last(SERVER);
            let read = hand.recv(connection);
            let again = hand.connect(SERVER).unwrap();
            hand.send(again, b"x").unwrap();
            // The server takes one client at a time, so it must have noticed as well.
            (read, hand.recv(again))
        });
        assert_eq!(got.0, Err(IoErrorKind::ConnectionReset));
        assert_eq!(got.1.as_deref(), Ok(&b"x"[..]));
    });
}

#[test]
fn a_node_that_refuses_takes_connections_again_when_it_welcomes() {
    let script = |sim: &mut Sim, server, _| {
        sim.at(Duration::ZERO, Action::Refuse(server));
        sim.at(ms(100), Action::Welcome(server));
    };
    let (_, got) = with_client(Sim::new(1), script, |hand| {
        let refused = hand.connect(SERVER);
        hand.sleep(ms(200));
        (refused, hand.connect(SERVER).is_ok())
    });
    assert_eq!(got, (Err(IoErrorKind::ConnectionRefused), true));
}

#[test]
fn after_our_shutdown_the_answer_still_comes_and_then_the_end() {
    for_seeds(|sim| {
        let (_, got) = with_client(
            sim,
            |_, _, _| {},
            |hand| {
                let connection = hand.connect(SERVER).unwrap();
                hand.send(connection, b"last words").unwrap();
                hand.shutdown(connection, Shutdown::Write).unwrap();
                let after = hand.send(connection, b"more");
                let answer = hand.recv_all(connection, 100);
                (after, answer)
            },
        );
        assert_eq!(got.0, Err(IoErrorKind::BrokenPipe));
        assert_eq!(got.1.as_deref(), Ok(&b"last words"[..]));
    });
}

#[test]
fn a_node_talks_to_itself_over_loopback() {
    let mut sim = Sim::new(3);
    sim.node("alone", |env| {
        support::workers(&env, 2, |hand, worker| {
            if worker.index() == 0 {
                let listener = hand.listen("127.0.0.1:7").unwrap();
                let connection = hand.accept(listener).unwrap();
                assert_eq!(hand.recv_all(connection, 2).unwrap(), b"me");
                hand.close(connection);
            } else {
                let connection = hand.connect_at_last("127.0.0.1:7");
                hand.send(connection, b"me").unwrap();
                assert!(hand.recv(connection).is_ok_and(|bytes| bytes.is_empty()));
            }
        });
    });
    sim.run().expect_finished();
}

#[test]
fn descriptors_are_limited_and_the_smallest_free_number_comes_first() {
    let mut sim = Sim::new(3).descriptors_max(3);
    sim.node("alone", |env| {
        alone(&env, |hand| {
            let first = hand.listen("0.0.0.0:1").unwrap();
            let second = hand.duplicate(first).unwrap();
            let third = hand.duplicate(first).unwrap();
            assert_eq!(hand.duplicate(first), Err(IoErrorKind::TooManyDescriptors));
            assert_eq!(
                hand.connect("10.0.0.1:1"),
                Err(IoErrorKind::TooManyDescriptors)
            );
            hand.close(second);
            assert_eq!(hand.duplicate(third), Ok(second));
        });
    });
    sim.run().expect_finished();
}

#[test]
fn an_address_in_use_is_free_again_after_the_last_close() {
    let mut sim = Sim::new(3);
    sim.node("alone", |env| {
        alone(&env, |hand| {
            let listener = hand.listen("0.0.0.0:80").unwrap();
            let copy = hand.duplicate(listener).unwrap();
            for other in ["0.0.0.0:80", "127.0.0.1:80", "10.0.0.1:80"] {
                assert_eq!(hand.listen(other), Err(IoErrorKind::AddrInUse));
            }
            hand.close(listener);
            assert_eq!(hand.listen("0.0.0.0:80"), Err(IoErrorKind::AddrInUse));
            hand.close(copy);
            assert!(hand.listen("10.0.0.1:80").is_ok());
            assert!(hand.listen("127.0.0.1:80").is_ok());
            assert_eq!(
                hand.listen("10.0.0.2:80"),
                Err(IoErrorKind::AddrNotAvailable)
            );
        });
    });
    sim.run().expect_finished();
}

#[test]
fn a_full_backlog_makes_clients_try_again_later() {
    let mut sim = Sim::new(5);
    sim.node("server", |env| {
        alone(&env, |hand| {
            let listener = hand.listen("0.0.0.0:80").unwrap();
            hand.sleep(ms(500));
            // The backlog holds four; the fifth client gets through by trying again.
            for _ in 0..5 {
                let connection = hand.accept(listener).unwrap();
                hand.send(connection, b"x").unwrap();
                hand.close(connection);
            }
        });
    });
    let clients = sim.node("clients", |env| {
        support::workers(&env, 5, |hand, _| {
            let connection = hand.connect(SERVER).unwrap();
            assert_eq!(hand.recv(connection).as_deref(), Ok(&b"x"[..]));
        });
    });
    let outcome = sim.until(clients).run().expect_finished();
    assert!(outcome.virtual_time >= Duration::from_secs(1), "{outcome}");
}

#[test]
fn a_slow_reader_holds_its_sender_back() {
    for_seeds(|sim| {
        let network = Network::lan().buffer_bytes(1000);
        let mut sim = sim.network(network);
        sim.node("server", |env| {
            alone(&env, |hand| {
                let listener = hand.listen("0.0.0.0:80").unwrap();
                let connection = hand.accept(listener).unwrap();
                hand.sleep(Duration::from_secs(2));
                let got = hand.recv_all(connection, 10_000).unwrap();
                assert!(got.iter().all(|&byte| byte == 9) && got.len() == 10_000);
            });
        });
        let client = sim.node("client", |env| {
            alone(&env, |hand| {
                let connection = hand.connect_at_last(SERVER);
                hand.send(connection, &[9; 10_000]).unwrap();
                assert!(hand.env.now().as_nanos() >= 2_000_000_000);
            });
        });
        sim.until(client).run().expect_finished();
    });
}
