//! The processors that hide and add, count and choose, as written, to ready to run: see `steps`.

use std::sync::Arc;

use super::check::Checker;
use super::processors::{self as written, FingerprintEncoding, FingerprintMethod, RedactAction, RedactBuiltin};
use crate::event::FieldPath;
use crate::process::{self, Action, Encoding, Finder, Keyed, Method, Process};

/// Bytes of the text that stands for what is hidden.
const MASK_BYTES_MAX: usize = 256;

impl Checker<'_> {
    pub(super) fn redact(&mut self, redact: &written::Redact, path: &[&str]) -> Option<Arc<dyn Process>> {
        if redact.patterns.is_empty() && redact.builtin.is_empty() {
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
}
