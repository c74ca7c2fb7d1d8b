//! Where tokens lie, and who can put one there.

use crate::fake::private_folder;
use mycelia::control::{Folders, Token, token};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The folder below this temporary one where a user's tokens lie.
fn own_folder(temporary: &Path) -> PathBuf {
    Folders::new(None, temporary).files(1)[0].parent().unwrap().into()
}

#[test]
fn a_token_is_new_each_time_and_for_its_owner_alone() {
    let temporary = private_folder();
    let folders = Folders::new(None, temporary.path());
    let first = Token::create_in(&folders, 7070).unwrap();
    let file = first.file().to_owned();
    assert_eq!(file, own_folder(temporary.path()).join("mycelia-7070.token"));
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", first.secret()));
    assert_eq!(first.secret().len(), 64);
    assert!(!format!("{first:?}").contains(first.secret()));

    let second = Token::create_in(&folders, 7070).unwrap();
    assert_ne!(first.secret(), second.secret());
    drop(first);
    assert_eq!(
        folders.find(7070).as_deref(),
        Some(second.secret()),
        "not the first one's to remove"
    );
    drop(second);
    assert!(!file.exists());
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn the_runtime_folder_comes_first_if_it_is_safe() {
    let (runtime, temporary) = (private_folder(), private_folder());
    let folders = Folders::new(Some(runtime.path().into()), temporary.path());
    let token = Token::create_in(&folders, 1).unwrap();
    assert_eq!(token.file().parent(), Some(runtime.path()));

    chmod(runtime.path(), 0o777);
    let token = Token::create_in(&folders, 2).unwrap();
    assert_eq!(token.file().parent(), Some(own_folder(temporary.path()).as_path()));
    assert_eq!(folders.find(1), None, "anybody could have put it there");

    let gone = Folders::new(Some("/nonexistent/folder".into()), temporary.path());
    assert!(Token::create_in(&gone, 3).unwrap().file().starts_with(temporary.path()));
    let relative = Folders::new(Some("runtime".into()), temporary.path());
    assert_eq!(relative.files(1).len(), 1);
}

#[test]
fn of_two_the_newer_is_found() {
    let (runtime, temporary) = (private_folder(), private_folder());
    let both = Folders::new(Some(runtime.path().into()), temporary.path());
    let left_over = Token::create_in(&both, 1).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let newer = Token::create_in(&Folders::new(None, temporary.path()), 1).unwrap();
    assert_eq!(both.find(1).as_deref(), Some(newer.secret()));
    drop(newer);
    assert_eq!(both.find(1).as_deref(), Some(left_over.secret()));
}

#[test]
fn a_folder_that_others_prepared_is_refused() {
    let temporary = private_folder();
    let elsewhere = private_folder();
    let own = own_folder(temporary.path());
    let refused = || {
        let error = Token::create_in(&Folders::new(None, temporary.path()), 1).unwrap_err();
        assert!(error.to_string().contains("XDG_RUNTIME_DIR"), "{error}");
    };

    symlink(elsewhere.path(), &own).unwrap();
    refused();
    fs::remove_file(&own).unwrap();

    fs::create_dir(&own).unwrap();
    chmod(&own, 0o755);
    refused();
    fs::remove_dir(&own).unwrap();

    fs::write(&own, "").unwrap();
    refused();
}

#[test]
fn a_symlink_in_place_of_the_file_is_replaced_and_never_followed() {
    let temporary = private_folder();
    let folders = Folders::new(Some(temporary.path().into()), temporary.path());
    let (link, target) =
        (temporary.path().join("mycelia-1.token"), temporary.path().join("target"));
    fs::write(&target, "stolen").unwrap();
    symlink(&target, &link).unwrap();
    assert!(token::read(&link).is_err());
    assert_eq!(token::read_named(&link).unwrap(), "stolen");
    assert_eq!(folders.find(1), None);

    let token = Token::create_in(&folders, 1).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "stolen");
    assert!(fs::symlink_metadata(token.file()).unwrap().is_file());
}

#[test]
fn what_is_no_token() {
    for text in ["", " \n", "two words", "a\0b", "ä"] {
        assert!(token::parse(text).is_err(), "{text:?}");
    }
    assert_eq!(token::parse(" abc\n").unwrap(), "abc");
}
