//! What runs have cost, and what is made of several of them.

use alloc::collections::BTreeMap;

use serde_json::Value;

/// A run is disturbed if others have used more than this of the processors meanwhile.
pub(super) const FOREIGN_MAX: f64 = 0.12;

/// The numbers that a program says of one run, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    numbers: BTreeMap<String, f64>,
    /// How many processors others have used meanwhile.
    pub(super) foreign: f64,
}

impl Sample {
    /// Reads the last line of what a program says.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text.lines().last()?).ok()?;
        let numbers = json.as_object()?.iter();
        let numbers = numbers.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
        let mut numbers: BTreeMap<_, _> = numbers.collect();
        let memory = ["rss_per_task", "pte_per_task"].map(|name| numbers.get(name).copied());
        if let [Some(resident), Some(tables)] = memory {
            numbers.insert("bytes_per_task".to_owned(), resident + tables);
        }
        Some(Self {
            numbers,
            foreign: 0.0,
        })
    }

    /// The same, of a run during which others have used so many processors.
    pub(super) fn beside(self, foreign: f64) -> Self {
        Self { foreign, ..self }
    }

    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.numbers.get(name).copied()
    }

    pub(super) fn is_disturbed(&self) -> bool {
        self.foreign > FOREIGN_MAX
    }
}

/// All runs of one program; none where it cannot do the workload.
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) samples: Vec<Sample>,
    /// Why there are no more.
    pub(super) failure: Option<String>,
}

/// Of several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Cell {
    pub(super) fn spread(&self, name: &str) -> Option<Spread> {
        let numbers = self.samples.iter().filter_map(|sample| sample.get(name));
        let mut values: Vec<_> = numbers.collect();
        values.sort_by(f64::total_cmp);
        Some(Spread {
            median: *values.get(values.len() / 2)?,
            least: *values.first()?,
            most: *values.last()?,
        })
    }

    pub(super) fn median(&self, name: &str) -> Option<f64> {
        self.spread(name).map(|spread| spread.median)
    }
}

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ours,
    /// Ours in another way: shown beside, and not compared.
    Variant,
    /// What cannot be had for less.
    Floor,
    Peer,
}

/// A program, as tables call it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) role: Role,
}

/// One workload: what each program has made of it, in the order of the columns.
#[derive(Debug)]
pub(super) struct Row {
    /// The title of its family.
    pub(super) family: &'static str,
    pub(super) name: &'static str,
    pub(super) op: &'static str,
    pub(super) workers: u16,
    pub(super) cells: Vec<Cell>,
}

impl Row {
    /// The number by which the workload is judged.
    pub(super) fn headline(&self) -> &'static str {
        let has = |name: &str| self.cells.iter().any(|cell| cell.median(name).is_some());
        if has("server_cpu_ns_per_req") {
            "server_cpu_ns_per_req"
        } else if has("bytes_per_task") {
            "bytes_per_task"
        } else if self.workers == 1 || self.name.starts_with("timer_sleep") {
            "cpu_ns_per_op"
        } else {
            "ns_per_op"
        }
    }

    /// The median of the programs in this role that is the best one.
    pub(super) fn best(&self, columns: &[Column], role: Role, name: &str) -> Option<f64> {
        let cells = columns.iter().zip(&self.cells);
        let cells = cells.filter(|(column, _)| column.role == role);
        let medians = cells.filter_map(|(_, cell)| cell.median(name));
        medians.reduce(f64::min)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Cell, Column, Role, Row, Sample};

    pub(in super::super) const COLUMNS: [Column; 4] = [
        Column {
            title: "fiber",
            role: Role::Ours,
        },
        Column {
            title: "floor",
            role: Role::Floor,
        },
        Column {
            title: "tokio",
            role: Role::Peer,
        },
        Column {
            title: "go",
            role: Role::Peer,
        },
    ];

    /// A row whose wall time is twice its processor time.
    pub(in super::super) fn row(name: &'static str, workers: u16, cells: [&[f64]; 4]) -> Row {
        let sample = |value: &f64| {
            let json = format!(
                "{{\"cpu_ns_per_op\":{value},\"ns_per_op\":{}}}",
                2.0 * value
            );
            Sample::parse(&json).expect("it is well formed")
        };
        let cell = |values: &[f64]| Cell {
            samples: values.iter().map(sample).collect(),
            failure: None,
        };
        Row {
            family: "Things",
            name,
            op: "a thing",
            workers,
            cells: cells.map(cell).into(),
        }
    }

    #[test]
    fn the_last_line_of_an_answer_is_its_sample() {
        let answer =
            "noise\n{\"ns_per_op\":1.5,\"rss_per_task\":10,\"pte_per_task\":2,\"x\":\"\"}\n";
        let sample = Sample::parse(answer).expect("it is well formed");
        assert_eq!(sample.get("ns_per_op"), Some(1.5));
        assert_eq!(sample.get("bytes_per_task"), Some(12.0));
        assert_eq!(sample.get("x"), None);
        assert_eq!(Sample::parse("no json"), None);
        assert_eq!(Sample::parse(""), None);
    }

    #[test]
    fn medians_are_of_those_who_have_the_number_and_the_best_peer_is_the_least() {
        let row = row("some", 1, [&[30.0, 10.0, 20.0], &[5.0], &[], &[40.0]]);
        let spread = row.cells[0].spread("cpu_ns_per_op").expect("three runs");
        assert_eq!(
            (spread.median, spread.least, spread.most),
            (20.0, 10.0, 30.0)
        );
        let best = |role| row.best(&COLUMNS, role, "cpu_ns_per_op");
        assert_eq!(
            (best(Role::Peer), best(Role::Floor)),
            (Some(40.0), Some(5.0))
        );
        assert_eq!(row.best(&COLUMNS, Role::Peer, "p50_us"), None);
    }

    #[test]
    fn a_row_is_judged_by_what_its_kind_is_about() {
        let cells: [&[f64]; 4] = [&[1.0], &[], &[], &[]];
        assert_eq!(row("some", 1, cells).headline(), "cpu_ns_per_op");
        assert_eq!(row("some", 2, cells).headline(), "ns_per_op");
        assert_eq!(row("timer_sleep", 2, cells).headline(), "cpu_ns_per_op");
        let mut memory = row("mem", 1, cells);
        memory.cells[0].samples = Sample::parse("{\"rss_per_task\":1,\"pte_per_task\":1}")
            .into_iter()
            .collect();
        assert_eq!(memory.headline(), "bytes_per_task");
    }
}
