//! tokio: a task behind a bounded `mpsc`, on a `current_thread` runtime, which is its fastest; received by `recv_many`.

use crate::{
    BURST, MESSAGE,
    across::{self, across},
    harness::{Run, timed},
};
use std::{cell::Cell, hint, rc::Rc, thread};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
    task::{LocalSet, yield_now},
};

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().build().map_err(|error| error.to_string())
}

/// A task that receives; it answers with what counts its messages.
fn sink<const MANY: usize>(
    local: &LocalSet,
    mut receiver: mpsc::Receiver<[u64; 8]>,
) -> Rc<Cell<u64>> {
    let handled = Rc::new(Cell::new(0));
    let count = Rc::clone(&handled);
    local.spawn_local(async move {
        let (mut batch, mut sum) = (Vec::with_capacity(MANY), 0_u64);
        let mut handle = |message: [u64; 8]| {
            sum = sum.wrapping_add(message[0] ^ message[1] ^ message[2]);
            hint::black_box(sum);
            count.set(count.get() + 1);
        };
        if MANY == 1 {
            while let Some(message) = receiver.recv().await {
                handle(message);
            }
        }
        while receiver.recv_many(&mut batch, MANY).await > 0 {
            batch.drain(..).for_each(&mut handle);
        }
    });
    handled
}

/// A sender and a task on one thread, which receives one by one, as actors do, or up to 64 at a time.
///
/// `send().await` waits for room, so the queue bounds what is in flight.
pub fn tell<const MANY: usize>() -> Result<Run, String> {
    let (runtime, local) = (runtime()?, LocalSet::new());
    let (sender, receiver) = mpsc::channel(1024);
    let handled = sink::<MANY>(&local, receiver);
    let mut sent = 0;
    Ok(timed(move |bursts| {
        local.block_on(&runtime, async {
            for _ in 0..bursts {
                for _ in 0..BURST {
                    sender.send(MESSAGE).await.expect("the task lives");
                }
                sent += BURST;
                while handled.get() < sent {
                    yield_now().await;
                }
            }
        });
    }))
}

/// The same with `try_send`, which is faster: the sender knows that the burst fits.
pub fn try_tell<const MANY: usize>() -> Result<Run, String> {
    let (runtime, local) = (runtime()?, LocalSet::new());
    let (sender, receiver) = mpsc::channel(1024);
    let handled = sink::<MANY>(&local, receiver);
    let mut sent = 0;
    Ok(timed(move |bursts| {
        local.block_on(&runtime, async {
            for _ in 0..bursts {
                (0..BURST).for_each(|_| sender.try_send(MESSAGE).expect("the burst fits"));
                sent += BURST;
                while handled.get() < sent {
                    yield_now().await;
                }
            }
        });
    }))
}

/// A request is a message with the `oneshot` for its answer; a burst of them, then all answers.
pub fn ask() -> Result<Run, String> {
    let (runtime, local) = (runtime()?, LocalSet::new());
    let (sender, mut receiver) = mpsc::channel::<([u64; 3], oneshot::Sender<u64>)>(1024);
    local.spawn_local(async move {
        while let Some((message, reply)) = receiver.recv().await {
            reply.send(message[0]).expect("the asker waits");
        }
    });
    let mut answers = Vec::with_capacity(BURST as usize);
    Ok(timed(move |bursts| {
        local.block_on(&runtime, async {
            for _ in 0..bursts {
                for number in 0..BURST {
                    let (reply, answer) = oneshot::channel();
                    sender.try_send(([number, 1, 2], reply)).expect("the burst fits");
                    answers.push(answer);
                }
                for (answer, number) in answers.drain(..).zip(0..) {
                    assert_eq!(answer.await, Ok(number));
                }
            }
        });
    }))
}

/// Two threads, a runtime each.
pub fn threads() -> Result<Run, String> {
    let (here, there) = (runtime()?, runtime()?);
    let (sender, mut receiver) = mpsc::channel::<[u64; 8]>(across::CAPACITY);
    let mut burst = move || {
        let send = || {
            here.block_on(async {
                for _ in 0..across::BURST {
                    sender.send(MESSAGE).await.expect("the receiver lives");
                }
            });
        };
        let receive = || {
            there.block_on(async {
                let (mut batch, mut count) = (Vec::with_capacity(64), 0);
                while count < across::BURST {
                    receiver.recv_many(&mut batch, 64).await;
                    count += batch.drain(..).map(hint::black_box).count() as u64;
                }
                count
            })
        };
        across(send, receive)
    };
    Ok(Box::new(move |bursts| (0..bursts).map(|_| burst()).sum()))
}

/// Requests one after the other to a thread; the percentile's nanoseconds for each.
///
/// The thread lives as long as a round, since one that spins would take a core from the others.
pub fn asks<const PERCENTILE: usize, const SPINS: bool>() -> Result<Run, String> {
    Ok(Box::new(|bursts| {
        let count = bursts * crate::ASKS;
        let (sender, receiver) = mpsc::channel::<([u64; 3], oneshot::Sender<u64>)>(1024);
        thread::scope(|scope| {
            scope.spawn(|| answer::<SPINS>(receiver));
            let ask = |number| {
                let (reply, answer) = oneshot::channel();
                sender.try_send(([number, 1, 2], reply)).expect("there is one request at a time");
                let answer = if SPINS { spin_for(answer) } else { answer.blocking_recv().ok() };
                assert_eq!(answer, Some(number));
            };
            let nanos = across::percentile(PERCENTILE, count, ask);
            drop(sender);
            nanos * count as f64
        })
    }))
}

fn answer<const SPINS: bool>(mut receiver: mpsc::Receiver<([u64; 3], oneshot::Sender<u64>)>) {
    let mut next = || if SPINS { spin_next(&mut receiver) } else { receiver.blocking_recv() };
    while let Some((message, reply)) = next() {
        reply.send(message[0]).expect("the asker waits");
    }
}

fn spin_next<T>(receiver: &mut mpsc::Receiver<T>) -> Option<T> {
    loop {
        match receiver.try_recv() {
            Ok(message) => return Some(message),
            Err(mpsc::error::TryRecvError::Empty) => hint::spin_loop(),
            Err(mpsc::error::TryRecvError::Disconnected) => return None,
        }
    }
}

fn spin_for<T>(mut answer: oneshot::Receiver<T>) -> Option<T> {
    loop {
        match answer.try_recv() {
            Ok(value) => return Some(value),
            Err(oneshot::error::TryRecvError::Empty) => hint::spin_loop(),
            Err(oneshot::error::TryRecvError::Closed) => return None,
        }
    }
}
