//! How a run ended, and how to see it again.

use core::{fmt, time::Duration};

use crate::{journal::JournalHash, token::Token};

/// How a run ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Why it ended.
    pub verdict: Verdict,
    /// Everything that happened, as one number.
    pub hash: JournalHash,
    /// How much virtual time passed.
    pub virtual_time: Duration,
    /// How many draws were made.
    pub choices: u64,
    /// How many turns were taken.
    pub steps: u64,
    /// What was left behind, never to be resumed.
    pub abandoned: Abandoned,
    /// The faults that happened, in order, as text.
    pub faults: Vec<String>,
    /// What replays this run.
    pub token: Token,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The awaited node's boot closure returned; without one, that of every node which is not down
    /// for good.
    Finished,
    /// Nothing can ever happen again, and not everybody has finished. With who waits for what.
    Stalled(String),
    /// The limit of virtual time was reached. With who waits for what.
    TimedOut(String),
    /// The limit of steps was reached: most likely something runs in circles.
    StepLimit,
    /// A panic left a node's boot closure, one of its workers, or a helper job.
    Panicked {
        /// On which node.
        node: String,
        /// The panic's message.
        message: String,
    },
    /// No stack could be had for a virtual thread.
    OutOfStacks(String),
}

/// What a run has left behind: leaked on purpose, because it was stopped and not unwound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abandoned {
    /// Nodes whose power was cut, counted by cut.
    pub nodes: u64,
    /// Virtual threads that were cut off, also those that still ran at the end.
    pub threads: u64,
    /// Fiber stacks of theirs, and of fibers that were abandoned with their processes.
    pub fiber_stacks: u64,
}

impl Outcome {
    /// Whether the run came to its natural end.
    pub fn is_finished(&self) -> bool {
        self.verdict == Verdict::Finished
    }

    /// Panics with a report and the replay token unless the run came to its natural end.
    ///
    /// # Panics
    /// When the verdict is anything but [`Verdict::Finished`].
    #[track_caller]
    pub fn expect_finished(self) -> Self {
        assert!(self.is_finished(), "{self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.verdict)?;
        writeln!(
            f,
            "  virtual time {:?}, {} steps, {} choices, journal {}",
            self.virtual_time, self.steps, self.choices, self.hash
        )?;
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        write!(f, "  token {}", self.token)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Stalled(report) => {
                write!(f, "stalled: nothing can ever happen again\n{report}")
            }
            Self::TimedOut(report) => {
                write!(f, "the limit of virtual time was reached\n{report}")
            }
            Self::StepLimit => f.write_str(
                "the limit of steps was reached: something runs in circles, or raise the limit",
            ),
            Self::Panicked { node, message } => write!(f, "panic on node {node}: {message}"),
            Self::OutOfStacks(error) => write!(f, "no stack for a virtual thread: {error}"),
        }
    }
}
