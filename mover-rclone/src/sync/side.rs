//! The two kinds of side, opened: what one can ask of an item.

use std::path::PathBuf;
use std::sync::Arc;

use volsync_common::dest::{Dest, DestOptions};
use volsync_common::root::Root;
use volsync_common::source::SourceFile;

use super::Context;
use super::compare::{Fact, Facts};
use super::feed::{self, LocalRules};
use super::item::{Item, ItemKind};
use super::parts::{Compared, Trouble};
use super::problems::Problem;
use super::steady::Steady;
use crate::store::{Md5, PartsDigest, Store};

/// A directory of this machine.
pub(super) struct Local {
    pub(super) path: PathBuf,
    pub(super) root: Root,
    pub(super) rules: LocalRules,
    /// As a destination.
    pub(super) dest: Option<Dest>,
}

/// One side of a run.
pub(super) enum Side {
    /// A directory of this machine.
    Local(Local),
    /// Anything else.
    Store(Arc<dyn Store>),
}

impl Local {
    /// Opens the directory to read it.
    pub(super) fn source(path: PathBuf, rules: LocalRules) -> std::io::Result<Self> {
        let root = Root::open(&path, rules.strategy())?;
        Ok(Self { path, root, rules, dest: None })
    }

    /// Opens it to write below it; with `make` it is made if it is not there.
    pub(super) fn destination(path: PathBuf, rules: LocalRules, make: bool) -> std::io::Result<Self> {
        let open = if make { Dest::open_or_make } else { Dest::open };
        let dest = open(&path, DestOptions::default())?;
        Ok(Self { path, root: dest.root().clone(), rules, dest: Some(dest) })
    }

    async fn md5(&self, item: &Item, context: &Context) -> Result<Option<Md5>, Problem> {
        if item.kind == ItemKind::Link {
            return Ok(feed::link_path(&item.path)
                .and_then(|path| feed::link_target(&self.root, &path).ok())
                .map(|t| volsync_md5::md5(&t)));
        }
        let fail = |error: std::io::Error| Problem::io(&item.path, "failed to read the file to compare it", &error);
        let file = SourceFile::open(&self.root, &item.path).map_err(fail)?;
        let size = file.stat().size;
        let digest = context.hasher.hash_file(file.file().clone(), size).await.map_err(fail)?;
        context.counters.hashed(digest.bytes);
        let same = digest.bytes == size && file.unchanged().map_err(fail)?;
        Ok(same.then_some(digest.md5))
    }
}

impl Local {
    /// The digest over parts of an item that is as long as the object; `None` if it changed, or nobody knows the parts.
    pub(super) async fn parts_digest(
        &self,
        item: &Item,
        store: &dyn Store,
        parts: PartsDigest,
        context: &Context,
    ) -> Result<Option<Md5>, Problem> {
        let fail = |error: std::io::Error| Problem::io(&item.path, "failed to read the file to compare it", &error);
        let file = SourceFile::open(&self.root, &item.path).map_err(fail)?;
        let (size, path) = (file.stat().size, &item.path);
        let compared = Compared { store, path, size, parts, file: file.file(), hasher: &context.hasher };
        let digest = compared.digest().await.map_err(|trouble| match trouble {
            Trouble::Store(error) => Problem::from(error).about(&item.path),
            Trouble::File(error) => fail(error),
        })?;
        context.counters.hashed(size);
        Ok(digest.filter(|_| file.unchanged().unwrap_or(false)))
    }
}

impl Side {
    /// How messages call it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Local(local) => feed::shown(&local.path),
            Self::Store(store) => store.describe(),
        }
    }

    /// Whether hashes of its contents can be had.
    pub(super) fn has_hashes(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Store(store) => store.features().md5,
        }
    }

    /// What is known of an item before anything is asked.
    pub(super) fn facts(&self, item: &Item, context: &Context) -> Facts {
        let told = match self {
            Self::Local(_) => item.kind == ItemKind::File,
            Self::Store(store) => store.features().listed_mtime || context.options.use_server_modtime,
        };
        let mtime = if told { item.mtime.into() } else { Fact::Unasked };
        Facts { size: item.size, mtime, md5: item.md5.map_or(Fact::Unasked, Fact::Is), ..Facts::default() }
    }

    /// Finds out the modification time, if it is not known.
    pub(super) async fn learn_time(&self, item: &Item, facts: &mut Facts) -> Result<(), Problem> {
        match self {
            _ if facts.mtime.is_asked() => {}
            Self::Local(local) => {
                let path = feed::link_path(&item.path).unwrap_or_else(|| item.path.clone());
                facts.mtime = feed::link_time(&local.root, &path).ok().into();
            }
            Self::Store(store) => ask(&**store, item, facts).await?,
        }
        Ok(())
    }

    /// MD5 of the content as it is read now.
    pub(super) async fn read(&self, item: &Item, context: &Context) -> Result<Option<Md5>, Problem> {
        let store = match self {
            Self::Local(local) => return local.md5(item, context).await,
            Self::Store(store) => store.clone(),
        };
        let fail = |error| Problem::from(error).about(&item.path);
        let mut body = Steady::open(store, item.path.clone(), None, None).await.map_err(fail)?;
        let mut sum = volsync_md5::Md5::new();
        while let Some(piece) = body.next().await.map_err(fail)? {
            sum.update(&piece);
        }
        Ok(Some(sum.finalize()))
    }

    /// Finds out the hash, if it is not known.
    pub(super) async fn learn_hash(&self, item: &Item, facts: &mut Facts, context: &Context) -> Result<(), Problem> {
        match self {
            _ if facts.md5.is_asked() => {}
            Self::Local(local) => {
                let md5 = local.md5(item, context).await?;
                facts.changed = md5.is_none();
                facts.md5 = md5.into();
            }
            // One HEAD tells all, where listings do not tell times.
            Self::Store(store) if !store.features().listed_mtime => ask(&**store, item, facts).await?,
            Self::Store(store) => {
                let md5 = store.md5(&item.path).await;
                facts.md5 = md5.map_err(|error| Problem::from(error).about(&item.path))?.into();
            }
        }
        Ok(())
    }
}

/// One HEAD tells both; a hash in the metadata beats that of the listing.
async fn ask(store: &dyn Store, item: &Item, facts: &mut Facts) -> Result<(), Problem> {
    let meta = store.stat(&item.path).await.map_err(|error| Problem::from(error).about(&item.path))?;
    if !facts.mtime.is_asked() {
        facts.mtime = meta.mtime.into();
    }
    facts.md5 = meta.md5.or(facts.md5.value()).into();
    facts.parts = meta.parts;
    Ok(())
}
