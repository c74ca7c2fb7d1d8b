// A constant path that is none.
use mycelia_plugin::prelude::*;

fn send(ctx: &mut Context) -> Result<()> {
    ctx.send(path!("kv:/put/total"), Raw::from(""))?;
    ctx.send(path!("kv://put//total"), Raw::from(""))
}

fn main() {}
