//! Condition variables: a wait gives the mutex away and joins the queue at one moment, leaves the
//! queue at another, notified or not, and has the mutex again at a third.

use fiber::sync::{Condvar, Mutex, MutexGuard};

use super::{
    Hand, Object,
    checker::{Call, Model},
    log::Log,
    prove,
};
use crate::support::Dice;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Monitor {
    holder: Option<usize>,
    /// In the order in which they came, which is that in which they are notified.
    waiting: Vec<usize>,
    notified: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Lock,
    Unlock,
    NotifyOne,
    NotifyAll,
    /// The call, of which these are steps.
    Wait,
    GiveAway,
    TakeBack,
    GiveUp,
}

#[derive(Clone, Debug)]
pub(super) struct Done;

impl Monitor {
    /// Takes the mutex, if it is free.
    fn lock(mut self, fiber: usize) -> Option<Self> {
        self.holder.replace(fiber).is_none().then_some(self)
    }

    fn unlock(mut self, fiber: usize) -> Option<Self> {
        (self.holder.take() == Some(fiber)).then_some(self)
    }
}

fn remove(list: &mut Vec<usize>, fiber: usize) -> bool {
    let place = list.iter().position(|one| *one == fiber);
    place.map(|place| list.remove(place)).is_some()
}

impl Model for Monitor {
    type Op = Op;
    type Ret = Done;

    fn step(&self, call: &Call<Self>) -> Option<Self> {
        let (mut after, fiber) = (self.clone(), call.fiber);
        match call.op {
            Op::Lock => after.lock(fiber),
            Op::Unlock => after.unlock(fiber),
            Op::NotifyOne | Op::NotifyAll => {
                let all = call.op == Op::NotifyAll;
                let count = if all {
                    after.waiting.len()
                } else {
                    after.waiting.len().min(1)
                };
                after.notified.extend(after.waiting.drain(..count));
                after.notified.sort_unstable();
                Some(after)
            }
            Op::GiveAway => {
                after.waiting.push(fiber);
                after.unlock(fiber)
            }
            Op::TakeBack => remove(&mut after.notified, fiber)
                .then_some(after)?
                .lock(fiber),
            Op::GiveUp => remove(&mut after.waiting, fiber).then_some(after),
            Op::Wait => None,
        }
    }

    fn may_sleep(&self, asleep: &[(usize, Op)]) -> bool {
        let rightly = |(fiber, op): &(usize, Op)| match op {
            Op::Wait if self.waiting.contains(fiber) => true,
            _ => self.holder.is_some(),
        };
        asleep.iter().all(rightly)
    }
}

pub(super) struct Visitor<'object> {
    mutex: &'object Mutex<()>,
    condvar: &'object Condvar,
    guard: Option<MutexGuard<'object, ()>>,
    log: Log<Monitor>,
}

impl<'object> Visitor<'object> {
    fn wait(&mut self, guard: MutexGuard<'object, ()>, dice: &mut Dice) {
        let Self {
            condvar,
            guard: back,
            log,
            ..
        } = self;
        let given_up = || vec![(Op::GiveAway, Done), (Op::GiveUp, Done)];
        let patient = dice.one_in(2);
        let span = dice.span();
        log.call_in_steps(Op::Wait, given_up(), || {
            let timed_out = if patient {
                *back = Some(condvar.wait(guard).unwrap());
                false
            } else {
                let (guard, result) = condvar.wait_timeout(guard, span).unwrap();
                *back = Some(guard);
                result.timed_out()
            };
            if timed_out {
                let mut steps = given_up();
                steps.push((Op::Lock, Done));
                steps
            } else {
                vec![(Op::GiveAway, Done), (Op::TakeBack, Done)]
            }
        });
    }

    fn unlock(&mut self) {
        if let Some(guard) = self.guard.take() {
            self.log.call(Op::Unlock, || {
                drop(guard);
                Done
            });
        }
    }

    fn notify(&self, op: Op) {
        let all = op == Op::NotifyAll;
        self.log.call(op, || {
            if all {
                self.condvar.notify_all();
            } else {
                self.condvar.notify_one();
            }
            Done
        });
    }
}

impl Object for (Mutex<()>, Condvar) {
    type Model = Monitor;
    type Hand<'object> = Visitor<'object>;

    fn new(_: &mut Dice) -> (Self, Monitor) {
        ((Mutex::new(()), Condvar::new()), Monitor::default())
    }

    fn hand(&self, log: Log<Monitor>) -> Visitor<'_> {
        Visitor {
            mutex: &self.0,
            condvar: &self.1,
            guard: None,
            log,
        }
    }
}

impl Hand for Visitor<'_> {
    fn act(&mut self, dice: &mut Dice) {
        match dice.below(8) {
            0 => self.notify(Op::NotifyAll),
            1 | 2 => self.notify(Op::NotifyOne),
            kind => match self.guard.take() {
                Some(guard) if kind < 7 => self.wait(guard, dice),
                Some(guard) => {
                    self.guard = Some(guard);
                    self.unlock();
                }
                None => {
                    let Self {
                        mutex, guard, log, ..
                    } = self;
                    log.call(Op::Lock, || {
                        *guard = Some(mutex.lock().unwrap());
                        Done
                    });
                }
            },
        }
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        self.unlock();
    }
}

#[test]
fn a_condition_variable_is_linearizable() {
    prove::<(Mutex<()>, Condvar)>(300);
}
