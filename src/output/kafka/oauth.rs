//! OAUTHBEARER: tokens from the identity provider, by client credentials (RFC 6749 §4.4), for librdkafka to log in with.
//!
//! librdkafka says when it wants a token (at the start, and at 80 % of the life of the last); it is fetched on a thread of
//! its own, and handed over by whoever polls the client. Over HTTPS only, but for this very machine: the secret is in the
//! request. Its answer is believed for what it is (RFC 6749 §5.1); the brokers judge the token, not we.
//!
//! librdkafka's own way (`sasl.oauthbearer.method=oidc`) needs libcurl, which the static binary does not have.

use std::ffi::CString;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::{Client, lock};
use super::ffi;
use super::options::OauthBearer;

/// How long the identity provider may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The life of a token whose answer does not say it (RFC 6749 leaves that open).
const LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// An answer is a token and a few words.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Where systems keep the certificates of the authorities they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A token, as librdkafka takes it.
struct Token {
    value: String,
    expires_ms: i64,
    /// Who logs in: the token's subject, or the client's id where it can't be read.
    principal: String,
}

/// The tokens of one client.
pub(super) struct Tokens {
    options: Arc<OauthBearer>,
    /// What was fetched and not handed over yet.
    answer: Arc<Mutex<Option<Result<Token, String>>>>,
}

impl Tokens {
    /// Nothing is fetched before [`Tokens::fetch`].
    pub fn new(options: OauthBearer) -> Self {
        Self { options: Arc::new(options), answer: Arc::default() }
    }

    /// Fetches a token, apart: the caller never waits.
    pub fn fetch(&self) {
        let (options, answer) = (Arc::clone(&self.options), Arc::clone(&self.answer));
        let spawned = std::thread::Builder::new()
            .name("kafka-token".to_owned())
            .spawn(move || *lock(&answer) = Some(request(&options)));
        if let Err(error) = spawned {
            *lock(&self.answer) = Some(Err(format!("no thread to fetch a token on: {error}")));
        }
    }

    /// Hands over what was fetched. After a failure librdkafka asks again in 10 s.
    pub fn hand_over(&self, client: &Client) {
        let Some(answer) = lock(&self.answer).take() else { return };
        // SAFETY: the instance is alive.
        let given = answer.and_then(|token| unsafe { give(client.as_ptr(), &token) });
        if let Err(reason) = given {
            tracing::error!(target: "logferry::kafka", output = %client.name(), url = %self.options.token_url, %reason, "no token to log in with; it is asked for again in 10 s");
            let reason = CString::new(reason.replace('\0', " ")).unwrap_or_default();
            // SAFETY: instance and text are alive.
            unsafe { ffi::rd_kafka_oauthbearer_set_token_failure(client.as_ptr(), reason.as_ptr()) };
        }
    }
}

/// Fetches a token and hands it over, now: for an instance that lives no longer than a token.
///
/// # Errors
/// What the identity provider or librdkafka says.
///
/// # Safety
/// `rk` is an instance that lives through the call.
pub(super) unsafe fn log_in(rk: *mut ffi::rd_kafka_t, options: &OauthBearer) -> Result<(), String> {
    let token = request(options)?;
    // SAFETY: by this function's contract.
    unsafe { give(rk, &token) }
}

/// # Safety
/// `rk` is an instance that lives through the call.
unsafe fn give(rk: *mut ffi::rd_kafka_t, token: &Token) -> Result<(), String> {
    let (Ok(value), Ok(principal)) = (CString::new(&*token.value), CString::new(&*token.principal)) else {
        return Err("the token holds a NUL byte".to_owned());
    };
    let mut reason = [0; 512];
    // SAFETY: instance and texts are alive; there are no extensions; the buffer has the size given.
    let code = unsafe {
        ffi::rd_kafka_oauthbearer_set_token(
            rk,
            value.as_ptr(),
            token.expires_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            reason.as_mut_ptr(),
            reason.len(),
        )
    };
    // SAFETY: on failure librdkafka has written a NUL-terminated text.
    if code == 0 { Ok(()) } else { Err(unsafe { ffi::string(reason.as_ptr()) }) }
}

/// Asks for a token.
fn request(options: &OauthBearer) -> Result<Token, String> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let credentials = format!("{}:{}", encode(&options.client_id), encode(&options.client_secret.0));
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend(options.scope.as_deref().map(|scope| ("scope", scope)));
    let tls = ureq::tls::TlsConfig::builder().root_certs(authorities(options.ca_file.as_deref())?).build();
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls)
            .build(),
    );
    let asked = SystemTime::now();
    let mut answer = agent
        .post(&options.token_url)
        .header("authorization", format!("Basic {}", BASE64_STANDARD.encode(credentials)))
        .header("accept", "application/json")
        .send_form(form)
        .map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_string()
        .map_err(|error| format!("its answer can't be read: {error}"))?;
    if !status.is_success() {
        return Err(refused(status.as_u16(), &text));
    }
    token(&text, asked, &options.client_id)
}

/// What the provider says of a request that it refuses (RFC 6749 §5.2), without the rest of its answer.
fn refused(status: u16, text: &str) -> String {
    let said: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let word = |key: &str| said[key].as_str().map(ToOwned::to_owned);
    let why: Vec<String> = [word("error"), word("error_description")].into_iter().flatten().collect();
    format!(
        "the identity provider answers {status}: {}",
        if why.is_empty() { "no reason given".into() } else { why.join(", ") }
    )
}

/// The token in an answer that was asked for at `asked`.
fn token(answer: &str, asked: SystemTime, client_id: &str) -> Result<Token, String> {
    let answer: serde_json::Value =
        serde_json::from_str(answer).map_err(|error| format!("the identity provider's answer is no JSON: {error}"))?;
    let value = answer["access_token"].as_str().filter(|value| !value.is_empty());
    let value = value.ok_or("the identity provider's answer has no access_token")?.to_owned();
    // Some write it as a text.
    let seconds = answer["expires_in"].as_f64().or_else(|| answer["expires_in"].as_str()?.parse().ok());
    let life = seconds.map_or(LIFE_DEFAULT, |seconds| Duration::from_secs_f64(seconds.clamp(1.0, 1e8)));
    let expires = (asked + life).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let principal = subject(&value).unwrap_or_else(|| client_id.to_owned());
    Ok(Token { value, expires_ms: i64::try_from(expires).unwrap_or(i64::MAX), principal })
}

/// The subject of a JWT, whoever signed it: only a name for librdkafka's log.
fn subject(token: &str) -> Option<String> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims["sub"].as_str().map(ToOwned::to_owned)
}

/// Whom to trust: the system's authorities, and the output's `tls.ca_file`; where the system names none, Mozilla's.
fn authorities(ca_file: Option<&Path>) -> Result<ureq::tls::RootCerts, String> {
    let mut found = Vec::new();
    let mut read = |pem: &[u8]| {
        let certificates = ureq::tls::parse_pem(pem).filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        found.extend(certificates);
    };
    if let Some(bundle) = BUNDLES.iter().find_map(|path| std::fs::read(path).ok()) {
        read(&bundle);
    }
    if let Some(path) = ca_file {
        read(&std::fs::read(path).map_err(|error| format!("tls.ca_file {}: {error}", path.display()))?);
    }
    Ok(if found.is_empty() { ureq::tls::RootCerts::WebPki } else { ureq::tls::RootCerts::new_with_certs(&found) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.", part(r#"{"alg":"none"}"#), part(claims))
    }

    #[test]
    fn an_answer_is_read_or_said_to_be_wrong() {
        let asked = UNIX_EPOCH + Duration::from_secs(1_000);
        let check = |answer: &str| token(answer, asked, "me").map(|token| (token.principal, token.expires_ms));
        let answer =
            |value: &str, more: &str| format!("{{\"access_token\":\"{value}\",\"token_type\":\"Bearer\"{more}}}");
        let mine = jwt(r#"{"sub":"ferry"}"#);
        assert_eq!(check(&answer(&mine, ",\"expires_in\":60")), Ok(("ferry".into(), 1_060_000)));
        assert_eq!(check(&answer(&mine, ",\"expires_in\":\"60\"")), Ok(("ferry".into(), 1_060_000)));
        assert_eq!(check(&answer("opaque", "")), Ok(("me".into(), 1_300_000)));
        for (bad, why) in
            [("{}", "no access_token"), ("<html>", "no JSON"), ("{\"access_token\":\"\"}", "no access_token")]
        {
            let error = check(bad).expect_err(bad);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_refusal_says_the_providers_words_and_nothing_else() {
        let text = r#"{"error":"invalid_client","error_description":"no such client","hint":"x"}"#;
        assert_eq!(refused(401, text), "the identity provider answers 401: invalid_client, no such client");
        assert_eq!(refused(502, "<html>"), "the identity provider answers 502: no reason given");
    }
}
