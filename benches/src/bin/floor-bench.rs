//! The floor: bare coroutines in one queue. No runtime: nothing is woken, cancelled or timed, and
//! nobody else may take part.

extern crate alloc;

use alloc::{collections::VecDeque, rc::Rc};
use core::{cell::RefCell, convert::Infallible};
use std::process::ExitCode;

use benches::{Job, Measured, Meter, Workload, names, program, shares};
use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};

const STACK_BYTES: usize = 16 << 10;

type Body = fn(&Rc<Queue>, u64);
type Task = Coroutine<(), (), (), DefaultStack>;
type Turn = Yielder<(), ()>;

const TABLE: &[Workload<Body>] = &[
    Workload {
        name: names::YIELD_2,
        workers: &[1],
        body: yields::<2>,
    },
    Workload {
        name: names::YIELD_1000,
        workers: &[1],
        body: yields::<1000>,
    },
    Workload {
        name: names::SPAWN_SEQ,
        workers: &[1],
        body: one_by_one,
    },
];

fn main() -> ExitCode {
    program(TABLE, run)
}

#[expect(clippy::unnecessary_wraps, reason = "as programs want it")]
fn run(job: Job<Body>) -> Result<Measured, Infallible> {
    let queue = Rc::new(Queue::default());
    let meter = Meter::start();
    (job.body)(&queue, job.ops);
    queue.run();
    Ok(meter.stop(job.ops))
}

/// Who is to run, in order, and stacks that nobody runs on.
#[derive(Default)]
struct Queue {
    ready: RefCell<VecDeque<Task>>,
    stacks: RefCell<Vec<DefaultStack>>,
}

impl Queue {
    fn spawn(&self, body: impl FnOnce(&Turn) + 'static) {
        let stack = self.stacks.borrow_mut().pop();
        let stack = stack.unwrap_or_else(|| {
            DefaultStack::new(STACK_BYTES).expect("there is memory for a stack")
        });
        let task = Coroutine::with_stack(stack, move |turn: &Turn, ()| body(turn));
        self.ready.borrow_mut().push_back(task);
    }

    fn run(&self) {
        loop {
            let Some(mut task) = self.ready.borrow_mut().pop_front() else {
                return;
            };
            match task.resume(()) {
                CoroutineResult::Yield(()) => self.ready.borrow_mut().push_back(task),
                CoroutineResult::Return(()) => self.stacks.borrow_mut().push(task.into_stack()),
            }
        }
    }
}

fn yields<const TASKS: u64>(queue: &Rc<Queue>, ops: u64) {
    for share in shares(ops, TASKS) {
        queue.spawn(move |turn| (0..share).for_each(|_| turn.suspend(())));
    }
}

/// The child runs to its end while its parent stands behind it in the queue.
fn one_by_one(queue: &Rc<Queue>, ops: u64) {
    let children = Rc::clone(queue);
    queue.spawn(move |turn| {
        for _ in 0..ops {
            children.spawn(|_| ());
            turn.suspend(());
        }
    });
}
