//! What the compiler writes into a library is what a host reads from it.

use mycelia_plugin::{
    Kind,
    abi::{
        ABI_VERSION,
        manifest::{self, About, Manifest, ManifestNeed, ManifestRoute},
    },
    prelude::*,
};
use proptest::prelude::*;

struct Everything;

#[derive(Serialize, Deserialize, Schema)]
struct Point {
    x: i32,
    y: i32,
}

impl Subsystem for Everything {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("", Self::nothing),
        on("raw/{*rest}", Self::raw).scope("read", "to see it, é"),
        on("typed/{a}/{b}", Self::typed).scope("write", ""),
        on("pod", Self::pod),
        on("later", Self::later),
        on_reply("done/{a}", Self::done),
        every("250ms", "tick", Self::nothing),
        event("moved/{a}").scope("see", "to follow it").body::<Point>(),
        on_event("else://moved/{b}", Self::followed),
    ];

    const NEEDS: &'static [Need] = &[need("kv:write", "to keep it"), need("kernel:read", "")];

    fn create((): ()) -> Result<Self> {
        Ok(Everything)
    }
}

impl Everything {
    fn nothing(&mut self) -> Result<()> {
        Ok(())
    }

    fn raw(&mut self, _: ParamText, body: Raw) -> Result<Raw<'static>> {
        Ok(body.into_vec().into())
    }

    fn typed(&mut self, _: Param<u8>, _: ParamText, _: Body<Point>) -> Result<Vec<Point>> {
        Ok(Vec::new())
    }

    fn pod(&mut self, body: Pod<u64>) -> Result<Pod<u32>> {
        Ok(Pod(body.0 as u32))
    }

    fn later(&mut self, _: Responder<Point>) -> Result<()> {
        Ok(())
    }

    fn done(&mut self, _: Param<u8>, _: Outcome<Point>) -> Result<()> {
        Ok(())
    }

    fn followed(&mut self, _: Param<u8>, _: Body<Point>) -> Result<()> {
        Ok(())
    }
}

pub const ABOUT: About =
    About { name: "every-thing", version: "1.2.3-é", state: 7, unwinds: true, unloads: true };
static WRITTEN: [u8; manifest::length::<Everything>(ABOUT)] =
    manifest::bytes::<Everything, _>(ABOUT);

fn hash(route: &ManifestRoute) -> (u64, u64) {
    (route.body.1, route.reply.1)
}

#[test]
fn a_manifest_reads_as_it_was_written() {
    let read = Manifest::parse(&WRITTEN).unwrap();
    assert_eq!(read, Manifest::of::<Everything>(ABOUT));
    assert_eq!((read.abi, read.state), (ABI_VERSION, 7));
    assert!(read.unwinds && read.unloads);
    assert_eq!((read.name.as_str(), read.version.as_str()), ("every-thing", "1.2.3-é"));
    let needs = [("kv:write", "to keep it"), ("kernel:read", "")];
    assert_eq!(
        read.needs,
        needs.map(|(scope, reason)| ManifestNeed { scope: scope.into(), reason: reason.into() })
    );
}

#[test]
fn without_its_line_a_library_does_not_unload() {
    let text = String::from_utf8(WRITTEN.to_vec()).unwrap();
    let without = text.replace("\nunload\thooks\n", "\n");
    let read = Manifest::parse(without.as_bytes()).unwrap();
    assert_eq!(read, Manifest::of::<Everything>(About { unloads: false, ..ABOUT }));
}

#[test]
fn its_routes_say_kind_scope_and_types() {
    let read = Manifest::parse(&WRITTEN).unwrap();
    let told: Vec<_> = read
        .routes
        .iter()
        .map(|route| (route.kind, &*route.pattern, &*route.scope, &*route.body.0, &*route.reply.0))
        .collect();
    assert_eq!(
        told,
        [
            (Kind::On, "", "", "", "()"),
            (Kind::On, "raw/{*rest}", "read", "", ""),
            (Kind::On, "typed/{a}/{b}", "write", "Point", "Vec<T>"),
            (Kind::On, "pod", "", "Pod", "Pod"),
            (Kind::On, "later", "", "", "Point"),
            (Kind::OnReply, "done/{a}", "", "Point", "()"),
            (Kind::Every(250_000_000), "tick", "", "", "()"),
            (Kind::Event, "moved/{a}", "see", "Point", ""),
            (Kind::OnEvent, "else://moved/{b}", "", "Point", "()"),
        ]
    );
    let [_, raw, typed, pod, later, done, _, moved, followed] = &read.routes[..] else {
        panic!("nine routes")
    };
    assert_eq!(hash(raw), (0, 0));
    assert_eq!((typed.body.1, pod.body.1 == pod.reply.1), (later.reply.1, false));
    assert_eq!(done.body.1, typed.body.1);
    assert_eq!((moved.body.1, followed.body.1), (typed.body.1, typed.body.1));
}

#[test]
fn the_padding_of_a_section_is_passed_over() {
    let mut bytes = WRITTEN.to_vec();
    bytes.extend([0; 7]);
    assert_eq!(Manifest::parse(&bytes), Manifest::parse(&WRITTEN));
}

#[test]
fn a_line_of_a_later_minor_version_is_passed_over() {
    let text = String::from_utf8(WRITTEN.to_vec()).unwrap();
    let newer = text.replace("\nend\n", "\nthread\tmany\t1\non_demand\ta\t\t\t\t0\t\t0\nend\n");
    assert_eq!(Manifest::parse(newer.as_bytes()), Manifest::parse(&WRITTEN));
}

#[test]
fn one_that_was_cut_says_so() {
    for length in 0..WRITTEN.len() - 1 {
        assert!(Manifest::parse(&WRITTEN[..length]).is_err(), "the first {length} bytes");
    }
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0..WRITTEN.len(), byte: u8, cut in 0..WRITTEN.len()) {
        let mut bytes = WRITTEN.to_vec();
        bytes[at] = byte;
        let _ = Manifest::parse(&bytes);
        let _ = Manifest::parse(&bytes[cut..]);
    }

    #[test]
    fn noise_never_panics(bytes: Vec<u8>) {
        let _ = Manifest::parse(&bytes);
        let _ = Manifest::parse(&[b"mycelia-manifest\t0\t1\n", &bytes[..], b"\nend\n"].concat());
    }
}
