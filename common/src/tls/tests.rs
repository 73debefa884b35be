//! Certificates made by the real `openssl`, presented by a real TLS server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// A directory in which openssl works.
struct Forge {
    dir: TempDir,
}

impl Forge {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.split_whitespace();
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.dir.path())
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A self-signed certificate `NAME.pem` with its key `NAME.key`.
    fn self_signed(&self, name: &str, more: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.pem -subj /CN={name} {more}"
        ));
    }

    /// A certificate signed by `issuer`, with `extensions` one a line.
    fn signed(&self, name: &str, issuer: &str, extensions: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        fs::write(self.path("extensions"), extensions).expect("written");
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ));
    }

    fn join(&self, to: &str, parts: &[&str]) {
        let whole: Vec<u8> =
            parts.iter().flat_map(|part| fs::read(self.path(&format!("{part}.pem"))).expect("read")).collect();
        fs::write(self.path(&format!("{to}.pem")), whole).expect("written");
    }

    fn trust(&self, files: &[&str]) -> Trust {
        let custom_ca = files.iter().map(|file| self.path(&format!("{file}.pem"))).collect();
        Trust { custom_ca, ..Trust::default() }
    }

    /// Connects to a server that presents `chain` with the key of `key`; `Ok` if a byte came through.
    fn connect(&self, trust: &Trust, chain: &str, key: &str, name: &str) -> Result<(), String> {
        let chain = read_chain(&self.path(&format!("{chain}.pem"))).expect("a chain");
        let key = read_key(&self.path(&format!("{key}.key"))).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = provider.key_provider.load_private_key(key).expect("a usable key");
        let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
        let server =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let server =
            server.with_no_client_auth().with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        let client = client_config(trust).expect("a configuration");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime
            .block_on(exchange(client, Arc::new(server), name.to_owned()))
            .map_err(|error| explain(&error).unwrap_or_else(|| format!("no TLS error: {error}")))
    }
}

async fn exchange(client: Arc<ClientConfig>, server: Arc<ServerConfig>, name: String) -> io::Result<()> {
    let (near, far) = duplex(64 * 1024);
    let served = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"x").await?;
        stream.flush().await
    });
    let name = ServerName::try_from(name).expect("a name");
    let mut stream = TlsConnector::from(client).connect(name, near).await?;
    assert_eq!(stream.read_u8().await?, b'x');
    served.await.expect("the server ends")
}

const SAN: &str = "-addext subjectAltName=DNS:minio.local,DNS:*.s3.local,IP:10.1.2.3,IP:fd00::1";

#[test]
fn a_self_signed_server_certificate_in_the_file_is_accepted() {
    let forge = Forge::new();
    for (name, flags) in [("ca", "CA:TRUE"), ("leaf", "CA:FALSE")] {
        forge.self_signed(name, &format!("{SAN} -addext basicConstraints=critical,{flags}"));
        let check = |host| forge.connect(&forge.trust(&[name]), name, name, host);
        for host in ["minio.local", "MINIO.local", "bucket.s3.local", "10.1.2.3", "fd00::1"] {
            assert_eq!(check(host), Ok(()), "{flags} {host}");
        }
        for host in ["other.local", "a.b.s3.local", "s3.local", "10.1.2.4", name] {
            let error = check(host).expect_err(host);
            let expect = format!(
                "the server's certificate is not for {host}; it is for: minio.local, *.s3.local, 10.1.2.3, fd00::1; \
                 use one of these names as endpoint, or issue a certificate with this one"
            );
            assert_eq!(error, expect);
        }
    }
}

#[test]
fn an_asterisk_may_stand_before_a_single_label() {
    let forge = Forge::new();
    forge.self_signed("root", "");
    forge.signed("server", "root", "subjectAltName=DNS:*.minio\n");
    let connect = |host| forge.connect(&forge.trust(&["root"]), "server", "server", host);
    assert_eq!(connect("bucket.minio"), Ok(()));
    assert!(connect("minio").is_err() && connect("a.bucket.minio").is_err());
}

#[test]
fn chains_end_at_anything_in_the_file() {
    let forge = Forge::new();
    forge.self_signed("root", "");
    forge.self_signed("stranger", "");
    forge.signed("middle", "root", "basicConstraints=critical,CA:TRUE\n");
    forge.signed("leaf", "middle", "subjectAltName=DNS:minio.local\n");
    forge.signed("direct", "root", "subjectAltName=DNS:minio.local\n");
    forge.join("full", &["leaf", "middle"]);
    forge.join("bundle", &["stranger", "middle", "root"]);
    let check = |trust: &[&str], chain: &str, key: &str| forge.connect(&forge.trust(trust), chain, key, "minio.local");
    assert_eq!(check(&["root"], "direct", "direct"), Ok(()));
    assert_eq!(check(&["root"], "full", "leaf"), Ok(()));
    assert_eq!(check(&["bundle"], "full", "leaf"), Ok(()));
    assert_eq!(check(&["stranger", "root"], "full", "leaf"), Ok(()), "several files");
    assert_eq!(check(&["middle"], "leaf", "leaf"), Ok(()), "an intermediate is an anchor");
    assert_eq!(check(&["middle"], "full", "leaf"), Ok(()));
    assert_eq!(check(&["leaf"], "full", "leaf"), Ok(()), "the leaf is in the file");
    for (trust, chain) in [(&["stranger"][..], "full"), (&["root"], "leaf"), (&["direct"], "full")] {
        let error = check(trust, chain, "leaf").expect_err("untrusted");
        assert_eq!(
            error,
            "the server's certificate is not trusted: subject \"CN=leaf\", issued by \"CN=middle\", which is not in the \
             custom CA; give the issuer's certificate with customCA (or --ca-cert)",
        );
    }
}

#[test]
fn a_stranger_is_refused_unless_everything_is_accepted() {
    let forge = Forge::new();
    forge.self_signed("mine", SAN);
    forge.self_signed("other", SAN);
    // Same subject, another key: only the bytes count.
    forge.self_signed("mine2", &format!("{SAN} -subj /CN=mine"));
    for stranger in ["other", "mine2"] {
        let error = forge.connect(&forge.trust(&["mine"]), stranger, stranger, "minio.local").expect_err("untrusted");
        assert!(error.starts_with("the server's certificate is not trusted: subject"), "{error}");
    }
    // The file replaces the system's roots, and the system's roots do not know it.
    let error = forge.connect(&Trust::default(), "mine", "mine", "minio.local").expect_err("untrusted");
    assert!(error.contains("which is not in the system's roots"), "{error}");
    let insecure = Trust { insecure: true, ..forge.trust(&["mine"]) };
    assert_eq!(forge.connect(&insecure, "other", "other", "elsewhere"), Ok(()));
}

#[test]
fn dates_are_checked_for_leaves_and_chains() {
    let forge = Forge::new();
    let past = "-not_before 20200101000000Z -not_after 20210101000000Z";
    let future = "-not_before 20990101000000Z -not_after 21000101000000Z";
    for (name, dates) in [("old", past), ("early", future)] {
        // `openssl req` of OpenSSL 3.0 has no dates; `openssl ca` has.
        forge.self_signed(name, SAN);
        forge.dated(name, dates);
    }
    let check = |name: &str| forge.connect(&forge.trust(&[name]), name, name, "minio.local").expect_err(name);
    let old = check("old");
    assert!(
        old.contains("expired on 2021-01-01T00:00:00Z, it is 2") && old.contains("set this machine's clock"),
        "{old}"
    );
    let early = check("early");
    assert!(early.contains("is valid from 2099-01-01T00:00:00Z on, it is 2") && early.contains("clock"), "{early}");

    forge.self_signed("root", "");
    forge.signed("expired", "root", "subjectAltName=DNS:minio.local\n");
    forge.dated_by("expired", "root", past);
    let error = forge.connect(&forge.trust(&["root"]), "expired", "expired", "minio.local").expect_err("expired");
    assert!(error.contains("expired on 2021-01-01T00:00:00Z"), "{error}");
}

impl Forge {
    /// Signs `NAME` again with its own key and other dates.
    fn dated(&self, name: &str, dates: &str) {
        self.openssl(&format!("req -new -key {name}.key -out {name}.csr -subj /CN={name}"));
        self.ca(name, &format!("-selfsign -keyfile {name}.key"), dates);
    }

    fn dated_by(&self, name: &str, issuer: &str, dates: &str) {
        self.ca(name, &format!("-cert {issuer}.pem -keyfile {issuer}.key"), dates);
    }

    fn ca(&self, name: &str, signer: &str, dates: &str) {
        let config = "[ca]\ndefault_ca=c\n[c]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n\
                      x509_extensions=e\nunique_subject=no\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=DNS:minio.local\n";
        fs::write(self.path("ca.cnf"), config).expect("written");
        fs::write(self.path("index"), "").expect("written");
        fs::write(self.path("serial"), "01\n").expect("written");
        let dates = dates.replace("-not_before", "-startdate").replace("-not_after", "-enddate");
        self.openssl(&format!("ca -batch -notext -config ca.cnf -in {name}.csr -out {name}.pem {signer} {dates}"));
    }
}

#[test]
fn names_count_only_as_alternative_names() {
    let forge = Forge::new();
    forge.self_signed("minio", "");
    let error = forge.connect(&forge.trust(&["minio"]), "minio", "minio", "minio").expect_err("no names");
    assert!(error.contains("no subjectAltName at all, only the subject \"CN=minio\""), "{error}");
}

#[test]
fn version_1_roots_are_anchors() {
    let forge = Forge::new();
    forge.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout v1.key -out v1.csr -subj /CN=v1");
    forge.openssl("x509 -req -in v1.csr -signkey v1.key -days 2 -out v1.pem");
    forge.signed("leaf", "v1", "subjectAltName=DNS:minio.local\n");
    assert_eq!(forge.connect(&forge.trust(&["v1"]), "leaf", "leaf", "minio.local"), Ok(()));
    let error = forge.connect(&forge.trust(&["v1"]), "v1", "v1", "minio.local").expect_err("it has no names");
    assert!(error.contains("no subjectAltName at all"), "{error}");
}

#[test]
fn a_certificate_for_clients_is_refused() {
    let forge = Forge::new();
    forge.self_signed("client", &format!("{SAN} -addext extendedKeyUsage=clientAuth"));
    let error = forge.connect(&forge.trust(&["client"]), "client", "client", "minio.local").expect_err("wrong purpose");
    assert!(error.contains("extended key usage"), "{error}");
}

#[test]
fn unusable_files_are_named_with_the_reason() {
    let forge = Forge::new();
    forge.self_signed("good", "");
    forge.openssl("x509 -in good.pem -outform der -out der");
    let pem = fs::read_to_string(forge.path("good.pem")).expect("read");
    let check = |content: &[u8], expect: &str| {
        let path = forge.path("bad.pem");
        fs::write(&path, content).expect("written");
        let error = client_config(&forge.trust(&["good", "bad"])).expect_err(expect).to_string();
        assert_eq!(error, format!("the certificate file {} is not usable: {expect}", path.display()));
    };
    check(b"", "the file is empty");
    check(b"hello", "it holds no `-----BEGIN CERTIFICATE-----`");
    check(&fs::read(forge.path("good.key")).expect("read"), "it holds a private key but no certificate");
    check(&fs::read(forge.path("der")).expect("read"), "it is in DER form; convert it with `openssl x509 -inform der`");
    let cut = pem.split("-----END").next().expect("text");
    check(cut.as_bytes(), "it is cut off: the END line of CERTIFICATE is missing");
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let path = forge.path("bad.pem");
    fs::write(&path, empty).expect("written");
    let error = client_config(&forge.trust(&["bad"])).expect_err("not a certificate").to_string();
    assert!(error.contains("certificate 1: not an X.509 certificate"), "{error}");
    // Beside a good one it does no harm, as in Go; of our own chain every one must be good.
    for text in [format!("{pem}{empty}"), format!("{empty}{pem}"), format!("{pem}{cut}")] {
        fs::write(&path, text).expect("written");
        assert!(client_config(&forge.trust(&["bad"])).is_ok());
        let chain = Trust { client_cert: Some((path.clone(), forge.path("good.key"))), ..forge.trust(&["good"]) };
        assert!(matches!(client_config(&chain), Err(TlsError::Content { .. })));
    }
    let missing = Trust { custom_ca: vec![Path::new("/does/not/exist").into()], ..Trust::default() };
    let error = client_config(&missing).expect_err("missing").to_string();
    assert_eq!(error, "cannot read the certificate file /does/not/exist: No such file or directory (os error 2)");
}

#[test]
fn client_certificates_need_their_key() {
    let forge = Forge::new();
    forge.self_signed("one", "");
    forge.self_signed("two", "");
    let trust =
        |key: &str| Trust { client_cert: Some((forge.path("one.pem"), forge.path(key))), ..forge.trust(&["one"]) };
    assert!(client_config(&trust("one.key")).is_ok());
    assert!(matches!(client_config(&trust("two.key")), Err(TlsError::Setup(_))));
    assert!(matches!(client_config(&trust("one.pem")), Err(TlsError::Content { .. })));
}
