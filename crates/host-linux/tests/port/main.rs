//! The ports of this host, driven by hand, on both drivers: what the general laws leave open.

mod behaviour;
mod rig;
mod steady_state;
