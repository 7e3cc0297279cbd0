//! `Mutex` on threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use fiber_sync::{LockTimeoutError, Mutex, TryLockError};

use super::{LONG, SHORT, host};

#[test]
fn increments_by_many_threads_are_all_counted() {
    host();
    let total = Mutex::new(0_u64);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let mut total = total.lock().unwrap();
                    let seen = *total;
                    if seen.is_multiple_of(64) {
                        thread::yield_now();
                    }
                    *total = seen + 1;
                }
            });
        }
    });
    assert_eq!(total.into_inner().unwrap(), 8_000);
}

#[test]
fn a_static_mutex_needs_no_initialisation() {
    static TOTAL: Mutex<[u8; 2]> = Mutex::new([1, 2]);
    TOTAL.lock().unwrap()[0] = 7;
    assert_eq!(*TOTAL.lock().unwrap(), [7, 2]);
}

#[test]
fn an_unsized_value_can_be_locked() {
    let mutex: Box<Mutex<[u8]>> = Box::new(Mutex::new([1_u8, 2, 3]));
    mutex.lock().unwrap()[1] = 9;
    assert_eq!(*mutex.lock().unwrap(), [1, 9, 3]);
}

#[test]
fn a_held_mutex_is_not_locked_at_once_nor_in_time() {
    host();
    let mutex = Mutex::new(());
    let guard = mutex.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
            assert!(matches!(
                mutex.lock_timeout(SHORT),
                Err(LockTimeoutError::Elapsed)
            ));
        });
    });
    drop(guard);
    assert!(mutex.lock_timeout(LONG).is_ok());
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn locks_that_are_given_up_while_others_hand_over_are_never_lost() {
    host();
    let mutex = Mutex::new(0_u64);
    let taken: u64 = thread::scope(|scope| {
        let work = |impatient: bool| {
            let mutex = &mutex;
            move || {
                let mut taken = 0;
                for _ in 0..500 {
                    let locked = if impatient {
                        mutex
                            .lock_timeout(core::time::Duration::from_micros(1))
                            .ok()
                    } else {
                        mutex.lock().ok()
                    };
                    if let Some(mut total) = locked {
                        *total += 1;
                        taken += 1;
                        thread::yield_now();
                    }
                }
                taken
            }
        };
        let threads = [true, true, false, false].map(|impatient| scope.spawn(work(impatient)));
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    assert!(taken >= 1_000, "the patient ones got it every time");
    assert_eq!(*mutex.try_lock().unwrap(), taken);
}

#[test]
fn a_panic_while_holding_poisons() {
    host();
    let mutex = Mutex::new(5);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = mutex.lock().unwrap();
        panic!("half done");
    }));
    assert!(panicked.is_err());
    assert!(mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap_err().into_inner(), 5);
    assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
    assert!(matches!(
        mutex.lock_timeout(SHORT),
        Err(LockTimeoutError::Poisoned(_))
    ));
    mutex.clear_poison();
    assert!(mutex.lock().is_ok());
}

#[test]
fn a_poisoned_mutex_gives_its_value_with_an_error() {
    host();
    let mut mutex = Mutex::new(5);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _guard = mutex.lock().unwrap();
        panic!("half done");
    }));
    assert_eq!(**mutex.get_mut().unwrap_err().get_ref(), 5);
    assert_eq!(mutex.into_inner().unwrap_err().into_inner(), 5);
}

#[test]
fn a_destructor_that_locks_during_a_panic_does_not_poison() {
    struct Locks<'a>(&'a Mutex<u32>);
    impl Drop for Locks<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    host();
    let mutex = Mutex::new(0);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _locks = Locks(&mutex);
        panic!("unwinds through the destructor");
    }));
    assert!(!mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap(), 1);
}

#[test]
fn it_shows_its_value_unless_it_is_locked() {
    let mutex = Mutex::new(3);
    assert_eq!(
        format!("{mutex:?}"),
        "Mutex { data: 3, poisoned: false, .. }"
    );
    let guard = mutex.lock().unwrap();
    assert_eq!(
        format!("{mutex:?} {guard}"),
        "Mutex { data: <locked>, poisoned: false, .. } 3"
    );
}
