//! A rate limiter that others ask before they work: a bucket of tokens for each key, filled at a steady rate.
//!
//! `limits://take/{key}` answers `()`, or `full` with the time after which the next token is there.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;
use std::{collections::HashMap, time::Duration};

/// How fast a bucket fills, in tokens a second, and how many it holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    rate: f64,
    burst: f64,
}

#[derive(Serialize, Deserialize)]
struct Bucket {
    tokens: f64,
    at: Time,
}

struct RateLimiter {
    settings: Settings,
    buckets: Buckets,
}

/// What outlives a reload: the buckets. The settings come from the config each time.
#[derive(Default, Serialize, Deserialize)]
struct Buckets(HashMap<String, Bucket>);

impl Subsystem for RateLimiter {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] = &[
        on("take/{key}", Self::take).scope("take", "to spend a token before it works"),
        every("60s", "forget", Self::forget),
    ];

    fn create(settings: Settings) -> Result<Self> {
        if settings.rate <= 0.0 || settings.burst < 1.0 {
            return Err(Error::invalid("`rate` is above 0 and `burst` at least 1"));
        }
        Ok(RateLimiter { settings, buckets: Buckets::default() })
    }
}

impl RateLimiter {
    fn take(&mut self, ctx: &mut Context, key: Param<String>) -> Result<()> {
        let Settings { rate, burst } = self.settings;
        let full = Bucket { tokens: burst, at: ctx.now() };
        let bucket = self.buckets.0.entry(key.0).or_insert(full);
        bucket.fill(ctx.now(), rate, burst);
        if bucket.tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - bucket.tokens) / rate);
            return Err(Error::full("no token is left").retry_after(wait));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// A bucket that is full again is like one that never was.
    fn forget(&mut self, ctx: &mut Context) -> Result<()> {
        let (now, Settings { rate, burst }) = (ctx.now(), &self.settings);
        self.buckets.0.retain(|_, bucket| bucket.tokens + bucket.gained(now, *rate) < *burst);
        Ok(())
    }
}

impl Bucket {
    fn gained(&self, now: Time, rate: f64) -> f64 {
        now.since(self.at).as_secs_f64() * rate
    }

    fn fill(&mut self, now: Time, rate: f64, burst: f64) {
        self.tokens = (self.tokens + self.gained(now, rate)).min(burst);
        self.at = now;
    }
}

impl State<RateLimiter> for Buckets {
    fn save(limiter: &RateLimiter) -> impl Serialize {
        &limiter.buckets
    }

    fn restore(self, limiter: &mut RateLimiter) -> Result<()> {
        limiter.buckets = self;
        Ok(())
    }
}

export_subsystem!(RateLimiter, state = Buckets);

#[cfg(test)]
mod tests {
    use super::*;
    use mycelia_testkit::Kit;

    fn kit() -> Kit<RateLimiter> {
        Kit::new("(rate: 2.0, burst: 3.0)").unwrap()
    }

    fn take(kit: &Kit<RateLimiter>, key: &str) -> Result<()> {
        kit.ask(&format!("take/{key}"), &())
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let kit = kit();
        (0..3).for_each(|_| take(&kit, "alice").unwrap());
        let refused = take(&kit, "alice").unwrap_err();
        assert_eq!(
            (refused.code, refused.retry_after),
            (ErrorCode::Full, Some(Duration::from_millis(500)))
        );
        take(&kit, "bob").unwrap();
        kit.advance("500ms");
        take(&kit, "alice").unwrap();
    }

    #[test]
    fn a_reload_gives_no_tokens_away() {
        let kit = kit();
        (0..3).for_each(|_| take(&kit, "alice").unwrap());
        kit.reload().unwrap();
        assert_eq!(take(&kit, "alice").unwrap_err().code, ErrorCode::Full);
    }

    #[test]
    fn a_bucket_that_is_full_again_is_forgotten() {
        let kit = kit();
        take(&kit, "alice").unwrap();
        assert_eq!(kit.saved::<Buckets>().unwrap().0.len(), 1);
        kit.advance("60s");
        assert_eq!(kit.saved::<Buckets>().unwrap().0.len(), 0);
    }

    #[test]
    fn only_who_has_the_scope_takes_tokens() {
        let kit = kit();
        let orders = kit.caller("orders", &[]);
        assert_eq!(orders.ask::<()>("take/alice", &()).unwrap_err().code, ErrorCode::Denied);
        let orders = kit.caller("orders", &["ratelimiter:take"]);
        orders.ask::<()>("take/alice", &()).unwrap();
    }

    #[test]
    fn a_config_that_makes_no_sense_is_refused() {
        assert!(Kit::<RateLimiter>::new("(rate: 0.0, burst: 3.0)").is_err());
        assert!(Kit::<RateLimiter>::new("(rate: 2.0)").is_err());
    }
}
