//! Every program runs every workload that it lists, and answers as drivers expect it to.

mod support;

use support::{PROGRAMS, ask, said};

/// Enough for every task of a workload to have something to do, and no multiple of anything.
const OPS: &str = "1009";

#[test]
fn every_workload_that_is_listed_runs() {
    for program in PROGRAMS {
        let list = said(&ask(program, &[]));
        assert_eq!(list, said(&ask(program, &["list"])));
        assert!(list.lines().count() >= 3, "{program}: {list}");
        for line in list.lines().filter(|line| !line.starts_with("serve-")) {
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
                let mut keys = vec!["cpu_ns_per_op", "wall_ms", "peak_rss_mb"];
                if name.starts_with("mem") {
                    keys.extend(["rss_per_task", "pte_per_task", "teardown_ns_per_op"]);
                }
                for key in keys {
                    assert!(last.contains(&format!("\"{key}\":")), "{call}");
                }
            }
        }
    }
}

#[test]
fn a_workload_or_a_protocol_that_does_not_exist_fails_with_a_reason() {
    for program in PROGRAMS {
        for arguments in [
            &["bench", "no_such_thing", "1", "1"][..],
            &["serve", "no_such_thing", "1"],
        ] {
            let output = ask(program, arguments);
            assert_eq!(output.status.code(), Some(2));
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(complaint.contains("no_such_thing"), "{complaint}");
        }
    }
}
