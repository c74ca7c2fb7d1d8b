//! Bodies of responses: whole, or in parts as they come.

use crate::host::{Parts, Reply};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use mycelia_plugin::Error;
use serde_json::json;
use std::{
    any::Any,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// What hyper writes to a client. Dropped before its end, it cancels what is still to come.
pub(crate) struct Body {
    content: Content,
    /// Dropped with it.
    pub guard: Option<Box<dyn Any>>,
}

enum Content {
    Whole(Bytes),
    Parts { first: Option<Reply>, rest: Parts, form: Form },
    Ended,
}

/// How parts are told from each other.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Bytes as they are; JSON by lines.
    Chunks,
    /// Server-sent events.
    Events,
}

impl Form {
    /// A part, as it is written.
    fn frame(self, part: Reply) -> Bytes {
        match self {
            Form::Chunks if part.is_json => [&part.body[..], b"\n"].concat().into(),
            Form::Chunks => part.body.into(),
            Form::Events => event(None, &String::from_utf8_lossy(&part.body)),
        }
    }
}

/// One event, with a line of data for each line.
fn event(name: Option<&str>, data: &str) -> Bytes {
    let name = name.map_or(String::new(), |name| format!("event: {name}\n"));
    let normal = data.replace("\r\n", "\n").replace('\r', "\n");
    let lines: String = normal.split('\n').map(|line| format!("data: {line}\n")).collect();
    format!("{name}{lines}\n").into()
}

/// The JSON of an error.
pub(crate) fn told(word: &str, text: &str) -> String {
    json!({ "error": word, "text": text }).to_string()
}

impl Body {
    pub fn whole(bytes: Bytes) -> Self {
        Body { content: Content::Whole(bytes), guard: None }
    }

    pub fn parts(first: Option<Reply>, rest: Parts, form: Form) -> Self {
        Body { content: Content::Parts { first, rest, form }, guard: None }
    }

    pub fn is_whole(&self) -> bool {
        matches!(self.content, Content::Whole(_))
    }

    /// Behind the last part: an event says so, chunks end by themselves, and cut short where an error came.
    fn end(form: Form, error: Option<Error>) -> Option<io::Result<Bytes>> {
        match (form, error) {
            (Form::Chunks, None) => None,
            (Form::Chunks, Some(error)) => Some(Err(io::Error::other(error.to_string()))),
            (Form::Events, None) => Some(Ok(event(Some("end"), ""))),
            (Form::Events, Some(error)) => {
                Some(Ok(event(Some("error"), &told(error.code.word(), &error.text))))
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body(whole: {})", self.is_whole())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = match &mut self.content {
            Content::Ended => None,
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Ended;
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            Content::Parts { first, rest, form } => {
                let form = *form;
                let part = match first.take() {
                    Some(first) => Some(Ok(first)),
                    None => ready!(rest(context)),
                };
                match part {
                    Some(Ok(part)) => Some(Ok(form.frame(part))),
                    last => {
                        self.content = Content::Ended;
                        Body::end(form, last.and_then(Result::err))
                    }
                }
            }
        };
        Poll::Ready(frame.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Parts { .. } => false,
            Content::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Parts { .. } => SizeHint::default(),
            Content::Ended => SizeHint::with_exact(0),
        }
    }
}
