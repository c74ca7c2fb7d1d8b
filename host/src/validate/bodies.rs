//! What is sent to a route that is checked: bodies and parameters of every shape, the same in every run.

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn parameter(&mut self) -> String {
        match self.below(VALUES.len() + 1) {
            0 => "long".repeat(50),
            number => VALUES[number - 1].into(),
        }
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// Large enough to lie in a block of its own, and more than most take.
const LARGE: usize = 1 << 20;

const SHAPES: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "1e308",
    "18446744073709551616",
    "\"\"",
    "\"a\\u0000b\"",
    "\"no_such://path/x\"",
    "[]",
    "[1, \"two\", null, {}]",
    "{}",
    "{\"\": {\"a\": [[]]}}",
    "{\"id\": 1, \"name\": \"x\", \"count\": -1, \"amount\": 0.5}",
    "{\"a\": 1, \"a\": 2}",
    "{\"unfinished\": ",
];

/// The bodies of one route.
pub fn bodies(random: &mut Random) -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = SHAPES.iter().map(|shape| shape.as_bytes().into()).collect();
    bodies.push(Vec::new());
    bodies.push("[".repeat(10_000).into_bytes());
    bodies.push(vec![b'x'; LARGE]);
    for _ in 0..8 {
        let length = 1 + random.below(200);
        bodies.push(random.bytes(length));
    }
    bodies
}

const VALUES: &[&str] =
    &["x", "0", "7", "-1", "1.5", "18446744073709551616", "a.b-c_d", "true", "1ms"];

/// A path's rest that a pattern matches, with this in place of its parameters or whatever comes.
pub fn fill(pattern: &str, parameter: Option<&str>, random: &mut Random) -> String {
    let segments = pattern.split('/').map(|segment| match segment.strip_prefix('{') {
        Some(rest) if rest.starts_with('*') => "a/b/c".into(),
        Some(_) => parameter.map_or_else(|| random.parameter(), str::to_owned),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_sends_the_same_and_every_route_something_else() {
        assert_eq!(bodies(&mut Random(1)), bodies(&mut Random(1)));
        assert_ne!(bodies(&mut Random(1)), bodies(&mut Random(2)));
        let mut random = Random(1);
        let filled: Vec<_> =
            (0..50).map(|_| fill("put/{key}/{*rest}", None, &mut random)).collect();
        assert!(filled.iter().all(|path| path.starts_with("put/") && path.ends_with("/a/b/c")));
        assert!(filled.iter().any(|path| *path != filled[0]));
    }
}
