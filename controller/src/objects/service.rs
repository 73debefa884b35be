//! The Service before a mover of rsync, and the address that the other side is told.

use super::{
    names::{self, Direction},
    owner::Owner,
    rsync::selector,
};
use crate::{api::non_empty, machine::Method};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::collections::BTreeMap;

const CLUSTER_IP: &str = "ClusterIP";
const LOAD_BALANCER: &str = "LoadBalancer";

/// What a Service gets if its user says nothing: on AWS, a balancer that passes TCP on.
const DEFAULT_ANNOTATION: (&str, &str) = ("service.beta.kubernetes.io/aws-load-balancer-type", "nlb");

/// Where SSH's daemon listens inside of the pod, and the port of its Service.
const SSH: (i32, i32) = (8022, 22);

/// Where stunnel listens, inside and outside.
const TLS: i32 = 8000;

/// What a user wants of a Service.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceOptions<'a> {
    /// Its type.
    pub kind: Option<&'a String>,
    /// Its annotations, instead of the default one.
    pub annotations: Option<&'a BTreeMap<String, String>>,
    /// Its port. Of SSH alone: over TLS it is fixed.
    pub port: Option<i32>,
}

/// The Service of rsync over SSH.
pub fn ssh(owner: &Owner<'_>, direction: Direction, options: ServiceOptions<'_>) -> Service {
    let port = port("ssh", options.port.unwrap_or(SSH.1), SSH.0);
    service(owner, Method::Rsync, direction, options, port)
}

/// The Service of rsync over TLS.
pub fn tls(owner: &Owner<'_>, options: ServiceOptions<'_>) -> Service {
    service(owner, Method::RsyncTls, Direction::Destination, options, port("rsync-tls", TLS, TLS))
}

fn service(
    owner: &Owner<'_>,
    method: Method,
    direction: Direction,
    options: ServiceOptions<'_>,
    port: ServicePort,
) -> Service {
    let default = || BTreeMap::from([DEFAULT_ANNOTATION].map(|(key, value)| (key.to_owned(), value.to_owned())));
    let mut metadata = owner.lasting(names::job(method, direction, owner.name));
    metadata.annotations = Some(options.annotations.cloned().unwrap_or_else(default));
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(non_empty(options.kind).unwrap_or(CLUSTER_IP).to_owned()),
            selector: Some(selector(method, direction, owner.name)),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, port: i32, target: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(target)),
        ..ServicePort::default()
    }
}

/// The address to publish: of a balancer its name or address, otherwise the address within the cluster. IPv6 has no
/// brackets. `None` while there is none.
pub fn published(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref()?;
    let cluster_ip = non_empty(spec.cluster_ip.as_ref());
    if spec.type_.as_deref() != Some(LOAD_BALANCER) {
        return cluster_ip;
    }
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    non_empty(ingress.hostname.as_ref()).or_else(|| non_empty(ingress.ip.as_ref())).or(cluster_ip)
}
