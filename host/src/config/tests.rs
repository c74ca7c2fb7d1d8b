//! Configs that are right, and what is said of those that are wrong.

use super::fields::{self, Group};
use super::*;
use std::fmt::Write as _;

const CASES: &str = include_str!("cases.txt");

fn defaults() -> Defaults {
    Defaults::new(4, None)
}

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse_with("demo.ron", text, &defaults())
}

/// One line a mistake: position, message, help.
fn said(text: &str) -> String {
    let mut out = String::new();
    for mistake in parse(text).err().iter().flatten() {
        let (line, column) = mistake.position().unwrap_or_default();
        writeln!(out, "! {line}:{column} {}\n? {}", mistake.message(), mistake.help()).unwrap();
    }
    out
}

/// The config of a case, without what is said of it.
fn input(case: &str) -> String {
    let is_input = |line: &&str| !line.starts_with(['!', '?']);
    case.lines().filter(is_input).collect::<Vec<_>>().join("\n")
}

#[test]
fn wrong_configs_are_answered_as_the_cases_say() {
    let (head, cases) = CASES.split_once("\n\n").unwrap();
    let mut told = format!("{head}\n");
    let mut count = 0;
    for case in cases.trim_end().split("\n\n") {
        let input = input(case);
        let said = said(&input);
        assert!(!said.is_empty(), "nothing is wrong with {input}");
        write!(told, "\n{input}\n{said}").unwrap();
        count += 1;
    }
    assert!(count > 100, "{count} cases");
    if std::env::var_os("MYCELIA_BLESS").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/cases.txt");
        std::fs::write(file, &told).unwrap();
    } else {
        for (told, written) in told.lines().zip(CASES.lines()) {
            assert_eq!(told, written);
        }
        assert_eq!(told, CASES);
    }
}

/// The example of the design.
const DESIGN: &str = include_str!("design.ron");

#[test]
fn the_design_example_says_what_it_says() {
    let config = parse(DESIGN).unwrap();
    assert_eq!(config.workers, 2);
    assert_eq!(config.control.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(config.control.grants, ["*"]);
    assert_eq!(config.data, Path::new("mycelia-data"));
    assert_eq!(config.pool, 256 << 20);
    assert_eq!(config.ask_deadline, Duration::from_secs(5));
    assert_eq!(config.drain_timeout, Duration::from_secs(10));
    assert_eq!(config.spin, Duration::from_micros(50));
    assert_eq!(config.dead_letters, DeadLetters { count: 10_000, bytes: 64 << 20, file: None });
    let names: Vec<_> = config.subsystems.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["kv", "http"], "in the order of the file");
}

#[test]
fn the_subsystems_of_the_design_example_are_read() {
    let config = parse(DESIGN).unwrap();
    let kv = config.subsystem("kv").unwrap();
    assert_eq!(kv.plugin, "mycelia_kv");
    assert_eq!(kv.queue, Queue { capacity: 1024, policy: Policy::Reject });
    assert_eq!((kv.batch, kv.weight, kv.required, kv.max_asks), (64, 1, true, 1024));
    assert_eq!(kv.handler_limit, Duration::from_secs(5));
    let (within, backoff) = (Duration::from_secs(30), Duration::from_millis(100));
    assert_eq!(kv.restart, Restart { max: 5, within, backoff });
    assert_eq!(kv.snapshot, Some(Duration::from_secs(10)));
    assert_eq!((kv.on_restart, kv.on_reload), (OnRestart::Snapshot, OnReload::Keep));
    let for_ = Duration::from_secs(10);
    assert_eq!(kv.probation, Probation { messages: 1000, for_, panics: 3 });
    assert_eq!((kv.pool_quota, kv.memory), (64 << 20, None));
    assert_eq!(kv.config.text, "(file: \"kv.redb\")");
    let http = config.subsystem("http").unwrap();
    assert_eq!(http.grants, ["kv:read", "kv:write"]);
    assert!(http.config.text.starts_with("(\n") && http.config.text.ends_with(')'));
    assert!(config.subsystem("nobody").is_none());
}

#[test]
fn what_the_design_example_spells_out_is_the_default() {
    let text =
        r#"(workers: 2, subsystems: { "kv": (plugin: "mycelia_kv", config: (file: "kv.redb")) })"#;
    let (short, long) = (parse(text).unwrap(), parse(DESIGN).unwrap());
    assert_eq!(short.subsystem("kv"), long.subsystem("kv"));
    assert_eq!(
        Config { subsystems: Vec::new(), ..short },
        Config { subsystems: Vec::new(), ..long }
    );
}

#[test]
fn places_are_those_of_the_file() {
    for text in
        [DESIGN.to_owned(), DESIGN.replace('\n', "\r\n"), format!("\u{feff}/* größe 🦀 */{DESIGN}")]
    {
        let config = parse(&text).unwrap();
        let http = config.subsystem("http").unwrap();
        assert_eq!(&text[http.places.name.clone()], "\"http\"");
        assert_eq!(&text[http.places.plugin.clone()], "\"mycelia_http\"");
        assert_eq!(&text[http.places.grants[1].clone()], "\"kv:write\"");
        assert_eq!(&text[http.config.place(0..http.config.text.len())], http.config.text);
        assert_eq!(
            config,
            parse(DESIGN.replace("\n", if text.contains('\r') { "\r\n" } else { "\n" }).as_str())
                .unwrap()
        );
    }
}

#[test]
fn an_effective_config_is_the_config() {
    let other = r#"(
        workers: 7, control: (listen: "[::1]:9000", grants: ["kv:read", "kernel:control"]),
        data: "a \"b\" \\ ö", pool: "1GiB", spin: "0s", ask_deadline: "1500ms", drain_timeout: "0s",
        dead_letters: (count: 0, bytes: "1000", file: "dead.letters"),
        subsystems: {
            "a.b-c_1": (
                plugin: r"C:\lib.so", queue: (capacity: 16777216, policy: Block("1500us")), batch: 4096, weight: 1000,
                required: false, handler_limit: "1h", max_asks: 65535, snapshot: None, on_restart: Fresh,
                restart: (max: 0, within: "24h", backoff: "0s"), on_reload: RefuseIfLost,
                probation: (messages: 0, for: "0s", panics: 0), grants: ["kernel:read"],
                pool_quota: "4KiB", memory: "64KiB", config: [1, /* two */ 2, // three
                    "four" ],
            ),
            "b": (plugin: "b", queue: (policy: DropOldest), on_reload: Reset, snapshot: "1m", memory: Some("1GiB")),
            "c": (plugin: "c", queue: (policy: DropNewest), config: "text"),
        },
    ) // the end"#;
    for text in ["()", "(subsystems: {})", DESIGN, &DESIGN.replace('\n', "\r\n"), other] {
        let config = parse(text).unwrap();
        let effective = config.effective();
        assert_eq!(parse(&effective).unwrap(), config, "{effective}");
    }
}

#[test]
fn an_effective_config_shows_and_explains_every_field() {
    let effective = parse(DESIGN).unwrap().effective();
    for group in fields::ALL {
        for name in group.names() {
            let doc = group.field(name).unwrap().doc;
            let shown =
                |line: &str| line.trim().starts_with(&format!("{name}: ")) && line.ends_with(doc);
            assert!(effective.lines().any(shown), "{name} in {effective}");
        }
    }
}

/// A config in which this field of this group has this value.
fn with_field(group: &Group, name: &str, value: &str) -> String {
    let field = format!("({name}: {value})");
    let in_subsystem =
        |inner: &str| format!("(subsystems: {{ \"kv\": (plugin: \"x\", {inner}) }})");
    match group.what {
        "the config" => field,
        "a subsystem" if name == "plugin" => format!("(subsystems: {{ \"kv\": {field} }})"),
        "a subsystem" => in_subsystem(&format!("{name}: {value}")),
        other => match other.trim_matches('`') {
            outer @ ("control" | "dead_letters") => format!("({outer}: {field})"),
            outer => in_subsystem(&format!("{outer}: {field}")),
        },
    }
}

#[test]
fn every_field_is_read() {
    for group in fields::ALL {
        for name in group.names().filter(|name| *name != "config") {
            let text = with_field(group, name, "'x'");
            let mistakes = parse(&text).unwrap_err();
            assert_eq!(mistakes.len(), 1, "{text}");
            assert_eq!(mistakes.iter().next().unwrap().span().unwrap().len(), 3, "{text}");
        }
    }
}

#[test]
fn eight_mistakes_are_told_at_once_and_in_order() {
    let mistakes = parse(include_str!("eight.ron")).unwrap_err();
    assert_eq!(mistakes.len(), 8);
    let lines: Vec<_> = mistakes.iter().map(|mistake| mistake.position().unwrap().0).collect();
    assert_eq!(lines, [2, 3, 4, 8, 9, 11, 11, 12]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/eight.txt");
    let rendered = mistakes.render(false);
    if std::env::var_os("MYCELIA_BLESS").is_some() {
        std::fs::write(file, &rendered).unwrap();
    }
    assert_eq!(rendered, std::fs::read_to_string(file).unwrap());
    assert_eq!(format!("{mistakes}\n"), rendered);
    assert_eq!(format!("{mistakes:?}\n"), rendered);
}

#[test]
fn mistakes_are_told_plainly_and_in_colour() {
    let mistakes = parse("(workers: 0)").unwrap_err();
    let plain = "demo.ron:1:11: `workers` must be a whole number from 1 to 1024, not 0\n    help: write 1 or more\n";
    assert_eq!(mistakes.to_plain(), plain);
    assert!(mistakes.render(true).contains('\u{1b}'));
    assert!(!mistakes.render(false).contains('\u{1b}'));
}

#[test]
fn positions_do_not_depend_on_line_breaks() {
    let text = include_str!("eight.ron");
    let positions = |text: &str| {
        let mistakes = parse(text).unwrap_err();
        mistakes.iter().map(|mistake| mistake.position().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(positions(&text.replace('\n', "\r\n")), positions(text));
    let rendered = parse(&text.replace('\n', "\r\n")).unwrap_err().render(false);
    assert_eq!(
        rendered,
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/eight.txt"))
            .unwrap()
    );
}

#[test]
fn a_mistake_found_later_is_told_like_the_others() {
    let config = parse(DESIGN).unwrap();
    let http = config.subsystem("http").unwrap();
    let mut mistakes = config.mistakes();
    assert!(mistakes.is_empty());
    let at = http.config.text.find("Body").unwrap();
    mistakes.add(http.config.place(at..at + 4), "`map.pass` must be All, not Body", "write All");
    mistakes.add(http.places.grants[0].clone(), "`kv` has no scope `read`", "write \"kv:write\"");
    let told: Vec<_> =
        mistakes.iter().map(|mistake| (mistake.position().unwrap(), mistake.message())).collect();
    let expected =
        [((19, 22), "`kv` has no scope `read`"), ((22, 86), "`map.pass` must be All, not Body")];
    assert_eq!(told, expected);
    assert!(mistakes.to_string().contains("demo.ron:22:86"), "{mistakes}");
}

#[test]
fn a_place_that_does_not_fit_is_moved_into_the_text() {
    for text in ["", "\n", "ö", "ab\r\n", "(größe: 🦀)\n"] {
        for (start, end) in
            [(0, 0), (1, 1), (2, 1), (0, usize::MAX), (usize::MAX, usize::MAX), (9, 10)]
        {
            let mut mistakes = Mistakes::new("demo.ron", text);
            mistakes.add(start..end, "message", "help");
            assert!(mistakes.render(false).contains("message"), "{text:?} {start}..{end}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.ron");
    let said = |path: &Path| Config::read(path).unwrap_err().to_plain();
    assert!(
        said(&file).contains("demo.ron: cannot be read: No such file or directory"),
        "{}",
        said(&file)
    );
    assert!(
        said(folder.path()).contains("cannot be read: Is a directory"),
        "{}",
        said(folder.path())
    );
    std::fs::write(&file, b"(\n    data: \"\xff\xfe\",\n)").unwrap();
    let binary = said(&file);
    assert!(
        binary.contains("demo.ron:2:12: the file is not UTF-8 text: byte 0xff at offset 13"),
        "{binary}"
    );
    std::fs::write(&file, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0\xf0\x80")
        .unwrap();
    assert!(said(&file).contains("byte 0xf0"), "{}", said(&file));
    std::fs::write(&file, DESIGN).unwrap();
    assert_eq!(Config::read(&file).unwrap(), parse(DESIGN).unwrap());
}

#[test]
fn an_empty_file_is_one_mistake() {
    for text in ["", " \r\n\t ", "\u{feff}"] {
        let mistakes = parse(text).unwrap_err();
        let help = "write at least (subsystems: { \"kv\": (plugin: \"mycelia_kv\") })";
        assert_eq!(
            mistakes.to_plain(),
            format!("demo.ron: the config is empty\n    help: {help}\n")
        );
        assert!(mistakes.to_string().contains("demo.ron: the config is empty"), "{mistakes}");
    }
    assert_eq!(parse("// nothing\n").unwrap_err().len(), 1);
}

#[test]
fn a_megabyte_of_garbage_is_told_shortly() {
    let mega = |text: &str| text.repeat((1 << 20) / text.len());
    let inputs = [
        mega("garbage "),
        mega("("),
        mega("\u{1b}[31m\0\u{7f}"),
        mega("🦀"),
        mega("\"\\"),
        mega("r#"),
        mega("'a"),
        mega("/*"),
        mega("\n"),
        mega("-"),
        mega("5s"),
        format!("({}: 5)", mega("a")),
        format!("(data: {})", mega("a")),
        format!("(workers: \"{}\")", mega("ö")),
        format!("(subsystems: {{ \"{}\": (plugin: \"x\") }})", mega("k")),
        format!("(control: (grants: [\"{}\"]))", mega("k")),
        format!("(pool: \"{}\")", mega("1")),
    ];
    for input in inputs {
        let mistakes = parse(&input).unwrap_err();
        let told = mistakes.to_string() + &mistakes.to_plain();
        let begin = &input[..input.floor_char_boundary(20)];
        assert!(told.len() < 8000, "{} bytes about {begin:?}", told.len());
        assert!(!told.contains('\u{1b}'), "{begin:?}");
    }
}

#[test]
fn many_mistakes_are_all_told() {
    let many = "(subsystems: {".to_owned() + &"\"kv\": (plugin: 5, que: 1),\n".repeat(500) + "})";
    let mistakes = parse(&many).unwrap_err();
    assert_eq!(mistakes.len(), 3 * 500 - 1);
}

/// What happens to a file that is being edited: nothing but a config or mistakes.
#[test]
fn no_edit_makes_reading_panic() {
    let file = r##"(pool: "1G\u{69}B", /* a */ subsystems: { // b
        "kv": (plugin: r#"kv"#, queue: (policy: Block("1s")), config: ['\'', 'ö', 1.5, Some(b"x")], grants: ["a:b"]),
    })"##;
    assert!(parse(file).is_ok());
    let odd = ["", "(", "]", "\"", "'", "é", "\\", "/*", ",", "r#", "\0", "5", ":", "None"];
    for (at, character) in file.char_indices() {
        let (before, after) = (&file[..at], &file[at + character.len_utf8()..]);
        let edits = odd.map(|odd| format!("{before}{odd}{after}"));
        for text in edits.iter().map(String::as_str).chain([before]) {
            if let Err(mistakes) = parse(text) {
                assert!(!mistakes.is_empty() && !mistakes.to_plain().is_empty());
                assert!(mistakes.to_string().contains("demo.ron:"), "{mistakes}");
            }
        }
    }
}

#[test]
fn defaults_come_from_where_the_host_runs() {
    let data = |value: &str| Defaults::new(4, Some(value.into())).data;
    assert_eq!(Defaults::new(4, None).data, Path::new("mycelia-data"));
    assert_eq!(data(""), Path::new("mycelia-data"));
    assert_eq!(data("/var/lib/mycelia"), Path::new("/var/lib/mycelia"));
    assert_eq!(data("/var/lib/mycelia:/var/lib/other"), Path::new("/var/lib/mycelia"));
    assert_eq!(Defaults::new(0, None).workers, 1);
    assert_eq!(Defaults::new(5000, None).workers, 1024);
    assert_eq!(parse("()").unwrap().workers, 4);
}

#[test]
fn the_default_quota_is_within_a_small_pool() {
    let config = parse(r#"(pool: "16MiB", subsystems: { "kv": (plugin: "x") })"#).unwrap();
    assert_eq!(config.subsystem("kv").unwrap().pool_quota, 16 << 20);
}

#[test]
fn the_control_server_may_be_open_to_the_network_when_told() {
    let config = parse(r#"(control: (listen: "0.0.0.0:80", grants: []))"#).unwrap();
    assert!(!config.control.listen.ip().is_loopback());
    assert!(config.control.grants.is_empty());
}

#[test]
fn options_are_written_with_and_without_some() {
    for (memory, expected) in [
        ("None", None),
        ("\"64MiB\"", Some(64 << 20)),
        ("Some(\"64MiB\")", Some(64 << 20)),
        ("Some ( /* a */ \"64MiB\" // b\n )", Some(64 << 20)),
        ("/* c */ None // d\n", None),
    ] {
        let text = format!("(subsystems: {{ \"kv\": (plugin: \"x\", memory: {memory}) }})");
        assert_eq!(parse(&text).unwrap().subsystem("kv").unwrap().memory, expected, "{memory}");
    }
}

#[test]
fn durations_and_sizes_are_shown_as_they_are_read() {
    for text in ["0s", "7ns", "50us", "250ms", "1500ms", "5s", "90s", "2m", "1h", "25h"] {
        assert_eq!(amounts::show_duration(amounts::parse_duration(text).unwrap()), text);
    }
    for text in ["0", "100", "1023", "4KiB", "64MiB", "1536MiB", "1GiB", "3TiB"] {
        assert_eq!(amounts::show_size(amounts::parse_size(text).unwrap()), text);
    }
    assert_eq!(amounts::show_duration(amounts::parse_duration("60s").unwrap()), "1m");
    assert_eq!(amounts::parse_size("100B"), Ok(100));
    for text in
        ["", "s", "5", "5 s", "-5s", "5x", "99999999999999999999s", "18446744073709551615h", "+5s"]
    {
        assert!(amounts::parse_duration(text).is_err(), "{text}");
    }
}
