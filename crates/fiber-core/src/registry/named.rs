//! What ids name: descriptors, fibers, processes, objects.

use alloc::{boxed::Box, sync::Arc};
use core::{
    any::Any,
    ptr::{self, NonNull},
};

use crate::{fiber::Header, id::Namespace, process::Record, request::RawDescriptor};

/// What is to be named.
#[derive(Debug)]
pub(crate) struct Named {
    pub(super) namespace: Namespace,
    pub(super) raw: RawDescriptor,
    /// A fiber's header, which outlives the time in which its slot can be entered; or a reference
    /// to a process; or a box of an [`Object`]; or null.
    pub(super) object: *mut (),
}

/// What an id names that is no descriptor of the host and no fiber.
pub type Object = Arc<dyn Any + Send + Sync>;

impl Named {
    /// A descriptor of the host.
    pub(crate) const fn descriptor(namespace: Namespace, raw: RawDescriptor) -> Self {
        Self {
            namespace,
            raw,
            object: ptr::null_mut(),
        }
    }

    pub(crate) const fn fiber(header: NonNull<Header>) -> Self {
        Self {
            namespace: Namespace::FIBER,
            raw: RawDescriptor(0),
            object: header.as_ptr().cast(),
        }
    }

    /// A process, to which the slot holds a reference.
    pub(crate) fn process(process: Arc<Record>) -> Self {
        Self {
            namespace: Namespace::PROCESS,
            raw: RawDescriptor(0),
            object: Arc::into_raw(process).cast_mut().cast(),
        }
    }

    /// What is freed with the slot.
    pub(crate) fn object(namespace: Namespace, object: Object) -> Self {
        let is_object = !namespace.is_descriptor() && namespace.is_counted();
        assert!(is_object, "the slots of these kinds name something else");
        Self {
            namespace,
            raw: RawDescriptor(0),
            object: Box::into_raw(Box::new(object)).cast(),
        }
    }

    /// What another slot had named.
    pub(super) const fn moved(namespace: Namespace, raw: RawDescriptor, object: *mut ()) -> Self {
        Self {
            namespace,
            raw,
            object,
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) const fn raw(&self) -> RawDescriptor {
        self.raw
    }

    /// Frees what was to be named.
    pub(super) fn refuse(self) {
        if let Some(process) = process_of(self.namespace, self.object) {
            // SAFETY: the reference of `process`, which no slot has (I-4).
            drop(unsafe { Arc::from_raw(process.as_ptr()) });
        }
        if let Some(object) = object_of(self.namespace, self.object) {
            // SAFETY: the box of `object`, which no slot has (I-4).
            drop(unsafe { Box::from_raw(object.as_ptr()) });
        }
    }
}

/// The box behind the `object` of a slot, if there is one.
pub(super) fn object_of(namespace: Namespace, object: *mut ()) -> Option<NonNull<Object>> {
    if !namespace.is_counted() {
        return None;
    }
    NonNull::new(object.cast())
}

/// The process behind the `object` of a slot, if there is one; a runtime's first one is none.
pub(super) fn process_of(namespace: Namespace, object: *mut ()) -> Option<NonNull<Record>> {
    if namespace != Namespace::PROCESS {
        return None;
    }
    NonNull::new(object.cast())
}
