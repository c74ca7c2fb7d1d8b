//! Places orders with the help of two other subsystems: reserves stock, charges a card, and gives the stock back if the
//! card is refused. An order under way survives a reload, with the duty to answer whoever placed it.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;
use std::collections::BTreeMap;

/// What `orders://place` takes.
#[derive(Serialize, Deserialize, Schema)]
struct Order {
    item: String,
    count: u32,
    card: String,
}

/// What it answers.
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Receipt {
    order: u64,
}

/// The orders under way. It is its own saved state.
#[derive(Default, Serialize, Deserialize)]
struct Orders {
    last: u64,
    open: BTreeMap<u64, Open>,
}

#[derive(Serialize, Deserialize)]
struct Open {
    order: Order,
    customer: Responder<Receipt>,
}

impl Subsystem for Orders {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("place", Self::place).scope("place", "to order"),
        on_reply("reserved/{id}", Self::reserved),
        on_reply("charged/{id}", Self::charged),
        on("release/{id}", Self::release).scope("release", "to give stock back by hand"),
        on_reply("released/{id}", Self::released),
    ];

    const NEEDS: &'static [Need] = &[
        need("stock:write", "to reserve and to give back"),
        need("payment:charge", "to charge the card"),
    ];

    fn create((): ()) -> Result<Self> {
        Ok(Self::default())
    }
}

impl Orders {
    fn place(
        &mut self,
        ctx: &mut Context,
        order: Body<Order>,
        customer: Responder<Receipt>,
    ) -> Result<()> {
        self.last += 1;
        let (id, order) = (self.last, order.0);
        ctx.ask(format!("stock://reserve/{}", order.item), &(id, order.count))
            .within("2s")
            .reply_to(format!("reserved/{id}"))?;
        self.open.insert(id, Open { order, customer });
        Ok(())
    }

    fn reserved(&mut self, ctx: &mut Context, id: Param<u64>, outcome: Outcome<()>) -> Result<()> {
        let charging = outcome.0.and_then(|()| self.charge(ctx, id.0));
        charging.or_else(|error| self.fail(ctx, id.0, error))
    }

    fn charge(&mut self, ctx: &mut Context, id: u64) -> Result<()> {
        let open = self.open.get(&id).ok_or_else(|| no_order(id))?;
        ctx.ask(format!("payment://charge/{id}"), &open.order.card)
            .within("5s")
            .reply_to(format!("charged/{id}"))
    }

    fn charged(&mut self, ctx: &mut Context, id: Param<u64>, outcome: Outcome<()>) -> Result<()> {
        match outcome.0 {
            Ok(()) => self.close(id.0).map(|open| open.customer.answer(Receipt { order: id.0 })),
            Err(error) => self.fail(ctx, id.0, error),
        }
    }

    /// Tells the customer, and gives back what may have been reserved: after a timeout nobody knows.
    fn fail(&mut self, ctx: &mut Context, id: u64, error: Error) -> Result<()> {
        self.close(id)?.customer.fail(error);
        self.release(ctx, Param(id))
    }

    fn release(&mut self, ctx: &mut Context, id: Param<u64>) -> Result<()> {
        ctx.ask(format!("stock://release/{}", id.0), &())
            .within("10s")
            .reply_to(format!("released/{}", id.0))
    }

    /// Tries again until the stock is back. To release twice, or what was never reserved, is no error of the stock's.
    fn released(&mut self, ctx: &mut Context, id: Param<u64>, outcome: Outcome<()>) -> Result<()> {
        if let Err(error) = outcome.0 {
            ctx.log(Level::Warn, format_args!("order {} keeps its stock: {error}", id.0));
            ctx.after("30s", format!("release/{}", id.0), &())?;
        }
        Ok(())
    }

    fn close(&mut self, id: u64) -> Result<Open> {
        self.open.remove(&id).ok_or_else(|| no_order(id))
    }
}

fn no_order(id: u64) -> Error {
    Error::not_found(format!("no order {id} is open"))
}

export_subsystem!(Orders, state = Self);

#[cfg(test)]
mod tests {
    use super::*;
    use mycelia_testkit::{Kit, Request};

    fn kit() -> Kit<Orders> {
        let kit = Kit::new("()").unwrap();
        kit.guard("stock://reserve/{item}", "write");
        kit.guard("payment://charge/{order}", "charge");
        kit
    }

    fn place(kit: &Kit<Orders>) -> Request<'_, Orders> {
        let order = Order { item: "tea".into(), count: 2, card: "4111".into() };
        kit.request("place", &order).unwrap()
    }

    #[test]
    fn an_order_is_reserved_then_charged() {
        let kit = kit();
        let order = place(&kit);
        let reserve = kit.expect_ask("stock://reserve/tea");
        assert_eq!(reserve.body::<(u64, u32)>(), (1, 2));
        reserve.answer(&());
        let charge = kit.expect_ask("payment://charge/1");
        assert_eq!(charge.body::<String>(), "4111");
        assert!(order.is_open());
        charge.answer(&());
        assert_eq!(order.outcome::<Receipt>().unwrap(), Receipt { order: 1 });
    }

    #[test]
    fn a_card_that_is_refused_gives_the_stock_back() {
        let kit = kit();
        let order = place(&kit);
        kit.expect_ask("stock://reserve/tea").answer(&());
        kit.expect_ask("payment://charge/1").fail(Error::conflict("the card is blocked"));
        assert_eq!(order.outcome::<Receipt>().unwrap_err().code, ErrorCode::Conflict);
        kit.expect_ask("stock://release/1").answer(&());
    }

    #[test]
    fn stock_that_does_not_answer_fails_the_order_in_time() {
        let kit = kit();
        let order = place(&kit);
        let reserve = kit.expect_ask("stock://reserve/tea");
        kit.advance("2s");
        assert_eq!(order.outcome::<Receipt>().unwrap_err().code, ErrorCode::Deadline);
        reserve.answer(&());
        assert_eq!(kit.requests().late, 1);
        kit.expect_ask("stock://release/1").answer(&());
    }

    #[test]
    fn stock_is_given_back_until_it_is_back() {
        let kit = kit();
        let _order = place(&kit);
        kit.expect_ask("stock://reserve/tea").fail(Error::conflict("none is left"));
        kit.expect_ask("stock://release/1").fail(Error::failed("the shop is closed"));
        kit.advance("30s");
        kit.expect_ask("stock://release/1").answer(&());
        assert_eq!(kit.logs().len(), 1);
    }

    #[test]
    fn an_order_under_way_survives_a_reload() {
        let kit = kit();
        let order = place(&kit);
        kit.reload().unwrap();
        kit.expect_ask("stock://reserve/tea").answer(&());
        kit.reload().unwrap();
        kit.expect_ask("payment://charge/1").answer(&());
        assert_eq!(order.outcome::<Receipt>().unwrap(), Receipt { order: 1 });
    }
}
