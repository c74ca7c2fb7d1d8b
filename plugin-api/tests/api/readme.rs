//! The author's guide shows what is built and tested.

#[test]
fn the_guides_plugin_is_the_tested_example() {
    let guide = include_str!("../../README.md");
    assert!(
        guide.contains(include_str!("../../examples/counter.rs")),
        "copy examples/counter.rs into README.md"
    );
}
