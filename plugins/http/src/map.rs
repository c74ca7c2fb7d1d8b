//! Which request goes where. Pure: decided from method and path alone.

use crate::{
    config::{Entry, Pass, ReplyAs},
    pattern::{Pattern, Template},
};
use http::Method;
use mycelia_plugin::{Error, Result};
use std::{net::IpAddr, time::Duration};

/// The client's address, in a guard.
const CLIENT: &str = "client";

/// The map of the config, checked. No two rules of one method match the same requests.
#[derive(Debug)]
pub(crate) struct Map {
    /// From the most specific pattern.
    rules: Vec<Rule>,
}

/// One entry of the map, checked.
#[derive(Debug)]
pub(crate) struct Rule {
    method: Method,
    pattern: Pattern,
    to: Template,
    guard: Option<Template>,
    pub pass: Pass,
    pub reply: ReplyAs,
    pub within: Option<Duration>,
}

/// What the map says of a request.
#[derive(Debug)]
pub(crate) enum Found<'m> {
    /// It goes to these paths, as this rule has it.
    Rule(&'m Rule, Paths),
    /// Its path is there, but only for these methods.
    OtherMethods(String),
    Nothing,
}

/// Where the messages of a request go.
#[derive(Debug)]
pub(crate) struct Paths {
    /// Whoever is asked first.
    pub guard: Option<String>,
    pub to: String,
}

impl Map {
    /// Checks the entries.
    ///
    /// # Errors
    /// `invalid`, naming every entry that is wrong.
    pub fn new(entries: Vec<Entry>) -> Result<Self> {
        if entries.is_empty() {
            return Err(Error::invalid(
                "`map` has no entries; write at least one, such as \
                (method: \"GET\", path: \"/kv/{key}\", to: \"kv://get/{key}\")",
            ));
        }
        let mut mistakes = Vec::new();
        let mut rules: Vec<(&Entry, Rule)> = Vec::new();
        for entry in &entries {
            match Rule::new(entry) {
                Ok(rule) => rules.push((entry, rule)),
                Err(text) => mistakes.push(format!("{}: {text}", shown(entry))),
            }
        }
        // A `HEAD` entry comes before the `GET` entry of the same path, which would serve it, too.
        rules.sort_by_cached_key(|(_, rule)| {
            (rule.pattern.order(), rule.method != Method::HEAD, rule.method.to_string())
        });
        mistakes.extend(
            rules.windows(2).filter(|pair| pair[0].1.is_ambiguous_with(&pair[1].1)).map(|pair| {
                format!("{} and {} match the same requests", shown(pair[0].0), shown(pair[1].0))
            }),
        );
        if mistakes.is_empty() {
            return Ok(Map { rules: rules.into_iter().map(|(_, rule)| rule).collect() });
        }
        Err(Error::invalid(mistakes.join("; ")))
    }

    /// What becomes of a request of this client.
    pub fn find(&self, method: &Method, path: &str, client: IpAddr) -> Found<'_> {
        let mut others: Vec<&Method> = Vec::new();
        for rule in &self.rules {
            let Some(captures) = rule.pattern.captures(path) else { continue };
            if rule.serves(method) {
                return Found::Rule(rule, rule.paths(captures, client));
            }
            others.push(&rule.method);
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(allow(others)) }
    }
}

impl Rule {
    fn new(entry: &Entry) -> Result<Self, String> {
        let pattern = Pattern::parse(&entry.path)?;
        let mut names: Vec<&str> = pattern.names().collect();
        let to = Template::parse("to", &entry.to, &names)?;
        let guard = match &entry.guard {
            Some(_) if names.contains(&CLIENT) => {
                return Err("`path` has a `{client}` of its own; name it otherwise, since in a `guard` that is the \
                    client's address"
                    .into());
            }
            Some(guard) => {
                names.push(CLIENT);
                Some(Template::parse("guard", guard, &names)?)
            }
            None => None,
        };
        let within = entry.within.map(|within| within.0);
        if within == Some(Duration::ZERO) {
            return Err("`within` is zero".into());
        }
        let method = parse_method(&entry.method)?;
        Ok(Rule { method, pattern, to, guard, pass: entry.pass, reply: entry.reply, within })
    }

    fn paths(&self, captures: Vec<&str>, client: IpAddr) -> Paths {
        let to = self.to.fill(&captures);
        let guard = self.guard.as_ref().map(|guard| {
            let client = client.to_canonical().to_string();
            guard.fill(&[captures, vec![client.as_str()]].concat())
        });
        Paths { guard, to }
    }

    fn serves(&self, method: &Method) -> bool {
        self.method == *method || (self.method == Method::GET && *method == Method::HEAD)
    }

    fn is_ambiguous_with(&self, other: &Rule) -> bool {
        self.method == other.method && self.pattern.order() == other.pattern.order()
    }
}

fn shown(entry: &Entry) -> String {
    format!("`{} {}`", entry.method, entry.path)
}

fn parse_method(text: &str) -> Result<Method, String> {
    let is_upper = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT) => Err("`CONNECT` asks for a tunnel, which no handler is".into()),
        Ok(method) if is_upper => Ok(method),
        _ => Err(format!("`{text}` is no method; write one in capitals, such as `GET`")),
    }
}

/// The value of the `Allow` header.
fn allow(methods: Vec<&Method>) -> String {
    let mut words: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    if words.contains(&"GET") {
        words.push("HEAD");
    }
    words.sort_unstable();
    words.dedup();
    words.join(", ")
}
