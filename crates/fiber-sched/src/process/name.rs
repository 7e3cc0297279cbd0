//! Names under which processes are found, one table for each runtime.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};

use fiber_core::{Id, spin::SpinLock};

use super::Process;
use crate::{runtime::Runtime, shared::Shared};

/// The names of one runtime. Bound: one for each of its processes.
#[derive(Debug, Default)]
pub(crate) struct Names(SpinLock<BTreeMap<Arc<str>, Process>>);

/// Why a process was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Another one has the name.
    #[error("the name is taken, by {by}")]
    Taken {
        /// By this one.
        by: Id,
    },
    /// It has a name already, under which it is found.
    #[error("the process is registered under another name: unregister it first")]
    Named,
    /// It has ended.
    #[error("the process has ended")]
    Ended,
}

/// Enters `process` in its runtime's table, to be found with [`whereis`]. It leaves the table when
/// it has ended, before anybody is told of that; a supervisor's next one can take the name then.
///
/// Other than the names that processes are built with, which are for reports, these are unique.
///
/// # Errors
/// When the name is taken, the process has one, or has ended.
pub fn register(name: &str, process: &Process) -> Result<(), NameError> {
    let life = process.life();
    let name: Arc<str> = name.into();
    let mut names = life.shared.names.0.lock();
    if let Some(by) = names.get(&name) {
        return Err(NameError::Taken { by: by.id() });
    }
    // Whoever ends it writes its exit and then asks for this lock.
    if life.exit.lock().is_some() {
        return Err(NameError::Ended);
    }
    life.with_rare(|rare| match &mut rare.registered {
        Some(_) => Err(NameError::Named),
        none => {
            *none = Some(Arc::clone(&name));
            Ok(())
        }
    })?;
    names.insert(name, process.clone());
    Ok(())
}

/// Takes `process` out of the table; gives the name that it had.
pub fn unregister(process: &Process) -> Option<Box<str>> {
    let life = process.life();
    let (name, entry) = {
        let mut names = life.shared.names.0.lock();
        let name = life.rare(|rare| rare.registered.take())?;
        let entry = names.remove(&name);
        (name, entry)
    };
    drop(entry);
    Some((&*name).into())
}

/// The process that is registered under this name in the caller's runtime. Outside of a runtime
/// there is none; see [`Runtime::whereis`].
pub fn whereis(name: &str) -> Option<Process> {
    Runtime::current()?.whereis(name)
}

impl Shared {
    pub(crate) fn whereis(&self, name: &str) -> Option<Process> {
        self.names.0.lock().get(name).cloned()
    }
}
