//! matchit: one router with the subsystem as the first segment, on the same table and the same paths.

use crate::{
    BURST,
    harness::{Run, timed},
    kernel::{HOT, HUNDRED_THOUSAND, NEW, Routes, THOUSAND},
};
use matchit::Router;
use std::hint::black_box;

fn router(routes: &Routes, count: usize) -> Result<Run, String> {
    let mut router = Router::new();
    for (pattern, number) in routes.patterns().zip(0_u64..) {
        router.insert(pattern, number).map_err(|error| error.to_string())?;
    }
    let mut paths =
        routes.paths(count, |subsystem, route, id| format!("/s{subsystem}/r{route}/{id}"));
    Ok(timed(move |bursts| {
        for _ in 0..bursts * BURST {
            let found = router.at(black_box(paths.next())).expect("the route is there");
            black_box((found.value, found.params.iter().next()));
        }
    }))
}

pub fn hot() -> Result<Run, String> {
    router(&THOUSAND, HOT)
}

pub fn new_paths() -> Result<Run, String> {
    router(&THOUSAND, NEW)
}

pub fn hundred_thousand() -> Result<Run, String> {
    router(&HUNDRED_THOUSAND, NEW)
}
