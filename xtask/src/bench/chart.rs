//! The picture of it: ours beside the best peer, for each workload, as SVG.
//!
//! ```text
//!            0.1×        0.5×    best peer = 1       2×         10×
//! yield_2      ▏   ████████████████┃   ●         ■        ◆           0.48
//! ```
//!
//! A bar begins at the best peer and ends at ours: to the left is cheaper. Marks are where the
//! peers and the floor are. The axis is logarithmic, so that half and twice are equally far.

use core::fmt::Write as _;

use super::sample::{Column, Role, Row};

const WIDTH: f64 = 900.0;
/// Where the axis begins and ends.
const LEFT: f64 = 210.0;
const RIGHT: f64 = 820.0;
const TOP: f64 = 84.0;
const ROW: f64 = 20.0;
const HEADING: f64 = 30.0;
/// The axis goes from one part in so many to so many times; what lies beyond is at its end.
const SPAN: f64 = 10.0;
const TICKS: [(f64, &str); 7] = [
    (0.1, "1/10"),
    (0.2, "1/5"),
    (0.5, "1/2"),
    (1.0, "best peer"),
    (2.0, "2×"),
    (5.0, "5×"),
    (10.0, "10×"),
];
const CHEAPER: &str = "#2a78c2";
const DEARER: &str = "#d9822b";
const INK: &str = "#24292f";
const FAINT: &str = "#d0d7de";
/// Of the peers, in the order of their columns.
const MARKS: [(&str, Shape); 4] = [
    ("#8250df", Shape::Circle),
    ("#1a7f37", Shape::Square),
    ("#bf3989", Shape::Diamond),
    ("#6e7781", Shape::Triangle),
];

/// How words are set.
const START: &str = "text-anchor=\"start\"";
const MIDDLE: &str = "text-anchor=\"middle\"";
const END: &str = "text-anchor=\"end\"";
const BOLD: &str = "font-weight=\"bold\"";
const TITLE: &str = "font-weight=\"bold\" font-size=\"15\"";

#[derive(Clone, Copy)]
enum Shape {
    Circle,
    Square,
    Diamond,
    Triangle,
    /// The floor's.
    Line,
}

/// The rows that have a peer; `None` if there is none.
pub(super) fn render(columns: &[Column], rows: &[Row]) -> Option<String> {
    let compared = |row: &&Row| {
        let number = row.headline();
        row.best(columns, Role::Ours, number).is_some()
            && row
                .best(columns, Role::Peer, number)
                .is_some_and(|best| best > 0.0)
    };
    let rows: Vec<_> = rows.iter().filter(compared).collect();
    if rows.is_empty() {
        return None;
    }
    let mut body = String::new();
    let mut y = TOP;
    let mut family = "";
    for row in rows {
        if row.family != family {
            family = row.family;
            y += HEADING;
            text(&mut body, (8.0, y - 8.0), BOLD, family);
        }
        line(&mut body, columns, row, y);
        y += ROW;
    }
    let height = y + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
         <title>Costs beside the best peer's</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    legend(&mut svg, columns);
    axis(&mut svg, y);
    svg.push_str(&body);
    svg.push_str("</svg>\n");
    Some(svg)
}

/// One workload.
fn line(svg: &mut String, columns: &[Column], row: &Row, y: f64) {
    let number = row.headline();
    let best = |role| row.best(columns, role, number);
    let (Some(ours), Some(peer)) = (best(Role::Ours), best(Role::Peer)) else {
        return;
    };
    let middle = y + ROW / 2.0;
    let workers = if row.workers == 1 { "" } else { ", 2 workers" };
    text(
        svg,
        (LEFT - 10.0, middle + 4.0),
        END,
        &format!("{}{workers}", row.name),
    );
    let ratio = ours / peer;
    let (from, to) = (place(1.0).min(place(ratio)), place(1.0).max(place(ratio)));
    let color = if ratio <= 1.0 { CHEAPER } else { DEARER };
    let _ = writeln!(
        svg,
        "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" fill=\"{color}\">\
         <title>{} {ratio:.2}</title></rect>",
        middle - 6.0,
        (to - from).max(1.5),
        row.name,
    );
    let mut marks = MARKS.iter();
    for (column, cell) in columns.iter().zip(&row.cells) {
        let (color, shape) = match column.role {
            Role::Ours | Role::Variant => continue,
            Role::Floor => (INK, Shape::Line),
            Role::Peer => *marks.next().unwrap_or(&MARKS[MARKS.len() - 1]),
        };
        if let Some(value) = cell.median(number) {
            let ratio = value / peer;
            mark(
                svg,
                (place(ratio), middle),
                shape,
                color,
                &format!("{} {ratio:.2}", column.title),
            );
        }
    }
    text(
        svg,
        (WIDTH - 12.0, middle + 4.0),
        END,
        &format!("{ratio:.2}"),
    );
}

fn mark(svg: &mut String, (x, y): (f64, f64), shape: Shape, color: &str, title: &str) {
    let form = match shape {
        Shape::Circle => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\""),
        Shape::Square => {
            format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\"",
                x - 4.0,
                y - 4.0
            )
        }
        Shape::Diamond => format!(
            "<path d=\"M{x:.1} {:.1}l5.5 5.5-5.5 5.5-5.5-5.5z\"",
            y - 5.5
        ),
        Shape::Triangle => format!("<path d=\"M{x:.1} {:.1}l5.5 9h-11z\"", y - 5.0),
        Shape::Line => {
            format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"3\" height=\"16\"",
                x - 1.5,
                y - 8.0
            )
        }
    };
    let _ = writeln!(
        svg,
        "{form} fill=\"{color}\" stroke=\"#ffffff\"><title>{title}</title>{}",
        match shape {
            Shape::Circle => "</circle>",
            Shape::Square | Shape::Line => "</rect>",
            Shape::Diamond | Shape::Triangle => "</path>",
        }
    );
}

/// Which mark is whose.
fn legend(svg: &mut String, columns: &[Column]) {
    text(svg, (8.0, 22.0), TITLE, "Cost beside the best peer");
    let about = "processor time of an op or a request, time on 2 workers, memory of one that waits";
    text(svg, (8.0, 40.0), START, about);
    let mut x = LEFT;
    let mut entry = |svg: &mut String, color: &str, shape, title: &str| {
        mark(svg, (x, 58.0), shape, color, title);
        text(svg, (x + 10.0, 62.0), START, title);
        #[expect(clippy::cast_precision_loss, reason = "a short word")]
        let width = 7.5 * title.len() as f64;
        x += 34.0 + width;
    };
    entry(svg, CHEAPER, Shape::Square, "fiber, cheaper");
    entry(svg, DEARER, Shape::Square, "fiber, dearer");
    let mut marks = MARKS.iter();
    for column in columns {
        match column.role {
            Role::Ours | Role::Variant => {}
            Role::Floor => entry(svg, INK, Shape::Line, column.title),
            Role::Peer => {
                let (color, shape) = *marks.next().unwrap_or(&MARKS[MARKS.len() - 1]);
                entry(svg, color, shape, column.title);
            }
        }
    }
}

fn axis(svg: &mut String, bottom: f64) {
    for (ratio, label) in TICKS {
        let x = place(ratio);
        let color = if ratio == 1.0 { INK } else { FAINT };
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {:.1}V{bottom:.1}\" stroke=\"{color}\"/>",
            TOP + 6.0
        );
        text(svg, (x, TOP), MIDDLE, label);
    }
    text(svg, (WIDTH - 12.0, TOP), END, "fiber");
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>"
    );
}

/// Where a ratio is on the axis.
fn place(ratio: f64) -> f64 {
    let part = ratio.clamp(1.0 / SPAN, SPAN).log(SPAN);
    LEFT + (RIGHT - LEFT) * (part + 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::{COLUMNS, row};
    use super::{CHEAPER, DEARER, LEFT, RIGHT, place, render};

    #[test]
    fn half_and_twice_are_equally_far_and_nothing_lies_outside() {
        let middle = f64::midpoint(LEFT, RIGHT);
        assert_eq!(place(1.0), middle);
        assert!((place(2.0) - middle - (middle - place(0.5))).abs() < 1e-9);
        assert!((place(0.0) - LEFT).abs() < 1e-9 && (place(1e9) - RIGHT).abs() < 1e-9);
    }

    #[test]
    fn every_compared_row_has_a_bar_and_a_number_and_the_others_are_left_out() {
        let rows = [
            row("cheap", 1, [&[10.0], &[5.0], &[20.0], &[40.0]]),
            row("dear", 2, [&[60.0], &[], &[], &[40.0]]),
            row("alone", 1, [&[60.0], &[], &[], &[]]),
        ];
        let svg = render(&COLUMNS, &rows).expect("two rows have peers");
        assert_eq!(
            Some(&svg),
            render(&COLUMNS, &rows).as_ref(),
            "it is the same each time"
        );
        for part in [
            ">cheap<",
            ">0.50<",
            ">dear, 2 workers<",
            ">1.50<",
            "tokio 1.00",
            "go 2.00",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("alone"), "{svg}");
        let bars = |color: &str| {
            svg.matches(&format!("height=\"12\" fill=\"{color}\""))
                .count()
        };
        assert_eq!((bars(CHEAPER), bars(DEARER)), (1, 1));
        assert!(render(&COLUMNS, &rows[2..]).is_none());
    }

    #[test]
    fn what_is_opened_is_closed() {
        let svg = render(&COLUMNS, &[row("a", 1, [&[1.0], &[1.0], &[1.0], &[1.0]])]);
        let svg = svg.expect("it has peers");
        for tag in ["svg", "text", "title"] {
            let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
            assert_eq!(
                svg.matches(&open).count(),
                svg.matches(&close).count(),
                "{tag}"
            );
        }
        for tag in ["rect", "path", "circle"] {
            let ends = svg.matches(&format!("</{tag}>")).count();
            let opened = svg
                .lines()
                .filter(|line| line.starts_with(&format!("<{tag}")));
            let closed = opened.clone().filter(|line| line.ends_with("/>")).count();
            assert_eq!(opened.count(), ends + closed, "{tag}");
        }
    }
}
