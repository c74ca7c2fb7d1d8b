//! Whole journeys: from a handler in one plugin, through the host, to a handler in another.
//!
//! Two instances of `plugins/pump` send bursts to and fro, on one thread; a burst of `N` fills a batch of `N` on the other side.
//! The one message of the operator that begins it is counted, too.

use crate::iai_callgrind::{self, library_benchmark, library_benchmark_group};
use mycelia_benches::{
    Bench,
    journey::{ASK, ASK_SINGLY, Journey, KEPT, KEPT_SINGLY, MESSAGES, TEXT, TEXT_SINGLY, handled},
};

/// A host that is warm, with the message waiting that begins the journey.
pub struct Ready {
    pub bench: Bench,
    handled: u64,
}

fn ready(journey: Journey, batch: u64, burst: u64) -> Ready {
    let bench = journey.host(batch, burst);
    bench.stop_clock();
    bench.run(&journey.path());
    let handled = handled(&bench);
    bench.send(&journey.path());
    Ready { bench, handled }
}

pub fn filled(journey: Journey, batch: u64) -> Ready {
    ready(journey, batch, batch)
}

/// The next message is sent when the one before was handled, so its subsystem sleeps meanwhile.
fn lone(journey: Journey, batch: u64) -> Ready {
    ready(journey, batch, 1)
}

pub fn check(ready: Ready) {
    let handled = handled(&ready.bench) - ready.handled;
    assert_eq!(handled, MESSAGES + 1, "every message was handled, and the one that began it");
}

macro_rules! journey {
    ($name:ident, $setup:ident($journey:ident), $($id:ident: $batch:literal),+) => {
        #[library_benchmark(setup = $setup, teardown = check)]
        $(#[bench::$id($journey, $batch)])+
        fn $name(ready: Ready) -> Ready {
            ready.bench.drain();
            ready
        }
    };
    ($name:ident, $journey:ident) => {
        journey!($name, filled($journey), batch_1: 1, batch_8: 8, batch_64: 64, batch_256: 256);
    };
}

journey!(kept_recipient, KEPT);
journey!(kept_recipient_singly, KEPT_SINGLY);
journey!(path_text, TEXT);
journey!(path_text_singly, TEXT_SINGLY);
journey!(ask_and_reply, ASK);
journey!(ask_and_reply_singly, ASK_SINGLY);
journey!(lone_message, lone(KEPT), woken_to_released: 64);

library_benchmark_group!(
    name = journeys;
    benchmarks =
        kept_recipient,
        kept_recipient_singly,
        path_text,
        path_text_singly,
        ask_and_reply,
        ask_and_reply_singly,
        lone_message
);
