//! The program itself, killed in the middle of its work: what it acknowledged is there afterwards.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cutover_coordinator::server::Rules;
use cutover_shared::statement::{HostChange, Statement};
use tokio::sync::mpsc;

use crate::world::{Server, enrolment, key, within};

/// How many hosts are being enrolled when it is killed.
const HOSTS: usize = 60;

/// A program that does not outlive its test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn serve(server: &mut Server) -> Serving {
    let _ = fs::remove_file(server.directory.path().join("port"));
    let child = Command::new(env!("CARGO_BIN_EXE_cutover"))
        .args(["serve", "--config"])
        .arg(server.directory.path().join("coordinator.toml"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut serving = Serving(child);
    server.find(|| serving.0.try_wait().unwrap().is_some()).await;
    serving
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let mut server = Server::prepare(Arc::new(Rules));
    let config = "listen = \"127.0.0.1:0\"\ndata-directory = \"data\"\nkey = \"log.pem\"\n\
                  policy = \"policy.json\"\nport-file = \"port\"\n";
    fs::write(server.directory.path().join("coordinator.toml"), config).unwrap();
    // The program has its own clock.
    server.clock.run_from(cutover_coordinator::clock::now());
    let mut serving = serve(&mut server).await;
    let client = Arc::new(server.client("ops").await);
    let (tell, mut told) = mpsc::unbounded_channel();
    for number in 0..HOSTS {
        let enrolled = HostChange::Enrolled(Box::new(enrolment(&format!("h{number}"))));
        let envelope = Statement::new(server.clock.now(), enrolled).signed_by([&key("ops")]);
        let (client, tell) = (Arc::clone(&client), tell.clone());
        tokio::spawn(async move {
            let envelope = envelope.to_bytes();
            let question = cutover_shared::protocol::Request::Append { envelope: envelope.clone() };
            let answer = cutover_transport::request(&client.connection, &question).await;
            if let Ok(cutover_shared::protocol::Response::Appended(receipt)) = answer {
                let _ = tell.send((envelope, receipt.index));
            }
        });
    }
    drop(tell);
    let mut acknowledged = Vec::new();
    for _ in 0..HOSTS / 4 {
        acknowledged.push(within(told.recv()).await.expect("an answer"));
    }
    serving.0.kill().unwrap();
    client.connection.close(0_u32.into(), b"the server was killed");
    while let Some(more) = told.recv().await {
        acknowledged.push(more);
    }
    drop(serving);

    let _serving = serve(&mut server).await;
    let client = server.client("ops").await;
    let size = client.checkpoint().await.head.size;
    assert!(size > acknowledged.len() as u64);
    for (envelope, index) in acknowledged {
        assert_eq!(client.append(envelope).await.unwrap().index, index);
    }
    assert_eq!(client.checkpoint().await.head.size, size, "none of them was there no more");
}
