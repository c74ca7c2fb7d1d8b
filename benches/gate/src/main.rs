//! The command line of the instruction gate: counts, compares, prints, and says by its exit code what is to be done.

use clap::Parser;
use mycelia_gate::{
    Base, Baseline, Comparison, Counts, Error, Fingerprint, Judgement, Package, Tools, Workspace,
};
use std::{
    cell::OnceCell,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Counts the instructions of iai-callgrind benches, and compares with a committed baseline.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    /// A package to guard; may be repeated [default: every package with the bench]
    #[arg(long, value_name = "NAME")]
    package: Vec<String>,
    /// The bench target to count
    #[arg(long, value_name = "NAME", default_value = "instructions")]
    bench: String,
    /// The baseline of the one package [default: its benches/baseline.ron]
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// A commit to build, count and compare with, in place of the baseline
    #[arg(long, value_name = "REV", conflicts_with = "bless")]
    against: Option<String>,
    /// Writes what is counted into the baseline
    #[arg(long)]
    bless: bool,
    /// Messages that each bench handles, for the limit of half an instruction a message
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// A file that the report is appended to, such as $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  no bench is worse
  2  a tool is missing or broken, or the benches do not build; the command that installs it is named
  3  a bench takes 1% more or worse, and at least half an instruction a message
  4  nothing to compare with, or a bench is on one side alone";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = Report { markdown: arguments.markdown.clone() };
    let outcome = guard(&arguments, &report).or_else(|error| report.fail(&error));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Guards every package; the exit code is 3 if one regressed, else 4 if one lacks something to compare with.
fn guard(arguments: &Arguments, report: &Report) -> Result<u8, Error> {
    let workspace = Workspace::open(Path::new("."), &arguments.bench)?;
    let packages = workspace.guarded(&arguments.package)?;
    if arguments.baseline.is_some() && packages.len() != 1 {
        return Err(Error::OneBaseline(packages.len()));
    }
    let tools = Tools::find(&workspace)?;
    let fingerprint = Fingerprint::find(&workspace, &tools)?;
    let gate = Gate { arguments, workspace: &workspace, tools, fingerprint, base: OnceCell::new() };
    let mut codes = Vec::new();
    for package in packages {
        let code = match gate.guard(package, report) {
            Err(error) if error.exit_code() == 4 => report.fail(&error)?,
            other => other?,
        };
        codes.push(code);
    }
    let worst = [3, 4].into_iter().find(|code| codes.contains(code));
    Ok(worst.unwrap_or(0))
}

struct Gate<'a> {
    arguments: &'a Arguments,
    workspace: &'a Workspace,
    tools: Tools,
    fingerprint: Fingerprint,
    /// Checked out for the first package that needs it.
    base: OnceCell<Base>,
}

/// What the new counts are compared with.
enum Old {
    Section(Counts),
    /// No section has this fingerprint, or a commit was asked for.
    Commit(String),
}

impl Gate<'_> {
    fn guard(&self, package: &Package, report: &Report) -> Result<u8, Error> {
        let path = self.arguments.baseline.clone().unwrap_or_else(|| package.baseline());
        if !package.has_bench {
            return Err(Error::BenchGone {
                package: package.name.clone(),
                bench: self.workspace.bench.clone(),
                baseline: self.workspace.shown(&path),
            });
        }
        let baseline = Baseline::read(&path)?;
        if self.arguments.bless {
            return self.bless(package, &path, baseline.unwrap_or_default(), report).map(|()| 0);
        }
        // What to compare with is known before anything is built, so that a gate without it says so at once.
        let old = self.old(baseline, &path)?;
        let new = self.count(package)?;
        let shown = self.workspace.shown(&path);
        let (old, place) = match old {
            Old::Section(counts) => (counts, format!("`{shown}`\n")),
            Old::Commit(commit) => (self.count_base(package, &commit)?, self.why(&commit, &shown)),
        };
        let comparison = Comparison::new(&old, &new, self.arguments.messages);
        report.write(&format!(
            "### Instructions of `{}` against {place}\n{}\n{}",
            package.name,
            comparison.to_markdown(),
            verdict(&comparison)
        ))?;
        Ok(comparison.worst().exit_code())
    }

    fn bless(
        &self,
        package: &Package,
        path: &Path,
        mut baseline: Baseline,
        report: &Report,
    ) -> Result<(), Error> {
        let new = self.count(package)?;
        let shown = self.workspace.shown(path);
        let mut text = format!("### Instructions of `{}`, blessed\n\n", package.name);
        if let Some(old) = baseline.0.get(&self.fingerprint) {
            text += &Comparison::new(old, &new, self.arguments.messages).to_markdown();
            text.push('\n');
        }
        text += &format!("{} benches written to `{shown}`; commit it.\n", new.0.len());
        baseline.0.insert(self.fingerprint.clone(), new);
        baseline.write(path)?;
        report.write(&text)
    }

    /// Only a baseline that other tools have written gives way to a commit: one that is missing is a mistake.
    fn old(&self, baseline: Option<Baseline>, path: &Path) -> Result<Old, Error> {
        let against = self.arguments.against.as_deref();
        if against.is_none() {
            let missing = || Error::NoBase(format!("there is no {}", self.workspace.shown(path)));
            let mut baseline = baseline.ok_or_else(missing)?;
            if let Some(counts) = baseline.0.remove(&self.fingerprint) {
                return Ok(Old::Section(counts));
            }
        }
        Base::find(&self.workspace.root, against).map(Old::Commit)
    }

    fn count(&self, package: &Package) -> Result<Counts, Error> {
        self.tools.count(self.workspace, package, &self.workspace.target)
    }

    fn count_base(&self, package: &Package, commit: &str) -> Result<Counts, Error> {
        let base = match self.base.get() {
            Some(base) => base,
            None => {
                let base = Base::check_out(&self.workspace.root, commit.into())?;
                self.base.get_or_init(|| base)
            }
        };
        let refused = |why: String| Error::NoBase(format!("commit {}: {why}", short(commit)));
        let workspace = Workspace::open(&base.root(), &self.workspace.bench)
            .map_err(|error| refused(error.to_string()))?;
        let version = &self.fingerprint.iai_callgrind;
        if workspace.iai_callgrind().ok().as_ref() != Some(version) {
            return Err(refused(format!("its Cargo.lock does not name iai-callgrind {version}")));
        }
        let bench = &self.workspace.bench;
        let there = workspace.package(&package.name).filter(|package| package.has_bench);
        let package = there.ok_or_else(|| {
            refused(format!("it has no package `{}` with a bench `{bench}`", package.name))
        })?;
        let target = self.workspace.target.join("gate");
        self.tools.count(&workspace, package, &target).map_err(|error| refused(error.to_string()))
    }

    fn why(&self, commit: &str, baseline: &str) -> String {
        let reason = match self.arguments.against {
            Some(_) => String::new(),
            None => format!(
                "\nNo section of `{baseline}` was counted with {}; `--bless` writes one.\n",
                self.fingerprint
            ),
        };
        format!("commit {}\n{reason}", short(commit))
    }
}

fn short(commit: &str) -> &str {
    &commit[..commit.len().min(10)]
}

/// What the table means, and what is to be done.
fn verdict(comparison: &Comparison) -> String {
    let all = comparison.rows.len();
    let say = |judgement: Judgement, text: &str| match comparison.count(judgement) {
        0 => None,
        count => Some(format!("{count} of {all} benches {text}\n")),
    };
    let lines = [
        say(
            Judgement::Regressed,
            "**regressed**: 1% more or worse, and at least half an instruction a message. Make them cheaper, or accept the cost with `mycelia-gate --bless` and say why in the commit.",
        ),
        say(
            Judgement::Missing,
            "are **missing** on one side. Put them back, or take the change up with `mycelia-gate --bless`.",
        ),
        say(Judgement::Better, "are better by 1% or more: keep that with `mycelia-gate --bless`."),
        say(Judgement::SlightlyMore, "take slightly more."),
    ];
    let text: String = lines.into_iter().flatten().collect();
    let is_clean = comparison.worst().exit_code() == 0;
    if is_clean { format!("{text}**Clean**: no bench regressed.\n") } else { text }
}

/// Where the tables go.
struct Report {
    markdown: Option<PathBuf>,
}

impl Report {
    fn write(&self, text: &str) -> Result<(), Error> {
        println!("{}", text.trim_end());
        self.append(text)
    }

    /// Reports an error, also to those who see nothing but the file.
    fn fail(&self, error: &Error) -> Result<u8, Error> {
        eprintln!("error: {error}");
        self.append(&format!("**No verdict**: {error}\n"))?;
        Ok(error.exit_code())
    }

    fn append(&self, text: &str) -> Result<(), Error> {
        let Some(path) = &self.markdown else { return Ok(()) };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{text}"));
        written.map_err(|cause| Error::File { verb: "write", path: path.clone(), cause })
    }
}
