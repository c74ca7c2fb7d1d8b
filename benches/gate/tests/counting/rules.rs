//! When the gate is green, when it is red, and when it says that it cannot tell.

use crate::fixture::{Fixture, Ran};
use mycelia_gate::Baseline;

#[test]
fn one_percent_more_is_red_however_often_it_is_run() {
    let fixture = Fixture::blessed("fixture_plant");
    fixture.gate(&[]).exits_with(0).says("**Clean**");
    fixture.plant();
    fixture.gate(&[]).exits_with(3).says("| `stages::handle::thousand` |");
    fixture.gate(&[]).exits_with(3).says("1 of 2 benches **regressed**");
    fixture.unplant();
    fixture.gate(&[]).exits_with(0);
}

#[test]
fn less_than_one_percent_is_said_and_green() {
    let fixture = Fixture::new("fixture_slight");
    fixture.replace("src/lib.rs", "= 90;", "= 900;");
    fixture.gate(&["--bless"]).exits_with(0);
    fixture.replace("src/lib.rs", "= 900;", "= 901;");
    fixture.gate(&[]).exits_with(0).says("slightly more");
}

#[test]
fn much_better_is_green_and_asks_for_another_baseline() {
    let fixture = Fixture::blessed("fixture_better");
    fixture.replace("src/lib.rs", "= 90;", "= 80;");
    fixture.gate(&[]).exits_with(0).says("keep that with `mycelia-gate --bless`");
}

#[test]
fn a_bench_on_one_side_alone_is_no_verdict() {
    let fixture = Fixture::blessed("fixture_missing");
    fixture.replace(
        "benches/instructions.rs",
        "benchmarks = handle, constant",
        "benchmarks = handle",
    );
    fixture.gate(&[]).exits_with(4).says("| `stages::constant` |").says("**missing**");
    fixture.gate(&["--bless"]).exits_with(0);
    fixture.gate(&[]).exits_with(0);
    fixture.replace(
        "benches/instructions.rs",
        "benchmarks = handle",
        "benchmarks = handle, constant",
    );
    fixture.gate(&[]).exits_with(4).says("| `stages::constant` |");
}

#[test]
fn neither_baseline_nor_history_is_no_verdict() {
    let fixture = Fixture::new("fixture_alone");
    fixture.gate(&[]).exits_with(4).says("no usable baseline: HEAD has no parent");
    std::fs::remove_dir_all(fixture.path(".git")).unwrap();
    fixture.gate(&[]).exits_with(4).says("not a git repository");
}

/// A missing file is no new compiler: somebody has to say that the code is good as it is.
#[test]
fn a_removed_baseline_is_no_verdict_whatever_the_history() {
    let fixture = Fixture::blessed("fixture_removed");
    std::fs::remove_file(fixture.path("benches/baseline.ron")).unwrap();
    fixture.gate(&[]).exits_with(4).says("no usable baseline: there is no benches/baseline.ron");
    fixture.gate(&["--against", "HEAD"]).exits_with(0);
}

/// The package is not merely left out.
#[test]
fn a_removed_bench_target_is_no_verdict() {
    let fixture = Fixture::blessed("fixture_target");
    fixture.replace("Cargo.toml", "name = \"instructions\"", "name = \"others\"");
    fixture.write("benches/others.rs", "fn main() {}");
    std::fs::remove_file(fixture.path("benches/instructions.rs")).unwrap();
    fixture.gate(&[]).exits_with(4).says("has a baseline, but no bench `instructions`");
}

/// Another compiler is another fingerprint: the commit before is counted by the same compiler, and the plant is found.
#[test]
fn a_new_compiler_does_not_silence_the_gate() {
    let fixture = Fixture::blessed("fixture_compiler");
    fixture.replace("benches/baseline.ron", "rustc: \"", "rustc: \"0.");
    fixture.commit("As if another compiler had written it");
    fixture
        .gate(&[])
        .exits_with(0)
        .says("No section of `benches/baseline.ron` was counted with rustc 1.");
    fixture.plant();
    fixture.gate(&[]).exits_with(3);
    fixture.commit("Planted on the main branch");
    fixture.gate(&[]).exits_with(3);
    let worktrees = fixture.git(&["worktree", "list"]);
    assert_eq!(worktrees.lines().count(), 1, "{worktrees}");
}

/// A section of another fingerprint stays when one is added.
#[test]
fn blessing_keeps_what_other_tools_counted() {
    let fixture = Fixture::blessed("fixture_sections");
    fixture.replace("benches/baseline.ron", "valgrind: \"", "valgrind: \"0.");
    fixture.gate(&["--bless"]).exits_with(0);
    let baseline = Baseline::read(&fixture.path("benches/baseline.ron")).unwrap().unwrap();
    assert_eq!(baseline.0.len(), 2);
    fixture.gate(&[]).exits_with(0);
}

/// On a branch it is the commit where the branch began, not the one before: small steps add up.
#[test]
fn a_branch_is_compared_with_where_it_left_the_main_branch() {
    let fixture = Fixture::new("fixture_branch");
    fixture.git(&["checkout", "--quiet", "-b", "change"]);
    fixture.plant();
    fixture.commit("Planted");
    fixture.write("README.md", "Nothing that is built.\n");
    fixture.commit("Something else");
    fixture.gate(&[]).exits_with(3);
    fixture.gate(&["--against", "HEAD^"]).exits_with(0);
    fixture.gate(&["--against", "nothing"]).exits_with(4).says("git knows no commit `nothing`");
}

/// A commit is compared with when it is asked for, whatever the baseline says.
#[test]
fn against_goes_before_the_baseline() {
    let fixture = Fixture::blessed("fixture_against");
    fixture.plant();
    fixture.gate(&["--bless"]).exits_with(0);
    fixture.gate(&[]).exits_with(0);
    fixture.gate(&["--against", "HEAD"]).exits_with(3);
}

#[test]
fn a_commit_without_the_bench_is_no_verdict() {
    let fixture = Fixture::new("fixture_base");
    fixture.replace(
        "Cargo.toml",
        "name = \"instructions\"",
        "name = \"others\"\npath = \"benches/instructions.rs\"",
    );
    fixture.commit("The bench has another name");
    fixture
        .gate(&["--bench", "others"])
        .exits_with(4)
        .says("it has no package `fixture_base` with a bench `others`");
}

#[test]
fn a_shallow_history_is_no_verdict_and_says_how_to_fetch_it() {
    let fixture = Fixture::new("fixture_shallow");
    fixture.write("README.md", "Nothing that is built.\n");
    fixture.commit("Two");
    let url = format!("file://{}", fixture.path("").display());
    fixture.git(&["clone", "--quiet", "--depth", "1", &url, "clone"]);
    let mut command = fixture.gate_command(&[]);
    command.current_dir(fixture.path("clone"));
    Ran::new(command.output().unwrap()).exits_with(4).says("`fetch-depth: 0`");
}

#[test]
fn a_bench_that_does_not_build_is_a_broken_tool() {
    let fixture = Fixture::blessed("fixture_broken");
    fixture.replace("src/lib.rs", "pub fn handle", "fn handle");
    fixture
        .gate(&[])
        .exits_with(2)
        .says("`cargo bench --package fixture_broken --bench instructions` failed");
}

/// Flags that make other code never meet counts of the usual code.
#[test]
fn other_flags_are_another_fingerprint() {
    let fixture = Fixture::new("fixture_flags");
    fixture.gate(&["--bless"]).exits_with(0);
    let mut command = fixture.gate_command(&[]);
    command.env("RUSTFLAGS", "-C target-cpu=x86-64-v2");
    Ran::new(command.output().unwrap()).exits_with(4).says("no usable baseline");
    let mut command = fixture.gate_command(&[]);
    command.env("CARGO_PROFILE_BENCH_OPT_LEVEL", "1");
    Ran::new(command.output().unwrap()).exits_with(4).says("no usable baseline");
}

/// The summary of a pull request gets every table, the red one too.
#[test]
fn the_report_is_appended_to_a_file() {
    let fixture = Fixture::blessed("fixture_report");
    let summary = fixture.path("summary.md");
    fixture.write("summary.md", "before\n");
    fixture.plant();
    fixture.gate(&["--markdown", summary.to_str().unwrap()]).exits_with(3);
    let text = fixture.read("summary.md");
    assert!(text.starts_with("before\n### Instructions of `fixture_report`"), "{text}");
    assert!(text.contains("**regressed**"), "{text}");
}
