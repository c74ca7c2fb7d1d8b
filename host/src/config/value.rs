//! RON read level by level: a group gives its fields as pieces of text, and each piece is read on its own.
//!
//! A piece keeps its place in the file, so one bad value neither hides nor moves the others' mistakes.

use super::fields::Group;
use super::mistakes::{Complaint, Mistakes, printable};
use super::words;
use ron::Options;
use ron::extensions::Extensions;
use ron::value::RawValue;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

/// One RON value as it stands in the file, without the comments around it.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub text: &'a str,
    /// Bytes of the file before it.
    pub offset: usize,
}

impl<'a> Value<'a> {
    /// The only value of a text whose syntax is known to be good, at this place in the file.
    pub fn document(text: &'a str, offset: usize) -> Self {
        let whole = Self { text, offset };
        RawValue::from_ron(text).map_or(whole, |raw| whole.part(raw))
    }

    pub fn span(self) -> Range<usize> {
        self.offset..self.offset + self.text.len()
    }

    /// Reads the value whole; `x` is also `Some(x)`.
    pub fn get<T: Deserialize<'a>>(self) -> Option<T> {
        options().from_str(self.text).ok()
    }

    /// The content of an option, none for `None`.
    pub fn content(self) -> Option<Self> {
        let raw = self.get::<Option<&RawValue>>()??;
        Some(self.part(raw))
    }

    /// Names and values of a group, `(name: value)`; none if it is anything else.
    pub fn fields(self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        let Named(pairs) = self.get()?;
        Some(pairs.into_iter().map(|(name, raw)| (self.piece(name), self.part(raw))).collect())
    }

    /// Keys and values of a map, `{key: value}`; none if it is anything else.
    pub fn entries(self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        let Keyed(pairs) = self.get()?;
        Some(pairs.into_iter().map(|(key, raw)| (self.part(key), self.part(raw))).collect())
    }

    /// Members of a list, `[value]`; none if it is anything else.
    pub fn items(self) -> Option<Vec<Value<'a>>> {
        let items: Vec<&RawValue> = self.get()?;
        Some(items.into_iter().map(|raw| self.part(raw)).collect())
    }

    /// The value as a message shows it: itself if it is short.
    pub fn shown(self) -> String {
        let is_short = self.text.len() <= 40 && !self.text.contains('\n');
        if is_short { printable(self.text) } else { self.noun().into() }
    }

    /// Whether it is text in quotes.
    pub fn is_text(self) -> bool {
        self.noun() == "a text"
    }

    fn noun(self) -> &'static str {
        match self.text.as_bytes() {
            [b'"', ..] | [b'r', b'"' | b'#', ..] => "a text",
            [b'(', ..] => "a group in parentheses",
            [b'[', ..] => "a list",
            [b'{', ..] => "a map",
            [b'0'..=b'9' | b'-' | b'+' | b'.', ..] => "a number",
            _ => "a word",
        }
    }

    pub(super) fn part(self, raw: &'a RawValue) -> Self {
        self.piece(raw.trim().get_ron())
    }

    /// A piece that was borrowed from this text.
    fn piece(self, text: &'a str) -> Self {
        let before = text.as_ptr().addr() - self.text.as_ptr().addr();
        Self { text, offset: self.offset + before }
    }
}

pub(super) fn options() -> Options {
    Options::default().with_default_extension(Extensions::IMPLICIT_SOME)
}

/// The fields of one group, taken one by one; whoever takes gets the default for what is missing or wrong.
pub(super) struct Fields<'a, 'm> {
    /// What stands before a field's name in messages, such as `queue.`.
    path: String,
    values: HashMap<&'a str, (Value<'a>, Value<'a>)>,
    group: &'static Group,
    /// Whether the value was a group at all; if not, that is said already.
    is_group: bool,
    mistakes: &'m mut Mistakes,
}

impl<'a, 'm> Fields<'a, 'm> {
    /// The fields of a value, which belongs to a group of this kind; no value is a group without fields.
    pub fn new(
        name: &str,
        value: Option<Value<'a>>,
        group: &'static Group,
        mistakes: &'m mut Mistakes,
    ) -> Self {
        let path = if name.is_empty() { String::new() } else { format!("{name}.") };
        let mut fields = Self { path, values: HashMap::new(), group, is_group: true, mistakes };
        if let Some(value) = value {
            fields.fill(value);
        }
        fields
    }

    /// The value of a field that is not a plain one.
    pub fn take(&mut self, name: &'static str) -> Option<Value<'a>> {
        debug_assert!(self.group.field(name).is_some(), "{name} is a field of the group");
        self.values.remove(name).map(|(_, value)| value)
    }

    /// A field that is read whole.
    pub fn read<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(Value<'a>) -> Result<T, Complaint>,
        default: T,
    ) -> T {
        match self.take(name) {
            Some(value) => self.item(name, value, read).unwrap_or(default),
            None => default,
        }
    }

    /// A field that may be `None`.
    pub fn option<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(Value<'a>) -> Result<T, Complaint>,
        default: Option<T>,
    ) -> Option<T> {
        match self.take(name) {
            Some(value) => self.item(name, value.content()?, read).or(default),
            None => default,
        }
    }

    /// A field that is a list of texts; the place of each member is kept.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(Value<'a>) -> Result<T, Complaint>,
    ) -> Option<Vec<(T, Range<usize>)>> {
        let value = self.take(name)?;
        let Some(items) = value.items() else {
            self.complain(name, value, words::no_list(value));
            return None;
        };
        let read = |item| Some((self.item(name, item, &read)?, item.span()));
        Some(items.into_iter().filter_map(read).collect())
    }

    /// A field that is a group of its own.
    pub fn group(&mut self, name: &'static str, group: &'static Group) -> Fields<'a, '_> {
        let value = self.take(name);
        let name = format!("{}{name}", self.path);
        Fields::new(&name, value, group, self.mistakes)
    }

    /// Adds a mistake about a field, whose name goes before the message.
    pub fn complain(&mut self, name: &str, value: Value<'_>, complaint: Complaint) {
        let message = format!("`{}{name}` {}", self.path, complaint.message);
        self.mistakes.push(value.span(), Complaint { message, ..complaint });
    }

    /// Whether a missing field is worth a mistake.
    pub fn is_group(&self) -> bool {
        self.is_group
    }

    pub fn mistakes(&mut self) -> &mut Mistakes {
        self.mistakes
    }

    /// Reads one value of a field, and adds what is wrong with it.
    pub fn item<T>(
        &mut self,
        name: &str,
        value: Value<'a>,
        read: impl Fn(Value<'a>) -> Result<T, Complaint>,
    ) -> Option<T> {
        read(value).map_err(|complaint| self.complain(name, value, complaint)).ok()
    }

    fn fill(&mut self, value: Value<'a>) {
        match value.fields() {
            Some(pairs) => pairs.into_iter().for_each(|(name, value)| self.insert(name, value)),
            None => self.refuse(value),
        }
    }

    fn refuse(&mut self, value: Value<'a>) {
        self.is_group = false;
        let Group { what, example, .. } = self.group;
        let expected = format!("a group such as {example}");
        let complaint = words::wrong(value, &expected, format!("write {example}"));
        let message = format!("{what} {}", complaint.message);
        self.mistakes.push(value.span(), Complaint { message, ..complaint });
    }

    fn insert(&mut self, name: Value<'a>, value: Value<'a>) {
        if self.group.field(name.text).is_none() {
            return self.mistakes.push(name.span(), unknown(name.text, self.group));
        }
        match self.values.entry(name.text) {
            Entry::Vacant(entry) => {
                entry.insert((name, value));
            }
            Entry::Occupied(first) => {
                let message = format!("`{}{}` is given twice", self.path, name.text);
                let complaint = Complaint::new(message, "given again", "keep one of the two");
                let first = first.get().0.span();
                self.mistakes.push_pair(name.span(), complaint, (first, "given first"));
            }
        }
    }
}

fn unknown(name: &str, group: &Group) -> Complaint {
    let help = match words::nearest(name, group.names()) {
        Some(near) => format!("write `{near}`"),
        None => format!("its fields are {}", words::listed(group.names(), "and")),
    };
    Complaint::new(format!("{} has no field `{name}`", group.what), "unknown field", help)
}

struct Named<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'de> Deserialize<'de> for Named<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("", &[], Pairs(PhantomData)).map(Self)
    }
}

struct Keyed<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Keyed<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs(PhantomData)).map(Self)
    }
}

struct Pairs<K>(PhantomData<K>);

impl<'de, K: Deserialize<'de>> Visitor<'de> for Pairs<K> {
    type Value = Vec<(K, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
