//! Keys go to and fro between `cutover` and `openssl`, plain and encrypted.

use std::os::unix::fs::PermissionsExt as _;

use cutover_shared::digest::Digest;

use crate::program::Desk;

#[test]
fn openssl_reads_our_keys() {
    let desk = Desk::new();
    let made = desk.json(["key", "generate", "alice.pem"]);
    let public = desk.openssl(["pkey", "-in", "alice.pem", "-pubout"]);
    assert_eq!(public, desk.read("alice.pem.pub").into_bytes());
    let der = desk.openssl(["pkey", "-in", "alice.pem", "-pubout", "-outform", "DER"]);
    assert_eq!(made["key-id"], Digest::of(&der).to_string());
    let mode = std::fs::metadata(desk.path("alice.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn openssl_opens_our_encrypted_keys() {
    let mut desk = Desk::new();
    desk.set("CUTOVER_PASSPHRASE", "correct horse");
    let made = desk.json(["key", "generate", "alice.pem", "--passphrase"]);
    assert!(desk.read("alice.pem").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let open = ["pkey", "-in", "alice.pem", "-passin", "pass:correct horse", "-pubout"];
    assert_eq!(desk.openssl(open), desk.read("alice.pem.pub").into_bytes());
    let shown = desk.json(["key", "show", "alice.pem"]);
    assert_eq!((&shown["key-id"], &shown["encrypted"]), (&made["key-id"], &true.into()));
}

#[test]
fn we_read_the_keys_of_openssl() {
    let mut desk = Desk::new();
    desk.openssl(["genpkey", "-algorithm", "ed25519", "-out", "plain.pem"]);
    let pass = ["-aes-256-cbc", "-pass", "pass:battery staple"];
    let made = ["genpkey", "-algorithm", "ed25519", "-out", "sealed.pem"];
    desk.openssl(made.into_iter().chain(pass));
    let plain = desk.json(["key", "show", "plain.pem"]);
    let der = desk.openssl(["pkey", "-in", "plain.pem", "-pubout", "-outform", "DER"]);
    assert_eq!(plain["key-id"], Digest::of(&der).to_string());
    assert_eq!(plain["encrypted"], false);

    // Nobody is at the terminal to be asked.
    desk.cutover(["key", "show", "sealed.pem"]).says(2, "CUTOVER_PASSPHRASE");
    desk.set("CUTOVER_PASSPHRASE", "wrong");
    desk.cutover(["key", "show", "sealed.pem"]).says(2, "does not open");
    desk.set("CUTOVER_PASSPHRASE", "battery staple");
    let sealed = desk.json(["key", "show", "sealed.pem"]);
    let open = ["pkey", "-in", "sealed.pem", "-passin", "pass:battery staple", "-pubout"];
    assert_eq!(sealed["public-pem"], String::from_utf8(desk.openssl(open)).unwrap());
}

#[test]
fn a_public_key_is_shown_too_and_another_algorithm_is_not() {
    let desk = Desk::new();
    let made = desk.json(["key", "generate", "alice.pem"]);
    assert_eq!(desk.json(["key", "show", "alice.pem.pub"])["key-id"], made["key-id"]);
    desk.openssl(["genpkey", "-algorithm", "x25519", "-out", "other.pem"]);
    desk.cutover(["key", "show", "other.pem"]).says(2, "expected ed25519");
}

#[test]
fn nothing_is_overwritten() {
    let desk = Desk::new();
    desk.cutover(["key", "generate", "alice.pem"]).done();
    let before = desk.read("alice.pem");
    desk.cutover(["key", "generate", "alice.pem"]).says(2, "there already");
    std::fs::remove_file(desk.path("alice.pem")).unwrap();
    desk.cutover(["key", "generate", "alice.pem"]).says(2, "alice.pem.pub is there already");
    assert!(!desk.path("alice.pem").exists());
    desk.write("alice.pem", before);
    desk.cutover(["key", "generate", "new.pem", "--dry-run"]).done();
    assert!(!desk.path("new.pem").exists());
}
