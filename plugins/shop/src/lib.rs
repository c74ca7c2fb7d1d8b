//! A shop, for measurements: an order goes through four subsystems of this one library, each of which has a role.
//!
//! `limiter://order/{customer}` spends a token of the customer's and passes the order on to `orders://place`, which
//! reserves at `stock`, charges at `payment`, and answers the receipt. Nothing is ever sold out or refused, but for who
//! has no token left: what is measured is the way of an order that goes well.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;
use std::collections::HashMap;

/// What a customer sends.
#[derive(Clone, Serialize, Deserialize, Schema)]
pub struct Order {
    /// What.
    pub item: String,
    /// How many.
    pub count: u32,
    /// Who pays.
    pub card: String,
}

/// What the customer is told.
#[derive(Serialize, Deserialize, Schema)]
pub struct Receipt {
    /// The number of the order, counted from 1.
    pub order: u64,
}

/// How a limiter's buckets fill; the other roles have no use for it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Tokens a second for each customer.
    rate: f64,
    /// The most that one saves up.
    burst: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { rate: 1.0, burst: 1.0 }
    }
}

/// One of the four.
pub struct Shop {
    settings: Settings,
    buckets: HashMap<String, Bucket>,
    placed: u64,
    open: HashMap<u64, Open>,
    taken: HashMap<String, u64>,
}

struct Bucket {
    tokens: f64,
    at: Time,
}

struct Open {
    card: String,
    customer: Responder<Receipt>,
}

impl Subsystem for Shop {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] = &[
        on("order/{customer}", Self::order).scope("order", "to spend a customer's token"),
        on("place", Self::place).scope("place", "to order"),
        on("reserve/{item}", Self::reserve).scope("reserve", "to take stock"),
        on("charge/{order}", Self::charge).scope("charge", "to charge a card"),
        on_reply("reserved/{order}", Self::reserved),
        on_reply("charged/{order}", Self::charged),
    ];

    fn create(settings: Settings) -> Result<Self> {
        let (buckets, open, taken) = Default::default();
        Ok(Shop { settings, buckets, placed: 0, open, taken })
    }
}

/// The limiter.
impl Shop {
    fn order(
        &mut self,
        ctx: &mut Context,
        customer: Param<String>,
        order: Body<Order>,
        answer: Responder<Receipt>,
    ) -> Result<()> {
        let (now, Settings { rate, burst }) = (ctx.now(), &self.settings);
        let bucket = self.buckets.entry(customer.0).or_insert(Bucket { tokens: *burst, at: now });
        let gained = now.since(bucket.at).as_secs_f64() * rate;
        *bucket = Bucket { tokens: (bucket.tokens + gained).min(*burst), at: now };
        if bucket.tokens < 1.0 {
            return Err(Error::full("the customer has no token left"));
        }
        bucket.tokens -= 1.0;
        ctx.forward("orders://place", &order.0, answer)
    }
}

/// The orders.
impl Shop {
    fn place(
        &mut self,
        ctx: &mut Context,
        order: Body<Order>,
        customer: Responder<Receipt>,
    ) -> Result<()> {
        self.placed += 1;
        let (number, Order { item, count, card }) = (self.placed, order.0);
        ctx.ask(format!("stock://reserve/{item}"), &count)
            .reply_to(format!("reserved/{number}"))?;
        self.open.insert(number, Open { card, customer });
        Ok(())
    }

    fn reserved(
        &mut self,
        ctx: &mut Context,
        order: Param<u64>,
        outcome: Outcome<u64>,
    ) -> Result<()> {
        outcome.0?;
        let open = self.open.get(&order.0).ok_or_else(|| no_order(order.0))?;
        ctx.ask(format!("payment://charge/{}", order.0), &open.card)
            .reply_to(format!("charged/{}", order.0))
    }

    fn charged(&mut self, order: Param<u64>, outcome: Outcome<()>) -> Result<()> {
        outcome.0?;
        let open = self.open.remove(&order.0).ok_or_else(|| no_order(order.0))?;
        open.customer.answer(Receipt { order: order.0 });
        Ok(())
    }
}

/// Stock and payment, which both keep a sum.
impl Shop {
    /// Answers how many of the item are gone.
    fn reserve(&mut self, item: Param<String>, count: Body<u32>) -> Result<u64> {
        let gone = self.taken.entry(item.0).or_default();
        *gone += u64::from(count.0);
        Ok(*gone)
    }

    fn charge(&mut self, _order: Param<u64>, card: Body<String>) -> Result<()> {
        *self.taken.entry(card.0).or_default() += 1;
        Ok(())
    }
}

fn no_order(number: u64) -> Error {
    Error::not_found(format!("no order {number} is open"))
}

export_subsystem!(Shop);
