//! Answers with what it was sent.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;

/// Has no state.
pub struct Echo;

impl Subsystem for Echo {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[on("", Self::echo), on("{*path}", Self::echo)];

    fn create((): ()) -> Result<Self> {
        Ok(Echo)
    }
}

impl Echo {
    fn echo(&mut self, body: Raw) -> Result<Raw<'static>> {
        Ok(body.into_vec().into())
    }
}

export_subsystem!(Echo);
