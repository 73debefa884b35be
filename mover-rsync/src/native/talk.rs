//! The conversation about what differs, from either end.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use volsync_common::dest::{Dest, DestOptions};
use volsync_common::path::RelPath;
use volsync_common::walk::{Kind, Stat};

use super::judge::{Judge, Recorder, flag};
use super::plan::{Plan, Search};
use super::scan::{Scan, ScanError, Ticks, Whole};
use super::tree::Tree;
use super::wire::{self, Begin};
use crate::accounts::{Accounts, IdMap};
use crate::directories::{Directories, join};
use crate::exit::{ExitCode, Fatal};
use crate::filter::Filter;
use crate::options::{Items, Options};
use crate::receiver::{Requested, Target, own_groups};
use crate::sender::{Source, kept};
use crate::session::Terms;
use crate::stream::{Demux, Mux};
use crate::wire::WireError;

/// Directories that are told in one answer without having been asked for: a small tree takes one answer.
const UNASKED: usize = 64;

/// What a new file system has.
pub(crate) const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Failures that are remembered, so that they are not told twice.
const REMEMBERED: usize = 10_000;

/// What the sender knows before it lists.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) plan: Plan,
    /// What the source holds, when that was counted.
    pub(crate) whole: Option<Whole>,
    /// Error bits.
    pub(crate) io_error: u32,
    /// What could not be read, and was told.
    pub(crate) failed: HashSet<Vec<u8>>,
}

/// Whether trees are compared at all: not where every file is looked at.
fn compares(options: &Options) -> bool {
    options.recursive && !options.ignore_times && options.items != Items::All
}

/// The sender's part; several sources are not compared. `failed` tells of what could not be read, and gives its error bits.
pub(crate) fn send<R: Read, W: Write>(
    source: Option<&Source>,
    terms: &Terms,
    accounts: &Accounts,
    failed: impl Fn(&[u8], &io::Error) -> u32,
    input: &mut Demux<R>,
    out: &mut Mux<W>,
) -> Result<Comparison, Fatal> {
    // Rules of files in the tree need not be the same at both ends.
    let compared = compares(&terms.options) && !terms.filter.needs_tree();
    let source = source.filter(|source| source.is_whole() && compared);
    let with_root = source.is_some_and(|source| !source.is_without_root());
    Begin { root: source.map(|source| source.listed(b".")), with_root }.write(out.data());
    out.flush()?;
    let judge = Judge::read(input)?;
    let mut comparison = Comparison::default();
    let Some(source) = source.filter(|_| !judge.has(flag::NOTHING)) else { return Ok(comparison) };
    let recorder = Recorder { judge, accounts: accounts.clone(), here: false };
    let scan = Scan {
        root: source.root().clone(),
        path: source.path(),
        one_file_system: terms.options.one_file_system,
        with_root,
        recorder: &recorder,
        options: &terms.options,
    };
    let mut told = |path: &[u8], error: &io::Error| {
        comparison.io_error |= failed(path, error);
        if comparison.failed.len() < REMEMBERED {
            comparison.failed.insert(path.to_vec());
        }
    };
    let mut ticks = Ticks::new(terms.options.timeout);
    let scanned = scan.run(kept(&terms.filter, source), &mut told, &mut ticks, &mut || out.keep_alive());
    let (tree, whole) = scanned.map_err(|error| match error {
        ScanError::Root(error) => Fatal::Other(ExitCode::FileSelect, format!("cannot read the source: {error}")),
        ScanError::Wire(error) => error.into(),
    })?;
    comparison.whole = Some(whole);
    if let Some(root) = wire::read_root(input)? {
        comparison.plan = questions(Search::new(&tree, root), input, out)?;
    }
    wire::write_question(&[], out.data());
    whole.write(out.data());
    Ok(comparison)
}

fn questions<R: Read, W: Write>(mut search: Search<'_>, input: &mut Demux<R>, out: &mut Mux<W>) -> Result<Plan, Fatal> {
    wire::read_answer(&mut search, input)?;
    let mut last = Vec::new();
    loop {
        let wanted = search.wanted();
        if wanted.is_empty() {
            return Ok(search.plan());
        }
        if wanted.iter().any(|number| last.binary_search(number).is_ok()) {
            return Err(WireError::bad("a question was not answered").into());
        }
        wire::write_question(&wanted, out.data());
        out.flush()?;
        wire::read_answer(&mut search, input)?;
        last = wanted;
    }
}

/// The receiving side's part. What the source holds, if both trees were compared.
pub(crate) fn receive<R: Read, W: Write>(
    target: &Target,
    terms: &Terms,
    requested: Option<&Requested>,
    ids: &IdMap,
    input: &mut Demux<R>,
    out: &mut Mux<W>,
) -> Result<Option<Whole>, Fatal> {
    let accounts = ids.accounts().cloned().unwrap_or_default();
    let mut groups = own_groups();
    // The one that files get comes first.
    groups.reverse();
    let root = rustix::process::geteuid().is_root();
    let judge = Judge::new(&terms.options, root, !ids.is_numeric(), &groups, &accounts);
    let nothing = has_nothing(target);
    let judge = if nothing { judge.of_nothing() } else { judge };
    judge.write(out.data());
    out.flush()?;
    let begin = Begin::read(input)?;
    let Some(root) = begin.root.clone() else { return Ok(None) };
    // A server may look at nothing else than what it was asked for.
    if requested.is_some_and(|requested| !requested.is_only(&root)) {
        return Err(WireError::bad("a tree that nobody asked for").into());
    }
    if nothing {
        return Ok(None);
    }
    let recorder = Recorder { judge, accounts, here: true };
    let tree = tree(target, terms, &begin, &root, &recorder, out)?;
    wire::write_root(tree.as_ref(), out.data());
    if let Some(tree) = tree {
        answers(&tree, input, out)?;
    } else {
        out.flush()?;
        wire::read_question(0, input)?;
    }
    Ok(Some(Whole::read(input)?))
}

/// Whether there is nothing that a tree could be compared with.
fn has_nothing(target: &Target) -> bool {
    let Some(dest) = target.existing() else { return true };
    dest.directory(None).and_then(|dir| dir.holds_only(LOST_AND_FOUND)).unwrap_or(false)
}

/// What is there already; `None` if nothing can be compared.
fn tree<W: Write>(
    target: &Target,
    terms: &Terms,
    begin: &Begin,
    root: &[u8],
    recorder: &Recorder,
    out: &mut Mux<W>,
) -> Result<Option<Tree>, Fatal> {
    let Some(dir) = target.existing().and_then(|dest| Directories::new(Some(dest)).open(root).ok()) else {
        return Ok(None);
    };
    // By its descriptor: a path could lead through links.
    let path = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    let path = Path::new(&path);
    let Ok(opened) = Dest::open(path, DestOptions::default()) else { return Ok(None) };
    let one_file_system = terms.options.one_file_system;
    let scan =
        Scan { root: opened, path, one_file_system, with_root: begin.with_root, recorder, options: &terms.options };
    let mut ticks = Ticks::new(terms.options.timeout);
    match scan.run(unprotected(&terms.filter, root), &mut |_, _| (), &mut ticks, &mut || out.keep_alive()) {
        Ok((tree, _)) => Ok(Some(tree)),
        Err(ScanError::Root(_)) => Ok(None),
        Err(ScanError::Wire(error)) => Err(error.into()),
    }
}

/// What is not kept from being deleted: the sender may leave that out.
fn unprotected(filter: &Filter, root: &[u8]) -> impl Fn(&RelPath, Kind, &Stat) -> bool + Send + Sync + 'static {
    let (filter, root) = (filter.clone(), root.to_vec());
    move |path, kind, _| filter.is_empty() || !filter.protects(&join(&root, path), kind == Kind::Directory)
}

fn answers<R: Read, W: Write>(tree: &Tree, input: &mut Demux<R>, out: &mut Mux<W>) -> Result<(), Fatal> {
    let mut told = Told(vec![(0, false)]);
    told.answer(tree, &[], &[0], out)?;
    loop {
        let wanted = wire::read_question(told.0.len(), input)?;
        if wanted.is_empty() {
            return Ok(());
        }
        told.answer(tree, &wanted, &[], out)?;
    }
}

/// The nodes in the order in which they were told, and whether they were looked into.
struct Told(Vec<(usize, bool)>);

impl Told {
    /// Looks into what is `wanted`, and as far as there is room into what may be `next`, and into what that leads to.
    fn answer<W: Write>(&mut self, tree: &Tree, wanted: &[u32], next: &[u32], out: &mut Mux<W>) -> Result<(), Fatal> {
        let mut next: VecDeque<u32> = next.iter().copied().collect();
        for number in wanted {
            self.look_into(*number, tree, &mut next, out)?;
        }
        let mut room = UNASKED;
        while let Some(number) = next.pop_front() {
            let children = self.0.get(number as usize).map_or(0, |(node, _)| tree.children(*node).count());
            if children > 0 && children <= room {
                room -= children;
                self.look_into(number, tree, &mut next, out)?;
            }
        }
        wire::write_end(out.data());
        Ok(out.flush()?)
    }

    fn look_into<W: Write>(
        &mut self,
        number: u32,
        tree: &Tree,
        next: &mut VecDeque<u32>,
        out: &mut Mux<W>,
    ) -> Result<(), Fatal> {
        let Some((node, looked)) = self.0.get_mut(number as usize) else { return Ok(()) };
        if std::mem::replace(looked, true) {
            return Err(WireError::bad("a directory is asked for twice").into());
        }
        let node = *node;
        wire::write_inside(number, tree, node, out.data());
        for child in tree.children(node) {
            next.extend(u32::try_from(self.0.len()));
            self.0.push((child, false));
        }
        Ok(out.flush_if_full()?)
    }
}
