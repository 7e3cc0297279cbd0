//! A wake that is put off until the running fiber is switched out.
//!
//! What a fiber lets go of cannot be taken by another one of its worker before it is switched out.
//! Often it has taken the same thing again by then, and the other one would only run to find that
//! out. So it may owe the wake: if it takes back what it has let go of, the debt is forgiven; else
//! its worker pays as soon as the fiber has come back, however that is. One that stays ready pays
//! before it is queued, so that it lets the other one run first.

use core::{mem, ptr, ptr::NonNull};

use crate::{context::Context, fiber::Header};

/// What has a wake put off.
pub trait Debt: Sync {
    /// Wakes whoever is to be woken. Called on the worker that owes it: must not wait.
    fn pay(&self);
}

/// Whether the calling fiber owes this.
#[inline]
pub fn is_owed(debt: &dyn Debt) -> bool {
    // SAFETY: used within this call (I-11).
    let owed = unsafe { Context::here() }.and_then(|(context, _)| context.owed());
    owed.is_some_and(|owed| ptr::addr_eq(owed.as_ptr(), debt))
}

/// If the calling fiber owes this, it need not be paid: who is to be woken has nothing to wake up
/// for, and is seen to by the caller when it has.
pub fn forgive_debt(debt: &dyn Debt) {
    if !is_owed(debt) {
        return;
    }
    // SAFETY: used within this call (I-11).
    if let Some((context, _)) = unsafe { Context::here() } {
        context.set_owed(None);
    }
}

/// Has the caller's worker pay `debt` once the caller is switched out, if `waiter` is a fiber of
/// that worker too, and the caller owes nothing else; false otherwise.
///
/// # Safety
/// The debt stays in place until `waiter` has run: it waits for that.
pub(super) unsafe fn owe(debt: &dyn Debt, waiter: &Header) -> bool {
    // SAFETY: used within this call (I-11).
    let Some((context, _)) = (unsafe { Context::here() }) else {
        return false;
    };
    if context.owed().is_some() || !waiter.is_at(context) {
        return false;
    }
    let debt = NonNull::from_ref(debt);
    // SAFETY: the lifetime is forgotten, which the caller's promise stands in for: the waiter runs
    // on this worker alone, which pays, or forgives, before it runs anybody else (I-11, I-12).
    let debt = unsafe { mem::transmute::<NonNull<dyn Debt + '_>, NonNull<dyn Debt>>(debt) };
    context.set_owed(Some(debt));
    true
}

impl Context {
    /// Pays what the fiber owes that has just come back, or is about to be queued.
    #[cold]
    pub(crate) fn pay_debt(&self) {
        let Some(debt) = self.owed() else { return };
        self.set_owed(None);
        // SAFETY: nobody else has run here since it was owed, so it is in place (I-11, I-12).
        unsafe { debt.as_ref() }.pay();
    }
}
