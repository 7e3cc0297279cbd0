//! A planted mistake: answering before the store is updated.
//!
//! A simulator that looks for contradicted acknowledgements has to find one that is there. A
//! session made by [`Session::with_planted_mistake`] answers `STORED` to every `set`, and stores
//! only when [`Session::apply_late_updates`] is called, which belongs behind the write of the
//! replies. In between, another client reads the old value, and a crash loses the new one.
//! A session made by [`Session::new`] postpones nothing.

use super::{Limits, Session};
use crate::cache::Cache;
use crate::protocol::StoreVerb;
use crate::store::{Attributes, Change, Terms, Value};
use crate::time::Seconds;

#[derive(Debug)]
pub(crate) struct LateUpdates {
    /// `None` in every session that serves anyone.
    postponed: Option<Vec<LateUpdate>>,
}

#[derive(Debug)]
struct LateUpdate {
    key: Box<[u8]>,
    attributes: Attributes,
    value: Box<[u8]>,
}

impl LateUpdates {
    pub(crate) fn is_empty(&self) -> bool {
        self.postponed.as_ref().is_none_or(Vec::is_empty)
    }

    pub(crate) const fn off() -> Self {
        Self { postponed: None }
    }

    /// Takes the value if storing it is to be postponed, and gives it back otherwise.
    pub(crate) fn postpone<'a>(
        &mut self,
        verb: StoreVerb,
        key: &[u8],
        attributes: Attributes,
        value: Value<'a>,
    ) -> Option<Value<'a>> {
        match &mut self.postponed {
            Some(postponed) if verb == StoreVerb::Set => {
                let value = value.as_bytes().into();
                postponed.push(LateUpdate {
                    key: key.into(),
                    attributes,
                    value,
                });
                None
            }
            _ => Some(value),
        }
    }
}

impl Session {
    /// A session with the planted mistake, for the tests that have to find it.
    #[doc(hidden)]
    #[must_use]
    pub fn with_planted_mistake(limits: Limits) -> Self {
        let late = LateUpdates {
            postponed: Some(Vec::new()),
        };
        Self {
            late,
            ..Self::new(limits)
        }
    }

    /// Stores what was acknowledged too early; does nothing in a session without the mistake.
    #[doc(hidden)]
    pub fn apply_late_updates(&mut self, cache: &Cache, now: Seconds) {
        for update in self
            .late
            .postponed
            .iter_mut()
            .flat_map(|postponed| postponed.drain(..))
        {
            let LateUpdate {
                key,
                attributes,
                value,
            } = update;
            let change = Change {
                verb: StoreVerb::Set,
                attributes,
                value: Value::Borrowed(&value),
                terms: Terms::default(),
            };
            cache.store.store(&key, change, now);
        }
    }
}
