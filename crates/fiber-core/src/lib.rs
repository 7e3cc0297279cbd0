//! fiber-core.
