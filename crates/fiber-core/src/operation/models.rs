//! Loom models of the wait cell: performers that really perform, on threads that really park.

extern crate std;

use alloc::{sync::Arc, vec::Vec};
use core::{
    cell::UnsafeCell,
    pin::{Pin, pin},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use loom::thread;

use super::{
    Interrupted, Latch, Match, Met, Operation, Published, WaitCell, WaitList, WaitNode, Waiter,
    cell::CellState, perform, perform_until,
};
use crate::{
    env::{Instant, ThreadHooks, Unpark},
    spin::SpinLock,
};

static HOOKS: ThreadHooks = ThreadHooks {
    slot: ptr::null,
    set_slot: |_| {},
    park: |_| thread::park(),
    unparker: || Arc::new(Thread(thread::current())),
    relax: thread::yield_now,
    now,
    is_unwinding: std::thread::panicking,
    watch_panics: |_| {},
};

/// A clock on which the shortest time is over when it is looked at again.
fn now() -> Instant {
    static NANOS: AtomicU64 = AtomicU64::new(0);
    Instant::from_nanos(NANOS.fetch_add(1, Ordering::Relaxed))
}

struct Thread(thread::Thread);

impl Unpark for Thread {
    fn unpark(&self) {
        self.0.unpark();
    }
}

fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    HOOKS.install();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// Where performers meet: one list for each of two roles.
#[derive(Default)]
struct Place([WaitList; 2]);

type Places = [SpinLock<Place>; 2];

fn places() -> Arc<Places> {
    Arc::new([
        SpinLock::new(Place::default()),
        SpinLock::new(Place::default()),
    ])
}

/// Meets somebody of the other role, in either of two places: a choice of `N` arms.
struct Meet<'a, const N: usize> {
    places: [&'a SpinLock<Place>; N],
    roles: [usize; N],
    nodes: [WaitNode; N],
    /// What the partner leaves here: its name.
    met: UnsafeCell<u32>,
    name: u32,
    is_simple: bool,
}

impl<'a, const N: usize> Meet<'a, N> {
    fn new(name: u32, arms: [(&'a SpinLock<Place>, usize); N]) -> Self {
        Self {
            places: arms.map(|arm| arm.0),
            roles: arms.map(|arm| arm.1),
            nodes: [const { WaitNode::new() }; N],
            met: UnsafeCell::new(0),
            name,
            is_simple: false,
        }
    }
}

impl<'a> Meet<'a, 1> {
    /// In one place, and says that it is so simple.
    fn simply(name: u32, place: &'a SpinLock<Place>, role: usize) -> Self {
        Self {
            is_simple: true,
            ..Self::new(name, [(place, role)])
        }
    }
}

/// The two words through which partners tell each other their names.
struct Card {
    met: *mut u32,
    name: u32,
}

// SAFETY: each arm is looked at and linked under one lock (I-2), and `retract` unlinks (I-12).
unsafe impl<const N: usize> Operation for Meet<'_, N> {
    /// The arm, and whom it has met.
    type Output = (u16, u32);

    fn name(&self) -> &'static str {
        "somebody"
    }

    fn arms(&self) -> u16 {
        N.try_into().expect("one or two")
    }

    fn is_simple(&self) -> bool {
        self.is_simple
    }

    fn try_now(&mut self) -> Option<u16> {
        None
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        for (arm, number) in (0..N).zip(0..) {
            let mut place = this.places[arm].lock();
            let other = 1 - this.roles[arm];
            match place.0[other].find(Some(cell)) {
                Match::Partner(partner) => {
                    // SAFETY: the partner is held in place, its card with it (I-12).
                    let card = unsafe { &*partner.value().cast::<Card>() };
                    // SAFETY: as above (I-12).
                    unsafe { card.met.write(this.name) };
                    // SAFETY: our cell is ours, so nobody else writes here (I-12).
                    unsafe { this.met.get().write(card.name) };
                    partner.commit(base + number);
                    return Published::Committed(number);
                }
                Match::OwnTaken => return Published::Waiting,
                Match::Nobody => {}
            }
            let card = alloc::boxed::Box::new(Card {
                met: this.met.get(),
                name: this.name,
            });
            let card = alloc::boxed::Box::into_raw(card);
            // SAFETY: pinned with the operation (I-12).
            let node = unsafe { Pin::new_unchecked(&this.nodes[arm]) };
            // SAFETY: under the lock; node and cell stay until `retract` (I-12).
            unsafe { place.0[this.roles[arm]].push(node, cell, base + number, card.cast()) };
        }
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, _winner: Option<u16>) {
        for (arm, node) in self.nodes.iter().enumerate() {
            self.places[arm].lock().0[self.roles[arm]].remove(node);
            let card = node.value().cast::<Card>();
            if !card.is_null() {
                // SAFETY: made by `publish`, and the list does not hold it any more (I-12).
                drop(unsafe { alloc::boxed::Box::from_raw(card) });
            }
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> Self::Output {
        // SAFETY: whoever wrote it has settled our cell before (I-12).
        (arm, unsafe { self.met.get().read() })
    }
}

fn assert_empty(places: &Places) {
    for place in places {
        assert!(place.lock().0.iter().all(WaitList::is_empty));
    }
}

/// Two partners look for the same performer, in the two places in which it waits.
#[test]
fn loom_one_of_two_partners_gets_a_waiter() {
    model(2, || {
        let places = places();
        let seek = |place: usize, name: u32| {
            let places = Arc::clone(&places);
            move || {
                let mut place = places[place].lock();
                let Match::Partner(partner) = place.0[0].find(None) else {
                    return 0;
                };
                // SAFETY: the partner is held in place, its card with it (I-12).
                let card = unsafe { &*partner.value().cast::<Card>() };
                // SAFETY: as above (I-12).
                unsafe { card.met.write(name) };
                partner.commit(9);
                name
            }
        };
        let seekers = [thread::spawn(seek(0, 7)), thread::spawn(seek(1, 8))];
        let choice = Meet::new(1, [(&places[0], 0), (&places[1], 0)]);
        let met = perform_until(choice, Some(Duration::from_nanos(1)));
        let found: Vec<u32> = seekers
            .map(|seeker| seeker.join().unwrap())
            .into_iter()
            .filter(|name| *name != 0)
            .collect();
        match met {
            Ok((arm, name)) => {
                assert_eq!(name, u32::from(arm) + 7, "the arm is not the partner's");
                assert_eq!(found, [name], "two have committed one performer");
            }
            Err(error) => {
                assert_eq!(error, Interrupted::Elapsed);
                assert!(found.is_empty(), "a commit was lost");
            }
        }
        assert_empty(&places);
    });
}

/// Wakes nobody, so that it orders nothing: what a performer sees it sees through its cell.
struct Quiet;

impl Unpark for Quiet {
    fn unpark(&self) {}
}

/// What the partner wrote before it settled the cell is there when the cell is seen settled.
#[test]
fn loom_a_settled_cell_shows_what_was_moved() {
    model(3, || {
        let place = loom::sync::Arc::new((
            SpinLock::new(WaitList::new()),
            loom::cell::UnsafeCell::new(0),
        ));
        let cell = WaitCell::new(Waiter::thread(Arc::new(Quiet)));
        let node = pin!(WaitNode::new());
        // SAFETY: node and cell stay until the cell is settled; then the node is unlinked (I-12).
        unsafe {
            place
                .0
                .lock()
                .push(node.as_ref(), &cell, 3, ptr::null_mut())
        };
        let other = loom::sync::Arc::clone(&place);
        let partner = thread::spawn(move || {
            let mut list = other.0.lock();
            let Match::Partner(partner) = list.find(None) else {
                panic!("somebody waits");
            };
            // SAFETY: the performer reads it only when its cell is settled (I-12).
            other.1.with_mut(|value| unsafe { *value = 5 });
            partner.commit(0);
        });
        while cell.state() != CellState::Settled(3) {
            thread::yield_now();
        }
        // SAFETY: as above (I-12).
        assert_eq!(place.1.with(|value| unsafe { *value }), 5);
        partner.join().unwrap();
    });
}

/// A performer gives up while a partner commits it.
fn one_gives_up(meet: fn(u32, &SpinLock<Place>, usize) -> Meet<'_, 1>) {
    model(3, move || {
        let places = places();
        let other = Arc::clone(&places);
        let partner = thread::spawn(move || {
            perform_until(meet(2, &other[0], 1), Some(Duration::from_nanos(1)))
        });
        let mine = perform_until(meet(1, &places[0], 0), Some(Duration::from_nanos(1)));
        match (mine, partner.join().unwrap()) {
            (Ok(mine), Ok(theirs)) => assert_eq!((mine, theirs), ((0, 2), (0, 1))),
            (Err(_), Err(_)) => {}
            (mine, theirs) => panic!("only one has met the other: {mine:?} {theirs:?}"),
        }
        assert_empty(&places);
    });
}

#[test]
fn loom_withdrawing_loses_no_commit() {
    one_gives_up(|name, place, role| Meet::new(name, [(place, role)]));
}

#[test]
fn loom_retracting_what_is_simple_loses_no_commit() {
    one_gives_up(|name, place, role| Meet::simply(name, place, role));
}

/// A choice and one who stands in one place meet in that, or the latter gives up.
#[test]
fn loom_a_choice_meets_one_that_is_simple_or_neither() {
    model(3, || {
        let places = places();
        let other = Arc::clone(&places);
        let partner = thread::spawn(move || {
            let meet = Meet::simply(2, &other[1], 1);
            perform_until(meet, Some(Duration::from_nanos(1)))
        });
        let choice = Meet::new(1, [(&places[0], 0), (&places[1], 0)]);
        let mine = perform_until(choice, Some(Duration::from_nanos(1)));
        match (mine, partner.join().unwrap()) {
            (Ok(mine), Ok(theirs)) => assert_eq!((mine, theirs), ((1, 2), (0, 1))),
            (Err(_), Err(_)) => {}
            (mine, theirs) => panic!("only one has met the other: {mine:?} {theirs:?}"),
        }
        assert_empty(&places);
    });
}

/// Two choices face each other in two places: each has published one arm when it meets the other.
fn two_choices(first: usize, second: usize, preemptions: usize) {
    model(preemptions, move || {
        let places = places();
        let other = Arc::clone(&places);
        let partner = thread::spawn(move || {
            perform(Meet::new(2, [(&other[second], 1), (&other[1 - second], 1)]))
        });
        let meet = Meet::new(1, [(&places[first], 0), (&places[1 - first], 0)]);
        let (mine, name) = perform(meet);
        let (theirs, by) = partner.join().expect("it has met us");
        assert_eq!((name, by), (2, 1));
        let place_of = |arm: u16, start: usize| if arm == 0 { start } else { 1 - start };
        assert_eq!(
            place_of(mine, first),
            place_of(theirs, second),
            "they have met in two places"
        );
        assert_empty(&places);
    });
}

#[test]
fn loom_two_choices_meet_once_in_the_same_order() {
    two_choices(0, 0, 3);
}

#[test]
fn loom_two_choices_meet_once_in_crossed_order() {
    two_choices(0, 1, 3);
}

/// Somebody who wants to meet two takes a choice and lets it go again, while that is about to meet
/// another one by another arm.
#[test]
fn loom_one_who_finds_too_few_keeps_nobody_from_meeting_another() {
    model(3, || {
        let cells = [(); 2].map(|()| WaitCell::new(Waiter::thread(Arc::new(Quiet))));
        let nodes = pin!([WaitNode::new(), WaitNode::new()]);
        let [first, second] = &nodes.as_ref().get_ref();
        let lists = loom::sync::Arc::new([(); 2].map(|()| SpinLock::new(WaitList::new())));
        for ((list, node), cell) in lists.iter().zip([first, second]).zip(&cells) {
            // SAFETY: nodes and cells stay until the lists are gone, which the last thread that
            // has them does not outlive (I-12).
            unsafe {
                let node = Pin::new_unchecked(node);
                list.lock().push(node, cell, 0, ptr::null_mut());
            }
        }
        let others = loom::sync::Arc::clone(&lists);
        let wants_two = thread::spawn(move || others[0].lock().commit_all(None, 2));
        match lists[1].lock().find(Some(&cells[0])) {
            Match::Partner(partner) => partner.commit(1),
            unmet => panic!("it could have met the other: {unmet:?}"),
        }
        assert_eq!(wants_two.join().unwrap(), Met::TooFew);
        assert_eq!(cells[0].state(), CellState::Settled(1));
        assert_eq!(cells[1].state(), CellState::Settled(0));
    });
}

/// A latch lets through one that comes as it is opened, and shows it what was written before.
#[test]
fn loom_a_latch_opens_with_what_was_written() {
    model(3, || {
        let latch = loom::sync::Arc::new((Latch::new(), loom::cell::UnsafeCell::new(0)));
        let other = loom::sync::Arc::clone(&latch);
        let waiter = thread::spawn(move || {
            perform(other.0.wait_operation("the latch"));
            // SAFETY: written before the latch was opened, and never again (I-2).
            other.1.with(|value| unsafe { *value })
        });
        // SAFETY: nobody reads before the latch is open (I-2).
        latch.1.with_mut(|value| unsafe { *value = 5 });
        latch.0.open();
        assert_eq!(waiter.join().unwrap(), 5);
        assert!(latch.0.is_open());
    });
}
