//! Against metadata and token services on loopback. What the environment decides is tried in a child process that runs
//! [`probe`] of this same binary, because a test cannot change its own environment safely.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use volsync_common::proxy::Proxies;
use volsync_common::tls::{Trust, client_config};

use super::*;
use crate::http::HttpSettings;

fn client() -> Client {
    let trust = client_config(&Trust { insecure: true, ..Trust::default() }).expect("a configuration");
    Client::new(HttpSettings { proxies: Proxies::none(), ..HttpSettings::new(trust) }).expect("a client")
}

fn keys(key: &str, secret: &str) -> CredentialOptions {
    CredentialOptions { access_key_id: key.into(), secret_access_key: secret.into(), ..CredentialOptions::default() }
}

#[tokio::test]
async fn the_table_of_section_2_3() {
    let check = |options: CredentialOptions, expect: &str| {
        let found = CredentialSource::new(options, client());
        assert_eq!(found.map_or_else(|error| error.to_string(), |source| format!("{source:?}")), expect);
    };
    check(CredentialOptions::default(), "CredentialSource(anonymous)");
    check(keys("a", "b"), "CredentialSource(static)");
    check(CredentialOptions { env_auth: true, ..keys("a", "b") }, "CredentialSource(static)");
    check(CredentialOptions { env_auth: true, ..keys("", "") }, "CredentialSource(fetched)");
    for env_auth in [false, true] {
        check(CredentialOptions { env_auth, ..keys("a", "") }, "secret_access_key not found");
        check(CredentialOptions { env_auth, ..keys("", "b") }, "access_key_id not found");
    }
    check(CredentialOptions { role_arn: "r".into(), ..keys("a", "b") }, "CredentialSource(fetched)");
    let nobody = CredentialSource::new(CredentialOptions { role_arn: "r".into(), ..keys("", "") }, client());
    assert_eq!(nobody.expect_err("nobody"), CredentialError::RoleOfNobody);

    let anonymous = CredentialSource::new(CredentialOptions::default(), client()).expect("anonymous");
    assert_eq!(anonymous.get().await, Ok(None));
    let options = CredentialOptions { session_token: "t".into(), ..keys("a", "b") };
    let fixed = CredentialSource::new(options, client()).expect("static").get().await.expect("keys").expect("keys");
    assert_eq!((fixed.access_key_id.as_str(), fixed.session_token.as_deref(), fixed.expires), ("a", Some("t"), None));
}

#[test]
fn secrets_are_not_printed() {
    let options = CredentialOptions {
        session_token: "SECRET".into(),
        role_external_id: "SECRET".into(),
        ..keys("key", "SECRET")
    };
    let shown = format!("{options:?} {:?}", options.static_keys());
    assert!(shown.contains("key") && !shown.contains("SECRET"), "{shown}");
}

#[test]
fn renewal_comes_before_expiry() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1000);
    let check = |life: u64, expect: u64| {
        assert_eq!(renew_at(now, now + Duration::from_secs(life)), now + Duration::from_secs(expect), "{life}");
    };
    check(3600, 3300);
    check(600, 300);
    check(60, 30);
    check(0, 0);
    assert_eq!(renew_at(now, now - Duration::from_secs(9)), now);
}

/// A service that answers every request by `reply(head and body, number of the request)`.
async fn serve(reply: impl Fn(&str, usize) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        for number in 0.. {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let request = read_request(&mut socket).await;
            let body = reply(&request, number);
            let status = if body.contains("<Error>") { "403 Forbidden" } else { "200 OK" };
            let head = format!(
                "HTTP/1.1 {status}\r\nX-aws-ec2-metadata-token-ttl-seconds: 600\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all((head + &body).as_bytes()).await.expect("an answer is taken");
        }
    });
    format!("http://{address}")
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(request).expect("text");
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().expect("n"));
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.expect("a body");
    head + &String::from_utf8(body).expect("text")
}

fn role_keys(action: &str, key: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/me</Arn>\
         <AssumedRoleId>i</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s\
         </SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>\
         </{action}Result></{action}Response>"
    )
}

/// Runs `probe` with only the given environment and returns what it printed.
async fn child(options: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "s3::credentials::tests::probe", "--nocapture"]).env_clear();
    command.env("PROBE", options).env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(environment.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().find_map(|line| line.split_once("FOUND ").map(|(_, found)| found.to_owned()));
    found.unwrap_or_else(|| panic!("{text} {}", String::from_utf8_lossy(&output.stderr)))
}

/// Not a test by itself: what [`child`] runs. `PROBE` holds `option=value` pairs.
#[tokio::test]
async fn probe() {
    let Ok(given) = std::env::var("PROBE") else { return };
    let mut options = CredentialOptions { env_auth: true, ..CredentialOptions::default() };
    for (name, value) in given.split_whitespace().filter_map(|pair| pair.split_once('=')) {
        let field = match name {
            "profile" => &mut options.profile,
            "file" => &mut options.shared_credentials_file,
            "role" => &mut options.role_arn,
            "external" => &mut options.role_external_id,
            "session" => &mut options.role_session_name,
            "region" => &mut options.region,
            "key" => &mut options.access_key_id,
            "secret" => &mut options.secret_access_key,
            other => panic!("unknown option {other}"),
        };
        value.clone_into(field);
    }
    let source = CredentialSource::new(options, client()).expect("a source");
    match source.get().await {
        Ok(Some(found)) => println!("FOUND {} {}", found.access_key_id, found.session_token.as_deref().unwrap_or("-")),
        Ok(None) => println!("FOUND anonymous"),
        Err(error) => println!("FOUND error: {error}"),
    }
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).expect("written");
    path.display().to_string()
}

const ENV_KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "ENVKEY"), ("AWS_SECRET_ACCESS_KEY", "s")];

#[tokio::test]
async fn profiles_and_environment_in_the_order_of_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let entry = |key: &str| format!("aws_access_key_id = {key}\naws_secret_access_key = s\n");
    let shared =
        write(&dir.path().join("credentials"), &format!("[default]\n{}[two]\n{}", entry("DEFAULT"), entry("TWO")));
    let config =
        write(&dir.path().join("config"), &format!("[profile two]\n{}[three]\n{}", entry("CONFTWO"), entry("NO")));
    let files = [("AWS_SHARED_CREDENTIALS_FILE", shared.as_str()), ("AWS_CONFIG_FILE", "/nonexistent/config")];
    assert_eq!(child("", &ENV_KEYS).await, "ENVKEY -");
    assert_eq!(child("", &files).await, "DEFAULT -");
    assert_eq!(child("", &[&files[..], &ENV_KEYS].concat()).await, "ENVKEY -");
    assert_eq!(child("", &[&files[..], &[("AWS_PROFILE", "two")]].concat()).await, "TWO -");
    assert_eq!(child("", &[&files[..], &ENV_KEYS, &[("AWS_PROFILE", "two")]].concat()).await, "ENVKEY -");
    assert_eq!(child("profile=two", &[&files[..], &ENV_KEYS].concat()).await, "TWO -");
    let missing = child("profile=nobody", &files).await;
    assert_eq!(
        missing,
        "error: couldn't load configuration with env_auth=true: failed to get shared config profile, nobody"
    );
    assert_eq!(child(&format!("profile=two file={config}"), &[]).await, "CONFTWO -");
    let three = child(&format!("profile=three file={config}"), &[]).await;
    assert!(three.ends_with("failed to get shared config profile, three"), "{three}");
}

#[tokio::test]
async fn a_container_and_a_process_give_credentials() {
    let container = serve(|_, _| {
        r#"{"AccessKeyId":"CONTAINER","SecretAccessKey":"s","Token":"tok","Expiration":"2999-01-01T00:00:00Z"}"#.into()
    });
    let uri = format!("{}/creds", container.await);
    assert_eq!(child("", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]).await, "CONTAINER tok");

    let dir = tempfile::tempdir().expect("a directory");
    let answer = write(&dir.path().join("answer"), r#"{"Version":1,"AccessKeyId":"PROCESS","SecretAccessKey":"s"}"#);
    let config = write(&dir.path().join("config"), &format!("[default]\ncredential_process = /bin/cat {answer}\n"));
    assert_eq!(child("", &[("AWS_CONFIG_FILE", &config), ("PATH", "/usr/bin:/bin")]).await, "PROCESS -");
}

#[tokio::test]
async fn instance_metadata_is_the_last_resort() {
    let metadata = serve(|request, _| {
        let path = request.split(' ').nth(1).expect("a path");
        match path.trim_end_matches('/').rsplit('/').next() {
            Some("token") => "TOKEN".into(),
            Some("my-role") => {
                r#"{"Code":"Success","AccessKeyId":"IMDS","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z"}"#
                    .into()
            }
            _ => "my-role".into(),
        }
    });
    let endpoint = metadata.await;
    let environment =
        [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
    assert_eq!(child("", &environment).await, "IMDS t");
    let nothing = child("", &[]).await;
    assert!(nothing.starts_with("error: couldn't load configuration with env_auth=true: "), "{nothing}");
}

#[tokio::test]
async fn irsa_comes_before_the_profile_and_asks_the_token_service() {
    let service = serve(|request, _| {
        assert!(
            request.contains("Action=AssumeRoleWithWebIdentity") && request.contains("WebIdentityToken=jwt"),
            "{request}"
        );
        role_keys("AssumeRoleWithWebIdentity", "IRSA")
    });
    let endpoint = service.await;
    let dir = tempfile::tempdir().expect("a directory");
    let token = write(&dir.path().join("token"), "jwt");
    let shared = write(&dir.path().join("c"), "[default]\naws_access_key_id = PROFILE\naws_secret_access_key = s\n");
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_SHARED_CREDENTIALS_FILE", shared.as_str()),
    ];
    assert_eq!(child("", &environment).await, "IRSA t");
}

#[tokio::test]
async fn a_role_is_assumed_on_top() {
    let service = serve(|request, _| {
        let wanted = ["Action=AssumeRole&", "RoleSessionName=me", "ExternalId=ext", "Credential=ENVKEY/", "/eu-x/sts/"];
        if wanted.iter().all(|part| request.contains(part)) {
            return role_keys("AssumeRole", "ROLE");
        }
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>".into()
    });
    let endpoint = service.await;
    let environment = [&ENV_KEYS[..], &[("AWS_ENDPOINT_URL", endpoint.as_str())]].concat();
    let role = "role=arn:aws:iam::1:role/r external=ext session=me region=eu-x";
    assert_eq!(child(role, &environment).await, "ROLE t");
    assert_eq!(child(&format!("{role} key=ENVKEY secret=s"), &environment[2..]).await, "ROLE t");
    let refused = child("role=arn:aws:iam::1:role/r region=eu-y", &environment).await;
    assert!(
        refused.contains("cannot assume the role arn:aws:iam::1:role/r") && refused.contains("not you"),
        "{refused}"
    );
}

/// A source whose chain is `provider`.
fn fetching(provider: impl ProvideCredentials + 'static) -> CredentialSource {
    let options = CredentialOptions { env_auth: true, ..CredentialOptions::default() };
    let provider = OnceCell::new_with(Some(SharedCredentialsProvider::new(provider)));
    let origin = Origin::Fetched(Box::new(Fetch { options, http: client(), provider }));
    CredentialSource { origin, cached: Mutex::default(), fetching: tokio::sync::Mutex::default() }
}

/// Counts its calls in the key; fails from the `until`-th on.
#[derive(Debug)]
struct Counting {
    calls: std::sync::atomic::AtomicUsize,
    until: usize,
    life: Duration,
}

impl ProvideCredentials for Counting {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let call = self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let expires = SystemTime::now() + self.life;
        let outcome = if call < self.until {
            Ok(aws_credential_types::Credentials::new(format!("key{call}"), "s", None, Some(expires), "test"))
        } else {
            Err(aws_credential_types::provider::error::CredentialsError::provider_error("down"))
        };
        aws_credential_types::provider::future::ProvideCredentials::ready(outcome)
    }
}

async fn key(source: &CredentialSource) -> Result<String, String> {
    let found = source.get().await.map_err(|error| error.to_string())?;
    Ok(found.map(|found| found.access_key_id.clone()).unwrap_or_default())
}

#[tokio::test]
async fn many_requests_fetch_once_and_expiry_renews() {
    let counting = |until, life| Counting { calls: 0.into(), until, life: Duration::from_secs(life) };
    let source = Arc::new(fetching(counting(9, 3600)));
    let many = (0..20).map(|_| {
        let source = Arc::clone(&source);
        tokio::spawn(async move { key(&source).await })
    });
    for one in many.collect::<Vec<_>>() {
        assert_eq!(one.await.expect("joined"), Ok("key0".into()));
    }
    // Just fetched, so an `ExpiredToken` now is about the ones before.
    source.invalidate();
    assert_eq!(key(&source).await, Ok("key0".into()));
    if let Some(cached) = source.lock().as_mut() {
        cached.fetched = Instant::now().checked_sub(PAUSE).expect("a past");
    }
    source.invalidate();
    assert_eq!(key(&source).await, Ok("key1".into()));
    if let Some(cached) = source.lock().as_mut() {
        cached.renew = Some(SystemTime::now());
    }
    assert_eq!(key(&source).await, Ok("key2".into()));
}

#[tokio::test]
async fn a_failed_renewal_keeps_what_still_works() {
    let source = fetching(Counting { calls: 0.into(), until: 1, life: Duration::from_hours(1) });
    assert_eq!(key(&source).await, Ok("key0".into()));
    if let Some(cached) = source.lock().as_mut() {
        cached.renew = Some(SystemTime::now());
    }
    assert_eq!(key(&source).await, Ok("key0".into()));
    let failing = fetching(Counting { calls: 0.into(), until: 0, life: Duration::ZERO });
    assert!(key(&failing).await.expect_err("down").contains("down"));
}
