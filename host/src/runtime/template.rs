//! Where the outcome of a request goes, in the two words that the table of requests keeps of it.

use crate::abi::Message;
use mycelia_kernel::asks::Target;
use mycelia_plugin::abi::{Envelope, flags};

/// Where the outcome of a request goes.
#[derive(Copy, Clone)]
pub struct Template {
    /// From the lowest bit: the route (16 bits), its parameters (4), the bytes that they take (12), and the block where
    /// they lie or the incarnation (32).
    word: u64,
    token: u64,
}

/// The route number of what is no route.
const OUTSIDE: u16 = u16::MAX;

impl Template {
    /// Of a request whose answer may come in parts: where they go is noted beside.
    pub const STREAM: Template = Template { word: OUTSIDE as u64 | 1 << 16, token: 0 };

    /// Whether it is [`Template::STREAM`].
    #[inline]
    pub fn is_stream(&self) -> bool {
        self.word == Template::STREAM.word
    }

    /// To a route of the asker's own, without parameters.
    #[inline]
    pub fn route(route: u16) -> Template {
        Template { word: route.into(), token: 0 }
    }

    /// To such a route, with so many parameters, which are the content of a message in a block; the template owns it.
    pub fn with_parameters(route: u16, parameters: u16, content: &Message) -> Template {
        let block = content.block().expect("parameters of a template lie in a block");
        debug_assert!(parameters <= flags::PARAMETERS && content.length < 1 << 12);
        let counts = u64::from(parameters) | u64::from(content.length) << 4;
        Template { word: u64::from(route) | counts << 16 | u64::from(block) << 32, token: 0 }
    }

    /// To whoever waits with this token: the operator, or an own thread of this incarnation.
    pub fn outside(incarnation: u32, token: u64) -> Template {
        Template { word: u64::from(OUTSIDE) | u64::from(incarnation) << 32, token }
    }

    /// The incarnation and the token of who waits; nothing for a route.
    #[inline]
    pub fn waiter(&self) -> Option<(u32, u64)> {
        (self.number() == OUTSIDE).then_some(((self.word >> 32) as u32, self.token))
    }

    /// The number of the route, if it is one without parameters.
    #[inline]
    pub fn plain(&self) -> Option<u16> {
        (self.word < u64::from(OUTSIDE)).then_some(self.word as u16)
    }

    /// The number of the route.
    #[inline]
    pub fn number(&self) -> u16 {
        self.word as u16
    }

    /// A message that has its parameters as content; nothing if there are none.
    #[inline]
    pub fn parameters(&self) -> Option<Message> {
        let length = (self.word >> 20) as u32 & ((1 << 12) - 1);
        (length > 0).then(|| {
            let parameters = (self.word >> 16) as u16 & flags::PARAMETERS;
            let mut content = Message(Envelope { flags: parameters, length, ..Envelope::EMPTY });
            content.set_block((self.word >> 32) as u32);
            content
        })
    }
}

impl Target for Template {
    #[inline]
    fn into_words(self) -> [u64; 2] {
        [self.word, self.token]
    }

    #[inline]
    fn from_words([word, token]: [u64; 2]) -> Template {
        Template { word, token }
    }
}
