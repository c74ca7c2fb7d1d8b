//! The dashboard in headless Chromium, as its readers use it, before a real host.
//!
//! These need chromium and chromedriver, and are built with `--features browser-tests` alone.

use crate::{
    process::{Served, serve},
    support::{PATIENCE, eventually},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use ureq::Agent;

const SUBSYSTEMS: &str =
    r#""f": (plugin: "mycelia_faulty"), "counter": (plugin: "mycelia_counter")"#;

/// What keeps a browser on a machine of its own from asking anybody else.
const SWITCHES: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
];

/// A browser with one page, driven by WebDriver.
struct Browser {
    agent: Agent,
    driver: Child,
    /// The address of the session.
    session: String,
    _profile: TempDir,
}

impl Browser {
    fn start() -> Browser {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("chromedriver: {error}; `apt-get install chromium chromium-driver` has it")
            });
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines
            .filter_map(|line| line.split("successfully on port ").nth(1).map(str::to_owned))
            .map(|port| port.trim_end_matches('.').to_owned())
            .next()
            .expect("chromedriver says where it listens");
        let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
        let profile = TempDir::new().unwrap();
        let mut browser = Browser {
            agent,
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            _profile: profile,
        };
        let folder = format!("--user-data-dir={}", browser._profile.path().display());
        let switches: Vec<&str> = SWITCHES.into_iter().chain([&*folder]).collect();
        let options = json!({ "args": switches });
        let wanted =
            json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let made = browser.post("", json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session += &format!("/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    fn post(&self, what: &str, body: Value) -> Value {
        let answer = self.agent.post(format!("{}{what}", self.session)).send_json(body).unwrap();
        let status = answer.status();
        let answer: Value = answer.into_body().read_json().unwrap();
        assert!(status.is_success(), "{what}: {answer}");
        answer["value"].clone()
    }

    fn open(&self, address: &str) {
        self.post("/url", json!({ "url": address }));
    }

    /// What a script answers.
    fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
    }

    fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.textContent ?? ''");
        self.script(&script).as_str().unwrap().to_owned()
    }

    /// Clicks on the first button of this name, as a reader does: where it stands.
    fn click(&self, name: &str) {
        let xpath = format!("//*[self::button or self::a][normalize-space()={name:?}]");
        let found = self.post("/element", json!({ "using": "xpath", "value": xpath }));
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.post(&format!("/element/{id}/click"), json!({}));
    }

    fn press(&self, key: &str) {
        let down = json!({ "type": "keyDown", "value": key });
        let up = json!({ "type": "keyUp", "value": key });
        let keys = json!({ "type": "key", "id": "keys", "actions": [down, up] });
        self.post("/actions", json!({ "actions": [keys] }));
    }

    /// Waits until the page has a text somewhere.
    fn shows(&self, text: &str) {
        let began = Instant::now();
        let script = format!("return document.body.innerText.includes({text:?})");
        while self.script(&script) != true {
            let page = || self.script("return document.body.innerText");
            assert!(began.elapsed() < PATIENCE, "the page never shows {text:?}: {}", page());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Shows the page as wide as this, in a theme.
    fn view(&self, width: u32, theme: &str) {
        let size =
            json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
        let theme = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", theme);
    }

    fn devtools(&self, command: &str, parameters: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters }));
    }

    /// What went wrong in the page since this was asked last.
    fn errors(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({ "type": "browser" }));
        let is_error = |line: &&Value| line["level"] == "SEVERE" || line["level"] == "WARNING";
        log.as_array().unwrap().iter().filter(is_error).map(Value::to_string).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its browser ends with its session; a driver that has ended already has ended that, too.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A host, and its page with the token.
fn watched() -> (Served, Browser, String) {
    let host = serve(SUBSYSTEMS);
    let browser = Browser::start();
    let address = format!("http://{}/", host.control());
    browser.open(&format!("{address}#token={}", host.token()));
    browser.shows("ready");
    (host, browser, address)
}

#[test]
fn the_page_is_live_under_load_and_shows_a_reload() {
    let (host, browser, _) = watched();
    let handled = "return document.querySelector('.tile .big').textContent";
    eventually("a rate is shown", || {
        assert_eq!(host.run(&["ask", "counter://add/x", "1"]).code, Some(0));
        !browser.script(handled).as_str().unwrap().starts_with("0a")
    });
    let drawn = "return document.querySelectorAll('.chart path.line[d*=L]').length";
    eventually("the charts are drawn", || browser.script(drawn).as_u64().unwrap() > 4);
    assert_eq!(host.run(&["reload", "counter"]).code, Some(0));
    browser.shows("reloaded: generation 2");
    browser.click("Pause");
    browser.shows("held");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn a_dead_letter_is_seen_opened_and_sent_again() {
    let (host, browser, _) = watched();
    browser.click("f");
    browser.shows("none: every message was handled");
    assert_eq!(host.run(&["send", "f://fail/failed", "\"<b>pay</b>\""]).code, Some(0));
    browser.shows("№ 1");
    browser.click("Open № 1");
    browser.shows("<b>pay</b>");
    browser.click("Send it again");
    browser.shows("Letter 1 was sent again");
    // It fails again.
    browser.shows("№ 2");
    assert_eq!(host.run(&["dead-letters", "show", "1"]).code, Some(1));
    browser.click("Open № 2");
    browser.shows("Throw it away…");
    browser.click("Throw it away…");
    browser.click("Throw it away");
    browser.shows("none: every message was handled");
    browser.script("scrollTo(0, 0)");
    browser.click("Restart…");
    browser.click("Restart it");
    browser.shows("f: running, a fresh instance of generation 1");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn without_the_token_the_page_only_looks() {
    let (host, browser, address) = watched();
    browser.script("sessionStorage.clear()");
    browser.open("about:blank");
    browser.open(&format!("{address}#/subsystem/f"));
    browser.shows("Without the token this page only looks");
    assert_eq!(host.run(&["send", "f://fail/failed"]).code, Some(0));
    browser.shows("Paths and bodies need the token");
    browser.click("Reload");
    browser.shows("paste here what stands behind");
    let token = host.token();
    browser.script(&format!("document.getElementById('token').value = {token:?}"));
    browser.click("Use it");
    browser.shows("№ 1");
    // No error but that the token was asked for before it was there.
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn a_host_that_is_gone_is_said_to_be() {
    let (host, browser, _) = watched();
    assert_eq!(host.run(&["restart", "counter"]).code, Some(0));
    browser.shows("restarted on request");
    assert_eq!(host.run(&["stop"]).code, Some(0));
    browser.shows("no host since");
    browser.shows("unknown");
    assert_eq!(host.ended().0, Some(0));
}

#[test]
fn it_fits_a_phone_and_is_reached_by_keyboard() {
    let (_host, browser, _) = watched();
    for width in [390, 1280, 1920] {
        for theme in ["light", "dark"] {
            browser.view(width, theme);
            for page in ["#/", "#/subsystem/f"] {
                browser.script(&format!("location.hash = {page:?}"));
                browser.shows("ready");
                let wide = browser.script("return document.documentElement.scrollWidth");
                assert!(wide.as_u64().unwrap() <= width.into(), "{page} at {width}: {wide}");
            }
            let page = browser.script("return getComputedStyle(document.body).backgroundColor");
            let is_dark = page.as_str().unwrap().starts_with("rgb(16");
            assert_eq!(is_dark, theme == "dark", "{page}");
        }
    }
    browser.view(1280, "light");
    browser.script("location.hash = '#/'");
    browser.shows("Subsystems");
    browser.press("/");
    assert_eq!(browser.script("return document.activeElement.id"), "filter");
    browser.press("\u{e00c}");
    assert_eq!(browser.script("return document.activeElement.id"), "");
    browser.script("document.activeElement.blur()");
    let names = "return document.activeElement.textContent || document.activeElement.id";
    let mut reached = Vec::new();
    for _ in 0..30 {
        browser.press("\u{e004}");
        reached.push(browser.script(names).as_str().unwrap_or_default().to_owned());
    }
    for name in ["Pause", "Theme: auto", "Subsystem ↑", "counter", "f"] {
        assert!(reached.iter().any(|found| found == name), "{name} is not in {reached:?}");
    }
    assert!(!browser.text("#foot").is_empty());
    assert_eq!(browser.errors(), Vec::<String>::new());
}
