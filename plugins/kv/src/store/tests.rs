//! The store on real files.

use super::*;
use mycelia_plugin::ErrorCode;
use std::fs;
use tempfile::TempDir;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("kv.redb")
    }

    fn store(&self) -> Store {
        Store::open(self.file()).unwrap()
    }

    fn refusal(&self) -> String {
        let error = Store::open(self.file()).err().expect("the file is refused");
        assert_eq!(error.code, ErrorCode::Failed);
        error.text.clone()
    }
}

#[test]
fn values_come_back_as_they_were_put() {
    let place = Place::new();
    let mut store = place.store();
    let long = vec![7; MAX_VALUE];
    for (key, value) in
        [("a", &b"1"[..]), ("é/ %", &[0, 255, 13, 10]), ("empty", b""), ("long", &long)]
    {
        store.put(key, value).unwrap();
        assert_eq!(store.get(key).unwrap().as_deref(), Some(value), "{key}, in its own batch");
        store.commit().unwrap();
        assert_eq!(store.get(key).unwrap().as_deref(), Some(value), "{key}, committed");
    }
    store.close().unwrap();
    assert_eq!(place.store().get("empty").unwrap().as_deref(), Some(&b""[..]), "reopened");
}

#[test]
fn a_batch_reads_what_it_wrote() {
    let place = Place::new();
    let mut store = place.store();
    assert_eq!(store.get("a").unwrap(), None);
    store.put("a", b"1").unwrap();
    store.put("a", b"2").unwrap();
    assert_eq!(store.get("a").unwrap().unwrap(), b"2");
    assert_eq!(store.keys(None).unwrap(), ["a"]);
    assert!(store.delete("a").unwrap());
    assert!(!store.delete("a").unwrap());
    assert_eq!(store.get("a").unwrap(), None);
    store.commit().unwrap();
    assert_eq!(store.keys(None).unwrap(), [""; 0]);
}

#[test]
fn what_is_not_committed_is_not_stored() {
    let place = Place::new();
    let mut store = place.store();
    store.put("kept", b"1").unwrap();
    store.commit().unwrap();
    store.put("lost", b"2").unwrap();
    drop(store);
    let mut store = place.store();
    assert_eq!(store.keys(None).unwrap(), ["kept"]);
}

#[test]
fn a_refused_write_leaves_the_others_of_its_batch() {
    let place = Place::new();
    let mut store = place.store();
    store.put("before", b"1").unwrap();
    let long_key = store.put(&"k".repeat(MAX_KEY + 1), b"").unwrap_err();
    let long_value = store.put("k", &vec![0; MAX_VALUE + 1]).unwrap_err();
    store.put("behind", b"2").unwrap();
    store.commit().unwrap();
    assert_eq!(store.keys(None).unwrap(), ["before", "behind"]);
    for (error, text) in [
        (long_key, "the key has 1025 bytes, but at most 1024 are stored"),
        (long_value, "the value has 16777217 bytes, but at most 16777216 are stored"),
    ] {
        assert_eq!((error.code, error.text.as_str()), (ErrorCode::Invalid, text));
    }
}

#[test]
fn keys_are_listed_page_by_page() {
    let place = Place::new();
    let mut store = place.store();
    let all: Vec<String> = (0..KEYS_PER_REPLY + 5).map(|number| format!("{number:05}")).collect();
    for key in &all {
        store.put(key, b"").unwrap();
    }
    store.commit().unwrap();
    let first = store.keys(None).unwrap();
    assert_eq!(first, all[..KEYS_PER_REPLY]);
    assert_eq!(store.keys(first.last().map(String::as_str)).unwrap(), all[KEYS_PER_REPLY..]);
    assert_eq!(store.keys(Some("~")).unwrap(), [""; 0]);
}

#[test]
fn an_error_of_the_storage_fails_its_batch_and_no_other() {
    let place = Place::new();
    let mut store = place.store();
    store.put("kept", b"1").unwrap();
    store.commit().unwrap();
    store.put("lost", b"2").unwrap();
    let error = store.lost(&redb::Error::PreviousIo);
    assert_eq!(store.get("kept").unwrap_err(), error);
    assert_eq!(store.put("late", b"3").unwrap_err(), error);
    assert_eq!(store.commit().unwrap_err(), error);
    store.put("next", b"4").unwrap();
    store.commit().unwrap();
    assert_eq!(store.keys(None).unwrap(), ["kept", "next"]);
}

#[test]
fn a_file_in_use_is_refused() {
    let place = Place::new();
    let store = place.store();
    assert!(
        place
            .refusal()
            .contains("is in use by another process or subsystem; end that one, or give")
    );
    store.close().unwrap();
    place.store();
}

#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let place = Place::new();
    let mut store = place.store();
    (0..200).for_each(|key| store.put(&key.to_string(), &[7; 1000]).unwrap());
    store.commit().unwrap();
    store.close().unwrap();
    let good = fs::read(place.file()).unwrap();
    let mut flipped = good.clone();
    flipped[64..4096].fill(0xa5);
    for (what, bytes) in [
        ("a text", &b"hello, I am a text of some length"[..]),
        ("a short file", &good[..100]),
        ("half a file", &good[..good.len() / 2]),
        ("a broken header", &flipped),
    ] {
        fs::write(place.file(), bytes).unwrap();
        let text = place.refusal();
        assert!(text.contains("is damaged or no redb file"), "{what}: {text}");
        assert_eq!(fs::read(place.file()).unwrap(), bytes, "{what}");
    }
    fs::write(place.file(), good).unwrap();
    assert_eq!(place.store().keys(None).unwrap().len(), 200);
}

#[test]
fn a_missing_folder_is_named() {
    let place = Place::new();
    let error = Store::open(place.folder.path().join("none/kv.redb")).err().unwrap();
    assert!(
        error.text.contains("none/kv.redb: ") && error.text.contains("the folder must exist"),
        "{}",
        error.text
    );
    let error = Store::open(place.folder.path().to_owned()).err().unwrap();
    assert!(error.text.starts_with("cannot open "), "{}", error.text);
}
