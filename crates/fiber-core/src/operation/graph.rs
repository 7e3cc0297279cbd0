//! Who waits for whom: found out whenever somebody is about to wait for a lock or for a fiber.
//!
//! ```text
//! caller ──waits for──▶ resource ──held by──▶ fiber ──waits for──▶ resource ──held by──▶ caller?
//! ```
//!
//! The fibers that wait are entered here, each with a node in its own frame, or in its block if it
//! has not started. Who is about to wait enters itself and looks where the edges lead, both under
//! one lock: so of the fibers of a circle the last one sees all the others, whichever workers they
//! are on, and it alone is told. An edge ends at a resource, and its holders are asked at that
//! moment: a lock that was handed over meanwhile has another holder, or none. An edge whose fiber
//! was given what it waits for, or was cancelled, and has not run since, is none any more, the
//! searcher's own no less than others': it may be one holder of several by now.
//!
//! Not entered are fibers that nobody can wait for: that have never held a lock, and whose handle
//! is gone. And who joins one that has never waited here closes no circle, nor does anybody else
//! before that one waits: such an edge is held back, see `Joiner`, and is entered by that one,
//! before its own.

use alloc::{borrow::ToOwned, vec::Vec};
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
    cell::WaitCell,
    deadlock::{Deadlock, Link},
    holder::{StoredWaits, Waits},
};
use crate::{fiber::Header, id::Id, spin::SpinLock};

/// So many fibers that wait for each other are looked at; a longer chain is not followed.
const SEARCH_MAX: usize = 512;

/// How many buckets there are without memory of their own.
const BUCKETS: usize = 64;
/// How many edges there are for each bucket before there are more buckets, and how many times more.
const CROWD: usize = 2;
const GROWTH: usize = 4;

/// The fibers of one world that wait for others.
pub(crate) struct WaitGraph {
    edges: SpinLock<Edges>,
}

struct Edges {
    first: [*const Edge; BUCKETS],
    /// Instead of those, once there are many edges; a power of two. As many as were ever needed.
    more: Vec<*const Edge>,
    len: usize,
    /// The number of the search that is under way.
    search: u64,
}

// SAFETY: the nodes are reached under the lock only, and each stays in place while it is entered
// (I-12).
unsafe impl Send for Edges {}

/// One fiber that waits. Who it is and what it waits for stand in its header meanwhile.
pub(crate) struct Edge {
    header: NonNull<Header>,
    cell: NonNull<WaitCell>,
    next: Cell<*const Self>,
    /// The search that has come here last, and from where, and since when that one's resource is
    /// held by this fiber.
    search: Cell<u64>,
    from: Cell<*const Self>,
    held_since: Cell<Option<&'static Location<'static>>>,
    /// What the search looks at after this one.
    after: Cell<*const Self>,
    _pinned: PhantomPinned,
}

impl Edge {
    /// The edge of `header`'s fiber to what it waits for with `cell`: that is `waits`, as is noted
    /// in its header. None if others than holders may end that, if it ends by itself in time, and
    /// if nobody can ever wait for this fiber.
    #[inline]
    pub(crate) fn of(header: &Header, waits: Option<StoredWaits>, cell: &WaitCell) -> Option<Self> {
        let counts = |waits: StoredWaits| waits.only_holders() && !waits.is_limited();
        let enters =
            waits.is_some_and(counts) && header.may_be_waited_for() && header.id().is_some();
        enters.then(|| Self::new(header, cell))
    }

    fn new(header: &Header, cell: &WaitCell) -> Self {
        Self {
            header: NonNull::from_ref(header),
            cell: NonNull::from_ref(cell),
            next: Cell::new(ptr::null()),
            search: Cell::new(0),
            from: Cell::new(ptr::null()),
            held_since: Cell::new(None),
            after: Cell::new(ptr::null()),
            _pinned: PhantomPinned,
        }
    }

    fn header(&self) -> &Header {
        // SAFETY: the edge is entered, or is being, by this very fiber, which stays (I-12).
        unsafe { self.header.as_ref() }
    }

    fn fiber(&self) -> Id {
        self.header().id().expect("who has no id is not entered")
    }

    /// Written before the edge is entered or held back, and wiped after it was taken out: both by
    /// the fiber's worker, which had the lock of the graph in between, as the caller has, unless
    /// nobody has reached the edge.
    #[inline]
    fn stored(&self) -> &StoredWaits {
        // SAFETY: noted for as long as the edge is entered, beside it (I-12).
        let stored = unsafe { self.header().waits().get().as_ref() };
        stored.expect("noted for as long as the edge is entered")
    }

    fn waits(&self) -> Waits<'_> {
        // SAFETY: the edge is entered, or is being, and what it leads to stays meanwhile (I-12).
        unsafe { self.stored().get() }
    }

    /// The fiber whose end it leads to, and who waits for that.
    #[inline]
    fn joined(&self) -> Option<&Header> {
        // SAFETY: the edge is entered, or is being, and what it leads to stays meanwhile (I-12).
        unsafe { self.stored().joined() }
    }

    /// Whether it waits with the fiber that it leads to until that waits itself, in `graph` too.
    #[inline]
    fn hold_back(&self, graph: &WaitGraph) -> bool {
        self.joined().is_some_and(|joined| {
            // Before: so a circle is never held back as a whole, see `Joiner`.
            self.header().joiner().close();
            joined.joiner().hold_back(self, graph)
        })
    }

    /// Takes it back from there; false if it was entered meanwhile, or always.
    #[inline]
    fn take_back(&self) -> bool {
        self.joined()
            .is_some_and(|joined| joined.joiner().take_back(self, joined.has_finished()))
    }

    /// Waits out claims, whose holders have nothing to do with the graph.
    fn is_waiting(&self) -> bool {
        // SAFETY: the edge is entered, and its performer's cell stays meanwhile (I-12).
        let cell = unsafe { self.cell.as_ref() };
        cell.is_left_waiting() && !cell.ends()
    }

    fn link(&self, held_since: &'static Location<'static>) -> Link {
        let waits = self.waits();
        Link {
            fiber: Some(self.fiber()),
            name: self.header().name().map(ToOwned::to_owned),
            waits_for: waits.resource.kind(),
            at: waits.site,
            held_since,
        }
    }
}

/// An edge that is entered; taken out when this is dropped.
pub(crate) struct Entered<'a> {
    graph: &'a WaitGraph,
    edge: Pin<&'a Edge>,
}

impl WaitGraph {
    pub(crate) const fn new() -> Self {
        Self {
            edges: SpinLock::new_static(Edges {
                first: [ptr::null(); BUCKETS],
                more: Vec::new(),
                len: 0,
                search: 0,
            }),
        }
    }

    /// One whose lock loom models.
    #[cfg(loom)]
    pub(super) fn modelled() -> Self {
        let edges = Edges {
            first: [ptr::null(); BUCKETS],
            more: Vec::new(),
            len: 0,
            search: 0,
        };
        Self {
            edges: SpinLock::new(edges),
        }
    }

    /// How many edges are entered.
    #[cfg(loom)]
    pub(super) fn len(&self) -> usize {
        self.edges.lock().len
    }

    /// Enters `edge`, unless it closes a circle that nothing opens again.
    ///
    /// # Safety
    /// The edge is the calling fiber's own, or that of one that its worker is about to park; it and
    /// what it leads to, which is noted in the fiber's header, stay in place until what this gives
    /// was dropped, or [`WaitGraph::leave`] called instead (I-12).
    #[inline]
    pub(crate) unsafe fn enter<'a>(&'a self, edge: Pin<&'a Edge>) -> Result<Entered<'a>, Deadlock> {
        if !edge.hold_back(self) {
            self.enter_now(&edge)?;
        }
        Ok(Entered { graph: self, edge })
    }

    #[inline(never)]
    fn enter_now(&self, edge: &Edge) -> Result<(), Deadlock> {
        let mut edges = self.edges.lock();
        if edges.is_crowded() {
            drop(edges);
            self.grow();
            edges = self.edges.lock();
        }
        edges.insert_joiners(edge);
        // Who was cancelled since it has looked last does not wait for anybody.
        if edge.is_waiting()
            && let Some(deadlock) = edges.search(edge)
        {
            return Err(deadlock);
        }
        edges.insert(edge);
        Ok(())
    }

    /// Makes more buckets. Memory is taken and given back without the lock.
    #[cold]
    fn grow(&self) {
        let len = self.edges.lock().buckets().len() * GROWTH;
        let mut more = Vec::with_capacity(len);
        more.resize(len, ptr::null());
        let mut edges = self.edges.lock();
        // Somebody else may have been faster.
        if edges.is_crowded() {
            edges.take_buckets(&mut more);
        }
        drop(edges);
    }

    /// Takes `edge` out, if it was entered; what it leads to is still noted.
    #[inline]
    pub(crate) fn leave(&self, edge: &Edge) {
        if !edge.take_back() {
            self.remove(edge);
        }
    }

    #[inline(never)]
    fn remove(&self, edge: &Edge) {
        self.edges.lock().remove(edge);
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.graph.leave(&self.edge);
    }
}

impl Edges {
    fn buckets(&self) -> &[*const Edge] {
        match self.more.is_empty() {
            true => &self.first,
            false => &self.more,
        }
    }

    fn bucket(&mut self, fiber: Id) -> &mut *const Edge {
        let buckets: &mut [_] = match self.more.is_empty() {
            true => &mut self.first,
            false => &mut self.more,
        };
        &mut buckets[fiber.key() as usize & (buckets.len() - 1)]
    }

    fn is_crowded(&self) -> bool {
        self.len >= self.buckets().len() * CROWD
    }

    /// Puts all edges into `more` buckets; those before are there afterwards.
    fn take_buckets(&mut self, more: &mut Vec<*const Edge>) {
        let first = self.first;
        mem::swap(&mut self.more, more);
        let before = match more.is_empty() {
            true => &first[..],
            false => &more[..],
        };
        self.len = 0;
        for &bucket in before {
            let mut at = reach(bucket);
            while let Some(edge) = at {
                at = reach(edge.next.get());
                self.insert(edge);
            }
        }
    }

    fn insert(&mut self, edge: &Edge) {
        self.len += 1;
        let bucket = self.bucket(edge.fiber());
        edge.next.set(*bucket);
        *bucket = edge;
    }

    /// Inserts the edges that were held back until the fiber of `edge` waits: of who joins it, of
    /// who joins that one, and so on. From here on they leave under the lock. Each is inserted once
    /// at the most for the wait that it is of.
    fn insert_joiners(&mut self, edge: &Edge) {
        let mut at = edge.header().joiner().take();
        // SAFETY: it stays where it is until it was taken back, which its fiber finds that it was
        // not: then it needs the lock that the caller has (I-12).
        while let Some(joiner) = unsafe { at.as_ref() } {
            self.insert(joiner);
            at = joiner.header().joiner().take();
        }
    }

    fn remove(&mut self, edge: &Edge) {
        let bucket = self.bucket(edge.fiber());
        let mut before: Option<&Edge> = None;
        let mut at = reach(*bucket);
        while let Some(other) = at {
            if ptr::eq(other, edge) {
                match before {
                    None => *bucket = edge.next.get(),
                    Some(before) => before.next.set(edge.next.get()),
                }
                self.len -= 1;
                break;
            }
            before = Some(other);
            at = reach(other.next.get());
        }
    }

    fn find(&self, fiber: Id) -> Option<&Edge> {
        let buckets = self.buckets();
        let mut at = reach(buckets[fiber.key() as usize & (buckets.len() - 1)]);
        while let Some(edge) = at {
            if edge.fiber() == fiber {
                return Some(edge);
            }
            at = reach(edge.next.get());
        }
        None
    }

    /// Follows every edge from `start` on, breadth first, until one leads back.
    fn search(&mut self, start: &Edge) -> Option<Deadlock> {
        self.search += 1;
        let (mut at, mut last, mut looked_at) = (start, start, 0);
        loop {
            let mut closed = None;
            at.waits().resource.holders(&mut |holder| {
                let Some(fiber) = holder.fiber else { return };
                if fiber == start.fiber() {
                    closed = Some(holder.since);
                } else if let Some(edge) = self.find(fiber)
                    && edge.is_waiting()
                    && edge.search.replace(self.search) != self.search
                {
                    edge.from.set(at);
                    edge.held_since.set(Some(holder.since));
                    edge.after.set(ptr::null());
                    last.after.set(edge);
                    last = edge;
                }
            });
            if let Some(since) = closed {
                return Some(circle(start, at, since));
            }
            looked_at += 1;
            match reach(at.after.get()) {
                Some(next) if looked_at < SEARCH_MAX => at = next,
                _ => return None,
            }
        }
    }
}

/// The way from `start` to `end`, whose resource `start` holds since then.
fn circle(start: &Edge, end: &Edge, since: &'static Location<'static>) -> Deadlock {
    let mut links = Vec::new();
    let (mut at, mut held_since) = (end, since);
    loop {
        links.push(at.link(held_since));
        if ptr::eq(at, start) {
            break;
        }
        held_since = at.held_since.get().expect("the search has come here");
        at = reach(at.from.get()).expect("the search has come here from somewhere");
    }
    links.reverse();
    Deadlock::new(links)
}

impl fmt::Debug for WaitGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGraph").finish_non_exhaustive()
    }
}

fn reach<'a>(edge: *const Edge) -> Option<&'a Edge> {
    // SAFETY: the table holds entered edges only, which stay in place, and the caller has its lock
    // (I-12).
    unsafe { edge.as_ref() }
}
