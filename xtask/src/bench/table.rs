//! Medians, and the tables of them.

use core::fmt::Write as _;

/// What one run has cost, per op.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) wall_ns: f64,
    pub(super) processor_ns: f64,
}

type Metric = fn(&Sample) -> f64;

/// One workload: what each program has made of it, ours first.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) workers: u16,
    pub(super) cells: Vec<Cell>,
}

/// All runs of one program; none where it cannot do the workload.
#[derive(Default)]
pub(super) struct Cell(Vec<Sample>);

/// Of several runs.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Cell {
    pub(super) fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    fn spread(&self, of: Metric) -> Option<Spread> {
        let mut values: Vec<_> = self.0.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        Some(Spread {
            median: *values.get(values.len() / 2)?,
            least: *values.first()?,
            most: *values.last()?,
        })
    }
}

/// Markdown: a table of processor time, and one of the time that passes.
pub(super) fn render(programs: &[&str], rounds: usize, rows: &[Row]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Nanoseconds per op: the median of {rounds} runs (least–most). A ratio says how many times \
         as long ours takes: below 1 ours is faster."
    );
    let metrics: [(&str, Metric); 2] = [
        ("Processor time, of all threads", |sample| {
            sample.processor_ns
        }),
        ("Time that passes", |sample| sample.wall_ns),
    ];
    for (title, metric) in metrics {
        let _ = writeln!(text, "\n### {title}\n");
        section(&mut text, programs, rows, metric);
    }
    text
}

fn section(text: &mut String, programs: &[&str], rows: &[Row], metric: Metric) {
    let peers = programs.get(1..).unwrap_or_default();
    let ratios: Vec<_> = peers
        .iter()
        .map(|peer| format!("ratio to {peer}"))
        .collect();
    let columns = programs.iter().copied();
    let columns: Vec<_> = columns.chain(ratios.iter().map(String::as_str)).collect();
    let _ = writeln!(text, "| workload | workers | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|--:|{}", "--:|".repeat(columns.len()));
    for row in rows {
        let spreads: Vec<_> = row.cells.iter().map(|cell| cell.spread(metric)).collect();
        let ours = spreads.first().copied().flatten();
        let _ = write!(text, "| {} | {} |", row.name, row.workers);
        for spread in &spreads {
            let _ = write!(text, " {} |", spread.map_or(String::new(), Spread::show));
        }
        for peer in spreads.iter().skip(1) {
            let ratio = ours
                .zip(*peer)
                .map(|(ours, peer)| ours.median / peer.median);
            let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let _ = write!(text, " {ratio} |");
        }
        text.push('\n');
    }
}

impl Spread {
    fn show(self) -> String {
        let [median, least, most] = [self.median, self.least, self.most].map(digits);
        format!("{median} ({least}–{most})")
    }
}

/// Three digits, or all those before the point.
fn digits(value: f64) -> String {
    let places = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::{Cell, Row, Sample, render};

    fn cell(values: &[f64]) -> Cell {
        let sample = |value: &f64| Sample {
            wall_ns: 2.0 * value,
            processor_ns: *value,
        };
        Cell(values.iter().map(sample).collect())
    }

    #[test]
    fn a_row_has_medians_spreads_and_ratios_and_gaps_where_a_peer_has_nothing() {
        let row = Row {
            name: "yield_2".to_owned(),
            workers: 1,
            cells: vec![
                cell(&[30.0, 10.0, 20.0]),
                cell(&[100.0, 80.0, 1234.5]),
                cell(&[]),
            ],
        };
        let text = render(&["fiber", "tokio", "floor"], 3, &[row]);
        let expected = "\
| workload | workers | fiber | tokio | floor | ratio to tokio | ratio to floor |
|---|--:|--:|--:|--:|--:|--:|
| yield_2 | 1 | 20.0 (10.0–30.0) | 100 (80.0–1234) |  | 0.20 |  |
";
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("| yield_2 | 1 | 40.0 (20.0–60.0) | 200 (160–2469) |"),
            "{text}"
        );
    }
}
