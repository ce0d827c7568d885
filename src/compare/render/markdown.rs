//! The report for a document or an issue: GitHub's Markdown.

use super::content::{Table, sections};
use super::words::{method, plain, title};
use crate::compare::report::Report;
use crate::compare::summary::{Summary, headlines};

/// The report as Markdown. What a reader has to know before any figure stands first.
pub fn markdown(report: &Report) -> String {
    let summary = Summary::of(report);
    let lines = headlines(report).into_iter();
    let lines: Vec<_> = lines
        .map(|line| format!("> {}\n", escape(&plain(&line))))
        .collect();
    let mut text = lines.join(">\n");
    text += &format!("\n# {}\n\n", escape(&title(report)));
    text += &format!("{}\n", escape(&method(report)));
    for section in sections(report, &summary) {
        text += &format!("\n## {}\n", escape(&section.title));
        for line in &section.texts {
            text += &format!("\n{}\n", escape(line));
        }
        for table in &section.tables {
            text.push('\n');
            put(table, &mut text);
        }
    }
    text
}

fn put(table: &Table, text: &mut String) {
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().map(|cell| escape(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    *text += &line(&table.head);
    let rules = table.numeric.iter().map(|n| if *n { "--:" } else { "---" });
    *text += &format!("|{}|\n", rules.collect::<Vec<_>>().join("|"));
    for row in &table.rows {
        *text += &line(row);
    }
}

/// Markdown's own characters, and those of HTML, as themselves.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // An at sign would call somebody.
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::testing;

    #[test]
    fn tables_have_as_many_cells_as_heads() {
        let text = markdown(&testing::report());
        let mut cells = 0;
        for line in text.lines() {
            let here = line.replace("\\|", "").matches('|').count();
            assert!(here == 0 || cells == 0 || here == cells, "{line}");
            cells = here;
        }
        assert!(
            text.contains("## Start") && text.contains("| exit | vm | 40 |"),
            "{text}"
        );
        assert!(text.starts_with("> This host has a software KVM"));
    }

    #[test]
    fn names_cannot_become_markup() {
        let mut report = testing::report();
        report.subject.image = "<img src=x>|[a](b)*".to_owned();
        let text = markdown(&report);
        let title = text.lines().find(|line| line.starts_with('#')).unwrap();
        assert_eq!(title, r"# husk compare &lt;img src=x&gt;\|\[a\](b)\*");
    }
}
