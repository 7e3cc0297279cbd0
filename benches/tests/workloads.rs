//! Every program runs every workload that it lists, and answers as drivers expect it to.

use std::process::{Command, Output};

const PROGRAMS: &[&str] = &[
    env!("CARGO_BIN_EXE_fiber-bench"),
    env!("CARGO_BIN_EXE_floor-bench"),
    #[cfg(feature = "peers")]
    env!("CARGO_BIN_EXE_tokio-bench"),
];

/// Enough for every task of a workload to have something to do, and no multiple of anything.
const OPS: &str = "1009";

fn ask(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.expect("the program was built for this test")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it speaks in UTF-8")
}

#[test]
fn every_workload_that_is_listed_runs() {
    for program in PROGRAMS {
        let list = said(&ask(program, &[]));
        assert_eq!(list, said(&ask(program, &["list"])));
        assert!(list.lines().count() >= 3, "{program}: {list}");
        for line in list.lines() {
            let (name, workers) = line.split_once(' ').expect("a name and numbers");
            for workers in workers.split(',') {
                let output = ask(program, &["bench", name, workers, OPS]);
                let call = format!("{program} bench {name} {workers}: {output:?}");
                assert!(output.status.success(), "{call}");
                let answer = said(&output);
                let last = answer.lines().last().unwrap_or_default();
                assert!(
                    last.starts_with("{\"ns_per_op\":") && last.ends_with('}'),
                    "{call}"
                );
                for key in ["cpu_ns_per_op", "wall_ms", "peak_rss_mb"] {
                    assert!(last.contains(&format!("\"{key}\":")), "{call}");
                }
            }
        }
    }
}

#[test]
fn a_workload_that_does_not_exist_fails_with_a_reason() {
    for program in PROGRAMS {
        let output = ask(program, &["bench", "no_such_thing", "1", "1"]);
        assert_eq!(output.status.code(), Some(2));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("no_such_thing"), "{complaint}");
    }
}
