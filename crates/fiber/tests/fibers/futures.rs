//! Futures on fibers, and fibers as futures.

use alloc::{sync::Arc, task::Wake};
use core::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};
use std::{sync::Mutex, thread};

use fiber::{
    ExitReason, FiberFuture, Runtime, SpawnError, block_on, into_future, park, spawn,
    sync::channel, yield_now,
};

use host_linux::{Config, Linux};

use crate::support::{WORKERS, in_worlds, on_linux};

fn everywhere(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(200, main);
}

/// Ready when somebody has opened it.
#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    fn open(&self) {
        let mut gate = self.0.lock().unwrap();
        gate.0 = true;
        let waker = gate.1.take();
        drop(gate);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wait(&self) -> impl Future<Output = u32> {
        poll_fn(|task| {
            let mut gate = self.0.lock().unwrap();
            if gate.0 {
                return Poll::Ready(1);
            }
            gate.1 = Some(task.waker().clone());
            Poll::Pending
        })
    }
}

#[test]
fn a_fiber_waits_for_a_future_and_others_run_meanwhile() {
    everywhere(|| {
        let gate = Arc::new(Gate::default());
        let opens = Arc::clone(&gate);
        let opener = spawn(move || opens.open());
        let borrowed = 2;
        assert_eq!(block_on(async { gate.wait().await + borrowed }), 3);
        opener.join().unwrap();
        assert_eq!(block_on(async { 4 }), 4);
    });
}

#[test]
fn a_plain_thread_waits_for_a_future_that_a_fiber_completes() {
    on_linux(2, || {
        let gate = Arc::new(Gate::default());
        let waits = Arc::clone(&gate);
        let waiter = thread::spawn(move || block_on(waits.wait()));
        gate.open();
        while !waiter.is_finished() {
            yield_now();
        }
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[test]
fn a_cancelled_fiber_drops_the_future_that_it_waits_for() {
    everywhere(|| {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let fiber = spawn(move || {
            block_on(async move {
                let _inside = inside;
                core::future::pending::<()>().await;
            });
        });
        yield_now();
        fiber.cancel();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn a_waker_outlives_its_fiber() {
    everywhere(|| {
        let gate = Arc::new(Gate::default());
        let waits = Arc::clone(&gate);
        let fiber = spawn(move || block_on(waits.wait()));
        yield_now();
        fiber.cancel();
        assert!(fiber.join().is_err());
        gate.open();
    });
}

#[test]
fn a_fiber_is_awaited_from_another_fiber() {
    everywhere(|| {
        let (go, wait) = channel::bounded(1);
        let answer = into_future(move || wait.recv().unwrap()).unwrap();
        spawn(move || go.send(5).unwrap()).detach();
        assert_eq!(block_on(answer).unwrap(), 5);
        let done = into_future(|| 6).unwrap();
        while !done.fiber().is_finished() {
            yield_now();
        }
        assert_eq!(block_on(done).unwrap(), 6);
    });
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn a_future_of_a_fiber_is_awaited_on_another_thread() {
    on_linux(2, || {
        let runtime = Runtime::current().unwrap();
        let executor = thread::spawn(move || {
            let first = runtime.into_future(|| 1).unwrap();
            let second = runtime.into_future(|| 2).unwrap();
            let sum = async { first.await.unwrap() + second.await.unwrap() };
            block_on(assert_send(sum))
        });
        while !executor.is_finished() {
            yield_now();
        }
        assert_eq!(executor.join().unwrap(), 3);
    });
}

#[test]
fn a_panic_inside_arrives_at_the_awaiter_with_its_payload() {
    on_linux(2, || {
        let fails: FiberFuture<()> =
            into_future(|| std::panic::resume_unwind(Box::new(7_u8))).unwrap();
        let Err(ExitReason::Panicked(payload)) = block_on(fails) else {
            panic!("the panic is gone");
        };
        assert_eq!(payload.into_inner().downcast_ref(), Some(&7_u8));
    });
}

#[test]
fn dropping_a_pending_future_cancels_its_fiber_whose_destructors_run() {
    everywhere(|| {
        let held = Arc::new(());
        let (one, other) = (Arc::clone(&held), Arc::clone(&held));
        let started = into_future(move || {
            let _one = one;
            park();
        });
        let unstarted = into_future(move || {
            let _other = other;
            park();
        });
        let started = started.unwrap();
        let fibers = [
            started.fiber().clone(),
            unstarted.as_ref().unwrap().fiber().clone(),
        ];
        while !fibers[0].is_started() {
            yield_now();
        }
        drop(started);
        drop(unstarted);
        while !fibers.iter().all(fiber::Fiber::is_finished) {
            yield_now();
        }
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn a_fiber_that_is_cancelled_otherwise_is_an_error_for_who_awaits_it() {
    everywhere(|| {
        let parked = into_future(park).unwrap();
        while !parked.fiber().is_started() {
            yield_now();
        }
        parked.fiber().cancel_with("why not");
        let Err(ExitReason::Cancelled(reason)) = block_on(parked) else {
            panic!("it was cancelled");
        };
        assert_eq!(reason.message(), Some("why not"));
        let unstarted = into_future(|| ()).unwrap();
        unstarted.fiber().cancel_with("at once");
        match block_on(unstarted) {
            // Another worker may have been faster.
            Ok(()) => {}
            Err(ExitReason::Cancelled(reason)) => assert_eq!(reason.message(), Some("at once")),
            Err(other) => panic!("{other}"),
        }
    });
}

struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_last_waker_is_woken_once() {
    everywhere(|| {
        let (go, wait) = channel::bounded(1);
        let mut future = pin!(into_future(move || wait.recv().unwrap()).unwrap());
        let wakes = [0, 1].map(|_| Arc::new(Wakes(AtomicUsize::new(0))));
        for wakes in &wakes {
            let waker = Waker::from(Arc::clone(wakes));
            assert!(
                future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        go.send(1).unwrap();
        while !future.fiber().is_finished() {
            yield_now();
        }
        let [first, last] = wakes.map(|wakes| wakes.0.load(Ordering::SeqCst));
        assert_eq!((first, last), (0, 1));
        assert_eq!(block_on(future).unwrap(), 1);
    });
}

#[test]
fn without_a_runtime_there_is_no_fiber_to_await() {
    assert_eq!(into_future(|| ()).unwrap_err(), SpawnError::NoRuntime);
}

/// Opens `first` and waits for `second` there and then, as one who is not asynchronous.
async fn waits_inside(first: Arc<Gate>, second: Arc<Gate>, opens: fn(Arc<Gate>, Arc<Gate>)) -> u32 {
    let (mut one, mut inside) = (pin!(first.wait()), None);
    poll_fn(|task| {
        if let Poll::Ready(value) = one.as_mut().poll(task) {
            return Poll::Ready(value);
        }
        if inside.is_none() {
            opens(Arc::clone(&first), Arc::clone(&second));
            inside = Some(block_on(second.wait()));
        }
        Poll::Pending
    })
    .await
}

#[test]
fn a_wake_that_comes_while_a_future_blocks_inside_is_not_lost() {
    everywhere(|| {
        let gates = [0, 1].map(|_| Arc::new(Gate::default()));
        let [first, second] = gates;
        let opens = |first: Arc<Gate>, second: Arc<Gate>| {
            spawn(move || {
                first.open();
                yield_now();
                second.open();
            })
            .detach();
        };
        assert_eq!(block_on(waits_inside(first, second, opens)), 1);
    });
}

#[test]
fn a_wake_of_a_thread_whose_future_blocks_inside_is_not_lost() {
    let _env = Linux::new(Config::default()).unwrap();
    let [first, second] = [0, 1].map(|_| Arc::new(Gate::default()));
    let opens = |first: Arc<Gate>, second: Arc<Gate>| {
        thread::spawn(move || {
            while second.0.lock().unwrap().1.is_none() {
                thread::yield_now();
            }
            first.open();
            second.open();
        });
    };
    assert_eq!(block_on(waits_inside(first, second, opens)), 1);
}
