//! A worker's values.

use alloc::rc::Rc;
use core::{any::Any, cell::RefCell};

use super::table::{Key, Table};
use crate::context::Context;

/// A value that the fibers of a worker share; see [`worker_local!`](crate::worker_local).
///
/// Its fibers run one at a time and never change their thread (I-11), so it may be anything, and
/// needs no lock. It differs from `std::thread_local!` in that it belongs to one run of one
/// runtime: it is dropped when its worker ends, on the worker's thread, where nothing can suspend.
/// A destructor may make other values, which are then dropped in turn; after four such rounds what
/// is left is leaked.
#[derive(Debug)]
pub struct WorkerLocal<T: 'static> {
    key: Key,
    init: fn() -> T,
}

impl<T: 'static> WorkerLocal<T> {
    /// What [`worker_local!`](crate::worker_local) makes.
    pub const fn new(init: fn() -> T) -> Self {
        Self {
            key: Key::new(),
            init,
        }
    }

    /// Gives the value of the calling fiber's worker to `body`, made now if there is none. While
    /// `body` suspends others may use it. Of those that are made at once, where making one
    /// suspends, all users get the first.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn with<R>(&self, body: impl FnOnce(&T) -> R) -> R {
        let values = |change: &mut dyn FnMut(&mut Values)| {
            Context::with(|context| match context {
                Some(context) => change(&mut context.locals().0.borrow_mut()),
                None => panic!("a worker-local value needs a worker: use it in `Runtime::run`"),
            });
        };
        let mut known = None;
        values(&mut |values| known = values.get(&self.key));
        let value = match known {
            Some(value) => value.downcast().expect("a key has one type"),
            None => {
                let made = Rc::new((self.init)());
                let mut first = None;
                values(&mut |values| {
                    first = values.get(&self.key);
                    if first.is_none() {
                        values.set(&self.key, Rc::clone(&made) as _);
                    }
                });
                first.map_or(made, |first| first.downcast().expect("a key has one type"))
            }
        };
        body(&value)
    }
}

type Values = Table<Rc<dyn Any>>;

/// The values of one worker.
pub(crate) struct Locals(RefCell<Values>);

impl Locals {
    pub(crate) const fn new() -> Self {
        Self(RefCell::new(Table::new()))
    }

    /// All of them, newest first, to be dropped one by one.
    pub(crate) fn take(&self) -> impl Iterator<Item = Rc<dyn Any>> + use<> {
        self.0.replace(Table::new()).into_values()
    }
}
