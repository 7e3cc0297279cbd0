//! The two things one does with a ring: put an entry in, and enter the kernel.

use core::time::Duration;

use io_uring::{
    EnterFlags, IoUring, squeue,
    types::{SubmitArgs, Timespec},
};

use crate::{errno::Errno, sys};

/// How long an entry into the kernel may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleep {
    Not,
    For(Duration),
    Forever,
}

impl Sleep {
    /// How long it may take, if that is limited.
    pub(crate) const fn limit(self) -> Option<Duration> {
        match self {
            Self::Not => Some(Duration::ZERO),
            Self::For(span) => Some(span),
            Self::Forever => None,
        }
    }
}

/// Whether the queue took it.
#[must_use]
pub(crate) fn try_push(ring: &mut IoUring, entry: &squeue::Entry) -> bool {
    // SAFETY: entries are built from requests whose memory is lent until their terminal
    // completion (contract of `Staged::push`), or name memory that the port owns and leaks rather
    // than frees while the kernel has it (I-3).
    unsafe { ring.submission().push(entry) }.is_ok()
}

/// Puts an entry into a queue that is known to have room.
pub(crate) fn push(ring: &mut IoUring, entry: &squeue::Entry) {
    assert!(try_push(ring, entry), "the queue has room");
}

/// Submits what is queued, runs deferred work, and waits as told; how many were submitted.
pub(crate) fn enter(ring: &IoUring, sleep: Sleep) -> sys::Result<u32> {
    let submitter = ring.submitter();
    // SAFETY: no other view of the submission queue exists while we have `&IoUring` alone: the
    // port makes views only through `&mut`, each for one expression (I-3).
    let queued = unsafe { ring.submission_shared() }.len();
    let queued = u32::try_from(queued).expect("a queue has fewer than 2^32 entries");
    // Deferred work runs only in a call that asks for events.
    let mut flags = EnterFlags::GETEVENTS;
    let mut args = SubmitArgs::new();
    let timeout;
    let want = match sleep {
        Sleep::Not => 0,
        Sleep::Forever => 1,
        Sleep::For(span) => {
            timeout = Timespec::from(span);
            args = SubmitArgs::new().timespec(&timeout);
            1
        }
    };
    flags |= EnterFlags::EXT_ARG;
    if want > 0 && ring.params().is_feature_no_iowait() {
        // A worker that waits for clients is idle, not waiting for a disk.
        flags |= EnterFlags::NO_IOWAIT;
    }
    // SAFETY: the arguments and the timeout are on this frame for the length of the call (I-3).
    let entered = unsafe { submitter.enter(queued, want, flags.bits(), Some(&args)) };
    let submitted = entered.map_err(|error| Errno::from(&error))?;
    Ok(u32::try_from(submitted).expect("not more than were queued"))
}
