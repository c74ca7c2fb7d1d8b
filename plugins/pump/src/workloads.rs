//! Other bodies, other ways to send, between threads, and the workloads of the original.

use crate::Pump;
use mycelia_plugin::prelude::*;
use std::{mem, time::Instant};

/// A typed body of four integers.
#[derive(Serialize, Deserialize, Schema)]
pub struct Four {
    one: u32,
    two: u32,
    three: u64,
    four: u64,
}

/// A typed body of six fields, 20 bytes as it is encoded.
#[derive(Serialize, Deserialize, Schema)]
pub struct Record {
    id: u64,
    kind: u8,
    amount: u32,
    price: f64,
    at: u32,
    paid: bool,
}

/// The body of the original's workloads: `{"id": 123, "action": "get"}`.
#[derive(Serialize, Deserialize, Schema)]
pub struct Get {
    id: u64,
    action: String,
}

/// What the original's handlers return.
#[derive(Serialize, Deserialize, Schema)]
pub struct Done {
    ok: bool,
    id: u64,
}

/// When the first of a stream's messages was sent, and the last one handled, by the host's clock; 0 for none.
#[derive(Default)]
pub struct Stream {
    begin: u64,
    end: u64,
}

/// Requests one after the other, each with its time.
pub struct Latency {
    begin: Instant,
    nanos: Vec<u64>,
    done: Responder<(u64, u64)>,
}

/// What `large` sends the front of.
static BYTES: [u8; 1 << 16] = [1; 1 << 16];

/// Bodies of other kinds.
impl Pump {
    pub(super) fn typed(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for four in 0..count.0 {
            ctx.send(&self.to, &Four { one: 1, two: 2, three: 3, four })?;
        }
        Ok(())
    }

    pub(super) fn swallow_typed(&mut self, body: Body<Four>) -> Result<()> {
        let Four { one, two, three, four } = body.0;
        self.sum = self.sum.wrapping_add(u64::from(one ^ two) ^ three ^ four);
        Ok(())
    }

    pub(super) fn raw(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for number in 0..count.0 {
            let mut bytes = [0; 24];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            ctx.send(&self.to, Raw::from(&bytes[..]))?;
        }
        Ok(())
    }

    pub(super) fn swallow_raw(&mut self, body: Raw<'_>) -> Result<()> {
        let first = body.first_chunk().ok_or_else(|| Error::invalid("8 bytes are the least"))?;
        self.sum = self.sum.wrapping_add(u64::from_le_bytes(*first));
        Ok(())
    }

    pub(super) fn record(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for id in 0..count.0 {
            let (kind, amount, price, at, paid) = (1, 100, 9.5, 1_000_000, true);
            ctx.send(&self.to, &Record { id, kind, amount, price, at, paid })?;
        }
        Ok(())
    }

    pub(super) fn swallow_record(&mut self, body: Body<Record>) -> Result<()> {
        let Record { id, kind, amount, price, at, paid } = body.0;
        let rest = u64::from(kind) ^ u64::from(amount) ^ price.to_bits() ^ u64::from(at);
        self.sum = self.sum.wrapping_add(id ^ rest ^ u64::from(paid));
        Ok(())
    }

    /// Sends bodies of so many bytes.
    pub(super) fn large(
        &mut self,
        ctx: &mut Context,
        count: Param<u64>,
        bytes: Param<usize>,
    ) -> Result<()> {
        let body = BYTES.get(..bytes.0).ok_or_else(|| Error::invalid("64 KiB are the most"))?;
        for _ in 0..count.0 {
            ctx.send(&self.to, Raw::from(body))?;
        }
        Ok(())
    }
}

/// Other ways to send.
impl Pump {
    /// Sends to a kept recipient, and goes on where it is full.
    pub(super) fn flood(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for number in 0..count.0 {
            match ctx.send(&self.to, Pod([number, 1, 2])) {
                Err(error) if error.code == ErrorCode::Full => self.refused += 1,
                sent => sent?,
            }
        }
        Ok(())
    }

    pub(super) fn refused(&mut self) -> Result<u64> {
        Ok(mem::take(&mut self.refused))
    }

    /// Starts a message that goes between two instances, always the only one.
    pub(super) fn relay(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        ctx.send(&self.to, Pod([count.0, 1, 2]))
    }

    pub(super) fn relayed(&mut self, ctx: &mut Context, body: Pod<[u64; 3]>) -> Result<()> {
        let [left, one, two] = body.0;
        self.sum = self.sum.wrapping_add(left ^ one ^ two);
        if left > 1 {
            ctx.send(&self.to, Pod([left - 1, one, two]))?;
        }
        Ok(())
    }
}

/// Messages that wake the recipient's worker: as many as make an outbox leave.
const WAKING: u64 = 64;

/// Between threads.
impl Pump {
    /// Wakes the recipient's worker, waits until the moment `at` of the host's clock, and sends; a mark follows.
    pub(super) fn stream(
        &mut self,
        ctx: &mut Context,
        count: Param<u64>,
        at: Param<u64>,
    ) -> Result<()> {
        let clock = ctx.sender();
        for number in 0..WAKING {
            ctx.send(&self.to, Pod([number, 1, 2]))?;
        }
        while clock.now().as_nanos() < at.0 {
            std::hint::spin_loop();
        }
        let begin = clock.now().as_nanos();
        for number in 0..count.0 {
            ctx.send(&self.to, Pod([number, 1, 2]))?;
        }
        ctx.send(format!("{}/mark", self.to.path()), Pod([begin]))
    }

    pub(super) fn mark(&mut self, ctx: &mut Context, body: Pod<[u64; 1]>) -> Result<()> {
        let Stream { begin, end } = self.stream;
        self.stream.begin = if end == 0 { body.0[0] } else { begin.min(body.0[0]) };
        self.stream.end = ctx.sender().now().as_nanos();
        Ok(())
    }

    /// Nanoseconds from the first message to the last mark.
    pub(super) fn took(&mut self) -> Result<u64> {
        let Stream { begin, end } = mem::take(&mut self.stream);
        Ok(end - begin)
    }

    /// Asks so many times, each time when the answer has come, and answers with the median and the 99th percentile.
    pub(super) fn latency(
        &mut self,
        ctx: &mut Context,
        count: Param<usize>,
        done: Responder<(u64, u64)>,
    ) -> Result<()> {
        let nanos = Vec::with_capacity(count.0);
        self.latency = Some(Latency { begin: Instant::now(), nanos, done });
        ctx.ask(&self.to, Pod([0_u64, 1, 2])).reply_to("came")
    }

    pub(super) fn came(&mut self, ctx: &mut Context, outcome: Outcome<()>) -> Result<()> {
        outcome.0?;
        let Some(latency) = &mut self.latency else { return Ok(()) };
        latency.nanos.push(latency.begin.elapsed().as_nanos() as u64);
        if latency.nanos.len() < latency.nanos.capacity() {
            latency.begin = Instant::now();
            return ctx.ask(&self.to, Pod([0_u64, 1, 2])).reply_to("came");
        }
        if let Some(Latency { mut nanos, done, .. }) = self.latency.take() {
            nanos.sort_unstable();
            done.answer((nanos[nanos.len() / 2], nanos[nanos.len() * 99 / 100]));
        }
        Ok(())
    }
}

/// The original's workloads.
impl Pump {
    pub(super) fn gets(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for id in 0..count.0 {
            ctx.ask(&self.to, &Get { id, action: "get".into() }).reply_to("got")?;
        }
        Ok(())
    }

    /// Asks by paths whose last segment is one of so many.
    pub(super) fn users(
        &mut self,
        ctx: &mut Context,
        count: Param<u64>,
        first: Param<u64>,
        ids: Param<u64>,
    ) -> Result<()> {
        for number in first.0..first.0 + count.0 {
            let id = number % ids.0;
            let get = Get { id, action: "get".into() };
            ctx.ask(format!("{}/{id}", self.to.path()), &get).reply_to("got")?;
        }
        Ok(())
    }

    pub(super) fn echo(&mut self, body: Body<Get>) -> Result<Done> {
        Ok(Done { ok: body.0.action == "get", id: body.0.id })
    }

    pub(super) fn of(&mut self, id: Param<u64>, body: Body<Get>) -> Result<Done> {
        Ok(Done { ok: body.0.id == id.0, id: id.0 })
    }

    pub(super) fn got(&mut self, outcome: Outcome<Done>) -> Result<()> {
        self.answered += u64::from(outcome.0?.ok);
        Ok(())
    }
}
