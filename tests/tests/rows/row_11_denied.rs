//! Row 11: a release may be denied; for a security risk its bytes are never deployed anywhere.

use anyhow::ensure;
use cutover_tests::harness::release::{self, Made};

const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_denied_bytes_go_nowhere_and_other_bytes_start_again() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.add_host("stg-1", "staging").await?;
    let ready = |stage: &cutover_tests::harness::Stage, file: &std::path::Path| {
        let name = stage.submitted(file, &["staging"])?;
        stage.desk.run("lena", &["review", &name, "--complete"])?;
        stage.desk.run("lena", &["deliver", &name, "--location", "shelf 1"])?;
        anyhow::Ok(name)
    };
    let window = ["--environment", "staging", "--start", "now", "--for", "30m"];
    let book = |name: &'static str| [&["book", name][..], &window, &WAVE].concat();

    // Denied for its documentation: that release only.
    let file = release::build(&stage.desk, "1.0", &Made::default())?;
    let first = stage.submitted(&file, &["staging"])?;
    stage.desk.run("lena", &["review", &first, "--deny", "nobody could deploy it"])?;
    ensure!(first == "R-1", "{first}");
    ensure!(stage.desk.refused("max", &book("R-1"))?.code == "denied");

    // Denied as a risk: the package, under whatever submission.
    let second = ready(&stage, &file)?;
    stage.desk.run("sam", &["assess", &second, "--deny", "it writes passwords to its log"])?;
    ensure!(second == "R-2" && stage.desk.refused("max", &book("R-2"))?.code == "denied");
    let again = ["submit", &*file.to_string_lossy(), "--environment", "staging"];
    let refused = stage.desk.refused("alice", &again)?;
    ensure!(refused.code == "denied", "{}", refused.text);
    ensure!(refused.text.contains("security denied this package"), "{}", refused.text);
    let told = stage.desk.run("alice", &["status", "R-2"])?;
    ensure!(told["state"] == "denied", "{told:#}");

    // Only a new digest starts again.
    let file = release::build(&stage.desk, "1.1", &Made::default())?;
    let third = ready(&stage, &file)?;
    stage.deploy(&third, "staging", &["stg-1"], &WAVE).await?;
    Ok(())
}
