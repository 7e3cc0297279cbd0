//! Making a ring, and what it means when the kernel refuses.

use std::io;

use fiber_core::env::EnvError;
use io_uring::IoUring;

use crate::errno::Errno;

/// Fewer entries than this are not worth a ring.
const SQ_ENTRIES_MIN: u32 = 64;

/// How rings are made in this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSetup {
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    /// Whether the kernel takes queues without an index array (Linux 6.6).
    pub(crate) no_sqarray: bool,
    /// Whether a cancelled receive was seen to leave its byte in place.
    pub(crate) lossless_cancel: bool,
}

/// Why there is no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This kernel, or who runs it, does not offer what we need.
    Unavailable {
        what: &'static str,
        code: i32,
        reason: &'static str,
    },
    /// The process is out of descriptors: another driver would not help.
    Descriptors { code: i32 },
}

impl RingSetup {
    pub(crate) const fn reason(&self) -> &'static str {
        if self.lossless_cancel {
            "io_uring passed its start-up test"
        } else {
            "io_uring works, but a cancel here may lose bytes that have arrived"
        }
    }

    /// Makes a ring of this size, or a smaller one where memory is short.
    pub(crate) fn build(&self) -> io::Result<IoUring> {
        let mut sq_entries = self.sq_entries;
        loop {
            match self.build_sized(sq_entries) {
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOMEM)
                        && sq_entries / 2 >= SQ_ENTRIES_MIN =>
                {
                    sq_entries /= 2;
                }
                result => return result,
            }
        }
    }

    fn build_sized(&self, sq_entries: u32) -> io::Result<IoUring> {
        let cq_entries = if sq_entries < self.sq_entries {
            sq_entries.saturating_mul(2)
        } else {
            self.cq_entries.max(sq_entries)
        };
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(cq_entries)
            .dontfork();
        if self.no_sqarray {
            builder.setup_no_sqarray();
        }
        builder.build(sq_entries)
    }
}

impl Refusal {
    /// What a failed set-up call means.
    pub(crate) fn of_setup(error: &io::Error) -> Self {
        let code = Errno::from(error).0;
        let reason = match code {
            libc::EMFILE | libc::ENFILE => return Self::Descriptors { code },
            libc::ENOSYS => {
                "io_uring_setup is not there: an old kernel, gVisor, or a seccomp filter"
            }
            libc::EPERM | libc::EACCES => {
                "io_uring_setup is forbidden: see the sysctl kernel.io_uring_disabled and the \
                 container's seccomp profile"
            }
            libc::EINVAL => {
                "io_uring lacks SINGLE_ISSUER or DEFER_TASKRUN: Linux 6.1 or later is needed"
            }
            libc::ENOMEM => {
                "io_uring_setup ran out of memory even for a small ring: raise `ulimit -l` or the \
                 memory limit of the control group"
            }
            _ => "io_uring_setup failed in an unexpected way",
        };
        Self::unavailable("io_uring_setup", code, reason)
    }

    pub(crate) const fn unavailable(what: &'static str, code: i32, reason: &'static str) -> Self {
        Self::Unavailable { what, code, reason }
    }

    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { reason, .. } => reason,
            Self::Descriptors { .. } => {
                "the process is out of descriptors: raise `ulimit -n`, or close some"
            }
        }
    }

    pub(crate) const fn error(self) -> EnvError {
        let reason = self.reason();
        match self {
            Self::Unavailable { what, code, .. } => EnvError::new(what, code, reason),
            Self::Descriptors { code } => EnvError::new("io_uring_setup", code, reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: i32) -> Refusal {
        Refusal::of_setup(&io::Error::from_raw_os_error(code))
    }

    #[test]
    fn a_kernel_that_refuses_is_a_reason_to_poll() {
        for code in [
            libc::ENOSYS,
            libc::EPERM,
            libc::EACCES,
            libc::EINVAL,
            libc::ENOMEM,
        ] {
            let refusal = refusal(code);
            assert!(matches!(refusal, Refusal::Unavailable { .. }), "{code}");
            assert_eq!(refusal.error().code, code);
        }
        assert!(refusal(libc::EPERM).reason().contains("io_uring_disabled"));
        assert!(refusal(libc::ENOMEM).reason().contains("ulimit -l"));
    }

    #[test]
    fn a_process_without_descriptors_is_an_error_that_says_what_to_raise() {
        for code in [libc::EMFILE, libc::ENFILE] {
            let refusal = refusal(code);
            assert_eq!(refusal, Refusal::Descriptors { code });
            assert!(refusal.error().to_string().contains("ulimit -n"));
        }
    }
}
