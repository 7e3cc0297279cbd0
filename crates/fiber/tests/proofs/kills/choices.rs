//! Choices of four arms: who is killed in one takes nothing with it.

use alloc::sync::Arc;
use core::time::Duration;

use fiber::{
    Process, choose, mask,
    operation::timeout,
    spawn,
    sync::{
        LockError, Mutex, MutexGuard, Semaphore,
        channel::{Receiver, Sender, bounded, rendezvous},
    },
};

use super::{Cast, GRACE, join_killed, kill_everywhere};
use crate::cancels::plays::{Ledger, Value, dawdle};

const MOMENT: Duration = Duration::from_micros(20);

struct Common {
    mutex: Mutex<u32>,
    semaphore: Semaphore,
    ledger: Ledger,
}

/// A lock is a lock, whoever has died with it.
fn entered<'a>(locked: Result<MutexGuard<'a, u32>, LockError<MutexGuard<'a, u32>>>) {
    let mut guard = match locked {
        Ok(guard) => guard,
        Err(error) => error.into_inner(),
    };
    *guard += 1;
    // A cancel would leave it half changed; a kill does, and says so by its poison.
    mask(|| dawdle(0));
    *guard -= 1;
}

fn choose_on(common: &Common, to: &Sender<Value>, from: &Receiver<Value>, numbers: [usize; 3]) {
    for number in numbers {
        choose! {
            sent = to.send_operation(common.ledger.value(number)) => drop(sent),
            received = from.recv_operation() => drop(received),
            guard = common.mutex.lock_operation() => entered(guard),
            permit = common.semaphore.acquire_operation(1) => {
                dawdle(number);
                drop(permit);
            },
            () = timeout(MOMENT * 2) => {},
        }
        mask(|| dawdle(number));
    }
}

fn choices(cast: &mut Cast) {
    let common = Arc::new(Common {
        mutex: Mutex::new(0),
        semaphore: Semaphore::new(1),
        ledger: Ledger::default(),
    });
    let (to, from) = rendezvous();
    let (others_to, others_from) = bounded(1);
    let take_part = |first: usize| {
        let common = Arc::clone(&common);
        let ends = (
            to.clone(),
            from.clone(),
            others_to.clone(),
            others_from.clone(),
        );
        move || {
            let (to, from, others_to, others_from) = ends;
            let own = Arc::clone(&common);
            let child = spawn(move || choose_on(&own, &to, &others_from, [first, first + 1, 2]));
            choose_on(&common, &others_to, &from, [first + 2, first + 3, 1]);
            join_killed(child);
        }
    };
    for first in [10, 20] {
        let builder = Process::builder().grace(GRACE);
        cast.process(builder, take_part(first));
    }
    for first in [30, 40] {
        cast.other(take_part(first));
    }
    drop((to, from, others_to));
    cast.check(move || {
        while let Ok(value) = others_from.try_recv() {
            drop(value);
        }
        let half_done = match common.mutex.try_lock() {
            Ok(guard) => *guard != 0,
            Err(_) => false,
        };
        assert!(!half_done, "a mutex that is half changed is poisoned");
        assert_eq!(common.semaphore.available_permits(), 1);
        common.ledger.is_empty();
    });
}

#[test]
fn a_kill_at_any_moment_of_a_choice_hurts_nobody_else() {
    kill_everywhere("a choice", choices);
}
