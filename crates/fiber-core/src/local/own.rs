//! A fiber's own values.

use alloc::{boxed::Box, rc::Rc};
use core::{any::Any, cell::Cell, mem};

use super::table::{Key, Table};
use crate::{context::Context, fiber::Header, park::Masked};

/// How often the destructors of a fiber's values may set others.
const ROUNDS: usize = 4;

/// A value that each fiber has for itself; see [`fiber_local!`](crate::fiber_local).
///
/// Unlike `std::thread::LocalKey` it is dropped on its fiber, so that its destructor may wait for a
/// lock or send what is left: when the fiber has ended, masked, newest first. A destructor may set
/// other values, which are then dropped in turn; after four such rounds what is left is leaked, and
/// that is logged. A fiber ends when they have.
///
/// It lives as long as its fiber, which never changes its thread (I-11), so it may be anything.
#[derive(Debug)]
pub struct FiberLocal<T: 'static> {
    key: Key,
    init: fn() -> T,
}

impl<T: 'static> FiberLocal<T> {
    /// What [`fiber_local!`](crate::fiber_local) makes.
    pub const fn new(init: fn() -> T) -> Self {
        Self {
            key: Key::new(),
            init,
        }
    }

    /// Gives the calling fiber's value to `body`, made now if there is none. `body` may suspend,
    /// and may set the value: it keeps the old one as long as it lasts.
    ///
    /// # Panics
    /// Outside of a fiber; plain threads have `std::thread_local!`.
    pub fn with<R>(&self, body: impl FnOnce(&T) -> R) -> R {
        let known = on_fiber(|own| own.peek(|table| table.get(&self.key)));
        let value = match known {
            Some(value) => value.downcast().expect("a key has one type"),
            None => {
                let value = Rc::new((self.init)());
                self.put(Some(Rc::clone(&value)));
                value
            }
        };
        body(&value)
    }

    /// Sets the calling fiber's value.
    ///
    /// # Panics
    /// Outside of a fiber.
    pub fn set(&self, value: T) {
        self.put(Some(Rc::new(value)));
    }

    /// Takes the calling fiber's value away; `None` if there was none. The next use makes a new
    /// one.
    ///
    /// # Panics
    /// Outside of a fiber, and while [`FiberLocal::with`] has lent the value out.
    pub fn take(&self) -> Option<T> {
        let value = on_fiber(|own| own.change(|table| table.remove(&self.key)))?;
        let value = value.downcast().expect("a key has one type");
        match Rc::try_unwrap(value) {
            Ok(value) => Some(value),
            Err(lent) => {
                self.put(Some(lent));
                panic!("a fiber-local value was taken while `with` has lent it out");
            }
        }
    }

    fn put(&self, value: Option<Rc<T>>) {
        // Dropped here: it is the user's code, and may use other keys.
        let _before = on_fiber(|own| {
            own.change(|table| match value {
                Some(value) => table.set(&self.key, value),
                None => table.remove(&self.key),
            })
        });
    }
}

fn on_fiber<R>(body: impl FnOnce(&Own) -> R) -> R {
    Context::with_fiber("a fiber-local value", |_, fiber| body(fiber.own()))
}

type Values = Table<Rc<dyn Any>>;

/// A fiber's values; nothing until one is set.
pub(crate) struct Own(Cell<Option<Box<Values>>>);

impl Own {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.peek(|_| Some(())).is_none()
    }

    fn peek<R>(&self, body: impl FnOnce(&Values) -> Option<R>) -> Option<R> {
        let values = self.0.take()?;
        let result = body(&values);
        self.0.set(Some(values));
        result
    }

    fn change<R>(&self, body: impl FnOnce(&mut Values) -> R) -> R {
        let mut values = self.0.take().unwrap_or_else(|| Box::new(Table::new()));
        let result = body(&mut values);
        self.0.set(Some(values));
        result
    }
}

impl Header {
    /// Its own values. Of one that has started.
    fn own(&self) -> &Own {
        self.started_part().own()
    }

    /// Whether it has values, of its own or inherited.
    pub(crate) fn has_values(&self) -> bool {
        !(self.own().is_empty() && self.inherited().is_empty())
    }

    /// The fiber has ended: drops its values, on the fiber. What each of them does is caught by
    /// `clean_up`. None is left after that, as the block may be freed by another thread (I-11).
    pub(crate) fn drop_locals(&self, clean_up: impl Fn(&mut dyn FnMut())) {
        if !self.has_values() {
            return;
        }
        let _masked = Masked::new(self);
        // The destructors of those that were inherited may set others, too.
        for _ in 0..2 {
            self.drop_own(&clean_up);
            let mut inherited = self.inherited().take();
            clean_up(&mut || drop(inherited.take()));
        }
        mem::forget((self.own().0.take(), self.inherited().take()));
    }

    fn drop_own(&self, clean_up: impl Fn(&mut dyn FnMut())) {
        for _ in 0..ROUNDS {
            let Some(values) = self.own().0.take() else {
                return;
            };
            for value in values.into_values() {
                let mut value = Some(value);
                clean_up(&mut || drop(value.take()));
            }
        }
        let Some(values) = self.own().peek(|values| Some(values.len())) else {
            return;
        };
        clean_up(&mut || {
            tracing::warn!(
                target: "fiber::core", fiber = %self.handle(), values,
                "fiber-local values are leaked: their destructors set new ones without end"
            );
        });
        // Those included that whoever was told has set.
        mem::forget(self.own().0.take());
    }
}
