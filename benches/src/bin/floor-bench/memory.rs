//! A great many coroutines that wait at one gate.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};

use benches::{Measured, Meter, timed};

use crate::queue::{Queue, Task};

pub(crate) fn parked(coroutines: u64) -> Measured {
    let queue = Rc::new(Queue::default());
    // The gate owns those who wait at it.
    let gate: Rc<RefCell<Vec<Rc<Task>>>> = Rc::default();
    let gone = Rc::new(Cell::new(0));
    let meter = Meter::start();
    for _ in 0..coroutines {
        let (gate, gone) = (Rc::clone(&gate), Rc::clone(&gone));
        queue.spawn(move |me| {
            gate.borrow_mut().push(me.task());
            me.park();
            gone.set(gone.get() + 1);
        });
    }
    queue.run();
    let measured = meter.stop_while_waiting(coroutines);
    let ending = timed!(coroutines => {
        for task in gate.take() {
            queue.wake(task);
        }
        queue.run();
    });
    assert_eq!(gone.get(), coroutines);
    measured.with_ending(&ending)
}
