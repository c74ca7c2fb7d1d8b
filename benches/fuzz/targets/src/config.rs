//! The config of a host, as RON.

use mycelia::config::{Config, Defaults};

/// A config that is read must be the same when it is written out whole; what is wrong with another must be told.
pub fn one(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let read = |text: &str| Config::parse_with("host.ron", text, &Defaults::new(2, None));
    match read(text) {
        Ok(config) => {
            let effective = config.effective();
            let again = read(&effective).unwrap_or_else(|mistakes| {
                panic!("{effective}\nis not read again: {}", mistakes.to_plain())
            });
            assert_eq!(again, config);
            true
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty() && !mistakes.to_plain().is_empty());
            assert!(!mistakes.render(true).is_empty());
            false
        }
    }
}
