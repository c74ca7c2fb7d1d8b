//! kameo: `tell` by `try_send` to an actor with a bounded mailbox, on a `current_thread` runtime.

use crate::{
    BURST, MESSAGE,
    harness::{Run, timed},
};
use kameo::{
    Actor,
    actor::Spawn,
    mailbox,
    message::{Context, Message},
};

#[derive(Actor)]
struct Sink(u64, u64);

struct Tell([u64; 8]);

struct Count;

impl Message<Tell> for Sink {
    type Reply = ();

    async fn handle(&mut self, message: Tell, _: &mut Context<Self, ()>) {
        self.0 = self.0.wrapping_add(message.0[0] ^ message.0[1] ^ message.0[2]);
        self.1 += 1;
    }
}

impl Message<Count> for Sink {
    type Reply = u64;

    async fn handle(&mut self, _: Count, _: &mut Context<Self, u64>) -> u64 {
        self.1
    }
}

pub fn tell() -> Result<Run, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let sink =
        runtime.block_on(async { Sink::spawn_with_mailbox(Sink(0, 0), mailbox::bounded(1100)) });
    let mut sent = 0;
    Ok(timed(move |bursts| {
        runtime.block_on(async {
            for _ in 0..bursts {
                (0..BURST)
                    .for_each(|_| sink.tell(Tell(MESSAGE)).try_send().expect("the burst fits"));
                sent += BURST;
                assert_eq!(sink.ask(Count).await.expect("the actor lives"), sent);
            }
        });
    }))
}
