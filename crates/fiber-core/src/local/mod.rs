//! Values that belong to a fiber, or to a worker: what thread-locals are to threads.
//!
//! | made by | one value for each | may be | at the end |
//! |---|---|---|---|
//! | [`fiber_local!`](crate::fiber_local) `static` | fiber | anything | dropped on the fiber |
//! | [`fiber_local!`](crate::fiber_local) `inherited static` | fiber, which begins with its spawner's | `Send + Sync` | dropped with its last fiber |
//! | [`worker_local!`](crate::worker_local) | worker | anything | dropped on the worker |
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
/// # fn main() -> Result<(), fiber_sched::RunError> {
/// # let env = fiber_core::script::ScriptEnv::new();
/// fiber_sched::Runtime::builder(env).run(|| {
///     assert_eq!((descend(), descend()), (0, 1));
///     USER.set(Some("anna".into()));
///     let child = fiber_sched::spawn(|| (descend(), USER.with(Option::clone)));
///     assert_eq!(child.join().unwrap(), (0, Some("anna".into())));
/// })
/// # }
/// ```
#[macro_export]
macro_rules! fiber_local {
    () => {};
    ($(#[$meta:meta])* $vis:vis inherited static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$meta])*
        $vis static $name: $crate::local::InheritedLocal<$type> =
            $crate::local::InheritedLocal::new(|| $init);
        $($crate::fiber_local! { $($rest)* })?
    };
    ($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
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
/// # fn main() -> Result<(), fiber_sched::RunError> {
/// # let env = fiber_core::script::ScriptEnv::new();
/// fiber_sched::Runtime::builder(env).run(|| {
///     SERVED.with(|served| served.set(served.get() + 1));
///     let child = fiber_sched::spawn_local(|| SERVED.with(Cell::get));
///     assert_eq!(child.join().unwrap(), 1);
/// })
/// # }
/// ```
#[macro_export]
macro_rules! worker_local {
    () => {};
    ($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$meta])*
        $vis static $name: $crate::local::WorkerLocal<$type> =
            $crate::local::WorkerLocal::new(|| $init);
        $($crate::worker_local! { $($rest)* })?
    };
}
