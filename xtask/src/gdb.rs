//! A smoke test of the debugger's script: what it shows of a program that stops with fibers parked.

use std::process::Command;

use crate::runner::{Log, Outcome};
use crate::steps::{is_installed, succeeds};
use crate::workspace::Workspace;

/// What must be shown of each fiber, in this order.
const SHOWN: [&[&str]; 4] = [
    &["'main'", "parked::main", "stop_here"],
    &[
        "'diver'",
        "waits for unpark",
        "switch_out",
        "parked::wait_at_depth",
    ],
    &["'sleeper'", "waits for sleep", "switch_out", "parked::main"],
    // On a larger stack than its own for a while.
    &[
        "'guest'",
        "waits for unpark",
        "switch_out",
        "parked::wait_as_guest",
    ],
];

pub(crate) fn check(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    if !is_installed("gdb") {
        return Ok(Outcome::Skipped("gdb is not installed".to_owned()));
    }
    let traces = [
        "-nx",
        "-batch",
        "-return-child-result",
        "-ex",
        "run",
        "/bin/true",
    ];
    if !succeeds(Command::new("gdb").args(traces)) {
        return Ok(Outcome::Skipped(
            "gdb may not trace processes here".to_owned(),
        ));
    }
    let example = ["build", "-p", "host-linux", "--example", "parked"];
    log.run(workspace.cargo().args(example))?;
    let before = log.contents().len();
    log.run(
        Command::new("gdb")
            .args(["-nx", "-batch", "-ex"])
            .arg(format!(
                "source {}",
                workspace.root.join("tools/gdb/fiber.py").display()
            ))
            .args(["-ex", "break stop_here", "-ex", "run"])
            .args(["-ex", "info fibers bt", "-ex", "continue"])
            .arg(workspace.target.join("debug/examples/parked")),
    )?;
    let contents = log.contents();
    let shown = contents.get(before..).unwrap_or_default();
    verdict(shown).map(|()| Outcome::Passed)
}

/// Whether gdb has shown each fiber with what it does and where it is, and the program has gone on
/// to its end.
fn verdict(shown: &str) -> Result<(), String> {
    for fiber in SHOWN {
        let name = fiber[0];
        let of_fiber = shown
            .split("\n\n")
            .find(|part| part.contains(name))
            .ok_or_else(|| format!("fiber {name} is not shown"))?;
        if let Some(missing) = fiber.iter().find(|part| !of_fiber.contains(**part)) {
            return Err(format!("fiber {name} is shown without `{missing}`"));
        }
    }
    let depth = shown.matches("parked::wait_at_depth").count();
    if depth != 4 {
        return Err(format!("the diver has {depth} frames instead of 4"));
    }
    if shown.contains("exited normally") {
        Ok(())
    } else {
        Err("the program did not go on after it was looked at".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::verdict;

    const GOOD: &str = "1.1 'main' runs\n #0 stop_here\n #1 parked::main\n\n\
        1.2 'diver' waits for unpark\n switch_out\n parked::wait_at_depth\n \
        parked::wait_at_depth\n parked::wait_at_depth\n parked::wait_at_depth\n\n\
        1.3 'sleeper' waits for sleep\n switch_out\n parked::main\n\n\
        1.4 'guest' waits for unpark\n switch_out\n parked::wait_as_guest\n\nexited normally";

    #[test]
    fn a_listing_with_every_fiber_and_its_frames_passes() {
        assert_eq!(verdict(GOOD), Ok(()));
    }

    #[test]
    fn a_fiber_that_is_missing_or_has_no_frames_is_named() {
        let error = verdict(&GOOD.replace("'diver'", "'other'")).expect_err("no diver");
        assert!(error.contains("'diver'"), "{error}");
        let error = verdict(&GOOD.replace("parked::main\n\n1.4", "\n\n1.4"));
        assert!(error.expect_err("no frames").contains("'sleeper'"));
    }
}
