//! fiber-sync.
