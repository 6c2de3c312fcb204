//! Asks the cloud's provider where this host runs, for the processor `cloud`: once, before the inputs start, within its time-out.
//!
//! So no record waits for it and all have it or none, as with Filebeat; a host that is in no cloud starts later by the
//! time-out, if its network drops what is asked. Each provider is asked in its own thread; a thread that is late ends by its own
//! time-out. Not here: asking again (a host does not move), and IMDSv1.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::event::{FieldPath, Object, Value};
use crate::process::{CloudFacts, CloudQuery, Provider};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How long a token of AWS is good for: it is used at once.
const TOKEN_SECONDS: &str = "60";

/// How often it is looked whether somebody wants the agent to end, while an answer is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Fills what was not filled yet: from `before`, where the same was asked, else by asking. It waits for the answers, until
/// `is_interrupted`: then there is none.
pub fn look_up(facts: &[Arc<CloudFacts>], before: &[Arc<CloudFacts>], is_interrupted: &dyn Fn() -> bool) {
    for facts in facts.iter().filter(|facts| facts.answer().is_none()) {
        let known = before.iter().find(|known| known.query == facts.query).and_then(|known| known.answer());
        let answer = match known {
            Some(known) => known.clone(),
            None => ask(&facts.query, is_interrupted),
        };
        facts.fill(answer);
    }
}

/// What the provider answers. Says in the log what came of it.
fn ask(query: &CloudQuery, is_interrupted: &dyn Fn() -> bool) -> Option<Object> {
    match first_answer(query, is_interrupted) {
        Ok((provider, answer)) => {
            tracing::info!(provider, "the cloud's provider has answered; records get cloud.*");
            Some(answer)
        }
        // Not to be in a cloud is no mistake of one who does not say in which.
        Err(why) if query.provider == Provider::Auto => {
            tracing::info!(within = ?query.timeout, why, "no cloud's provider has answered; records go without cloud.*");
            None
        }
        Err(why) => {
            tracing::warn!(within = ?query.timeout, why, "the cloud's provider has not answered; records go without cloud.*");
            None
        }
    }
}

/// The first good answer and who gave it, or why there is none. One that answers as another (they share an address) is told
/// apart by its form.
fn first_answer(query: &CloudQuery, is_interrupted: &dyn Fn() -> bool) -> Result<(&'static str, Object), String> {
    let began = Instant::now();
    let asked: &[Asked] = match query.provider {
        Provider::Auto => &[AWS, GCP, AZURE],
        Provider::Aws => &[AWS],
        Provider::Gcp => &[GCP],
        Provider::Azure => &[AZURE],
    };
    let mut reasons = Vec::new();
    let (tell, told) = channel();
    for (name, ask) in asked.iter().copied() {
        let (tell, query) = (tell.clone(), query.clone());
        let thread = std::thread::Builder::new().name("cloud".into()).spawn(move || {
            // Who asked may not wait any more.
            tell.send((name, ask(&Client::new(&query)))).ok();
        });
        if let Err(error) = thread {
            reasons.push(format!("{name}: no thread to ask on: {error}"));
        }
    }
    drop(tell);
    loop {
        let left = query.timeout.saturating_sub(began.elapsed());
        match told.recv_timeout(left.min(LOOK_EVERY)) {
            Ok((name, Ok(answer))) => return Ok((name, answer)),
            Ok((name, Err(reason))) => reasons.push(format!("{name}: {reason}")),
            Err(RecvTimeoutError::Disconnected) => return Err(reasons.join("; ")),
            Err(RecvTimeoutError::Timeout) if left.is_zero() || is_interrupted() => {
                reasons.push("no answer in time".to_owned());
                return Err(reasons.join("; "));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// A provider's name in ECS, and how it is asked.
type Asked = (&'static str, fn(&Client) -> Result<Object, String>);

const AWS: Asked = ("aws", aws);
const GCP: Asked = ("gcp", gcp);
const AZURE: Asked = ("azure", azure);

struct Client {
    agent: ureq::Agent,
    endpoint: String,
}

impl Client {
    fn new(query: &CloudQuery) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(query.timeout))
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(true)
            .build();
        Self { agent: ureq::Agent::new_with_config(config), endpoint: query.endpoint.clone() }
    }

    fn get(&self, path: &str, header: (&str, &str)) -> Result<ureq::http::Response<ureq::Body>, String> {
        let asked = self.agent.get(format!("{}{path}", self.endpoint)).header(header.0, header.1);
        asked.call().map_err(|error| error.to_string())
    }
}

fn text(mut answer: ureq::http::Response<ureq::Body>) -> Result<String, String> {
    answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(|error| error.to_string())
}

fn json(answer: ureq::http::Response<ureq::Body>) -> Result<Json, String> {
    serde_json::from_str(&text(answer)?).map_err(|error| format!("its answer is no JSON: {error}"))
}

/// IMDSv2: a token first.
fn aws(client: &Client) -> Result<Object, String> {
    const TOKEN: &str = "X-aws-ec2-metadata-token";
    let token = client
        .agent
        .put(format!("{}/latest/api/token", client.endpoint))
        .header("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)
        .send_empty()
        .map_err(|error| error.to_string())?;
    let token = text(token)?;
    let document = json(client.get("/latest/dynamic/instance-identity/document", (TOKEN, &token))?)?;
    // Only where the instance's owner lets it be seen.
    let name = client.get("/latest/meta-data/tags/instance/Name", (TOKEN, &token)).and_then(text).unwrap_or_default();
    let word = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    made(
        "aws",
        &word("instanceId"),
        &[
            ("service.name", "EC2".to_owned()),
            ("instance.name", name),
            ("machine.type", word("instanceType")),
            ("region", word("region")),
            ("availability_zone", word("availabilityZone")),
            ("account.id", word("accountId")),
            ("image.id", word("imageId")),
        ],
    )
}

fn gcp(client: &Client) -> Result<Object, String> {
    const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");
    let answer = client.get("/computeMetadata/v1/?recursive=true&alt=json", FLAVOR)?;
    if answer.headers().get(FLAVOR.0).is_none_or(|flavor| flavor != FLAVOR.1) {
        return Err("what answers is not Google's metadata server".to_owned());
    }
    let answer = json(answer)?;
    let instance = &answer["instance"];
    let last =
        |key: &str| instance[key].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned();
    let zone = last("zone");
    let region = zone.rsplit_once('-').map(|(region, _)| region.to_owned()).unwrap_or_default();
    let project = answer["project"]["projectId"].as_str().unwrap_or_default().to_owned();
    made(
        "gcp",
        &word_or_number(&instance["id"]),
        &[
            ("service.name", "GCE".to_owned()),
            ("instance.name", instance["name"].as_str().unwrap_or_default().to_owned()),
            ("machine.type", last("machineType")),
            ("region", region),
            ("availability_zone", zone),
            ("account.id", project.clone()),
            ("project.id", project),
        ],
    )
}

fn azure(client: &Client) -> Result<Object, String> {
    let compute = json(client.get("/metadata/instance/compute?api-version=2021-02-01", ("Metadata", "true"))?)?;
    let word = |key: &str| word_or_number(&compute[key]);
    made(
        "azure",
        &word("vmId"),
        &[
            ("service.name", "Virtual Machines".to_owned()),
            ("instance.name", word("name")),
            ("machine.type", word("vmSize")),
            ("region", word("location")),
            ("availability_zone", word("zone")),
            ("account.id", word("subscriptionId")),
        ],
    )
}

fn word_or_number(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The fields below `cloud`; those that are empty are left out.
fn made(provider: &str, instance: &str, others: &[(&str, String)]) -> Result<Object, String> {
    if instance.is_empty() {
        return Err("its answer names no instance".to_owned());
    }
    let mut made = Object::new();
    let first = [("provider", provider.to_owned()), ("instance.id", instance.to_owned())];
    for (name, text) in first.iter().chain(others).filter(|(_, text)| !text.is_empty()) {
        let path = FieldPath::parse(name).expect("the names are constants");
        made.set(&path, Value::from(text.as_str())).expect("no name is another's parent");
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Answers to requests: the head of a request must start with the first, and have the second in it.
    type Answers = Vec<(&'static str, &'static str, String)>;

    /// A server on the loopback: its address.
    fn server(answers: Answers) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                while reader.read_line(&mut head).is_ok_and(|got| got > 2) {}
                let found = answers.iter().find(|(start, has, _)| {
                    head.starts_with(start) && head.to_lowercase().contains(&has.to_lowercase())
                });
                let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
                let answer = found.map_or(missing, |(.., answer)| answer.clone());
                // Who asked may have gone.
                stream.write_all(answer.as_bytes()).ok();
            }
        });
        address
    }

    fn ok(headers: &str, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
    }

    fn aws_server(name: Option<&str>) -> Answers {
        let document = json!({
            "instanceId": "i-0abc", "instanceType": "m7g.large", "region": "eu-central-1", "availabilityZone": "eu-central-1a",
            "accountId": "123456789012", "imageId": "ami-1", "version": "2017-09-30",
        });
        let mut answers = vec![
            ("PUT /latest/api/token ", "x-aws-ec2-metadata-token-ttl-seconds: 60\r\n", ok("", "TOKEN")),
            (
                "GET /latest/dynamic/instance-identity/document ",
                "x-aws-ec2-metadata-token: TOKEN\r\n",
                ok("", &document.to_string()),
            ),
        ];
        if let Some(name) = name {
            answers.push((
                "GET /latest/meta-data/tags/instance/Name ",
                "x-aws-ec2-metadata-token: TOKEN\r\n",
                ok("", name),
            ));
        }
        answers
    }

    fn gcp_server(flavor: &str) -> Answers {
        let body = json!({
            "instance": {
                "id": 3_700_000_000_000_000_001u64, "name": "vm-1", "zone": "projects/42/zones/us-east1-b",
                "machineType": "projects/42/machineTypes/n1-standard-1",
            },
            "project": {"projectId": "shop", "numericProjectId": 42},
        });
        vec![(
            "GET /computeMetadata/v1/?recursive=true&alt=json ",
            "metadata-flavor: Google\r\n",
            ok(flavor, &body.to_string()),
        )]
    }

    fn azure_server() -> Answers {
        let body = json!({
            "vmId": "02aab8a4", "name": "vm-2", "vmSize": "Standard_D2s_v3", "location": "westeurope", "zone": "2",
            "subscriptionId": "8d10da13", "resourceGroupName": "g",
        });
        vec![(
            "GET /metadata/instance/compute?api-version=2021-02-01 ",
            "metadata: true\r\n",
            ok("", &body.to_string()),
        )]
    }

    fn asked(provider: Provider, endpoint: String) -> Option<serde_json::Value> {
        let query = CloudQuery { provider, timeout: Duration::from_secs(20), endpoint };
        ask(&query, &|| false).map(|object| serde_json::Value::Object(object.to_json()))
    }

    fn aws_fields() -> serde_json::Value {
        json!({
            "provider": "aws", "service": {"name": "EC2"}, "instance": {"id": "i-0abc"}, "machine": {"type": "m7g.large"},
            "region": "eu-central-1", "availability_zone": "eu-central-1a", "account": {"id": "123456789012"},
            "image": {"id": "ami-1"},
        })
    }

    #[test]
    fn each_provider_answers_in_its_own_way() {
        let gcp = json!({
            "provider": "gcp", "service": {"name": "GCE"}, "instance": {"id": "3700000000000000001", "name": "vm-1"},
            "machine": {"type": "n1-standard-1"}, "region": "us-east1", "availability_zone": "us-east1-b",
            "account": {"id": "shop"}, "project": {"id": "shop"},
        });
        let azure = json!({
            "provider": "azure", "service": {"name": "Virtual Machines"}, "instance": {"id": "02aab8a4", "name": "vm-2"},
            "machine": {"type": "Standard_D2s_v3"}, "region": "westeurope", "availability_zone": "2",
            "account": {"id": "8d10da13"},
        });
        let mut named = aws_fields();
        named["instance"]["name"] = json!("web");
        let google = "Metadata-Flavor: Google\r\n";
        for provider in [None, Some(())] {
            let of = |own| if provider.is_some() { own } else { Provider::Auto };
            assert_eq!(asked(of(Provider::Aws), server(aws_server(None))), Some(aws_fields()));
            assert_eq!(asked(of(Provider::Aws), server(aws_server(Some("web")))), Some(named.clone()));
            assert_eq!(asked(of(Provider::Gcp), server(gcp_server(google))), Some(gcp.clone()));
            assert_eq!(asked(of(Provider::Azure), server(azure_server())), Some(azure.clone()));
        }
    }

    #[test]
    fn what_is_no_providers_answer_is_none() {
        assert_eq!(asked(Provider::Gcp, server(gcp_server(""))), None, "not Google's");
        assert_eq!(asked(Provider::Aws, server(azure_server())), None, "another provider's");
        assert_eq!(asked(Provider::Auto, server(Vec::new())), None, "a server of something else");
        let odd = |body: &str| vec![("GET ", "", ok("", body)), ("PUT ", "", ok("", ""))];
        for body in ["", "{", "[]", "{\"vmId\": \"\"}", "{\"vmId\": {}}"] {
            assert_eq!(asked(Provider::Azure, server(odd(body))), None, "{body}");
        }
        let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        assert_eq!(asked(Provider::Auto, format!("http://{closed}")), None, "nobody listens");
    }

    /// Scenario: something takes the connection and never answers; the time-out is short, or somebody wants the agent to end.
    /// Guarantee: it is over then.
    #[test]
    fn the_timeout_ends_it() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", silent.local_addr().expect("bound"));
        for (timeout, is_interrupted) in [(Duration::from_millis(200), false), (Duration::from_secs(60), true)] {
            let began = Instant::now();
            let query = CloudQuery { provider: Provider::Auto, timeout, endpoint: endpoint.clone() };
            let why = first_answer(&query, &|| is_interrupted).expect_err("nobody answers");
            assert!(why.contains("no answer in time") || why.contains("timeout"), "{why}");
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        }
    }

    /// Scenario: a second config asks the same, and a third something else, after the provider has gone.
    /// Guarantee: what was answered once is known, and not asked again.
    #[test]
    fn it_is_asked_once() {
        let query = |endpoint: String| {
            let timeout = Duration::from_secs(20);
            Arc::new(CloudFacts::new(CloudQuery { provider: Provider::Aws, timeout, endpoint }))
        };
        let endpoint = server(aws_server(None));
        let first = [query(endpoint.clone())];
        look_up(&first, &[], &|| false);
        let answer = first[0].answer().cloned().flatten();
        assert_eq!(answer.map(|object| serde_json::Value::Object(object.to_json())), Some(aws_fields()));
        // As if it was asked in vain: an answer would be another.
        let before = [query(endpoint.clone())];
        before[0].fill(None);
        let (second, other) = (query(endpoint), query(server(Vec::new())));
        look_up(&[Arc::clone(&second), Arc::clone(&other)], &before, &|| false);
        assert_eq!((second.answer(), other.answer()), (Some(&None), Some(&None)));
    }
}
