//! Who is to run, in order: the least scheduler that works.

use alloc::{
    collections::VecDeque,
    rc::{Rc, Weak},
};
use core::cell::{Cell, RefCell};

use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::stacks::{Pool, Stack};

/// What a coroutine wants when it gives the thread back.
enum Pause {
    /// To be asked again, behind all others.
    Again,
    /// Somebody else will wake it.
    Parked,
}

type Body = Coroutine<(), Pause, (), Stack>;

pub(crate) struct Task {
    /// `None` once it has ended.
    body: RefCell<Option<Body>>,
    joiner: Cell<Option<Rc<Self>>>,
}

#[derive(Default)]
pub(crate) struct Queue {
    ready: RefCell<VecDeque<Rc<Task>>>,
    current: RefCell<Weak<Task>>,
    stacks: Pool,
    /// Whether the newest is run first, so that a tree is walked to the depth.
    newest_first: bool,
}

/// What a coroutine needs to know of itself to wait.
pub(crate) struct Me<'a> {
    pub(crate) queue: &'a Rc<Queue>,
    pause: &'a Yielder<(), Pause>,
}

impl Queue {
    pub(crate) fn newest_first() -> Self {
        Self {
            newest_first: true,
            ..Self::default()
        }
    }

    pub(crate) fn spawn(self: &Rc<Self>, body: impl FnOnce(&Me<'_>) + 'static) -> Rc<Task> {
        let queue = Rc::clone(self);
        let body = move |pause: &Yielder<(), Pause>, ()| {
            let queue = &queue;
            body(&Me { queue, pause });
        };
        let task = Rc::new(Task {
            body: RefCell::new(Some(Coroutine::with_stack(self.stacks.take(), body))),
            joiner: Cell::new(None),
        });
        self.wake(Rc::clone(&task));
        task
    }

    pub(crate) fn wake(&self, task: Rc<Task>) {
        self.ready.borrow_mut().push_back(task);
    }

    /// Runs until nobody is ready any more.
    pub(crate) fn run(&self) {
        while let Some(task) = self.next() {
            let mut body = task.body.borrow_mut();
            *self.current.borrow_mut() = Rc::downgrade(&task);
            match body
                .as_mut()
                .expect("who has ended is not ready")
                .resume(())
            {
                CoroutineResult::Yield(Pause::Again) => {
                    drop(body);
                    self.wake(task);
                }
                CoroutineResult::Yield(Pause::Parked) => {}
                CoroutineResult::Return(()) => {
                    let ended = body.take().expect("it has just returned");
                    self.stacks.give(ended.into_stack());
                    if let Some(joiner) = task.joiner.take() {
                        self.wake(joiner);
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Rc<Task>> {
        let mut ready = self.ready.borrow_mut();
        if self.newest_first {
            ready.pop_back()
        } else {
            ready.pop_front()
        }
    }
}

impl Me<'_> {
    pub(crate) fn yield_now(&self) {
        self.pause.suspend(Pause::Again);
    }

    pub(crate) fn park(&self) {
        self.pause.suspend(Pause::Parked);
    }

    /// The coroutine itself, for who is to wake it.
    pub(crate) fn task(&self) -> Rc<Task> {
        let task = self.queue.current.borrow().upgrade();
        task.expect("it runs, so it is there")
    }

    pub(crate) fn join(&self, task: &Task) {
        // Whoever runs has its body borrowed, and only others are joined.
        let ended = task.body.borrow().is_none();
        if !ended {
            task.joiner.set(Some(self.task()));
            self.park();
        }
    }
}
