//! What guards have in common: they give the value of the lock that they hold.

/// `Deref`, `Debug` and `Display` of a guard whose field `lock` leads to what it holds.
macro_rules! shows_value {
    ($guard:ty) => {
        impl<T: ?Sized> core::ops::Deref for $guard {
            type Target = T;

            fn deref(&self) -> &T {
                // SAFETY: the guard exists only while its holder has the lock (I-12).
                unsafe { &*self.lock.value.get() }
            }
        }

        impl<T: ?Sized + core::fmt::Debug> core::fmt::Debug for $guard {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Debug::fmt(&**self, f)
            }
        }

        impl<T: ?Sized + core::fmt::Display> core::fmt::Display for $guard {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&**self, f)
            }
        }
    };
}

/// [`shows_value`], and `DerefMut`.
macro_rules! changes_value {
    ($guard:ty) => {
        $crate::guard::shows_value!($guard);

        impl<T: ?Sized> core::ops::DerefMut for $guard {
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: the guard exists only while its holder alone has the lock, and `&mut
                // self` makes this the only reference through it (I-12).
                unsafe { &mut *self.lock.value.get() }
            }
        }
    };
}

pub(crate) use changes_value;
pub(crate) use shows_value;
