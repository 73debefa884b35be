//! Watches that come back soon after the API server does.
//!
//! A controller merges its watches into one stream, and the library makes that stream wait longer with each error of any of
//! them: with twenty watches, a server that restarts would be followed by half a minute of deafness. Here each waits for
//! itself, and not long.

use super::hands::Namespaced;
use futures_util::Stream;
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{Config, Error, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, time::Duration};

/// The wait after the first error of a watch, doubled with each that follows, and the longest.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// Objects of one answer when all are read. Twenty watches begin at once, and what each has read is in memory.
pub(super) const PAGE: u32 = 100;

/// Waits of one watch.
#[derive(Debug)]
pub(super) struct Waits(Duration);

impl Default for Waits {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.0;
        self.0 = wait.saturating_mul(2).min(LONGEST);
        Some(wait)
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The merged stream waits for none of its parts.
#[derive(Debug)]
pub(super) struct NoWait;

impl Iterator for NoWait {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl Backoff for NoWait {
    fn reset(&mut self) {}
}

/// What happens to objects.
pub(super) fn events<K>(api: Api<K>, config: Config) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, config.page_size(PAGE)).backoff(Waits::default())
}

/// Objects of any namespace that change or go, as far as it concerns whose they are.
pub(super) fn touched<K: Namespaced + Send + 'static>(
    client: &Client,
    config: Config,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, Error>> + Send + use<K> {
    watched(client, config).touched_objects()
}

/// What happens to objects of any namespace, as far as it concerns whose they are.
pub(super) fn watched<K: Namespaced + Send + 'static>(
    client: &Client,
    config: Config,
) -> impl Stream<Item = Result<Event<PartialObjectMeta<K>>, Error>> + Send + use<K> {
    events(Api::all(client.clone()), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_waits_longer_and_longer_but_never_long() {
        let mut waits = Waits::default();
        assert_eq!(
            waits.by_ref().take(6).map(|wait| wait.as_millis()).collect::<Vec<_>>(),
            [200, 400, 800, 1600, 3200, 5000]
        );
        waits.reset();
        assert_eq!(waits.next(), Some(FIRST));
    }
}
