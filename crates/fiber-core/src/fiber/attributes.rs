//! What is fixed about a fiber before it starts.

use alloc::{boxed::Box, sync::Arc};
use core::panic::Location;

use super::{bands::Priority, watch::ExitWatcher};
use crate::{env::StackClass, process::Membership};

/// What is fixed about a fiber before it starts.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attributes {
    /// A name for reports.
    pub name: Option<Box<str>>,
    /// How large a stack it gets at its first run.
    pub stack: StackClass,
    /// How urgent it is.
    pub priority: Priority,
    /// Whose it is, where it was admitted; of the runtime's first process if this says nothing.
    pub process: Option<Membership>,
    /// Whether it may borrow from the frame of another fiber of its process, which waits for its
    /// end: then nobody is told of an end by which its own frames stay.
    pub borrows: bool,
    /// Whether it sees to what is left when the run is over: then it is not cancelled for that.
    pub outlives: bool,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// Who is told when it has ended, besides those who wait for it.
    pub watcher: Option<Arc<dyn ExitWatcher>>,
}

impl Attributes {
    /// No name, the default stack, the normal priority.
    pub const fn new(spawned_at: &'static Location<'static>) -> Self {
        Self {
            name: None,
            stack: StackClass::K256,
            priority: Priority::Normal,
            process: None,
            borrows: false,
            outlives: false,
            spawned_at,
            watcher: None,
        }
    }
}
