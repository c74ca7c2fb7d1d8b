//! The report as a page, made of the parts of the load test's.

use crate::sheet::{Head, Kind, Part, Section, Sheet, Source, Table};
use mycelia::load::html::{drawn, escape, frame, section, table};
use std::fmt::Write;

/// Beside the rules of every page.
const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(sheet: &Sheet) -> String {
    let contents: String = sheet.sections.iter().enumerate().map(entry).collect();
    let warnings =
        sheet.warnings.iter().map(|text| format!("<p class=\"part warning\">{}</p>\n", code(text)));
    let mut main =
        format!("<nav class=\"part\">{contents}</nav>\n{}", warnings.collect::<String>());
    for (index, section) in sheet.sections.iter().enumerate() {
        main += &sectioned(index, section);
    }
    let lead: Vec<String> = sheet.lead.iter().map(|text| code(text)).collect();
    frame("Benchmark report", STYLE, &lead.join(" "), &main)
}

fn entry((index, section): (usize, &Section)) -> String {
    format!("<a href=\"#s{index}\">{}</a>\n", escape(&section.title))
}

fn sectioned(index: usize, section: &Section) -> String {
    let mut html = format!("<h2 class=\"part\" id=\"s{index}\">{}</h2>\n", escape(&section.title));
    for note in &section.notes {
        let _ = writeln!(html, "<p class=\"part\">{}</p>", code(note));
    }
    let parts: String = section.parts.iter().map(part).collect();
    format!("{html}<div class=\"parts\">\n{parts}</div>\n")
}

fn part(part: &Part) -> String {
    match part {
        Part::Table(table) => tabled(table),
        Part::Chart(title, chart) => drawn(title, chart),
        Part::Missing(missing) => {
            let rows = missing.iter().map(|(what, command)| {
                format!(
                    "<tr><td>{}</td><td class=\"text\"><code>{}</code></td></tr>\n",
                    escape(what),
                    escape(command)
                )
            });
            let head = "<th>What</th><th class=\"text\">The command that measures it</th>";
            section("wide missing", "Not measured yet", &table(head, &rows.collect::<String>()))
        }
    }
}

fn tabled(sheet: &Table) -> String {
    let head: String = sheet.head.iter().map(|head| cell("th", "", head, head.name)).collect();
    let row = |row: &Vec<String>| {
        let cells = sheet.head.iter().zip(row).map(|(head, text)| cell("td", text, head, text));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = sheet.rows.iter().map(row).collect();
    let source = sheet.source.as_ref().map_or(String::new(), sourced);
    let class = if sheet.is_wide { "wide" } else { "" };
    section(class, &sheet.title, &(table(&head, &rows) + &source))
}

/// `word` is what the cell says if that is the word of a verdict, which is its class.
fn cell(tag: &str, word: &str, head: &Head, text: &str) -> String {
    let class = match head.kind {
        Kind::Number => String::new(),
        Kind::Text => " class=\"text\"".into(),
        Kind::Word => format!(" class=\"text word {}\"", escape(word)),
    };
    format!("<{tag}{class}>{}</{tag}>", escape(text))
}

fn sourced(source: &Source) -> String {
    let Source { when, command } = source;
    format!("\n<p class=\"source\">{}<br><code>{}</code></p>", escape(when), escape(command))
}

/// A text with what stands between backquotes as code.
fn code(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| match index % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheet::Source;

    #[test]
    fn texts_of_files_are_not_html() {
        let evil = "<script src=\"http://x\">";
        let rows = vec![vec![evil.to_owned(), "missed".into()]];
        let source = Some(Source { when: evil.into(), command: evil.into() });
        let head = vec![Head::text("name"), Head::word("verdict")];
        let parts = vec![
            Part::Table(Table { title: evil.into(), head, rows, source, is_wide: false }),
            Part::Missing(vec![(evil.into(), evil.into())]),
        ];
        let section = Section { title: evil.into(), notes: vec![evil.into()], parts };
        let page = page(&Sheet {
            lead: vec![evil.into()],
            warnings: vec![evil.into()],
            sections: vec![section],
        });
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("<td class=\"text word missed\">missed</td>"), "{page}");
        assert_eq!(code("run `a<b`"), "run <code>a&lt;b</code>");
    }
}
