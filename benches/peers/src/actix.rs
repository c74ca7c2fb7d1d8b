//! actix: `do_send` to an actor on the same thread, which is the fastest that it has.

use crate::{
    BURST, MESSAGE,
    harness::{Run, timed},
};
use actix::prelude::*;

struct Sink(u64, u64);

#[derive(Message)]
#[rtype(result = "()")]
struct Tell([u64; 8]);

/// How many came.
#[derive(Message)]
#[rtype(result = "u64")]
struct Count;

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<Tell> for Sink {
    type Result = ();

    fn handle(&mut self, message: Tell, _: &mut Context<Self>) {
        self.0 = self.0.wrapping_add(message.0[0] ^ message.0[1] ^ message.0[2]);
        self.1 += 1;
    }
}

impl Handler<Count> for Sink {
    type Result = u64;

    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u64 {
        self.1
    }
}

pub fn tell() -> Result<Run, String> {
    let system = System::new();
    let sink = system.block_on(async { Sink(0, 0).start() });
    let mut sent = 0;
    Ok(timed(move |bursts| {
        system.block_on(async {
            for _ in 0..bursts {
                (0..BURST).for_each(|_| sink.do_send(Tell(MESSAGE)));
                sent += BURST;
                // Bounds what is in flight: the answer comes behind the burst.
                assert_eq!(sink.send(Count).await, Ok(sent));
            }
        });
    }))
}
