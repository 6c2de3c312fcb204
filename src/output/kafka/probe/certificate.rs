//! What a certificate says of itself (P): whose it is, who signed it, from when to when, for which names. From DER.
//!
//! Only for messages: what is odd is left out, never guessed, and nothing here decides whether a certificate is good
//! (OpenSSL does). Bytes come from strangers: every length is checked.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The parts of a certificate that a message names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificate {
    /// `CN=broker,O=Example`.
    pub subject: String,
    pub issuer: String,
    /// `2026-11-25 19:46:40 UTC`.
    pub not_before: String,
    pub not_after: String,
    /// DNS names and addresses that it is for.
    pub names: Vec<String>,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Names are cut after so many: a wildcard of strangers must not fill the screen.
const NAMES_MAX: usize = 8;

/// Elements of DER, one after the other.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let bytes = usize::from(first & 0x7f);
            if bytes == 0 || bytes > 4 {
                return None;
            }
            let (head, tail) = rest.split_at_checked(bytes)?;
            length = head.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
            rest = tail;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next element, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<Der<'a>> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| Der(content))
    }
}

impl Certificate {
    /// What can be read of `der`; `None` if it is no certificate.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut body = Der(der).expect(SEQUENCE)?.expect(SEQUENCE)?;
        if body.0.first() == Some(&VERSION) {
            body.next()?;
        }
        let (_serial, _algorithm) = (body.next()?, body.next()?);
        let issuer = distinguished_name(body.expect(SEQUENCE)?);
        let mut validity = body.expect(SEQUENCE)?;
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = distinguished_name(body.expect(SEQUENCE)?);
        let mut names = Vec::new();
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                names = alternative_names(Der(content)).unwrap_or_default();
            }
        }
        Some(Self { subject, issuer, not_before, not_after, names })
    }

    /// The names it is for, for a message.
    pub fn names_text(&self) -> String {
        if self.names.is_empty() {
            return format!("no host name (its subject is {})", self.subject);
        }
        let shown = &self.names[..self.names.len().min(NAMES_MAX)];
        let more = if shown.len() < self.names.len() { ", …" } else { "" };
        shown.join(", ") + more
    }
}

/// `CN=broker,O=Example`: the attributes that people know, in the order of RFC 2253 (last first), as Kafka's principals.
fn distinguished_name(mut name: Der<'_>) -> String {
    let mut parts = Vec::new();
    while let Some(mut set) = name.expect(SET) {
        while let Some(mut pair) = set.expect(SEQUENCE) {
            let (Some(oid), Some((_, value))) = (pair.expect(OID), pair.next()) else { continue };
            let key = match oid.0 {
                [0x55, 0x04, 0x03] => "CN",
                [0x55, 0x04, 0x06] => "C",
                [0x55, 0x04, 0x07] => "L",
                [0x55, 0x04, 0x08] => "ST",
                [0x55, 0x04, 0x0a] => "O",
                [0x55, 0x04, 0x0b] => "OU",
                _ => continue,
            };
            parts.push(format!("{key}={}", printable(value)));
        }
    }
    parts.reverse();
    if parts.is_empty() { "(no name)".to_owned() } else { parts.join(",") }
}

/// Text of a stranger, without what would speak to a terminal.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '?' } else { c }).take(128).collect()
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time((tag, text): (u8, &[u8])) -> Option<String> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit() || b == b'Z'))?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            // RFC 5280: two digits from 50 on are of the last century.
            (if year >= "50" { format!("19{year}") } else { format!("20{year}") }, rest)
        }
        GENERALIZED_TIME => text.split_at_checked(4).map(|(year, rest)| (year.to_owned(), rest))?,
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2);
    let (month, day, hour, minute, second) = (two(0)?, two(2)?, two(4)?, two(6)?, two(8)?);
    Some(format!("{year}-{month}-{day} {hour}:{minute}:{second} UTC"))
}

fn alternative_names(mut outer: Der<'_>) -> Option<Vec<String>> {
    let mut extensions = outer.expect(SEQUENCE)?;
    while let Some(mut extension) = extensions.expect(SEQUENCE) {
        if extension.expect(OID)?.0 != SUBJECT_ALT_NAME {
            continue;
        }
        // A critical flag may stand before the value.
        let mut value = extension.next()?;
        if value.0 != OCTETS {
            value = extension.next()?;
        }
        let mut names = Der(value.1).expect(SEQUENCE)?;
        let mut found = Vec::new();
        while let Some((tag, content)) = names.next() {
            match (tag, content) {
                (DNS_NAME, name) => found.push(printable(name)),
                (IP_ADDRESS, &[a, b, c, d]) => found.push(Ipv4Addr::new(a, b, c, d).to_string()),
                (IP_ADDRESS, bytes) => {
                    let address: Option<[u8; 16]> = bytes.try_into().ok();
                    found.extend(address.map(|bytes| Ipv6Addr::from(bytes).to_string()));
                }
                _ => {}
            }
        }
        return Some(found);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn made() -> Vec<u8> {
        let names = ["kafka-0.example", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names.to_vec()).expect("valid names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, "bro\u{1b}ker");
        params.not_before = rcgen::date_time_ymd(2020, 1, 2);
        params.not_after = rcgen::date_time_ymd(2051, 3, 4);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn a_certificate_tells_whose_it_is() {
        let certificate = Certificate::parse(&made()).expect("a certificate");
        assert_eq!(certificate.subject, "CN=bro?ker,O=Example");
        assert_eq!(certificate.issuer, certificate.subject);
        assert_eq!(certificate.not_before, "2020-01-02 00:00:00 UTC");
        assert_eq!(certificate.not_after, "2051-03-04 00:00:00 UTC", "from 2050 on it is a GeneralizedTime");
        assert_eq!(certificate.names, ["kafka-0.example", "127.0.0.1", "::1"]);
        assert_eq!(certificate.names_text(), "kafka-0.example, 127.0.0.1, ::1");
    }

    #[test]
    fn a_torn_certificate_is_none() {
        let whole = made();
        for end in 0..whole.len() {
            assert_eq!(Certificate::parse(&whole[..end]), None, "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0usize..400, byte: u8, garbage in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bent = made();
            let at = at % bent.len();
            bent[at] = byte;
            let _read = Certificate::parse(&bent);
            let _read = Certificate::parse(&garbage);
        }
    }
}
