//! What syncs have left behind, as watches tell it, and which replications have nothing left.
//!
//! An API server that is asked for a list by a label looks at every object of the namespace, for each replication anew. The
//! watches of what replications own tell the same, a moment later. Nothing is deleted on their word: what they name is read
//! again first. What they do not tell of yet is found when they do, for that is what has a replication looked at; only what the
//! next sync would find under its name is never left to them.

use super::{hands::Namespaced, replicated::Replicated, seats::Key};
use crate::{labels::CLEANUP, objects::owner::Owner};
use kube::{Resource, core::PartialObjectMeta, runtime::watcher::Event};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

/// What was left, of all replications.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    watched: Mutex<HashMap<Watch, Watched>>,
    /// Which replications have nothing left, of which UID and generation.
    clean: Mutex<BTreeMap<Key, (String, i64)>>,
}

/// A watch of the objects of one kind, for the replications of another. Each has its own, and is looked at by its own events.
type Watch = (&'static str, String);

fn watch<C: Resource<DynamicType = ()>>(of: &'static str) -> Watch {
    (of, C::kind(&()).into_owned())
}

/// What one watch has told.
#[derive(Debug, Default)]
struct Watched {
    /// Nothing until it has told of everything once.
    known: Option<Labelled>,
    /// What it has told since it begins anew.
    anew: Labelled,
}

/// Objects that are to be removed.
#[derive(Debug, Default)]
struct Labelled {
    /// By namespace and name, whose they are.
    owners: HashMap<(String, String), String>,
    /// Names by whose they are.
    names: HashMap<String, BTreeSet<String>>,
}

impl Labelled {
    /// The object as it is now, or that it is gone.
    fn set(&mut self, object: (String, String), owner: Option<String>) {
        let name = object.1.clone();
        let before = match &owner {
            Some(owner) => self.owners.insert(object, owner.clone()),
            None => self.owners.remove(&object),
        };
        if let Some(before) = before.filter(|before| Some(before) != owner.as_ref())
            && let Some(names) = self.names.get_mut(&before)
        {
            names.remove(&name);
            if names.is_empty() {
                self.names.remove(&before);
            }
        }
        if let Some(owner) = owner {
            self.names.entry(owner).or_default().insert(name);
        }
    }
}

impl Watched {
    fn saw<C>(&mut self, event: &Event<PartialObjectMeta<C>>) {
        match event {
            Event::Init => self.anew = Labelled::default(),
            Event::InitApply(object) => {
                let (object, owner) = labelled(object);
                self.anew.set(object, owner);
            }
            Event::InitDone => self.known = Some(std::mem::take(&mut self.anew)),
            Event::Apply(object) => {
                let (object, owner) = labelled(object);
                self.change(object, owner);
            }
            Event::Delete(object) => {
                let (object, _) = labelled(object);
                self.change(object, None);
            }
        }
    }

    fn change(&mut self, object: (String, String), owner: Option<String>) {
        if let Some(known) = &mut self.known {
            known.set(object, owner);
        }
    }

    fn tells_of(&self, uid: &str) -> bool {
        let told = |labelled: &Labelled| labelled.names.contains_key(uid);
        self.known.as_ref().is_some_and(told) || told(&self.anew)
    }
}

/// Namespace and name of an object, and the UID of whoever is to remove it.
fn labelled<C>(object: &PartialObjectMeta<C>) -> ((String, String), Option<String>) {
    let metadata = &object.metadata;
    let owner = metadata.labels.as_ref().and_then(|labels| labels.get(CLEANUP).cloned());
    ((metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default()), owner)
}

impl Leftovers {
    /// Takes note of what the watch of `C` for replications of `K` tells.
    pub(super) fn saw<K: Replicated, C: Namespaced>(&self, event: &Event<PartialObjectMeta<C>>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.entry(watch::<C>(K::KIND)).or_default().saw(event);
    }

    /// Names of objects that a replication is to remove. `None` if no watch has told of all yet.
    pub(super) fn names<C: Namespaced>(&self, owner: &Owner<'_>) -> Option<BTreeSet<String>> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let known = watched.get(&watch::<C>(owner.kind))?.known.as_ref()?;
        Some(known.names.get(owner.uid).cloned().unwrap_or_default())
    }

    /// Whether a look has found nothing since the last sync, and no watch has told of anything.
    pub(super) fn nothing(&self, owner: &Owner<'_>, generation: i64) -> bool {
        let clean = self.clean.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = clean.get(&Key::of(owner)).is_some_and(|(uid, at)| uid == owner.uid && *at == generation);
        drop(clean);
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        looked && !watched.iter().any(|((kind, _), watched)| *kind == owner.kind && watched.tells_of(owner.uid))
    }

    /// A look has found nothing, neither named nor labelled. Names are those of a generation.
    pub(super) fn found_nothing(&self, owner: &Owner<'_>, generation: i64) {
        let mut clean = self.clean.lock().unwrap_or_else(PoisonError::into_inner);
        clean.insert(Key::of(owner), (owner.uid.to_owned(), generation));
    }

    /// From here on a replication makes things, or is gone.
    pub(super) fn begin(&self, key: &Key) {
        self.clean.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Source;
    use k8s_openapi::{
        api::{batch::v1::Job, core::v1::PersistentVolumeClaim},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };
    use kube::core::PartialObjectMetaExt;

    const OWNER: Owner<'_> = Owner { kind: "ReplicationSource", namespace: "n", name: "a", uid: "u" };

    fn job(name: &str, owner: Option<&str>) -> PartialObjectMeta<Job> {
        let labels = owner.map(|uid| BTreeMap::from([(CLEANUP.to_owned(), uid.to_owned())]));
        let (name, namespace) = (Some(name.to_owned()), Some("n".to_owned()));
        ObjectMeta { name, namespace, labels, ..ObjectMeta::default() }.into_response_partial()
    }

    fn names(leftovers: &Leftovers, uid: &str) -> Option<Vec<String>> {
        leftovers.names::<Job>(&Owner { uid, ..OWNER }).map(|names| names.into_iter().collect())
    }

    #[test]
    fn what_is_labelled_is_known_when_a_watch_has_told_of_all() {
        let leftovers = Leftovers::default();
        let saw = |event| leftovers.saw::<Source, Job>(&event);
        let found = |uid| names(&leftovers, uid).map(|names| names.join(" "));
        let text = |text: &str| Some(text.to_owned());
        for event in [Event::Init, Event::InitApply(job("one", Some("u"))), Event::InitApply(job("other", Some("v")))] {
            saw(event);
            assert_eq!(found("u"), None);
        }
        saw(Event::InitDone);
        assert_eq!((found("u"), found("v"), found("w")), (text("one"), text("other"), text("")));
        saw(Event::Apply(job("two", Some("u"))));
        saw(Event::Apply(job("two", Some("u"))));
        assert_eq!(found("u"), text("one two"));
        // Another's by now, nobody's, gone.
        saw(Event::Apply(job("one", Some("v"))));
        saw(Event::Apply(job("other", None)));
        assert_eq!((found("u"), found("v")), (text("two"), text("one")));
        saw(Event::Delete(job("two", Some("u"))));
        assert_eq!(found("u"), text(""));
        // What went while nobody watched is not there any more, once all is told.
        saw(Event::Init);
        saw(Event::InitApply(job("three", Some("u"))));
        assert_eq!((found("u"), found("v")), (text(""), text("one")));
        saw(Event::InitDone);
        assert_eq!((found("u"), found("v")), (text("three"), text("")));
        // Each watch for itself.
        assert!(leftovers.names::<PersistentVolumeClaim>(&OWNER).is_none());
        assert!(leftovers.names::<Job>(&Owner { kind: "ReplicationDestination", ..OWNER }).is_none());
    }

    #[test]
    fn nothing_is_left_from_a_look_until_a_sync_begins_or_a_watch_tells_something() {
        let leftovers = Leftovers::default();
        let nothing = || leftovers.nothing(&OWNER, 1);
        assert!(!nothing());
        leftovers.found_nothing(&OWNER, 1);
        assert!(nothing());
        // Other names are asked for, or it is another one of this name.
        assert!(!leftovers.nothing(&OWNER, 2));
        assert!(!leftovers.nothing(&Owner { uid: "v", ..OWNER }, 1));
        for event in [Event::Init, Event::InitDone, Event::Apply(job("one", Some("v")))] {
            leftovers.saw::<Source, Job>(&event);
            assert!(nothing());
        }
        leftovers.saw::<Source, Job>(&Event::Apply(job("one", Some("u"))));
        assert!(!nothing());
        leftovers.saw::<Source, Job>(&Event::Delete(job("one", Some("u"))));
        assert!(nothing());
        // A watch that begins anew counts at once.
        for event in [Event::Init, Event::InitApply(job("one", Some("u")))] {
            leftovers.saw::<Source, Job>(&event);
        }
        assert!(!nothing());
        for event in [Event::Init, Event::InitDone] {
            leftovers.saw::<Source, Job>(&event);
        }
        assert!(nothing());
        leftovers.begin(&Key::of(&OWNER));
        assert!(!nothing());
    }
}
