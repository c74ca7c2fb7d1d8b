use mycelia::{config::Config, operator::Operator, runtime::Runtime};
use std::{path::Path, sync::mpsc, time::Duration};


fn main() {
    let text = r#"(workers: 2, subsystems: {
        "echo": (plugin: "mycelia_echo"),
        "counter": (plugin: "mycelia_counter", queue: (capacity: 16, policy: DropOldest)),
    })"#;
    let config = Config::parse("t.ron", text).unwrap();
    let runtime = Runtime::create(&config, Path::new("t.ron"), 1).unwrap_or_else(|e| panic!("{e}"));
    let (tx, rx) = mpsc::channel();
    let serving = std::thread::spawn(move || runtime.serve(move || tx.send(()).unwrap()));
    rx.recv_timeout(Duration::from_secs(5)).unwrap();
    let ask = |path: &str, body: &str| {
        let (tx, rx) = mpsc::channel();
        runtime.ask(path, body.as_bytes(), None, Box::new(move |r| tx.send(r).unwrap()));
        rx.recv_timeout(Duration::from_secs(10)).unwrap()
    };
    println!("{:?}", ask("echo://x", "hello"));
    println!("{:?}", ask("counter://add/a", "5"));
    println!("{:?}", ask("counter://add/a", "6"));
    println!("{:?}", ask("counter://add/a", "x"));
    println!("{:?}", ask("counter://value/a", ""));
    println!("{:?}", ask("counter://nope/a", ""));
    println!("{}", serde_json::to_string_pretty(&runtime.status()).unwrap());
    runtime.stop();
    serving.join().unwrap().unwrap();
    println!("{}", serde_json::to_string(&runtime.status()).unwrap());
}
