//! Patterns of request paths, and templates of message paths. Pure functions of text.
//!
//! Nothing is decoded here: a captured segment goes from the request's path into the message's path as it was sent.

/// A pattern such as `/kv/{key}` or `/files/{*rest}`.
#[derive(Debug)]
pub(crate) struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Literal(String),
    Parameter(String),
    /// Always the last one.
    Tail(String),
}

impl Pattern {
    /// Reads a pattern; the error tells what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text
            .strip_prefix('/')
            .ok_or_else(|| format!("`path` is `{text}`; begin it with a slash"))?;
        if inner.is_empty() {
            return Ok(Pattern { segments: Vec::new() });
        }
        let segments = inner.split('/').map(Segment::parse).collect::<Result<Vec<_>, _>>()?;
        let pattern = Pattern { segments };
        pattern.check()?;
        Ok(pattern)
    }

    fn check(&self) -> Result<(), String> {
        let names: Vec<&str> = self.names().collect();
        if let Some(twice) = names
            .iter()
            .enumerate()
            .find_map(|(at, name)| names[..at].contains(name).then_some(name))
        {
            return Err(format!("`path` has the parameter `{twice}` twice"));
        }
        let tail = self.segments.iter().position(|segment| matches!(segment, Segment::Tail(_)));
        match tail {
            Some(at) if at + 1 < self.segments.len() => {
                Err("a tail is the last segment of a `path`".into())
            }
            _ => Ok(()),
        }
    }

    /// The names of the parameters, from the left.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Parameter(name) | Segment::Tail(name) => Some(name.as_str()),
        })
    }

    /// What the parameters stand for in this path, from the left; `None` if it does not match.
    pub fn captures<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let mut rest = path.strip_prefix('/').filter(|rest| !rest.is_empty());
        if rest.is_none() && path != "/" {
            return None;
        }
        let mut captures = Vec::new();
        for segment in &self.segments {
            let text = rest?;
            let (head, after) =
                text.split_once('/').map_or((text, None), |(head, after)| (head, Some(after)));
            match segment {
                Segment::Literal(literal) if literal == head => {}
                Segment::Parameter(_) if !head.is_empty() => captures.push(head),
                Segment::Tail(_) if !text.is_empty() => {
                    captures.push(text);
                    return Some(captures);
                }
                _ => return None,
            }
            rest = after;
        }
        rest.is_none().then_some(captures)
    }

    /// Patterns in this order are tried from the most specific one; those that are equal by it and match a path at all,
    /// match the same paths.
    pub fn order(&self) -> impl Ord + use<> {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(literal) => (0, literal.clone()),
            Segment::Parameter(_) => (1, String::new()),
            Segment::Tail(_) => (2, String::new()),
        };
        self.segments.iter().map(rank).collect::<Vec<(u8, String)>>()
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        let parameter = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        match parameter {
            Some(name) => match name.strip_prefix('*') {
                Some(name) => checked_name(name).map(Segment::Tail),
                None => checked_name(name).map(Segment::Parameter),
            },
            None => checked_literal(text).map(Segment::Literal),
        }
    }
}

fn checked_name(name: &str) -> Result<String, String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let good = name.bytes().all(is_name)
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if good {
        Ok(name.to_owned())
    } else {
        Err(format!("`{{{name}}}` is no parameter; write one such as `{{key}}`"))
    }
}

fn checked_literal(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("`path` has an empty segment".into());
    }
    if text.contains(['{', '}', '*']) {
        return Err(format!(
            "`{text}` mixes a parameter with text; a parameter is a whole segment, `{{key}}` or `{{*rest}}`"
        ));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['?', '#']) {
        return Err(format!(
            "`{text}` is in no request's path; write it percent-encoded, and without a query"
        ));
    }
    Ok(text.to_owned())
}

/// A message's path with places for captures: `kv://put/{key}`.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    /// The capture with this number.
    Capture(usize),
}

/// As the kernel has it.
const MAX_PATH: usize = 2048;
const MAX_SEGMENTS: usize = 32;

impl Template {
    /// Reads the template that the config has in `word`, for values of these names; the error tells what to write instead.
    pub fn parse(word: &str, text: &str, names: &[&str]) -> Result<Self, String> {
        Template::read(text, names).map_err(|error| format!("`{word}` {error}"))
    }

    fn read(text: &str, names: &[&str]) -> Result<Self, String> {
        let (subsystem, path) =
            text.split_once("://").ok_or_else(|| no_path(text, "it has no `://`"))?;
        check_subsystem(text, subsystem)?;
        let mut parts = vec![Part::Text(format!("{subsystem}://"))];
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| no_path(text, "a brace is not closed"))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Capture(number_of(name, names)?));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Template { parts };
        template.check(text)?;
        Ok(template)
    }

    /// Whether it is a path when every capture is one letter.
    fn check(&self, text: &str) -> Result<(), String> {
        let sample = self.fill(&["x"; MAX_SEGMENTS]);
        let path = sample.split_once("://").map_or("", |(_, path)| path);
        if path.contains(['{', '}']) {
            return Err(no_path(text, "a brace is not opened"));
        }
        if path.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(no_path(text, "it has a control character"));
        }
        if !path.is_empty() && path.split('/').any(str::is_empty) {
            return Err(no_path(text, "it has an empty segment"));
        }
        if sample.len() > MAX_PATH || path.split('/').count() > MAX_SEGMENTS {
            return Err(no_path(text, "it has more than 2048 bytes or 32 segments"));
        }
        Ok(())
    }

    /// The message's path.
    pub fn fill(&self, captures: &[&str]) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Capture(number) => captures.get(*number).copied().unwrap_or_default().to_owned(),
        };
        self.parts.iter().map(text).collect()
    }
}

fn no_path(text: &str, reason: &str) -> String {
    format!("is `{text}`, which is no path: {reason}; write one such as `kv://get/{{key}}`")
}

fn check_subsystem(text: &str, name: &str) -> Result<(), String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_name) {
        return Ok(());
    }
    Err(no_path(
        text,
        "a subsystem's name has letters, digits, `_`, `.` and `-`, and stands there as it is",
    ))
}

fn number_of(name: &str, names: &[&str]) -> Result<usize, String> {
    let bare = name.strip_prefix('*').unwrap_or(name);
    names.iter().position(|candidate| *candidate == bare).ok_or_else(|| {
        let names: Vec<String> = names.iter().map(|name| format!("`{{{name}}}`")).collect();
        let known = if names.is_empty() { "no parameters".into() } else { names.join(", ") };
        format!("names `{{{name}}}`, but `path` has {known}")
    })
}
