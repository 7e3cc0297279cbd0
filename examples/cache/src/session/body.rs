//! A data block that is too long for the input buffer, on its way into the store.

use super::storing::{Answer, Incoming};
use crate::protocol::{Reply, StoreVerb};
use crate::store::{Attributes, Terms, Value};

/// The first step of the allocation; each further one doubles it.
const FIRST_STEP_BYTES: usize = 16 << 10;

/// Below this many missing bytes, reading them through the input buffer costs less than a read
/// of their own, because the next commands come with them.
const DIRECT_BYTES_MIN: usize = 4 << 10;

/// A value in an allocation of its own, which becomes the item's; the key is in front of it.
///
/// The allocation grows with the bytes that have arrived, up to the announced length: announcing
/// much costs nothing.
#[derive(Debug)]
pub(crate) struct Body {
    verb: StoreVerb,
    attributes: Attributes,
    terms: Terms,
    answer: KeptAnswer,
    key_bytes: usize,
    block: Vec<u8>,
    received: usize,
    announced: usize,
}

/// An [`Answer`] that outlives its line.
#[derive(Debug)]
enum KeptAnswer {
    Classic(Reply),
    Meta { text: Box<[u8]>, quiet: bool },
}

impl Body {
    pub(crate) fn new(incoming: &Incoming<'_>) -> Self {
        let key_bytes = incoming.key.len();
        Self {
            verb: incoming.verb,
            attributes: incoming.attributes,
            terms: incoming.terms,
            answer: match incoming.answer {
                Answer::Classic(reply) => KeptAnswer::Classic(reply),
                Answer::Meta { text, quiet } => KeptAnswer::Meta {
                    text: text.into(),
                    quiet,
                },
            },
            key_bytes,
            block: incoming.key.to_vec(),
            received: key_bytes,
            announced: key_bytes + incoming.value_bytes,
        }
    }

    pub(crate) const fn missing(&self) -> usize {
        self.announced - self.received
    }

    pub(crate) const fn wants_direct_reads(&self) -> bool {
        self.missing() >= DIRECT_BYTES_MIN
    }

    /// Room for the next bytes of the value; empty when none are missing.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.received == self.block.len() {
            let step = (self.received * 2)
                .max(FIRST_STEP_BYTES)
                .min(self.announced);
            self.block.reserve_exact(step - self.received);
            self.block.resize(step, 0);
        }
        &mut self.block[self.received..]
    }

    /// Takes `bytes` that were written to the front of the space.
    pub(crate) fn filled(&mut self, bytes: usize) {
        assert!(
            bytes <= self.block.len() - self.received,
            "more was filled than there was space"
        );
        self.received += bytes;
    }

    /// Copies as much as is missing from `buffered`, and returns how much that was.
    pub(crate) fn take_from(&mut self, buffered: &[u8]) -> usize {
        let mut taken = 0;
        while taken < buffered.len() && self.missing() > 0 {
            let space = self.space();
            let bytes = space.len().min(buffered.len() - taken);
            space[..bytes].copy_from_slice(&buffered[taken..taken + bytes]);
            self.filled(bytes);
            taken += bytes;
        }
        taken
    }

    /// What was announced, as if its line were still there.
    pub(crate) fn incoming(&self) -> Incoming<'_> {
        Incoming {
            verb: self.verb,
            key: &self.block[..self.key_bytes],
            attributes: self.attributes,
            terms: self.terms,
            value_bytes: self.announced - self.key_bytes,
            answer: match &self.answer {
                KeptAnswer::Classic(reply) => Answer::Classic(*reply),
                KeptAnswer::Meta { text, quiet } => Answer::Meta {
                    text,
                    quiet: *quiet,
                },
            },
        }
    }

    /// Takes the whole value out; its allocation has exactly the length of it and the key.
    pub(crate) fn take_value(&mut self) -> Value<'static> {
        assert_eq!(self.missing(), 0, "only a complete value may be stored");
        let block = core::mem::take(&mut self.block);
        // The key is still needed for the answer.
        self.block = block[..self.key_bytes].to_vec();
        Value::Owned {
            block: block.into_boxed_slice(),
            key_bytes: self.key_bytes,
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.block.capacity()
    }
}
