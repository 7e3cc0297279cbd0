//! Random and mutated ids against a space that changes meanwhile, and a model that knows what each
//! live id names. Slots have seven generations, so that they are used up by the thousand.
//!
//! ```text
//! model    open, close, give away ─▶ one shard            of_raw[number] = the id that names it
//! guessers a number ─▶ enter? ─▶ if so: of_raw[what it named] must be that very number
//! ```
//!
//! `PROOF_IDS` says how many numbers are tried.

extern crate std;

use alloc::{sync::Arc, vec::Vec};
use core::{
    hint,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use std::{env, eprintln, thread};

use super::{IdSpace, Received, Shard};
use crate::{
    env::Unpark,
    id::{Id, Namespace},
    request::RawDescriptor,
};

const GENERATIONS: u16 = 7;
/// Ids that are live from the beginning to the end.
const KEPT: usize = 64;
const LIVE_MAX: usize = 400;
/// How many steps of the model may be due.
const AHEAD_MAX: usize = 64;
const KINDS: [Namespace; 3] = [Namespace::STREAM, Namespace::LISTENER, Namespace::SIGNALS];

struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % n
    }
}

/// What all know.
struct World {
    space: IdSpace,
    /// Every id that was ever issued, in order; 0 for those to come.
    issued: Vec<AtomicU64>,
    issued_len: AtomicUsize,
    /// Whether it was closed or given away before now.
    ended: Vec<AtomicBool>,
    /// By the host's number: the id that names it, or did last.
    of_raw: Vec<AtomicU64>,
    /// What the model has done.
    steps: AtomicUsize,
    tried: AtomicUsize,
    accepted: AtomicUsize,
}

impl World {
    fn new(issued_max: usize) -> Self {
        Self {
            space: IdSpace::with_generations(GENERATIONS),
            issued: (0..issued_max).map(|_| AtomicU64::new(0)).collect(),
            issued_len: AtomicUsize::new(0),
            ended: (0..issued_max).map(|_| AtomicBool::new(false)).collect(),
            of_raw: (0..issued_max).map(|_| AtomicU64::new(0)).collect(),
            steps: AtomicUsize::new(0),
            tried: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
        }
    }

    /// A number that may be anything, and of which issued id it was made.
    fn guess(&self, random: &mut Random) -> (u64, usize) {
        let len = self.issued_len.load(Ordering::Acquire);
        let at = match random.below(8) {
            0 => random.below(KEPT),
            1 => random.below(len),
            _ => len - 1 - random.below(len.min(2 * LIVE_MAX)),
        };
        let id = self.issued[at].load(Ordering::Acquire);
        let bits = match random.below(8) {
            0 => random.next(),
            1..=3 => id,
            4 => id ^ 1 << random.below(64),
            5 => id.wrapping_add(1),
            6 => id.wrapping_sub(1),
            _ => (id >> 32).wrapping_add(random.next() & 3) << 32 | id & 0xffff_ffff,
        };
        (bits, at)
    }

    /// How many steps belong to as many guesses as there were.
    fn steps_due(&self) -> usize {
        self.tried.load(Ordering::Relaxed) / 4
    }

    /// Guesses run ahead of it by a few steps at the most, also while its thread stands still.
    fn wait_for_the_model(&self) {
        while self.steps_due() > self.steps.load(Ordering::Relaxed) + AHEAD_MAX {
            thread::yield_now();
        }
    }

    fn try_one(&self, random: &mut Random) {
        let (bits, at) = self.guess(random);
        let Some(id) = Id::from_bits(bits) else {
            return;
        };
        let had_ended = self.ended[at].load(Ordering::Acquire);
        let is_issued = bits == self.issued[at].load(Ordering::Relaxed);
        let Ok(entered) = self.space.enter(id, Some(1)) else {
            assert!(!is_issued || at >= KEPT, "{id} is live and was refused");
            return;
        };
        assert!(!is_issued || !had_ended, "{id} is stale and was accepted");
        // While somebody is inside it is not given away; what is new is noted in the same step.
        let steps = self.steps.load(Ordering::Acquire);
        let names = &self.of_raw[entered.raw().0 as usize];
        while names.load(Ordering::Acquire) != bits {
            let late = self.steps.load(Ordering::Acquire) > steps + 1;
            let named = names.load(Ordering::Acquire);
            assert!(!late || named == bits, "{id} names what {named:#x} does");
            hint::spin_loop();
            thread::yield_now();
        }
        if random.below(64) == 0 {
            thread::yield_now();
        }
        let named = names.load(Ordering::Acquire);
        assert_eq!(
            named, bits,
            "{id} was given away although somebody is inside"
        );
        let described = self.space.describe(id).unwrap();
        assert!(described.users > 0 && described.kind == id.namespace());
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }
}

/// The only one who changes anything.
struct Model<'world> {
    world: &'world World,
    shard: Shard,
    /// Places of live ids in the list of issued ones.
    live: Vec<usize>,
    raws: u32,
    freed: usize,
    moved: usize,
}

impl Model<'_> {
    fn note(&mut self, id: Id, raw: RawDescriptor) {
        let at = self.world.issued_len.load(Ordering::Relaxed);
        self.world.of_raw[raw.0 as usize].store(id.to_bits(), Ordering::Release);
        self.world.issued[at].store(id.to_bits(), Ordering::Release);
        self.world.issued_len.store(at + 1, Ordering::Release);
        self.live.push(at);
    }

    fn open(&mut self, random: &mut Random) {
        let raw = RawDescriptor(self.raws);
        self.raws += 1;
        let kind = KINDS[random.below(KINDS.len())];
        let opened = self.shard.open(&self.world.space, kind, raw, None);
        self.note(opened.unwrap(), raw);
    }

    fn id(&self, at: usize) -> Id {
        Id::from_bits(self.world.issued[at].load(Ordering::Relaxed)).unwrap()
    }

    fn close(&mut self, index: usize) {
        let at = self.live.swap_remove(index);
        self.world.space.close(self.id(at)).unwrap();
        self.world.ended[at].store(true, Ordering::Release);
        assert!(self.world.space.close(self.id(at)).is_err());
    }

    fn give_away(&mut self, index: usize) {
        let (space, at) = (&self.world.space, self.live[index]);
        let old = self.id(at);
        let room = self.shard.reserve(space, old.namespace(), None).unwrap();
        match space.take_out(old) {
            // A guesser is inside.
            Err(_) => self.shard.give_up(room),
            Ok(named) => {
                self.live.swap_remove(index);
                self.world.ended[at].store(true, Ordering::Release);
                let raw = named.raw();
                let new = self.shard.fill(space, room, &named);
                self.note(new, raw);
                self.moved += 1;
            }
        }
    }

    fn step(&mut self, random: &mut Random) {
        let full = self.live.len() >= LIVE_MAX;
        let index = KEPT + random.below((self.live.len() - KEPT).max(1));
        match random.below(8) {
            0..=3 if !full => self.open(random),
            _ if index >= self.live.len() => self.open(random),
            0 | 7 => self.give_away(index),
            _ => self.close(index),
        }
        self.receive();
        self.world.steps.fetch_add(1, Ordering::AcqRel);
    }

    fn receive(&mut self) {
        let freed = &mut self.freed;
        self.shard.receive(&self.world.space, |received| {
            *freed += usize::from(!matches!(received, Received::Busy { .. }));
        });
    }
}

#[test]
fn no_guess_is_accepted_that_is_not_live_however_fast_ids_come_and_go() {
    let tries = env::var("PROOF_IDS").map_or(300_000, |count| count.parse().unwrap());
    let world = World::new(tries / 4 + 2 * LIVE_MAX);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut model = Model {
        world: &world,
        shard: Shard::new(usize::MAX, Arc::new(Nobody)),
        live: Vec::new(),
        raws: 0,
        freed: 0,
        moved: 0,
    };
    (0..2 * KEPT).for_each(|_| model.open(&mut random));
    thread::scope(|scope| {
        let guessers = [1, 2].map(|seed| {
            let (world, mut random) = (&world, Random(seed * 0x2545_f491_4f6c_dd1d));
            scope.spawn(move || {
                while world.tried.fetch_add(1, Ordering::Relaxed) < tries {
                    world.wait_for_the_model();
                    world.try_one(&mut random);
                }
            })
        });
        // A step for every few guesses: it may neither run away nor fall asleep.
        while !guessers.iter().all(thread::ScopedJoinHandle::is_finished) {
            if world.steps.load(Ordering::Relaxed) < world.steps_due() {
                model.step(&mut random);
            } else {
                thread::yield_now();
            }
        }
    });
    let (issued, retired) = (
        world.issued_len.load(Ordering::Relaxed),
        model.shard.retired(),
    );
    eprintln!(
        "{tries} numbers, {} accepted; {issued} ids issued, {} given away, {retired} slots retired",
        world.accepted.load(Ordering::Relaxed),
        model.moved
    );
    assert!(world.accepted.load(Ordering::Relaxed) > tries / 16);
    assert!(model.moved > 0 && retired > 0);
    while !model.live.is_empty() {
        model.close(0);
    }
    model.receive();
    assert_eq!((model.freed, model.shard.live()), (issued, 0));
    for at in 0..issued {
        assert!(
            !world.space.is_live(model.id(at)),
            "an id came back to life"
        );
    }
    model.shard.finish(&world.space);
}
