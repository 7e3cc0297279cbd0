//! The conformance kit: what every host must do, law by law.
//!
//! A host runs all of it from a test file of its own; nextest lists each law by name:
//!
//! ```ignore
//! fiber_core::laws_tests!(|| MyHost::new());
//! ```
//!
//! A law opens ports on the host's own workers and drives them by hand. Laws about requests that
//! the host does not offer ([`Caps`](crate::env::Caps)) pass without a word; [`check`] tells which
//! these were. Everything is bounded: in time by the host's clock, in traffic by some megabytes,
//! and in place by [`Config::listen`].
//!
//! Where to read: `world` (clocks, stacks, threads, unwinding), `turns` (waits and wakes),
//! `connections` and `transfers` (the requests), `cancels`, `tokens` (completions as such),
//! `signals`.
//! `rig` is what drives a port, and checks on the way what each law takes for granted.

extern crate std;

mod bench;
mod cancels;
mod connections;
mod memory;
mod rig;
mod signals;
#[cfg(test)]
mod tests;
mod tokens;
mod transfers;
mod turns;
mod world;

use alloc::{sync::Arc, vec::Vec};
use core::net::SocketAddr;

pub use self::bench::Bench;
use crate::env::Env;

/// Where the laws may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where laws listen, and under which address they connect; port 0, and an address that
    /// belongs to the host.
    pub listen: SocketAddr,
}

impl Config {
    /// The laws act at this address.
    pub const fn new(listen: SocketAddr) -> Self {
        Self { listen }
    }
}

impl Default for Config {
    /// IPv4 loopback.
    fn default() -> Self {
        Self::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

/// One law.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Law {
    /// Its name, a sentence.
    pub name: &'static str,
    /// Panics if the host breaks it.
    pub check: fn(&Bench<'_>),
}

/// Runs every law against hosts made by `make`, and answers which ones did not apply.
///
/// # Panics
/// At the first law that is broken; the message names it.
pub fn check(make: &dyn Fn() -> Arc<dyn Env>, config: Config) -> Vec<&'static str> {
    let check = |law: &Law| (!check_one(law.name, make, config)).then_some(law.name);
    ALL.iter().filter_map(check).collect()
}

/// Runs one law; false if it does not apply to this host.
///
/// # Panics
/// When the law is broken, or when there is no law of that name.
pub fn check_one(name: &str, make: &dyn Fn() -> Arc<dyn Env>, config: Config) -> bool {
    let law = ALL.iter().find(|law| law.name == name);
    let law = law.unwrap_or_else(|| panic!("there is no law named {name}"));
    let bench = Bench::new(law.name, make, config);
    (law.check)(&bench);
    bench.applied()
}

/// Every law, in reading order.
pub const ALL: &[Law] = crate::__each_law!(__law_table());

/// Expands to one `#[test]` for each law. `make` is an expression that can be called and answers
/// an `Arc` of a fresh host; a [`Config`](crate::laws::Config) may follow.
#[macro_export]
macro_rules! laws_tests {
    ($make:expr) => {
        $crate::laws_tests!($make, $crate::laws::Config::default());
    };
    ($make:expr, $config:expr) => {
        $crate::__each_law!(__law_tests($make, $config));
    };
}

/// Calls another macro of this crate with the list of all laws.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_law {
    ($macro:ident $arguments:tt) => {
        $crate::$macro! {
            $arguments
            world: [
                clocks_never_go_back
                workers_share_the_origin_of_time
                entropy_fills_every_byte
                stacks_are_aligned_distinct_and_writable
                stacks_that_are_given_back_together_are_gone
                a_cleared_stack_tells_how_deep_it_was_used
                the_thread_slot_is_one_pointer_a_thread
                a_plain_thread_parks_until_it_is_unparked
                each_worker_runs_once_and_run_waits_for_all
                what_is_thrown_is_caught_with_its_payload
                a_panic_is_told_of_before_it_unwinds
                what_is_set_aside_is_out_of_sight_and_comes_back
                an_offloaded_job_runs_and_wakes_its_port
                a_chooser_stays_in_range
            ]
            turns: [
                a_nop_completes_once_with_zero
                a_completion_at_hand_ends_an_endless_wait
                a_turn_that_may_not_wait_does_not
                a_wait_ends_at_its_deadline_and_not_before
                a_wait_ends_at_its_deadline_with_requests_in_flight
                an_early_unpark_ends_the_next_wait
                an_unpark_ends_a_wait_from_another_worker
                an_unparker_outlives_its_port
            ]
            connections: [
                what_a_host_does_not_offer_is_unsupported
                immediate_requests_are_answered_at_once
                a_listener_at_port_zero_has_an_address
                both_ends_agree_on_their_addresses
                nobody_listens_is_connection_refused
                an_echo_brings_back_the_same_bytes
                connections_wait_in_the_backlog_until_they_are_accepted
                an_armed_accept_serves_each_client_once
                a_client_that_has_gone_can_still_be_accepted
                a_duplicate_keeps_the_connection_open
                a_duplicate_of_a_listener_accepts_as_well
                a_close_is_the_end_of_the_peers_stream
                a_reused_number_has_nothing_of_its_predecessor
                try_now_never_waits
                workers_talk_to_each_other
                a_descriptor_works_on_every_worker
            ]
            transfers: [
                recv_some_takes_what_is_there
                recv_all_waits_for_every_byte
                recv_all_is_cut_short_by_the_end
                the_end_of_the_stream_stays
                small_sends_arrive_in_their_order
                send_all_reaches_a_slow_reader_whole
                both_directions_flow_at_once
                vectored_transfers_keep_the_order_of_their_buffers
                a_half_shut_connection_works_the_other_way
                a_shutdown_ends_a_waiting_recv
                writing_to_a_peer_that_has_gone_fails
                readiness_to_read_comes_with_the_bytes
                readiness_of_a_listener_means_a_connection
                readiness_to_write_comes_with_room
            ]
            cancels: [
                a_cancelled_recv_completes_once_as_cancelled
                a_cancel_in_the_turn_of_its_request_works
                a_cancelled_accept_takes_no_connection
                a_cancelled_ready_completes_once_as_cancelled
                a_cancel_that_races_with_readiness_ends_it_once
                a_cancelled_connect_ends_either_way
                a_cancelled_send_tells_how_much_was_sent
                a_cancel_that_races_with_bytes_loses_none
                unknown_tokens_are_ignored
                a_cancel_for_an_old_generation_hits_nothing
                cancel_all_on_hits_one_descriptor_only
                a_connection_goes_on_after_a_storm_of_cancels
            ]
            signals: [
                a_signal_is_read_once_it_is_wanted
                a_cancelled_wait_for_a_signal_takes_none
                each_descriptor_is_told_what_it_wants
                many_signals_of_one_kind_lose_none_of_another
                a_closed_descriptor_is_told_nothing_and_leaves_nothing
                signals_are_not_duplicated_and_an_empty_set_is_refused
            ]
            tokens: [
                quiet_and_control_requests_have_no_completion
                a_quiet_close_closes
                more_requests_than_a_queue_holds_all_complete
                more_waiters_than_a_queue_holds_all_complete
                thousands_of_waiters_can_be_cancelled_at_once
                drain_ends_everything_in_flight
                a_storm_brings_one_completion_each_and_loses_no_byte
            ]
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __law_table {
    (() $($module:ident: [$($law:ident)*])*) => {
        &[$($($crate::laws::Law {
            name: stringify!($law),
            check: $module::$law,
        },)*)*]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __law_tests {
    (($make:expr, $config:expr) $($module:ident: [$($law:ident)*])*) => {
        $($(
            #[test]
            fn $law() {
                $crate::laws::check_one(stringify!($law), &|| ($make)(), $config);
            }
        )*)*
    };
}
