//! What is kept of an address leads where the address does: text, constant or recipient, the first time and the hundredth.

use mycelia_plugin::prelude::*;
use mycelia_testkit::{Kit, subsystem};

/// Sends to itself and notes what comes.
#[derive(Default, Serialize, Deserialize)]
struct Mirror {
    seen: Vec<String>,
}

impl Subsystem for Mirror {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("text/{count}/{ids}", Self::text),
        on("constant/{count}", Self::constant),
        on("refused/{count}", Self::refused),
        on("ask/{count}/{ids}", Self::ask),
        on("came/{id}/{at}", Self::came),
        on("answer/{id}", Self::answer),
        on_reply("answered/{id}", Self::answered),
    ];

    fn create((): ()) -> Result<Self> {
        Ok(Self::default())
    }
}

impl Mirror {
    fn text(&mut self, ctx: &mut Context, count: Param<u32>, ids: Param<u32>) -> Result<()> {
        let id = |at| at % ids.0;
        (0..count.0)
            .try_for_each(|at| ctx.send(format!("mirror://came/{}/{at}", id(at)), Raw::from("")))
    }

    fn constant(&mut self, ctx: &mut Context, count: Param<u32>) -> Result<()> {
        (0..count.0).try_for_each(|_| {
            ctx.send(path!("mirror://came/first/site"), Raw::from(""))?;
            ctx.send(path!("mirror://came/second/site"), Raw::from(""))
        })
    }

    /// Between paths that are good, so that something is kept wherever one may be looked for.
    fn refused(&mut self, ctx: &mut Context, count: Param<u32>) -> Result<String> {
        let mut told = Vec::new();
        for at in 0..count.0 {
            for path in ["", "mirror://no/such/route", "mirror:/"] {
                told.push(ctx.send(path, Raw::from("")).unwrap_err().code.word());
            }
            ctx.send(format!("mirror://came/{}/x", at % 300), Raw::from(""))?;
        }
        Ok(told.join(" "))
    }

    fn ask(&mut self, ctx: &mut Context, count: Param<u32>, ids: Param<u32>) -> Result<()> {
        (0..count.0).try_for_each(|at| {
            let id = at % ids.0;
            ctx.ask(format!("mirror://answer/{id}"), Raw::from(""))
                .reply_to(format!("answered/{id}"))
        })
    }

    fn came(&mut self, id: ParamText, at: ParamText) -> Result<()> {
        self.seen.push(format!("{}/{}", &*id, &*at));
        Ok(())
    }

    fn answer(&mut self, id: Param<u32>) -> Result<u32> {
        Ok(id.0)
    }

    fn answered(&mut self, id: Param<u32>, outcome: Outcome<u32>) -> Result<()> {
        self.seen.push(format!("{}={}", id.0, outcome.0?));
        Ok(())
    }
}

subsystem!(Mirror, state = Self);

fn seen_after(path: &str) -> Vec<String> {
    let kit = Kit::<Mirror>::new("()").unwrap();
    kit.send(path, Raw::from("")).unwrap();
    kit.saved::<Mirror>().unwrap().seen
}

/// More texts than an instance keeps, and few enough to be kept: each message gets the parameters of its own path.
#[test]
fn a_text_leads_where_it_says_each_time() {
    for ids in [1, 3, 300] {
        let expect: Vec<_> = (0..900).map(|at| format!("{}/{at}", at % ids)).collect();
        assert_eq!(seen_after(&format!("text/900/{ids}")), expect, "{ids} paths");
    }
}

#[test]
fn constants_are_told_apart_in_every_instance() {
    for _ in 0..2 {
        assert_eq!(seen_after("constant/3"), ["first/site", "second/site"].repeat(3));
    }
}

#[test]
fn a_route_for_outcomes_gets_the_parameters_of_its_path_each_time() {
    for ids in [1, 3] {
        let expect: Vec<_> = (0..100).map(|at| format!("{0}={0}", at % ids)).collect();
        assert_eq!(seen_after(&format!("ask/100/{ids}")), expect, "{ids} paths");
    }
}

#[test]
fn what_is_refused_is_refused_each_time() {
    let kit = Kit::<Mirror>::new("()").unwrap();
    let told: String = kit.ask("refused/900", Raw::from("")).unwrap();
    assert_eq!(told, ["bad_path no_route bad_path"; 900].join(" "));
}
