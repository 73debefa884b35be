//! Flags of the running controller: upstream's, with its names and meaning, and a few of ours.

use crate::machine::election::Terms;
use clap::{ArgAction, Args};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Images of movers.
    #[command(flatten)]
    pub images: ImageFlags,
    /// Security context constraint that privileged movers may use on OpenShift.
    #[arg(long, value_name = "NAME", default_value = "volsync-privileged-mover")]
    pub scc_name: String,
    /// Secrets in the controller's namespace with which movers' images are pulled, with commas between.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub mover_image_pull_secrets: Vec<String>,
    /// How many transfers may run at a time; those that are due besides wait as `Queued`. Destinations of rsync, which
    /// wait for their sources, never count. 0: no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_concurrent_transfers: usize,
    /// Act only while holding the lease `b95b3104.backube`, which upstream's controller respects too.
    #[arg(long, value_name = "BOOL", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: bool,
    /// How long a lease lasts that nobody renews, in seconds. It is renewed about five times within it.
    #[arg(long, value_name = "SECONDS", default_value_t = 137, value_parser = clap::value_parser!(u32).range(2..))]
    pub leader_elect_lease_duration: u32,
    /// Where metrics are served: `:8443`, `127.0.0.1:8443`. `0` and `:0`: nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = ":0")]
    pub metrics_bind_address: String,
    /// Serve metrics over HTTPS.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub metrics_secure: bool,
    /// Let those alone read metrics whose token may `get` the path `/metrics`.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub metrics_require_rbac: bool,
    /// Directory of the certificate of the metrics. One is made if not set.
    #[arg(long, value_name = "DIR")]
    pub metrics_cert_path: Option<PathBuf>,
    /// Its file.
    #[arg(long, value_name = "FILE", default_value = "tls.crt")]
    pub metrics_cert_name: String,
    /// The file of its key.
    #[arg(long, value_name = "FILE", default_value = "tls.key")]
    pub metrics_cert_key: String,
    /// Where `/healthz` and `/readyz` are served. `0`: nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = ":8081")]
    pub health_probe_bind_address: String,
    /// Connect as this file says, instead of as `KUBECONFIG` or the pod does.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Flags without effect.
    #[command(flatten)]
    pub ignored: Ignored,
}

/// Flags of the images, which win over their variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ImageFlags {
    /// Image of rclone's mover [env: RELATED_IMAGE_RCLONE_CONTAINER].
    #[arg(long, value_name = "IMAGE")]
    pub rclone_container_image: Option<String>,
    /// Image of the mover of rsync over SSH [env: RELATED_IMAGE_RSYNC_CONTAINER].
    #[arg(long, value_name = "IMAGE")]
    pub rsync_container_image: Option<String>,
    /// Image of the mover of rsync over TLS [env: RELATED_IMAGE_RSYNC_TLS_CONTAINER].
    #[arg(long, value_name = "IMAGE")]
    pub rsync_tls_container_image: Option<String>,
}

/// Flags of upstream's that mean nothing here, taken so that its manifests work.
#[derive(Clone, Debug, Default, Args)]
pub struct Ignored {
    /// Restic is not run here.
    #[arg(long, value_name = "IMAGE", hide = true)]
    restic_container_image: Option<String>,
    /// Syncthing is not run here.
    #[arg(long, value_name = "IMAGE", hide = true)]
    syncthing_container_image: Option<String>,
    /// HTTP/2 is not served.
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_http2: Option<bool>,
    /// `RUST_LOG` configures logs.
    #[arg(long, value_name = "LEVEL", hide = true)]
    zap_log_level: Option<String>,
    /// `RUST_LOG` configures logs.
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    zap_devel: Option<bool>,
    /// `RUST_LOG` configures logs.
    #[arg(long, value_name = "FORMAT", hide = true)]
    zap_encoder: Option<String>,
    /// `RUST_LOG` configures logs.
    #[arg(long, value_name = "LEVEL", hide = true)]
    zap_stacktrace_level: Option<String>,
    /// `RUST_LOG` configures logs.
    #[arg(long, value_name = "FORMAT", hide = true)]
    zap_time_encoding: Option<String>,
}

/// An address that cannot be listened at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address to listen at: write :8443, 127.0.0.1:8443 or 0")]
pub struct NoAddress(String);

/// An address as Go's framework writes it: without a host it is every address. `None` if nothing is to be served.
pub fn address(text: &str) -> Result<Option<SocketAddr>, NoAddress> {
    if matches!(text, "" | "0" | ":0") {
        return Ok(None);
    }
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map(Some).map_err(|_| NoAddress(text.to_owned()))
}

impl Flags {
    /// The limit on transfers.
    pub fn limit(&self) -> Option<usize> {
        (self.max_concurrent_transfers > 0).then_some(self.max_concurrent_transfers)
    }

    /// The terms of the election, if there is one.
    pub fn terms(&self) -> Option<Terms> {
        let duration = Duration::from_secs(self.leader_elect_lease_duration.into());
        self.leader_elect.then(|| Terms::of(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        flags: Flags,
    }

    fn flags(arguments: &[&str]) -> Flags {
        Whole::try_parse_from([&["x"], arguments].concat()).map(|whole| whole.flags).unwrap()
    }

    #[test]
    fn the_arguments_of_upstreams_manifests_are_taken() {
        let taken = flags(&[
            "--health-probe-bind-address=:8081",
            "--metrics-bind-address=:8443",
            "--leader-elect",
            "--metrics-secure=true",
            "--metrics-require-rbac=false",
            "--rclone-container-image=a",
            "--restic-container-image=b",
            "--scc-name=c",
            "--enable-http2=false",
            "--zap-log-level=debug",
        ]);
        assert!(taken.leader_elect && taken.metrics_secure && !taken.metrics_require_rbac);
        let upstreams = Terms {
            duration: Duration::from_secs(137),
            deadline: Duration::from_secs(107),
            retry: Duration::from_secs(26),
        };
        assert_eq!((taken.terms(), taken.limit()), (Some(upstreams), None));
        assert_eq!(flags(&["--max-concurrent-transfers=3"]).limit(), Some(3));
        assert_eq!(flags(&["--leader-elect=false"]).terms(), None);
    }

    #[test]
    fn addresses_are_those_of_go() {
        for (text, expect) in [
            ("0", Ok(None)),
            (":0", Ok(None)),
            (":8443", Ok("[::]:8443".parse().ok())),
            ("127.0.0.1:1", Ok("127.0.0.1:1".parse().ok())),
            ("x", Err(NoAddress("x".into()))),
        ] {
            assert_eq!(address(text), expect);
        }
    }
}
