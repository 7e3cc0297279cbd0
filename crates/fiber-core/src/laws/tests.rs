//! The laws hold for honest hosts, and each catches a host that is not.

extern crate std;

mod fault;
mod host;
mod network;
mod port;
mod signals;
mod unpark;

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use self::{fault::Fault, host::MemoryEnv};
use super::{ALL, Config, check, check_one};
use crate::{
    env::Env,
    request::RequestKind,
    script::{Script, ScriptEnv},
};

mod memory_host {
    use super::{Fault, MemoryEnv};

    crate::laws_tests!(|| MemoryEnv::new(Fault::None));
}

#[test]
fn the_script_keeps_every_law_that_applies_to_it() {
    let kinds = [
        RequestKind::Nop,
        RequestKind::Cancel,
        RequestKind::CancelAllOn,
        RequestKind::OpenSignals,
        RequestKind::RaiseSignal,
        RequestKind::Recv,
        RequestKind::Close,
        RequestKind::Duplicate,
    ];
    let make = || -> Arc<dyn Env> { ScriptEnv::with(Script::new().kinds(&kinds)) };
    let skipped = check(&make, Config::default());
    assert!(skipped.contains(&"an_echo_brings_back_the_same_bytes"));
    assert!(!skipped.contains(&"many_signals_of_one_kind_lose_none_of_another"));
    assert!(!skipped.contains(&"a_wait_ends_at_its_deadline_and_not_before"));
}

#[test]
fn each_law_catches_the_fault_it_is_for() {
    let missed: Vec<_> = CAUGHT
        .iter()
        .filter(|(fault, law)| {
            let make = || -> Arc<dyn Env> { MemoryEnv::new(*fault) };
            let run = || check_one(law, &make, Config::default());
            catch_unwind(AssertUnwindSafe(run)).is_ok()
        })
        .collect();
    assert!(missed.is_empty(), "these faults were not seen: {missed:#?}");
    let tested: BTreeSet<&str> = CAUGHT.iter().map(|(_, law)| *law).collect();
    let all: BTreeSet<&str> = ALL.iter().map(|law| law.name).collect();
    assert_eq!(tested, all, "each law must be able to fail");
}

#[test]
fn a_broken_law_is_named() {
    let make = || -> Arc<dyn Env> { MemoryEnv::new(Fault::NopAnswersOne) };
    let run = || check(&make, Config::default());
    let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    let message = payload.downcast_ref::<alloc::string::String>().unwrap();
    assert!(
        message
            .starts_with("fiber-core (memory) breaks the law `a_nop_completes_once_with_zero`: ")
    );
}

const CAUGHT: &[(Fault, &str)] = &[
    (Fault::ClockJumpsBack, "clocks_never_go_back"),
    (Fault::ClockOfEachThread, "workers_share_the_origin_of_time"),
    (Fault::EntropyLeavesTheLastByte, "entropy_fills_every_byte"),
    (
        Fault::StacksOverlap,
        "stacks_are_aligned_distinct_and_writable",
    ),
    (
        Fault::StacksStay,
        "stacks_that_are_given_back_together_are_gone",
    ),
    (
        Fault::StackDepthIsZero,
        "a_cleared_stack_tells_how_deep_it_was_used",
    ),
    (
        Fault::SlotOfAllThreads,
        "the_thread_slot_is_one_pointer_a_thread",
    ),
    (
        Fault::ParkMissesAnEarlyUnpark,
        "a_plain_thread_parks_until_it_is_unparked",
    ),
    (
        Fault::LastWorkerMissing,
        "each_worker_runs_once_and_run_waits_for_all",
    ),
    (
        Fault::CatchLosesThePayload,
        "what_is_thrown_is_caught_with_its_payload",
    ),
    (
        Fault::PanicsAreNotTold,
        "a_panic_is_told_of_before_it_unwinds",
    ),
    (
        Fault::AsideIsInSight,
        "what_is_set_aside_is_out_of_sight_and_comes_back",
    ),
    (
        Fault::OffloadForgets,
        "an_offloaded_job_runs_and_wakes_its_port",
    ),
    (Fault::ChooserOutOfRange, "a_chooser_stays_in_range"),
    (Fault::NopAnswersOne, "a_nop_completes_once_with_zero"),
    (Fault::CompletesTwice, "a_nop_completes_once_with_zero"),
    (Fault::TellsMore, "a_nop_completes_once_with_zero"),
    (Fault::WrongCount, "a_nop_completes_once_with_zero"),
    (Fault::StagedIsLeft, "a_nop_completes_once_with_zero"),
    (
        Fault::WaitsWithCompletionsAtHand,
        "a_completion_at_hand_ends_an_endless_wait",
    ),
    (
        Fault::WaitsWhenItMustNot,
        "a_turn_that_may_not_wait_does_not",
    ),
    (
        Fault::WaitEndsEarly,
        "a_wait_ends_at_its_deadline_and_not_before",
    ),
    (
        Fault::WaitWithRequestsEndsEarly,
        "a_wait_ends_at_its_deadline_with_requests_in_flight",
    ),
    (Fault::UnparkIsLost, "an_early_unpark_ends_the_next_wait"),
    (
        Fault::UnparkIsLost,
        "an_unpark_ends_a_wait_from_another_worker",
    ),
    (Fault::UnparkerPanicsLater, "an_unparker_outlives_its_port"),
    (
        Fault::SupportsEverything,
        "what_a_host_does_not_offer_is_unsupported",
    ),
    (
        Fault::ImmediateIsNot,
        "immediate_requests_are_answered_at_once",
    ),
    (
        Fault::SharesAddresses,
        "a_listener_at_port_zero_has_an_address",
    ),
    (Fault::PeerIsUnknown, "both_ends_agree_on_their_addresses"),
    (Fault::NeverRefuses, "nobody_listens_is_connection_refused"),
    (Fault::Garbles, "an_echo_brings_back_the_same_bytes"),
    (Fault::WritesLate, "an_echo_brings_back_the_same_bytes"),
    (
        Fault::ForgetsClients,
        "connections_wait_in_the_backlog_until_they_are_accepted",
    ),
    (
        Fault::PeerIsUnknown,
        "an_armed_accept_serves_each_client_once",
    ),
    (
        Fault::CloseForgetsBytes,
        "a_client_that_has_gone_can_still_be_accepted",
    ),
    (
        Fault::CloseEndsDuplicates,
        "a_duplicate_keeps_the_connection_open",
    ),
    (
        Fault::CloseEndsDuplicates,
        "a_duplicate_of_a_listener_accepts_as_well",
    ),
    (
        Fault::CloseIsSilent,
        "a_close_is_the_end_of_the_peers_stream",
    ),
    (
        Fault::CancelledGoesOn,
        "a_reused_number_has_nothing_of_its_predecessor",
    ),
    (Fault::TryNowSaysEnd, "try_now_never_waits"),
    (Fault::WakesNobody, "workers_talk_to_each_other"),
    (
        Fault::DescriptorsOfEachWorker,
        "a_descriptor_works_on_every_worker",
    ),
    (Fault::SomeIsAll, "recv_some_takes_what_is_there"),
    (Fault::WritesBeyond, "recv_some_takes_what_is_there"),
    (Fault::AllIsSome, "recv_all_waits_for_every_byte"),
    (Fault::EndForgetsBytes, "recv_all_is_cut_short_by_the_end"),
    (Fault::EndIsOnce, "the_end_of_the_stream_stays"),
    (Fault::LastRequestFirst, "small_sends_arrive_in_their_order"),
    (
        Fault::ReversesCompletions,
        "small_sends_arrive_in_their_order",
    ),
    (Fault::SendAllIsSome, "send_all_reaches_a_slow_reader_whole"),
    (Fault::SendAllIsSome, "both_directions_flow_at_once"),
    (
        Fault::VectoredBackwards,
        "vectored_transfers_keep_the_order_of_their_buffers",
    ),
    (
        Fault::ShutdownShutsBoth,
        "a_half_shut_connection_works_the_other_way",
    ),
    (Fault::ShutdownWakesNobody, "a_shutdown_ends_a_waiting_recv"),
    (
        Fault::WritesToNowhere,
        "writing_to_a_peer_that_has_gone_fails",
    ),
    (Fault::AlwaysReady, "readiness_to_read_comes_with_the_bytes"),
    (
        Fault::AlwaysReady,
        "readiness_of_a_listener_means_a_connection",
    ),
    (Fault::NeverReadyAgain, "readiness_to_write_comes_with_room"),
    (
        Fault::CancelIsIgnored,
        "a_cancelled_recv_completes_once_as_cancelled",
    ),
    (
        Fault::CancelIsIgnored,
        "a_cancel_in_the_turn_of_its_request_works",
    ),
    (
        Fault::CancelledGoesOn,
        "a_cancelled_accept_takes_no_connection",
    ),
    (
        Fault::CancelHitsTheDescriptor,
        "a_cancelled_ready_completes_once_as_cancelled",
    ),
    (
        Fault::CancelIsDone,
        "a_cancel_that_races_with_readiness_ends_it_once",
    ),
    (Fault::CancelIsDone, "a_cancelled_connect_ends_either_way"),
    (
        Fault::CancelHidesBytesSent,
        "a_cancelled_send_tells_how_much_was_sent",
    ),
    (
        Fault::CancelledGoesOn,
        "a_cancel_that_races_with_bytes_loses_none",
    ),
    (Fault::UnknownCancelHitsFirst, "unknown_tokens_are_ignored"),
    (
        Fault::CancelHitsTheSlot,
        "a_cancel_for_an_old_generation_hits_nothing",
    ),
    (
        Fault::CancelAllHitsAll,
        "cancel_all_on_hits_one_descriptor_only",
    ),
    (
        Fault::CancelAllHitsNone,
        "cancel_all_on_hits_one_descriptor_only",
    ),
    (
        Fault::CancelledGoesOn,
        "a_connection_goes_on_after_a_storm_of_cancels",
    ),
    (Fault::SignalsAreLost, "a_signal_is_read_once_it_is_wanted"),
    (
        Fault::CancelledGoesOn,
        "a_cancelled_wait_for_a_signal_takes_none",
    ),
    (
        Fault::SignalsForTheFirst,
        "each_descriptor_is_told_what_it_wants",
    ),
    (
        Fault::SignalsFillUp,
        "many_signals_of_one_kind_lose_none_of_another",
    ),
    (
        Fault::SignalsAreRemembered,
        "a_closed_descriptor_is_told_nothing_and_leaves_nothing",
    ),
    (
        Fault::SignalsOfNoSet,
        "signals_are_not_duplicated_and_an_empty_set_is_refused",
    ),
    (
        Fault::TellsQuiet,
        "quiet_and_control_requests_have_no_completion",
    ),
    (Fault::CloseIsSilent, "a_quiet_close_closes"),
    (
        Fault::ForgetsBeyondAThousand,
        "more_requests_than_a_queue_holds_all_complete",
    ),
    (
        Fault::ForgetsBeyondAThousand,
        "more_waiters_than_a_queue_holds_all_complete",
    ),
    (
        Fault::CancelAllHitsNone,
        "thousands_of_waiters_can_be_cancelled_at_once",
    ),
    (Fault::DrainForgets, "drain_ends_everything_in_flight"),
    (
        Fault::Forgets,
        "a_storm_brings_one_completion_each_and_loses_no_byte",
    ),
    (
        Fault::CancelEatsBytes,
        "a_storm_brings_one_completion_each_and_loses_no_byte",
    ),
];
