//! What a supervisor can be asked, and what it answers.

use alloc::{sync::Arc, vec::Vec};

use fiber_core::Id;

use super::{ChildSpec, Restart, StartError};
use crate::{
    inbox::Inbox,
    process::{CallError, Process, Reply},
};

/// So many commands may wait for a supervisor that starts or ends children; further ones are
/// refused, with [`ChildError::Busy`].
pub(super) const COMMANDS_MAX: usize = 1024;

/// What waits to be done by a supervisor.
pub(in crate::process) type Commands = Inbox<Command>;

/// Whatever comes of a command.
pub(super) type Answer<T> = Reply<Result<T, ChildError>>;

pub(in crate::process) enum Command {
    Start(ChildSpec, Answer<Process>),
    Terminate(ChildKey, Answer<()>),
    Restart(ChildKey, Answer<Process>),
    Delete(ChildKey, Answer<()>),
    Which(Answer<Vec<ChildInfo>>),
}

/// Which child is meant: by its name, or by the id of its process.
#[derive(Clone, Debug)]
pub struct ChildKey(pub(super) Key);

#[derive(Clone, Debug)]
pub(super) enum Key {
    Name(Arc<str>),
    Process(Id),
}

impl From<&str> for ChildKey {
    fn from(name: &str) -> Self {
        Self(Key::Name(name.into()))
    }
}

impl From<Id> for ChildKey {
    fn from(process: Id) -> Self {
        Self(Key::Process(process))
    }
}

/// Why a supervisor has not done what it was asked to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It has no such child.
    #[error("the supervisor has no such child")]
    NotFound,
    /// It has a child of this name.
    #[error("the supervisor has a child of this name already: delete it, or use another name")]
    Present,
    /// The child runs.
    #[error("the child runs: terminate it first")]
    Running,
    /// The child was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The supervisor cannot answer.
    #[error("the supervisor cannot answer: {0}")]
    Call(#[from] CallError),
    /// Too many commands wait.
    #[error("the supervisor has {COMMANDS_MAX} commands to do already: try again later")]
    Busy,
}

/// One child.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its process; `None` if it does not run.
    pub process: Option<Process>,
    /// When it is started again.
    pub restart: Restart,
    /// Whether it is a supervisor.
    pub is_supervisor: bool,
}

/// How many children there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildCounts {
    /// Specifications, of those that run and those that do not.
    pub specs: usize,
    /// Those that run.
    pub active: usize,
    /// Specifications of supervisors.
    pub supervisors: usize,
    /// Specifications of others.
    pub workers: usize,
}
