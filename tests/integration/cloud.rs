//! The processor `cloud`, of an agent that runs: asked once, before the inputs start.

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::kit::agent::Agent;
use crate::kit::wait;

/// A metadata server of Azure on the loopback: its address, and how often it was asked.
fn azure() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut head = BufReader::new(stream.try_clone().expect("a second handle"));
            while head.read_line(&mut line).is_ok_and(|got| got > 2) {}
            let body = json!({"vmId": "02aab8a4", "name": "vm-2", "location": "westeurope"}).to_string();
            let length = body.len();
            count.fetch_add(1, Ordering::SeqCst);
            // A client that gives up is no failure of the server.
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").ok();
        }
    });
    (address, asked)
}

/// What `cloud` is in each record of a file so far.
fn clouds(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let records = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    records.map(|record| record["cloud"].clone()).collect()
}

/// Scenario: a file has lines before the agent starts; then another input comes by SIGHUP, which asks the same.
/// Guarantee: the very first record has what the provider says, those of the new input too, and it was asked once.
#[test]
fn all_records_have_what_the_provider_said_once() {
    let (endpoint, asked) = azure();
    let mut agent = Agent::new("cloud");
    let out = agent.folder().join("out.jsonl");
    let with = |agent: &Agent, inputs: &[&str]| {
        let inputs: String = inputs
            .iter()
            .map(|name| format!("  {name}: {{ type: file, paths: [\"{}\"] }}\n", agent.log(name).display()))
            .collect();
        let cloud = format!("{{ provider: azure, endpoint: \"{endpoint}\", timeout: 30s }}");
        let out = out.display();
        agent.configure(&format!(
            "inputs:\n{inputs}processors:\n  - cloud: {cloud}\noutputs:\n  main: {{ type: file, path: \"{out}\" }}\n"
        ));
    };
    for name in ["first", "second"] {
        std::fs::write(agent.log(name), "1\n2\n3\n").expect("the scratch folder is writable");
    }
    let expect = json!({
        "provider": "azure", "service": {"name": "Virtual Machines"}, "instance": {"id": "02aab8a4", "name": "vm-2"},
        "region": "westeurope",
    });
    with(&agent, &["first"]);
    agent.start();
    wait::until("the first input's records", || (clouds(&out).len() == 3).then_some(()));
    with(&agent, &["first", "second"]);
    agent.signal(libc::SIGHUP);
    wait::until("the second input's records", || (clouds(&out).len() == 6).then_some(()));
    assert!(clouds(&out).iter().all(|cloud| *cloud == expect), "{:?}", clouds(&out));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    agent.stop();
}
