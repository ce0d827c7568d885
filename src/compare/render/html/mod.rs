//! The report as one page: nothing to fetch, no script, charts drawn in it. It prints, follows the
//! reader's light or dark, and tells nothing by colour alone.

mod footprint;
mod phases;
mod ratios;
mod starts;
mod svg;

use std::fmt::Write;

use self::svg::{escape, shape};
use super::content::{Section, Table, sections};
use super::words::{method, number, ratio, title, verdict};
use crate::compare::figures::{EXIT, FOOTPRINT, START};
use crate::compare::report::Report;
use crate::compare::summary::{Summary, headlines};

const STYLE: &str = include_str!("page.css");

/// The report as a page.
pub fn html(report: &Report) -> String {
    let summary = Summary::of(report);
    let title = escape(&title(report));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    let notices: Vec<_> = headlines(report)
        .iter()
        .map(|line| paragraph("", line))
        .collect();
    if !notices.is_empty() {
        page += &format!("<aside>\n{}</aside>\n", notices.concat());
    }
    page += &format!("<h1>{title}</h1>\n{}", paragraph("lead", &method(report)));
    page += &tiles(&summary);
    page += &overview(&summary);
    for section in sections(report, &summary) {
        page += &put(report, &summary, &section);
    }
    let version = escape(&report.husk);
    page + &format!("<footer>Measured by husk {version}.</footer>\n</body>\n</html>\n")
}

fn paragraph(class: &str, text: &str) -> String {
    match class {
        "" => format!("<p>{}</p>\n", escape(text)),
        class => format!("<p class=\"{class}\">{}</p>\n", escape(text)),
    }
}

/// The one figure that everybody asks for, by wall.
fn tiles(summary: &Summary) -> String {
    let Some(row) = summary.of_suite(START).find(|row| row.name == EXIT) else {
        return String::new();
    };
    let mut tiles = "<div class=\"tiles\">\n".to_owned();
    for (at, (wall, sample)) in summary.walls.iter().zip(&row.samples).enumerate() {
        let median = sample
            .median()
            .map(|median| format!("{} {}", number(median), row.unit));
        let relation = at.checked_sub(1).and_then(|other| row.relations.get(other));
        let relation = relation.map(|relation| {
            let first = escape(&summary.walls[0]);
            let said = verdict(row, *relation);
            format!(
                "<small>{first} / {}: {} {said}</small>",
                escape(wall),
                ratio(*relation)
            )
        });
        writeln!(
            tiles,
            "<div class=\"tile\"><div class=\"wall\"><svg viewBox=\"0 0 14 14\">{}</svg>{}</div>\
             <div class=\"value\">{}</div><small>median start to exit, n {}</small>{}</div>",
            shape(at, (7.0, 7.0), 5.0, "mark"),
            escape(wall),
            median.unwrap_or_else(|| "no start".to_owned()),
            sample.len(),
            relation.unwrap_or_default()
        )
        .expect("a String takes everything");
    }
    tiles + "</div>\n"
}

fn overview(summary: &Summary) -> String {
    let charts = (1..summary.walls.len()).filter_map(|other| {
        let chart = ratios::chart(summary, other)?;
        let (first, second) = (escape(&summary.walls[0]), escape(&summary.walls[other]));
        Some(format!("<h3>{first} against {second}</h3>\n{chart}"))
    });
    let charts: String = charts.collect();
    if charts.is_empty() {
        return charts;
    }
    format!("<h2>What the wall costs</h2>\n{charts}")
}

fn put(report: &Report, summary: &Summary, section: &Section) -> String {
    let mut text = format!("<h2>{}</h2>\n", escape(&section.title));
    for line in &section.texts {
        text += &paragraph("lead", line);
    }
    match section.key.as_str() {
        START => {
            let rows = summary.of_suite(START);
            text.extend(rows.map(|row| starts::chart(summary, row)));
            text += &phases::chart(summary).unwrap_or_default();
        }
        FOOTPRINT => text += &footprint::charts(report, summary),
        _ => {}
    }
    text.extend(section.tables.iter().map(cells));
    text
}

fn cells(table: &Table) -> String {
    let row = |tag: &str, cells: &[String]| {
        let cells = cells.iter().zip(&table.numeric).map(|(cell, numeric)| {
            let class = if *numeric { " class=\"n\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escape(cell))
        });
        cells.collect::<String>()
    };
    let mut text = "<div class=\"scroll\"><table>\n".to_owned();
    if table.head.iter().any(|head| !head.is_empty()) {
        text += &format!("<thead><tr>{}</tr></thead>\n", row("th", &table.head));
    }
    text += "<tbody>\n";
    for line in &table.rows {
        // A line with a name begins a group of lines; those without go on with it.
        let named = line.first().is_some_and(|cell| !cell.is_empty());
        let class = if named { " class=\"new\"" } else { "" };
        text += &format!("<tr{class}>{}</tr>\n", row("td", line));
    }
    text + "</tbody>\n</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::{Environment, Plan, Subject};
    use crate::compare::testing;

    /// Start tags without an end tag, in order.
    fn unclosed(page: &str) -> Vec<String> {
        const VOID: [&str; 2] = ["meta", "!doctype"];
        let mut open = Vec::new();
        for part in page.split('<').skip(1) {
            let tag = part.split('>').next().unwrap();
            let name = tag.split([' ', '/', '\n']).next().unwrap().to_owned();
            match tag.strip_prefix('/') {
                Some(name) if open.last().is_some_and(|last| last == name) => drop(open.pop()),
                Some(name) => open.push(format!("/{name}")),
                None if tag.ends_with('/') || VOID.contains(&name.as_str()) => {}
                None => open.push(name),
            }
        }
        open
    }

    #[test]
    fn the_page_is_well_formed_and_needs_nothing_else() {
        let page = html(&testing::report());
        assert_eq!(unclosed(&page), Vec::<String>::new());
        for outside in ["http://", "https://", "<script", "<link", "src=", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(!page.contains("NaN"), "a coordinate is no number");
        assert!(page.matches("<svg").count() >= 10);
        let body = page.split("<body>").nth(1).unwrap();
        assert!(body.starts_with("\n<aside>\n<p>This host has a software KVM"));
    }

    #[test]
    fn strange_names_are_text() {
        let mut report = testing::report();
        let evil = "<script>alert('x')</script>\"&";
        report.subject.image = evil.to_owned();
        report.subject.command = vec![evil.to_owned()];
        report.notes = vec![evil.to_owned()];
        report.husk = evil.to_owned();
        report.environment.facts.set(evil, evil.to_owned());
        report.plan.walls[0] = evil.to_owned();
        report.start[0].wall = evil.to_owned();
        report.start[0].samples[0].phases_ms.set(evil, 1.0);
        report.work[0].probe = evil.to_owned();
        report.work[0].suite = evil.to_owned();
        report.work[0].unit = evil.to_owned();
        report.surface[0].seccomp = evil.to_owned();
        let page = html(&report);
        assert!(!page.contains("<script"));
        assert_eq!(unclosed(&page), Vec::<String>::new());
    }

    #[test]
    fn odd_reports_have_a_page() {
        let (environment, subject) = (Environment::default(), Subject::default());
        let mut report = Report::begin(environment, subject, Plan::default());
        assert!(html(&report).contains("interrupted"));
        report.start = testing::report().start;
        report.start[0].samples.clear();
        report.start[1].samples.truncate(1);
        report.start[2]
            .samples
            .iter_mut()
            .for_each(|sample| sample.exit_ms = 0.0);
        let page = html(&report);
        assert!(page.contains("no start") || page.contains("n 1"));
        assert!(!page.contains("NaN"));
    }
}
