//! The report as text for a terminal: what the page has, but for the charts.

use crate::sheet::{Kind, Part, Section, Sheet, Source, Table};
use std::fmt::Write;

/// The text.
pub fn text(sheet: &Sheet) -> String {
    let mut text = heading("Benchmark report", '=');
    sheet.lead.iter().for_each(|line| text += &format!("{line}\n"));
    sheet.warnings.iter().for_each(|line| text += &format!("warning: {line}\n"));
    text + &sheet.sections.iter().map(section).collect::<String>()
}

fn heading(title: &str, under: char) -> String {
    let line: String = title.chars().map(|_| under).collect();
    format!("{title}\n{line}\n")
}

fn section(section: &Section) -> String {
    let mut text = format!("\n{}", heading(&section.title, '-'));
    section.notes.iter().for_each(|note| text += &format!("{note}\n"));
    text + &section.parts.iter().map(part).collect::<String>()
}

fn part(part: &Part) -> String {
    match part {
        Part::Table(table) => tabled(table),
        Part::Chart(..) => String::new(),
        Part::Missing(missing) => {
            let lines = missing.iter().map(|(what, command)| format!("  {what}: {command}\n"));
            format!(
                "\nNot measured yet, and the command that measures it:\n{}",
                lines.collect::<String>()
            )
        }
    }
}

fn tabled(table: &Table) -> String {
    let head: Vec<String> = table.head.iter().map(|head| head.name.to_uppercase()).collect();
    let rows: Vec<&Vec<String>> = [&head].into_iter().chain(&table.rows).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = format!("\n{}\n", table.title);
    for row in rows {
        let mut line = String::new();
        for ((cell, width), head) in row.iter().zip(&widths).zip(&table.head) {
            let _ = match head.kind {
                Kind::Number => write!(line, "  {cell:>width$}"),
                Kind::Text | Kind::Word => write!(line, "  {cell:<width$}"),
            };
        }
        text += &format!("{}\n", line.trim_end());
    }
    if let Some(Source { when, command }) = &table.source {
        text += &format!("  {when}; by `{command}`\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheet::Head;

    #[test]
    fn figures_stand_to_the_right() {
        let rows =
            [("a", "1"), ("long", "100")].map(|(name, value)| vec![name.into(), value.into()]);
        let head = vec![Head::text("name"), Head::number("ns")];
        let source = Some(Source { when: "now".into(), command: "make".into() });
        let table = Table { title: "T".into(), head, rows: rows.into(), source, is_wide: false };
        assert_eq!(
            tabled(&table),
            "\nT\n  NAME   NS\n  a       1\n  long  100\n  now; by `make`\n"
        );
    }
}
