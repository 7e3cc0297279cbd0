//! What the store promises beyond what a session shows: its accounting, its bound, and whom it
//! throws out.

use alloc::collections::BTreeMap;

use super::item::Key;
use super::memory::allocated;
use super::{
    Access, Attributes, Change, Count, Counted, Found, Shard, Store, StoreOutcome, Terms, Value,
};
use crate::Config;
use crate::protocol::{Direction, StoreVerb};
use crate::sync::{Mutex, lock};
use crate::time::{Expiry, Seconds};

const NOW: Seconds = Seconds::from_unix(1_000);
const FOR_EVER: Attributes = Attributes {
    flags: 0,
    expiry: Expiry::NEVER,
};

fn store_of(memory_bytes: usize, shards: usize) -> Store {
    Store::new(&Config {
        memory_bytes,
        shards,
        ..Config::default()
    })
}

fn until(second: u64) -> Attributes {
    let expiry = Expiry::from_exptime(i64::try_from(second - 1_000).unwrap(), NOW);
    Attributes { flags: 0, expiry }
}

fn change(verb: StoreVerb, attributes: Attributes, value: &[u8]) -> Change<'_> {
    Change {
        verb,
        attributes,
        value: Value::Borrowed(value),
        terms: Terms::default(),
    }
}

fn set(
    store: &Store,
    key: &str,
    bytes: usize,
    attributes: Attributes,
    now: Seconds,
) -> StoreOutcome {
    let value = vec![b'v'; bytes];
    store.store(
        key.as_bytes(),
        change(StoreVerb::Set, attributes, &value),
        now,
    )
}

#[track_caller]
fn must_set(store: &Store, key: &str, bytes: usize) {
    let outcome = set(store, key, bytes, FOR_EVER, NOW);
    assert!(
        matches!(outcome, StoreOutcome::Stored(_)),
        "{key}: {outcome:?}"
    );
}

fn has(store: &Store, key: &str, now: Seconds) -> bool {
    store.read(key.as_bytes(), Access::Get, now, |_| {}) == Found::Yes
}

/// Whether it is there, without using it.
fn holds(store: &Store, key: &str) -> bool {
    store.inspect(key.as_bytes(), NOW, |_| {}) == Found::Yes
}

fn count(direction: Direction, delta: u64) -> Count {
    Count {
        direction,
        delta,
        compare: None,
        new_unique: None,
        creates: None,
        binary_key: false,
        is_meta: false,
    }
}

/// What is charged, and what of it is charged for blocks.
fn bytes(store: &Store) -> (usize, usize) {
    let usage = store.totals(NOW).0;
    let blocks = usage.bytes - usage.index_bytes;
    (
        usize::try_from(usage.bytes).unwrap(),
        usize::try_from(blocks).unwrap(),
    )
}

#[test]
fn every_byte_that_is_claimed_is_given_back() {
    let store = store_of(1 << 20, 4);
    let mut expected = 0;
    for key in ["a", "bb", "ccc"] {
        must_set(&store, key, 100);
        expected += allocated(key.len() + 100);
    }
    assert_eq!(bytes(&store).1, expected);
    must_set(&store, "a", 40);
    expected = expected - allocated(101) + allocated(41);
    assert_eq!(bytes(&store).1, expected);
    let owned = Change {
        value: Value::Owned {
            block: (*b"a77").into(),
            key_bytes: 1,
        },
        ..change(StoreVerb::Set, FOR_EVER, b"")
    };
    store.store(b"a", owned, NOW);
    store.store(b"a", change(StoreVerb::Append, FOR_EVER, b"7"), NOW);
    store.count(b"a", &count(Direction::Up, 1_000), NOW, |_, _, _| {});
    store.read(b"a", Access::Get, NOW, |item| {
        assert_eq!(item.value(), b"1777")
    });
    assert_eq!(bytes(&store).1, expected - allocated(41) + allocated(5));
    store.delete(b"a", NOW);
    store.refuse_too_large(StoreVerb::Set, Terms::default(), b"bb");
    let gone = Access::Touch(Expiry::from_exptime(-1, NOW));
    store.read(b"ccc", gone, NOW, |_| {});
    assert!(!has(&store, "ccc", NOW));
    assert_eq!((bytes(&store).0, store.totals(NOW).0.items), (0, 0));
}

#[test]
fn what_was_not_used_for_longest_makes_room_and_the_limit_holds() {
    let store = store_of(64 << 10, 1);
    for number in 0..2_000 {
        // Every tenth item is asked for all the time.
        for popular in (0..number).step_by(10).take(20) {
            assert!(
                has(&store, &format!("key-{popular:04}"), NOW),
                "{popular} at {number}"
            );
        }
        must_set(&store, &format!("key-{number:04}"), 90);
        assert!(bytes(&store).0 <= 64 << 10);
    }
    let (usage, counters) = store.totals(NOW);
    assert!(counters.evictions > 1_000 && usage.items > 300, "{usage:?}");
    assert_eq!(counters.evictions + usage.items, 2_000);
    // The others went in the order in which they had come.
    let others = (0..2_000).filter(|number| number % 10 != 0 || *number >= 200);
    let held: Vec<_> = others
        .map(|number| holds(&store, &format!("key-{number:04}")))
        .collect();
    let first = held.iter().position(|held| *held).unwrap();
    assert!(
        held[first..].iter().all(|held| *held),
        "a younger one went first"
    );
}

#[test]
fn writing_and_touching_use_an_item_and_looking_unseen_does_not() {
    let fill = |store: &Store, from: usize| {
        for number in from..from + 2_000 {
            must_set(store, &format!("filler-{number}"), 90);
        }
    };
    let store = store_of(64 << 10, 1);
    for key in ["written", "touched", "counted", "added", "idle"] {
        store.store(key.as_bytes(), change(StoreVerb::Set, FOR_EVER, b"1"), NOW);
    }
    for round in 0..20 {
        for number in 0..100 {
            must_set(&store, &format!("filler-{round}-{number}"), 90);
        }
        store.store(b"written", change(StoreVerb::Append, FOR_EVER, b""), NOW);
        store.read(b"touched", Access::Touch(Expiry::NEVER), NOW, |_| {});
        store.count(b"counted", &count(Direction::Up, 1), NOW, |_, _, _| {});
        store.store(b"added", change(StoreVerb::Add, FOR_EVER, b"1"), NOW);
        holds(&store, "idle");
    }
    let alive = ["written", "touched", "counted", "added", "idle"].map(|key| holds(&store, key));
    assert_eq!(alive, [true, true, true, true, false]);
    fill(&store, 0);
    assert!(!holds(&store, "written"));
}

#[test]
fn the_expired_and_the_flushed_leave_before_anything_that_is_alive() {
    let store = store_of(256 << 10, 1);
    for number in 0..200 {
        set(&store, &format!("mortal-{number}"), 500, until(1_010), NOW);
        must_set(&store, &format!("lasting-{number}"), 500);
    }
    let later = Seconds::from_unix(1_010);
    for number in 0..200 {
        set(&store, &format!("new-{number}"), 500, FOR_EVER, later);
    }
    let counters = store.totals(later).1;
    assert!(counters.evictions < 5, "{counters:?}");
    assert!(counters.crawler_reclaimed > 100, "{counters:?}");

    store.flush(later, later);
    let before = store.totals(later).0.items;
    assert!(before > 300, "a flush is lazy: {before}");
    for number in 0..300 {
        set(&store, &format!("newer-{number}"), 500, FOR_EVER, later);
    }
    assert_eq!(store.totals(later).1.evictions, counters.evictions);
    assert!((0..300).all(|number| holds(&store, &format!("newer-{number}"))));
}

#[test]
fn one_large_value_takes_its_room_from_all_shards_alike() {
    let store = store_of(4 << 20, 64);
    for number in 0..20_000 {
        must_set(&store, &format!("key-{number}"), 200);
    }
    let lengths = || -> Vec<usize> {
        let length = |shard: &Mutex<Shard>| lock(shard).len();
        store.shards.iter().map(length).collect()
    };
    let before = lengths();
    must_set(&store, "large", 1 << 20);
    let (usage, _) = store.totals(NOW);
    assert!(usage.bytes <= usage.bytes_max, "{usage:?}");
    let lost: Vec<_> = before
        .iter()
        .zip(lengths())
        .map(|(before, now)| before - now)
        .collect();
    let (least, most) = (lost.iter().min().unwrap(), lost.iter().max().unwrap());
    assert!(*least > 30 && *most < 120, "{lost:?}");
}

#[test]
fn where_shards_hold_few_items_the_oldest_of_all_goes() {
    let store = store_of(4 << 20, 64);
    for second in 0..100 {
        let now = Seconds::from_unix(1_000 + second);
        let outcome = set(&store, &format!("key-{second}"), 200 << 10, FOR_EVER, now);
        assert!(matches!(outcome, StoreOutcome::Stored(_)));
        assert!(
            second < 2 || has(&store, "key-1", now),
            "it is popular at {second}"
        );
    }
    let held: Vec<_> = (0..100)
        .filter(|second| holds(&store, &format!("key-{second}")))
        .collect();
    assert!(held.len() > 15, "{held:?}");
    let youngest = 101 - u64::try_from(held.len()).unwrap()..100;
    let expected: Vec<_> = core::iter::once(1).chain(youngest).collect();
    assert_eq!(held, expected, "the popular one and the youngest");
}

#[test]
fn a_value_that_no_room_can_be_made_for_is_refused() {
    let store = store_of(8 << 10, 1);
    assert_eq!(store.value_bytes_max(), 4 << 10);
    must_set(&store, "a", 100);
    // All other bytes are in use by someone who has not spent them yet.
    let mut claim = store.memory.claim();
    assert!(claim.cover((8 << 10) - bytes(&store).0));
    let outcome = set(&store, "b", 1_000, FOR_EVER, NOW);
    assert_eq!(outcome, StoreOutcome::OutOfMemory);
    drop(claim);
    must_set(&store, "c", 1_000);
    let mut claim = store.memory.claim();
    assert!(claim.cover((8 << 10) - bytes(&store).0));
    // The client asked for a new value and must not find the old one.
    must_set_fails(&store, "c", 3_000);
    assert!(!holds(&store, "c"));
    assert_eq!(store.totals(NOW).1.store_no_memory, 2);
}

#[test]
fn what_would_never_fit_costs_the_others_nothing() {
    let store = store_of(64 << 10, 1);
    must_set(&store, "other", 1_000);
    must_set(&store, "a", 30 << 10);
    let half = [b'x'; 30 << 10];
    let joined = store.store(b"a", change(StoreVerb::Append, FOR_EVER, &half), NOW);
    assert_eq!(joined, StoreOutcome::NotStored);
    assert!(holds(&store, "other") && holds(&store, "a"));
}

#[track_caller]
fn must_set_fails(store: &Store, key: &str, bytes: usize) {
    let outcome = set(store, key, bytes, FOR_EVER, NOW);
    assert_eq!(outcome, StoreOutcome::OutOfMemory);
}

#[test]
fn a_counter_that_grows_a_digit_keeps_its_item() {
    let store = store_of(64 << 10, 1);
    let digits = "9".repeat(19);
    let key = "n".repeat(20);
    store.store(
        key.as_bytes(),
        change(StoreVerb::Set, FOR_EVER, digits.as_bytes()),
        NOW,
    );
    for number in 0..2_000 {
        must_set(&store, &format!("filler-{number}"), 90);
        has(&store, &key, NOW);
    }
    let mut counted = 0;
    let outcome = store.count(
        key.as_bytes(),
        &count(Direction::Up, 1),
        NOW,
        |_, number, _| {
            counted = number;
        },
    );
    assert_eq!(
        (outcome, counted),
        (Counted::Done, 10_000_000_000_000_000_000)
    );
}

#[test]
fn a_shard_finds_every_item_through_growing_shrinking_and_moving() {
    let store = store_of(16 << 20, 1);
    let mut model = BTreeMap::new();
    let mut random = 1_u64;
    for step in 0..60_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let key = format!("{}", (random >> 33) % 5_000);
        // It grows for a while, then it shrinks.
        let removes = (random >> 20) % 10 < if step / 10_000 % 2 == 0 { 2 } else { 8 };
        if removes {
            let found = store.delete(key.as_bytes(), NOW) == Found::Yes;
            assert_eq!(found, model.remove(&key).is_some());
        } else {
            let bytes = usize::try_from((random >> 50) % 64).unwrap();
            must_set(&store, &key, bytes);
            model.insert(key, bytes);
        }
    }
    for (key, bytes) in &model {
        let found = store.read(key.as_bytes(), Access::Get, NOW, |item| {
            assert_eq!(item.value().len(), *bytes);
        });
        assert_eq!(found, Found::Yes);
        store.delete(key.as_bytes(), NOW);
    }
    assert_eq!(bytes(&store).0, 0);
}

#[test]
fn keys_whose_hashes_agree_in_what_an_item_keeps_are_told_apart() {
    let mut shard = Shard::new(0, 1);
    let memory = super::Memory::new(1 << 20);
    let claim = &mut memory.claim();
    let key = |bytes: &'static [u8]| Key { bytes, hash: 7 };
    for name in [b"a".as_slice(), b"b", b"c"] {
        let mut stored = change(StoreVerb::Set, FOR_EVER, name);
        let outcome = shard.store(key(name), &mut stored, 100, NOW, claim);
        assert!(matches!(outcome, Ok(StoreOutcome::Stored(_))));
    }
    assert_eq!(shard.delete(key(b"a"), NOW, claim), Found::Yes);
    for name in [b"b".as_slice(), b"c"] {
        let found = shard.read(key(name), Access::Get, NOW, claim, |item| {
            assert_eq!(item.value(), name);
        });
        assert_eq!(found, Found::Yes);
    }
}
