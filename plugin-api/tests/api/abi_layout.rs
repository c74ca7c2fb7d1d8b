//! The ABI's layout against a committed file, so that no change of it is an accident.

use abi_stable::{
    StableAbi,
    type_layout::{TLField, TLFields, TLFunction, TypeLayout},
};
use mycelia_plugin::{
    ErrorCode, Handled,
    abi::{self, manifest},
};
use std::{fmt::Write, fs, path::PathBuf};

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/abi_layout.txt")
}

#[test]
fn the_layout_is_the_committed_one() {
    let found = describe();
    if std::env::var_os("UPDATE_ABI_LAYOUT").is_some() {
        fs::write(golden(), &found).unwrap();
    }
    let committed = fs::read_to_string(golden()).unwrap_or_default();
    let (was, is) = (committed.lines().chain(["the end"]), found.lines().chain(["the end"]));
    let difference = was.zip(is).find(|(was, is)| was != is);
    assert!(
        committed == found,
        "the layout of the ABI has changed; first at {difference:#?}\n\
         If that is meant, raise ABI_VERSION in plugin-api/src/abi/mod.rs (the minor for fields added at the end of Module \
         or HostCalls, else the major), then run this test with UPDATE_ABI_LAYOUT=1 and commit the file."
    );
}

fn describe() -> String {
    let mut out = String::new();
    writeln!(out, "ABI {}.{}", abi::ABI_VERSION.0, abi::ABI_VERSION.1).unwrap();
    numbers(&mut out);
    for layout in [
        abi::Bytes::LAYOUT,
        abi::RawError::LAYOUT,
        abi::Envelope::LAYOUT,
        abi::RawRecipient::LAYOUT,
        abi::RawBody::LAYOUT,
        abi::RawBlock::LAYOUT,
        abi::Outbox::LAYOUT,
        abi::Report::LAYOUT,
        abi::Call::LAYOUT,
        abi::Link::LAYOUT,
        abi::CreateCall::LAYOUT,
        abi::Sink::LAYOUT,
        abi::CompletionSink::LAYOUT,
        table_behind(abi::Module_Ref::LAYOUT),
        table_behind(abi::HostCalls_Ref::LAYOUT),
    ] {
        write_type(&mut out, layout);
    }
    out
}

/// What is no type and may not change either.
fn numbers(out: &mut String) {
    use abi::flags::*;
    let flags = [PARAMETERS, BLOCK, ENCODING, RAW, POSTCARD, JSON, EDGE, OUTCOME, MAY_WAIT];
    writeln!(out, "flags {flags:04x?}").unwrap();
    let report = [abi::Report::RETURN_SOON, abi::Report::REVOKED];
    let module = [abi::HANDLED, abi::PANICKED, abi::HAS_COMMIT, abi::HAS_STATE];
    writeln!(out, "report {report:?} module {module:?}").unwrap();
    let sizes = [abi::INLINE, abi::BLOCK_UNIT, abi::MAX_LENGTHS];
    writeln!(out, "sizes {sizes:?} section {} magic {}", manifest::SECTION, manifest::MAGIC)
        .unwrap();
    for code in ErrorCode::ALL {
        write!(out, "{}={} ", code.word(), *code as u8).unwrap();
    }
    for handled in [Handled::Unknown, Handled::Yes, Handled::No] {
        write!(out, "{}={} ", handled.word(), handled as u8).unwrap();
    }
    writeln!(out).unwrap();
}

/// The table of functions that a prefix reference points to.
fn table_behind(layout: &'static TypeLayout) -> &'static TypeLayout {
    if layout.is_prefix_kind() {
        return layout;
    }
    let mut inner = fields(layout).into_iter().chain(layout.phantom_fields().iter());
    inner
        .find_map(|field| table_of(field.layout()))
        .expect("a prefix reference has a table behind it")
}

fn table_of(layout: &'static TypeLayout) -> Option<&'static TypeLayout> {
    if layout.is_prefix_kind() {
        return Some(layout);
    }
    let mut inner = fields(layout).into_iter().chain(layout.phantom_fields().iter());
    inner.find_map(|field| table_of(field.layout()))
}

fn fields(layout: &'static TypeLayout) -> Vec<TLField> {
    layout.get_fields().as_ref().map(TLFields::to_vec).unwrap_or_default()
}

fn write_type(out: &mut String, layout: &'static TypeLayout) {
    writeln!(out, "\n{} size {} align {}", layout.name(), layout.size(), layout.alignment())
        .unwrap();
    let mut end: usize = 0;
    for field in fields(layout) {
        let (size, align) = (field.layout().size(), field.layout().alignment());
        let offset = end.next_multiple_of(align);
        end = offset + size;
        writeln!(out, "{offset:4} {size:3} {}: {}", field.name(), type_of(&field)).unwrap();
    }
}

fn type_of(field: &TLField) -> String {
    match field.function_range().iter().next() {
        Some(function) if field.is_function() => signature(&function),
        _ => full_type(field.layout()),
    }
}

fn signature(function: &TLFunction) -> String {
    let names = function.param_names.as_str().split(',').map(str::trim);
    let types = function.param_type_layouts.iter().map(|layout| full_type(layout()));
    let parameters: Vec<String> =
        names.zip(types).map(|(name, type_)| format!("{name}: {type_}")).collect();
    let unit = || "()".to_owned();
    let returned = function.return_type_layout().map_or_else(unit, |layout| full_type(layout()));
    format!("fn({}) -> {returned}", parameters.join(", "))
}

fn full_type(layout: &TypeLayout) -> String {
    layout.full_type().to_string().trim().to_owned()
}

#[test]
fn an_envelope_is_64_bytes_and_begins_with_its_route() {
    assert_eq!(size_of::<abi::Envelope>(), 64);
    assert_eq!(std::mem::offset_of!(abi::Envelope, route), 0);
    assert_eq!(std::mem::offset_of!(abi::Envelope, inline), 64 - abi::INLINE);
}
