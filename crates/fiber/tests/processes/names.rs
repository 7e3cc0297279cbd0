//! Names under which processes are found.

use alloc::sync::Arc;
use core::time::Duration;

use fiber::{
    NameError, Process, Runtime, park, register, sleep, spawn, sync::Counter, unregister, whereis,
};

use crate::{support::on_linux, world::everywhere};

#[test]
fn a_registered_process_is_found_until_it_has_ended() {
    everywhere(|| {
        let process = Process::builder().spawn(park).unwrap();
        assert_eq!(whereis("ledger"), None);
        register("ledger", process.process()).unwrap();
        assert_eq!(whereis("ledger").as_ref(), Some(process.process()));
        let runtime = Runtime::current().unwrap();
        let thread = std::thread::spawn(move || (whereis("ledger"), runtime.whereis("ledger")));
        let (nowhere, here) = fiber::blocking(move || thread.join().unwrap());
        assert_eq!((nowhere, here.as_ref()), (None, Some(process.process())));
        process.cancel("over");
        process.process().monitor().wait();
        // Before anybody is told.
        assert_eq!(whereis("ledger"), None);
        assert_eq!(register("ledger", process.process()), Err(NameError::Ended));
    });
}

#[test]
fn a_name_is_one_processs_and_a_process_has_one() {
    everywhere(|| {
        let (one, other) = (
            Process::builder().spawn(park).unwrap(),
            Process::builder().spawn(park).unwrap(),
        );
        register("ledger", one.process()).unwrap();
        let taken = NameError::Taken { by: one.id() };
        assert_eq!(register("ledger", other.process()), Err(taken));
        assert_eq!(register("book", one.process()), Err(NameError::Named));
        assert_eq!(unregister(other.process()), None);
        assert_eq!(unregister(one.process()).as_deref(), Some("ledger"));
        register("ledger", other.process()).unwrap();
        register("book", one.process()).unwrap();
        assert_eq!(whereis("ledger").as_ref(), Some(other.process()));
        one.cancel("over");
        other.cancel("over");
    });
}

#[test]
fn whoever_is_told_of_an_end_may_take_the_name() {
    everywhere(|| {
        let first = Process::builder().spawn(park).unwrap();
        register("ledger", first.process()).unwrap();
        let monitor = first.process().monitor();
        let heir = spawn(move || {
            monitor.wait();
            let next = Process::builder().spawn(park).unwrap();
            register("ledger", next.process()).unwrap();
            next
        });
        sleep(Duration::from_millis(1));
        first.kill("now");
        let next = heir.join().unwrap();
        assert_eq!(whereis("ledger").as_ref(), Some(next.process()));
        next.cancel("over");
    });
}

#[test]
fn a_name_that_many_want_goes_to_one() {
    everywhere(|| {
        const RIVALS: usize = 8;
        let tried = Arc::new(Counter::new(0));
        let processes: Vec<_> = (0..RIVALS)
            .map(|_| {
                let tried = Arc::clone(&tried);
                Process::builder().spawn(move || {
                    let this = Process::current().unwrap();
                    let won = register("ledger", &this).is_ok();
                    // Nobody ends, and frees the name, before all have tried.
                    tried.add(1);
                    tried.wait(RIVALS);
                    won
                })
            })
            .collect();
        let won = processes
            .into_iter()
            .filter_map(|process| process.unwrap().join().ok())
            .filter(|won| *won)
            .count();
        assert_eq!(won, 1);
        assert_eq!(whereis("ledger"), None);
    });
}

#[test]
fn nobody_sees_the_end_of_a_process_before_its_name_is_free() {
    on_linux(2, || {
        for _ in 0..300 {
            let process = Process::builder().spawn(park).unwrap();
            register("ledger", process.process()).unwrap();
            let (runtime, dies) = (Runtime::current().unwrap(), process.process().clone());
            let thread = std::thread::spawn(move || {
                while !dies.has_ended() {
                    core::hint::spin_loop();
                }
                runtime.whereis("ledger")
            });
            process.kill("now");
            process.join().unwrap_err();
            assert_eq!(fiber::blocking(move || thread.join().unwrap()), None);
        }
    });
}
