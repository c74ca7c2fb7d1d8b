//! Answers with the bytes it was sent: the smallest plugin there is.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;

/// Has neither config nor state.
pub struct Echo;

impl Subsystem for Echo {
    type Config = ();

    // The empty pattern is `echo://`; a tail is every other path.
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

#[cfg(test)]
mod tests {
    use mycelia_plugin::abi::hooks;

    #[test]
    fn its_unit_tests_bind_no_hook() {
        assert!(!hooks::are_bound());
    }
}
