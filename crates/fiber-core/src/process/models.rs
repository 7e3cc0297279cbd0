//! Loom models of a process whose stage is raised while others of its workers name things of it.

use alloc::{boxed::Box, vec::Vec};

use loom::thread;

use super::*;

const WHY: Reason = Reason::new("the model");

/// A worker that names something puts it at the head of its list, as `Shard::link` does, and then
/// looks at the stage; gives whether it saw a stage that is to be heeded.
fn name_and_look(record: &Record, worker: usize) -> bool {
    record.head(worker).store(7, Ordering::SeqCst);
    record.stage() > Stage::Running
}

fn model(workers: usize, raises: &'static [Stage]) {
    loom::model(move || {
        let (record, first) = Record::new(None, Limits::NONE, workers, Box::new(()));
        let others: Vec<_> = (0..workers)
            .map(|worker| {
                let record = Arc::clone(&record);
                thread::spawn(move || name_and_look(&record, worker))
            })
            .collect();
        for stage in raises {
            record.raise(*stage, &WHY);
        }
        let swept: Vec<_> = (0..workers).map(|it| record.has_ids_at(it)).collect();
        for (other, swept) in others.into_iter().zip(swept) {
            let heeded = other.join().expect("it does not panic");
            assert!(swept || heeded, "nobody would tell what was named");
        }
        drop(first);
    });
}

#[test]
fn loom_what_is_named_while_the_stage_is_raised_is_swept_or_heeds_it_itself() {
    model(1, &[Stage::Cancelled]);
    model(2, &[Stage::Cancelled]);
}

#[test]
fn loom_what_is_named_while_a_process_is_released_is_swept_or_heeds_it_itself() {
    loom::model(|| {
        let (record, first) = Record::new(None, Limits::NONE, 1, Box::new(()));
        record.raise(Stage::Cancelled, &WHY);
        drop(first);
        let other = {
            let record = Arc::clone(&record);
            thread::spawn(move || {
                record.head(0).store(7, Ordering::SeqCst);
                record.stage() == Stage::Ended
            })
        };
        record.release();
        let swept = record.has_ids_at(0);
        let heeded = other.join().expect("it does not panic");
        assert!(swept || heeded, "nobody would close what was named");
    });
}

#[test]
fn loom_the_first_reason_is_the_one_that_is_told_with_each_stage() {
    loom::model(|| {
        let (record, first) = Record::new(None, Limits::NONE, 1, Box::new(()));
        let other = {
            let record = Arc::clone(&record);
            thread::spawn(move || record.raise(Stage::Killed, &Reason::new("other")))
        };
        let raised = record.raise(Stage::Cancelled, &WHY);
        let told = record.reason();
        assert!(other.join().expect("it does not panic"), "a kill is higher");
        // Whoever was first gave the reason, and it never changes.
        let expected = if raised { WHY } else { Reason::new("other") };
        assert_eq!((told.message(), record.reason().message()), {
            (expected.message(), expected.message())
        });
        assert_eq!(record.stage(), Stage::Killed);
        drop(first);
    });
}
