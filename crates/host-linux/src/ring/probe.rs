//! The start-up test: does io_uring do here what we build on?
//!
//! Asked once in the life of the process, with a small ring: the features and operations that we
//! use must be there, and a receive whose byte has arrived, but was not seen yet, must answer a
//! cancel with "cancelled" and leave the byte in the socket.

use core::time::Duration;
use std::{os::fd::AsRawFd, sync::OnceLock};

use fiber_core::request::{Lent, LentMut};
use io_uring::{
    IoUring, Probe, opcode,
    types::{CancelBuilder, Fd},
};

use super::{
    kernel,
    setup::{Refusal, RingSetup},
};
use crate::{
    errno::Errno,
    sys::{self, socket},
};

const OPERATIONS: [(u8, &str); 9] = [
    (opcode::Nop::CODE, "NOP"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Readv::CODE, "READV"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel2::CODE, "ASYNC_CANCEL"),
];

/// What this process can have.
pub(crate) fn probe() -> Result<RingSetup, Refusal> {
    static FOUND: OnceLock<Result<RingSetup, Refusal>> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return *found;
    }
    match look() {
        // Descriptors may be free the next time.
        Err(refusal @ Refusal::Descriptors { .. }) => Err(refusal),
        found => *FOUND.get_or_init(|| found),
    }
}

fn look() -> Result<RingSetup, Refusal> {
    let newest = RingSetup {
        sq_entries: 512,
        cq_entries: 4096,
        no_sqarray: true,
        lossless_cancel: false,
    };
    let older = RingSetup {
        no_sqarray: false,
        ..newest
    };
    let (setup, ring) = match newest.build() {
        Ok(ring) => (newest, ring),
        Err(_) => {
            let ring = older.build();
            (older, ring.map_err(|error| Refusal::of_setup(&error))?)
        }
    };
    check_features(&ring)?;
    let lossless_cancel = cancel_leaves_the_byte(ring).map_err(|errno| {
        Refusal::unavailable(
            "the start-up test of io_uring",
            errno.0,
            "io_uring can be set up but does not do what it is asked; poll is used instead",
        )
    })?;
    Ok(RingSetup {
        lossless_cancel,
        ..setup
    })
}

fn check_features(ring: &IoUring) -> Result<(), Refusal> {
    let params = ring.params();
    let features = params.is_feature_nodrop()
        && params.is_feature_ext_arg()
        && params.is_feature_submit_stable()
        && params.is_feature_fast_poll()
        && params.is_feature_skip_cqe_on_success();
    if !features {
        return Err(Refusal::unavailable(
            "io_uring_setup",
            0,
            "io_uring lacks a feature of Linux 6.1",
        ));
    }
    let mut probe = Probe::new();
    let registered = ring.submitter().register_probe(&mut probe);
    registered.map_err(|error| Refusal::of_setup(&error))?;
    let missing = OPERATIONS
        .iter()
        .find(|(code, _)| !probe.is_supported(*code));
    match missing {
        None => Ok(()),
        Some((_, name)) => Err(Refusal::unavailable(
            name,
            libc::ENOSYS,
            "io_uring lacks an operation that we use; a filter may have removed it",
        )),
    }
}

/// How long the kernel has for what takes it microseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Arms a receive, lets its byte arrive, cancels it: was the cancel first, and is the byte there?
fn cancel_leaves_the_byte(mut ring: IoUring) -> sys::Result<bool> {
    const RECV: u64 = 1;
    const CANCEL: u64 = 2;
    let (ours, theirs) = socket::pair()?;
    // On the heap, so that it can be leaked if the kernel keeps it.
    let into: &'static mut [u8; 1] = Box::leak(Box::new([0_u8; 1]));
    let start = into.as_mut_ptr();
    let recv = opcode::Recv::new(Fd(ours.as_raw_fd()), start, 1).build();
    kernel::push(&mut ring, &recv.user_data(RECV));
    sys::uninterrupted(|| kernel::enter(&ring, kernel::Sleep::Not))?;

    let byte = [0xA5_u8];
    // SAFETY: the byte is on this frame for the length of the call (I-3).
    unsafe { socket::send_now(theirs.as_raw_fd(), Lent::new(&byte)) }?;
    let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(RECV)).build();
    kernel::push(&mut ring, &cancel.user_data(CANCEL));

    let mut received = None;
    let mut cancelled = None;
    while received.is_none() || cancelled.is_none() {
        sys::uninterrupted(|| kernel::enter(&ring, kernel::Sleep::For(PATIENCE)))?;
        let before = (received, cancelled);
        for completion in ring.completion() {
            match completion.user_data() {
                RECV => received = Some(completion.result()),
                _ => cancelled = Some(completion.result()),
            }
        }
        if before == (received, cancelled) {
            // The kernel still has the byte's place, which stays leaked, as does the ring.
            core::mem::forget(ring);
            return Err(Errno(libc::ETIME));
        }
    }
    // SAFETY: leaked above, and the receive that borrowed it has ended (I-3).
    let mut into = unsafe { Box::from_raw(into) };
    if received != Some(-libc::ECANCELED) {
        return Ok(false);
    }
    let lent = LentMut::new(into.as_mut_slice());
    // SAFETY: the box lives for the length of the call (I-3).
    let left = unsafe { socket::recv_now(ours.as_raw_fd(), lent) };
    Ok(left == Ok(1) && *into == byte)
}
