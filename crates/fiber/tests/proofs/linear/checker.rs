//! Whether a history is linearizable: Wing and Gong's search, with Lowe's memory of where it has
//! been.
//!
//! ```text
//! time ──▶    a ├────────┤                 a call takes effect once, at a moment in its interval,
//!                b ├───────────────┤       as far as its model lets it
//!                       c ├──┤
//!             the horizon ↑ is the first end among those that have not taken effect yet: who has
//!                           begun before it may be next
//! ```
//!
//! What blocks has no step in its model while it must wait. So a call may not return too early;
//! that none sleeps too long is what the moment of quiet is for: when nothing happens any more, no
//! call that is still waiting may have been able to go on.

use core::{fmt::Debug, hash::Hash};
use std::collections::HashSet;

/// An object, told as a sequence of calls.
pub(crate) trait Model: Clone + Eq + Hash + Debug + Send {
    /// What was asked.
    type Op: Clone + Debug + Send;
    /// What came of it.
    type Ret: Clone + Debug + Send;

    /// The object after `call`, if the call could take effect now, with this result.
    fn step(&self, call: &Call<Self>) -> Option<Self>;

    /// The object after two calls of which neither can take effect without the other.
    fn together(&self, _one: &Call<Self>, _other: &Call<Self>) -> Option<Self> {
        None
    }

    /// Whether it is right that all of these wait, and nobody else does anything.
    fn may_sleep(&self, waiting: &[(usize, Self::Op)]) -> bool;
}

/// A call, or a part of one that takes effect in several steps.
#[derive(Clone, Debug)]
pub(crate) struct Call<M: Model> {
    pub(crate) fiber: usize,
    pub(crate) op: M::Op,
    pub(crate) ret: M::Ret,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// Calls of others that have overlapped with it, those that were cancelled included.
    pub(crate) beside: Vec<M::Op>,
    /// Whether it is, or ends, a call that was waiting at the moment of quiet, and returned later.
    pub(crate) was_asleep: bool,
}

/// All calls, and who was waiting when nothing happened any more.
#[derive(Debug)]
pub(crate) struct History<M: Model> {
    pub(crate) calls: Vec<Call<M>>,
    pub(crate) quiet_at: u64,
    pub(crate) asleep: Vec<(usize, M::Op)>,
}

/// Which calls have taken effect, one bit for each; the last one is the moment of quiet.
type Done = u64;

struct Search<'history, M: Model> {
    history: &'history History<M>,
    been: HashSet<(Done, M)>,
    order: Vec<usize>,
    longest: Vec<usize>,
}

impl<M: Model> History<M> {
    /// Looks for an order in which every call is explained by `model`.
    ///
    /// # Errors
    /// When there is none: the history, and how far an explanation came.
    pub(crate) fn check(&self, model: &M) -> Result<(), String> {
        assert!(self.calls.len() < 64, "a history fits into one word");
        let mut search = Search {
            history: self,
            been: HashSet::new(),
            order: Vec::new(),
            longest: Vec::new(),
        };
        if search.explain(0, model) {
            return Ok(());
        }
        Err(self.tell(model, &search.longest))
    }

    fn interval(&self, index: usize) -> (u64, u64) {
        let quiet = (self.quiet_at, self.quiet_at);
        self.calls
            .get(index)
            .map_or(quiet, |call| (call.began, call.ended))
    }

    fn tell(&self, model: &M, longest: &[usize]) -> String {
        let mut text = format!("no order of these calls is one of {model:?}:\n");
        for (index, call) in self.calls.iter().enumerate() {
            let Call {
                fiber,
                op,
                ret,
                began,
                ended,
                ..
            } = call;
            text += &format!(
                "  {index:>2}: [{began:>3}, {ended:>3}] fiber {fiber}: {op:?} -> {ret:?}\n"
            );
        }
        text += &format!("  at {}, asleep: {:?}\n", self.quiet_at, self.asleep);
        text + &format!(
            "the longest explanation: {longest:?} ({} is the quiet)",
            self.calls.len()
        )
    }
}

impl<M: Model> Search<'_, M> {
    /// Whether what is not yet `done` can follow on `state`.
    fn explain(&mut self, done: Done, state: &M) -> bool {
        if self.order.len() > self.longest.len() {
            self.longest.clone_from(&self.order);
        }
        let count = self.history.calls.len() + 1;
        let left = |index: &usize| done & (1 << index) == 0;
        let Some(horizon) = (0..count)
            .filter(left)
            .map(|index| self.history.interval(index).1)
            .min()
        else {
            return true;
        };
        if !self.been.insert((done, state.clone())) {
            return false;
        }
        let may_be_next = |index: &usize| left(index) && self.history.interval(*index).0 <= horizon;
        let next: Vec<usize> = (0..count).filter(may_be_next).collect();
        next.iter().any(|&one| self.alone(done, state, one))
            || next.iter().any(|&one| {
                next.iter()
                    .any(|&other| one < other && self.both(done, state, one, other))
            })
    }

    fn alone(&mut self, done: Done, state: &M, index: usize) -> bool {
        let after = match self.history.calls.get(index) {
            Some(call) => state.step(call),
            None => self.is_quiet(done, state).then(|| state.clone()),
        };
        after.is_some_and(|after| self.descend(done | 1 << index, &after, &[index]))
    }

    fn both(&mut self, done: Done, state: &M, one: usize, other: usize) -> bool {
        let calls = &self.history.calls;
        let (Some(first), Some(second)) = (calls.get(one), calls.get(other)) else {
            return false;
        };
        let after = state
            .together(first, second)
            .or_else(|| state.together(second, first));
        after.is_some_and(|after| self.descend(done | 1 << one | 1 << other, &after, &[one, other]))
    }

    fn descend(&mut self, done: Done, state: &M, taken: &[usize]) -> bool {
        self.order.extend(taken);
        let explained = self.explain(done, state);
        self.order.truncate(self.order.len() - taken.len());
        explained
    }

    /// A call that slept at the moment of quiet had not taken effect, and rightly so.
    fn is_quiet(&self, done: Done, state: &M) -> bool {
        let calls = self.history.calls.iter().enumerate();
        let mut asleep = calls.filter(|(_, call)| call.was_asleep);
        asleep.all(|(index, _)| done & (1 << index) == 0) && state.may_sleep(&self.history.asleep)
    }
}
