//! What a worker keeps of free stacks, and what it remembers of their use.

extern crate std;

use alloc::{sync::Arc, vec::Vec};
use core::panic::AssertUnwindSafe;
use std::panic;

use super::*;
use crate::{
    env::{Env, Stacks},
    script::ScriptEnv,
    stack,
};

fn stacks(env: &ScriptEnv, class: StackClass, count: usize) -> Vec<StackMemory> {
    (0..count)
        .map(|_| env.map_stack(class).expect("the script has memory"))
        .collect()
}

fn give_back(env: &Arc<ScriptEnv>, mut cache: StackCache) {
    cache.collect_all();
    // SAFETY: nobody ever ran on them (I-3).
    unsafe { env.unmap_stacks(&mut cache.batch) };
    assert_eq!(env.stack_stats().in_use(), 0);
}

#[test]
fn a_full_cache_sends_its_older_half_back_in_one_batch() {
    let env = ScriptEnv::new();
    let mut cache = StackCache::default();
    let max = kept_max(StackClass::K16);
    let mut all = stacks(&env, StackClass::K16, max + 1);
    let newest = all.pop().unwrap();
    let newest_at = newest.base();
    all.into_iter().for_each(|stack| cache.push(stack));
    assert!(cache.batch.is_empty());
    cache.push(newest);
    assert_eq!(cache.batch.len(), max / 2);
    let next = cache.pop(StackClass::K16).unwrap();
    assert_eq!(next.base(), newest_at, "the newest is taken first");
    cache.push(next);
    give_back(&env, cache);
}

#[test]
fn what_was_not_needed_between_two_looks_goes_back_but_for_a_few() {
    let env = ScriptEnv::new();
    let mut cache = StackCache::default();
    for stack in stacks(&env, StackClass::K64, 100) {
        cache.push(stack);
    }
    cache.collect_surplus();
    assert!(cache.batch.is_empty(), "they have just come");
    let used: Vec<_> = (0..30).map_while(|_| cache.pop(StackClass::K64)).collect();
    used.into_iter().for_each(|stack| cache.push(stack));
    cache.collect_surplus();
    assert_eq!(cache.batch.len(), 70 - KEPT_IDLE);
    let max = kept_max(StackClass::K64);
    for stack in stacks(&env, StackClass::K64, max) {
        cache.push(stack);
    }
    // A flood in between leaves less than was there at the last look.
    cache.collect_surplus();
    cache.collect_surplus();
    give_back(&env, cache);
}

#[test]
fn no_class_keeps_more_than_its_share() {
    for class in StackClass::ALL {
        assert!(kept_max(class) * class.bytes() <= KEPT_BYTES);
        assert!(kept_max(class) >= 4);
    }
}

#[test]
fn one_start_of_many_is_sampled_and_the_first_is_and_fewer_later() {
    let mut cache = StackCache::default();
    for every in SAMPLE_EVERY {
        let starts = FIRST_SAMPLES * every;
        let sampled = (0..starts).filter(|_| cache.is_sampled()).count();
        assert_eq!(sampled, FIRST_SAMPLES as usize);
    }
    assert!(cache.is_sampled());
}

#[test]
fn samples_keep_the_deepest_use_of_each_site_and_are_bounded() {
    let mut samples = Samples::default();
    let here = Location::caller();
    samples.add(here, StackClass::K16, 700);
    samples.add(here, StackClass::K16, 300);
    samples.add(here, StackClass::K64, 100);
    assert_eq!(
        (samples.sites[0].samples, samples.sites[0].deepest_bytes),
        (2, 700)
    );
    assert_eq!(samples.sites.len(), 2, "classes are told apart");
    while samples.sites.len() < SITES_MAX {
        samples.sites.push(samples.sites[0]);
    }
    let there = Location::caller();
    samples.add(there, StackClass::K16, 900);
    assert_eq!(samples.sites.len(), SITES_MAX);
    let other = samples.others[StackClass::K16.index()].unwrap();
    assert_eq!((other.spawned_at, other.deepest_bytes), (None, 900));
}

#[test]
#[should_panic(expected = "written to after its fiber's end")]
fn who_writes_to_a_recycled_stack_is_found_out() {
    let env: Arc<dyn Env> = ScriptEnv::new();
    let stack = env.map_stack(StackClass::K16).unwrap();
    poison::spread(&stack);
    poison::check(&stack);
    write_late(&stack);
    poison::check(&stack);
}

#[test]
fn who_writes_to_a_recycled_stack_is_found_out_wherever_its_frames_began() {
    let env = ScriptEnv::new();
    for stack in stacks(&env, StackClass::K16, 32) {
        poison::spread(&stack);
        write_late(&stack);
        let checked = panic::catch_unwind(AssertUnwindSafe(|| poison::check(&stack)));
        assert!(checked.is_err(), "a late writer was not found out");
    }
}

/// Overwrites a word of a frame that is gone.
fn write_late(stack: &StackMemory) {
    let above = stack.base().addr().get() - stack::begin(stack).get();
    let late = stack.base().as_ptr().wrapping_sub(above + 200);
    // SAFETY: within a stack that the caller owns (I-3).
    unsafe { late.write(0) };
}
