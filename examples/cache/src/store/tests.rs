//! What the store promises beyond what a session shows: its accounting and its bound.

use super::{Attributes, Found, Item, Store, StoreOutcome, Value};
use crate::Config;
use crate::protocol::{Direction, StoreVerb};
use crate::time::{Expiry, Seconds};

const NOW: Seconds = Seconds::from_unix(1_000);
const FOR_EVER: Attributes = Attributes {
    flags: 0,
    expiry: Expiry::NEVER,
};

fn store_of(memory_bytes: usize) -> Store {
    Store::new(&Config {
        memory_bytes,
        shards: 4,
        ..Config::default()
    })
}

fn until(second: u64) -> Attributes {
    let expiry = Expiry::from_exptime(i64::try_from(second - 1_000).unwrap(), NOW);
    Attributes { flags: 0, expiry }
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
        StoreVerb::Set,
        key.as_bytes(),
        attributes,
        Value::Borrowed(&value),
        now,
    )
}

fn has(store: &Store, key: &str, now: Seconds) -> bool {
    store.read(key.as_bytes(), now, |_| {}) == Found::Yes
}

fn bytes(store: &Store) -> usize {
    usize::try_from(store.totals().0.bytes).unwrap()
}

#[test]
fn every_byte_that_is_claimed_is_given_back() {
    let store = store_of(1 << 20);
    let mut expected = 0;
    for key in ["a", "bb", "ccc"] {
        set(&store, key, 100, FOR_EVER, NOW);
        expected += Item::cost_of(key.len(), 100);
    }
    assert_eq!(bytes(&store), expected);
    set(&store, "a", 40, FOR_EVER, NOW);
    assert_eq!(bytes(&store), expected - 60);
    let owned = Value::Owned(vec![b'7'; 2].into());
    store.store(StoreVerb::Set, b"a", FOR_EVER, owned, NOW);
    store.store(
        StoreVerb::Append,
        b"a",
        FOR_EVER,
        Value::Borrowed(b"7"),
        NOW,
    );
    store.count(Direction::Up, b"a", 1_000, NOW);
    assert_eq!(bytes(&store), expected - 96);
    store.delete(b"a", NOW);
    store.refuse_too_large(StoreVerb::Set, b"bb");
    store.touch(b"ccc", Expiry::from_exptime(-1, NOW), NOW);
    assert!(!has(&store, "ccc", NOW));
    assert_eq!((bytes(&store), store.totals().0.items), (0, 0));
}

#[test]
fn a_full_store_refuses_and_keeps_what_is_alive() {
    let cost = Item::cost_of(1, 100);
    let store = store_of(3 * cost);
    for key in ["a", "b", "c"] {
        assert_eq!(set(&store, key, 100, FOR_EVER, NOW), StoreOutcome::Stored);
    }
    assert_eq!(
        set(&store, "d", 100, FOR_EVER, NOW),
        StoreOutcome::OutOfMemory
    );
    assert_eq!(set(&store, "c", 100, FOR_EVER, NOW), StoreOutcome::Stored);
    let joined = store.store(
        StoreVerb::Append,
        b"c",
        FOR_EVER,
        Value::Borrowed(b"x"),
        NOW,
    );
    assert_eq!(joined, StoreOutcome::NotStored);
    assert!(["a", "b", "c"].iter().all(|key| has(&store, key, NOW)));
    // The client asked for a new value and must not find the old one.
    assert_eq!(
        set(&store, "c", 101, FOR_EVER, NOW),
        StoreOutcome::OutOfMemory
    );
    assert!(!has(&store, "c", NOW));
    assert_eq!(bytes(&store), 2 * cost);
    assert_eq!(store.totals().1.store_no_memory, 3);
    assert_eq!(set(&store, "d", 100, FOR_EVER, NOW), StoreOutcome::Stored);
}

#[test]
fn a_full_store_makes_room_by_dropping_the_expired_and_the_flushed() {
    let cost = Item::cost_of(1, 100);
    let store = store_of(3 * cost);
    set(&store, "a", 100, until(1_010), NOW);
    set(&store, "b", 100, until(1_020), NOW);
    set(&store, "c", 100, FOR_EVER, NOW);
    let later = Seconds::from_unix(1_010);
    assert_eq!(
        set(&store, "d", 100, FOR_EVER, Seconds::from_unix(1_009)),
        StoreOutcome::OutOfMemory
    );
    assert_eq!(set(&store, "d", 100, FOR_EVER, later), StoreOutcome::Stored);
    assert_eq!(
        set(&store, "e", 100, FOR_EVER, later),
        StoreOutcome::OutOfMemory
    );
    store.flush(later, later);
    assert_eq!(store.totals().0.items, 3, "a flush is lazy");
    assert_eq!(set(&store, "e", 100, FOR_EVER, later), StoreOutcome::Stored);
    assert_eq!((bytes(&store), store.totals().0.items), (cost, 1));
}

#[test]
fn an_item_that_was_given_an_end_later_makes_room_too() {
    let store = store_of(Item::cost_of(1, 100));
    set(&store, "a", 100, FOR_EVER, NOW);
    store.touch(b"a", Expiry::from_exptime(10, NOW), NOW);
    assert_eq!(
        set(&store, "b", 100, FOR_EVER, Seconds::from_unix(1_010)),
        StoreOutcome::Stored
    );
}

#[test]
fn a_counter_that_grows_a_digit_needs_room_for_it() {
    let store = store_of(Item::cost_of(1, 1));
    store.store(StoreVerb::Set, b"n", FOR_EVER, Value::Borrowed(b"9"), NOW);
    let counted = store.count(Direction::Up, b"n", 1, NOW);
    assert_eq!(counted, super::Counted::OutOfMemory);
    store.read(b"n", NOW, |item| assert_eq!(&*item.value, b"9"));
}
