//! The two sides of a channel: counted handles, of which the last one says that it goes.
//!
//! Every channel is made of what both sides share and of handles to that. The handles of all of
//! them are these: an [`End`] of the side that sends ([`Tx`]) or of the one that receives ([`Rx`]).

use alloc::sync::Arc;
use core::ops::Deref;

use fiber_core::operation::{Holder, Resource};

use crate::primitive::{AtomicUsize, Ordering};

/// What both sides of a channel share.
pub(super) trait Channel {
    /// The last sender is gone.
    fn senders_gone(&self);

    /// The last receiver is gone.
    fn receivers_gone(&self);

    /// Whether nothing can be sent any more.
    fn is_closed(&self) -> bool;
}

/// A channel, and how many hold each side of it.
struct Ends<C> {
    channel: C,
    counts: [Handles; 2],
}

/// How many handles one side has: for the other side, what it waits for.
struct Handles(AtomicUsize);

impl Handles {
    /// The first one.
    fn one() -> Self {
        Self(AtomicUsize::new(1))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Resource for Handles {
    fn kind(&self) -> &'static str {
        "the other side of a channel"
    }

    fn holders(&self, _tell: &mut dyn FnMut(Holder)) {}

    /// Without any the channel is about to be closed, which ends the wait.
    fn peers(&self) -> Option<usize> {
        Some(self.count()).filter(|count| *count > 0)
    }
}

const SENDING: usize = 0;
const RECEIVING: usize = 1;

/// A handle of the sending side.
pub(super) type Tx<C> = End<C, SENDING>;
/// A handle of the receiving side.
pub(super) type Rx<C> = End<C, RECEIVING>;

/// A counted handle of one side.
pub(super) struct End<C: Channel, const SIDE: usize>(Arc<Ends<C>>);

/// The first handle of each side.
pub(super) fn open<C: Channel>(channel: C) -> (Tx<C>, Rx<C>) {
    let ends = Arc::new(Ends {
        channel,
        counts: [Handles::one(), Handles::one()],
    });
    (End(Arc::clone(&ends)), End(ends))
}

impl<C: Channel, const SIDE: usize> End<C, SIDE> {
    /// One more handle of a side, which may have had none.
    fn another<const OF: usize>(&self) -> End<C, OF> {
        // As many as there are references, of which `Arc` does not allow too many.
        self.0.counts[OF].0.fetch_add(1, Ordering::Relaxed);
        End(Arc::clone(&self.0))
    }

    /// How many handles the sending side has.
    pub(super) fn senders(&self) -> usize {
        self.0.counts[SENDING].count()
    }

    /// How many handles the receiving side has.
    pub(super) fn receivers(&self) -> usize {
        self.0.counts[RECEIVING].count()
    }

    /// The other side, as something to wait for.
    pub(super) fn peers(&self) -> &dyn Resource {
        match SIDE {
            SENDING => &self.0.counts[RECEIVING],
            _ => &self.0.counts[SENDING],
        }
    }

    /// Whether both are of one channel.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<C: Channel> Tx<C> {
    /// A handle of the other side, for channels whose receivers come and go.
    pub(super) fn subscribe(&self) -> Rx<C> {
        self.another()
    }
}

impl<C: Channel, const SIDE: usize> Deref for End<C, SIDE> {
    type Target = C;

    #[inline]
    fn deref(&self) -> &C {
        &self.0.channel
    }
}

impl<C: Channel, const SIDE: usize> Clone for End<C, SIDE> {
    fn clone(&self) -> Self {
        self.another()
    }
}

impl<C: Channel, const SIDE: usize> Drop for End<C, SIDE> {
    fn drop(&mut self) {
        // What the others have done comes before the end, which is announced under a lock.
        if self.0.counts[SIDE].0.fetch_sub(1, Ordering::AcqRel) == 1 {
            match SIDE {
                SENDING => self.senders_gone(),
                _ => self.receivers_gone(),
            }
        }
    }
}

/// What every handle of every channel says of itself; its end is the field `end`.
macro_rules! handle {
    ($name:ident) => {
        impl<T> core::panic::UnwindSafe for $name<T> {}
        impl<T> core::panic::RefUnwindSafe for $name<T> {}

        impl<T> $name<T> {
            /// How many senders there are at this moment.
            pub fn sender_count(&self) -> usize {
                self.end.senders()
            }

            /// How many receivers there are at this moment.
            pub fn receiver_count(&self) -> usize {
                self.end.receivers()
            }

            /// Whether nothing can be sent any more; what was sent before can still be received.
            pub fn is_closed(&self) -> bool {
                use crate::channel::ends::Channel as _;
                self.end.is_closed()
            }

            /// Whether both belong to the same channel.
            pub fn same_channel(&self, other: &Self) -> bool {
                self.end.is_same(&other.end)
            }
        }

        impl<T> core::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("senders", &self.sender_count())
                    .field("receivers", &self.receiver_count())
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(super) use handle;
