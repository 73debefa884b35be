//! `customCA` as a Job has it, with certificates that people make with `openssl`: our mover accepts what the real rclone
//! accepts with the same file as `--ca-cert`, and refuses what it refuses.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;
use volsync_embedded_s3::ServerOptions;
use volsync_tests::certificates::{self, Authority};
use volsync_tests::embedded::Embedded;
use volsync_tests::peers;
use volsync_tests::pod::{Direction, Pod};
use volsync_tests::process::run;
use volsync_tests::rclone::Rclone;
use volsync_tests::servers::{Minio, S3Endpoint};

const ADDRESS: &str = "subjectAltName=IP:127.0.0.1";

/// A directory in which openssl works.
struct Forge(TempDir);

impl Forge {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// `NAME.pem` and `NAME.key`; self-signed, or signed by `issuer`.
    fn make(&self, name: &str, issuer: Option<&str>, extensions: &[&str]) {
        let mut openssl = Command::new(peers::tool("openssl"));
        openssl.current_dir(self.0.path()).args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        openssl.args(["-nodes", "-subj", &format!("/CN={name}"), "-keyout", &format!("{name}.key")]);
        openssl.args(["-out", &format!("{name}.pem"), "-days", "2"]);
        if let Some(issuer) = issuer {
            openssl.args(["-CA", &format!("{issuer}.pem"), "-CAkey", &format!("{issuer}.key")]);
        }
        openssl.args(extensions.iter().flat_map(|extension| ["-addext", extension]));
        run(&mut openssl).success();
    }

    fn all() -> Self {
        let forge = Self(TempDir::with_prefix("forge-").unwrap());
        let leaf = [ADDRESS, "basicConstraints=critical,CA:FALSE"];
        forge.make("plain", None, &[ADDRESS]);
        forge.make("leaf-only", None, &leaf);
        forge.make("no-name", None, &[]);
        forge.make("ca", None, &[]);
        forge.make("stranger", None, &[]);
        forge.make("between", Some("ca"), &["basicConstraints=critical,CA:TRUE"]);
        forge.make("server", Some("ca"), &leaf);
        forge.make("deep", Some("between"), &leaf);
        forge.make("elsewhere", Some("ca"), &["subjectAltName=DNS:s3.example", leaf[1]]);
        forge.make("client", Some("ca"), &[ADDRESS, leaf[1], "extendedKeyUsage=clientAuth"]);
        forge.make_expired();
        forge
    }

    /// `openssl req` of this Debian cannot date back: `old` is self-signed, `expired` is signed by `authority`.
    fn make_expired(&self) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
        let (authority, key) = (Authority::new(), KeyPair::generate().unwrap());
        let (old, expired) = (params.self_signed(&key).unwrap().pem(), authority.issue(&params));
        let (leaf, _) = expired.chain.split_once("-----END CERTIFICATE-----").unwrap();
        for (name, content) in [
            ("old.pem", old),
            ("old.key", key.serialize_pem()),
            ("authority.pem", authority.pem()),
            ("expired.pem", format!("{leaf}-----END CERTIFICATE-----\n")),
            ("expired.key", expired.key),
        ] {
            fs::write(self.path(name), content).unwrap();
        }
    }

    /// The certificates one after the other.
    fn bundle(&self, names: &[&str]) -> String {
        names.iter().map(|name| self.read(&format!("{name}.pem"))).collect()
    }

    /// A server with this chain, the key being that of the first.
    fn serve(&self, server: Server, chain: &[&str]) -> Box<dyn S3Endpoint> {
        let (key, chain) = (self.read(&format!("{}.key", chain[0])), self.bundle(chain));
        match server {
            Server::Minio => Box::new(Minio::with_identity(&certificates::Identity { chain, key })),
            Server::Embedded => {
                let identity = Some(volsync_embedded_s3::Identity { chain, key });
                Box::new(Embedded::with(ServerOptions { identity, ..ServerOptions::default() }))
            }
        }
    }

    /// Asserts that both programs talk to `server`, or that neither does, when `trusted` is the file that they are given.
    #[track_caller]
    fn judge(&self, server: &dyn S3Endpoint, trusted: &str, enough: bool, case: &str) {
        let ca = self.path("bundle.pem");
        fs::write(&ca, trusted).unwrap();
        let rclone = Rclone::new(server, "Minio");
        let ca_cert = ["--ca-cert", ca.to_str().unwrap()];
        let theirs = rclone.run(&[&["lsd", "remote:", "--retries=1", "--low-level-retries=1"][..], &ca_cert].concat());
        assert_eq!(theirs.code() == 0, enough, "{case}: {theirs}");
        let volume = TempDir::new().unwrap();
        fs::write(volume.path().join("file"), "x").unwrap();
        let pod = Pod::new(volume.path(), server, "Minio").custom_ca(&ca).env("RCLONE_LOW_LEVEL_RETRIES", "1");
        let ours = pod.ours(Direction::Source, "bucket/volume");
        assert_eq!(ours.code() == 0, enough, "{case}: {ours}");
        assert!(enough || ours.text().contains("certificate"), "{case}: {ours}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Server {
    Embedded,
    Minio,
}

/// Chain that is served, bundle that is trusted, whether that is enough.
const CASES: &[(&[&str], &[&str], bool)] = &[
    (&["plain"], &["plain"], true),
    (&["plain"], &["stranger", "plain"], true),
    (&["plain"], &["stranger"], false),
    (&["leaf-only"], &["leaf-only"], true),
    (&["no-name"], &["no-name"], false),
    (&["old"], &["old"], false),
    (&["server"], &["ca"], true),
    (&["server", "ca"], &["ca"], true),
    (&["server"], &["server"], true),
    (&["server"], &["server", "ca"], true),
    (&["server"], &["stranger", "between", "ca"], true),
    (&["server"], &["stranger"], false),
    (&["deep", "between"], &["ca"], true),
    (&["deep"], &["ca"], false),
    (&["deep"], &["between"], true),
    (&["deep", "between"], &["between"], true),
    (&["deep"], &["ca", "between"], true),
    (&["elsewhere"], &["ca"], false),
    (&["elsewhere"], &["elsewhere", "ca"], false),
    (&["expired"], &["authority"], false),
    (&["expired"], &["expired", "authority"], false),
    (&["client"], &["ca"], false),
];

/// The commonest of [`CASES`], and some that must not be.
const WITH_MINIO: &[(&[&str], &[&str], bool)] = &[
    (&["plain"], &["plain"], true),
    (&["server", "ca"], &["stranger", "ca"], true),
    (&["deep", "between"], &["ca"], true),
    (&["server"], &["stranger"], false),
    (&["elsewhere"], &["ca"], false),
    (&["expired"], &["authority"], false),
];

fn judged_alike(server: Server, cases: &[(&[&str], &[&str], bool)]) {
    let forge = Forge::all();
    for (chain, trusted, enough) in cases {
        let case = format!("{chain:?} under {trusted:?}");
        forge.judge(&*forge.serve(server, chain), &forge.bundle(trusted), *enough, &case);
    }
}

#[test]
fn what_rclone_trusts_we_trust_and_nothing_else() {
    judged_alike(Server::Embedded, CASES);
}

#[test]
fn what_rclone_trusts_of_minio_we_trust_and_nothing_else() {
    judged_alike(Server::Minio, WITH_MINIO);
}

#[test]
fn the_file_is_read_as_go_reads_it() {
    let forge = Forge::all();
    let server = forge.serve(Server::Embedded, &["server"]);
    let (ca, key) = (forge.bundle(&["ca"]), forge.read("ca.key"));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (case, file, enough) in [
        ("words before and after", format!("subject: ca\n\n{ca}\nthe end\n"), true),
        ("line ends of Windows", ca.replace('\n', "\r\n"), true),
        ("no last line end", ca.trim_end().to_owned(), true),
        ("a key before", format!("{key}{ca}"), true),
        ("something else before", format!("{broken}{ca}"), true),
        ("something else alone", broken.to_owned(), false),
        ("a key alone", key.clone(), false),
        ("nothing", String::new(), false),
    ] {
        forge.judge(&*server, &file, enough, case);
    }
}

#[test]
fn without_a_custom_ca_a_private_server_is_refused() {
    let forge = Forge::all();
    let server = forge.serve(Server::Embedded, &["server", "ca"]);
    let volume = TempDir::new().unwrap();
    fs::write(volume.path().join("file"), "x").unwrap();
    let rclone = Rclone::new(&*server, "Minio");
    assert_ne!(rclone.run(&["lsd", "remote:", "--retries=1", "--low-level-retries=1"]).code(), 0);
    let pod = Pod::new(volume.path(), &*server, "Minio").env("RCLONE_LOW_LEVEL_RETRIES", "1");
    let outcome = pod.ours(Direction::Source, "bucket/volume");
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert!(outcome.text().contains("customCA"), "{outcome}");
}
