//! The screen and the keys, from events as values to what is drawn and what is to be done.

use super::{
    columns::Column,
    state::{Action, Event, Outcome, State},
    view::{Theme, draw},
};
use crate::{
    figures::{Figures, Flow, Happened, Percentiles},
    letters::{Reason, ToldLetter},
    status::{Phase, SubsystemStatus},
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::{Color, Modifier},
};

const NOW: u64 = 1_700_000_000_000;
const LONG: &str = "a-name-that-is-longer-than-most-screens-have-room-for";

fn subsystem(name: &str, number: u64) -> (String, SubsystemStatus) {
    let mut one = SubsystemStatus {
        phase: Phase::Running,
        plugin: format!("mycelia_{name}"),
        version: "0.1.0".into(),
        generation: 1 + number as u32,
        restarts: number,
        memory: number << 20,
        ..SubsystemStatus::default()
    };
    (one.queue.depth, one.queue.capacity) = (number, 1024);
    (name.into(), one)
}

fn figures(names: &[&str]) -> Figures {
    let mut figures = Figures {
        time_ms: NOW,
        interval_s: 1.0,
        ready: true,
        cpu: 0.42,
        pool_bytes: 256 << 20,
        pool_used_bytes: 12 << 10,
        ..Figures::default()
    };
    figures.status.workers = 2;
    figures.status.uptime_s = 3600.0 * 3.0;
    figures.status.memory_rss_bytes = 31 << 20;
    for (number, name) in names.iter().enumerate() {
        let (name, one) = subsystem(name, number as u64);
        let p99 = Some(Percentiles { p50: 1200, p95: 3000, p99: 8_100 * (number as u64 + 1) });
        let flow = Flow {
            handled: 10.0 * number as f64,
            wait: p99,
            handle: p99,
            routing: p99,
            ..Flow::default()
        };
        figures.total.handled += flow.handled;
        figures.total = Flow { wait: p99, ..figures.total };
        figures.subsystems.insert(name.clone(), flow);
        figures.status.subsystems.insert(name, one);
    }
    figures
}

fn demo() -> Figures {
    let mut figures = figures(&["counter", "echo", "http", "kv"]);
    let kv = figures.status.subsystems.get_mut("kv").unwrap();
    kv.phase = Phase::Restarting;
    kv.last_error = Some("the disk\nis full\u{1b}[2J".into());
    kv.queue.depth = 1024;
    figures.subsystems.get_mut("kv").unwrap().errors = 2.5;
    figures
}

fn state(size: (u16, u16), figures: Figures) -> State {
    let mut state = State::new("127.0.0.1:7070".into(), size, NOW);
    assert_eq!(state.take(look(figures), NOW), None);
    state
}

fn look(figures: Figures) -> Event {
    Event::Look(figures.into())
}

/// Presses keys; what the last one asks for.
fn press(state: &mut State, keys: &str) -> Option<Action> {
    let mut action = None;
    for word in keys.split(' ') {
        let code = match word {
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "space" => KeyCode::Char(' '),
            "up" => KeyCode::Up,
            "down" => KeyCode::Down,
            "pgdn" => KeyCode::PageDown,
            "home" => KeyCode::Home,
            "end" => KeyCode::End,
            "back" => KeyCode::Backspace,
            key => KeyCode::Char(key.chars().next().unwrap()),
        };
        action = state.take(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), NOW);
    }
    action
}

fn drawn(state: &State, is_colored: bool) -> TestBackend {
    drawn_at(state, is_colored, NOW)
}

fn drawn_at(state: &State, is_colored: bool, now_ms: u64) -> TestBackend {
    let (columns, rows) = state.size;
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, state, Theme { is_colored }, now_ms)).unwrap();
    terminal.backend().clone()
}

/// The lines of the screen.
fn lines(state: &State) -> Vec<String> {
    lines_at(state, NOW)
}

fn lines_at(state: &State, now_ms: u64) -> Vec<String> {
    let backend = drawn_at(state, true, now_ms);
    let width = usize::from(state.size.0);
    let cells = backend.buffer().content();
    let lines = cells.chunks(width).map(|line| line.iter().map(|cell| cell.symbol()).collect());
    lines.map(|line: String| line.trim_end().to_owned()).collect()
}

fn expect(state: &State, parts: &[&str]) {
    let screen = lines(state).join("\n");
    for part in parts {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
}

#[test]
fn eighty_by_twenty_four_holds_it_all() {
    let mut figures = demo();
    figures.total = Flow { handled: 12_340.0, errors: 2.5, ..figures.total };
    figures.events.push(Happened { subsystem: "kv".into(), what: "restarting".into() });
    let shown = lines(&state((80, 24), figures));
    let expected = [
        " mycelia 127.0.0.1:7070  up 3h 0m  ready, without kv                  22:13:20Z",
        " dead letters 0  workers 2  cpu 0.42  memory 31.0 MiB  pool 12.0 KiB/256 MiB",
        " handled  12.3k/s                p50   p95   p99  handled at most 12.3k/s",
        " accepted     0/s   routing        -     -     -                              █",
        " errors     2.5/s   queue wait 1.2µs 3.0µs  32µs                              █",
        " dropped      0/s   handler        -     -     -  p99 wait at most 32µs",
        " refused      0/s                                                             █",
        "",
        " SUBSYSTEM▲ PHASE      GEN MSG/S ERR/S DROP/S       QUEUE P99 WAIT HANDLER  RST",
        "▸counter    running      1     0     0      0      0/1024    8.1µs   8.1µs    0",
        " echo       running      2  10.0     0      0 ▁    1/1024     16µs    16µs    1",
        " http       running      3  20.0     0      0 ▁    2/1024     24µs    24µs    2",
        " kv         restarting   4  30.0   2.5      0 █ 1024/1024     32µs    32µs    3",
        "",
        "",
        "",
        "",
        "",
        "── counter: mycelia_counter 0.1.0, 1 of 4 ──────────────────────────────────────",
        " no error so far",
        "── what happened ───────────────────────────────────────────────────────────────",
        " 22:13:20Z      0s ago  kv restarting",
        "",
        " q quit  ? help  s sort  r reverse  R reload  d dead letters  Space pause",
    ];
    for (row, (shown, expected)) in shown.iter().zip(expected).enumerate() {
        assert_eq!(shown, expected, "{row}");
    }
    assert_eq!(shown.len(), expected.len());
}

#[test]
fn two_hundred_columns_have_every_heading() {
    let state = state((200, 50), demo());
    expect(
        &state,
        &[
            "SUBSYSTEM▲ PHASE      GENERATION HANDLED/S ERRORS/S DROPPED/S                QUEUE P99 \
             WAIT P99 HANDLER RESTARTS DEAD LETTERS    MEMORY LAST ERROR",
            "the disk is full\u{fffd}[2J",
            "████████   1024/1024",
            "▏·······      1/1024",
            "pool 12.0 KiB/256 MiB",
            "Enter details",
        ],
    );
}

#[test]
fn no_size_panics_and_rows_are_aligned() {
    let mut figures = figures(&["a", "counter", LONG]);
    figures.status.lost_threads = 3;
    for (columns, rows) in [(80, 24), (200, 50), (40, 10), (20, 3), (3, 40), (1, 1), (500, 16)] {
        let mut state = state((columns, rows), figures.clone());
        for keys in ["?", "end", "esc", "d", "esc", "enter", "pgdn", "esc", "X", "n", "/"] {
            press(&mut state, keys);
            lines(&state);
        }
        state.take(Event::Lost("it stopped".into()), NOW);
        lines(&state);
    }
    for columns in [40, 60, 80, 100, 120, 200] {
        let state = state((columns, 24), figures.clone());
        let lines = lines(&state);
        let head = lines.iter().position(|line| line.contains("SUBSYSTEM")).unwrap();
        let place = |line: &str, part: &str| {
            let at = line.find(part).unwrap_or_else(|| panic!("{part}: {line}"));
            line[..at].chars().count()
        };
        let phase = place(&lines[head], "PHASE");
        for line in &lines[head + 1..=head + 3] {
            assert_eq!(place(line, "running"), phase, "{columns}: {line}");
        }
    }
}

#[test]
fn forty_by_ten_still_says_what_matters() {
    let state = state((40, 10), demo());
    let shown = lines(&state);
    assert_eq!(shown[2], " SUBSYSTEM▲ PHASE      MSG/S       QUEUE", "{shown:?}");
    assert_eq!(shown[6], " kv         restarting  30.0 █ 1024/1024", "{shown:?}");
    expect(&state, &["mycelia 127.0.0.1:7070", "q quit", "dead letters 0"]);
}

fn order(state: &State) -> Vec<&str> {
    state.rows().iter().map(|row| row.name).collect()
}

#[test]
fn it_sorts_and_keeps_the_selection() {
    let mut state = state((80, 24), demo());
    press(&mut state, "down down down");
    assert_eq!(state.current().as_deref(), Some("kv"));
    for (keys, column, expected) in [
        ("r", Column::Name, ["kv", "http", "echo", "counter"]),
        ("s", Column::Phase, ["kv", "counter", "echo", "http"]),
        ("s >", Column::Handled, ["kv", "http", "echo", "counter"]),
        ("r", Column::Handled, ["counter", "echo", "http", "kv"]),
        ("<", Column::Generation, ["kv", "http", "echo", "counter"]),
        ("< < <", Column::Restarts, ["kv", "http", "echo", "counter"]),
        ("s", Column::Name, ["counter", "echo", "http", "kv"]),
    ] {
        press(&mut state, keys);
        assert_eq!(order(&state), expected, "{keys}");
        assert_eq!(state.sorted_by, column, "{keys}");
        assert_eq!(state.current().as_deref(), Some("kv"), "{keys}");
    }
    press(&mut state, "s s s s r");
    expect(&state, &["▲ERR/S"]);
}

#[test]
fn thousands_scroll() {
    let names: Vec<String> = (0..3000).map(|number| format!("s{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut state = state((80, 24), figures(&names));
    for (keys, name) in [
        ("pgdn", "s0020"),
        ("j k down", "s0021"),
        ("end", "s2999"),
        ("down", "s2999"),
        ("home up", "s0000"),
        ("G", "s2999"),
    ] {
        press(&mut state, keys);
        assert_eq!(state.current().as_deref(), Some(name), "{keys}");
        expect(&state, &[&format!("▸{name}")]);
    }
    press(&mut state, "/ 1 2 3 enter");
    assert_eq!(
        order(&state),
        [
            "s0123", "s1123", "s1230", "s1231", "s1232", "s1233", "s1234", "s1235", "s1236",
            "s1237", "s1238", "s1239", "s2123"
        ]
    );
    press(&mut state, "/ x");
    expect(&state, &["names with: 123x", "no subsystem with such a name"]);
    press(&mut state, "back enter esc");
    assert_eq!(order(&state).len(), 3000);
    assert_eq!(press(&mut state, "esc"), None, "one too many leaves nobody outside");
    assert_eq!(press(&mut state, "q"), Some(Action::Quit));
}

#[test]
fn it_pauses_and_goes_on() {
    let mut state = state((80, 24), figures(&["a"]));
    press(&mut state, "space");
    state.take(look(figures(&["a", "b"])), NOW + 1000);
    expect(&state, &["PAUSED", "1 of 1", "Space go on"]);
    press(&mut state, "space");
    expect(&state, &["1 of 2", "Space pause"]);
}

#[test]
fn keys_ask_for_actions() {
    let kv = || "kv".to_owned();
    for (keys, expected) in [
        ("q", Some(Action::Quit)),
        ("end R", Some(Action::Reload(kv()))),
        ("end X", None),
        ("end X y", Some(Action::Restart(kv()))),
        ("end X n", None),
        ("end d", Some(Action::List(kv()))),
        ("end enter d", Some(Action::List(kv()))),
        ("end enter R", Some(Action::Reload(kv()))),
        ("? q", None),
        ("d q", None),
        ("z", None),
    ] {
        let mut state = state((80, 24), demo());
        assert_eq!(press(&mut state, keys), expected, "{keys}");
    }
    let mut state = state((80, 24), demo());
    let control = |key| Event::Key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL));
    press(&mut state, "d ?");
    assert_eq!(state.take(control('x'), NOW), None);
    assert_eq!(state.take(control('c'), NOW), Some(Action::Quit));
    assert_eq!(state.take(Event::Quit, NOW), Some(Action::Quit));
}

#[test]
fn outcomes_are_told_for_a_while() {
    let mut state = state((80, 24), demo());
    press(&mut state, "R");
    expect(&state, &["counter is being reloaded"]);
    let refused = Err("the token is missing".to_owned());
    state.take(Event::Outcome(Outcome::Reloaded(refused)), NOW);
    expect(&state, &["error: the token is missing"]);
    state.take(Event::Tick, NOW + 60_000);
    expect(&state, &["q quit"]);
    press(&mut state, "X");
    expect(&state, &["restart counter? what it holds in memory is lost: y or n"]);
    press(&mut state, "y");
    let told = Ok("counter: restarted: running, generation 1".to_owned());
    state.take(Event::Outcome(Outcome::Restarted(told)), NOW);
    expect(&state, &["counter: restarted: running"]);
    press(&mut state, "down");
    expect(&state, &["q quit"]);
}

fn letter(id: u64) -> ToldLetter {
    ToldLetter {
        id,
        subsystem: "kv".into(),
        route: "put/{key}".into(),
        path: format!("kv://put/{id}"),
        sender: "http".into(),
        reason: Reason::Failed,
        text: "the disk\nis full\u{1b}[2J".into(),
        time_ms: NOW - 5000,
        encoding: "json".into(),
        length: 8,
        body_text: None,
        body_hex: None,
    }
}

fn listed(ids: &[u64]) -> Event {
    let letters = ids.iter().map(|id| letter(*id)).collect();
    Event::Outcome(Outcome::Listed("kv".into(), Ok(letters)))
}

fn with_letters(kept: u64) -> Figures {
    let mut figures = demo();
    let letters = &mut figures.status.dead_letters;
    letters.kept = kept;
    letters.subsystems.insert("kv".into(), [(Reason::Failed, kept)].into());
    figures
}

#[test]
fn letters_are_listed_read_and_sent_again() {
    let mut state = state((80, 24), with_letters(2));
    expect(&state, &["dead letters 2"]);
    assert_eq!(press(&mut state, "end d"), Some(Action::List("kv".into())));
    expect(&state, &["dead letters of kv: 2", "they are on their way"]);
    state.take(listed(&[6, 7]), NOW);
    expect(
        &state,
        &[
            "▸      7       5s failed   put/{key}     http       the disk is full\u{fffd}[2J",
            "── kv://put/7 ──",
        ],
    );
    assert_eq!(press(&mut state, "down enter"), Some(Action::Open(6)));
    let opened = ToldLetter { body_text: Some("{\"n\":\t1}".into()), ..letter(6) };
    state.take(Event::Outcome(Outcome::Opened(Ok(opened.into()))), NOW);
    expect(
        &state,
        &["── dead letter 6 ──", "path        kv://put/6", "{\"n\":    1}", "is full\u{fffd}[2J"],
    );
    assert_eq!(press(&mut state, "p"), Some(Action::Replay(6)));
    let list = Some(Action::List("kv".into()));
    let refused = Err("denied: no".to_owned());
    assert_eq!(state.take(Event::Outcome(Outcome::Replayed(6, refused)), NOW), list);
    expect(&state, &["dead letter 6 ──", "error: dead letter 6 is kept: denied: no"]);
    assert_eq!(state.take(Event::Outcome(Outcome::Replayed(6, Ok(()))), NOW), list);
    state.take(listed(&[7]), NOW);
    expect(&state, &["dead letter 6 is sent again", "▸      7"]);
    assert_eq!(press(&mut state, "p"), Some(Action::Replay(7)));
    assert_eq!(press(&mut state, "esc"), None);
    expect(&state, &["SUBSYSTEM"]);
}

#[test]
fn a_list_of_letters_is_kept_new() {
    let mut state = state((80, 24), with_letters(1));
    press(&mut state, "end d");
    state.take(listed(&[7]), NOW);
    assert_eq!(state.take(look(with_letters(1)), NOW), None);
    assert_eq!(state.take(look(with_letters(2)), NOW), Some(Action::List("kv".into())));
    state.take(listed(&[7, 8]), NOW);
    // The one that was selected stays so.
    expect(&state, &["▸      7"]);
    // An answer of another page is not for this one.
    state.take(Event::Outcome(Outcome::Listed("echo".into(), Ok(Vec::new()))), NOW);
    expect(&state, &["▸      7"]);
    let refused = Err("the token is missing; give --token FILE".to_owned());
    state.take(Event::Outcome(Outcome::Listed("kv".into(), refused)), NOW);
    expect(&state, &["the token is missing; give --token FILE"]);
}

#[test]
fn a_host_that_is_gone_is_tried_again() {
    let mut state = state((80, 24), demo());
    assert_eq!(state.take(Event::Lost("the host stopped".into()), NOW + 100), None);
    assert_eq!(state.take(Event::Tick, NOW + 1000), None);
    assert_eq!(state.take(Event::Tick, NOW + 1100), Some(Action::Connect));
    assert_eq!(state.take(Event::Tick, NOW + 1200), None);
    assert_eq!(state.take(Event::Lost("nobody answers".into()), NOW + 1300), None);
    let shown = lines_at(&state, NOW + 5100).join("\n");
    for part in ["NO HOST for 5s, since 22:13:20Z; trying", "the host stopped", "▸counter"] {
        assert!(shown.contains(part), "{shown}");
    }
    let backend = drawn_at(&state, true, NOW);
    let row = backend.buffer().content().iter().skip(80 * 10);
    assert!(row.take(80).all(|cell| cell.modifier.contains(Modifier::DIM)));
    assert_eq!(state.take(Event::Tick, NOW + 2300), Some(Action::Connect));
    state.take(look(demo()), NOW + 3000);
    let shown = lines_at(&state, NOW + 3000).join("\n");
    assert!(shown.contains("the host answers again after 2"), "{shown}");
    assert!(!shown.contains("NO HOST"), "{shown}");
}

#[test]
fn a_host_that_is_silent_is_told_and_left() {
    let mut state = state((80, 24), demo());
    assert_eq!(state.take(Event::Tick, NOW + 9999), None);
    assert!(lines_at(&state, NOW + 5000)[0].ends_with("silent for 5s"));
    assert_eq!(state.take(Event::Tick, NOW + 10_000), Some(Action::Connect));
    assert!(lines_at(&state, NOW + 11_000)[0].contains("NO HOST for 11s"));
}

#[test]
fn what_was_before_is_told_once() {
    let mut state = State::new("a:1".into(), (80, 24), NOW);
    let event = Happened { subsystem: "kv".into(), what: "restarted".into() };
    let past = Figures { events: vec![event], ..demo() };
    for _ in 0..2 {
        state.take(Event::Past(past.clone().into()), NOW);
    }
    assert_eq!((state.live.happenings.len(), state.live.moments.len()), (1, 1));
    expect(&state, &["the first look comes within a second", "kv restarted"]);
}

#[test]
fn colours_can_be_left_out() {
    let state = state((80, 24), demo());
    let colors = |is_colored| {
        let backend = drawn(&state, is_colored);
        let cells = backend.buffer().content();
        cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(colors(true) && !colors(false));
}
