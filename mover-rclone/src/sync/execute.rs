//! Does the planned work: compares and transfers side by side, within the limits the user set.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use volsync_common::exit::ExitCode;
use volsync_common::report::Skip;

use super::item::Item;
use super::plan::Work;
use super::problems::Problem;
use super::run::{Run, Verdict};
use super::side::Side;
use super::small;
use super::touch::Touched;
use super::transfer::Transfers;
use super::{Goal, compare};
use crate::flags::options::Cutoff;

/// Files under way when the user sets no bound. The store's own limit adapts to what the server takes; this one only
/// bounds what waits there.
const MOST_TRANSFERS: usize = 256;

/// Comparisons under way.
const MOST_CHECKS: usize = 32;

/// Work that comparisons brought up and that waits for room; above it no new work is taken.
const MOST_WAITING: usize = 2048;

/// Transfers that wait, some of them with their content, above which no further comparison begins.
const MOST_LOADED: usize = 512;

/// How long work under way may go on after a signal.
const LAST_CALL: Duration = Duration::from_millis(2500);

/// What came of one task.
enum Done {
    /// Comparisons: what they brought up.
    Checked(Vec<Work>),
    /// A transfer.
    Transferred,
}

/// The work under way.
pub(super) struct Executor {
    run: Arc<Run>,
    transfers: Arc<Transfers>,
    tasks: JoinSet<Done>,
    checking: usize,
    transferring: usize,
    waiting_checks: VecDeque<Work>,
    waiting_transfers: VecDeque<Work>,
    /// Held back until all comparisons are done (`--check-first`).
    check_first: bool,
    most_transfers: usize,
    deadline: Option<Instant>,
    stopped: bool,
}

impl Executor {
    pub(super) fn new(run: Arc<Run>, transfers: Arc<Transfers>) -> Self {
        let options = &run.context.options;
        let bound = options.transfers.and_then(|n| usize::try_from(n.max(1)).ok());
        let deadline = options.max_duration.map(|limit| Instant::now() + limit);
        Self {
            check_first: options.check_first,
            most_transfers: bound.unwrap_or(MOST_TRANSFERS),
            run,
            transfers,
            tasks: JoinSet::new(),
            checking: 0,
            transferring: 0,
            waiting_checks: VecDeque::new(),
            waiting_transfers: VecDeque::new(),
            deadline,
            stopped: false,
        }
    }

    /// Works until the plan ends and everything is done, or until the run is ended.
    pub(super) async fn work(mut self, mut plan: Receiver<Work>) {
        let cancel = self.run.context.cancel.clone();
        let mut open = true;
        loop {
            self.start_waiting(!open);
            if self.stopped {
                break;
            }
            if !open && self.is_idle() {
                return;
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = until(self.deadline) => self.out_of_time(),
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.finished(done),
                work = plan.recv(), if open && self.has_room() => match work {
                    Some(work) => self.wait(work),
                    None => open = false,
                },
            }
        }
        drop(plan);
        self.wind_up().await;
    }

    /// Lets what is under way end, but not for long.
    async fn wind_up(mut self) {
        let patience = if self.run.cancelled() { LAST_CALL } else { Duration::MAX };
        let all = async {
            while let Some(done) = self.tasks.join_next().await {
                if let Err(error) = done {
                    tracing::debug!("a task ended early: {error}");
                }
            }
        };
        let cancelled = async {
            self.run.context.cancel.cancelled().await;
            tokio::time::sleep(LAST_CALL).await;
        };
        tokio::select! {
            () = all => {}
            () = tokio::time::sleep(patience) => {}
            () = cancelled => {}
        }
    }

    fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.waiting_checks.is_empty() && self.waiting_transfers.is_empty()
    }

    fn wait(&mut self, work: Work) {
        match work {
            Work::Transfer { .. } => self.waiting_transfers.push_back(work),
            Work::Check(..) | Work::CheckSmall(_) | Work::Load(_) => self.waiting_checks.push_back(work),
        }
    }

    fn has_room(&self) -> bool {
        let transfers = self.waiting_transfers.len() < MOST_WAITING || self.check_first;
        transfers && self.waiting_checks.len() < MOST_CHECKS
    }

    /// Starts of what waits as much as the limits allow.
    fn start_waiting(&mut self, plan_ended: bool) {
        while self.checking < MOST_CHECKS
            && self.waiting_transfers.len() < MOST_LOADED
            && let Some(work) = self.waiting_checks.pop_front()
        {
            self.start(work);
        }
        let checked = plan_ended && self.checking == 0 && self.waiting_checks.is_empty();
        while (checked || !self.check_first)
            && !self.stopped
            && self.transferring < self.most_transfers
            && let Some(work) = self.waiting_transfers.pop_front()
        {
            self.start(work);
        }
    }

    fn start(&mut self, work: Work) {
        let run = self.run.clone();
        match work {
            Work::CheckSmall(pairs) => {
                self.checking += 1;
                self.tasks.spawn(async move { Done::Checked(check_small(&run, pairs).await) });
            }
            Work::Check(source, dest) => {
                self.checking += 1;
                self.tasks.spawn(async move { Done::Checked(check(&run, source, dest).await) });
            }
            Work::Load(items) => {
                self.checking += 1;
                self.tasks.spawn(async move { Done::Checked(load(&run, items).await) });
            }
            Work::Transfer { item, replacing, md5, content } => {
                if !self.within_limits(&item) {
                    return;
                }
                self.transferring += 1;
                self.run.context.counters.transfer_planned(item.size);
                let transfers = self.transfers.clone();
                self.tasks.spawn(async move {
                    transfers.transfer(item, replacing, md5, content).await;
                    Done::Transferred
                });
            }
        }
    }

    fn finished(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Checked(more)) => {
                self.checking -= 1;
                for work in more {
                    self.wait(work);
                }
            }
            Ok(Done::Transferred) => self.transferring -= 1,
            Err(error) => {
                // A panic is a mistake of ours; what the task was about is not known, so nothing may be deleted.
                self.checking = self.checking.min(self.tasks.len());
                self.transferring = self.transferring.min(self.tasks.len());
                self.run.problems.report(Problem::new("", format!("a task of this program failed: {error}")));
            }
        }
        self.check_hard_limit();
    }

    /// `--max-transfer`: whether a file may still begin.
    fn within_limits(&mut self, item: &Item) -> bool {
        let options = &self.run.context.options;
        let Some(most) = options.max_transfer else { return true };
        let done = self.run.context.counters.bytes();
        let over = match options.cutoff_mode {
            Cutoff::Cautious => self.run.context.counters.snapshot().bytes_planned + item.size > most,
            Cutoff::Hard | Cutoff::Soft => done >= most,
        };
        if over && !self.stopped {
            self.stopped = true;
            let text = "max transfer limit reached as set by --max-transfer";
            self.run.problems.report(Problem::new("", text).exiting(ExitCode::TransferLimit));
        }
        !over
    }

    fn check_hard_limit(&mut self) {
        let options = &self.run.context.options;
        let over = options.max_transfer.is_some_and(|most| self.run.context.counters.bytes() >= most);
        if over && options.cutoff_mode == Cutoff::Hard && self.transferring > 0 && !self.stopped {
            self.stopped = true;
            self.tasks.abort_all();
            let text = "max transfer limit reached as set by --max-transfer";
            self.run.problems.report(Problem::new("", text).exiting(ExitCode::TransferLimit));
        }
    }

    fn out_of_time(&mut self) {
        self.deadline = None;
        self.stopped = true;
        if self.run.context.options.cutoff_mode == Cutoff::Hard {
            self.tasks.abort_all();
        }
        let text = "max transfer duration reached as set by --max-duration";
        self.run.problems.report(Problem::new("", text).exiting(ExitCode::DurationLimit));
    }
}

/// Ends once `deadline` has passed: at once where it has, which the timer, whose grain is a millisecond, would not.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) if deadline <= Instant::now() => {}
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Compares one pair; what follows from it.
async fn check(run: &Arc<Run>, source: Item, dest: Item) -> Vec<Work> {
    let verdict = run.compare(&source, &dest).await;
    run.context.counters.checked();
    match verdict {
        Ok(verdict) => follow(run, source, &dest, verdict).await,
        Err(problem) => {
            run.problems.report(problem);
            Vec::new()
        }
    }
}

async fn follow(run: &Arc<Run>, source: Item, dest: &Item, verdict: Verdict) -> Vec<Work> {
    match verdict {
        Verdict::Keep => {
            run.context.reporter.skipped(Skip::Unchanged, &source.path);
            Vec::new()
        }
        Verdict::Transfer(_) if run.goal == Goal::Check => {
            let why = if source.size == dest.size { "contents differ" } else { "sizes differ" };
            run.problems.report(Problem::refusal(&source.path, why));
            Vec::new()
        }
        // Times are no difference of content.
        Verdict::Touch(_) if run.goal == Goal::Check => Vec::new(),
        // A new time is a change, which the transfer refuses.
        Verdict::Touch(_) if run.context.options.immutable => again(source, None),
        Verdict::Touch(time) => match super::touch::touch(run, &source, dest, time).await {
            Ok(Touched::Done) => Vec::new(),
            Ok(Touched::NeedsContent) => again(source, None),
            Err(problem) => {
                run.problems.report(problem);
                Vec::new()
            }
        },
        Verdict::Transfer(md5) => again(source, md5),
    }
}

fn again(item: Item, md5: Option<crate::store::Md5>) -> Vec<Work> {
    vec![Work::Transfer { item, replacing: true, md5, content: None }]
}

/// Reads a batch of small files for their upload. One that cannot be read, or changed, goes the way of large files, which
/// knows what to do.
async fn load(run: &Arc<Run>, items: Vec<Item>) -> Vec<Work> {
    let transfer = |item, loaded: Option<(small::Content, crate::store::Md5)>| {
        let (content, md5) = loaded.unzip();
        Work::Transfer { item, replacing: false, md5, content }
    };
    let Side::Local(local) = &run.source else { return items.into_iter().map(|item| transfer(item, None)).collect() };
    let root = local.root.clone();
    let bytes: u64 = items.iter().map(|item| item.size).sum();
    let memory = run.context.budget.reserve(usize::try_from(bytes).unwrap_or(usize::MAX)).await;
    let read = tokio::task::spawn_blocking(move || {
        let loaded = small::load(&root, &items.iter().collect::<Vec<_>>(), memory);
        (items, loaded)
    });
    match read.await {
        Ok((items, loaded)) => {
            items.into_iter().zip(loaded).map(|(item, loaded)| transfer(item, loaded.ok().flatten())).collect()
        }
        Err(error) => {
            run.problems.report(Problem::new("", format!("a task of this program failed: {error}")));
            Vec::new()
        }
    }
}

/// Compares a batch of small files on one thread. What differs is uploaded from the content that was read.
async fn check_small(run: &Arc<Run>, pairs: Vec<(Item, Item)>) -> Vec<Work> {
    let (Side::Local(local), local_is_source) = (match &run.source {
        Side::Local(_) => (&run.source, true),
        Side::Store(_) => (&run.dest, false),
    }) else {
        return pairs.into_iter().map(|(source, dest)| Work::Check(source, dest)).collect();
    };
    let root = local.root.clone();
    let bytes: u64 = pairs.iter().map(|(source, dest)| if local_is_source { source.size } else { dest.size }).sum();
    let memory = run.context.budget.reserve(usize::try_from(bytes).unwrap_or(usize::MAX)).await;
    let read = tokio::task::spawn_blocking(move || {
        let items: Vec<&Item> =
            pairs.iter().map(|(source, dest)| if local_is_source { source } else { dest }).collect();
        let loaded = small::load(&root, &items, memory);
        (pairs, loaded)
    });
    let (pairs, loaded) = match read.await {
        Ok(read) => read,
        Err(error) => {
            run.problems.report(Problem::new("", format!("a task of this program failed: {error}")));
            return Vec::new();
        }
    };
    run.context.counters.hashed(bytes);
    let mut more = Vec::new();
    for ((source, dest), loaded) in pairs.into_iter().zip(loaded) {
        run.context.counters.checked();
        match loaded {
            Err(error) => {
                let local = if local_is_source { &source } else { &dest };
                run.problems.report(Problem::io(&local.path, "failed to read the file to compare it", &error));
            }
            Ok(loaded) => {
                let (content, sum) = loaded.unzip();
                let verdict = judge(run, &source, &dest, local_is_source, sum);
                let content = content.filter(|_| local_is_source);
                more.extend(
                    follow(run, source, &dest, verdict).await.into_iter().map(|work| with(work, content.as_ref())),
                );
            }
        }
    }
    more
}

/// The same transfer with the content it needs.
fn with(work: Work, loaded: Option<&small::Content>) -> Work {
    match work {
        Work::Transfer { item, replacing, md5: Some(md5), .. } => {
            Work::Transfer { item, replacing, md5: Some(md5), content: loaded.cloned() }
        }
        other => other,
    }
}

/// The decision about a small pair whose hash is known now.
fn judge(run: &Run, source: &Item, dest: &Item, local_is_source: bool, sum: Option<crate::store::Md5>) -> Verdict {
    let mut facts = (run.source.facts(source, &run.context), run.dest.facts(dest, &run.context));
    let local = if local_is_source { &mut facts.0 } else { &mut facts.1 };
    local.md5 = sum.into();
    local.changed = sum.is_none();
    match run.rules.step(&facts.0, &facts.1) {
        compare::Step::Keep => Verdict::Keep,
        compare::Step::Touch => facts.0.mtime.value().map_or(Verdict::Keep, Verdict::Touch),
        _ => Verdict::Transfer(facts.0.md5.value().filter(|_| !facts.0.changed)),
    }
}
