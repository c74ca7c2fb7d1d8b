//! The log: what `MYCELIA_LOG` lets through, on stderr, as text or as JSON.

use std::env::{self, VarError};
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt as layer};

const FILTER: &str = "MYCELIA_LOG";
const FORMAT: &str = "MYCELIA_LOG_FORMAT";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts the log, with what the environment says or else this filter.
///
/// # Errors
/// What is wrong with the environment, for its user; exit code 2.
pub fn start(default: &str) -> Result<(), String> {
    let settings = Settings::parse(variable(FILTER)?, variable(FORMAT)?, default)?;
    let output = match settings.format {
        Format::Text => text(),
        Format::Json => json(),
    };
    // A log that runs already, as in a test, stays.
    let _ = tracing_subscriber::registry().with(output.with_filter(settings.filter)).try_init();
    Ok(())
}

#[derive(Debug)]
struct Settings {
    filter: EnvFilter,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl Settings {
    fn parse(
        filter: Option<String>,
        format: Option<String>,
        default: &str,
    ) -> Result<Self, String> {
        let filter = self::filter(filter.as_deref().unwrap_or(default))?;
        let format = match format.as_deref() {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => return Err(format!("{FORMAT} is {other:?}; write text or json")),
        };
        Ok(Self { filter, format })
    }
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    let wrong = |cause: String| {
        format!(
            "{FILTER} is {text:?}: {cause}\n  write a level ({}), or target=level, comma-separated",
            LEVELS.join(", ")
        )
    };
    if let Some(cause) = text.split(',').find_map(misspelled_level) {
        return Err(wrong(cause));
    }
    EnvFilter::try_new(text).map_err(|error| wrong(error.to_string()))
}

/// A lone word that is no level is a target to the filter, which would then let nothing through.
fn misspelled_level(directive: &str) -> Option<String> {
    let word = directive.trim().to_lowercase();
    if word.parse::<LevelFilter>().is_ok() {
        return None;
    }
    let level = LEVELS.iter().find(|level| strsim::damerau_levenshtein(level, &word) <= 2)?;
    Some(format!("{word:?} is no level, perhaps {level:?} is meant"))
}

fn variable(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}

fn text() -> Box<dyn Layer<Registry> + Send + Sync> {
    layer::layer()
        .with_timer(Clock)
        .with_ansi(has_color())
        .with_writer(io::stderr)
        // It would report a closed stderr to stderr.
        .log_internal_errors(false)
        .boxed()
}

fn json() -> Box<dyn Layer<Registry> + Send + Sync> {
    layer::layer()
        .json()
        .flatten_event(true)
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .boxed()
}

fn has_color() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !refused
}

/// The time of day in UTC; a log that is kept gets its date from whatever keeps it, or is JSON.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        write!(writer, "{}", time_of_day(now))
    }
}

fn time_of_day(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let [hours, minutes, seconds] = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", since_epoch.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: Option<&str>, format: Option<&str>, expect: Result<Format, &str>) {
        let owned = |text: Option<&str>| text.map(String::from);
        match (Settings::parse(owned(filter), owned(format), "info"), expect) {
            (Ok(found), Ok(format)) => assert_eq!(found.format, format),
            (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
            (found, expect) => panic!("{found:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn what_the_environment_may_say() {
        check(None, None, Ok(Format::Text));
        check(Some("debug"), Some("text"), Ok(Format::Text));
        check(Some("warn,mycelia::loader=TRACE"), Some("json"), Ok(Format::Json));
        check(Some("mycelia"), None, Ok(Format::Text));
        check(Some("debgu"), None, Err("perhaps \"debug\""));
        check(Some("warn,mycelia=loud"), None, Err("MYCELIA_LOG is"));
        check(None, Some("xml"), Err("write text or json"));
    }

    #[test]
    fn time_is_short() {
        assert_eq!(time_of_day(Duration::from_millis(86_400_000 * 3 + 3_723_004)), "01:02:03.004Z");
    }
}
