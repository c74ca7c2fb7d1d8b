//! Handlers: ordinary methods, turned into table entries by the types of their arguments.

use crate::{
    Context, Error, FromMessage, Message, Reply, Result,
    abi::{
        Envelope,
        call::ReportWriter,
        shim::{conjure, settle},
    },
    message::wants_json,
    route::Schema,
};

/// A table entry: handles a run of messages, and answers with the place of the first that is not of it.
// A function for each route, with the handler in its loop, rather than one loop that calls any handler by its address:
// what a message costs beside its handler is halved.
pub(crate) type Call<S> = fn(&mut S, &mut Context, &mut ReplyBuffer, Run<'_>) -> usize;

/// Messages of a batch, of which those from one on that are for the same route make a run.
pub(crate) struct Run<'m> {
    pub messages: &'m [Envelope],
    /// The first of the run.
    pub at: usize,
    pub report: ReportWriter,
}

impl Run<'_> {
    /// Handles each, as long as the host does not want the batch back.
    #[inline(always)]
    pub fn each<S, R: Reply>(
        self,
        subsystem: &mut S,
        context: &mut Context,
        reply: &mut ReplyBuffer,
        handle: impl Fn(&mut S, &mut Context, Message<'_>, &mut ReplyBuffer) -> Result<R>,
    ) -> usize {
        let Run { messages, mut at, report } = self;
        let (route, pool) = (messages[at].route, context.turn.pool());
        while let Some(envelope) = messages.get(at)
            && envelope.route == route
        {
            context.turn.begin(envelope);
            if !report.begin(at) {
                break;
            }
            let result = handle(subsystem, context, Message::new(envelope, pool), reply);
            if envelope.reply != 0 || result.is_err() {
                let result = result.and_then(|value| reply.put(envelope, value));
                let is_short = result.is_ok() && !reply.deferred;
                if !(is_short && context.turn.reply(envelope, reply)) {
                    report.outcome(at, settle(context, envelope, result, reply));
                }
            }
            at += 1;
        }
        at
    }
}

/// Where a handler's reply is encoded.
#[derive(Default)]
pub(crate) struct ReplyBuffer {
    pub bytes: Vec<u8>,
    pub flags: u16,
    /// Whether the handler took a responder, which answers in its place; never where nobody waits.
    pub deferred: bool,
    /// Whether the handler was not reached: its arguments could not be made.
    pub unmade: bool,
}

impl ReplyBuffer {
    #[inline]
    fn put<R: Reply>(&mut self, message: &Envelope, reply: R) -> Result<()> {
        self.bytes.clear();
        self.flags = reply.encode(wants_json(message), &mut self.bytes)?;
        Ok(())
    }

    #[cold]
    fn unmade(&mut self, error: Error) -> Error {
        self.unmade = true;
        error
    }
}

/// A method that handles messages: `fn(&mut S, [&mut Context,] arguments…) -> Result<T>`.
#[diagnostic::on_unimplemented(
    message = "this is not a handler",
    label = "expected `fn(&mut self, [&mut Context,] arguments…) -> Result<T>`",
    note = "arguments are `&mut Context` first, where it is wanted, then any of Param<T>, ParamText, Body<T>, Raw, Pod<T>, Caller, Outcome<T>, Part<T>, Responder<T>, StreamWriter<T>",
    note = "the type in a Body or an Outcome derives `Deserialize` and `Schema`; the reply is `()`, a type that derives `Serialize` and `Schema`, `Raw<'static>` or `Pod<T>`"
)]
pub trait Handler<S, A>: Copy + 'static {
    #[doc(hidden)]
    const PARAMS: usize;
    #[doc(hidden)]
    const BODY: Schema;
    #[doc(hidden)]
    const REPLY: Schema;
    #[doc(hidden)]
    #[allow(private_interfaces, reason = "authors name handlers, they do not call them")]
    const CALL: Call<S>;
}

/// Marks handlers whose first argument is `&mut Context`.
#[doc(hidden)]
pub struct WithContext;

/// The first schema that an argument names, else the last one.
const fn pick(mine: Option<Schema>, other: Schema) -> Schema {
    match mine {
        Some(mine) => mine,
        None => other,
    }
}

macro_rules! handlers {
    ($(($($argument:ident),*))*) => { $(
        // Two bounds, as in other extractor APIs: the first lets the arguments be inferred, the second holds for every message.
        impl<S: 'static, R, H, $($argument),*> Handler<S, ($($argument,)*)> for H
        where
            R: Reply,
            $($argument: FromMessage,)*
            H: Fn(&mut S, $($argument),*) -> Result<R> + for<'m> Fn(&mut S, $($argument::Of<'m>),*) -> Result<R> + Copy + 'static,
        {
            const PARAMS: usize = 0 $(+ $argument::PARAMS)*;
            const BODY: Schema = handlers!(@schema BODY Schema::ANY, $($argument)*);
            const REPLY: Schema = handlers!(@schema REPLY R::SCHEMA, $($argument)*);
            #[allow(private_interfaces, non_snake_case, reason = "as in the trait; arguments are named by their types")]
            const CALL: Call<S> = |subsystem, context, reply, run| {
                run.each(subsystem, context, reply, |subsystem, _, _message, _reply| {
                    handlers!(@arguments _message, _reply, $($argument)*);
                    (conjure::<H>())(subsystem, $($argument),*)
                })
            };
        }

        impl<S: 'static, R, H, $($argument),*> Handler<S, (WithContext, $($argument,)*)> for H
        where
            R: Reply,
            $($argument: FromMessage,)*
            H: Fn(&mut S, &mut Context, $($argument),*) -> Result<R> + for<'m> Fn(&mut S, &mut Context, $($argument::Of<'m>),*) -> Result<R> + Copy + 'static,
        {
            const PARAMS: usize = 0 $(+ $argument::PARAMS)*;
            const BODY: Schema = handlers!(@schema BODY Schema::ANY, $($argument)*);
            const REPLY: Schema = handlers!(@schema REPLY R::SCHEMA, $($argument)*);
            #[allow(private_interfaces, non_snake_case, reason = "as in the trait; arguments are named by their types")]
            const CALL: Call<S> = |subsystem, context, reply, run| {
                run.each(subsystem, context, reply, |subsystem, context, _message, _reply| {
                    handlers!(@arguments _message, _reply, $($argument)*);
                    (conjure::<H>())(subsystem, context, $($argument),*)
                })
            };
        }
    )* };
    (@arguments $message:ident, $reply:ident,) => {};
    (@arguments $message:ident, $reply:ident, $($argument:ident)+) => {
        if const { false $(|| $argument::REPLY.is_some())+ } {
            $reply.deferred = $message.is_request();
        }
        $(let $argument = $argument::from_message(&$message).map_err(|error| $reply.unmade(error))?;)*
    };
    (@schema $what:ident $last:expr,) => { $last };
    (@schema $what:ident $last:expr, $head:ident $($tail:ident)*) => {
        pick($head::$what, handlers!(@schema $what $last, $($tail)*))
    };
}

handlers! { () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }
