//! Randomness comes from the host.

/// A source of random bytes.
pub trait Entropy {
    /// Fills `bytes`. Production hosts answer with bytes fit for keys; a simulator with bytes that
    /// depend only on its seed (I-6).
    ///
    /// *Cost*: possibly a system call; nothing on a hot path asks.
    fn fill(&self, bytes: &mut [u8]);
}
