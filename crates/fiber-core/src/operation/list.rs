//! Lists of waiting performers.
//!
//! A primitive keeps one list (or one per side) under its lock. Nodes are linked both ways, so
//! that a loser unlinks itself at once, wherever it stands.

use core::{
    cell::Cell,
    fmt,
    marker::PhantomPinned,
    mem,
    panic::Location,
    pin::Pin,
    ptr::{self, NonNull},
};

use super::{
    cell::{Both, Claim, WaitCell},
    holder::Holder,
    owed::Debt,
};
use crate::spin;

/// One arm of one performer, in the performer's frame.
///
/// All fields but `value` and `published` are touched under the lock of the list that it is linked
/// in; before it is linked, and after it has been unlinked, by the performer alone.
pub struct WaitNode {
    prev: Cell<*const Self>,
    next: Cell<*const Self>,
    linked: Cell<bool>,
    /// Whether the cell is claimed through this node, of several that are to be claimed at once.
    claimed: Cell<bool>,
    /// The performer's own: partners unlink a node and leave this as it is.
    published: Cell<bool>,
    cell: Cell<*const WaitCell>,
    arm: Cell<u16>,
    value: Cell<*mut ()>,
    _pinned: PhantomPinned,
}

// SAFETY: a node that is linked is pinned and so not moved; one that is not is the performer's
// alone, whichever thread that is on (I-12).
unsafe impl Send for WaitNode {}

impl WaitNode {
    /// An unlinked node.
    pub const fn new() -> Self {
        Self {
            prev: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            linked: Cell::new(false),
            claimed: Cell::new(false),
            published: Cell::new(false),
            cell: Cell::new(ptr::null()),
            arm: Cell::new(0),
            value: Cell::new(ptr::null_mut()),
            _pinned: PhantomPinned,
        }
    }

    /// Whether it is in a list; asked under the list's lock.
    pub fn is_linked(&self) -> bool {
        self.linked.get()
    }

    /// Whether its performer has ever linked it: if not, there is nothing to retract, and no lock
    /// to take for that. Asked by the performer, with or without the lock.
    #[inline]
    pub fn was_published(&self) -> bool {
        self.published.get()
    }

    /// What the primitive left here for the partner: where a value is, or goes.
    pub fn value(&self) -> *mut () {
        self.value.get()
    }

    /// The arm to settle the performer on.
    pub fn arm(&self) -> u16 {
        self.arm.get()
    }
}

impl Default for WaitNode {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitNode")
            .field("linked", &self.linked.get())
            .finish_non_exhaustive()
    }
}

/// Performers in the order in which they came. Lives under the lock of its primitive.
pub struct WaitList {
    head: *const WaitNode,
    tail: *const WaitNode,
}

// SAFETY: the nodes are reached only through `&mut`, that is under the primitive's lock, and they
// stay in place while they are linked (I-12).
unsafe impl Send for WaitList {}

/// A partner that was found, taken and unlinked.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "implementors of Operation match on it"
)]
pub enum Match<'list> {
    /// This one: move the value through its node's `value`, then commit.
    Partner(Partner<'list>),
    /// Nobody waits whom one could meet.
    Nobody,
    /// The caller's own cell was taken by somebody else: stop publishing and wait.
    OwnTaken,
}

/// A partner that waits no more: its performer is held in place until it is committed.
#[derive(Debug)]
#[must_use = "the partner waits until it is committed"]
pub struct Partner<'list> {
    theirs: Claim<'list>,
    ours: Option<Claim<'list>>,
    value: *mut (),
    arm: u16,
}

impl Partner<'_> {
    /// What the partner's primitive left in its node.
    #[inline]
    pub fn value(&self) -> *mut () {
        self.value
    }

    /// The partner as the holder of what it is about to be given, since then.
    pub fn holder(&self, since: &'static Location<'static>) -> Holder {
        Holder::new(self.theirs.fiber(), since)
    }

    /// Lets the partner go, its value moved. `own_arm` is what the caller's own cell, if it had
    /// published arms, is settled on.
    #[inline]
    pub fn commit(self, own_arm: u16) {
        if let Some(ours) = self.ours {
            ours.settle(own_arm);
        }
        self.theirs.commit(self.arm);
    }
}

impl WaitList {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            head: ptr::null(),
            tail: ptr::null(),
        }
    }

    /// Whether no node is linked.
    pub const fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Whether `node` is the one that waits longest.
    #[inline]
    pub fn is_first(&self, node: &WaitNode) -> bool {
        ptr::eq(self.head, node)
    }

    /// What the primitive left in the node that waits longest.
    pub fn first_value(&self) -> Option<*mut ()> {
        reach(self.head).map(WaitNode::value)
    }

    /// Whether the `value` of one that stands before `node` fits, and that one will stay there, for
    /// all one can tell: it was not cancelled, and there is no limit of time around its wait.
    pub fn any_stays_before(&self, node: &WaitNode, mut fits: impl FnMut(*mut ()) -> bool) -> bool {
        let mut at = self.head;
        while let Some(before) = reach(at)
            && !ptr::eq(before, node)
        {
            // SAFETY: a linked node's performer stays in place, its cell with it (I-12).
            if fits(before.value.get()) && unsafe { &*before.cell.get() }.stays() {
                return true;
            }
            at = before.next.get();
        }
        false
    }

    /// Wakes the performer that waits longest and leaves it linked. It looks again whether it can
    /// commit ([`Operation::look_again`]) or leaves the list, and takes the list's lock for either:
    /// so whoever nudges has an answer, if not at once.
    ///
    /// [`Operation::look_again`]: super::Operation::look_again
    pub fn nudge_first(&mut self) {
        if let Some(first) = reach(self.head) {
            // SAFETY: a linked node's performer stays in place, its cell with it (I-12).
            unsafe { &*first.cell.get() }.nudge();
        }
    }

    /// [`WaitList::nudge_first`] that is put off until the calling fiber is switched out, when its
    /// worker pays `debt`, unless that was [forgiven](super::forgive_debt). False, and nothing
    /// happens, if the performer is not a fiber of the caller's worker, or the caller owes
    /// something else.
    ///
    /// # Safety
    /// The performers in this list wait for what `debt` is a part of: it stays in place until the
    /// longest-waiting one has run (I-12).
    pub unsafe fn owe_first(&mut self, debt: &dyn Debt) -> bool {
        reach(self.head).is_some_and(|first| {
            // SAFETY: a linked node's performer stays in place, its cell with it (I-12).
            let cell = unsafe { &*first.cell.get() };
            // SAFETY: it is linked, and the rest is the caller's promise (I-12).
            unsafe { cell.owe(debt) }
        })
    }

    /// Appends `node` for `arm` of the performer of `cell`.
    ///
    /// # Safety
    /// Under the primitive's lock; `node` is unlinked, and it and `cell` stay in place until the
    /// node was unlinked, by [`WaitList::remove`] or by a partner (I-12).
    #[inline]
    pub unsafe fn push(&mut self, node: Pin<&WaitNode>, cell: &WaitCell, arm: u16, value: *mut ()) {
        debug_assert!(!node.linked.get(), "a node is in one list");
        let node = node.get_ref();
        node.cell.set(cell);
        node.arm.set(arm);
        node.value.set(value);
        node.linked.set(true);
        node.published.set(true);
        node.prev.set(self.tail);
        node.next.set(ptr::null());
        match reach(self.tail) {
            None => self.head = node,
            Some(tail) => tail.next.set(node),
        }
        self.tail = node;
    }

    /// Unlinks `node` if it is linked. Under the primitive's lock, on the list that it was pushed
    /// to.
    #[inline]
    pub fn remove(&mut self, node: &WaitNode) {
        if !node.linked.replace(false) {
            return;
        }
        let (prev, next) = (node.prev.get(), node.next.get());
        match reach(prev) {
            None => self.head = next,
            Some(prev) => prev.next.set(next),
        }
        match reach(next) {
            None => self.tail = prev,
            Some(next) => next.prev.set(prev),
        }
    }

    /// Finds the longest-waiting performer that can be met, takes it and unlinks its node. `own`
    /// is the caller's cell if arms of it are published already.
    ///
    /// Nodes of performers that have committed elsewhere are passed over: they unlink themselves.
    /// The list's lock stays held until the partner is committed, as the borrow says.
    #[inline]
    pub fn find<'list>(&'list mut self, own: Option<&'list WaitCell>) -> Match<'list> {
        if self.head.is_null() {
            return Match::Nobody;
        }
        self.find_while(own, |_| true)
    }

    /// [`WaitList::find`] that ends at the first node whose `value` does not fit: those behind it
    /// are not let past. The node may turn out to be a performer's that has gone, so one who
    /// unlinks itself from such a list looks again on behalf of those behind it.
    pub fn find_while<'list>(
        &'list mut self,
        own: Option<&'list WaitCell>,
        mut fits: impl FnMut(*mut ()) -> bool,
    ) -> Match<'list> {
        self.search(own, |value| if fits(value) { Fit::Meet } else { Fit::End })
    }

    /// [`WaitList::find`] that passes over the nodes whose `value` does not fit.
    pub fn find_where<'list>(
        &'list mut self,
        own: Option<&'list WaitCell>,
        mut fits: impl FnMut(*mut ()) -> bool,
    ) -> Match<'list> {
        self.search(own, |value| if fits(value) { Fit::Meet } else { Fit::Pass })
    }

    fn search<'list>(
        &'list mut self,
        own: Option<&'list WaitCell>,
        mut fits: impl FnMut(*mut ()) -> Fit,
    ) -> Match<'list> {
        let mut at = self.head;
        while let Some(node) = reach(at) {
            at = node.next.get();
            match fits(node.value.get()) {
                Fit::Meet => {}
                Fit::Pass => continue,
                Fit::End => return Match::Nobody,
            }
            // SAFETY: a linked node's performer stays in place, its cell with it (I-12).
            let cell: &'list WaitCell = unsafe { &*node.cell.get() };
            // One whose only arm is about to be published is known to nobody yet.
            let (ours, theirs) = match own.filter(|own| !own.is_simple()) {
                // One does not meet oneself.
                Some(own) if ptr::eq(own, cell) => continue,
                Some(own) => {
                    // SAFETY: we hold this list's lock, by `&mut self`, and the node is linked
                    // in it (I-12).
                    match unsafe { WaitCell::claim_both(own, cell) } {
                        Both::Claimed { ours, theirs } => (Some(ours), theirs),
                        Both::PeerGone => continue,
                        Both::OwnTaken => return Match::OwnTaken,
                    }
                }
                // SAFETY: as above (I-12).
                None => match unsafe { cell.claim() } {
                    Some(theirs) => (None, theirs),
                    None => continue,
                },
            };
            let (value, arm) = (node.value.get(), node.arm.get());
            self.remove(node);
            return Match::Partner(Partner {
                theirs,
                ours,
                value,
                arm,
            });
        }
        Match::Nobody
    }
}

/// Whether as many as are needed were met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "implementors of Operation match on it"
)]
pub enum Met {
    /// All of them, at one moment; they and the caller are committed.
    All,
    /// Fewer wait; nobody is committed.
    TooFew,
    /// The caller's own cell was taken by somebody else: stop publishing and wait.
    OwnTaken,
}

/// Meeting several performers at once, or none.
///
/// Each is claimed without waiting: where another claim is in the way, all are let go and claimed
/// anew, so that nobody who has claims waits for one who waits for them.
impl WaitList {
    /// Commits the `needed` performers that wait longest, if so many can be met at one moment, and
    /// the caller's own cell on its arm, if arms of it are published already.
    pub fn commit_all(&mut self, own: Option<(&WaitCell, u16)>, needed: usize) -> Met {
        let mut spins = 0;
        loop {
            let ours = match own {
                None => None,
                Some((cell, arm)) => match cell.claim_own() {
                    None => return Met::OwnTaken,
                    Some(claim) => Some((claim, arm)),
                },
            };
            let met = self.claim_all(own.map(|(cell, _)| cell), needed);
            if met == Some(needed) {
                if let Some((claim, arm)) = ours {
                    claim.settle(arm);
                }
                self.end_claims(|list, node, claim| {
                    list.remove(node);
                    claim.commit(node.arm.get());
                });
                return Met::All;
            }
            self.end_claims(|_, _, claim| drop(claim));
            drop(ours);
            if met.is_some() {
                return Met::TooFew;
            }
            spin::relax(&mut spins);
        }
    }

    /// Claims as many as there are, up to `needed`; `None` if another claim is in the way.
    fn claim_all(&self, own: Option<&WaitCell>, needed: usize) -> Option<usize> {
        let (mut met, mut at) = (0, self.head);
        while let Some(node) = reach(at)
            && met < needed
        {
            at = node.next.get();
            // SAFETY: a linked node's performer stays in place, its cell with it (I-12).
            let cell = unsafe { &*node.cell.get() };
            // One does not meet oneself, nor anybody twice.
            if own.is_some_and(|own| ptr::eq(own, cell)) || self.is_claimed(cell) {
                continue;
            }
            match cell.try_claim() {
                Ok(claim) => {
                    mem::forget(claim);
                    node.claimed.set(true);
                    met += 1;
                }
                Err(state) if WaitCell::is_claim(state) => return None,
                Err(_) => {}
            }
        }
        Some(met)
    }

    /// Whether `cell` was claimed through a node before. Claims are rare: few nodes are looked at
    /// but those of performers that stand here with several arms.
    fn is_claimed(&self, cell: &WaitCell) -> bool {
        if cell.is_waiting() {
            return false;
        }
        let mut at = self.head;
        while let Some(node) = reach(at) {
            if node.claimed.get() && ptr::eq(node.cell.get(), cell) {
                return true;
            }
            at = node.next.get();
        }
        false
    }

    fn end_claims(&mut self, mut end: impl FnMut(&mut Self, &WaitNode, Claim<'_>)) {
        let mut at = self.head;
        while let Some(node) = reach(at) {
            at = node.next.get();
            if node.claimed.replace(false) {
                // SAFETY: a linked node's performer stays in place, its cell with it (I-12).
                let cell = unsafe { &*node.cell.get() };
                end(self, node, cell.resume_claim());
            }
        }
    }
}

/// What to do with a node.
enum Fit {
    Meet,
    Pass,
    End,
}

impl Default for WaitList {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitList")
            .field("is_empty", &self.is_empty())
            .finish_non_exhaustive()
    }
}

fn reach<'a>(node: *const WaitNode) -> Option<&'a WaitNode> {
    // SAFETY: the list holds linked nodes only, which stay in place while they are linked, and the
    // caller holds the list (I-12).
    NonNull::new(node.cast_mut()).map(|node| unsafe { node.as_ref() })
}
