//! What the server needs of whoever carries its messages, so that it can be tried without a host.

use bytes::Bytes;
use mycelia_http_message::{Request, Response};
use mycelia_plugin::{Edge, Error, ErrorCode, Level, Result, Sender};
use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

/// An answer to `pass: Body`.
pub(crate) enum Answer {
    Whole(Reply),
    /// The first part, if there is any, and what follows.
    Parts(Option<Reply>, Parts),
}

/// The parts of an answer as they come, then nothing or an error. Dropped, they are cancelled.
pub(crate) type Parts = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<Reply>>> + Unpin>;

/// A whole answer, or a part of one.
#[derive(Debug)]
pub(crate) struct Reply {
    pub body: Vec<u8>,
    pub is_json: bool,
}

/// The other side of the gateway.
pub(crate) trait Host: 'static {
    /// Asks with plain bytes.
    async fn ask_body(&self, to: &str, body: Bytes, within: Option<Duration>) -> Result<Answer>;
    /// Asks with a whole request.
    async fn ask_request(
        &self,
        to: &str,
        request: Request,
        within: Option<Duration>,
    ) -> Result<Response>;
    /// Writes a line to the log.
    fn log(&self, level: Level, text: std::fmt::Arguments<'_>);
}

impl From<mycelia_plugin::Answer> for Reply {
    fn from(answer: mycelia_plugin::Answer) -> Self {
        Reply { is_json: answer.is_json(), body: answer.body }
    }
}

impl Host for Sender {
    async fn ask_body(&self, to: &str, body: Bytes, within: Option<Duration>) -> Result<Answer> {
        let mut ask = self.ask(to, Edge::from(&body[..]));
        if let Some(limit) = within {
            ask = ask.within(limit);
        }
        let mut parts = ask.parts()?;
        let first = poll_fn(|context| parts.poll_part(context)).await.transpose()?.map(Reply::from);
        Ok(match first {
            Some(whole) if parts.is_whole() => Answer::Whole(whole),
            first => {
                let part = |answer: Result<mycelia_plugin::Answer>| answer.map(Reply::from);
                let rest = move |context: &mut Context<'_>| {
                    parts.poll_part(context).map(|came| came.map(part))
                };
                Answer::Parts(first, Box::new(rest))
            }
        })
    }

    async fn ask_request(
        &self,
        to: &str,
        request: Request,
        within: Option<Duration>,
    ) -> Result<Response> {
        let mut ask = self.ask(to, &request);
        if let Some(limit) = within {
            ask = ask.within(limit);
        }
        ask.await?.read().map_err(|error: Error| {
            let text = format!(
                "the handler's answer is no `mycelia_http_message::Response`: {}",
                error.text
            );
            Error::new(ErrorCode::Unanswered, text)
        })
    }

    fn log(&self, level: Level, text: std::fmt::Arguments<'_>) {
        Sender::log(self, level, text);
    }
}
