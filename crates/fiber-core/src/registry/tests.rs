//! The laws of ids, on small spaces.
