//! What can be chosen about this host.

use std::{env, ffi::OsStr};

use fiber_core::env::EnvError;

use crate::offload::Limits;

/// The environment variable that chooses the driver when the program does not.
pub const IO_VARIABLE: &str = "HOST_LINUX_IO";

/// Which driver stands behind the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Io {
    /// io_uring, or an error that says why it is not to be had.
    Ring,
    /// epoll.
    Poll,
    /// io_uring where it works as we need it, epoll elsewhere.
    Auto,
}

impl Io {
    fn parse(value: Option<&OsStr>) -> Result<Self, EnvError> {
        match value.map(OsStr::as_encoded_bytes) {
            None | Some(b"" | b"auto") => Ok(Self::Auto),
            Some(b"ring") => Ok(Self::Ring),
            Some(b"poll") => Ok(Self::Poll),
            Some(_) => Err(EnvError::new(
                "reading the environment variable HOST_LINUX_IO",
                libc::EINVAL,
                "its value is unknown; set it to ring, poll or auto, or unset it",
            )),
        }
    }
}

/// On which processors workers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Affinity {
    /// On those that the process may use, as the system likes.
    #[default]
    Inherit,
    /// Each on one of those, in order and around again: nobody is moved, and nobody else is kept
    /// away. For machines that do nothing else.
    OnePerProcessor,
}

/// How a [`Linux`](crate::Linux) is set up.
///
/// ```
/// use host_linux::{Config, Io};
/// let config = Config::default().io(Io::Poll).stacks_max(10_000);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Config {
    io: Option<Io>,
    pub(crate) affinity: Affinity,
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) stacks_max: usize,
    pub(crate) guard_pages: usize,
    pub(crate) guards: Guards,
    pub(crate) helpers: Limits,
}

/// How stacks are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guards {
    /// By guards that cost nothing, where the kernel has them.
    Auto,
    /// By mappings of their own, as on kernels before Linux 6.13, and for so many stacks at most.
    Split { stacks_max: usize },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            io: None,
            affinity: Affinity::default(),
            sq_entries: 512,
            cq_entries: 4096,
            stacks_max: usize::MAX,
            guard_pages: 1,
            guards: Guards::Auto,
            helpers: Limits::default(),
        }
    }
}

impl Config {
    /// Chooses the driver; without this the environment variable [`IO_VARIABLE`] does, with the
    /// values `ring`, `poll` and `auto` (the default).
    #[must_use]
    pub fn io(self, io: Io) -> Self {
        Self {
            io: Some(io),
            ..self
        }
    }

    /// On which processors workers run; as the system likes by default.
    #[must_use]
    pub fn affinity(self, affinity: Affinity) -> Self {
        Self { affinity, ..self }
    }

    /// Requests that a ring takes in one system call; 512 by default. More wait for the next one.
    #[must_use]
    pub fn sq_entries(self, sq_entries: u32) -> Self {
        Self { sq_entries, ..self }
    }

    /// Completions that a ring holds; 4096 by default. More wait in the kernel.
    #[must_use]
    pub fn cq_entries(self, cq_entries: u32) -> Self {
        Self { cq_entries, ..self }
    }

    /// How many stacks may be in use at once; as many as the kernel gives by default. Those that
    /// workers keep for their next fibers count: up to 256 of a class on each worker.
    #[must_use]
    pub fn stacks_max(self, stacks_max: usize) -> Self {
        Self { stacks_max, ..self }
    }

    /// Guard pages below each stack; 1 by default. More catch C code that was built without stack
    /// probes and moves past the first page in one step. They come off the stack's size, of which
    /// at least half is left.
    #[must_use]
    pub fn guard_pages(self, guard_pages: usize) -> Self {
        Self {
            guard_pages,
            ..self
        }
    }

    /// Guards stacks as on kernels before Linux 6.13, where each guard takes two mappings of those
    /// that `vm.max_map_count` allows: to see how a program behaves there. At most `stacks_max`
    /// stacks are guarded so in the whole process, and never more than 45 % of that number.
    #[must_use]
    pub fn split_guards(self, stacks_max: usize) -> Self {
        Self {
            guards: Guards::Split { stacks_max },
            ..self
        }
    }

    /// How many helper threads run blocking calls at once; 64 by default. They are started when
    /// they are needed, and end when they were idle for a minute.
    ///
    /// # Panics
    /// When it is 0.
    #[must_use]
    pub fn helpers_max(mut self, threads: usize) -> Self {
        assert!(threads > 0, "somebody has to run blocking calls");
        self.helpers.threads = threads;
        self
    }

    /// How many blocking calls the helpers have taken at once, those that run included; 1024 by
    /// default. Fibers whose calls are above that wait in order.
    ///
    /// # Panics
    /// When it is 0.
    #[must_use]
    pub fn helper_jobs_max(mut self, jobs: usize) -> Self {
        assert!(jobs > 0, "helpers that take no call are of no use");
        self.helpers.queue = jobs;
        self
    }

    /// The driver that was asked for.
    pub(crate) fn wanted(&self) -> Result<Io, EnvError> {
        match self.io {
            Some(io) => Ok(io),
            None => Io::parse(env::var_os(IO_VARIABLE).as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_a_driver() {
        let parse = |text: &str| Io::parse(Some(OsStr::new(text)));
        assert_eq!(parse("ring"), Ok(Io::Ring));
        assert_eq!(parse("poll"), Ok(Io::Poll));
        assert_eq!(parse("auto"), Ok(Io::Auto));
        assert_eq!(Io::parse(None), Ok(Io::Auto));
    }

    #[test]
    fn an_unknown_driver_is_an_error_that_says_what_is_known() {
        let text = Io::parse(Some(OsStr::new("epoll")))
            .unwrap_err()
            .to_string();
        assert!(text.contains("HOST_LINUX_IO"), "{text}");
        assert!(text.contains("ring, poll or auto"), "{text}");
    }

    #[test]
    fn what_the_program_chooses_beats_the_variable() {
        assert_eq!(Config::default().io(Io::Poll).wanted(), Ok(Io::Poll));
    }
}
