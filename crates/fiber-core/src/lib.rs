//! Fibers, operations, ids and the injected world.
//!
//! The core knows no operating system (I-1). It reaches the world through [`env::Env`] and is
//! driven by a scheduler through [`Context`]. Read in this order:
//!
//! 1. [`env`]: what a host does for us; [`request`]: what it is asked, as data.
//! 2. [`id`] and [`registry`]: the only names of resources.
#![no_std]

extern crate alloc;

pub mod env;
pub mod error;
pub mod id;
mod primitive;
pub mod registry;
pub mod request;
pub mod spin;

pub use crate::{
    error::{IoError, IoErrorKind, Stale, StaleReason},
    id::{Id, Namespace},
};
