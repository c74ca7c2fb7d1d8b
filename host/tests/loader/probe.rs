//! What a library can do to whoever loads it, done to a child.

use crate::support::{Fake, plugin, prober, staged};
use mycelia::loader::{LoadError, Prober};
use std::{fs, path::Path, process::Command, time::Duration};

/// That the probe refuses a library with this code with a text that has this in it.
#[track_caller]
fn check(code: &str, text: &str) {
    let error = verdict(&prober(), code).expect_err("it is refused");
    let said = error.to_string();
    assert!(error.step() == "probe" && said.contains(text), "{}: {said}", error.step());
}

fn verdict(prober: &Prober, code: &str) -> Result<(), LoadError> {
    staged(&Fake::new(code, &[]).path())?.probe(prober)
}

#[test]
fn real_plugins_pass() {
    for name in ["mycelia_echo", "mycelia_counter", "mycelia_kv", "mycelia_http", "mycelia_faulty"]
    {
        staged(&plugin(name)).unwrap().probe(&prober()).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_library_that_ends_its_process_ends_the_child() {
    check("AT_LOAD { *(volatile int *)8 = 1; }", "loads it, with SIGSEGV; build it again");
    check("AT_LOAD { __builtin_trap(); }", "loads it, with SIGILL;");
    check("AT_LOAD { abort(); }", "aborts the process that loads it; mend");
    check(
        "AT_LOAD { fprintf(stderr, \"a\\nno license\\n\"); abort(); }",
        "aborts the process that loads it (it said: no license); mend",
    );
    check("AT_LOAD { exit(0); }", "loads it, with exit code 0; build");
    check("AT_LOAD { puts(\"passed\"); _exit(7); }", "loads it, with exit code 7");
    check("AT_LOAD { for (;;) puts(\"much\"); }", "loads it, with SIGXFSZ (it said: m");
    check("AT_LOAD { if (fork() == 0) _exit(0); raise(9); }", "loads it, with SIGKILL");
}

#[test]
fn a_library_that_does_not_return_is_ended() {
    let prober = prober().with_limit(Duration::from_millis(300));
    for code in ["AT_LOAD { for (;;) pause(); }", "AT_LOAD { for (;;); }"] {
        let said = verdict(&prober, code).unwrap_err().to_string();
        assert!(said.contains("was not loaded within 300ms; mend what"), "{said}");
    }
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children, "");
}

#[test]
fn what_the_loader_refuses_is_told_in_its_words() {
    check("void nowhere(void); AT_LOAD { nowhere(); }", "it: undefined symbol: nowhere");
    check("", "was built with another abi_stable than this host");
}

#[test]
fn a_program_that_does_not_answer_is_not_blamed_on_the_library() {
    let staged = staged(&plugin("mycelia_echo")).unwrap();
    let said = |program: &str| {
        let error = staged.probe(&Prober::new(program.into())).unwrap_err();
        assert_eq!(error.step(), "probe");
        error.to_string()
    };
    assert!(said("/no/such/mycelia").starts_with("cannot start `/no/such/mycelia probe` to try"));
    assert!(said("/bin/true").contains("it ended too early, with exit status: 0; is it the `my"));
}

#[test]
fn what_has_passed_is_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("mycelia");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mycelia"), &program).unwrap();
    let (prober, echo) = (Prober::new(program.clone()), plugin("mycelia_echo"));
    staged(&echo).unwrap().probe(&prober).unwrap();
    fs::remove_file(program).unwrap();
    staged(&echo).unwrap().probe(&prober).unwrap();
    let other = staged(&plugin("mycelia_counter")).unwrap().probe(&prober);
    assert!(matches!(other, Err(LoadError::NoProbe { .. })));
}

#[test]
fn a_file_is_tried_where_memory_is_not_executed() {
    let said = |path: &Path| {
        let child = Command::new(env!("CARGO_BIN_EXE_mycelia")).arg("probe").arg(path).output();
        String::from_utf8(child.unwrap().stdout).unwrap()
    };
    assert_eq!(said(&plugin("mycelia_echo")), "mycelia-probe\npassed");
    assert!(said(Path::new("/no/such.so")).starts_with("mycelia-probe\nrefused\tit: cannot open"));
}

#[test]
fn a_test_finds_the_program_above_its_own_folder() {
    staged(&plugin("mycelia_echo")).unwrap().probe(&Prober::find().unwrap()).unwrap();
}
