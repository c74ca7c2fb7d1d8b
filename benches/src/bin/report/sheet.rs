//! The report itself, in a form that is neither text nor HTML yet: sections of tables, charts and what is missing.

use mycelia::load::Chart;

/// The whole report.
pub struct Sheet {
    /// What is said before everything else.
    pub lead: Vec<String>,
    /// What speaks against the figures.
    pub warnings: Vec<String>,
    /// In the order of the plan.
    pub sections: Vec<Section>,
}

/// One subject.
pub struct Section {
    /// Of what.
    pub title: String,
    /// What one must know to read it.
    pub notes: Vec<String>,
    /// What there is.
    pub parts: Vec<Part>,
}

/// A part of a section.
pub enum Part {
    /// Figures.
    Table(Table),
    /// The same as lines; for the page alone.
    Chart(String, Chart),
    /// What was not measured, and the command that measures it.
    Missing(Vec<(String, String)>),
}

/// Figures in rows.
pub struct Table {
    /// What they are of.
    pub title: String,
    /// The columns.
    pub head: Vec<Head>,
    /// As many cells as there are columns.
    pub rows: Vec<Vec<String>>,
    /// Where they come from; none where the command itself has looked.
    pub source: Option<Source>,
    /// Whether it has a row of the page for itself.
    pub is_wide: bool,
}

/// Where figures come from.
pub struct Source {
    /// When they were measured, and of which code.
    pub when: String,
    /// The command that makes them.
    pub command: String,
}

/// A column.
#[derive(Copy, Clone)]
pub struct Head {
    /// What is in it.
    pub name: &'static str,
    /// How it is set.
    pub kind: Kind,
}

/// What a column has.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Words, from the left.
    Text,
    /// Figures, to the right.
    Number,
    /// The word of a verdict, in its colour.
    Word,
}

impl Head {
    /// Of words.
    pub const fn text(name: &'static str) -> Head {
        Head { name, kind: Kind::Text }
    }

    /// Of figures.
    pub const fn number(name: &'static str) -> Head {
        Head { name, kind: Kind::Number }
    }

    /// Of verdicts.
    pub const fn word(name: &'static str) -> Head {
        Head { name, kind: Kind::Word }
    }
}
