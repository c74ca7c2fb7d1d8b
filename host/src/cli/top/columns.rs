//! The columns of the table of subsystems: what each says, how it sorts, and which of them fit.
//!
//! A column that does not fit is left out as a whole, the least important first; those that are left grow while there is room.

use super::text::{self, on_one_line};
use crate::{
    figures::Flow,
    status::{Phase, SubsystemStatus},
};
use std::cmp::Ordering;

/// A subsystem, as the table has it.
#[derive(Copy, Clone)]
pub(super) struct Row<'s> {
    pub name: &'s str,
    pub one: &'s SubsystemStatus,
    pub flow: Flow,
    /// Dead letters that are kept.
    pub letters: u64,
}

/// In the order in which they stand.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Phase,
    Generation,
    Handled,
    Errors,
    Dropped,
    Queue,
    Wait,
    Handle,
    Restarts,
    Letters,
    Memory,
    Error,
}

/// How a column is set.
pub(super) struct Set {
    /// The heading, and the one for where there is room.
    headings: [&'static str; 2],
    /// The columns of the terminal that it needs, and those that it likes.
    widths: [usize; 2],
    /// What has less is left out sooner.
    rank: u8,
    pub is_left: bool,
}

/// What a cell says at a glance; its text says it too.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Faint,
    Good,
    Busy,
    Bad,
}

/// The column with the mark of the selected row.
pub(super) const MARK: usize = 1;

impl Column {
    pub const ALL: [Column; 13] = [
        Column::Name,
        Column::Phase,
        Column::Generation,
        Column::Handled,
        Column::Errors,
        Column::Dropped,
        Column::Queue,
        Column::Wait,
        Column::Handle,
        Column::Restarts,
        Column::Letters,
        Column::Memory,
        Column::Error,
    ];

    pub fn set(self) -> Set {
        let set = |short, long, widths, rank, is_left| Set {
            headings: [short, long],
            widths,
            rank,
            is_left,
        };
        // All but the last three are 79 columns with their gaps, which leaves one for a longer name.
        match self {
            Column::Name => set("SUBSYSTEM", "SUBSYSTEM", [10, 10], 13, true),
            Column::Phase => set("PHASE", "PHASE", [10, 10], 12, true),
            Column::Generation => set("GEN", "GENERATION", [3, 10], 5, false),
            Column::Handled => set("MSG/S", "HANDLED/S", [5, 9], 11, false),
            Column::Errors => set("ERR/S", "ERRORS/S", [5, 8], 9, false),
            Column::Dropped => set("DROP/S", "DROPPED/S", [6, 9], 6, false),
            Column::Queue => set("QUEUE", "QUEUE", [11, 20], 10, false),
            Column::Wait => set("P99 WAIT", "P99 WAIT", [8, 8], 8, false),
            Column::Handle => set("HANDLER", "P99 HANDLER", [7, 11], 7, false),
            Column::Restarts => set("RST", "RESTARTS", [4, 8], 4, false),
            Column::Letters => set("DEAD", "DEAD LETTERS", [5, 12], 3, false),
            Column::Memory => set("MEMORY", "MEMORY", [9, 9], 2, false),
            Column::Error => set("LAST ERROR", "LAST ERROR", [20, 20], 1, true),
        }
    }

    /// The heading in this width.
    pub fn heading(self, width: usize) -> &'static str {
        let [short, long] = self.set().headings;
        if long.len() <= width { long } else { short }
    }

    pub fn cell(self, row: &Row<'_>, width: usize) -> (String, Tone) {
        let Row { name, one, flow, letters } = row;
        match self {
            Column::Name => (on_one_line(name), Tone::Plain),
            Column::Phase => (one.phase.word().into(), tone_of_phase(one.phase)),
            Column::Generation => (text::count(one.generation.into()), Tone::Plain),
            Column::Handled => number(text::rate(flow.handled), Tone::Plain),
            Column::Errors => number(text::rate(flow.errors), Tone::Bad),
            Column::Dropped => number(text::rate(flow.dropped), Tone::Bad),
            Column::Queue => queue(one.queue.depth, one.queue.capacity, width),
            Column::Wait => time(flow.wait.map(|wait| wait.p99)),
            Column::Handle => time(flow.handle.map(|handle| handle.p99)),
            Column::Restarts => number(text::count(one.restarts), Tone::Busy),
            Column::Letters => number(text::count(*letters), Tone::Busy),
            Column::Memory if one.memory == 0 => ("-".into(), Tone::Faint),
            Column::Memory => (text::size(one.memory), Tone::Plain),
            Column::Error => (on_one_line(one.last_error.as_deref().unwrap_or("")), Tone::Plain),
        }
    }

    /// Which of two rows comes first: names by the alphabet, numbers with the largest first, and so on with what is worst.
    pub fn order(self, one: &Row<'_>, other: &Row<'_>) -> Ordering {
        match self {
            Column::Name => one.name.cmp(other.name),
            Column::Error => other.one.last_error.is_some().cmp(&one.one.last_error.is_some()),
            _ => other.weight(self).total_cmp(&one.weight(self)),
        }
    }
}

impl Row<'_> {
    fn weight(&self, column: Column) -> f64 {
        let Row { one, flow, letters, .. } = self;
        let p99 = |times: Option<crate::figures::Percentiles>| times.map_or(-1.0, |t| t.p99 as f64);
        match column {
            // They are compared themselves.
            Column::Name | Column::Error => 0.0,
            Column::Phase => f64::from(severity(one.phase)),
            Column::Generation => one.generation.into(),
            Column::Handled => flow.handled,
            Column::Errors => flow.errors,
            Column::Dropped => flow.dropped,
            Column::Queue => share(one.queue.depth, one.queue.capacity),
            Column::Wait => p99(flow.wait),
            Column::Handle => p99(flow.handle),
            Column::Restarts => one.restarts as f64,
            Column::Letters => *letters as f64,
            Column::Memory => one.memory as f64,
        }
    }
}

fn severity(phase: Phase) -> u8 {
    match phase {
        Phase::Running => 0,
        Phase::Starting => 1,
        Phase::Reloading => 2,
        Phase::Restarting => 3,
        Phase::Stopping => 4,
        Phase::Stopped => 5,
    }
}

pub(super) fn tone_of_phase(phase: Phase) -> Tone {
    match phase {
        Phase::Running => Tone::Good,
        Phase::Starting | Phase::Reloading | Phase::Restarting => Tone::Busy,
        Phase::Stopping | Phase::Stopped => Tone::Bad,
    }
}

/// Nothing is faint, so that the eye finds what there is.
fn number(text: String, tone: Tone) -> (String, Tone) {
    let tone = if text == "0" { Tone::Faint } else { tone };
    (text, tone)
}

fn time(nanos: Option<u64>) -> (String, Tone) {
    nanos.map_or(("-".into(), Tone::Faint), |nanos| (text::time(nanos), Tone::Plain))
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Depth and capacity, with a bar before them that takes what is left.
fn queue(depth: u64, capacity: u64, width: usize) -> (String, Tone) {
    let share = share(depth, capacity);
    let numbers = format!("{:>4}/{}", text::count(depth), text::count(capacity));
    // Where there is room, bars begin and end at the same columns whatever the numbers are.
    let numbers = if width >= LIES { format!("{numbers:>11}") } else { numbers };
    let bar = bar(share, width.saturating_sub(text::width(&numbers) + 1));
    let tone = match share {
        0.0 => Tone::Faint,
        ..0.5 => Tone::Plain,
        ..0.9 => Tone::Busy,
        _ => Tone::Bad,
    };
    (format!("{bar} {numbers}"), tone)
}

/// The columns of the terminal from which the bar of a queue lies.
const LIES: usize = 16;

/// Lies where there is room, and else stands in one column.
fn bar(share: f64, width: usize) -> String {
    const LYING: [char; 8] = ['·', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    // Whatever waits shows.
    let eighths = |whole: usize| ((share * whole as f64).ceil() as usize).min(whole);
    match width {
        0 => String::new(),
        1..4 => format!("{:>width$}", text::STANDING[eighths(8)]),
        _ => {
            let filled = eighths(8 * width);
            let cell = |at: usize| match filled.saturating_sub(8 * at) {
                8.. => '█',
                part => LYING[part],
            };
            (0..width).map(cell).collect()
        }
    }
}

/// A name has no more columns, however long it is.
const LONGEST: usize = 40;

/// The columns that fit, with their widths; `longest` is that of the names.
pub(super) fn fitting(width: usize, longest: usize) -> Vec<(Column, usize)> {
    let mut shown: Vec<(Column, usize)> =
        Column::ALL.map(|column| (column, column.set().widths[0])).into();
    while shown.len() > 1 && taken(&shown) > width {
        let least = shown.iter().map(|(column, _)| column.set().rank).min();
        shown.retain(|(column, _)| Some(column.set().rank) != least);
    }
    // All headings are long, or none is.
    let liked: usize = shown.iter().map(|(column, own)| column.set().widths[1] - own).sum();
    if taken(&shown) + liked <= width {
        shown.iter_mut().for_each(|(column, own)| *own = column.set().widths[1]);
    }
    let mut room = width.saturating_sub(taken(&shown));
    let name = &mut shown[0].1;
    let more = longest.clamp(*name, LONGEST) - *name;
    *name += more.min(room);
    room -= more.min(room);
    if let Some((Column::Error, own)) = shown.last_mut() {
        *own += room;
    }
    shown
}

/// With a gap before each but the first.
fn taken(shown: &[(Column, usize)]) -> usize {
    MARK + shown.iter().map(|(_, width)| width + 1).sum::<usize>() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_important_columns_go_first() {
        let names = |width| {
            let shown = fitting(width, 0);
            assert!(taken(&shown) <= width.max(12), "{width}");
            let heads = shown.iter().map(|(column, width)| column.heading(*width));
            heads.collect::<Vec<_>>().join(" ")
        };
        for (width, heads) in [
            (10, "SUBSYSTEM"),
            (40, "SUBSYSTEM PHASE MSG/S QUEUE"),
            (60, "SUBSYSTEM PHASE MSG/S ERR/S QUEUE P99 WAIT"),
            (80, "SUBSYSTEM PHASE GEN MSG/S ERR/S DROP/S QUEUE P99 WAIT HANDLER RST"),
        ] {
            assert_eq!(names(width), heads);
        }
        assert_eq!(
            names(200),
            "SUBSYSTEM PHASE GENERATION HANDLED/S ERRORS/S DROPPED/S QUEUE P99 WAIT P99 HANDLER \
             RESTARTS DEAD LETTERS MEMORY LAST ERROR"
        );
    }

    #[test]
    fn what_waits_shows_in_the_bar() {
        for (depth, width, shown) in [
            (0, 11, "     0/1024"),
            (1, 11, "▁    1/1024"),
            (512, 11, "▄  512/1024"),
            (1024, 11, "█ 1024/1024"),
            (0, 20, "········      0/1024"),
            (100, 20, "▉·······    100/1024"),
            (1024, 20, "████████   1024/1024"),
        ] {
            assert_eq!(queue(depth, 1024, width).0, shown, "{depth}");
        }
    }

    #[test]
    fn every_column_has_an_order() {
        let quiet = SubsystemStatus { phase: Phase::Running, ..SubsystemStatus::default() };
        let mut loud = SubsystemStatus {
            phase: Phase::Stopped,
            generation: 2,
            restarts: 3,
            memory: 4,
            last_error: Some("no".into()),
            ..SubsystemStatus::default()
        };
        (loud.queue.depth, loud.queue.capacity) = (1, 2);
        let p99 = Some(crate::figures::Percentiles::default());
        let flow = Flow {
            handled: 1.0,
            errors: 1.0,
            dropped: 1.0,
            wait: p99,
            handle: p99,
            ..Flow::default()
        };
        let quiet = Row { name: "a", one: &quiet, flow: Flow::default(), letters: 0 };
        let loud = Row { name: "b", one: &loud, flow, letters: 1 };
        for column in Column::ALL {
            let expect = if column == Column::Name { Ordering::Greater } else { Ordering::Less };
            assert_eq!(column.order(&loud, &quiet), expect, "{column:?}");
        }
    }
}
