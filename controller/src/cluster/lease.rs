//! Acts only while it holds the lease.

use super::now;
use crate::machine::election::{LEASE, Move, Terms, next, released};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    runtime::wait::await_condition,
};
use std::{
    future::Future,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// Why a controller that led has stopped to act.
#[derive(Debug, thiserror::Error)]
#[error("the lease {LEASE} could not be renewed, or another controller took it")]
pub struct Lost;

/// A place in the election.
pub(super) struct Candidate {
    leases: Api<Lease>,
    namespace: String,
    identity: String,
    terms: Terms,
}

impl Candidate {
    pub(super) fn new(client: &Client, namespace: &str, identity: String, terms: Terms) -> Self {
        Self { leases: Api::namespaced(client.clone(), namespace), namespace: namespace.to_owned(), identity, terms }
    }

    /// Waits for the lease, works while it is held, and gives it up when the work has ended. `end` ends the wait.
    pub(super) async fn lead(&self, end: impl Future<Output = ()>, work: impl Future<Output = ()>) -> Result<(), Lost> {
        let held = tokio::select! {
            () = end => return Ok(()),
            held = self.acquire() => held,
        };
        tracing::info!(lease = LEASE, identity = self.identity, "this controller acts");
        let mut held = held;
        tokio::select! {
            () = work => {}
            () = self.hold(&mut held) => return Err(Lost),
        }
        self.release(&held).await;
        Ok(())
    }

    async fn acquire(&self) -> Lease {
        let mut seen: Option<(LeaseSpec, Instant)> = None;
        loop {
            let wait = match self.leases.get_opt(LEASE).await {
                Ok(found) => {
                    let spec = found.as_ref().and_then(|lease| lease.spec.clone());
                    let since = match (&seen, &spec) {
                        (Some((before, since)), Some(spec)) if before == spec => *since,
                        _ => Instant::now(),
                    };
                    seen = spec.clone().map(|spec| (spec, since));
                    match next(spec.as_ref(), &self.identity, since.elapsed(), now(), &self.terms) {
                        Move::Write(spec) => match self.write(found.as_ref(), spec).await {
                            Ok(lease) => return lease,
                            Err(error) => {
                                tracing::debug!(%error, "the lease is not ours");
                                Duration::ZERO
                            }
                        },
                        Move::Wait(left) => left.min(self.terms.retry),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease cannot be read");
                    Duration::ZERO
                }
            };
            self.wait(wait).await;
        }
    }

    /// Waits until the lease is given up, which its holder does when it ends well, and not for longer than asked.
    async fn wait(&self, longest: Duration) {
        if longest.is_zero() {
            // Somebody was faster, or the server is in trouble.
            return sleep(self.terms.retry.min(Duration::from_secs(1))).await;
        }
        let free = |lease: Option<&Lease>| lease.is_none_or(|lease| holder(lease).is_empty());
        if let Ok(Err(error)) = timeout(longest, await_condition(self.leases.clone(), LEASE, free)).await {
            tracing::debug!(%error, "the lease cannot be watched");
            sleep(longest).await;
        }
    }

    async fn write(&self, found: Option<&Lease>, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        if let Some(found) = found {
            // With the version that was read: of two that write, one fails.
            let changed = Lease { spec: Some(spec), metadata: found.metadata.clone() };
            return self.leases.replace(LEASE, &PostParams::default(), &changed).await;
        }
        let (name, namespace) = (Some(LEASE.to_owned()), Some(self.namespace.clone()));
        let metadata = ObjectMeta { name, namespace, ..ObjectMeta::default() };
        self.leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
    }

    /// Renews the lease until it is lost.
    async fn hold(&self, held: &mut Lease) {
        let mut renewed = Instant::now();
        loop {
            sleep(self.terms.retry).await;
            let left = self.terms.deadline.saturating_sub(renewed.elapsed());
            match timeout(left, self.renew(held)).await {
                Ok(Ok(())) => renewed = Instant::now(),
                Ok(Err(error)) => tracing::warn!(%error, "the lease was not renewed"),
                Err(_) => {}
            }
            if holder(held) != self.identity || renewed.elapsed() >= self.terms.deadline {
                return;
            }
        }
    }

    async fn renew(&self, held: &mut Lease) -> Result<(), kube::Error> {
        let Move::Write(spec) = next(held.spec.as_ref(), &self.identity, Duration::ZERO, now(), &self.terms) else {
            return Ok(());
        };
        match self.write(Some(held), spec).await {
            Ok(lease) => *held = lease,
            // Changed by somebody: what it is now decides.
            Err(kube::Error::Api(status)) if status.code == 409 => *held = self.leases.get(LEASE).await?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn release(&self, held: &Lease) {
        let spec = released(&held.spec.clone().unwrap_or_default(), now());
        if let Err(error) = self.write(Some(held), spec).await {
            tracing::warn!(%error, "the lease was not given up");
        }
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}
