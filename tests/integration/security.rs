//! TLS, client certificates, SASL and rights, on a real broker that insists on them; and secrets that are never shown.

use crate::kit::agent::{Agent, logferry};
use crate::kit::cluster::{self, SASL_PASSWORD, SASL_USER, Secure};
use crate::kit::pki::CLIENT_PRINCIPAL;
use crate::kit::{check::Check, cluster::Cluster, tokens, wait, writer::Writer};

fn ship(secure: &Secure, hint: &str, port: u16, topic: &str, more: &str) {
    let mut agent = Agent::new(hint);
    agent.env("FERRY_PASSWORD", SASL_PASSWORD);
    agent.ship("", &format!("127.0.0.1:{port}"), &format!("topic: {topic}\n{more}"));
    let mut writer = Writer::new(&agent.log("a.log"), hint);
    writer.write(500);
    agent.until_idle(1);
    Check::of(&secure.cluster.records(topic), &[&writer]).exact();
}

fn sasl(secure: &Secure, mechanism: &str) -> String {
    format!(
        "tls: {{ ca_file: {} }}\nsasl: {{ mechanism: {mechanism}, username: {SASL_USER}, password: \"${{FERRY_PASSWORD}}\" }}",
        secure.pki.ca.display()
    )
}

/// Scenario: a listener that speaks TLS.
/// Guarantee: lines arrive over it.
#[test]
fn tls() {
    let Some(secure) = cluster::secure() else { return };
    let topic = secure.cluster.topic("tls", 2);
    ship(secure, "tls", secure.tls_port, &topic, &format!("tls: {{ ca_file: {} }}", secure.pki.ca.display()));
}

/// Scenario: a listener that wants a client certificate, whose principal was given the right to write.
/// Guarantee: lines arrive over it.
#[test]
fn mutual_tls() {
    let Some(secure) = cluster::secure() else { return };
    let topic = secure.cluster.topic("mtls", 2);
    secure.allow(CLIENT_PRINCIPAL, &topic);
    let pki = &secure.pki;
    let tls = format!(
        "tls: {{ ca_file: {}, cert_file: {}, key_file: {} }}",
        pki.ca.display(),
        pki.client_cert.display(),
        pki.client_key.display()
    );
    ship(secure, "mtls", secure.mtls_port, &topic, &tls);
}

/// Scenario: SASL over TLS with each mechanism, and rights for the user.
/// Guarantee: lines arrive with each.
#[test]
fn sasl_plain_and_scram() {
    let Some(secure) = cluster::secure() else { return };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let hint = mechanism.to_lowercase();
        let topic = secure.cluster.topic(&hint, 2);
        secure.allow(&format!("User:{SASL_USER}"), &topic);
        ship(secure, &hint, secure.sasl_port, &topic, &sasl(secure, mechanism));
    }
}

/// Scenario: OAUTHBEARER with tokens that an identity provider gives over HTTPS and that live for five seconds.
/// Guarantee: lines arrive, and go on arriving when the first token has expired: each is renewed in time. A secret that is
/// not the provider's is refused, the log says so, and nobody sees it.
#[test]
fn oauthbearer() {
    let Some(secure) = cluster::secure() else { return };
    let topic = secure.cluster.topic("oauth", 2);
    secure.allow("User:token-ferry", &topic);
    let provider = tokens::Provider::start(&secure.pki.server, "token-ferry", 5);
    let output = |secret: &str| {
        format!(
            "topic: {topic}\ntls: {{ ca_file: {} }}\nsasl:\n  mechanism: OAUTHBEARER\n  token_url: {}\n  client_id: {}\n  \
             client_secret: \"{secret}\"\n  scope: kafka\n",
            secure.pki.ca.display(),
            provider.url,
            tokens::CLIENT_ID,
        )
    };
    let mut agent = Agent::new("oauth");
    let brokers = format!("127.0.0.1:{}", secure.oauth_port);
    agent.ship("", &brokers, &output("wrong-s3cr3t"));
    let mut writer = Writer::new(&agent.log("a.log"), "oauth");
    writer.write(500);
    agent.start();
    let told = || agent.stderr().contains("invalid_client, who are you?").then_some(());
    wait::until_or("the log to tell of the refusal", wait::LAST_RESORT, told, || agent.stderr());
    assert_eq!((provider.given(), secure.cluster.count(&topic)), (0, Some(0)));
    agent.stop();
    let config = agent.config().display().to_string();
    let connect = || logferry(&["check", "--connect", "-c", &config], b"");
    assert_eq!(connect().status.code(), Some(1), "no token, no login");
    let secret = agent.folder().join("secret");
    std::fs::write(&secret, tokens::CLIENT_SECRET).expect("writable");
    agent.ship("", &brokers, &output(&format!("${{file:{}}}", secret.display())));
    let found = connect();
    assert_eq!(found.status.code(), Some(0), "{}", String::from_utf8_lossy(&found.stdout));
    agent.start();
    secure.cluster.wait_count(&topic, 500);
    let renewed = || (provider.given() >= 3).then_some(());
    wait::until_or("tokens to be renewed", wait::LAST_RESORT, renewed, || agent.stderr());
    writer.write(500);
    secure.cluster.wait_count(&topic, 1_000);
    let status = agent.status().to_string();
    agent.stop();
    for secret in ["wrong-s3cr3t", tokens::CLIENT_SECRET] {
        assert!(!agent.stderr().contains(secret) && !status.contains(secret), "a secret is shown");
    }
    Check::of(&secure.cluster.records(&topic), &[&writer]).exact();
}

/// Scenario: the broker's certificate is signed by an authority that is not the configured one.
/// Guarantee: nothing is sent, and the log says that it is the certificate.
#[test]
fn a_stranger_with_a_certificate_gets_nothing() {
    let Some(secure) = cluster::secure() else { return };
    let topic = secure.cluster.topic("stranger", 1);
    let mut agent = Agent::new("stranger");
    let tls = format!("topic: {topic}\ntls: {{ ca_file: {} }}", secure.pki.other_ca.display());
    agent.ship("", &format!("127.0.0.1:{}", secure.tls_port), &tls);
    Writer::new(&agent.log("a.log"), "a").write(10);
    agent.start();
    crate::kit::wait::until_or(
        "the log to tell of the certificate",
        crate::kit::wait::LAST_RESORT,
        || agent.stderr().to_lowercase().contains("certificate").then_some(()),
        || agent.stderr(),
    );
    assert_eq!(secure.cluster.count(&topic), Some(0));
    assert_eq!(agent.input("files")["acked_records_total"], 0);
}

/// Scenario: a user may write to one topic and not to another; later the right is given.
/// Guarantee: the topic without a right parks its file alone, the status says why; with the right, its lines arrive.
#[test]
fn a_topic_without_a_right_parks_its_files_and_flows_when_it_is_given() {
    let Some(secure) = cluster::secure() else { return };
    let (open, closed) = (secure.cluster.topic("open", 2), secure.cluster.topic("closed", 2));
    let user = format!("User:{SASL_USER}");
    secure.allow(&user, &open);
    let mut agent = Agent::new("rights");
    agent.env("FERRY_PASSWORD", SASL_PASSWORD);
    agent.configure(&format!(
        "inputs:\n  \
           open: {{ type: file, paths: [{}], topic: {open} }}\n  \
           closed: {{ type: file, paths: [{}], topic: {closed} }}\n\
         outputs:\n  main:\n    type: kafka\n    brokers: [\"127.0.0.1:{}\"]\n{}",
        agent.log("open.log").display(),
        agent.log("closed.log").display(),
        secure.sasl_port,
        crate::kit::agent::indent(&crate::kit::agent::indent(&sasl(secure, "SCRAM-SHA-512"))),
    ));
    let mut may = Writer::new(&agent.log("open.log"), "open");
    let mut may_not = Writer::new(&agent.log("closed.log"), "closed");
    may.write(500);
    may_not.write(500);
    agent.start();
    secure.cluster.wait_count(&open, 500);
    agent.wait_status("the status to say that the topic is not authorised", |status| {
        let lanes = status["outputs"][0]["lanes"].as_array()?;
        let lane = lanes.iter().find(|lane| lane["topic"] == closed.as_str())?;
        (lane["cause"] == format!("not authorised for {user}")).then_some(())
    });
    let status = logferry(&["status", "--data-dir", &agent.data().display().to_string()], b"");
    let (status, fix) = (String::from_utf8_lossy(&status.stdout), format!("on topic {closed} are missing"));
    let waits = format!("lane {closed} waits: not authorised for {user}; ACL DESCRIBE and WRITE {fix}");
    assert!(status.contains(&waits), "{status}");
    may.write(500);
    secure.cluster.wait_count(&open, 1_000);
    assert_eq!(secure.cluster.count(&closed), Some(0));
    assert_eq!(agent.status()["drops"], serde_json::json!({}), "nothing is given up");
    secure.allow(&user, &closed);
    secure.cluster.wait_count(&closed, 500);
    agent.stop();
    Check::of(&secure.cluster.records(&open), &[&may]).exact();
    Check::of(&secure.cluster.records(&closed), &[&may_not]).exact();
}

/// Scenario: passwords from the environment and from a file, right and wrong ones, at the most talkative log level, with a
/// config mistake beside them.
/// Guarantee: no password is in the log, the status, the metrics, or in what `check` says.
#[test]
fn secrets_are_never_shown() {
    let Some(secure) = cluster::secure() else { return };
    let topic = Cluster::name("secret");
    let mut agent = Agent::new("secret");
    let wrong = "wr0ng-Yy8!pass";
    let password_file = agent.folder().join("password");
    std::fs::write(&password_file, format!("{wrong}\n")).expect("the scratch folder is writable");
    let configure = |more: &str| {
        agent.ship(
            "",
            &format!("127.0.0.1:{}", secure.sasl_port),
            &format!(
                "topic: {topic}\ntls: {{ ca_file: {} }}\nsasl: {{ mechanism: SCRAM-SHA-512, username: {SASL_USER}, \
                 password: \"${{file:{}}}\" }}\n{more}",
                secure.pki.ca.display(),
                password_file.display()
            ),
        );
        let config = std::fs::read_to_string(agent.config()).expect("it was written");
        std::fs::write(agent.config(), config + "logging: { level: trace }\n").expect("the scratch folder is writable");
    };
    configure("lingr: 5s");
    let output = crate::kit::agent::logferry(&["check", "-c", &agent.config().display().to_string()], b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    configure("");
    Writer::new(&agent.log("a.log"), "a").write(10);
    agent.start();
    agent.wait_status("the login to be refused", |status| {
        let brokers = status["outputs"][0]["brokers"].as_array()?;
        brokers.iter().any(|broker| broker["last_error"].is_string()).then_some(())
    });
    let mut shown = said + &agent.stderr() + &agent.stdout() + &agent.status().to_string();
    for page in ["/", "/metrics", "/status"] {
        shown.push_str(&agent.get(page).map(|(_, body)| body).unwrap_or_default());
    }
    agent.kill9();
    std::fs::write(&password_file, SASL_PASSWORD).expect("the scratch folder is writable");
    secure.cluster.create(&topic, 1);
    secure.allow(&format!("User:{SASL_USER}"), &topic);
    agent.start();
    secure.cluster.wait_count(&topic, 10);
    shown.push_str(&(agent.status().to_string() + &agent.get("/metrics").map(|(_, body)| body).unwrap_or_default()));
    agent.stop();
    shown.push_str(&agent.stderr());
    for secret in [wrong, SASL_PASSWORD] {
        assert!(!shown.contains(secret), "a password is shown");
    }
}
