//! Everything that is measured, as a table.

use super::load::{Client, Load};

/// Rows that belong together.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) tasks: &'static [Task],
}

/// One row, for each number of workers that ours can do it with.
pub(super) struct Task {
    pub(super) name: &'static str,
    /// What one op is.
    pub(super) op: &'static str,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The workload of the row's name, with as many ops as fill a run.
    Filled,
    /// So many ops of a workload; programs that do not have it do the other one.
    Fixed {
        workload: &'static str,
        otherwise: &'static str,
        ops: u64,
    },
    /// What is done to a server.
    Served(Load),
}

const fn filled(name: &'static str, op: &'static str) -> Task {
    Task {
        name,
        op,
        kind: Kind::Filled,
    }
}

const fn fixed(name: &'static str, op: &'static str, workload: &'static str, ops: u64) -> Task {
    either(name, op, workload, workload, ops)
}

const fn either(
    name: &'static str,
    op: &'static str,
    workload: &'static str,
    otherwise: &'static str,
    ops: u64,
) -> Task {
    Task {
        name,
        op,
        kind: Kind::Fixed {
            workload,
            otherwise,
            ops,
        },
    }
}

const fn load(
    name: &'static str,
    op: &'static str,
    protocol: &'static str,
    connections: usize,
    depth: usize,
) -> Task {
    Task {
        name,
        op,
        kind: Kind::Served(Load::Requests {
            protocol,
            connections,
            depth,
            client: Client::OnItsOwn,
        }),
    }
}

const PARKED: &str = "a task that is spawned and waits";
const STACKLESS: &str = "the same, of ours without a stack";

#[rustfmt::skip]
pub(super) const FAMILIES: &[Family] = &[
    Family { name: "yield", title: "Yielding", tasks: &[
        filled("yield_2", "a yield, 2 tasks in turn"),
        filled("yield_1000", "a yield, 1000 tasks in turn"),
        filled("yieldw_2", "the same as `yield_2`; of poll-based runtimes the shortest form"),
        filled("yieldw_1000", "the same as `yield_1000`; of poll-based runtimes the shortest form"),
    ] },
    Family { name: "spawn", title: "Spawning", tasks: &[
        filled("spawn_seq", "a task that does nothing is spawned and joined"),
        filled("spawn_batch", "the same, 1000 at once"),
        fixed("skynet", "a task of a tree with a million leaves, 10 branches each", "skynet",
            1_000_000),
    ] },
    Family { name: "channel", title: "Channels", tasks: &[
        filled("pingpong", "a round trip over 2 rendezvous channels"),
        filled("pingpong_cross", "the same, each task on a thread of its own"),
        filled("chan_1p1c", "a message through a channel of 100"),
        filled("chan_4p1c", "the same from 4 producers"),
        filled("select_2", "a message received by a choice of 2 rendezvous channels"),
    ] },
    Family { name: "mutex", title: "Mutexes", tasks: &[
        filled("mutex_uncontended", "lock, add, unlock"),
        filled("mutex_contended8", "the same by 8 tasks"),
        filled("mutex_yield8", "lock, yield, unlock by 8 tasks: each lock waits"),
    ] },
    Family { name: "timer", title: "Timers", tasks: &[
        filled("timer_cancel", "a limit of 10 s is armed and disarmed"),
        filled("timeout_wait", "a round trip whose receive has a limit of 10 s"),
        fixed("timer_sleep", "one of 100 000 tasks that sleep for up to a second", "timer_sleep",
            100_000),
        either("timer_sleep_when", STACKLESS, "timer_sleep_when", "timer_sleep", 100_000),
    ] },
    Family { name: "memory", title: "Memory", tasks: &[
        fixed("mem_10k", PARKED, "mem", 10_000),
        fixed("mem_100k", PARKED, "mem", 100_000),
        fixed("mem_1m", PARKED, "mem", 1_000_000),
        either("mem_when_10k", STACKLESS, "mem_when", "mem", 10_000),
        either("mem_when_100k", STACKLESS, "mem_when", "mem", 100_000),
        either("mem_when_1m", STACKLESS, "mem_when", "mem", 1_000_000),
        Task { name: "connection_10k", op: "a connection that has been served and is idle",
            kind: Kind::Served(Load::Idle { connections: 9_900 }) },
    ] },
    Family { name: "scaling", title: "Uneven work", tasks: &[
        filled("zipf", "a piece of work of about 0.1 µs, 1000 tasks with shares after Zipf's law"),
    ] },
    Family { name: "process", title: "Processes and ids, which only ours has", tasks: &[
        filled("process", "a process that does nothing, up to the end of its death"),
        filled("kill_1", "a process with one fiber is killed"),
        filled("kill_1000", "a fiber of a process with 1000 that is killed"),
        filled("monitor", "waiting for a process's end, and giving up"),
        filled("id_lookup", "is this id live?"),
        filled("id_enter", "entering what an id names, and leaving it"),
        filled("id_dup", "a connection is duplicated, and the copy closed"),
    ] },
    Family { name: "echo", title: "Echo server, 64 bytes", tasks: &[
        load("echo_1", "a request, 1 connection", "echo", 1, 1),
        Task { name: "echo_1_same", op: "the same, the client on the server's processor",
            kind: Kind::Served(Load::Requests { protocol: "echo", connections: 1, depth: 1,
                client: Client::BesideTheServer }) },
        load("echo_64", "a request, 64 connections", "echo", 64, 1),
        load("echo_1000", "a request, 1000 connections", "echo", 1000, 1),
        load("echo_64_d16", "a request, 64 connections with 16 under way on each", "echo", 64, 16),
    ] },
    Family { name: "cache", title: "Cache server, get and set 9:1", tasks: &[
        load("mc_64", "a request, 64 connections", "mc", 64, 1),
        load("mc_64_d16", "a request, 64 connections with 16 under way on each", "mc", 64, 16),
    ] },
];

/// Where a program would take all memory, or more mappings than a process may have: how many it
/// does instead, by program and row.
pub(super) const FEWER: &[(&str, &str, u64)] = &[
    ("may", "skynet", 100_000),
    ("may", "timer_sleep", 20_000),
    ("may", "timer_sleep_when", 20_000),
];

/// The families and rows of these names, in the table's order; all of them if none is named.
pub(super) fn select(names: &[&str]) -> Result<Vec<(&'static Family, &'static Task)>, String> {
    let rows = || {
        FAMILIES
            .iter()
            .flat_map(|family| family.tasks.iter().map(move |task| (family, task)))
    };
    let fits =
        |name: &str, (family, task): &(&Family, &Task)| family.name == name || task.name == name;
    if let Some(name) = names
        .iter()
        .find(|name| !rows().any(|row| fits(name, &row)))
    {
        let families: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        let tasks: Vec<_> = rows().map(|(_, task)| task.name).collect();
        return Err(format!(
            "error: nothing is called `{name}`; there are the families {} and the workloads {}",
            families.join(" "),
            tasks.join(" ")
        ));
    }
    let wanted =
        |row: &(&Family, &Task)| names.is_empty() || names.iter().any(|name| fits(name, row));
    Ok(rows().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::{FAMILIES, FEWER, select};

    #[test]
    fn a_name_selects_a_family_or_a_row_and_none_selects_all() {
        let rows: usize = FAMILIES.iter().map(|family| family.tasks.len()).sum();
        assert_eq!(select(&[]).expect("all").len(), rows);
        let names = |asked: &[&str]| {
            let rows = select(asked).expect("they exist");
            rows.iter().map(|(_, task)| task.name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(&["mc_64", "mutex_uncontended"]),
            ["mutex_uncontended", "mc_64"]
        );
        assert_eq!(names(&["cache"]), ["mc_64", "mc_64_d16"]);
        let error = select(&["nothing"]).err().expect("there is none");
        assert!(
            error.contains("`nothing`") && error.contains("echo_64"),
            "{error}"
        );
    }

    #[test]
    fn no_name_is_given_twice() {
        let rows = select(&[]).expect("all");
        let mut names: Vec<_> = rows.iter().map(|(_, task)| task.name).collect();
        assert!(FEWER.iter().all(|(_, name, _)| names.contains(name)));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
    }
}
