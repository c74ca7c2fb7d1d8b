//! What a page is made of that needs nothing else and is read offline: its frame, sections, tables and drawn charts.
//!
//! Not what it tells: the load test and the benchmark report say that. Every argument called `html` is HTML already, and
//! every other text is escaped here.

use super::chart::{Chart, class};
use std::fmt::Write;

const STYLE: &str = include_str!("report.css");

/// The whole page, light or dark as its reader's system is.
/// `style` are rules beside those that every page has, and `html` is what stands under the title and in the body.
pub fn frame(title: &str, style: &str, lead_html: &str, main_html: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n<p>{lead_html}</p>\n<main>\n{main_html}</main>\n</body>\n</html>\n"
    )
}

/// A panel of the page; of the class `wide` it has a row for itself.
pub fn section(class: &str, title: &str, html: &str) -> String {
    let title = escape(title);
    format!("<section class=\"{class}\">\n<h2>{title}</h2>\n{html}\n</section>\n")
}

/// A panel with a chart, and a legend where there is more than one line.
pub fn drawn(title: &str, chart: &Chart) -> String {
    let body = chart.to_svg().unwrap_or_else(|| "<p>Nothing was measured.</p>".into());
    let mut legend = String::new();
    for (index, line) in chart.lines.iter().enumerate().filter(|_| chart.lines.len() > 1) {
        let (class, name) = (class(index), escape(&line.name));
        let _ = write!(legend, "<span><i class=\"{class}\"></i>{name}</span>");
    }
    if !chart.events.is_empty() {
        legend += "<span><i class=\"event\"></i>events</span>";
    }
    section("", title, &format!("<p class=\"legend\">{legend}</p>\n{body}"))
}

/// A table of cells that are HTML already: those of its head, and its rows.
pub fn table(head_html: &str, rows_html: &str) -> String {
    format!("<table>\n<thead><tr>{head_html}</tr></thead>\n<tbody>\n{rows_html}</tbody>\n</table>")
}

/// A table of names with their texts.
pub fn pairs(rows: &[(String, String)]) -> String {
    let rows = rows.iter().map(|(name, value)| row(name, std::slice::from_ref(value)));
    format!("<table>\n<tbody>\n{}</tbody>\n</table>", rows.collect::<String>())
}

/// A row of a table: its name, and the cells behind it.
pub fn row(name: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
    format!("<tr><td>{}</td>{cells}</tr>\n", escape(name))
}

/// A text as it stands, whatever characters it has.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_not_html() {
        assert_eq!(escape("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
        assert_eq!(row("<", &[">".into()]), "<tr><td>&lt;</td><td>&gt;</td></tr>\n");
    }
}
