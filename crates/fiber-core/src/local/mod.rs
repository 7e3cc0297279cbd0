//! Values that belong to a fiber, or to a worker: what thread-locals are to threads.
//!
//! | declared as | one value for each | may be | dropped |
//! |---|---|---|---|
//! | [`FiberLocal`] | fiber | anything | at its end, on it |
//! | [`InheritedLocal`] | fiber, which begins with its spawner's | `Send + Sync` | with the last |
//! | [`WorkerLocal`] | worker | anything | at its end, on it |
//!
//! The first two by [`fiber_local!`](crate::fiber_local), the last by
//! [`worker_local!`](crate::worker_local).
//!
//! A thread-local of `std` is shared by all fibers of a worker. A value here is made where it is
//! first used; a fiber that uses none pays for none.

mod inherited;
mod own;
mod table;
mod worker;

pub(crate) use self::{inherited::Inherited, own::Own, worker::Locals};
pub use self::{inherited::InheritedLocal, own::FiberLocal, worker::WorkerLocal};

/// Declares values that each fiber has for itself.
///
/// `static` declares a [`FiberLocal`](crate::local::FiberLocal), `inherited static` an
/// [`InheritedLocal`](crate::local::InheritedLocal), with which a fiber begins with the value of
/// the fiber that has spawned it.
///
/// ```
/// use std::cell::Cell;
/// use fiber_core::fiber_local;
///
/// fiber_local! {
///     /// How deep the calling fiber has descended.
///     static DEPTH: Cell<u32> = Cell::new(0);
///     /// On whose behalf it works.
///     pub inherited static USER: Option<String> = None;
/// }
///
/// fn descend() -> u32 {
///     DEPTH.with(|depth| depth.replace(depth.get() + 1))
/// }
///
/// fn greet(on_another_fiber: impl FnOnce(fn())) {
///     USER.scope(Some("anna".into()), || {
///         on_another_fiber(|| USER.with(|user| println!("hello, {user:?}")));
///     });
/// }
/// # USER.set(Some("program".into()));
/// # assert_eq!(USER.with(Option::clone).as_deref(), Some("program"));
/// # greet(|greeting| greeting());
/// ```
#[macro_export]
macro_rules! fiber_local {
    () => {};
    ($(#[$meta:meta])* $vis:vis inherited static $name:ident: $type:ty = $init:expr
        $(; $($rest:tt)*)?) => {
        $(#[$meta])*
        $vis static $name: $crate::local::InheritedLocal<$type> =
            $crate::local::InheritedLocal::new(|| $init);
        $($crate::fiber_local! { $($rest)* })?
    };
    ($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $init:expr
        $(; $($rest:tt)*)?) => {
        $(#[$meta])*
        $vis static $name: $crate::local::FiberLocal<$type> =
            $crate::local::FiberLocal::new(|| $init);
        $($crate::fiber_local! { $($rest)* })?
    };
}

/// Declares values that the fibers of a worker share: [`WorkerLocal`](crate::local::WorkerLocal)s.
///
/// ```
/// use std::cell::Cell;
/// use fiber_core::worker_local;
///
/// worker_local! {
///     /// Served on this worker.
///     static SERVED: Cell<u64> = Cell::new(0);
/// }
///
/// fn serve() {
///     SERVED.with(|served| served.set(served.get() + 1));
/// }
/// ```
#[macro_export]
macro_rules! worker_local {
    () => {};
    ($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $init:expr
        $(; $($rest:tt)*)?) => {
        $(#[$meta])*
        $vis static $name: $crate::local::WorkerLocal<$type> =
            $crate::local::WorkerLocal::new(|| $init);
        $($crate::worker_local! { $($rest)* })?
    };
}
