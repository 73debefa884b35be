//! How the two ends of rsync find and trust each other: a Service with its address, and keys.

use super::{Trouble, age, copy::name_of, generate, hands::Hands, wants::Peer};
use crate::{
    machine::Method,
    objects::{
        keys::{self, TLS_FIELD, check, ssh_fields, ssh_half, ssh_main, used_and_published},
        names::{self, Direction, SshSecret},
        service,
    },
};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::runtime::events::EventType;

/// After this time without an address the user is told. Upstream's value.
const ADDRESS_IS_LATE: SignedDuration = SignedDuration::from_secs(15);

const ACTION: &str = "PublishAddress";

const TLS_FIELDS: &[&str] = &[TLS_FIELD];

/// What the status tells the other side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) address: Option<String>,
    pub(super) keys: Option<String>,
}

/// Makes this end reachable, if it has to be. Says whether it is.
pub(super) async fn listen(
    hands: &Hands<'_>,
    method: Method,
    direction: Direction,
    peer: &Peer<'_>,
    published: &mut Published,
) -> Result<bool, Trouble> {
    let Some(options) = peer.service else {
        published.address = None;
        return Ok(true);
    };
    let wanted = match method {
        Method::RsyncTls => service::tls(&hands.owner, options),
        _ => service::ssh(&hands.owner, direction, options),
    };
    let (found, _) = hands.keep(&wanted).await?;
    let before = published.address.take();
    published.address = service::published(&found).map(str::to_owned);
    match &published.address {
        Some(address) if before.as_ref() != Some(address) => {
            let note = format!("listening on address {address} for incoming connections");
            hands.tell(EventType::Normal, "ServiceAddressAssigned", ACTION, note).await;
        }
        None => tell_late(hands, &found).await,
        Some(_) => {}
    }
    Ok(published.address.is_some())
}

async fn tell_late(hands: &Hands<'_>, service: &Service) {
    if age(&service.metadata) > ADDRESS_IS_LATE {
        let name = name_of(service.metadata.name.as_ref());
        let note = format!(
            "waiting for an address to be assigned to Service/{name}; ensure the proper serviceType was specified"
        );
        hands.tell(EventType::Warning, "NoServiceAddressAssigned", ACTION, note).await;
    }
}

/// The secret that this end uses: the user's, or one that is made. `None` while it is being made.
pub(super) async fn secret(
    hands: &Hands<'_>,
    method: Method,
    direction: Direction,
    peer: &Peer<'_>,
    published: &mut Published,
) -> Result<Option<String>, Trouble> {
    let (used, _) = used_and_published(direction);
    let fields = if method == Method::RsyncTls { TLS_FIELDS } else { ssh_fields(used) };
    if let Some(name) = peer.keys {
        published.keys = None;
        let given: Secret = hands.expect(name).await?;
        check(&given, fields).map_err(|error| Trouble::user(&error))?;
        return Ok(Some(name.to_owned()));
    }
    if method == Method::RsyncTls { tls(hands, published).await } else { ssh(hands, direction, published).await }
}

async fn tls(hands: &Hands<'_>, published: &mut Published) -> Result<Option<String>, Trouble> {
    let name = names::tls_secret(hands.owner.name);
    if let Some(found) = hands.get::<Secret>(&name).await? {
        check(&found, TLS_FIELDS).map_err(|error| Trouble::user(&error))?;
    } else {
        hands.create(&keys::tls(&hands.owner, &generate::tls_key()?)).await?;
    }
    published.keys = Some(name.clone());
    Ok(Some(name))
}

async fn ssh(hands: &Hands<'_>, direction: Direction, published: &mut Published) -> Result<Option<String>, Trouble> {
    let Some(main) = main(hands, direction).await? else { return Ok(None) };
    let (used, others) = used_and_published(direction);
    for half in [used, others] {
        let wanted = ssh_half(&hands.owner, direction, half, &main).map_err(|error| Trouble::user(&error))?;
        hands.keep(&wanted).await?;
    }
    published.keys = Some(names::ssh_secret(others, direction, hands.owner.name));
    Ok(Some(names::ssh_secret(used, direction, hands.owner.name)))
}

/// Both pairs of keys. While they are whole they are never made again: every copy that users took to the other cluster
/// would be worthless. `None` if what is there is broken; it is deleted then.
async fn main(hands: &Hands<'_>, direction: Direction) -> Result<Option<Secret>, Trouble> {
    let name = names::ssh_secret(SshSecret::Main, direction, hands.owner.name);
    match hands.get::<Secret>(&name).await? {
        Some(found) if found.metadata.deletion_timestamp.is_some() => Ok(None),
        Some(found) => match check(&found, ssh_fields(SshSecret::Main)) {
            Ok(()) => Ok(Some(found)),
            Err(_) if hands.owns(&found) => hands.delete(&found).await.map(|()| None),
            Err(error) => Err(Trouble::user(&error)),
        },
        None => {
            let (source, destination) = generate::ssh_pairs().await?;
            hands.create(&ssh_main(&hands.owner, direction, source, destination)).await.map(Some)
        }
    }
}
