//! The bytes of a connection that have arrived and are not understood yet.
//!
//! ```text
//!         start          end                capacity
//! ┌─────────┬─────────────┬───────────────────┐
//! │ consumed│  buffered   │  space, read into │     begins small, grows when a read fills it
//! └─────────┴─────────────┴───────────────────┘
//! ```
//!
//! The buffer of an idle connection is what the connection costs, so it begins small. A read
//! that fills the space doubles it, up to a working size; what exceeds the working size, for a
//! long list of keys, is given back when the buffer has been emptied.

/// What a new connection gets.
const BYTES_MIN: usize = 2 << 10;
/// What a busy connection grows to by itself.
const BYTES_WORKING: usize = 16 << 10;

#[derive(Debug)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the last read left no space, so that more was waiting, probably.
    was_filled: bool,
}

impl Input {
    pub(crate) const fn new() -> Self {
        // The first read brings the memory: a connection that says nothing needs none before.
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            was_filled: false,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Room for at least one more byte; the session asks only when it needs more than it has.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > BYTES_WORKING {
                self.buffer.truncate(BYTES_WORKING);
                self.buffer.shrink_to_fit();
            }
        }
        let capacity = self.buffer.len();
        if self.was_filled && capacity < BYTES_WORKING {
            self.grow();
        } else if self.end == capacity {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.grow();
            }
        }
        self.was_filled = false;
        &mut self.buffer[self.end..]
    }

    /// Takes `bytes` that were written to the front of the space.
    pub(crate) fn filled(&mut self, bytes: usize) {
        assert!(
            bytes <= self.buffer.len() - self.end,
            "more bytes were filled than there was space"
        );
        self.end += bytes;
        self.was_filled = self.end == self.buffer.len();
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        assert!(
            bytes <= self.end - self.start,
            "more bytes were consumed than were buffered"
        );
        self.start += bytes;
    }

    /// Gives the memory back if nothing is buffered.
    pub(crate) fn release(&mut self) {
        if self.start == self.end {
            *self = Self::new();
        }
    }

    fn grow(&mut self) {
        let capacity = (self.buffer.len() * 2).max(BYTES_MIN);
        self.buffer.reserve_exact(capacity - self.buffer.len());
        self.buffer.resize(capacity, 0);
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_never_empty_and_keeps_what_is_buffered() {
        let mut input = Input::new();
        let mut given = 0_u32;
        let mut expected = Vec::new();
        // Three bytes in, two out: everything moves through every position of the buffer.
        for _ in 0..10_000 {
            let space = input.space();
            let bytes = space.len().min(3);
            assert!(bytes > 0);
            for slot in &mut space[..bytes] {
                *slot = given.to_le_bytes()[0];
                expected.push(*slot);
                given += 1;
            }
            input.filled(bytes);
            let consumed = input.bytes().len().min(2);
            assert_eq!(input.bytes(), expected);
            input.consume(consumed);
            expected.drain(..consumed);
        }
    }

    #[test]
    fn only_reads_that_fill_the_space_make_it_grow() {
        let mut input = Input::new();
        for _ in 0..100 {
            let bytes = input.space().len() - 1;
            input.filled(bytes);
            input.consume(bytes);
        }
        assert_eq!(input.capacity(), BYTES_MIN);
        for expected in [4 << 10, 8 << 10, 16 << 10, 16 << 10] {
            let bytes = input.space().len();
            input.filled(bytes);
            input.consume(bytes);
            input.space();
            assert_eq!(input.capacity(), expected);
            let bytes = input.space().len() - 1;
            input.filled(bytes);
            input.consume(bytes);
        }
    }

    #[test]
    fn only_an_empty_buffer_is_released() {
        let mut input = Input::new();
        input.space()[..2].copy_from_slice(b"ab");
        input.filled(2);
        input.release();
        assert_eq!(input.bytes(), b"ab");
        input.consume(2);
        input.release();
        assert_eq!(input.capacity(), 0);
        assert!(!input.space().is_empty());
    }

    #[test]
    fn a_large_buffer_is_given_back_when_it_is_empty() {
        let mut input = Input::new();
        while input.bytes().len() < 60_000 {
            let bytes = input.space().len();
            input.filled(bytes);
        }
        assert!(input.capacity() > BYTES_WORKING);
        let buffered = input.bytes().len();
        input.consume(buffered);
        input.space();
        assert_eq!(input.capacity(), BYTES_WORKING);
    }
}
