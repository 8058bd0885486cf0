//! Packages of the demonstration service: a real program that answers HTTP.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cutover_shared::digest::Digest;

use super::people::{Desk, path};

/// What is special about a package.
#[derive(Debug, Clone, Default)]
pub struct Made<'a> {
    /// Hosts on which the service answers its health check wrongly.
    pub unhealthy_on: &'a [&'a str],
    /// `normal` where nothing is said.
    pub change: Option<&'a str>,
    /// Bytes of ballast in the payload.
    pub ballast: usize,
    /// More lines at the end of the manifest.
    pub manifest: &'a str,
    /// What else the manifest says than others do: parts of its text, and what stands in their place.
    pub instead: &'a [(&'a str, &'a str)],
    /// Files under `hooks/`: name and text.
    pub hooks: &'a [(&'a str, &'a str)],
    /// More files under `forms/`: name and text.
    pub forms: &'a [(&'a str, &'a str)],
    /// A script in the place of the service, which it finds beside itself as `real`.
    pub serve: Option<&'a str>,
}

/// Writes a complete package directory of the service in this version, and builds it.
pub fn build(desk: &Desk, version: &str, made: &Made<'_>) -> anyhow::Result<PathBuf> {
    let directory = desk.directory.join(format!("web-{version}"));
    write(desk, &directory, version, made)
        .with_context(|| format!("write {}", directory.display()))?;
    let file = desk.directory.join(format!("web-{version}.cutover"));
    desk.run("alice", &["package", "build", &path(&directory), "--output", &path(&file)])?;
    Ok(file)
}

fn write(desk: &Desk, directory: &Path, version: &str, made: &Made<'_>) -> anyhow::Result<()> {
    let payload = directory.join("payload");
    std::fs::create_dir_all(payload.join("bin"))?;
    std::fs::create_dir_all(payload.join("site"))?;
    std::fs::create_dir_all(directory.join("forms"))?;
    std::fs::copy(desk.binaries.join("cutover-demo-service"), payload.join("bin/serve"))?;
    if let Some(script) = made.serve {
        std::fs::rename(payload.join("bin/serve"), payload.join("bin/real"))?;
        std::fs::write(payload.join("bin/serve"), script)?;
        set_executable(&payload.join("bin/serve"))?;
    }
    std::fs::write(payload.join("site/version.txt"), format!("{version}\n"))?;
    std::fs::write(payload.join("site/unhealthy-on.txt"), made.unhealthy_on.join("\n"))?;
    if made.ballast > 0 {
        std::fs::write(payload.join("site/ballast.bin"), ballast(version, made.ballast))?;
    }
    if !made.hooks.is_empty() {
        std::fs::create_dir_all(directory.join("hooks"))?;
        for (name, text) in made.hooks {
            let hook = directory.join("hooks").join(name);
            std::fs::write(&hook, text)?;
            set_executable(&hook)?;
        }
    }
    let change = made.change.unwrap_or("normal");
    let mut manifest = MANIFEST.replace("@VERSION@", version).replace("@CHANGE@", change);
    for (part, other) in made.instead {
        anyhow::ensure!(manifest.contains(part), "{part:?} is not in the manifest");
        manifest = manifest.replace(part, other);
    }
    std::fs::write(directory.join("release.toml"), format!("{manifest}\n{}\n", made.manifest))?;
    std::fs::write(directory.join("NOTES.md"), NOTES)?;
    std::fs::write(directory.join("INSTRUCTIONS.md"), INSTRUCTIONS)?;
    std::fs::write(directory.join("forms/cot-f052.toml"), FORM)?;
    for (name, text) in made.forms {
        std::fs::write(directory.join("forms").join(name), text)?;
    }
    Ok(())
}

fn set_executable(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))
}

/// Bytes that neither repeat nor compress, the same for the same version.
fn ballast(version: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut block = Digest::of(version.as_bytes());
    while bytes.len() < length {
        bytes.extend_from_slice(block.as_bytes());
        block = Digest::of(block.as_bytes());
    }
    bytes.truncate(length);
    bytes
}

const MANIFEST: &str = r#"schema = 1
application = "web"
version = "@VERSION@"
summary = "The small web service of the demonstration."
change-type = "@CHANGE@"
targets = ["hosts"]
apply-budget = "12s"
rollback-reserve = "6s"

[impact]
systems = ["demonstration web service"]
users = "Readers of the page wait for a moment while it restarts."
outage-minutes = 1
worst-case = "The page does not answer until the host has gone back."
not-doing = "Readers go on seeing the page of the version before."

[rollback]
strategy = "Each host goes back to the release before by itself."
steps = ["cutover rollback --application web --environment production"]
trigger = "The health check fails or the page shows another version."
minutes = 1
owner = "Alice Example, alice@example.org"
data-loss = "No data is lost because the service stores nothing."

[schedule]
start = "2026-11-24T02:00"
for = "1h"
zone = "America/New_York"
latest = "2026-12-24T02:00"

[[health]]
name = "page"
kind = "http"
url = "http://{listen}/health"
body-contains = "ok @VERSION@"
timeout = "2s"

[health-policy]
start-grace = "1s"
interval = "200ms"
consecutive-successes = 2
deadline = "5s"
bake = "600ms"
bake-tolerance = 0
"#;

const NOTES: &str = "# Release notes\n\nThis version of the demonstration service changes the text \
that its front page shows to readers. Nothing else is different: the program, its port and the way it \
is started stay as they were in the version before.\n";

const INSTRUCTIONS: &str = "# Instructions\n\nThe agent on each host installs the payload and starts \
the program. Nobody needs to do anything by hand. To see that it worked, open the front page of the \
service and compare the version that it shows with the version of this release.\n";

const FORM: &str = r#"schema = "cot-f052/1"
agency = "Office of Examples"
service-request = "SR-1001"
emergency-reason-code = "outage"
description = "A new version of the demonstration web service."
source-environment = "build"
destination-environment = "production"
installation-method = "agent"
dependencies = []
test-evidence = "The service was run and its page read on the day of the build, without faults."
test-date = 2026-11-20
user-acceptance = "Readers of the page accepted it on the staging hosts."
communication-plan = "The readers are told on the page itself."

[requestor]
name = "Alice Example"
e-mail = "alice@example.org"
phone = "+1 555 0100"

[backup-contact]
name = "Lena Example"
e-mail = "lena@example.org"
phone = "+1 555 0101"

[security]
data-class = "public"
ports = "It listens on one local port, which its host names."
secrets = "No secret is in the package, and it needs none."
bill-of-materials = "It is one program of the standard library, without other parts."

[[item]]
action = "replace"
component-type = "service"
source = "payload"
target-host = "web hosts"
target-path = "/srv/web"
restart-order = 1
check-before = "The page of the version before answers."
check-after = "The page shows the new version."
previous-version = "the one before"
reboot = false
load-balancer-drain = false
"#;
