//! The shim over a scripted host: what it asks, in which order, and what comes out.

use alloc::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::Arc,
    vec,
    vec::Vec,
};
use core::{cell::RefCell, net::SocketAddr, ptr::NonNull, time::Duration};

use super::*;
use crate::{
    IoErrorKind,
    env::{Port, Staged, TryNow},
    request::{Completion, Extent, Lent, LentMut, RequestKind, Token},
};

const FD: RawDescriptor = RawDescriptor(3);
const SOCKET: RawDescriptor = RawDescriptor(9);

/// What the host was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Try(RequestKind),
    Finish(RawDescriptor),
    Arm(RawDescriptor, Interest),
    Forget(RawDescriptor),
    Close(RawDescriptor),
    Poll(Wait),
}

/// The world: answers in store for each kind of request, events in store for each poll.
#[derive(Default)]
struct Script {
    calls: Vec<Call>,
    answers: BTreeMap<RequestKind, VecDeque<Attempt>>,
    polls: VecDeque<(Vec<Event>, bool)>,
    arm_error: Option<IoError>,
    /// What is known to find nothing.
    empty: Option<RequestKind>,
}

#[derive(Clone, Default)]
struct Scripted(Rc<RefCell<Script>>);

struct Silent;

impl Unpark for Silent {
    fn unpark(&self) {}
}

// SAFETY: it touches no memory but what `fill` writes during the call (I-3).
unsafe impl BeforeIo for Scripted {
    unsafe fn try_now(&mut self, request: &Request, under_way: Option<RawDescriptor>) -> Attempt {
        let mut script = self.0.borrow_mut();
        let call = match (*request, under_way) {
            (Request::Close { descriptor }, _) => Call::Close(descriptor),
            (_, Some(descriptor)) => Call::Finish(descriptor),
            _ => Call::Try(request.kind()),
        };
        script.calls.push(call);
        if let Call::Close(_) = call {
            return Attempt::Done(Outcome::Done(0));
        }
        let answers = script.answers.get_mut(&request.kind());
        let answer = answers.and_then(VecDeque::pop_front);
        let answer = answer.unwrap_or(Attempt::WouldBlock);
        if let (Request::Recv { into, extent, .. }, Attempt::Done(Outcome::Done(bytes))) =
            (*request, answer)
        {
            assert_eq!(extent, Extent::Some, "the shim puts parts together");
            fill(into, usize::try_from(bytes).unwrap());
        }
        answer
    }

    fn would_block(&self, request: &Request) -> bool {
        self.0.borrow().empty == Some(request.kind())
    }

    fn arm(&mut self, descriptor: RawDescriptor, interest: Interest) -> Result<(), IoError> {
        let mut script = self.0.borrow_mut();
        script.calls.push(Call::Arm(descriptor, interest));
        script.arm_error.take().map_or(Ok(()), Err)
    }

    fn forget(&mut self, descriptor: RawDescriptor) {
        self.0.borrow_mut().calls.push(Call::Forget(descriptor));
    }

    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> Result<Polled, HostFault> {
        let mut script = self.0.borrow_mut();
        script.calls.push(Call::Poll(wait));
        let (happened, unparked) = script.polls.pop_front().unwrap_or_default();
        events.extend(happened);
        Ok(Polled { unparked, calls: 1 })
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Silent)
    }
}

/// Writes the number of bytes written so far into each byte, so that order shows.
fn fill(into: LentMut, bytes: usize) {
    assert!(bytes <= into.len());
    // SAFETY: lent for the length of the call that names it (I-3).
    unsafe {
        into.start()
            .write_bytes(u8::try_from(bytes).unwrap(), bytes)
    };
}

struct Rig {
    host: Scripted,
    port: AfterOverBefore<Scripted>,
    staged: Staged,
    out: Vec<Completion>,
}

impl Rig {
    fn new() -> Self {
        let host = Scripted::default();
        Self {
            port: AfterOverBefore::new(host.clone()),
            host,
            staged: Staged::new(),
            out: Vec::new(),
        }
    }

    fn answer(&self, kind: RequestKind, answers: &[Attempt]) {
        let mut script = self.host.0.borrow_mut();
        script.answers.entry(kind).or_default().extend(answers);
    }

    fn event(&self, descriptor: RawDescriptor, interest: Interest) {
        let event = Event {
            descriptor,
            interest,
        };
        let mut script = self.host.0.borrow_mut();
        script.polls.push_back((vec![event], false));
    }

    fn stage(&mut self, slot: u32, request: Request) {
        // SAFETY: the tests keep their buffers until the rig is gone (I-3).
        unsafe { self.staged.push(Token::new(slot, 1), request) };
    }

    /// One turn; what completed, by slot.
    fn turn(&mut self, wait: Wait) -> Vec<(u32, Outcome)> {
        self.port
            .turn(&mut self.staged, wait, &mut self.out)
            .unwrap();
        let completed = self.out.drain(..);
        completed
            .map(|completion| (completion.token.slot(), completion.outcome))
            .collect()
    }

    /// What the host was asked since the last time.
    fn calls(&self) -> Vec<Call> {
        core::mem::take(&mut self.host.0.borrow_mut().calls)
    }

    fn tries(&self) -> usize {
        let calls = self.calls();
        let tries = calls.iter().filter(|call| matches!(call, Call::Try(_)));
        tries.count()
    }
}

fn recv(buffer: &mut [u8], extent: Extent) -> Request {
    Request::Recv {
        descriptor: FD,
        into: LentMut::new(buffer),
        extent,
    }
}

fn send(buffer: &[u8], extent: Extent) -> Request {
    Request::Send {
        descriptor: FD,
        from: Lent::new(buffer),
        extent,
    }
}

const fn done(number: u64) -> Attempt {
    Attempt::Done(Outcome::Done(number))
}

fn failed(kind: IoErrorKind) -> Outcome {
    Outcome::Failed(kind.into())
}

const CANCELLED: IoErrorKind = IoErrorKind::Cancelled;

#[test]
fn what_can_be_done_at_once_is_done_without_arming_or_polling() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 8]);
    rig.answer(RequestKind::Recv, &[done(5)]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    assert_eq!(rig.turn(Wait::No), [(1, Outcome::Done(5))]);
    assert_eq!(rig.calls(), [Call::Try(RequestKind::Recv)]);
}

#[test]
fn what_would_block_is_armed_once_and_served_by_events_in_order() {
    let (mut rig, mut buffers) = (Rig::new(), [[0; 4]; 3]);
    for (slot, buffer) in (1..).zip(&mut buffers) {
        rig.stage(slot, recv(buffer, Extent::Some));
    }
    assert_eq!(rig.turn(Wait::No), []);
    let calls = rig.calls();
    let tried = Call::Try(RequestKind::Recv);
    let armed = Call::Arm(FD, Interest::Readable);
    assert_eq!(calls, [tried, armed, Call::Poll(Wait::No)]);

    rig.answer(RequestKind::Recv, &[done(4), done(2)]);
    rig.event(FD, Interest::Readable);
    let both = [(1, Outcome::Done(4)), (2, Outcome::Done(2))];
    assert_eq!(rig.turn(Wait::Forever), both);

    rig.answer(RequestKind::Recv, &[done(1)]);
    rig.event(FD, Interest::Readable);
    assert_eq!(rig.turn(Wait::Forever), [(3, Outcome::Done(1))]);
    assert!(!rig.calls().contains(&armed), "the queue was never empty");
}

#[test]
fn a_descriptor_that_is_known_to_be_unready_is_not_tried_but_armed_again() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    rig.stage(
        2,
        Request::Cancel {
            token: Token::new(1, 1),
        },
    );
    assert_eq!(rig.turn(Wait::No), [(1, failed(CANCELLED))]);
    rig.calls();
    rig.stage(3, recv(&mut buffer, Extent::Some));
    assert_eq!(rig.turn(Wait::No), []);
    let armed = Call::Arm(FD, Interest::Readable);
    assert_eq!(rig.calls(), [armed, Call::Poll(Wait::No)]);
}

#[test]
fn what_the_host_knows_to_find_nothing_is_armed_and_not_tried() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 8]);
    rig.host.0.borrow_mut().empty = Some(RequestKind::Recv);
    rig.stage(1, recv(&mut buffer, Extent::All));
    assert_eq!(rig.turn(Wait::No), []);
    let armed = Call::Arm(FD, Interest::Readable);
    assert_eq!(rig.calls(), [armed, Call::Poll(Wait::No)]);

    // Its first part comes, and then nothing is there again.
    rig.host.0.borrow_mut().empty = None;
    rig.answer(RequestKind::Recv, &[done(3), done(5)]);
    rig.event(FD, Interest::Readable);
    assert_eq!(rig.turn(Wait::Forever), [(1, Outcome::Done(8))]);
}

#[test]
fn what_is_asked_for_at_once_is_tried_whatever_the_host_knows() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 8]);
    rig.host.0.borrow_mut().empty = Some(RequestKind::Recv);
    rig.answer(RequestKind::Recv, &[done(5)]);
    // SAFETY: the buffer outlives the call (I-3).
    let answer = unsafe { rig.port.try_now(&recv(&mut buffer, Extent::Some)) };
    assert_eq!(answer, TryNow::Done(Outcome::Done(5)));
}

#[test]
fn a_host_is_asked_what_happened_in_every_second_turn_at_least() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 8]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    assert_eq!(rig.turn(Wait::No), []);
    rig.calls();
    let polls = |rig: &Rig| {
        let calls = rig.calls();
        calls
            .iter()
            .filter(|call| matches!(call, Call::Poll(_)))
            .count()
    };
    for turn in 0..6 {
        rig.answer(RequestKind::Send, &[done(1)]);
        rig.stage(2, send(b"a", Extent::Some));
        assert_eq!(rig.turn(Wait::Forever), [(2, Outcome::Done(1))]);
        assert_eq!(polls(&rig), turn % 2);
    }
    // Nothing was done meanwhile: whoever waits does.
    rig.answer(RequestKind::Recv, &[done(8)]);
    rig.event(FD, Interest::Readable);
    assert_eq!(rig.turn(Wait::Forever), [(1, Outcome::Done(8))]);
}

#[test]
fn a_cancel_comes_after_what_happened_in_a_turn_that_did_not_ask() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 8]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    assert_eq!(rig.turn(Wait::No), []);
    rig.answer(RequestKind::Send, &[done(1)]);
    rig.stage(2, send(b"a", Extent::Some));
    assert_eq!(rig.turn(Wait::No), [(2, Outcome::Done(1))]);

    rig.answer(RequestKind::Recv, &[done(5)]);
    rig.event(FD, Interest::Readable);
    let token = Token::new(1, 1);
    rig.stage(3, Request::Cancel { token });
    assert_eq!(rig.turn(Wait::No), [(1, Outcome::Done(5))]);
}

#[test]
fn directions_do_not_wait_for_each_other() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    rig.answer(RequestKind::Send, &[done(3)]);
    rig.stage(2, send(b"abc", Extent::Some));
    assert_eq!(rig.turn(Wait::No), [(2, Outcome::Done(3))]);
}

#[test]
fn a_pure_wait_does_not_hold_up_a_transfer_nor_the_other_way_round() {
    let mut rig = Rig::new();
    let ready = Request::Ready {
        descriptor: FD,
        interest: Interest::Writable,
    };
    rig.stage(1, ready);
    assert_eq!(rig.turn(Wait::No), []);
    rig.answer(RequestKind::Send, &[done(3)]);
    rig.stage(2, send(b"abc", Extent::Some));
    assert_eq!(rig.turn(Wait::No), [(2, Outcome::Done(3))]);

    rig.stage(3, send(b"abc", Extent::Some));
    assert_eq!(rig.turn(Wait::No), []);
    rig.answer(RequestKind::Ready, &[done(0)]);
    rig.event(FD, Interest::Writable);
    assert_eq!(rig.turn(Wait::Forever), [(1, Outcome::Done(0))]);
}

#[test]
fn everything_is_received_in_parts_into_the_right_places() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 6]);
    rig.answer(RequestKind::Recv, &[done(1), done(2), Attempt::WouldBlock]);
    rig.stage(1, recv(&mut buffer, Extent::All));
    assert_eq!(rig.turn(Wait::No), []);
    rig.answer(RequestKind::Recv, &[done(3)]);
    rig.event(FD, Interest::Readable);
    assert_eq!(rig.turn(Wait::Forever), [(1, Outcome::Done(6))]);
    assert_eq!(buffer, [1, 2, 2, 3, 3, 3]);
}

#[test]
fn everything_is_less_at_the_end_of_the_stream_and_before_an_error() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 6]);
    rig.answer(RequestKind::Recv, &[done(2), done(0)]);
    rig.stage(1, recv(&mut buffer, Extent::All));
    let reset = Attempt::Done(failed(IoErrorKind::ConnectionReset));
    rig.answer(RequestKind::Send, &[done(4), reset, reset]);
    rig.stage(2, send(b"abcdef", Extent::All));
    rig.stage(3, send(b"abcdef", Extent::All));
    let expected = [
        (1, Outcome::Done(2)),
        (2, Outcome::Done(4)),
        (3, failed(IoErrorKind::ConnectionReset)),
    ];
    assert_eq!(rig.turn(Wait::No), expected);
}

#[test]
fn a_cancel_after_some_bytes_tells_how_many() {
    let mut rig = Rig::new();
    rig.answer(RequestKind::Send, &[done(4)]);
    rig.stage(1, send(b"abcdef", Extent::All));
    rig.turn(Wait::No);
    rig.stage(
        2,
        Request::Cancel {
            token: Token::new(1, 1),
        },
    );
    assert_eq!(rig.turn(Wait::No), [(1, Outcome::Done(4))]);
}

#[test]
fn cancel_all_on_takes_both_directions_of_one_descriptor() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    rig.stage(2, send(b"abc", Extent::Some));
    rig.stage(
        3,
        Request::Ready {
            descriptor: SOCKET,
            interest: Interest::Readable,
        },
    );
    rig.stage(4, Request::CancelAllOn { descriptor: FD });
    let expected = [(1, failed(CANCELLED)), (2, failed(CANCELLED))];
    assert_eq!(rig.turn(Wait::No), expected);
}

#[test]
fn a_close_is_forgotten_first_and_starts_the_number_anew() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    rig.stage(2, Request::CancelAllOn { descriptor: FD });
    rig.turn(Wait::No);
    rig.calls();
    rig.stage(3, Request::Close { descriptor: FD });
    assert_eq!(rig.turn(Wait::No), [(3, Outcome::Done(0))]);
    assert_eq!(rig.calls(), [Call::Forget(FD), Call::Close(FD)]);
    rig.stage(4, recv(&mut buffer, Extent::Some));
    rig.turn(Wait::No);
    assert_eq!(rig.tries(), 1, "nothing is known of the new one");
}

#[test]
fn a_connect_is_finished_when_its_socket_becomes_writable() {
    let mut rig = Rig::new();
    let to: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let opened = Attempt::Done(Outcome::Opened(SOCKET));
    let connect = Request::Connect {
        to: NonNull::from_ref(&to),
    };
    rig.answer(RequestKind::Connect, &[Attempt::Started(SOCKET)]);
    rig.stage(1, connect);
    assert_eq!(rig.turn(Wait::No), []);
    let armed = Call::Arm(SOCKET, Interest::Writable);
    assert_eq!(rig.calls()[1], armed);

    rig.answer(RequestKind::Connect, &[Attempt::WouldBlock, opened]);
    rig.event(SOCKET, Interest::Writable);
    rig.event(SOCKET, Interest::Writable);
    assert_eq!(rig.turn(Wait::Forever), [(1, Outcome::Opened(SOCKET))]);
    assert!(!rig.calls().contains(&Call::Close(SOCKET)));
}

#[test]
fn a_connect_that_fails_or_is_cancelled_leaves_no_socket() {
    let to: SocketAddr = "10.0.0.1:80".parse().unwrap();
    for cancelled in [false, true] {
        let mut rig = Rig::new();
        let refused = failed(IoErrorKind::ConnectionRefused);
        rig.answer(
            RequestKind::Connect,
            &[Attempt::Started(SOCKET), Attempt::Done(refused)],
        );
        rig.stage(
            1,
            Request::Connect {
                to: NonNull::from_ref(&to),
            },
        );
        rig.turn(Wait::No);
        let expected = if cancelled {
            rig.stage(
                2,
                Request::Cancel {
                    token: Token::new(1, 1),
                },
            );
            failed(CANCELLED)
        } else {
            rig.event(SOCKET, Interest::Writable);
            refused
        };
        assert_eq!(rig.turn(Wait::Forever), [(1, expected)]);
        let calls = rig.calls();
        let closed = calls
            .windows(2)
            .any(|pair| pair == [Call::Forget(SOCKET), Call::Close(SOCKET)]);
        assert!(closed, "{calls:?}");
    }
}

#[test]
fn a_descriptor_that_cannot_be_watched_fails_its_request() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    let error = IoError::from(IoErrorKind::OutOfMemory);
    rig.host.0.borrow_mut().arm_error = Some(error);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    assert_eq!(rig.turn(Wait::No), [(1, Outcome::Failed(error))]);
}

#[test]
fn events_that_complete_nothing_do_not_end_a_wait() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    rig.turn(Wait::No);
    rig.answer(RequestKind::Recv, &[Attempt::WouldBlock, done(2)]);
    rig.event(FD, Interest::Writable);
    rig.event(FD, Interest::Readable);
    rig.event(FD, Interest::Readable);
    assert_eq!(rig.turn(Wait::Forever), [(1, Outcome::Done(2))]);
}

#[test]
fn an_unpark_ends_a_wait_even_beside_events() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    rig.turn(Wait::No);
    rig.calls();
    let spurious = Event {
        descriptor: FD,
        interest: Interest::Writable,
    };
    let script = &rig.host.0;
    script.borrow_mut().polls.push_back((vec![spurious], true));
    assert_eq!(rig.turn(Wait::Forever), []);
    assert_eq!(rig.calls(), [Call::Poll(Wait::Forever)]);
}

#[test]
fn an_idle_turn_asks_the_host_nothing() {
    let mut rig = Rig::new();
    assert_eq!(rig.turn(Wait::No), []);
    assert_eq!(rig.calls(), []);
}

#[test]
fn try_now_does_not_overtake_who_waits() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    rig.turn(Wait::No);
    let mut other = [0; 4];
    let request = recv(&mut other, Extent::Some);
    // SAFETY: the buffer outlives the call (I-3).
    let answer = unsafe { rig.port.try_now(&request) };
    assert_eq!(answer, TryNow::WouldBlock(Interest::Readable));
}

#[test]
fn try_now_does_not_do_halves() {
    let mut rig = Rig::new();
    // SAFETY: the bytes are static (I-3).
    let answer = unsafe { rig.port.try_now(&send(b"abc", Extent::All)) };
    assert_eq!(answer, TryNow::NotPossible);
}

#[test]
fn a_quiet_request_has_no_completion_and_leaves_no_descriptor() {
    let mut rig = Rig::new();
    let mut peer: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let opened = Attempt::Done(Outcome::Opened(SOCKET));
    rig.answer(RequestKind::Accept, &[opened]);
    let accept = Request::Accept {
        descriptor: FD,
        peer: NonNull::from_mut(&mut peer),
    };
    // SAFETY: `peer` outlives the turn (I-3).
    unsafe { rig.staged.push(Token::QUIET, accept) };
    assert_eq!(rig.turn(Wait::No), []);
    assert!(rig.calls().contains(&Call::Close(SOCKET)));
}

#[test]
fn a_drain_cancels_whatever_waits() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    rig.stage(2, send(b"abc", Extent::Some));
    rig.turn(Wait::No);
    rig.port.drain(Duration::ZERO, &mut rig.out).unwrap();
    let outcomes: Vec<_> = rig
        .out
        .iter()
        .map(|completion| completion.outcome)
        .collect();
    assert_eq!(outcomes, [failed(CANCELLED); 2]);
}

#[test]
fn what_a_host_does_not_offer_is_unsupported() {
    let mut rig = Rig::new();
    rig.answer(RequestKind::Nop, &[Attempt::NotPossible]);
    rig.stage(1, Request::Nop);
    let unsupported = failed(IoErrorKind::Unsupported);
    assert_eq!(rig.turn(Wait::No), [(1, unsupported)]);
}

#[test]
fn a_transfer_of_nothing_waits_for_nothing() {
    let (mut rig, mut buffer) = (Rig::new(), [0; 4]);
    rig.answer(RequestKind::Recv, &[Attempt::WouldBlock]);
    rig.stage(1, recv(&mut buffer, Extent::Some));
    rig.stage(2, recv(&mut [], Extent::Some));
    rig.stage(3, send(&[], Extent::All));
    let nothing = Outcome::Done(0);
    assert_eq!(rig.turn(Wait::No), [(2, nothing), (3, nothing)]);
    assert_eq!(rig.tries(), 1, "the host is not asked");
}
