//! What waits for room in a ring's queue.

use std::os::fd::{AsFd, AsRawFd};

use fiber_core::request::RawDescriptor;

use super::*;
use crate::{
    ring::{flight::Equipment, probe},
    sys::socket,
};

#[test]
fn a_close_that_waits_for_room_is_neither_cancelled_nor_drained_away() {
    let mut port = RingPort::open(&probe().expect("a ring")).expect("a ring");
    let port = &mut *port.inner;
    let (ours, theirs) = socket::pair().unwrap();
    // The other end tells when it is closed, whoever gets the number next.
    let descriptor = socket::into_raw(ours);
    let request = Request::Close { descriptor };
    let key = port
        .flights
        .insert(Token::QUIET, request, Equipment::default());
    port.backlog.push_back(key);
    let mut out = Vec::new();
    port.cancel(key, &mut out);
    assert_eq!(port.flights.len(), 1, "a close is not cancelled");
    port.drain(Duration::from_secs(5), &mut out).unwrap();
    assert!(port.flights.is_empty() && out.is_empty());
    let mut byte = [1_u8];
    let into = fiber_core::request::LentMut::new(&mut byte);
    // SAFETY: the byte is on this frame for the length of the call (I-3).
    let end = unsafe { socket::recv_now(theirs.as_fd().as_raw_fd(), into) };
    assert_eq!(end, Ok(0), "the other end was closed");
}

#[test]
fn what_has_no_room_goes_in_before_the_port_sleeps() {
    let setup = RingSetup {
        sq_entries: 2,
        cq_entries: 8,
        ..probe().expect("a ring")
    };
    let mut port = RingPort::open(&setup).expect("a ring");
    let port = &mut *port.inner;
    let (ours, _theirs) = socket::pair().unwrap();
    let descriptor = RawDescriptor(u32::try_from(ours.as_raw_fd()).unwrap());
    // Two that wait for ever fill the queue, and the third one would be over at once.
    let ready = |interest| Request::Ready {
        descriptor,
        interest,
    };
    let readable = ready(fiber_core::request::Interest::Readable);
    let writable = ready(fiber_core::request::Interest::Writable);
    for (slot, request) in [(1, readable), (2, readable), (3, writable)] {
        let key = port
            .flights
            .insert(Token::new(slot, 1), request, Equipment::default());
        port.backlog.push_back(key);
    }
    // As after a turn that had to wait before.
    assert!(port.listen());
    port.enter(Sleep::Not, &mut Vec::new()).unwrap();
    let mut out = Vec::new();
    let turned = port.turn(&mut Staged::new(), Wait::Forever, &mut out);
    assert_eq!(turned.unwrap().completed, 1);
    assert_eq!(out[0].token, Token::new(3, 1));
}
