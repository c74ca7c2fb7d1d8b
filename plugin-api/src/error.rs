//! Errors as they cross the boundary: one flat code with text.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

/// A result with the [`Error`] of this crate by default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $word:literal,)*) => {
        /// Why a message or a request did not do what its sender wanted.
        ///
        /// The numbers are part of the ABI and never change.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ErrorCode { $($(#[$doc])* $name = $number,)* }

        impl ErrorCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The word used in logs, in JSON and on the command line.
            pub const fn word(self) -> &'static str {
                match self { $(ErrorCode::$name => $word,)* }
            }

            /// The code with this number; an unknown number, as from a newer ABI, is [`ErrorCode::Failed`].
            pub const fn from_number(number: u8) -> ErrorCode {
                match number { $($number => ErrorCode::$name,)* _ => ErrorCode::Failed }
            }
        }
    };
}

codes! {
    /// The path is not a path.
    BadPath = 1 "bad_path",
    /// No subsystem or no route has this path.
    NoRoute = 2 "no_route",
    /// The sender lacks a scope.
    Denied = 3 "denied",
    /// A queue, or a limit that the recipient keeps, is full.
    Full = 4 "full",
    /// The sender has as many open requests or timers as it may have.
    Busy = 5 "busy",
    /// The sender's quota of the block pool is used up.
    NoMemory = 6 "no_memory",
    /// The body is larger than a message may be.
    TooLarge = 7 "too_large",
    /// The deadline passed before an answer came.
    Deadline = 8 "deadline",
    /// The queue's policy dropped the request.
    Dropped = 9 "dropped",
    /// The subsystem has stopped.
    Gone = 10 "gone",
    /// A reload did not carry the request over.
    Reloading = 11 "reloading",
    /// The instance that held the request ended.
    Restarted = 12 "restarted",
    /// The handler dropped its responder without an answer.
    Unanswered = 13 "unanswered",
    /// The handler panicked.
    Panicked = 14 "panicked",
    /// The request is malformed.
    Invalid = 15 "invalid",
    /// What the request names is not there.
    NotFound = 16 "not_found",
    /// The request contradicts the present state.
    Conflict = 17 "conflict",
    /// The handler failed.
    Failed = 18 "failed",
}

impl ErrorCode {
    /// Whether the error is the caller's, so that a handler that returns it still counts as having handled the message.
    pub const fn is_callers(self) -> bool {
        matches!(self, Self::Invalid | Self::NotFound | Self::Conflict)
    }

    /// The HTTP status of this code; `full` is 429 when a handler said it and 503 when a queue did.
    pub const fn http_status(self, from_handler: bool) -> u16 {
        match self {
            Self::BadPath | Self::Invalid => 400,
            Self::Denied => 403,
            Self::NoRoute | Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Full if from_handler => 429,
            Self::Failed => 500,
            Self::Unanswered | Self::Panicked => 502,
            Self::Full | Self::Busy | Self::Dropped | Self::Gone => 503,
            Self::Reloading | Self::Restarted => 503,
            Self::Deadline => 504,
            Self::NoMemory => 507,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is known of a request that got no reply: whether a handler ran for it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Handled {
    /// It may or may not have taken effect.
    Unknown = 0,
    /// A handler ran and decided the outcome.
    Yes = 1,
    /// No handler saw it: it is safe to repeat.
    No = 2,
}

impl Handled {
    pub(crate) const fn from_number(number: u8) -> Handled {
        match number {
            1 => Handled::Yes,
            2 => Handled::No,
            _ => Handled::Unknown,
        }
    }

    /// The word used in JSON and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Handled::Unknown => "unknown",
            Handled::Yes => "yes",
            Handled::No => "no",
        }
    }
}

/// An error with its code, a text for the person who must act, and what is known of the request.
///
/// Any `std` error becomes a [`ErrorCode::Failed`] by `?`.
/// It is one pointer, so that a handler's `Result` travels in a register; its parts are read and changed as its fields.
/// A clone shares them until one of the two is changed, so what a full queue says is not written anew for every message.
#[derive(Clone, Debug, PartialEq)]
pub struct Error(Arc<ErrorParts>);

/// The parts of an [`Error`].
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorParts {
    /// What kind of error this is.
    pub code: ErrorCode,
    /// Cause and remedy, in one sentence.
    pub text: String,
    /// Whether a handler ran; meaningful for the outcome of a request.
    pub handled: Handled,
    /// When it is worth trying again.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error of this code.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        ErrorParts { code, text: text.into(), handled: Handled::Yes, retry_after: None }.into()
    }

    /// The request is malformed.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, text)
    }

    /// What the request names is not there.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, text)
    }

    /// The request contradicts the present state.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, text)
    }

    /// A limit is reached; say when to come back with [`Error::retry_after`].
    pub fn full(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Full, text)
    }

    /// The handler failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Failed, text)
    }

    /// Tells the requester when it is worth trying again.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The same error, with what is known of the request.
    pub fn handled(mut self, handled: Handled) -> Self {
        self.handled = handled;
        self
    }
}

impl From<ErrorParts> for Error {
    #[cold]
    fn from(parts: ErrorParts) -> Self {
        Error(Arc::new(parts))
    }
}

impl Deref for Error {
    type Target = ErrorParts;

    fn deref(&self) -> &ErrorParts {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut ErrorParts {
        Arc::make_mut(&mut self.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

// `Error` is deliberately no `std::error::Error`, so that this conversion can exist.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::failed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_round_trip() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(*code as usize, index + 1);
            assert_eq!(ErrorCode::from_number(*code as u8), *code);
        }
        assert_eq!(ErrorCode::from_number(200), ErrorCode::Failed);
    }

    #[test]
    fn a_std_error_becomes_failed_with_its_causes() {
        let error: Error = std::io::Error::other("disk on fire").into();
        assert_eq!((error.code, error.text.as_str()), (ErrorCode::Failed, "disk on fire"));
    }

    #[test]
    fn http_statuses_are_those_of_the_table() {
        let statuses: Vec<u16> =
            ErrorCode::ALL.iter().map(|code| code.http_status(false)).collect();
        assert_eq!(
            statuses,
            [
                400, 404, 403, 503, 503, 507, 413, 504, 503, 503, 503, 503, 502, 502, 400, 404,
                409, 500
            ]
        );
        assert_eq!(ErrorCode::Full.http_status(true), 429);
    }
}
