//! `host`: says on which host an event was read, in ECS's fields below `host`.
//!
//! What is known of the host comes with the options: it is looked up once, when the config is read. `host.name`, which the
//! agent adds to every event, stays as it is. Not here: looking it up (config).

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Value};

/// What is known of this host; what is not is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    pub hostname: String,
    /// The machine-id.
    pub id: String,
    /// As `uname -m` says it.
    pub architecture: String,
    /// The release of the kernel.
    pub kernel: String,
    /// `Debian GNU/Linux`.
    pub os_name: String,
    /// `debian`.
    pub os_platform: String,
    /// `debian`, `redhat`, `suse`, …: what the platform descends from.
    pub os_family: String,
    /// `12 (bookworm)`.
    pub os_version: String,
    pub os_codename: String,
    /// Addresses of both families, without those of the loopback.
    pub addresses: Vec<String>,
    /// Hardware addresses as RFC 7042 writes them: `00-00-5E-00-53-23`.
    pub macs: Vec<String>,
}

/// `host: {netinfo: true}`.
#[derive(Clone, Debug)]
pub struct Host {
    fields: Vec<(FieldPath, Value)>,
}

impl Host {
    /// Adds these facts.
    pub fn new(facts: &HostFacts) -> Self {
        let texts = [
            ("host.hostname", &facts.hostname),
            ("host.id", &facts.id),
            ("host.architecture", &facts.architecture),
            ("host.os.kernel", &facts.kernel),
            ("host.os.name", &facts.os_name),
            ("host.os.platform", &facts.os_platform),
            ("host.os.family", &facts.os_family),
            ("host.os.version", &facts.os_version),
            ("host.os.codename", &facts.os_codename),
        ];
        let lists = [("host.ip", &facts.addresses), ("host.mac", &facts.macs)];
        let path = |name| FieldPath::parse(name).expect("the names are constants");
        let mut fields = vec![(path("host.os.type"), Value::from("linux"))];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            fields.push((path(name), text.as_str().into()));
        }
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            fields.push((path(name), Value::Array(list.iter().map(|text| text.as_str().into()).collect())));
        }
        Self { fields }
    }
}

impl Process for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for (path, value) in &self.fields {
            if work.set(path, value.clone()).is_err() {
                all = Err(Failed);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BUF, check, check_fields, common, event, path, run, step};
    use super::*;
    use crate::event::EventView;
    use serde_json::json;

    fn facts() -> HostFacts {
        HostFacts {
            hostname: "web-1.example".to_owned(),
            architecture: "x86_64".to_owned(),
            os_platform: "debian".to_owned(),
            addresses: vec!["192.0.2.2".to_owned(), "2001:db8::2".to_owned()],
            ..HostFacts::default()
        }
    }

    #[test]
    fn adds_what_is_known_beside_what_is_there() {
        check(
            Host::new(&facts()),
            json!({
                "message": "hello", "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6},
                "tags": ["a"], "fields": {"service": "shop", "team": {"name": "ops"}},
                "host": {
                    "name": "web-1", "hostname": "web-1.example", "architecture": "x86_64",
                    "os": {"type": "linux", "platform": "debian"}, "ip": ["192.0.2.2", "2001:db8::2"],
                },
            }),
        );
    }

    /// Scenario: an event whose `host` is a text, as patterns for syslog make it.
    /// Guarantee: it stays, and the event is tagged.
    #[test]
    fn a_host_that_is_a_text_stays() {
        check_fields(Host::new(&facts()), json!({"host": "web-2"}), json!({"tags": ["a", "_host_failed"]}));
        let common = common();
        let mut event = event();
        event.set(&path("host"), "web-2".into(), BUF, &common).expect("sets");
        run(vec![step(Host::new(&facts()))], &mut event, &common);
        let host = EventView { event: &event, buf: BUF, common: &common }.get(&path("host"));
        assert_eq!(host.map(crate::event::ValueRef::into_value), Some("web-2".into()));
    }
}
