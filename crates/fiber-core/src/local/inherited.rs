//! Values with which a fiber begins: those of the fiber that has spawned it.
//!
//! Parent and child share one table until one of them changes its own, so that spawning costs a
//! reference count, and nothing if there is no value.

use alloc::sync::Arc;
use core::{any::Any, cell::Cell};

use super::table::{Key, Table};
use crate::{context::Context, spin::SpinLock};

/// A value that a fiber has from the one that spawned it, until it sets its own; see
/// [`fiber_local!`](crate::fiber_local).
///
/// A child begins with what its parent has at the moment of the spawn. What either sets afterwards
/// the other does not see, unless the value itself is shared, as one in a `Mutex` is.
///
/// Outside of any fiber there is one value for the whole program: what is set there, before
/// `Runtime::run`, the main fibers begin with, and so does what plain threads spawn.
#[derive(Debug)]
pub struct InheritedLocal<T: Send + Sync + 'static> {
    key: Key,
    init: fn() -> T,
}

impl<T: Send + Sync + 'static> InheritedLocal<T> {
    /// What [`fiber_local!`](crate::fiber_local) makes.
    pub const fn new(init: fn() -> T) -> Self {
        Self {
            key: Key::new(),
            init,
        }
    }

    /// Gives the caller's value to `body`, made now if there is none. `body` may suspend, and may
    /// set the value: it keeps the old one as long as it lasts.
    pub fn with<R>(&self, body: impl FnOnce(&T) -> R) -> R {
        let known = with_table(|table| table.as_ref()?.get(&self.key));
        let value: Value = match known {
            Some(value) => value,
            None => self.keep_first(Arc::new((self.init)())),
        };
        let value: Arc<T> = value.downcast().expect("a key has one type");
        body(&value)
    }

    /// Of those that are made at once, outside of any fiber, all users get the first.
    fn keep_first(&self, made: Value) -> Value {
        with_table(|table| {
            let table = Arc::make_mut(table.get_or_insert_with(Arc::default));
            table.get(&self.key).unwrap_or_else(|| {
                table.set(&self.key, Arc::clone(&made));
                Arc::clone(&made)
            })
        })
    }

    /// Sets the caller's value, and that of the fibers that it spawns from now on.
    pub fn set(&self, value: T) {
        self.put(Some(Arc::new(value)));
    }

    /// Takes the caller's value away: the next use, also in the fibers that it spawns from now on,
    /// makes a new one.
    pub fn clear(&self) {
        self.put(None);
    }

    /// Runs `body` with another value, and puts back what was there before, also when it unwinds.
    pub fn scope<R>(&self, value: T, body: impl FnOnce() -> R) -> R {
        let _restore = Restore {
            local: self,
            before: self.put(Some(Arc::new(value))),
        };
        body()
    }

    fn put(&self, value: Option<Value>) -> Option<Value> {
        with_table(|table| match value {
            Some(value) => {
                Arc::make_mut(table.get_or_insert_with(Arc::default)).set(&self.key, value)
            }
            None => Arc::make_mut(table.as_mut()?).remove(&self.key),
        })
    }
}

/// Puts a value back.
struct Restore<'local, T: Send + Sync + 'static> {
    local: &'local InheritedLocal<T>,
    before: Option<Value>,
}

impl<T: Send + Sync + 'static> Drop for Restore<'_, T> {
    fn drop(&mut self) {
        self.local.put(self.before.take());
    }
}

pub(crate) type Value = Arc<dyn Any + Send + Sync>;
pub(crate) type Shared = Option<Arc<Table<Value>>>;

/// What is set outside of any fiber.
static PROGRAM: SpinLock<Shared> = SpinLock::new_static(None);

/// The caller's table. `body` runs nothing of the user's: what it replaces, it returns.
fn with_table<R>(body: impl FnOnce(&mut Shared) -> R) -> R {
    let mut body = Some(body);
    let mut run = |table: &mut Shared| body.take().expect("it is called once")(table);
    let on_fiber = Context::with_current(|_, fiber| {
        let mut table = fiber.inherited().take();
        let result = run(&mut table);
        fiber.inherited().0.set(table);
        result
    });
    on_fiber.unwrap_or_else(|| run(&mut PROGRAM.lock()))
}

/// What a fiber has inherited; changed by its own worker only, once it was launched.
pub(crate) struct Inherited(Cell<Shared>);

impl Inherited {
    /// What a fiber begins with that the caller spawns.
    #[inline]
    pub(crate) fn from_caller() -> Self {
        Self(Cell::new(with_table(|table| table.clone())))
    }

    pub(crate) fn take(&self) -> Shared {
        self.0.take()
    }

    pub(crate) fn is_empty(&self) -> bool {
        let table = self.0.take();
        let is_empty = table.is_none();
        self.0.set(table);
        is_empty
    }
}
