//! `cutover serve` as a process: it comes up, is believed by the command line, and ends when asked to.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use crate::policies::signed;
use crate::program::{CUTOVER, Desk};

/// The process, which does not outlive its test.
struct Coordinator {
    child: Child,
    address: String,
}

impl Coordinator {
    fn start(desk: &Desk) -> Self {
        let mut command = desk.command(CUTOVER.as_ref());
        command.args(["serve", "--config", "coordinator.toml"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let address = &line["fields"]["address"];
            address.as_str().filter(|_| line["fields"]["message"] == "listening").map(str::to_owned)
        });
        // What it logs later must not fill the pipe.
        std::thread::spawn(move || lines.count());
        Self { child, address: address.expect("it says where it listens") }
    }

    fn stop(mut self) -> Option<i32> {
        let id = i32::try_from(self.child.id()).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CONFIG: &str = "listen = \"127.0.0.1:0\"\ndata-directory = \"data\"\nkey = \"log.pem\"\n\
                      policy = \"policy.json\"\n[log]\nformat = \"json\"\n";

#[test]
fn it_serves_a_log_that_the_command_line_believes_and_keeps_it() {
    let mut desk = signed(&[("otto", &["operator"])]);
    desk.write("coordinator.toml", CONFIG);
    desk.set("CUTOVER_POLICY", "policy.json");
    desk.set("CUTOVER_KEY", "otto.pem");
    let coordinator = Coordinator::start(&desk);
    desk.set("CUTOVER_COORDINATOR", &coordinator.address);
    let verified = desk.json(["log", "verify"]);
    assert_eq!((&verified["entries"], &verified["ignored"]), (&1.into(), &serde_json::json!([])));
    let grant = ["host", "grant", "--environment", "staging", "--application", "accounts", "--yes"];
    let granted = desk.json(grant);
    assert_eq!(granted["index"], 1);
    assert_eq!(coordinator.stop(), Some(0));

    let coordinator = Coordinator::start(&desk);
    desk.set("CUTOVER_COORDINATOR", &coordinator.address);
    let list = desk.json(["log", "list"]);
    assert_eq!(list[1]["id"], granted["id"]);
    assert_eq!(coordinator.stop(), Some(0));
}

#[test]
fn a_configuration_that_is_no_good_is_refused_with_every_fault() {
    let desk = Desk::new();
    desk.write("coordinator.toml", "listen = \"here\"\ncolour = \"blue\"\n");
    let ended = desk.cutover(["serve", "--config", "coordinator.toml"]);
    for fault in ["listen", "colour", "data-directory", "policy"] {
        ended.says(2, fault);
    }
}
