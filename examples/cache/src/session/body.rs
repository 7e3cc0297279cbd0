//! A data block that is too long for the input buffer, on its way into the store.

use crate::protocol::{Header, Reply, StoreVerb};
use crate::store::Attributes;

/// The first step of the allocation; each further one doubles it.
const FIRST_STEP_BYTES: usize = 16 << 10;

/// Below this many missing bytes, reading them through the input buffer costs less than a read
/// of their own, because the next commands come with them.
const DIRECT_BYTES_MIN: usize = 4 << 10;

/// A value in an allocation of its own, which becomes the item's.
///
/// The allocation grows with the bytes that have arrived, up to the announced length: announcing
/// much costs nothing.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) verb: StoreVerb,
    pub(crate) key: Box<[u8]>,
    pub(crate) attributes: Attributes,
    pub(crate) reply: Reply,
    value: Vec<u8>,
    received: usize,
    announced: usize,
}

impl Body {
    pub(crate) fn new(header: &Header<'_>, attributes: Attributes) -> Self {
        let Header {
            verb,
            key,
            reply,
            value_bytes,
            ..
        } = *header;
        Self {
            verb,
            key: key.into(),
            attributes,
            reply,
            value: Vec::new(),
            received: 0,
            announced: value_bytes,
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
        if self.received == self.value.len() {
            let step = (self.received * 2)
                .max(FIRST_STEP_BYTES)
                .min(self.announced);
            self.value.reserve_exact(step - self.received);
            self.value.resize(step, 0);
        }
        &mut self.value[self.received..]
    }

    /// Takes `bytes` that were written to the front of the space.
    pub(crate) fn filled(&mut self, bytes: usize) {
        assert!(
            bytes <= self.value.len() - self.received,
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

    /// The whole value; its allocation has exactly its length.
    pub(crate) fn into_value(self) -> (Box<[u8]>, Box<[u8]>) {
        assert_eq!(self.missing(), 0, "only a complete value may be stored");
        (self.key, self.value.into_boxed_slice())
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.value.capacity()
    }
}
