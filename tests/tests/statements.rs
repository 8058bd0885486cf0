//! Anybody can check what somebody signed, without Cutover: with OpenSSL, from the bytes that
//! `cutover log show` gives out and the signer's public key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use cutover_tests::build;
use cutover_tests::harness::Stage;
use cutover_tests::harness::people::{Desk, path, public};
use cutover_tests::harness::release::{self, Made};

/// One entry of each kind that people make on the way to a release, each signed by another person.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_confirms_every_statement_in_the_log() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let stage = Stage::start(directory.path(), build::binaries()).await?;
    let desk = &stage.desk;
    let package = release::build(desk, "1.0", &Made::default())?;
    let release = stage.approved(&package)?;
    desk.run("olga", &["host", "grant", "--environment", "staging", "--application", "web"])?;
    desk.run("sam", &["hold", &release, "--reason", "The openssl of the auditors goes first."])?;

    let entries = desk.run("bea", &["log", "list"])?;
    let entries = entries.as_array().context("the entries")?.clone();
    let mut seen = Vec::new();
    for entry in &entries {
        let index = entry["index"].to_string();
        let signer = entry["signers"][0]["name"].as_str().context("who signed it")?;
        let signed = Signed::of(desk, &index)?;
        ensure!(signed.verifies(&public(&desk.key(signer)))?, "entry {index}, signed by {signer}");
        let another = if signer == "lena" { "sam" } else { "lena" };
        ensure!(!signed.verifies(&public(&desk.key(another)))?, "{another} did not sign {index}");
        signed.change_a_bit()?;
        ensure!(!signed.verifies(&public(&desk.key(signer)))?, "entry {index} was changed");
        seen.push(signer.to_owned());
    }
    for who in ["root", "alice", "lena", "sam", "bea", "olga"] {
        assert!(seen.iter().any(|it| it == who), "{who} signed something: {seen:?}");
    }
    Ok(())
}

/// The bytes of one entry that are signed, and the signature, as files.
struct Signed {
    pae: PathBuf,
    signature: PathBuf,
}

impl Signed {
    fn of(desk: &Desk, index: &str) -> anyhow::Result<Self> {
        let file = |form: &str| -> anyhow::Result<PathBuf> {
            let output = desk.command("bea").args(["log", "show", index, form]).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "log show {index} {form}: {said}");
            let file = desk.directory.join(format!("entry-{index}{form}"));
            fs::write(&file, output.stdout)?;
            Ok(file)
        };
        Ok(Self { pae: file("--pae")?, signature: file("--signature")? })
    }

    /// What OpenSSL says.
    fn verifies(&self, key: &Path) -> anyhow::Result<bool> {
        let output = Command::new("openssl")
            .args(["pkeyutl", "-verify", "-rawin", "-pubin"])
            .args([
                "-inkey",
                &path(key),
                "-in",
                &path(&self.pae),
                "-sigfile",
                &path(&self.signature),
            ])
            .output()
            .context("run openssl; is it installed?")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let verdict = output.status.success();
        // A verdict it must be, not a complaint about a file.
        let words = if verdict { "Verified Successfully" } else { "Verification Failure" };
        ensure!(said.contains(words), "openssl: {said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(verdict)
    }

    fn change_a_bit(&self) -> anyhow::Result<()> {
        let mut bytes = fs::read(&self.pae)?;
        *bytes.last_mut().context("something is signed")? ^= 1;
        Ok(fs::write(&self.pae, bytes)?)
    }
}
