//! A certificate authority for the tests, with a server's and a client's certificate. PEM, made anew for each run.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Where the files are.
pub struct Pki {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// Key (PKCS#8) and certificate of the server in one file, as Kafka wants them.
    pub server: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
    /// As `server`, but it has expired.
    pub expired_server: PathBuf,
    /// An authority that signed nothing of the server's.
    pub other_ca: PathBuf,
    /// A client's certificate and key that this other authority signed.
    pub stranger_cert: PathBuf,
    pub stranger_key: PathBuf,
    authority: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// The principal that mTLS gives the client: `User:CN=…`.
pub const CLIENT_PRINCIPAL: &str = "User:CN=ferry-client";

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names, none wrong");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key can be made");
    let pem = params.self_signed(&key).expect("it can sign itself").pem();
    (pem, Issuer::new(params, key))
}

fn leaf(name: &str, hosts: &[&str], usage: ExtendedKeyUsagePurpose, by: &Issuer<'static, KeyPair>) -> (String, String) {
    leaf_until(2040, name, hosts, usage, by)
}

fn leaf_until(
    year: i32,
    name: &str,
    hosts: &[&str],
    usage: ExtendedKeyUsagePurpose,
    by: &Issuer<'static, KeyPair>,
) -> (String, String) {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("the names are valid");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().expect("a key can be made");
    let cert = params.signed_by(&key, by).expect("the authority can sign");
    (cert.pem(), key.serialize_pem())
}

impl Pki {
    /// Makes everything below `folder`.
    pub fn make(folder: &Path) -> Self {
        let (ca_pem, ca) = authority("test authority");
        let (other_pem, other) = authority("another authority");
        let (server, server_key) =
            leaf("broker", &["127.0.0.1", "localhost"], ExtendedKeyUsagePurpose::ServerAuth, &ca);
        let (expired, expired_key) =
            leaf_until(2001, "expired broker", &["127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth, &ca);
        let (stranger, stranger_key) = leaf("stranger", &[], ExtendedKeyUsagePurpose::ClientAuth, &other);
        let (client, client_key) = leaf("ferry-client", &[], ExtendedKeyUsagePurpose::ClientAuth, &ca);
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("the scratch folder is writable");
            path
        };
        Self {
            ca: write("ca.pem", &ca_pem),
            server: write("server.pem", &format!("{server_key}{server}{ca_pem}")),
            expired_server: write("expired.pem", &format!("{expired_key}{expired}{ca_pem}")),
            stranger_cert: write("stranger.pem", &stranger),
            stranger_key: write("stranger.key", &stranger_key),
            client_cert: write("client.pem", &client),
            client_key: write("client.key", &client_key),
            other_ca: write("other-ca.pem", &other_pem),
            authority: ca,
        }
    }

    /// Another client, whose principal is `User:CN=` and its name.
    pub fn client(&self, name: &str) -> Pair {
        let (cert, key) = leaf(name, &[], ExtendedKeyUsagePurpose::ClientAuth, &self.authority);
        Pair { cert, key }
    }
}
