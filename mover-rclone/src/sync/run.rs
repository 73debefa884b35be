//! One run: its sides, its rules and what it has found out.

use std::sync::Arc;

use volsync_common::report::Action;

use super::compare::{Fact, Facts, Rules, Step};
use super::item::Item;
use super::problems::{Problem, Problems};
use super::side::Side;
use super::writer::Writer;
use super::{Context, Goal};

/// What all parts of a run share.
pub(super) struct Run {
    pub(super) context: Context,
    pub(super) goal: Goal,
    pub(super) source: Side,
    pub(super) dest: Side,
    pub(super) rules: Rules,
    pub(super) problems: Problems,
    pub(super) writer: Arc<Writer>,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to do.
    Keep,
    /// Transfer; the hash of the source, if it was found out.
    Transfer(Option<crate::store::Md5>),
    /// Set the time of the destination to this.
    Touch(volsync_common::time::Timestamp),
}

impl Run {
    pub(super) fn new(context: Context, goal: Goal, source: Side, dest: Side) -> Arc<Self> {
        let hashes = source.has_hashes() && dest.has_hashes();
        let restore = goal == Goal::Volume && matches!(dest, Side::Local(_));
        let rules = Rules::new(&context.options, hashes, restore);
        let rules = if goal == Goal::Check { rules.for_check() } else { rules };
        let problems = Problems::new(context.reporter.clone());
        Arc::new(Self { context, goal, source, dest, rules, problems, writer: Arc::default() })
    }

    /// Tells that a file was transferred, or would be.
    pub(super) fn copied(&self, item: &Item, replacing: bool) {
        let action = if replacing { Action::Replace } else { Action::Copy };
        self.context.reporter.action(action, &item.path, item.size);
    }

    /// Whether the user asked for the end.
    pub(super) fn cancelled(&self) -> bool {
        self.context.cancel.is_cancelled()
    }

    /// Whether contents themselves are compared (`check --download`), whatever hashes are known.
    pub(super) fn reads_both(&self) -> bool {
        self.goal == Goal::Check && self.context.options.download
    }

    async fn compare_contents(&self, source: &Item, dest: &Item) -> Result<Verdict, Problem> {
        if source.size != dest.size {
            return Ok(Verdict::Transfer(None));
        }
        let sums = (self.source.read(source, &self.context).await?, self.dest.read(dest, &self.context).await?);
        Ok(if sums.0 == sums.1 { Verdict::Keep } else { Verdict::Transfer(None) })
    }

    /// Asks the sides as little as the decision needs.
    pub(super) async fn compare(&self, source: &Item, dest: &Item) -> Result<Verdict, Problem> {
        if self.reads_both() {
            return self.compare_contents(source, dest).await;
        }
        let mut source_facts = self.source.facts(source, &self.context);
        let mut dest_facts = self.dest.facts(dest, &self.context);
        // Each question is asked once at most: times, then hashes, then perhaps times.
        for _ in 0..4 {
            match self.rules.step(&source_facts, &dest_facts) {
                Step::Keep => return Ok(Verdict::Keep),
                Step::Transfer => {
                    let md5 = source_facts.md5.value().filter(|_| source_facts.parts.or(dest_facts.parts).is_none());
                    return Ok(Verdict::Transfer(md5));
                }
                Step::Touch => {
                    let time = source_facts.mtime.value();
                    return Ok(time.map_or(Verdict::Keep, Verdict::Touch));
                }
                Step::NeedTimes => {
                    self.source.learn_time(source, &mut source_facts).await?;
                    self.dest.learn_time(dest, &mut dest_facts).await?;
                }
                Step::NeedHashes => self.learn_hashes(source, dest, &mut source_facts, &mut dest_facts).await?,
            }
        }
        Ok(Verdict::Transfer(None))
    }

    /// The side that answers without reading content first: without its hash there is nothing to compare with.
    async fn learn_hashes(&self, source: &Item, dest: &Item, s: &mut Facts, d: &mut Facts) -> Result<(), Problem> {
        let context = &self.context;
        let ((far, far_item, f), (near, near_item, n)) = if matches!(self.dest, Side::Local(_)) {
            ((&self.source, source, s), (&self.dest, dest, d))
        } else {
            ((&self.dest, dest, d), (&self.source, source, s))
        };
        far.learn_hash(far_item, f, context).await?;
        if f.md5 == Fact::Absent {
            n.md5 = Fact::Absent;
            self.learn_parts(far, near, near_item, f, n).await?;
        }
        near.learn_hash(near_item, n, context).await
    }

    /// A digest over parts takes the place of the hash, for both sides.
    async fn learn_parts(
        &self,
        far: &Side,
        near: &Side,
        item: &Item,
        f: &mut Facts,
        n: &mut Facts,
    ) -> Result<(), Problem> {
        let (Side::Store(store), Side::Local(local)) = (far, near) else { return Ok(()) };
        let Some(parts) = f.parts.filter(|_| self.rules.wants_parts()) else { return Ok(()) };
        if let Some(digest) = local.parts_digest(item, &**store, parts, &self.context).await? {
            (f.md5, n.md5) = (Fact::Is(parts.md5), Fact::Is(digest));
        }
        Ok(())
    }
}
