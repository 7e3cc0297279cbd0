//! Puts a law onto a host's workers, and a broken law's name into the panic.

extern crate std;

use alloc::{
    string::{String, ToString},
    sync::Arc,
};
use core::{any::Any, cell::Cell, panic::AssertUnwindSafe};
use std::{
    panic::catch_unwind,
    sync::{Mutex, PoisonError},
};

use super::{Config, rig::Rig};
use crate::{
    env::{AfterWork, Env, WorkerId},
    request::RequestKind,
};

/// What connections need.
pub(super) const NETWORK: &[RequestKind] = &[
    RequestKind::Listen,
    RequestKind::Address,
    RequestKind::Accept,
    RequestKind::Connect,
    RequestKind::Recv,
    RequestKind::Send,
    RequestKind::Close,
    RequestKind::Cancel,
];

/// One law on its way through one host.
pub struct Bench<'law> {
    name: &'static str,
    make: &'law dyn Fn() -> Arc<dyn Env>,
    config: Config,
    applied: Cell<bool>,
}

impl<'law> Bench<'law> {
    pub(super) fn new(
        name: &'static str,
        make: &'law dyn Fn() -> Arc<dyn Env>,
        config: Config,
    ) -> Self {
        Self {
            name,
            make,
            config,
            applied: Cell::new(true),
        }
    }

    pub(super) fn applied(&self) -> bool {
        self.applied.get()
    }

    /// Runs `body` on each of `n` workers of a fresh host.
    pub(super) fn workers(&self, n: u16, body: &(dyn Fn(&dyn Env, WorkerId) + Sync)) {
        let env = (self.make)();
        let broken: Mutex<Option<String>> = Mutex::new(None);
        let started = env.run(n, &|worker| {
            // A worker's body must not unwind: what a law has to say is carried out of it.
            let result = catch_unwind(AssertUnwindSafe(|| body(&*env, worker)));
            if let Err(payload) = result {
                let mut broken = broken.lock().unwrap_or_else(PoisonError::into_inner);
                broken.get_or_insert_with(|| message(&*payload));
            }
            AfterWork::Free
        });
        if let Err(error) = started {
            panic!(
                "{}: no workers for `{}`: {error}",
                env.describe(),
                self.name
            );
        }
        let broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = broken {
            panic!(
                "{} breaks the law `{}`: {message}",
                env.describe(),
                self.name
            );
        }
    }

    /// Runs `body` with a port on one worker, if the host offers these kinds of requests.
    pub(super) fn port(&self, kinds: &[&[RequestKind]], body: impl Fn(&mut Rig<'_>) + Sync) {
        self.ports(1, kinds, |rig, _| body(rig));
    }

    /// Runs `body` with a port on each of `n` workers, if the host offers these kinds of requests.
    pub(super) fn ports(
        &self,
        n: u16,
        kinds: &[&[RequestKind]],
        body: impl Fn(&mut Rig<'_>, WorkerId) + Sync,
    ) {
        let caps = *(self.make)().caps();
        if !kinds.iter().copied().flatten().all(|&kind| caps.has(kind)) {
            self.applied.set(false);
            return;
        }
        let listen = self.config.listen;
        self.workers(n, &|env, worker| {
            let mut rig = Rig::new(env, worker, listen);
            body(&mut rig, worker);
            rig.end();
        });
    }
}

impl core::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Bench")
            .field("law", &self.name)
            .finish_non_exhaustive()
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("it panicked without a message"))
}
