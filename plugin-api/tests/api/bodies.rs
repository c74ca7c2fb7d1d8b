//! Bodies: what makes two types the same, and what is kept of a path.

use mycelia_plugin::{Payload, prelude::*};
use mycelia_testkit::{Kit, subsystem};

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Point {
    x: i32,
    y: i32,
}

mod other_build {
    use super::*;

    pub mod same {
        use super::*;

        #[derive(Serialize, Deserialize, Schema)]
        pub struct Point {
            pub x: i32,
            pub y: i32,
        }
    }

    pub mod swapped {
        use super::*;

        #[derive(Serialize, Deserialize, Schema)]
        pub struct Point {
            pub y: i32,
            pub x: i32,
        }
    }

    #[derive(Serialize, Deserialize, Schema)]
    pub struct Longer {
        pub x: i32,
        pub y: i32,
        pub z: i32,
    }
}

fn hash<T>() -> u64
where
    for<'t> &'t T: Payload,
{
    <&T as Payload>::SCHEMA.hash
}

#[test]
fn the_same_type_of_another_build_has_the_same_hash() {
    assert_eq!(hash::<Point>(), hash::<other_build::same::Point>());
}

#[test]
fn fields_that_were_swapped_added_or_retyped_make_another_hash() {
    let hashes = [
        hash::<Point>(),
        hash::<other_build::swapped::Point>(),
        hash::<other_build::Longer>(),
        hash::<(i32, i32)>(),
        hash::<i32>(),
        hash::<u32>(),
        hash::<i64>(),
        hash::<String>(),
        hash::<Vec<i32>>(),
        hash::<Option<i32>>(),
        hash::<()>(),
    ];
    for (at, one) in hashes.iter().enumerate() {
        assert!(*one != 0 && !hashes[at + 1..].contains(one), "{at}: {hashes:x?}");
    }
}

#[test]
fn raw_and_edge_fit_every_route() {
    assert_eq!((Raw::SCHEMA.hash, Edge::SCHEMA.hash), (0, 0));
    assert_ne!(<Pod<u64> as Payload>::SCHEMA, <Pod<u32> as Payload>::SCHEMA);
}

#[test]
fn a_recipient_is_saved_as_its_path() {
    let recipient = Recipient::new("kv://put/total");
    let saved = rmp_serde::to_vec_named(&recipient).unwrap();
    assert_eq!(saved, rmp_serde::to_vec_named("kv://put/total").unwrap());
    let read: Recipient = rmp_serde::from_slice(&saved).unwrap();
    assert_eq!(read.path(), "kv://put/total");
}

/// Takes and gives every kind of body.
struct Bodies;

impl Subsystem for Bodies {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("typed", Self::typed),
        on("maybe", Self::maybe),
        on("raw", Self::raw),
        on("pod", Self::pod),
        on("wrong", Self::wrong),
    ];

    fn create((): ()) -> Result<Self> {
        Ok(Bodies)
    }
}

impl Bodies {
    fn typed(&mut self, point: Body<Point>) -> Result<Point> {
        Ok(Point { x: point.0.y, y: point.0.x })
    }

    fn maybe(&mut self, point: Body<Option<Point>>) -> Result<bool> {
        Ok(point.0.is_some())
    }

    fn raw(&mut self, body: Raw) -> Result<Raw<'static>> {
        Ok(body.iter().rev().copied().collect::<Vec<u8>>().into())
    }

    fn pod(&mut self, body: Pod<u64>) -> Result<Pod<u32>> {
        Ok(Pod(body.0 as u32))
    }

    /// Sends a swapped point to a route of its own that takes a point.
    fn wrong(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.send("bodies://typed", &other_build::swapped::Point { y: 1, x: 2 })
    }
}

subsystem!(Bodies);

fn kit() -> Kit<Bodies> {
    Kit::new("()").unwrap()
}

fn bytes(kit: &Kit<Bodies>, path: &str, body: impl mycelia_testkit::Sample) -> Result<Vec<u8>> {
    kit.request(path, body).unwrap().bytes()
}

#[test]
fn a_typed_route_answers_in_kind() {
    let kit = kit();
    assert_eq!(kit.ask::<Point>("typed", &Point { x: 1, y: 2 }).unwrap(), Point { x: 2, y: 1 });
    assert_eq!(bytes(&kit, "typed", &Point { x: 1, y: 2 }).unwrap(), [4, 2]);
    let json = Edge::from(&br#"{"x":1,"y":2}"#[..]);
    assert_eq!(bytes(&kit, "typed", json).unwrap(), br#"{"x":2,"y":1}"#);
}

#[test]
fn what_does_not_decode_is_the_callers_error() {
    let kit = kit();
    for body in [&br#"{"x":1}"#[..], b"", b"{", b"\xff"] {
        assert_eq!(bytes(&kit, "typed", Edge::from(body)).unwrap_err().code, ErrorCode::Invalid);
    }
    assert_eq!(bytes(&kit, "typed", Raw::from("ab")).unwrap_err().code, ErrorCode::Invalid);
    assert_eq!(kit.ledger().handled, 5);
}

#[test]
fn no_body_from_the_edge_is_nothing() {
    assert!(
        !serde_json::from_slice::<bool>(&bytes(&kit(), "maybe", Edge::from(&b""[..])).unwrap())
            .unwrap()
    );
}

#[test]
fn raw_bytes_pass_unchanged_of_any_size_and_origin() {
    let kit = kit();
    for size in [0, 1, 24, 25, 4096, 1 << 20] {
        let body: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let back: Vec<u8> = body.iter().rev().copied().collect();
        assert_eq!(bytes(&kit, "raw", Raw::from(body.clone())).unwrap(), back);
        assert_eq!(bytes(&kit, "raw", Edge::from(body)).unwrap(), back);
    }
}

#[test]
fn a_fixed_layout_has_no_codec_and_one_size() {
    let kit = kit();
    let big = Pod(0x1_0000_0007_u64);
    assert_eq!(bytes(&kit, "pod", big).unwrap(), 7_u32.to_le_bytes());
    assert_eq!(bytes(&kit, "pod", Raw::from("short")).unwrap_err().code, ErrorCode::Invalid);
}

#[test]
fn another_schema_is_refused_before_it_is_sent() {
    let kit = kit();
    let refused = kit.send("wrong", Raw::from("")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Invalid);
    assert!(refused.text.contains("Point"), "{refused}");
    assert!(kit.ask::<Point>("typed", &other_build::swapped::Point { y: 1, x: 2 }).is_err());
    assert_eq!(kit.ledger().accepted, 1);
}
