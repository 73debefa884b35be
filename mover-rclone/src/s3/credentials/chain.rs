//! The default chain in the order of the Go SDK (`aws/aws-sdk-go-v2`, `config/resolve_credentials.go`), and a role on top.
//!
//! The Rust SDK's own chain asks the profile before the web identity; in a pod with IRSA and a mounted profile the two
//! would sign as different people.

use aws_config::BehaviorVersion;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::region::Region;

use super::smithy::OurClient;
use super::{CredentialOptions, CredentialSource};
use crate::http::Client;

/// Where requests go when the remote names no region (rclone signs for it too).
const DEFAULT_REGION: &str = "us-east-1";

/// What `options` ask for: static keys or the chain, with the role on top.
pub(super) async fn provider(options: &CredentialOptions, http: &Client) -> SharedCredentialsProvider {
    let client = OurClient::new(http.clone());
    let base = if options.access_key_id.is_empty() {
        SharedCredentialsProvider::new(chain(options, &client))
    } else {
        let keys = options.static_keys();
        let keys = aws_credential_types::Credentials::new(
            keys.access_key_id,
            keys.secret_access_key,
            keys.session_token,
            None,
            std::any::type_name::<CredentialSource>(),
        );
        SharedCredentialsProvider::new(keys)
    };
    if options.role_arn.is_empty() { base } else { SharedCredentialsProvider::new(role(options, client, base).await) }
}

fn chain(options: &CredentialOptions, client: &OurClient) -> CredentialsProviderChain {
    let config = ProviderConfig::default().with_http_client(client.clone()).with_region(Some(region(options)));
    let environment = EnvironmentVariableCredentialsProvider::new();
    let web_identity = WebIdentityTokenCredentialsProvider::builder().configure(&config).build();
    let profile = profile(options, &config);
    let chain = if options.profile.is_empty() {
        CredentialsProviderChain::first_try("Environment", environment)
            .or_else("WebIdentityToken", web_identity)
            .or_else("Profile", profile)
    } else {
        CredentialsProviderChain::first_try("Profile", profile)
    };
    chain
        .or_else("Container", EcsCredentialsProvider::builder().configure(&config).build())
        .or_else("InstanceMetadata", ImdsCredentialsProvider::builder().configure(&config).build())
}

/// `shared_credentials_file` is read as a *config* file, in which named profiles are `[profile NAME]`, as in rclone.
fn profile(options: &CredentialOptions, config: &ProviderConfig) -> ProfileFileCredentialsProvider {
    let mut builder = ProfileFileCredentialsProvider::builder().configure(config);
    if !options.profile.is_empty() {
        builder = builder.profile_name(&options.profile);
    }
    if !options.shared_credentials_file.is_empty() {
        let files = EnvConfigFiles::builder()
            .with_file(EnvConfigFileKind::Config, &options.shared_credentials_file)
            .include_default_credentials_file(true);
        builder = builder.profile_files(files.build());
    }
    builder.build()
}

async fn role(options: &CredentialOptions, client: OurClient, base: SharedCredentialsProvider) -> AssumeRoleProvider {
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(client).region(region(options));
    let config = loader.no_credentials().load().await;
    let mut role = AssumeRoleProvider::builder(&options.role_arn).configure(&config).region(region(options));
    if !options.role_session_name.is_empty() {
        role = role.session_name(&options.role_session_name);
    }
    if !options.role_external_id.is_empty() {
        role = role.external_id(&options.role_external_id);
    }
    if let Some(duration) = options.role_session_duration {
        role = role.session_length(duration);
    }
    role.build_from_provider(base).await
}

fn region(options: &CredentialOptions) -> Region {
    let name = if options.region.is_empty() { DEFAULT_REGION } else { &options.region };
    Region::new(name.to_owned())
}

/// The profile that an error of the profile provider says does not exist.
pub(super) fn missing_profile(why: &str) -> Option<&str> {
    let (_, rest) = why.split_once("profile `")?;
    let (name, rest) = rest.split_once('`')?;
    rest.starts_with(" was not defined").then_some(name)
}
