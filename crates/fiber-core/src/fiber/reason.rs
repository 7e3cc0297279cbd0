//! Why a fiber is asked to unwind, and who asks.

use alloc::{string::String, sync::Arc};
use core::fmt;

use crate::{context::Context, id::Id};

/// Why a fiber was cancelled: a message, if there was one, and the fiber that asked.
///
/// It travels: whoever cancels gives it, the cancelled fiber may read it with
/// [`cancel_reason`](crate::cancel::cancel_reason), and who joins gets it in
/// [`ExitReason::Cancelled`](super::ExitReason::Cancelled). The first who asks says why; later ones
/// change nothing.
///
/// ```
/// use fiber_core::fiber::Reason;
///
/// assert_eq!(Reason::from("the peer is gone").message(), Some("the peer is gone"));
/// assert_eq!(Reason::default().to_string(), "no reason was given");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    message: Message,
    by: Option<Id>,
}

/// Words that cost no memory, or shared ones.
#[derive(Clone, Debug, Default)]
enum Message {
    #[default]
    None,
    Static(&'static str),
    Shared(Arc<str>),
}

impl Reason {
    /// This message, without an allocation.
    pub const fn new(message: &'static str) -> Self {
        Self {
            message: Message::Static(message),
            by: None,
        }
    }

    /// Why; `None` if whoever asked did not say.
    pub fn message(&self) -> Option<&str> {
        self.message.words()
    }

    /// The fiber that asked; `None` if it was a plain thread or the runtime.
    pub const fn by(&self) -> Option<Id> {
        self.by
    }

    /// Notes the calling fiber as the one that asks, unless another is noted.
    pub(super) fn by_caller(self) -> Self {
        let by = self.by.or_else(|| {
            let caller = Context::with_current(|_, fiber| fiber.id());
            caller.flatten()
        });
        Self { by, ..self }
    }
}

impl Message {
    fn words(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Static(message) => Some(message),
            Self::Shared(message) => Some(message),
        }
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

impl Eq for Message {}

impl From<&'static str> for Reason {
    fn from(message: &'static str) -> Self {
        Self::new(message)
    }
}

impl From<Arc<str>> for Reason {
    fn from(message: Arc<str>) -> Self {
        Self {
            message: Message::Shared(message),
            by: None,
        }
    }
}

impl From<String> for Reason {
    fn from(message: String) -> Self {
        Self::from(Arc::<str>::from(message))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message().unwrap_or("no reason was given"))?;
        match self.by {
            Some(by) => write!(f, " (asked by fiber {by})"),
            None => Ok(()),
        }
    }
}
