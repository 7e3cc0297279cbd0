//! Medians as tables in Markdown.

use core::fmt::Write as _;

use super::families::FEWER;
use super::sample::{Cell, Column, FOREIGN_MAX, Role, Row};

/// What is told of the rows that have it: a title, the number's name, and what is said below.
const SECTIONS: &[(&str, &str, &str)] = &[
    (
        "Processor time of one op, in ns",
        "cpu_ns_per_op",
        "Of all threads of the process, the kernel's work for it included.",
    ),
    (
        "Time that one op takes, in ns",
        "ns_per_op",
        "From the first op to the last, by the number of ops.",
    ),
    (
        "Memory of one that waits, in bytes",
        "bytes_per_task",
        "What is resident more than before, page tables included.",
    ),
    (
        "Ending one that has waited, in ns",
        "teardown_ns_per_op",
        "From the gate's opening until all have ended.",
    ),
    (
        "The server's processor time of one request, in ns",
        "server_cpu_ns_per_req",
        "Of all its threads, over the measured time alone.",
    ),
    ("Median latency, in µs", "p50_us", "As the client sees it."),
    (
        "Latency that 1 % exceed, in µs",
        "p99_us",
        "As the client sees it.",
    ),
    (
        "Latency that 0.1 % exceed, in µs",
        "p999_us",
        "As the client sees it.",
    ),
    (
        "The busiest worker's time by the least busy one's",
        "imbalance",
        "1 is even.",
    ),
    (
        "Sleeping workers that were woken, for each op",
        "rings_per_op",
        "Of a worker that is awake nobody tells the kernel.",
    ),
    (
        "Calls of the kernel by workers' turns, for each op",
        "enters_per_op",
        "To hand requests over, and to wait.",
    ),
];

/// All tables.
pub(super) fn render(columns: &[Column], rows: &[Row]) -> String {
    let mut text = String::new();
    for (title, number, about) in SECTIONS {
        let has = |row: &&Row| row.cells.iter().any(|cell| cell.median(number).is_some());
        let rows: Vec<_> = rows.iter().filter(has).collect();
        if !rows.is_empty() {
            let _ = writeln!(text, "## {title}\n\n{about}\n");
            section(&mut text, columns, &rows, number);
        }
    }
    scaling(&mut text, columns, rows);
    text
}

fn section(text: &mut String, columns: &[Column], rows: &[&Row], number: &str) {
    let used = |place: &usize| {
        let cell = |row: &&Row| row.cells.get(*place).and_then(|cell| cell.median(number));
        rows.iter().any(|row| cell(row).is_some())
    };
    let used: Vec<_> = (0..columns.len()).filter(used).collect();
    let used_columns: Vec<_> = used.iter().map(|place| columns[*place]).collect();
    let has = |role| used_columns.iter().any(|column| column.role == role);
    let ratios = [(Role::Peer, "to best peer"), (Role::Floor, "to floor")];
    let ratios: Vec<_> = ratios.into_iter().filter(|(role, _)| has(*role)).collect();
    let titles = used_columns.iter().map(|column| column.title);
    let titles: Vec<_> = titles
        .chain(ratios.iter().map(|(_, title)| *title))
        .collect();
    let _ = writeln!(text, "| workload | workers | {} |", titles.join(" | "));
    let _ = writeln!(text, "|---|--:|{}", "--:|".repeat(titles.len()));
    for row in rows {
        let _ = write!(text, "| {} | {} |", row.name, row.workers);
        for place in &used {
            let _ = write!(text, " {} |", show(&row.cells[*place], number));
        }
        let ours = row.best(columns, Role::Ours, number);
        for (role, _) in &ratios {
            let ratio = ours.zip(row.best(columns, *role, number));
            let ratio = ratio.filter(|(_, other)| *other > 0.0);
            let ratio = ratio.map(|(ours, other)| format!("{:.2}", ours / other));
            let _ = write!(text, " {} |", ratio.unwrap_or_default());
        }
        text.push('\n');
    }
    text.push('\n');
}

/// How much faster two workers are than one.
fn scaling(text: &mut String, columns: &[Column], rows: &[Row]) {
    let alone = |row: &&Row| row.workers == 1;
    let pairs = rows.iter().filter(alone).filter_map(|one| {
        let both = |two: &&Row| two.workers == 2 && two.name == one.name;
        Some((one, rows.iter().find(both)?))
    });
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() {
        return;
    }
    let titles: Vec<_> = columns.iter().map(|column| column.title).collect();
    let _ = writeln!(
        text,
        "## Scaling\n\nThe time on one worker by that on two: 2 is all that there is to gain.\n\n\
         | workload | {} |\n|---|{}",
        titles.join(" | "),
        "--:|".repeat(titles.len())
    );
    for (one, two) in pairs {
        let _ = write!(text, "| {} |", one.name);
        for (one, two) in one.cells.iter().zip(&two.cells) {
            let gain = one.median("ns_per_op").zip(two.median("ns_per_op"));
            let gain = gain.map(|(one, two)| format!("{:.2}", one / two));
            let _ = write!(text, " {} |", gain.unwrap_or_default());
        }
        text.push('\n');
    }
    text.push('\n');
}

/// The median and what it lies between; a star if the runs were disturbed.
fn show(cell: &Cell, number: &str) -> String {
    let Some(spread) = cell.spread(number) else {
        let is_failure = cell.failure.is_some();
        return if is_failure {
            "fails".to_owned()
        } else {
            String::new()
        };
    };
    let [median, least, most] = [spread.median, spread.least, spread.most].map(digits);
    let disturbed = cell.samples.iter().filter(|sample| sample.is_disturbed());
    let star = if 2 * disturbed.count() > cell.samples.len() {
        "\\*"
    } else {
        ""
    };
    if cell.samples.len() == 1 {
        format!("{median}{star}")
    } else {
        format!("{median} ({least}–{most}){star}")
    }
}

/// What the stars mean, and why programs have failed.
pub(super) fn notes(columns: &[Column], rows: &[Row]) -> String {
    let mut text = String::new();
    let cells = || rows.iter().flat_map(|row| &row.cells);
    let samples: usize = cells().map(|cell| cell.samples.len()).sum();
    let disturbed = cells().flat_map(|cell| &cell.samples);
    let disturbed = disturbed.filter(|sample| sample.is_disturbed()).count();
    let _ = writeln!(
        text,
        "Runs during which others used more than {FOREIGN_MAX} processors were repeated, up to 3 \
         times, and the quietest kept: {disturbed} of {samples} were disturbed nevertheless. A \
         star marks where most were.\n"
    );
    for (title, name, ops) in FEWER {
        let is_here = columns.iter().any(|column| column.title == *title);
        if is_here && rows.iter().any(|row| row.name == *name) {
            let _ = writeln!(
                text,
                "- {name}, {title}: with {ops} only, for want of memory."
            );
        }
    }
    for row in rows {
        for (column, cell) in columns.iter().zip(&row.cells) {
            if let Some(failure) = &cell.failure {
                let (name, title) = (row.name, column.title);
                // What a program says at its end may name places of this machine.
                let short = failure.split_inclusive(": ").take(2).collect::<String>();
                let _ = writeln!(text, "- {name}, {title}: {}", short.trim_end_matches(": "));
            }
        }
    }
    text
}

/// What one op is.
pub(super) fn legend(rows: &[Row]) -> String {
    let mut text = String::from("| workload | one op |\n|---|---|\n");
    let mut last = None;
    for row in rows {
        if last.replace(row.name) != Some(row.name) {
            let _ = writeln!(text, "| {} | {} |", row.name, row.op);
        }
    }
    text
}

/// Three digits, or all those before the point.
pub(super) fn digits(value: f64) -> String {
    let places = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::{COLUMNS, row};
    use super::{legend, notes, render};

    #[test]
    fn a_row_has_medians_spreads_and_ratios_and_gaps_where_a_program_has_nothing() {
        let row = row(
            "yield_2",
            1,
            [&[30.0, 10.0, 20.0], &[], &[100.0, 80.0, 1234.5], &[40.0]],
        );
        let text = render(&COLUMNS, &[row]);
        let expected = "\
| workload | workers | fiber | tokio | go | to best peer |
|---|--:|--:|--:|--:|--:|
| yield_2 | 1 | 20.0 (10.0–30.0) | 100 (80.0–1234) | 40.0 | 0.50 |
";
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("| yield_2 | 1 | 40.0 (20.0–60.0) | 200 (160–2469) |"),
            "{text}"
        );
        assert!(
            !text.contains("Scaling") && !text.contains("latency"),
            "{text}"
        );
    }

    #[test]
    fn what_runs_on_one_worker_and_on_two_is_compared() {
        let cells: [&[f64]; 4] = [&[30.0], &[5.0], &[], &[10.0]];
        let halves: [&[f64]; 4] = [&[20.0], &[], &[], &[10.0]];
        let text = render(&COLUMNS, &[row("a", 1, cells), row("a", 2, halves)]);
        assert!(text.contains("| a | 1.50 |  |  | 1.00 |"), "{text}");
        assert!(
            text.contains("| a | 1 | 30.0 | 5.00 | 10.0 | 3.00 | 6.00 |"),
            "{text}"
        );
    }

    #[test]
    fn a_failure_is_named_and_a_disturbed_cell_has_a_star() {
        let mut row = row("a", 1, [&[1.0], &[1.0], &[], &[2.0]]);
        row.cells[2].failure = Some("no memory".to_owned());
        row.cells[3].samples[0].foreign = 1.0;
        let rows = [row];
        let text = render(&COLUMNS, &rows);
        assert!(
            text.contains("| a | 1 | 1.00 | 1.00 | 2.00\\* | 0.50 |"),
            "{text}"
        );
        let notes = notes(&COLUMNS, &rows);
        assert!(notes.contains("1 of 3"), "{notes}");
        assert!(notes.contains("- a, tokio: no memory"), "{notes}");
        assert!(legend(&rows).contains("| a | a thing |"));
    }
}
