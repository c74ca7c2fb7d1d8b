//! Misbehaves as it is told to, for the host's tests.
//!
//! What a single message does is in its path; what an instance does is in its config and, where a test changes its mind,
//! in files of its data folder. A `burst` or `ask` takes the path to send to as its body, up to the number it appends.
//! What a build does is in its stamp.
#![forbid(unsafe_code)]

mod end;
mod gate;
mod leftovers;
mod sequence;
mod shapes;
mod stamp;
mod state;
mod streams;

use end::end;
use gate::Gates;
use leftovers::Threads;
use mycelia_plugin::prelude::*;
use shapes::{Circle, Square};
use stamp::Stamp;
use state::{Ballast, Kept};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

/// The `config` of the RON file.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What `create` does.
    create: Fault,
    /// What `start` does, before anything else.
    start: Fault,
    /// What `stop` does.
    stop: Fault,
    /// A `note` with this number panics.
    panic_on: Option<u64>,
    /// The absolute path of a file that ends whatever the build's stamp lets hang.
    release: Option<PathBuf>,
    /// Bytes that the first start adds to the state.
    ballast: usize,
}

/// How something goes wrong.
#[derive(Clone, Copy, Default, Deserialize)]
enum Fault {
    #[default]
    None,
    Fail,
    Panic,
    Abort,
    Exit,
}

impl Fault {
    fn happen(self, place: &str) -> Result<()> {
        match self {
            Fault::None => Ok(()),
            Fault::Fail => Err(Error::failed(format!("`{place}` fails as it was told to"))),
            Fault::Panic => panic!("`{place}` panics as it was told to"),
            Fault::Abort => end("abort"),
            Fault::Exit => end("exit"),
        }
    }
}

/// What became of messages or requests: how often each word.
type Tally = BTreeMap<String, u64>;

/// A request whose answer waits.
type Waiting = Responder<u64>;

/// The subsystem.
pub struct Faulty {
    settings: Settings,
    stamp: Stamp,
    gates: Gates,
    kept: Kept,
    answerer: Option<mpsc::Sender<Waiting>>,
    outside: Arc<Mutex<Tally>>,
    threads: Threads,
    hoard: Vec<Vec<u8>>,
    /// What threads were told that wrote or took parts.
    words: Arc<Mutex<Vec<String>>>,
}

impl Subsystem for Faulty {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] = &[
        // Order, and who is blocked.
        on("note/{number}", Self::note),
        on("noted", Self::noted),
        on("hold/{gate}", Self::hold),
        on("hold_and_send/{gate}", Self::hold_and_send),
        on("sleep/{micros}", Self::sleep),
        // Ways to fail.
        on("fail/{code}", Self::fail),
        on("panic", Self::panic),
        on("end/{how}", Self::end),
        on("send_and_end/{count}", Self::send_and_end),
        on("send_and_panic/{count}", Self::send_and_panic),
        on("ask_and_panic/{count}", Self::ask_and_panic),
        on("thread/{fault}", Self::thread),
        on("stubborn/{gate}", Self::stubborn),
        // Ways to answer.
        on("drop", Self::drop_responder),
        on("later/{delay}/{number}", Self::answer_later),
        on("due/{number}", Self::due),
        on("keep", Self::keep),
        on("answer_kept", Self::answer_kept),
        on("by_thread", Self::answer_by_thread),
        on("forward", Self::forward),
        // Ways to answer in parts, and to take them.
        on("parts/{count}", Self::parts),
        on("parts_in_turns/{count}", Self::parts_in_turns),
        on("parts_by_thread/{count}", Self::parts_by_thread),
        on("feed", Self::feed),
        on("open_parts", Self::open_parts),
        on("add_parts/{count}", Self::add_parts),
        on("end_parts", Self::end_parts),
        on("refused", Self::refused),
        on("ask_parts/{limit}", Self::ask_parts),
        on("ask_parts_within/{limit}", Self::ask_parts_within),
        on("take_parts/{count}", Self::take_parts),
        on("parts_taken", Self::parts_taken),
        // Ways to send.
        on("burst/{count}", Self::burst),
        on("forever", Self::forever),
        on("outside/{count}", Self::outside),
        on("outside_tally", Self::outside_tally),
        on("publish/{count}", Self::publish),
        on("publish_outside/{count}", Self::publish_outside),
        event("told/{number}").scope("hear", "to be told").body::<String>(),
        on("ask/{count}", Self::ask),
        on("ask_within/{count}/{limit}", Self::ask_within),
        on("outcomes", Self::outcomes),
        on("after/{delay}/{number}", Self::after),
        on("timers/{count}", Self::timers),
        on("ticks", Self::ticks),
        // Bodies.
        on("hoard/{bytes}", Self::hoard),
        on("leak/{bytes}", Self::leak),
        on("length", Self::length),
        on("big/{length}", Self::big),
        on("send_big/{length}", Self::send_big),
        on("area", Self::area),
        on("send_square", Self::send_square),
        on("ask_circle", Self::ask_circle),
        // What a reload must not lose.
        on("build", Self::build),
        on("sequence/{sender}", Self::sequence),
        on("count/{sender}", Self::count),
        on("sequences", Self::sequences),
        on("total", Self::total),
        on("guarded/{number}", Self::guarded).scope("use", "to be tested"),
        on("caller", Self::caller),
        // What is seen of it.
        on("log/{level}", Self::log),
        on("trace/{number}", Self::trace),
        on("counter/{name}/{count}", Self::counter),
        on("counter_outside/{name}/{count}", Self::counter_outside),
        on_reply("outcome/{number}", Self::outcome),
        on_reply("outcome_of_area", Self::outcome_of_area),
        on_reply("part/{limit}", Self::part),
        every("20ms", "tick", Self::tick),
    ];

    const NEEDS: &'static [Need] = &[need("guard:use", "to be denied, or not")];

    fn create(settings: Settings) -> Result<Self> {
        let stamp = Stamp::read(settings.release.clone())?;
        stamp.happen("create")?;
        settings.create.happen("create")?;
        Ok(Faulty {
            settings,
            stamp,
            gates: Gates::default(),
            kept: Kept::default(),
            answerer: None,
            outside: Arc::default(),
            threads: Threads::default(),
            hoard: Vec::new(),
            words: Arc::default(),
        })
    }

    fn start(&mut self, ctx: &mut Context) -> Result<()> {
        self.stamp.happen("start")?;
        self.settings.start.happen("start")?;
        if self.stamp.sends_to_a_stranger() {
            // Whether it is there does not matter.
            let _ = ctx.send("stranger://", &());
        }
        self.gates = Gates::of(ctx.data()?);
        if self.gates.is_open("no_start") {
            return Err(Error::failed("`start` fails as long as the file `no_start` is there"));
        }
        if self.kept.ballast.is_empty() {
            self.kept.ballast = Ballast::of(self.settings.ballast);
        }
        self.threads = Threads::start(self.stamp.threads());
        let (answerer, requests) = mpsc::channel::<Waiting>();
        self.answerer = Some(answerer);
        ctx.spawn("answerer", move |_, stop| {
            while !stop.is_raised() {
                if let Ok(request) = requests.recv_timeout(Duration::from_millis(1)) {
                    request.answer(1);
                }
            }
            Ok(())
        })
    }

    fn stop(&mut self, _: &mut Context) -> Result<()> {
        self.threads = Threads::default();
        self.stamp.happen("stop")?;
        self.settings.stop.happen("stop")
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        // No stamp lets a drop fail, so there is no error.
        let _ = self.stamp.happen("drop");
    }
}

impl Faulty {
    fn build(&mut self) -> Result<String> {
        Ok(self.stamp.text().into())
    }

    fn note(&mut self, number: Param<u64>) -> Result<u64> {
        self.stamp.arrive();
        assert!(
            self.settings.panic_on != Some(number.0),
            "note {} panics as it was told to",
            number.0
        );
        self.kept.notes.push(number.0);
        Ok(number.0)
    }

    fn noted(&mut self) -> Result<Vec<u64>> {
        Ok(self.kept.notes.clone())
    }

    /// Keeps its worker until the gate is open.
    fn hold(&mut self, gate: Param<String>) -> Result<()> {
        self.gates.wait(&gate.0)
    }

    /// As `hold`, and uses whatever a handler may use by then; what came of it is in a file.
    fn hold_and_send(&mut self, ctx: &mut Context, gate: Param<String>, to: Raw) -> Result<()> {
        self.gates.wait(&gate.0)?;
        let (path, own) = (text(&to)?, format!("{}://noted", ctx.name()));
        let mut told = self.send_all(ctx, 100, path);
        told.append(&mut self.ask_all(ctx, 1, path, Duration::ZERO));
        count_result(&mut told, &ctx.after("1ms", "note/1", Raw::from("")));
        count_result(&mut told, &ctx.send(&own, Raw::from(vec![7; 1000])));
        count_result(&mut told, &ctx.sender().send(&own, Raw::from("")));
        let told: Vec<String> = told.into_keys().collect();
        Ok(std::fs::write(ctx.data()?.join("told"), told.join(", "))?)
    }

    /// Keeps its worker for so long.
    fn sleep(&mut self, micros: Param<u64>) -> Result<()> {
        std::thread::sleep(Duration::from_micros(micros.0));
        Ok(())
    }

    fn fail(&mut self, code: Param<String>) -> Result<()> {
        let code = ErrorCode::ALL.iter().find(|known| known.word() == code.0);
        let code = *code.ok_or_else(|| Error::not_found("no such code"))?;
        let error = Error::new(code, format!("the handler says {code}"));
        Err(error.retry_after(Duration::from_millis(1500)))
    }

    fn panic(&mut self) -> Result<()> {
        panic!("as it was told to");
    }

    fn end(&mut self, how: Param<String>) -> Result<()> {
        end(&how.0)
    }

    fn send_and_end(&mut self, ctx: &mut Context, count: Param<u64>, to: Raw) -> Result<()> {
        self.send_all(ctx, count.0, text(&to)?);
        end("abort")
    }

    /// Sends so many and panics, before anybody could have seen them all.
    fn send_and_panic(&mut self, ctx: &mut Context, count: Param<u64>, to: Raw) -> Result<()> {
        self.send_all(ctx, count.0, text(&to)?);
        panic!("as it was told to, after it sent");
    }

    fn ask_and_panic(&mut self, ctx: &mut Context, count: Param<u64>, to: Raw) -> Result<()> {
        self.ask_all(ctx, count.0, text(&to)?, Duration::ZERO);
        panic!("as it was told to, after it asked");
    }

    /// Starts a thread that goes wrong.
    fn thread(&mut self, ctx: &mut Context, fault: Param<String>) -> Result<()> {
        let fault = match &*fault.0 {
            "panic" => Fault::Panic,
            "abort" => Fault::Abort,
            "exit" => Fault::Exit,
            "stray" => {
                std::thread::spawn(|| end("abort"));
                Fault::None
            }
            _ => Fault::Fail,
        };
        ctx.spawn("wrong", move |_, _| fault.happen("thread"))
    }

    /// Starts a thread that does not end when it is asked to, but when the gate is open.
    fn stubborn(&mut self, ctx: &mut Context, gate: Param<String>) -> Result<()> {
        let gates = self.gates.clone();
        ctx.spawn("stubborn", move |_, _| gates.wait(&gate.0))
    }

    fn drop_responder(&mut self, responder: Waiting) -> Result<()> {
        drop(responder);
        Ok(())
    }

    fn answer_later(
        &mut self,
        ctx: &mut Context,
        delay: Param<u64>,
        number: Param<u64>,
        responder: Waiting,
    ) -> Result<()> {
        self.stamp.arrive();
        self.kept.later.insert(number.0, responder);
        ctx.after(Duration::from_millis(delay.0), format!("due/{}", number.0), &())
    }

    fn due(&mut self, number: Param<u64>) -> Result<()> {
        let responder = self.kept.later.remove(&number.0);
        responder.ok_or_else(|| Error::not_found("nothing is due"))?.answer(number.0);
        Ok(())
    }

    fn keep(&mut self, responder: Waiting) -> Result<()> {
        self.stamp.arrive();
        self.kept.waiting.push(responder);
        Ok(())
    }

    /// Answers what was kept, and with how many those were.
    fn answer_kept(&mut self) -> Result<u64> {
        let kept = std::mem::take(&mut self.kept.waiting);
        Ok(kept.into_iter().map(|responder| responder.answer(2)).count() as u64)
    }

    fn answer_by_thread(&mut self, responder: Waiting) -> Result<()> {
        let answerer = self.answerer.as_ref().ok_or_else(|| Error::failed("not started"))?;
        answerer.send(responder).map_err(|_| Error::failed("the thread has ended"))
    }

    /// Passes the request on to the path in its body, as one from the edge.
    fn forward(&mut self, ctx: &mut Context, to: Raw, responder: Waiting) -> Result<()> {
        ctx.forward(text(&to)?, Raw::from(Vec::new()), responder)
    }

    fn burst(&mut self, ctx: &mut Context, count: Param<u64>, to: Raw) -> Result<Tally> {
        self.stamp.arrive();
        Ok(self.send_all(ctx, count.0, text(&to)?))
    }

    fn send_all(&mut self, ctx: &mut Context, count: u64, to: &str) -> Tally {
        let mut tally = Tally::new();
        for number in 0..count {
            count_result(&mut tally, &ctx.send(format!("{to}/{number}"), Raw::from("")));
        }
        tally
    }

    /// Sends itself another one.
    fn forever(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.send(format!("{}://forever", ctx.name()), Raw::from(""))
    }

    /// As `burst`, from a thread of its own.
    fn outside(&mut self, ctx: &mut Context, count: Param<u64>, to: Raw) -> Result<()> {
        let (to, tally) = (text(&to)?.to_owned(), self.outside.clone());
        ctx.spawn("outside", move |sender, _| {
            for number in 0..count.0 {
                let sent = sender.send(format!("{to}/{number}"), Raw::from(""));
                count_result(&mut tally.lock().unwrap_or_else(PoisonError::into_inner), &sent);
            }
            Ok(())
        })
    }

    /// Publishes so many events, with the body that it was sent.
    fn publish(&mut self, ctx: &mut Context, count: Param<u64>, told: Raw) -> Result<Tally> {
        let (told, mut tally) = (text(&told)?.to_owned(), Tally::new());
        for number in 0..count.0 {
            count_result(&mut tally, &ctx.publish(format!("told/{number}"), &told));
        }
        Ok(tally)
    }

    /// As `publish`, from a thread of its own.
    fn publish_outside(&mut self, ctx: &mut Context, count: Param<u64>, told: Raw) -> Result<()> {
        let (told, tally) = (text(&told)?.to_owned(), self.outside.clone());
        ctx.spawn("publisher", move |sender, _| {
            for number in 0..count.0 {
                let published = sender.publish(format!("told/{number}"), &told);
                count_result(&mut tally.lock().unwrap_or_else(PoisonError::into_inner), &published);
            }
            Ok(())
        })
    }

    fn outside_tally(&mut self) -> Result<Tally> {
        Ok(self.outside.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn ask(&mut self, ctx: &mut Context, count: Param<u64>, to: Raw) -> Result<Tally> {
        self.stamp.arrive();
        Ok(self.ask_all(ctx, count.0, text(&to)?, Duration::ZERO))
    }

    fn ask_within(
        &mut self,
        ctx: &mut Context,
        count: Param<u64>,
        limit: Param<u64>,
        to: Raw,
    ) -> Result<Tally> {
        Ok(self.ask_all(ctx, count.0, text(&to)?, Duration::from_millis(limit.0)))
    }

    fn ask_all(&mut self, ctx: &mut Context, count: u64, to: &str, within: Duration) -> Tally {
        let mut tally = Tally::new();
        for number in 0..count {
            let ask = ctx.ask(format!("{to}/{number}"), Raw::from("")).within(within);
            count_result(&mut tally, &ask.reply_to(format!("outcome/{number}")));
        }
        tally
    }

    fn outcome(&mut self, number: Param<u64>, outcome: Outcome<Raw>) -> Result<()> {
        self.kept
            .outcomes
            .push((number.0, outcome.0.err().map_or("ok".into(), |error| in_words(&error))));
        Ok(())
    }

    /// Numbers and words of the outcomes that came, in their order.
    fn outcomes(&mut self) -> Result<Vec<(u64, String)>> {
        Ok(self.kept.outcomes.clone())
    }

    fn after(&mut self, ctx: &mut Context, delay: Param<u64>, number: Param<u64>) -> Result<()> {
        ctx.after(Duration::from_millis(delay.0), format!("note/{}", number.0), &())
    }

    /// Sets so many timers that are never due in a test, with bodies that take memory.
    fn timers(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<Tally> {
        let mut tally = Tally::new();
        for _ in 0..count.0 {
            count_result(&mut tally, &ctx.after("1h", "length", Raw::from(vec![0; 100])));
        }
        Ok(tally)
    }

    fn tick(&mut self) -> Result<()> {
        self.kept.ticks += 1;
        Ok(())
    }

    fn ticks(&mut self) -> Result<u64> {
        Ok(self.kept.ticks)
    }

    /// Keeps so many bytes as long as the instance lives.
    fn hoard(&mut self, bytes: Param<usize>) -> Result<()> {
        self.hoard.push(vec![1; bytes.0]);
        Ok(())
    }

    /// Keeps so many for good.
    fn leak(&mut self, bytes: Param<usize>) -> Result<()> {
        leftovers::leak(bytes.0);
        Ok(())
    }

    fn length(&mut self, body: Raw) -> Result<u64> {
        self.stamp.arrive();
        Ok(body.len() as u64)
    }

    fn big(&mut self, length: Param<usize>) -> Result<Raw<'static>> {
        Ok(vec![7; length.0].into())
    }

    fn send_big(&mut self, ctx: &mut Context, length: Param<usize>, to: Raw) -> Result<()> {
        ctx.send(text(&to)?, Raw::from(vec![7; length.0]))
    }

    fn area(&mut self, circle: Body<Circle>) -> Result<u64> {
        Ok(circle.0.area())
    }

    /// Sends a body that its recipient does not take.
    fn send_square(&mut self, ctx: &mut Context, to: Raw) -> Result<()> {
        ctx.send(text(&to)?, &Square { side: 2 })
    }

    fn ask_circle(&mut self, ctx: &mut Context, to: Raw) -> Result<()> {
        ctx.ask(text(&to)?, &Circle { radius: 2 }).reply_to("outcome_of_area")
    }

    fn outcome_of_area(&mut self, outcome: Outcome<u64>) -> Result<()> {
        self.kept.outcomes.push((outcome.0?, "area".into()));
        Ok(())
    }

    fn guarded(&mut self, number: Param<u64>) -> Result<u64> {
        Ok(number.0)
    }

    fn caller(&mut self, caller: Caller) -> Result<String> {
        Ok(caller.0)
    }

    fn log(&mut self, ctx: &mut Context, level: Param<u8>) -> Result<()> {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        let level = levels.into_iter().find(|known| *known as u8 == level.0);
        let level = level.ok_or_else(|| Error::not_found("levels are 1 to 5"))?;
        ctx.log(level, format_args!("a line of level {level:?}"));
        Ok(())
    }

    /// An event of each level, within two spans.
    fn trace(&mut self, number: Param<u64>) -> Result<()> {
        let outer = tracing::info_span!("outer", number = number.0, later = tracing::field::Empty);
        outer.record("later", true);
        let _within = outer.enter();
        trace_within("a text", -(number.0 as i64));
        Ok(())
    }

    fn counter(&mut self, ctx: &mut Context, name: Param<String>, count: Param<u64>) -> Result<()> {
        ctx.counter(&name.0).add(count.0);
        Ok(())
    }

    /// As `counter`, from a thread of its own.
    fn counter_outside(
        &mut self,
        ctx: &mut Context,
        name: Param<String>,
        count: Param<u64>,
    ) -> Result<()> {
        ctx.spawn("counter", move |outside, _| {
            let counter = outside.counter(&name.0);
            (0..count.0).for_each(|_| counter.inc());
            Ok(())
        })
    }
}

#[tracing::instrument(name = "inner", skip(minus))]
fn trace_within(text: &str, minus: i64) {
    tracing::error!("an event of level ERROR");
    tracing::warn!("an event of level WARN");
    tracing::info!(half = 0.5, minus, shown = %text, "an event of level INFO");
    tracing::debug!("an event of level DEBUG");
    tracing::trace!("an event of level TRACE");
}

fn text<'m>(body: &'m Raw) -> Result<&'m str> {
    Ok(std::str::from_utf8(body)?)
}

fn count_result(tally: &mut Tally, result: &Result<()>) {
    let word = result.as_ref().err().map_or("ok".into(), in_words);
    *tally.entry(word).or_default() += 1;
}

fn in_words(error: &Error) -> String {
    format!("{} {}", error.code.word(), error.handled.word())
}

export_subsystem!(Faulty, state = Kept);
