//! What the server needs of whoever carries its messages, so that it can be tried without a host.

use bytes::Bytes;
use mycelia_http_message::{Request, Response};
use mycelia_plugin::{Edge, Error, ErrorCode, Level, Result, Sender};
use std::time::Duration;

/// An answer to `pass: Body`.
#[derive(Debug)]
pub(crate) struct Reply {
    pub body: Vec<u8>,
    pub is_json: bool,
}

/// The other side of the gateway.
pub(crate) trait Host: 'static {
    /// Asks with plain bytes.
    async fn ask_body(&self, to: &str, body: Bytes, within: Option<Duration>) -> Result<Reply>;
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

impl Host for Sender {
    async fn ask_body(&self, to: &str, body: Bytes, within: Option<Duration>) -> Result<Reply> {
        let mut ask = self.ask(to, Edge::from(&body[..]));
        if let Some(limit) = within {
            ask = ask.within(limit);
        }
        let answer = ask.await?;
        Ok(Reply { is_json: answer.is_json(), body: answer.body })
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
