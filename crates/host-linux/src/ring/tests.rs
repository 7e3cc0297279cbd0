//! The ring port, driven directly.
