//! Lines over time, over the share of the messages, or over a number, as SVG that a page can colour.
//!
//! Every colour is a mark that stands for a part, and the page's style sheet says what it looks like: so one drawing
//! serves light and dark.

use super::{html::escape, verdict::show};
use plotters::{
    backend::SVGBackend,
    chart::ChartBuilder,
    drawing::{DrawingAreaErrorKind, IntoDrawingArea},
    series::LineSeries,
    style::{Color, IntoFont, RGBColor, ShapeStyle},
};

use std::io;

/// What is drawn.
pub struct Chart {
    /// What the values are; for whoever cannot see it.
    pub name: String,
    /// The lines; there are colours for five.
    pub lines: Vec<Line>,
    /// Where on the time axis something happened.
    pub events: Vec<f64>,
    /// Whether values differ by orders of magnitude.
    pub is_log: bool,
    /// What the other axis is.
    pub along: Along,
}

/// What lies along a chart.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Along {
    /// Time, from 0 on.
    Seconds,
    /// The share of the messages, with as much room for each nine.
    Share,
    /// Numbers that differ by orders of magnitude.
    Numbers,
}

/// One line of a chart.
pub struct Line {
    /// What it shows.
    pub name: String,
    /// By what lies along the chart.
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (720, 260);
/// Room for half of a long number under the end of the axis.
const LAST_LABEL: u32 = 24;

/// The mark of a line's colour; there are five.
fn line_mark(index: usize) -> RGBColor {
    RGBColor(1, 1, 1 + index as u8)
}

const GRID: RGBColor = RGBColor(2, 2, 1);
const TEXT: RGBColor = RGBColor(2, 2, 2);
const EVENT: RGBColor = RGBColor(2, 2, 3);

/// Points of a line over time that can still be told apart.
const POINTS: usize = 360;

impl Chart {
    /// The drawing; none without points.
    pub fn to_svg(&self) -> Option<String> {
        let lines: Vec<Vec<(f64, f64)>> =
            self.lines.iter().map(|line| self.thinned(self.placed(&line.points))).collect();
        let all = || lines.iter().flatten();
        let end = all().map(|(x, _)| *x).reduce(f64::max)?;
        let begin = self.begin(all().map(|(x, _)| *x));
        let (low, high) = self.range(all().map(|(_, y)| *y));
        let mut svg = String::new();
        self.draw(&lines, (begin, end.max(begin + 1e-3)), (low, high), &mut svg)
            .unwrap_or_else(|error| unreachable!("a text takes what is drawn: {error}"));
        let label = format!("<svg role=\"img\" aria-label=\"{}\" ", escape(&self.name));
        Some(svg.replacen("<svg ", &label, 1))
    }

    fn draw(
        &self,
        lines: &[Vec<(f64, f64)>],
        (begin, end): (f64, f64),
        (low, high): (f64, f64),
        svg: &mut String,
    ) -> Result<(), DrawingAreaErrorKind<io::Error>> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(if self.along == Along::Numbers { LAST_LABEL } else { 8 })
            .x_label_area_size(24)
            .y_label_area_size(56)
            .build_cartesian_2d(begin..end, low..high)?;
        let ticks = |low: f64, high: f64, is_decades: bool| {
            if is_decades { (high - low).round() as usize + 1 } else { 6 }
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .max_light_lines(0)
            .label_style(("sans-serif", 12).into_font().color(&TEXT))
            .x_labels(ticks(begin, end.floor(), self.along != Along::Seconds))
            .y_labels(ticks(low, high, self.is_log))
            .x_label_formatter(&|x| self.label(*x))
            .y_label_formatter(&|y| show(if self.is_log { 10_f64.powf(*y) } else { *y }))
            .draw()?;
        for at in &self.events {
            chart.draw_series(LineSeries::new([(*at, low), (*at, high)], EVENT))?;
        }
        for (index, points) in lines.iter().enumerate() {
            let style = ShapeStyle { stroke_width: 2, ..line_mark(index).to_rgba().into() };
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        }
        area.present()
    }

    /// Points as they lie on the axes.
    fn placed(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let along = |x: f64| match self.along {
            Along::Seconds => x,
            Along::Share => -(1.0 - x).log10(),
            Along::Numbers => x.log10(),
        };
        let placed = points
            .iter()
            .map(|(x, y)| (along(*x), if self.is_log { y.max(1e-3).log10() } else { *y }));
        // The slowest message has all others below it, which no axis has room for.
        placed.filter(|(x, _)| x.is_finite()).collect()
    }

    /// At most [`POINTS`] of a line over time, one for each stretch of it: the slowest, or what is farthest from the others.
    fn thinned(&self, points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
        if self.along != Along::Seconds || points.len() <= POINTS {
            return points;
        }
        let stretches = points.chunks(points.len().div_ceil(POINTS));
        let kept = stretches.filter_map(|stretch| {
            let mean = stretch.iter().map(|(_, y)| y).sum::<f64>() / stretch.len() as f64;
            let told = |y: f64| if self.is_log { y } else { (y - mean).abs() };
            stretch.iter().max_by(|a, b| told(a.1).total_cmp(&told(b.1))).copied()
        });
        kept.collect()
    }

    /// From what to what the values go: from 0, or in whole orders of magnitude.
    fn range(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let (low, high) = values
            .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        match self.is_log {
            true => (low.floor(), high.ceil().max(low.floor() + 1.0)),
            false => (0.0, (high * 1.1).max(1.0)),
        }
    }

    /// Where the axis begins: at 0, or at a whole order of magnitude.
    fn begin(&self, along: impl Iterator<Item = f64>) -> f64 {
        match self.along {
            Along::Seconds | Along::Share => 0.0,
            Along::Numbers => along.fold(f64::MAX, f64::min).floor(),
        }
    }

    fn label(&self, x: f64) -> String {
        match self.along {
            Along::Seconds => format!("{} s", show(x)),
            Along::Share => format!("{}%", show_share(100.0 * (1.0 - 10_f64.powf(-x)))),
            Along::Numbers => show(10_f64.powf(x)),
        }
    }
}

/// With all the nines that it has.
fn show_share(percent: f64) -> String {
    let text = format!("{percent:.5}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The class of a line in a legend.
pub fn class(index: usize) -> String {
    format!("line-{}", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let lines = vec![Line { name: "a".into(), points }];
        let (name, along) = ("values".into(), Along::Seconds);
        Chart { name, lines, events: vec![1.0], is_log: false, along }
    }

    #[test]
    fn marks_stand_for_colours() {
        let svg = chart(vec![(0.0, 1.0), (2.0, 3.0)]).to_svg().unwrap();
        assert!(svg.starts_with("<svg role=\"img\" aria-label=\"values\" "), "{svg}");
        for mark in ["#010101", "#020201", "#020202", "#020203"] {
            assert!(svg.contains(mark), "{mark} is missing: {svg}");
        }
        assert_eq!(chart(Vec::new()).to_svg(), None);
        assert!(chart(vec![(0.0, 0.0)]).to_svg().is_some());
    }

    #[test]
    fn of_many_points_the_slowest_and_the_farthest_are_kept() {
        let points = |far: f64| -> Vec<(f64, f64)> {
            let value = |at: usize| if at == 1000 { far } else { 5.0 + (at % 2) as f64 };
            (0..1800).map(|at| (at as f64, value(at))).collect()
        };
        let linear = chart(Vec::new());
        let kept = linear.thinned(points(0.0));
        assert_eq!(kept.len(), POINTS);
        assert!(kept.contains(&(1000.0, 0.0)), "a dip is lost");
        let slow = Chart { is_log: true, ..chart(Vec::new()) }.thinned(points(0.0));
        assert!(slow.iter().all(|(_, y)| *y == 6.0));
        assert_eq!(linear.thinned(points(0.0)[..POINTS].to_vec()).len(), POINTS);
    }

    #[test]
    fn shares_have_their_nines() {
        let shares = Chart { along: Along::Share, is_log: true, ..chart(Vec::new()) };
        assert_eq!([0.0, 1.0, 2.0, 4.0].map(|x| shares.label(x)), ["0%", "90%", "99%", "99.99%"]);
        let placed = shares.placed(&[(0.9, 10.0), (1.0, 20.0)]);
        assert_eq!(placed.len(), 1, "{placed:?}");
        assert_eq!(shares.range([-0.5, 1.2].into_iter()), (-1.0, 2.0));
    }

    #[test]
    fn numbers_have_their_orders_of_magnitude() {
        let sizes = Chart { along: Along::Numbers, ..chart(vec![(50.0, 1.0), (1e5, 2.0)]) };
        assert_eq!(sizes.begin([1.7, 5.0].into_iter()), 1.0);
        assert_eq!([1.0, 5.0].map(|x| sizes.label(x)), ["10", "100000"]);
        let svg = sizes.to_svg().unwrap();
        assert!(svg.contains("100000"), "{svg}");
    }
}
