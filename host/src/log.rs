//! The log: what `MYCELIA_LOG` or the operator lets through, on stderr, as text or as JSON.
//!
//! A directive names a target, which holds for every target that begins so, or a subsystem, which then decides for all
//! that this subsystem's plugin logs or traces. A lone level is for all else.

use crate::runtime::subsystem_of;
use std::env::{self, VarError};
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt as layer};

const FILTER: &str = "MYCELIA_LOG";
const FORMAT: &str = "MYCELIA_LOG_FORMAT";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is let through; none before the log is started.
static PRESENT: RwLock<Option<Targets>> = RwLock::new(None);

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
    *PRESENT.write().unwrap_or_else(PoisonError::into_inner) = Some(settings.filter);
    // A log that runs already, as in a test, stays.
    let _ = tracing_subscriber::registry().with(output.with_filter(Present)).try_init();
    Ok(())
}

/// What is let through, as directives.
pub fn present() -> String {
    with_present(Targets::to_string)
}

/// Changes what is let through, for the targets and subsystems that these directives name, and answers with all that hold.
///
/// # Errors
/// What is wrong with them.
pub fn change(directives: &str) -> Result<String, String> {
    let named = filter(directives)
        .map_err(|cause| format!("the directives {directives:?} are wrong: {cause}"))?;
    let mut present = PRESENT.write().unwrap_or_else(PoisonError::into_inner);
    let mut changed = present.take().unwrap_or_default();
    if let Some(level) = named.default_level() {
        changed = changed.with_default(level);
    }
    changed.extend(named.iter());
    let text = changed.to_string();
    *present = Some(changed);
    drop(present);
    tracing::callsite::rebuild_interest_cache();
    Ok(text)
}

/// The most verbose level that a subsystem's plugin may be logged at, as a number: 0 off, 1 error to 5 trace.
pub fn level_for(subsystem: &str) -> u8 {
    with_present(|filter| {
        let level = directive_for(filter, subsystem).or_else(|| most_verbose(filter));
        level.and_then(LevelFilter::into_level).map_or(0, |level| match level {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            Level::DEBUG => 4,
            Level::TRACE => 5,
        })
    })
}

fn with_present<R>(then: impl FnOnce(&Targets) -> R) -> R {
    let present = PRESENT.read().unwrap_or_else(PoisonError::into_inner);
    match &*present {
        Some(filter) => then(filter),
        None => then(&Targets::new()),
    }
}

/// The level of the directive that names this subsystem.
fn directive_for(filter: &Targets, subsystem: &str) -> Option<LevelFilter> {
    filter.iter().find(|(target, _)| *target == subsystem).map(|(_, level)| level)
}

fn most_verbose(filter: &Targets) -> Option<LevelFilter> {
    filter.iter().map(|(_, level)| level).chain(filter.default_level()).max()
}

fn lets_through(filter: &Targets, metadata: &Metadata<'_>) -> bool {
    let own = subsystem_of(metadata).and_then(|name| directive_for(filter, name));
    match own {
        Some(level) => *metadata.level() <= level,
        None => filter.would_enable(metadata.target(), metadata.level()),
    }
}

/// Lets through what [`PRESENT`] does. What a site is told is kept until the directives change.
struct Present;

impl<S> Filter<S> for Present {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        with_present(|filter| lets_through(filter, metadata))
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match with_present(|filter| lets_through(filter, metadata)) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(with_present(most_verbose).unwrap_or(LevelFilter::OFF))
    }
}

#[derive(Debug)]
struct Settings {
    filter: Targets,
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
        let text = filter.as_deref().unwrap_or(default);
        let filter =
            self::filter(text).map_err(|cause| format!("{FILTER} is {text:?}: {cause}"))?;
        let format = match format.as_deref() {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => return Err(format!("{FORMAT} is {other:?}; write text or json")),
        };
        Ok(Self { filter, format })
    }
}

/// The directives of a text, or what is wrong with it and what to write.
fn filter(text: &str) -> Result<Targets, String> {
    let cause = text.split(',').find_map(misspelled_level);
    let parsed = match cause {
        Some(cause) => Err(cause),
        None => text.parse::<Targets>().map_err(|error| error.to_string()),
    };
    parsed.map_err(|cause| {
        let levels = LEVELS.join(", ");
        format!(
            "{cause}\n  write a level ({levels}), or subsystem=level or target=level, comma-separated"
        )
    })
}

/// A lone word that is no level is a target to the filter, which would then let nothing through.
fn misspelled_level(directive: &str) -> Option<String> {
    let word = directive.trim().to_lowercase();
    if word.contains('=') || word.parse::<LevelFilter>().is_ok() {
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
    fn a_subsystem_decides_for_all_of_its_own() {
        let filter = filter("info,mycelia_kv=warn,kv=debug,quiet=off").unwrap();
        assert_eq!(directive_for(&filter, "kv"), Some(LevelFilter::DEBUG));
        assert_eq!(directive_for(&filter, "kv2"), None);
        assert_eq!(directive_for(&filter, "quiet"), Some(LevelFilter::OFF));
        assert_eq!(most_verbose(&filter), Some(LevelFilter::DEBUG));
        assert_eq!(filter.to_string().parse::<Targets>().unwrap(), filter, "it can be said again");
    }

    #[test]
    fn time_is_short() {
        assert_eq!(time_of_day(Duration::from_millis(86_400_000 * 3 + 3_723_004)), "01:02:03.004Z");
    }
}
