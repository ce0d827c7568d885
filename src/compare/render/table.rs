//! The report in a terminal: at most [`WIDTH`] columns, no colour.

use super::content::{Section, Table, sections};
use super::words::{ending, method, plain, title};
use crate::compare::report::Report;
use crate::compare::summary::{Summary, headlines};

/// Most columns of a line.
const WIDTH: usize = 100;

/// Between two columns.
const GAP: usize = 2;

/// The report for a terminal. What a reader has to know before any figure stands first.
pub fn table(report: &Report) -> String {
    let summary = Summary::of(report);
    let mut text = String::new();
    for line in headlines(report) {
        wrap(&plain(&line), "", &mut text);
    }
    wrap(&title(report), "", &mut text);
    wrap(&method(report), "", &mut text);
    for section in sections(report, &summary) {
        text.push('\n');
        put(&section, &mut text);
    }
    text
}

fn put(section: &Section, text: &mut String) {
    text.push_str(&section.title.to_uppercase());
    text.push('\n');
    for line in &section.texts {
        wrap(line, "  ", text);
    }
    for (at, table) in section.tables.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        grid(table, text);
    }
}

/// Columns as wide as their widest cell; the widest ones give way when a line would be too long.
fn grid(table: &Table, text: &mut String) {
    let mut widths = widths(table);
    let last = widths.len().saturating_sub(1);
    let fixed = GAP * (last + 1);
    // The last column, when it is of words, goes on in the next line instead.
    let flows = table.numeric.last() == Some(&false);
    while fixed + widths.iter().sum::<usize>() > WIDTH {
        let shrinks = (0..widths.len()).filter(|at| !(flows && *at == last && widths[last] <= 40));
        match shrinks.max_by_key(|at| widths[*at]) {
            Some(at) if widths[at] > 4 => widths[at] -= 1,
            _ => break,
        }
    }
    let heads = table.head.iter().any(|head| !head.is_empty());
    for row in heads.then_some(&table.head).into_iter().chain(&table.rows) {
        line(row, &widths, &table.numeric, text);
    }
}

fn widths(table: &Table) -> Vec<usize> {
    let rows = || [&table.head].into_iter().chain(&table.rows);
    let width = |column: usize| {
        let cells = rows().filter_map(move |row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..table.head.len()).map(width).collect()
}

fn line(cells: &[String], widths: &[usize], numeric: &[bool], text: &mut String) {
    let mut line = String::new();
    let mut rest = String::new();
    let last = cells.len().saturating_sub(1);
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        line.push_str(&" ".repeat(GAP));
        let flows = at == last && !numeric[at] && cell.chars().count() > *width;
        let shown = if flows {
            let (begin, more) = split(cell, *width);
            rest = more;
            begin
        } else {
            ending(cell, *width)
        };
        let space = " ".repeat(width.saturating_sub(shown.chars().count()));
        let (before, after) = if numeric[at] {
            (space, String::new())
        } else {
            (String::new(), space)
        };
        line.push_str(&(before + &shown + &after));
    }
    text.push_str(line.trim_end());
    text.push('\n');
    if !rest.is_empty() {
        let mut next = vec![String::new(); last];
        next.push(rest);
        self::line(&next, widths, numeric, text);
    }
}

/// At most `most` characters, up to a space when there is one, and the rest.
fn split(text: &str, most: usize) -> (String, String) {
    let end = text
        .char_indices()
        .nth(most)
        .map_or(text.len(), |(at, _)| at);
    let space = text[..end]
        .rfind(' ')
        .filter(|at| *at > 0 && end < text.len());
    let (begin, rest) = text.split_at(space.unwrap_or(end));
    (begin.trim_end().to_owned(), rest.trim_start().to_owned())
}

fn wrap(sentence: &str, indent: &str, text: &mut String) {
    let mut rest = sentence.to_owned();
    while !rest.is_empty() {
        let (begin, more) = split(&rest, WIDTH - indent.len());
        text.push_str(indent);
        text.push_str(&begin);
        text.push('\n');
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::{Environment, Plan, Subject};
    use crate::compare::testing;

    #[test]
    fn a_software_kvm_is_said_first_and_lines_fit() {
        let mut report = testing::report();
        report.plan.walls[2] = "/opt/runtimes/with/a/very/long/path/bin/crun".to_owned();
        report.start[2].wall.clone_from(&report.plan.walls[2]);
        report.surface[1].capabilities = vec!["CAP_SYS_EVERYTHING".to_owned(); 40];
        let text = table(&report);
        assert!(text.starts_with("This host has a software KVM"), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        for expected in [
            "bin/crun",
            "START",
            "p99",
            "no difference",
            "slower",
            "PARITY",
        ] {
            assert!(text.contains(expected), "no {expected} in {text}");
        }
    }

    #[test]
    fn a_report_without_a_measurement_is_short() {
        let (environment, subject) = (Environment::default(), Subject::default());
        let text = table(&Report::begin(environment, subject, Plan::default()));
        assert!(
            text.starts_with("This comparison was interrupted"),
            "{text}"
        );
        assert!(
            !text.contains("START") && !text.contains("PARITY"),
            "{text}"
        );
    }

    #[test]
    fn few_samples_are_called_few() {
        let mut report = testing::report();
        report
            .start
            .iter_mut()
            .for_each(|start| start.samples.truncate(3));
        assert!(table(&report).contains("n too small"));
    }

    #[test]
    fn strange_names_stay_on_their_line() {
        let mut report = testing::report();
        report.subject.image = "evil\x1b]0;title\x07\nname".to_owned();
        report.plan.walls[0] = "v\x1bm".to_owned();
        assert!(!table(&report).contains('\x1b'));
    }
}
