//! A manifest alone, and a library up to where its code would be executed.

use mycelia::loader::Image;
use mycelia_plugin::abi::manifest::Manifest;
use std::path::Path;

/// What passes all of preflight must be complete, and be shown by `inspect`.
pub fn one(data: &[u8]) -> bool {
    let is_manifest = Manifest::parse(data).is_ok();
    let image = Image::of(Path::new("lib.so"), data.to_owned());
    let (complete, shown) = (image.check_complete(), image.inspect());
    match (image.preflight(), &shown) {
        (Ok(checked), Ok(shown)) => {
            assert!(complete.is_ok() && !shown.to_text().is_empty());
            assert_eq!((checked.hash(), &checked.manifest().name), (&*shown.hash, &shown.name));
            true
        }
        (Ok(_), Err(error)) => panic!("it passes, and is not shown: {error}"),
        (Err(error), _) => {
            assert!(!error.to_string().is_empty());
            is_manifest
        }
    }
}
