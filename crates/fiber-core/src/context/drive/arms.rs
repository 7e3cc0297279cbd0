//! What a completion does to an arm, and to one that is gone: nothing (I-3).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use alloc::{boxed::Box, vec::Vec};
use core::{pin::Pin, ptr};

use super::{
    Context,
    tests::{GRACE, context},
};
use crate::{
    IoError, IoErrorKind,
    env::Wait,
    id::{Id, Namespace},
    io::{
        ReadyOperation, accept_operation, open_signals, raise_signal, ready_operation,
        recv_byte_operation, try_recv,
    },
    operation::{CellState, Operation, Published, WaitCell, Waiter},
    request::{Interest, Outcome, RawDescriptor, RequestKind},
    script::ScriptEnv,
    signal::{Signal, SignalSet},
};

const READY: Outcome = Outcome::Done(0);
const RAW: RawDescriptor = RawDescriptor(7);

fn failed(kind: IoErrorKind) -> Outcome {
    Outcome::Failed(IoError::from(kind))
}

fn open(context: &Context) -> Id {
    let space = context.id_space();
    let opened = context
        .shard
        .borrow_mut()
        .open(space, Namespace::STREAM, RAW, None);
    opened.unwrap()
}

fn arm(id: Id) -> Pin<Box<ReadyOperation>> {
    Box::pin(ready_operation(id, Interest::Readable))
}

/// Publishes as arm 3 and gives the request to the host.
fn publish(context: &Context, arm: &mut Pin<Box<impl Operation>>, cell: &WaitCell) {
    // SAFETY: both stay until the arm is retracted, in each of these tests (I-12).
    let published = unsafe { arm.as_mut().publish(cell, 3) };
    assert_eq!(published, Published::Waiting);
    context.turn(Wait::No).unwrap();
}

fn finish(mut arm: Pin<Box<ReadyOperation>>) -> Result<(), IoErrorKind> {
    arm.as_mut().retract(Some(0));
    // SAFETY: it was committed and retracted, and is finished once (I-12).
    unsafe { arm.as_mut().finish(0) }.map_err(|error| error.kind())
}

/// Runs `test` as the worker, with an id; everything is given back in the end.
fn on_a_worker(test: impl FnOnce(&ScriptEnv, &Context, Id, &WaitCell)) {
    let env = ScriptEnv::new();
    let context = context(&env);
    context.enter(|| {
        let id = open(&context);
        test(&env, &context, id, &WaitCell::new(Waiter::nobody()));
        let _ = context.id_space().close(id);
        for _ in 0..3 {
            context.turn(Wait::No).unwrap();
        }
        assert_eq!((context.inflight(), context.live_ids()), (0, 0));
    });
    context.finish(GRACE).unwrap();
}

#[test]
fn a_completion_settles_the_cell_and_leaves_the_id() {
    for (outcome, told) in [
        (READY, Ok(())),
        (
            failed(IoErrorKind::ConnectionReset),
            Err(IoErrorKind::ConnectionReset),
        ),
    ] {
        on_a_worker(|env, context, id, cell| {
            let mut arm = arm(id);
            publish(context, &mut arm, cell);
            assert_eq!(cell.state(), CellState::Waiting);
            assert!(env.complete(RequestKind::Ready, outcome));
            assert_eq!(context.turn(Wait::No).unwrap().answered, 1);
            assert_eq!(cell.state(), CellState::Settled(3));
            assert_eq!(finish(arm), told);
        });
    }
}

#[test]
fn a_completion_that_comes_after_its_performer_has_left_touches_nothing() {
    for outcome in [READY, failed(IoErrorKind::Cancelled)] {
        on_a_worker(|env, context, id, _| {
            let cell = Box::new(WaitCell::new(Waiter::nobody()));
            let mut gone = arm(id);
            publish(context, &mut gone, &cell);
            gone.as_mut().retract(None);
            assert_eq!(context.inflight(), 1, "the host has it still");
            // The frame is somebody else's now.
            // SAFETY: retracted, so that it may be moved; it has nothing to drop (I-12).
            let frame = Box::into_raw(unsafe { Pin::into_inner_unchecked(gone) });
            // SAFETY: the box's own memory, which nobody reads as an operation any more (I-3).
            unsafe { ptr::write_bytes(frame.cast::<u8>(), 0xDD, size_of::<ReadyOperation>()) };
            drop(cell);
            let others = env.complete(RequestKind::Ready, outcome);
            context.turn(Wait::No).unwrap();
            assert!(others, "a script's cancel comes with the next turn");
            assert_eq!(context.inflight(), 0);
            // SAFETY: any bytes do for it, and they are all written (I-3).
            let frame = unsafe { Box::from_raw(frame.cast::<[u8; size_of::<ReadyOperation>()]>()) };
            assert!(frame.iter().all(|&byte| byte == 0xDD), "written to");
        });
    }
}

#[test]
fn an_arm_that_was_retracted_can_be_published_again() {
    on_a_worker(|env, context, id, _| {
        let mut arm = arm(id);
        for _ in 0..20 {
            let cell = WaitCell::new(Waiter::nobody());
            publish(context, &mut arm, &cell);
            arm.as_mut().retract(None);
            context.turn(Wait::No).unwrap();
        }
        let cell = WaitCell::new(Waiter::nobody());
        publish(context, &mut arm, &cell);
        assert!(env.complete(RequestKind::Ready, READY));
        context.turn(Wait::No).unwrap();
        assert_eq!(finish(arm), Ok(()));
    });
}

#[test]
fn a_completion_for_a_performer_that_another_arm_has_won_changes_nothing() {
    on_a_worker(|env, context, id, cell| {
        let mut loser = arm(id);
        publish(context, &mut loser, cell);
        cell.claim_own().unwrap().settle(9);
        assert!(env.complete(RequestKind::Ready, READY));
        context.turn(Wait::No).unwrap();
        assert_eq!(
            (context.inflight(), cell.state()),
            (0, CellState::Settled(9))
        );
        loser.as_mut().retract(None);
        assert_eq!(context.inflight(), 0, "there is nothing to cancel");
    });
}

#[test]
fn what_has_come_is_taken_for_an_arm_that_wins_and_left_by_one_that_has_lost() {
    on_a_worker(|_, context, _, _| {
        let signals = open_signals(SignalSet::new(&[Signal::User1])).unwrap();
        for loses in [false, true, false] {
            let cell = WaitCell::new(Waiter::nobody());
            let mut byte = Box::pin(recv_byte_operation(signals));
            publish(context, &mut byte, &cell);
            raise_signal(Signal::User1).unwrap();
            if loses {
                cell.claim_own().unwrap().settle(9);
            }
            context.turn(Wait::No).unwrap();
            let left = try_recv(signals, &mut [0]).unwrap();
            if loses {
                byte.as_mut().retract(None);
                assert_eq!((cell.state(), left), (CellState::Settled(9), Some(1)));
                continue;
            }
            assert_eq!((cell.state(), left), (CellState::Settled(3), None));
            byte.as_mut().retract(Some(0));
            // SAFETY: it was committed and retracted, and is finished once (I-12).
            let taken = unsafe { byte.as_mut().finish(0) };
            assert_eq!(taken, Ok(Some(Signal::User1.number())));
        }
        context.id_space().close(signals).unwrap();
    });
}

#[test]
fn what_is_gone_when_it_is_taken_is_waited_for_again() {
    on_a_worker(|_, context, _, cell| {
        let signals = open_signals(SignalSet::new(&[Signal::User1])).unwrap();
        let other = WaitCell::new(Waiter::nobody());
        let (mut first, mut second) = (
            Box::pin(recv_byte_operation(signals)),
            Box::pin(recv_byte_operation(signals)),
        );
        publish(context, &mut first, cell);
        publish(context, &mut second, &other);
        raise_signal(Signal::User1).unwrap();
        context.turn(Wait::No).unwrap();
        let waits = |cell: &WaitCell| cell.state() == CellState::Waiting;
        assert!(waits(cell) != waits(&other), "one signal, told once");
        context.turn(Wait::No).unwrap();
        raise_signal(Signal::User1).unwrap();
        context.turn(Wait::No).unwrap();
        assert!(!waits(cell) && !waits(&other));
        for arm in [&mut first, &mut second] {
            arm.as_mut().retract(Some(0));
            // SAFETY: it was committed and retracted, and is finished once (I-12).
            let taken = unsafe { arm.as_mut().finish(0) };
            assert_eq!(taken, Ok(Some(Signal::User1.number())));
        }
        context.id_space().close(signals).unwrap();
    });
}

#[test]
fn a_cancel_that_was_meant_for_another_makes_it_ask_again() {
    on_a_worker(|env, context, id, cell| {
        let mut arm = arm(id);
        publish(context, &mut arm, cell);
        for kind in [IoErrorKind::Cancelled, IoErrorKind::Interrupted] {
            assert!(env.complete(RequestKind::Ready, failed(kind)));
            context.turn(Wait::No).unwrap();
            assert_eq!(cell.state(), CellState::Waiting);
            assert!(context.has_staged(), "it asks again");
            context.turn(Wait::No).unwrap();
        }
        assert!(env.complete(RequestKind::Ready, READY));
        context.turn(Wait::No).unwrap();
        assert_eq!(finish(arm), Ok(()));
    });
}

#[test]
fn a_close_is_told_and_an_orphan_does_not_hold_it_up() {
    on_a_worker(|env, context, id, cell| {
        let (mut gone, mut waits) = (arm(id), arm(id));
        let other = WaitCell::new(Waiter::nobody());
        publish(context, &mut gone, &other);
        gone.as_mut().retract(None);
        publish(context, &mut waits, cell);
        context.id_space().close(id).unwrap();
        context.turn(Wait::No).unwrap();
        assert_eq!(context.live_ids(), 1, "somebody waits on it");
        // As the scheduler does when it is asked for it.
        context.cancel_requests_on(RAW);
        context.turn(Wait::No).unwrap();
        assert_eq!(finish(waits), Err(IoErrorKind::Closed));
        context.turn(Wait::No).unwrap();
        assert_eq!(env.asked().last(), Some(&RequestKind::Close));
        let mut late = arm(id);
        // SAFETY: it is not moved (I-12).
        let tried = unsafe { late.as_mut().get_unchecked_mut() }.try_now();
        assert_eq!((tried, finish(late)), (Some(0), Err(IoErrorKind::Stale)));
    });
}

#[test]
fn beyond_the_bound_of_requests_it_is_an_error_at_once() {
    on_a_worker(|_, context, id, _| {
        let cells: Vec<_> = (0..9).map(|_| WaitCell::new(Waiter::nobody())).collect();
        let mut arms: Vec<_> = (0..9).map(|_| arm(id)).collect();
        for (arm, cell) in arms.iter_mut().zip(&cells).take(8) {
            publish(context, arm, cell);
        }
        let mut last = arms.pop().unwrap();
        // SAFETY: the cell stays until the arm is retracted (I-12).
        let published = unsafe { last.as_mut().publish(&cells[8], 5) };
        assert_eq!(published, Published::Committed(0));
        assert_eq!(cells[8].state(), CellState::Settled(5));
        assert_eq!(finish(last), Err(IoErrorKind::TooManyRequests));
        arms.iter_mut().for_each(|arm| arm.as_mut().retract(None));
    });
}

#[test]
fn a_worker_that_ends_gives_back_what_an_orphan_has() {
    let env = ScriptEnv::new();
    let context = context(&env);
    context.enter(|| {
        let (id, cell) = (open(&context), WaitCell::new(Waiter::nobody()));
        let mut gone = arm(id);
        publish(&context, &mut gone, &cell);
        gone.as_mut().retract(None);
        context.id_space().close(id).unwrap();
        while context.live_ids() > 0 {
            context.turn(Wait::No).unwrap();
        }
    });
    context.finish(GRACE).unwrap();
}

#[test]
fn a_host_that_cannot_accept_without_waiting_is_told_of() {
    on_a_worker(|_, _, id, _| {
        let mut accept = Box::pin(accept_operation(id));
        // SAFETY: it is not moved (I-12).
        let tried = unsafe { accept.as_mut().get_unchecked_mut() }.try_now();
        assert_eq!(tried, Some(0));
        // SAFETY: committed just now, and nothing was published (I-12).
        let told = unsafe { accept.as_mut().finish(0) }.unwrap_err();
        assert_eq!(told.kind(), IoErrorKind::Unsupported);
    });
}
