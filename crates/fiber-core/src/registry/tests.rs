//! The laws of ids, on small spaces.

extern crate std;

use alloc::{boxed::Box, collections::BTreeSet, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::{sync::Mutex, thread};

use super::{Full, IdSpace, Received, Shard, entry::Chunk};
use crate::{
    env::Unpark,
    error::StaleReason,
    id::{Id, Namespace},
    process::{Limits, Record},
    request::RawDescriptor,
};

const STREAM: Namespace = Namespace::STREAM;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Unpark for Wakes {
    fn unpark(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn shard(live_max: usize) -> Shard {
    Shard::new(live_max, Arc::new(Wakes::default()))
}

fn open(shard: &mut Shard, space: &IdSpace, raw: u32) -> Id {
    shard.open(space, STREAM, RawDescriptor(raw), None).unwrap()
}

/// What the shard has freed; fails if somebody is still inside.
fn freed(shard: &mut Shard, space: &IdSpace) -> Vec<(Id, u32)> {
    let mut freed = Vec::new();
    shard.receive(space, |received| match received {
        Received::Freed { id, raw, .. } => freed.push((id, raw.0)),
        Received::Moved { id } => panic!("{id} was taken out"),
        Received::Busy { .. } => panic!("somebody is inside"),
    });
    freed
}

fn reason(space: &IdSpace, id: Id) -> StaleReason {
    space.enter(id, None).unwrap_err().reason
}

#[test]
fn no_stale_id_is_ever_accepted_over_a_hundred_thousand_reuses() {
    for generations in [1, 3, u16::MAX] {
        let space = IdSpace::with_generations(generations);
        let mut shard = shard(4);
        let mut past = BTreeSet::new();
        let mut recent: Vec<Id> = Vec::new();
        for raw in 0..100_000 {
            let id = open(&mut shard, &space, raw);
            assert!(past.insert(id), "{id} came back to life");
            assert_eq!(space.enter(id, None).unwrap().raw(), RawDescriptor(raw));
            space.close(id).unwrap();
            assert_eq!(freed(&mut shard, &space), [(id, raw)]);
            recent.push(id);
            if raw % 1000 == 999 {
                for id in recent.drain(..) {
                    assert_eq!(reason(&space, id), StaleReason::Closed);
                }
            }
        }
        assert!(
            past.iter().all(|&id| !space.is_live(id)),
            "a stale id is live"
        );
        let retired = if generations == u16::MAX {
            0
        } else {
            100_000 / generations as usize
        };
        // The queue of free slots holds some that have begun their last round but one.
        assert!(
            shard.retired() <= retired,
            "{} slots retired early",
            shard.retired()
        );
        assert!(
            shard.retired() + 2 * Chunk::ENTRIES >= retired,
            "exhausted slots are in use"
        );
        shard.finish(&space);
    }
}

#[test]
fn a_slot_retires_after_its_last_generation() {
    let space = IdSpace::with_generations(1);
    let mut shard = shard(10);
    for count in 1..=20 {
        let id = open(&mut shard, &space, 0);
        assert_eq!(id.generation(), 1, "there is only one");
        space.close(id).unwrap();
        freed(&mut shard, &space);
        assert_eq!(shard.retired(), count);
    }
}

#[test]
fn a_random_number_is_refused_unless_it_is_live() {
    let space = IdSpace::with_generations(3);
    let mut shard = shard(100);
    let live: BTreeSet<Id> = (0..100).map(|raw| open(&mut shard, &space, raw)).collect();
    let mut random = 1u64;
    for round in 0..200_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Every second one is near the live ones.
        let near = (random & 0x1ff) << 32 | (random >> 20 & 7) << 16 | random >> 40 & 3;
        let bits = if round % 2 == 0 { random } else { near };
        let Some(id) = Id::from_bits(bits) else {
            continue;
        };
        assert_eq!(space.is_live(id), live.contains(&id), "{id}");
        if !live.contains(&id) {
            space.close(id).unwrap_err();
        }
    }
    assert_eq!(shard.live(), 100);
    assert_eq!(freed(&mut shard, &space), []);
}

#[test]
fn a_second_close_is_stale() {
    let space = IdSpace::new();
    let mut shard = shard(10);
    let id = open(&mut shard, &space, 7);
    let inside = space.enter(id, None).unwrap();
    space.close(id).unwrap();
    assert_eq!(space.close(id).unwrap_err().reason, StaleReason::Closed);
    assert_eq!(reason(&space, id), StaleReason::Closed);
    drop(inside);
    assert_eq!(freed(&mut shard, &space), [(id, 7)]);
    assert_eq!(space.close(id).unwrap_err().reason, StaleReason::Closed);
    shard.finish(&space);
}

#[test]
fn namespaces_never_mix() {
    let space = IdSpace::new();
    let mut shard = shard(10);
    let id = open(&mut shard, &space, 7);
    for number in (0..=u16::MAX).filter(|&number| number != STREAM.number()) {
        let other = Namespace::from_number(number);
        let other = Id::new(id.key(), other, id.generation()).unwrap();
        assert_eq!(reason(&space, other), StaleReason::WrongNamespace);
        assert!(space.close(other).is_err(), "{other} is not {id}");
    }
    assert!(space.is_live(id));
}

#[test]
fn a_generation_that_was_not_issued_yet_is_unknown() {
    let space = IdSpace::new();
    let mut shard = shard(10);
    let id = open(&mut shard, &space, 7);
    let next = Id::new(id.key(), STREAM, id.generation() + 1).unwrap();
    assert_eq!(reason(&space, next), StaleReason::Unknown);
    let far = Id::new(u32::MAX, STREAM, 1).unwrap();
    assert_eq!(reason(&space, far), StaleReason::Unknown);
}

#[test]
fn the_last_one_out_frees_and_the_shard_hears_of_those_inside() {
    let space = IdSpace::new();
    let wakes = Arc::new(Wakes::default());
    let mut shard = Shard::new(10, Arc::<Wakes>::clone(&wakes));
    let id = open(&mut shard, &space, 7);
    let inside = [3, 5, 3].map(|worker| space.enter(id, Some(worker)).unwrap());
    assert!(!shard.has_handed_over());
    space.close(id).unwrap();
    assert!(shard.has_handed_over());
    let mut received = Vec::new();
    shard.receive(&space, |what| received.push(what));
    let raw = RawDescriptor(7);
    let workers = 1 << 3 | 1 << 5;
    let told = received.iter().map(|received| match received {
        Received::Busy { raw, workers } => (*raw, *workers),
        other => panic!("somebody is inside: {other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), [(raw, workers)]);
    let [one, two, three] = inside;
    drop(one);
    drop(two);
    assert!(!shard.has_handed_over(), "one is still inside");
    assert!(three.is_closing());
    drop(three);
    assert_eq!(freed(&mut shard, &space), [(id, 7)]);
    assert_eq!(
        wakes.0.load(Ordering::SeqCst),
        2,
        "one wake for each hand-over"
    );
}

#[test]
fn leaving_before_the_shard_looks_is_one_hand_over() {
    let space = IdSpace::new();
    let mut shard = shard(10);
    let id = open(&mut shard, &space, 7);
    let inside = space.enter(id, Some(0)).unwrap();
    space.close(id).unwrap();
    drop(inside);
    assert_eq!(freed(&mut shard, &space), [(id, 7)]);
    assert_eq!(freed(&mut shard, &space), []);
}

#[test]
fn owners_lists_are_right_in_every_order_of_closing() {
    for order in permutations(4) {
        let space = IdSpace::new();
        let mut shard = shard(10);
        let owners = [1, 2].map(|_| Record::new(None, Limits::NONE, 1, Box::new(())).0);
        let mut ids = Vec::new();
        for raw in 0..4 {
            let owner = &owners[usize::from(raw == 3)];
            let id = shard.open(&space, STREAM, RawDescriptor(raw), Some(owner));
            ids.push(id.unwrap());
        }
        let mut left: Vec<usize> = (0..4).collect();
        for closed in order {
            space.close(ids[closed]).unwrap();
            freed(&mut shard, &space);
            left.retain(|&index| index != closed);
            let newest = left.iter().rev().copied();
            let first: Vec<Id> = newest.filter(|&at| at != 3).map(|at| ids[at]).collect();
            assert_eq!(shard.owned_by(&space, &owners[0]), first);
            let second = if left.contains(&3) { &ids[3..] } else { &[] };
            assert_eq!(shard.owned_by(&space, &owners[1]), second);
        }
        shard.finish(&space);
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    let Some(last) = n.checked_sub(1) else {
        return alloc::vec![Vec::new()];
    };
    let mut all = Vec::new();
    for shorter in permutations(last) {
        for at in 0..n {
            let mut longer = shorter.clone();
            longer.insert(at, last);
            all.push(longer);
        }
    }
    all
}

#[test]
fn the_limit_of_live_ids_is_kept_and_named() {
    let space = IdSpace::new();
    let mut shard = shard(3);
    let ids = [1, 2, 3].map(|raw| open(&mut shard, &space, raw));
    let full = shard
        .open(&space, STREAM, RawDescriptor(4), None)
        .unwrap_err();
    assert_eq!(full, Full::Shard { limit: 3 });
    space.close(ids[1]).unwrap();
    freed(&mut shard, &space);
    open(&mut shard, &space, 4);
}

#[test]
fn the_next_shard_goes_on_with_the_generations_of_the_last() {
    let space = IdSpace::with_generations(3);
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let mut shard = shard(2000);
        let ids: Vec<Id> = (0..600).map(|raw| open(&mut shard, &space, raw)).collect();
        for id in ids {
            assert!(seen.insert(id), "{id} came back to life");
            space.close(id).unwrap();
        }
        assert_eq!(freed(&mut shard, &space).len(), 600);
        shard.finish(&space);
    }
    assert!(
        seen.iter().any(|id| id.generation() > 1),
        "chunks are used again"
    );
}

#[test]
#[should_panic(expected = "ids outlive their shard")]
fn a_shard_with_live_ids_cannot_finish() {
    let space = IdSpace::new();
    let mut shard = shard(10);
    open(&mut shard, &space, 7);
    shard.finish(&space);
}

#[test]
fn ids_of_a_shard_that_was_dropped_can_still_be_closed() {
    let space = IdSpace::new();
    let mut shard = shard(10);
    let id = open(&mut shard, &space, 7);
    drop(shard);
    space.close(id).unwrap();
    assert!(!space.is_live(id));
}

#[test]
#[should_panic(expected = "stays with the space")]
fn a_shard_never_changes_its_space() {
    let (one, two) = (IdSpace::new(), IdSpace::new());
    let mut shard = shard(10);
    open(&mut shard, &one, 7);
    open(&mut shard, &two, 7);
}

#[test]
fn threads_that_enter_and_close_free_each_id_once() {
    let space = IdSpace::with_generations(3);
    let mut shard = shard(64);
    let current: Mutex<Vec<Id>> = Mutex::new(Vec::new());
    let (closed, over) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut freed = 0;
    thread::scope(|scope| {
        for worker in 0..2 {
            let (space, current, closed, over) = (&space, &current, &closed, &over);
            scope.spawn(move || {
                while over.load(Ordering::Acquire) == 0 {
                    let ids = current.lock().unwrap().clone();
                    for id in ids {
                        let inside = space.enter(id, Some(worker));
                        if inside.is_ok() && space.close(id).is_ok() {
                            closed.fetch_add(1, Ordering::AcqRel);
                        }
                    }
                }
            });
        }
        for _ in 0..200 {
            let ids: Vec<Id> = (0..16).map(|raw| open(&mut shard, &space, raw)).collect();
            *current.lock().unwrap() = ids;
            let target = freed + 16;
            while freed < target {
                shard.receive(&space, |received| {
                    freed += usize::from(matches!(received, Received::Freed { .. }));
                });
                thread::yield_now();
            }
        }
        over.store(1, Ordering::Release);
    });
    assert_eq!((freed, closed.into_inner()), (3200, 3200));
    shard.finish(&space);
}

#[test]
fn no_id_of_a_simulated_world_is_one_of_the_process() {
    let (process, world) = (IdSpace::new(), IdSpace::of_world());
    let (mut here, mut there) = (shard(usize::MAX), shard(usize::MAX));
    for raw in 0..1000 {
        let ours = open(&mut here, &process, raw);
        let theirs = open(&mut there, &world, raw);
        assert_eq!(world.enter(theirs, None).unwrap().raw(), RawDescriptor(raw));
        assert_ne!(ours, theirs);
        assert_eq!(reason(&world, ours), StaleReason::Unknown);
        assert_eq!(reason(&process, theirs), StaleReason::Unknown);
        assert_eq!(
            process.close(theirs).unwrap_err().reason,
            StaleReason::Unknown
        );
        process.close(ours).unwrap();
        world.close(theirs).unwrap();
    }
    assert_eq!(freed(&mut here, &process).len(), 1000);
    assert_eq!(freed(&mut there, &world).len(), 1000);
    here.finish(&process);
    there.finish(&world);
}

#[test]
fn a_simulated_world_gives_the_same_ids_in_every_run() {
    let ids = || {
        let world = IdSpace::of_world();
        let mut shard = shard(usize::MAX);
        (0..300)
            .map(|raw| open(&mut shard, &world, raw))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(), ids());
}
