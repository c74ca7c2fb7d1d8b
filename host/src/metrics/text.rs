//! The two text forms: that of Prometheus, version 0.0.4, and OpenMetrics 1.0. They differ in the names of counters, in
//! `info`, in how numbers are written and in the end, so that no page is valid in both.

use std::fmt::{Display, Write};

/// How a page is written.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Prometheus text 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
}

impl Form {
    /// The form that an `Accept` header likes best; that of Prometheus where it likes both alike, or has no opinion.
    pub fn accepted(accept: &str) -> Form {
        let quality = |name: &str| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                parts.next().filter(|kind| kind.eq_ignore_ascii_case(name))?;
                let quality = parts.find_map(|part| part.strip_prefix("q="));
                Some(quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0)))
            });
            ranges.fold(None, |best: Option<f64>, one| Some(best.map_or(one, |best| best.max(one))))
        };
        let open = quality("application/openmetrics-text").unwrap_or(0.0);
        let any = quality("*/*").or(quality("text/*"));
        let plain = quality("text/plain").or(any).unwrap_or(0.0);
        if open > plain { Form::OpenMetrics } else { Form::Prometheus }
    }

    /// What the response is said to be.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values below bounds.
    Histogram,
    /// Its labels tell.
    Info,
}

/// A page that is being written, family by family.
pub struct Page {
    form: Form,
    text: String,
    /// The name that the samples of the present family have.
    name: String,
}

impl Page {
    /// An empty page.
    pub fn new(form: Form) -> Page {
        Page { form, text: String::new(), name: String::new() }
    }

    /// Begins a family. A counter is named without `_total`, an info without `_info`.
    pub fn family(&mut self, kind: Kind, name: &str, help: &str) {
        let (word, suffix) = match (kind, self.form) {
            (Kind::Counter, _) => ("counter", "_total"),
            (Kind::Gauge, _) => ("gauge", ""),
            (Kind::Histogram, _) => ("histogram", ""),
            (Kind::Info, Form::OpenMetrics) => ("info", "_info"),
            (Kind::Info, Form::Prometheus) => ("gauge", "_info"),
        };
        self.name = format!("{name}{suffix}");
        let family = match self.form {
            Form::Prometheus => self.name.clone(),
            Form::OpenMetrics => name.to_owned(),
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.line(format_args!("# HELP {family} {help}"));
        self.line(format_args!("# TYPE {family} {word}"));
    }

    /// A sample of the present family.
    pub fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample("", labels, value);
    }

    /// A histogram of a subsystem: how many values are at most each bound, how many there are, and their sum.
    pub fn histogram(&mut self, subsystem: &str, bounds: &[(f64, u64)], count: u64, sum: f64) {
        for (bound, below) in bounds {
            // A float in either form, so that both name the same series.
            let bound = format!("{bound:?}");
            self.sample("_bucket", &[("subsystem", subsystem), ("le", &bound)], below);
        }
        self.sample("_bucket", &[("subsystem", subsystem), ("le", "+Inf")], count);
        self.sample("_sum", &[("subsystem", subsystem)], sum);
        self.sample("_count", &[("subsystem", subsystem)], count);
    }

    /// The page.
    pub fn end(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            self.write(format_args!("{label}=\"{value}\""));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.write(line);
        self.text.push('\n');
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_chooses_the_form() {
        let open = "application/openmetrics-text";
        for (accept, form) in [
            ("", Form::Prometheus),
            ("*/*", Form::Prometheus),
            ("text/plain", Form::Prometheus),
            (open, Form::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0", Form::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1",
                Form::OpenMetrics,
            ),
            ("application/openmetrics-text;q=0.2,text/plain;version=0.0.4;q=0.7", Form::Prometheus),
            ("application/openmetrics-text;q=0", Form::Prometheus),
            ("application/openmetrics-text;q=high", Form::Prometheus),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }

    #[test]
    fn each_form_is_written_its_own_way() {
        let write = |form| {
            let mut page = Page::new(form);
            page.family(Kind::Counter, "a", "back\\slash\nline");
            page.value(&[("of", "q\"u\\o\nte")], 3);
            page.family(Kind::Info, "b", "B.");
            page.value(&[], 1);
            page.family(Kind::Histogram, "c", "C.");
            page.histogram("s", &[(1.0, 2)], 3, 4.5);
            page.end()
        };
        let counts =
            "c_bucket{subsystem=\"s\",le=\"1.0\"} 2\nc_bucket{subsystem=\"s\",le=\"+Inf\"} 3\n";
        let counts =
            format!("{counts}c_sum{{subsystem=\"s\"}} 4.5\nc_count{{subsystem=\"s\"}} 3\n");
        let prometheus = format!(
            "# HELP a_total back\\\\slash\\nline\n# TYPE a_total counter\na_total{{of=\"q\\\"u\\\\o\\nte\"}} 3\n\
             # HELP b_info B.\n# TYPE b_info gauge\nb_info 1\n# HELP c C.\n# TYPE c histogram\n{counts}"
        );
        assert_eq!(write(Form::Prometheus), prometheus);
        let open = prometheus
            .replace("HELP a_total", "HELP a")
            .replace("TYPE a_total", "TYPE a")
            .replace("HELP b_info", "HELP b")
            .replace("TYPE b_info gauge", "TYPE b info");
        assert_eq!(write(Form::OpenMetrics), format!("{open}# EOF\n"));
    }
}
