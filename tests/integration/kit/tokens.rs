//! An identity provider: gives unsigned JWTs over HTTPS for client credentials (RFC 6749 §4.4), and counts them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub const CLIENT_ID: &str = "agents/ferry";
/// Characters that a form and a header must escape.
pub const CLIENT_SECRET: &str = "s3cr3t:&=%+ ü";

/// A provider that answers until the test process ends.
pub struct Provider {
    pub url: String,
    given: Arc<AtomicUsize>,
}

impl Provider {
    /// With the certificate and key of `pem`; its tokens are for `subject` and live for `seconds`.
    pub fn start(pem: &Path, subject: &str, seconds: u64) -> Self {
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(pem).expect("a PEM file").map(|one| one.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(pem).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("they belong together");
        let (config, given) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("https://{}/token", listener.local_addr().expect("bound"));
        let (subject, counter) = (subject.to_owned(), Arc::clone(&given));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that gives up is no failure of the provider.
                answer(stream, Arc::clone(&config), &subject, seconds, &counter).ok();
            }
        });
        Self { url, given }
    }

    /// Tokens given so far.
    pub fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }
}

fn answer(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    subject: &str,
    seconds: u64,
    given: &AtomicUsize,
) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let (mut length, mut credentials, mut line) = (0, String::new(), String::new());
    while stream.read_line(&mut line)? > 2 {
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => credentials = value.trim().to_owned(),
            _ => {}
        }
        line.clear();
    }
    let mut form = vec![0; length];
    stream.read_exact(&mut form)?;
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let expect = BASE64_STANDARD.encode(format!("{}:{}", encode(CLIENT_ID), encode(CLIENT_SECRET)));
    let is_known = credentials == format!("Basic {expect}");
    let is_right = String::from_utf8_lossy(&form) == "grant_type=client_credentials&scope=kafka";
    let (status, body) = if is_known && is_right {
        given.fetch_add(1, Ordering::SeqCst);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let claims = serde_json::json!({ "sub": subject, "iat": now, "exp": now + seconds, "scope": "kafka" });
        let part = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.", part(r#"{"alg":"none"}"#.to_owned()), part(claims.to_string()));
        ("200 OK", serde_json::json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds }))
    } else {
        ("401 Unauthorized", serde_json::json!({ "error": "invalid_client", "error_description": "who are you?" }))
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let stream = stream.get_mut();
    stream.write_all(format!("{head}{body}").as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}
