//! The processors that hide and add, count and choose, as written, to ready to run: see `steps`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::agents;
use super::check::Checker;
use super::leaf;
use super::processors::{
    self as written, CloudProvider, EcsCompatibility, FingerprintEncoding, FingerprintMethod, OnExceed, RedactAction,
    RedactBuiltin,
};
use crate::event::{FieldPath, Template};
use crate::process::condition::Condition;
use crate::process::{
    self, Action, CloudFacts, CloudQuery, Encoding, Finder, Key, Keyed, Method, Process, Provider, Rate,
};

/// Bytes of the text that stands for what is hidden.
const MASK_BYTES_MAX: usize = 256;

impl Checker<'_> {
    pub(super) fn redact(&mut self, redact: &written::Redact, path: &[&str]) -> Option<Arc<dyn Process>> {
        if !["patterns", "builtin"].iter().any(|key| self.is_written(&[path, &[*key]].concat())) {
            self.say_at(path, "`redact` looks for nothing: expected `patterns` or `builtin`");
        }
        if redact.mask.len() > MASK_BYTES_MAX {
            self.say_at(&[path, &["mask"]].concat(), format!("`mask` has more than {MASK_BYTES_MAX} bytes"));
        }
        let mut finders = Vec::new();
        for (index, pattern) in redact.patterns.iter().enumerate() {
            let index = index.to_string();
            finders.push(self.parsed(Finder::pattern(&pattern.0), &[path, &["patterns", &index]].concat())?);
        }
        finders.extend(redact.builtin.iter().map(|builtin| match builtin {
            RedactBuiltin::Card => Finder::Card,
            RedactBuiltin::Email => Finder::email(),
            RedactBuiltin::Bearer => Finder::bearer(),
            RedactBuiltin::Ipv4 => Finder::Ipv4,
            RedactBuiltin::Ipv6 => Finder::Ipv6,
        }));
        let action = match (redact.action, &redact.key) {
            (RedactAction::Mask, None) => Action::Mask(redact.mask.as_str().into()),
            (RedactAction::Mask, Some(_)) => {
                self.say_at(&[path, &["key"]].concat(), "`key` belongs to `action: hash`");
                return None;
            }
            (RedactAction::Hash, Some(key)) if !key.0.is_empty() => Action::Hash(Keyed::new(key.0.as_bytes())),
            (RedactAction::Hash, key) => {
                let place = if key.is_some() { "key" } else { "action" };
                let message = "`action: hash` needs a `key`: without one all cards and addresses can be tried";
                self.say_at(&[path, &[place]].concat(), message);
                return None;
            }
        };
        Some(Arc::new(process::Redact { fields: self.fields(&redact.fields, path)?, finders, action }))
    }

    pub(super) fn fingerprint(&mut self, written: &written::Fingerprint, path: &[&str]) -> Option<Arc<dyn Process>> {
        let method = match (written.method, &written.key) {
            (FingerprintMethod::Sha256, None) => Method::Sha256,
            (FingerprintMethod::Xxh3, None) => Method::Xxh3,
            (FingerprintMethod::Sha256, Some(key)) if !key.0.is_empty() => Method::Keyed(Keyed::new(key.0.as_bytes())),
            (method, Some(_)) => {
                let message = match method {
                    FingerprintMethod::Sha256 => "`key` is empty",
                    FingerprintMethod::Xxh3 => "`key` belongs to `method: sha256`",
                };
                self.say_at(&[path, &["key"]].concat(), message);
                return None;
            }
        };
        let encoding = match written.encoding {
            FingerprintEncoding::Hex => Encoding::Hex,
            FingerprintEncoding::Base64 => Encoding::Base64,
        };
        let fields = self.fields(&written.fields, path)?;
        let target = self.parsed(FieldPath::parse(&written.target.0), path)?;
        Some(Arc::new(process::Fingerprint::new(fields, method, target, encoding, written.ignore_missing)))
    }

    pub(super) fn geoip(&mut self, geoip: &written::Geoip, path: &[&str]) -> Option<Arc<dyn Process>> {
        let is_ecs = geoip.ecs_compatibility == EcsCompatibility::V8;
        let field = self.parsed(FieldPath::parse(&geoip.field.0), path)?;
        let target = match (&geoip.target, is_ecs) {
            (Some(target), _) => self.parsed(FieldPath::parse(&target.0), path),
            (None, false) => FieldPath::from_segments(["geoip"]),
            (None, true) => {
                let above = field.segments().split_last().filter(|(last, above)| &***last == "ip" && !above.is_empty());
                let target = above.and_then(|(_, above)| FieldPath::from_segments(above.iter().map(|part| &**part)));
                if target.is_none() {
                    let message = "`target` is missing: with `ecs_compatibility: v8` only a field `….ip` says where to";
                    self.say_at(path, message);
                }
                target
            }
        };
        if geoip.database.0.is_empty() {
            // What was written was none, which was said.
            return None;
        }
        let place = &[path, &["database"]].concat();
        let database = match self.world.database(Path::new(&geoip.database.0)) {
            Ok(database) => database,
            Err(error) => {
                let shown = self.written(place);
                self.say_at(place, format!("cannot use `{shown}` as a database: {error}"));
                return None;
            }
        };
        if let Some(name) = database.foreign_type() {
            let known = "none of City, Country, ASN, ISP and Enterprise: it may know nothing of what `geoip` sets";
            self.warn_at(place, format!("the type of this database, `{name}`, is {known}"));
        }
        let fields = Some(&geoip.fields[..]).filter(|fields| !fields.is_empty());
        Some(Arc::new(process::GeoIp::new(field, &target?, database, is_ecs, fields)))
    }

    pub(super) fn rate_limit(&mut self, limit: &written::RateLimit, path: &[&str]) -> Option<Arc<dyn Process>> {
        if limit.limit.0.is_empty() {
            // What was written was none, which was said.
            return None;
        }
        let rate = self.parsed(Rate::parse(&limit.limit.0), path)?;
        let burst = limit.burst.map_or(rate.per_second(), |burst| burst.0);
        if burst == 0 {
            self.say_at(&[path, &["burst"]].concat(), "`burst` must be at least 1: with 0 nothing would pass");
        }
        let key = match &limit.key {
            None => Key::Fields(self.fields(&limit.fields, path)?),
            Some(_) if !limit.fields.is_empty() => {
                self.say_at(
                    &[path, &["key"]].concat(),
                    "expected one of `fields` and `key`: both say what has a limit",
                );
                return None;
            }
            Some(key) => Key::Template(self.parsed(Template::parse(&key.0), path)?),
        };
        let tag = match limit.on_exceed {
            OnExceed::Drop => None,
            OnExceed::Tag => Some(limit.tag.0.clone()),
        };
        Some(Arc::new(process::RateLimit::new(rate, burst, key, tag)))
    }

    pub(super) fn user_agent(&mut self, agent: &written::UserAgent, path: &[&str]) -> Option<Arc<dyn Process>> {
        let remembered = agent.lru_cache_size.0;
        if !(2..=100_000).contains(&remembered) {
            self.say_at(&[path, &["lru_cache_size"]].concat(), "`lru_cache_size` must be 2 to 100000");
            return None;
        }
        if agent.field.0.is_empty() {
            // What was written was none, which was said.
            return None;
        }
        let field = self.parsed(FieldPath::parse(&agent.field.0), path)?;
        let target = match agent.target.0.as_str() {
            "" => None,
            target => Some(self.parsed(FieldPath::parse(target), path)?),
        };
        agents::prepare();
        let is_ecs = agent.ecs_compatibility == EcsCompatibility::V8;
        Some(Arc::new(process::UserAgent::new(field, target.as_ref(), is_ecs, remembered as usize, agents::ask)))
    }

    pub(super) fn cloud(&mut self, cloud: &written::Cloud, path: &[&str]) -> Option<Arc<dyn Process>> {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(30));
        self.span_within(&[path, &["timeout"]].concat(), cloud.timeout, least, most);
        let rest = cloud.endpoint.strip_prefix("http://").unwrap_or_default();
        if rest.is_empty() || rest.contains(|c: char| "/?#@ ".contains(c) || c.is_control()) {
            let message = "expected `http://HOST:PORT`, without a path: the providers' servers speak no other protocol";
            self.say_at(&[path, &["endpoint"]].concat(), message);
            return None;
        }
        let provider = match cloud.provider {
            CloudProvider::Auto => Provider::Auto,
            CloudProvider::Aws => Provider::Aws,
            CloudProvider::Gcp => Provider::Gcp,
            CloudProvider::Azure => Provider::Azure,
        };
        let query = CloudQuery { provider, timeout: cloud.timeout.0, endpoint: cloud.endpoint.clone() };
        let known = self.clouds.iter().find(|known| known.query == query).map(Arc::clone);
        let facts = known.unwrap_or_else(|| {
            let facts = Arc::new(CloudFacts::new(query));
            self.clouds.push(Arc::clone(&facts));
            facts
        });
        Some(Arc::new(process::Cloud { facts, overwrite: cloud.overwrite }))
    }

    pub(super) fn sample(&mut self, sample: &written::Sample, path: &[&str]) -> Option<Arc<dyn Process>> {
        let key = match &sample.key {
            Some(key) => Some(self.parsed(FieldPath::parse(&key.0), path)?),
            None => None,
        };
        let exclude = match &sample.exclude {
            Some(text) => Some(self.parsed(Condition::parse(&text.0), &[path, &["exclude"]].concat())?),
            None => None,
        };
        Some(Arc::new(process::Sample::new(leaf::rate(&sample.rate.0).ok()?, key, exclude)))
    }
}
