//! What a load test sends, how fast and for how long: a RON file, or one of those that are built in.
//!
//! Nothing is known here of a host; paths are only texts.

use super::verdict::Limits;
use crate::config::amounts::{parse_duration, parse_size};
use ron::extensions::Extensions;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// The scenarios that are built in, by name.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("sustained", include_str!("scenarios/sustained.ron")),
    ("burst", include_str!("scenarios/burst.ron")),
    ("memory-stress", include_str!("scenarios/memory-stress.ron")),
    ("many-subsystems", include_str!("scenarios/many-subsystems.ron")),
];

/// What the subsystems are called that a scenario adds, followed by their numbers from 1.
pub const ECHO: &str = "load-echo-";

/// Most messages a second that are asked for.
const MAX_RATE: u64 = 10_000_000;
/// Most subsystems that a scenario adds.
const MAX_ECHO: usize = 1000;
/// Most that all weights come to.
const MAX_WEIGHT: u64 = 10_000;

/// A load: what is sent, how fast, for how long, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// How long messages are sent.
    #[serde(rename = "for", deserialize_with = "duration")]
    pub for_: Duration,
    /// How fast.
    pub rate: Rate,
    /// How many subsystems are added that answer with what they get; each gets messages of weight 1.
    #[serde(default)]
    pub echo: usize,
    /// The bytes of a body where a message names none; 64 for added subsystems, else 0.
    #[serde(default)]
    pub size: Option<Size>,
    /// What is sent beside.
    #[serde(default)]
    pub messages: Vec<Message>,
    /// How long memory is not looked at. It is judged from four times as long on.
    #[serde(default = "warm_up", deserialize_with = "duration")]
    pub warm_up: Duration,
    /// What is asked of the figures.
    #[serde(default)]
    pub verdicts: Limits,
}

/// How fast messages are sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub enum Rate {
    /// So many a second.
    Steady(u64),
    /// So many a second, one rate after the other, each for the same time.
    Steps(Vec<u64>),
    /// The highest rate at which no more than 1 message in 100 takes longer than this.
    Max(#[serde(deserialize_with = "duration")] Duration),
}

/// One kind of message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Where it goes; `{n}` stands for a number that counts the messages.
    pub path: String,
    /// What is in it: text, or the content of a file as `@FILE`, from the scenario's folder.
    #[serde(default)]
    pub body: Option<String>,
    /// How often it comes, compared with the others.
    #[serde(default = "one")]
    pub weight: u32,
}

/// A number of bytes: a word of the plan's, or a size such as `2KiB`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Size(pub usize);

/// What the command line says in place of the scenario.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The one path that messages go to, in place of those of the scenario and of added subsystems.
    pub target: Option<String>,
    /// The file of their body.
    pub body: Option<PathBuf>,
    /// How long.
    pub duration: Option<Duration>,
    /// How fast.
    pub rate: Option<Fixed>,
    /// What the highest rate holds.
    pub p99: Option<Duration>,
    /// How large.
    pub size: Option<Size>,
}

/// A rate of the command line: a number, or the highest.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// So many messages a second.
    Rate(u64),
    /// As many as hold the limit.
    Max,
}

/// What the highest rate holds where nothing else is said.
const P99: Duration = Duration::from_millis(10);

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Where to.
    pub path: String,
    /// What.
    pub body: Vec<u8>,
    /// How often, compared with the others.
    pub weight: u32,
}

impl Planned {
    /// The name of the subsystem that its path is of.
    pub fn subsystem(&self) -> &str {
        self.path.split("://").next().unwrap_or_default()
    }
}

impl Scenario {
    /// The scenario of this name, or in this file, which ends with `.ron`.
    ///
    /// # Errors
    /// What is wrong with it, for its author.
    pub fn find(name: &str) -> Result<Scenario, String> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Scenario::parse(name, text);
        }
        if !name.ends_with(".ron") {
            let names = BUILT_IN.map(|(known, _)| known).join("`, `");
            return Err(format!(
                "there is no scenario `{name}`; there are `{names}`, or name a file that ends with .ron"
            ));
        }
        let text = fs::read_to_string(name)
            .map_err(|error| format!("the scenario {name} cannot be read: {error}"))?;
        Scenario::parse(name, &text)
    }

    /// Reads a scenario from text.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, String> {
        let options = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
        let scenario: Scenario = options.from_str(text).map_err(|error| {
            let at = error.span.start;
            format!("{name}:{}:{}: {}", at.line, at.col, error.code)
        })?;
        scenario.check().map_err(|wrong| format!("{name}: {wrong}"))?;
        Ok(scenario)
    }

    /// The scenario with what the command line says instead.
    ///
    /// # Errors
    /// What does not go together.
    pub fn with(mut self, overrides: &Overrides) -> Result<Scenario, String> {
        if let Some(path) = &overrides.target {
            let body = overrides.body.as_ref().map(|file| format!("@{}", file.display()));
            self.messages = vec![Message { path: path.clone(), body, weight: 1 }];
            self.echo = 0;
        }
        self.for_ = overrides.duration.unwrap_or(self.for_);
        self.size = overrides.size.or(self.size);
        match (overrides.rate, &self.rate) {
            (Some(Fixed::Rate(rate)), _) => self.rate = Rate::Steady(rate),
            (Some(Fixed::Max), _) => self.rate = Rate::Max(overrides.p99.unwrap_or(P99)),
            (None, Rate::Max(limit)) => self.rate = Rate::Max(overrides.p99.unwrap_or(*limit)),
            (None, _) if overrides.p99.is_some() => {
                return Err("--p99 is what the highest rate holds; give --rate max, too".into());
            }
            (None, _) => {}
        }
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), String> {
        let rates = match &self.rate {
            Rate::Steady(rate) => std::slice::from_ref(rate),
            Rate::Steps(rates) => rates,
            Rate::Max(_) => &[1],
        };
        let weights: u64 = self.messages.iter().map(|message| u64::from(message.weight)).sum();
        let weights = weights + self.echo as u64;
        match () {
            () if self.for_.is_zero() => {
                Err("`for` is nothing; give a duration such as \"30s\"".into())
            }
            () if rates.iter().all(|rate| *rate == 0) => Err("no `rate` is above 0".into()),
            () if rates.iter().any(|rate| *rate > MAX_RATE) => {
                Err(format!("a rate is above {MAX_RATE} messages a second, the most that there is"))
            }
            () if self.echo > MAX_ECHO => {
                Err(format!("`echo` is {}; at most {MAX_ECHO} subsystems are added", self.echo))
            }
            () if weights == 0 => {
                Err("nothing is sent; say `echo: 5`, or list `messages` with their weights".into())
            }
            () if weights > MAX_WEIGHT => {
                Err(format!("the weights come to {weights}; at most {MAX_WEIGHT} are taken"))
            }
            () => Ok(()),
        }
    }

    /// Every kind of message that is sent; `folder` is where the files of bodies are.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn planned(&self, folder: &Path) -> Result<Vec<Planned>, String> {
        let filler = |default| vec![b'x'; self.size.map_or(default, |Size(bytes)| bytes)];
        let own = self.messages.iter().map(|message| {
            let body = match &message.body {
                Some(body) => content(body, folder)?,
                None => filler(0),
            };
            Ok(Planned { path: message.path.clone(), body, weight: message.weight })
        });
        let echoes = (1..=self.echo).map(|number| {
            Ok(Planned { path: format!("{ECHO}{number}://"), body: filler(SMALL), weight: 1 })
        });
        own.chain(echoes).collect()
    }
}

/// The content of a body's text or file.
fn content(body: &str, folder: &Path) -> Result<Vec<u8>, String> {
    match body.strip_prefix('@') {
        Some(file) => fs::read(folder.join(file))
            .map_err(|error| format!("the body {file} cannot be read: {error}")),
        None => Ok(body.as_bytes().to_vec()),
    }
}

/// In which order messages of these weights come, over and over: each as evenly as it can.
pub fn order(weights: &[u32]) -> Vec<u16> {
    let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    let mut credits = vec![0; weights.len()];
    let next = |_| {
        credits.iter_mut().zip(weights).for_each(|(credit, weight)| *credit += i64::from(*weight));
        let richest = (0..credits.len()).max_by_key(|at| (credits[*at], usize::MAX - at));
        let richest = richest.expect("there is a message");
        credits[richest] -= total;
        richest as u16
    };
    (0..total).map(next).collect()
}

const SMALL: usize = 64;

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        match text {
            "small" => Ok(Size(SMALL)),
            "medium" => Ok(Size(1 << 10)),
            "large" => Ok(Size(64 << 10)),
            other => parse_size(other)
                .map(|bytes| Size(bytes as usize))
                .map_err(|help| format!("{help}, or small, medium or large")),
        }
    }
}

impl FromStr for Fixed {
    type Err = String;

    fn from_str(text: &str) -> Result<Fixed, String> {
        match text {
            "max" => Ok(Fixed::Max),
            other => other
                .parse()
                .map(Fixed::Rate)
                .map_err(|_| "write messages a second, such as 5000, or max".into()),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        parsed(deserializer, str::parse)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parsed(deserializer, parse_duration)
}

fn parsed<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(|help| D::Error::custom(format!("{text:?}: {help}")))
}

fn one() -> u32 {
    1
}

fn warm_up() -> Duration {
    Duration::from_secs(30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::verdict::Limit;

    #[test]
    fn the_built_in_ones_are_the_plan() {
        let built_in = |name| Scenario::find(name).unwrap();
        let sustained = built_in("sustained");
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert_eq!((sustained.for_, sustained.echo), (minutes(5), 5));
        assert_eq!(sustained.rate, Rate::Steady(1000));
        let burst = built_in("burst");
        assert_eq!((burst.for_, burst.rate), (minutes(3), Rate::Steps(vec![100, 10_000, 100])));
        let memory = built_in("memory-stress");
        assert_eq!((memory.for_, memory.rate), (minutes(30), Rate::Steady(5000)));
        let many = built_in("many-subsystems");
        assert_eq!((many.echo, many.rate), (50, Rate::Steady(50 * 500)));
    }

    #[test]
    fn an_own_one() {
        let text = r#"(
            for: "10s", rate: Max("2ms"), size: "medium", warm_up: "1s",
            messages: [(path: "kv://put/{n}", body: "1", weight: 3), (path: "kv://keys")],
            verdicts: (latency: At(2, 8.5), held: Off),
        )"#;
        let scenario = Scenario::parse("own.ron", text).unwrap();
        assert_eq!(scenario.rate, Rate::Max(Duration::from_millis(2)));
        assert_eq!(scenario.verdicts.latency, Limit::At(2.0, 8.5));
        assert_eq!((scenario.verdicts.held, scenario.verdicts.cpu), (Limit::Off, Limit::Plan));
        let planned = scenario.planned(Path::new(".")).unwrap();
        assert_eq!((&*planned[0].body, planned[0].subsystem()), (&b"1"[..], "kv"));
        assert_eq!(planned[1].body.len(), 1024);
    }

    #[test]
    fn the_one_in_the_documents_is_read() {
        let chapter = include_str!("../../docs/load-testing.md");
        let text = chapter.split("```ron\n").nth(1).and_then(|rest| rest.split("```").next());
        let scenario = Scenario::parse("own.ron", text.unwrap()).unwrap();
        assert_eq!((scenario.messages.len(), scenario.echo), (2, 2));
    }

    #[test]
    fn those_of_the_tuning_guide_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tuning/load");
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<PathBuf> = files.collect();
        assert!(files.len() > 1, "only {files:?} were found");
        for file in files {
            let read = Scenario::find(&file.display().to_string());
            read.and_then(|scenario| scenario.planned(&folder)).unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, part) in [
            ("(for: \"1s\", rate: Steady(0), echo: 1)", "no `rate` is above 0"),
            ("(for: \"0s\", rate: Steady(1), echo: 1)", "`for` is nothing"),
            ("(for: \"1s\", rate: Steady(1))", "nothing is sent"),
            ("(for: \"1s\", rate: Steady(1), echo: 1001)", "at most 1000"),
            ("(for: \"1s\", rate: Steady(99999999), echo: 1)", "above 10000000"),
            ("(for: \"1s\", rate: Steady(1), echoes: 1)", "own.ron:1:30: Unexpected field"),
            ("(for: \"soon\", rate: Steady(1), echo: 1)", "\"soon\": "),
            ("(for: \"1s\", rate: Steady(1), echo: 1, size: \"huge\")", "small, medium or large"),
        ] {
            let wrong = Scenario::parse("own.ron", text).expect_err(text);
            assert!(wrong.contains(part), "{text}: {wrong}");
        }
        let unknown = Scenario::find("sustain").unwrap_err();
        assert!(unknown.contains("`sustained`, `burst`"), "{unknown}");
        assert!(Scenario::find("none.ron").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn the_command_line_comes_first() {
        let overrides = Overrides {
            target: Some("kv://keys".into()),
            duration: Some(Duration::from_secs(2)),
            rate: Some(Fixed::Max),
            size: Some("large".parse().unwrap()),
            ..Overrides::default()
        };
        let scenario = Scenario::find("burst").unwrap().with(&overrides).unwrap();
        assert_eq!(
            (scenario.for_, scenario.rate.clone()),
            (Duration::from_secs(2), Rate::Max(P99))
        );
        let planned = scenario.planned(Path::new(".")).unwrap();
        assert_eq!((planned.len(), &*planned[0].path), (1, "kv://keys"));
        assert_eq!(planned[0].body.len(), 64 << 10);
        let alone = Overrides { p99: Some(P99), ..Overrides::default() };
        assert!(Scenario::find("burst").unwrap().with(&alone).unwrap_err().contains("--rate max"));
    }

    #[test]
    fn weights_are_spread_evenly() {
        assert_eq!(order(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(order(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(order(&[0, 2]), [1, 1]);
    }
}
