//! ractor: `cast` to an actor on a `current_thread` runtime; its mailbox is unbounded, so a call bounds what is in flight.

use crate::{
    BURST, MESSAGE,
    harness::{Run, timed},
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call};

struct Sink;

enum Message {
    Tell([u64; 8]),
    Count(RpcReplyPort<u64>),
}

impl Actor for Sink {
    type Msg = Message;
    type State = (u64, u64);
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        (): (),
    ) -> Result<(u64, u64), ActorProcessingErr> {
        Ok((0, 0))
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        (sum, count): &mut (u64, u64),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Tell(body) => {
                *sum = sum.wrapping_add(body[0] ^ body[1] ^ body[2]);
                *count += 1;
            }
            Message::Count(reply) => reply.send(*count)?,
        }
        Ok(())
    }
}

pub fn tell() -> Result<Run, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let spawned = runtime.block_on(Actor::spawn(None, Sink, ()));
    let (sink, _task) = spawned.map_err(|error| error.to_string())?;
    let mut sent = 0;
    Ok(timed(move |bursts| {
        runtime.block_on(async {
            for _ in 0..bursts {
                (0..BURST).for_each(|_| {
                    sink.cast(Message::Tell(MESSAGE)).expect("the actor lives");
                });
                sent += BURST;
                assert_eq!(call!(sink, Message::Count).expect("the actor lives"), sent);
            }
        });
    }))
}
