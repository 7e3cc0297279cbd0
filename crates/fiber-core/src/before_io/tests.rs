//! The shim over a scripted host.
