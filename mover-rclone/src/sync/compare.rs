//! Does a pair need a transfer? rclone's rules (`fs/operations` 1.75, `docs/compat-rclone.md`, "Comparison") as pure
//! values: each step says what must be known next, so that nothing is asked or read in vain.

use std::time::Duration;

use volsync_common::time::Timestamp;

use crate::flags::GlobalOptions;
use crate::store::{Md5, PartsDigest};

/// What counts as a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Size and hash (`--checksum`).
    Checksum,
    /// Size and modification time; the hash decides between a transfer and a touch.
    Time,
    /// Size alone (`--size-only`).
    Size,
    /// Nothing: every file is transferred (`--ignore-times`).
    Nothing,
}

/// The flags that decide about pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) by: By,
    pub(super) ignore_size: bool,
    pub(super) ignore_existing: bool,
    pub(super) update: bool,
    /// Times that differ by less are equal.
    pub(super) window: Duration,
    pub(super) touch: bool,
    /// The two sides have hashes in common, as far as their kinds go.
    pub(super) hashes: bool,
    /// Equal time is no proof that content arrived: a crash can leave the one without the other.
    pub(super) time_proves_nothing: bool,
}

/// Something that may have to be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fact<T> {
    /// Not asked yet.
    #[default]
    Unasked,
    /// Asked, and there is none.
    Absent,
    /// This.
    Is(T),
}

impl<T: Copy> Fact<T> {
    /// The value, if it was asked for and there is one.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Unasked | Self::Absent => None,
        }
    }

    /// Whether it was asked for.
    pub(super) fn is_asked(self) -> bool {
        !matches!(self, Self::Unasked)
    }
}

impl<T> From<Option<T>> for Fact<T> {
    /// An answer.
    fn from(answer: Option<T>) -> Self {
        answer.map_or(Self::Absent, Self::Is)
    }
}

/// What is known of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) size: u64,
    pub(super) mtime: Fact<Timestamp>,
    pub(super) md5: Fact<Md5>,
    /// A digest over parts, where the store has no other.
    pub(super) parts: Option<PartsDigest>,
    /// It changed while it was looked at.
    pub(super) changed: bool,
}

/// What to do with a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Keep,
    /// Transfer.
    Transfer,
    /// Give the destination the source's time.
    Touch,
    /// Find out both times, then ask again.
    NeedTimes,
    /// Find out both hashes, then ask again.
    NeedHashes,
}

impl Rules {
    /// From the flags; `hashes` as the sides have them.
    pub(super) fn new(options: &GlobalOptions, hashes: bool, time_proves_nothing: bool) -> Self {
        let by = match options {
            _ if options.ignore_times => By::Nothing,
            _ if options.size_only => By::Size,
            _ if options.checksum => By::Checksum,
            _ => By::Time,
        };
        Self {
            by,
            ignore_size: options.ignore_size,
            ignore_existing: options.ignore_existing,
            update: options.update,
            window: options.modify_window.max(Duration::from_nanos(1)),
            touch: !options.no_update_modtime,
            hashes,
            time_proves_nothing,
        }
    }

    /// Whether digests over parts are worth asking for: content decides, and nothing stands in for it.
    pub(super) fn wants_parts(&self) -> bool {
        self.hashes && (self.by == By::Checksum || self.time_proves_nothing)
    }

    /// For a comparison alone: content counts, and times do not.
    pub(super) fn for_check(self) -> Self {
        let by = if self.by == By::Size { By::Size } else { By::Checksum };
        Self { by, ignore_existing: false, update: false, ..self }
    }

    /// The next step for a pair.
    pub(super) fn step(&self, source: &Facts, dest: &Facts) -> Step {
        if self.ignore_existing {
            return Step::Keep;
        }
        if self.by == By::Nothing {
            return Step::Transfer;
        }
        if self.update {
            return self.step_update(source, dest);
        }
        if source.changed || dest.changed || (source.size != dest.size && !self.ignore_size) {
            return Step::Transfer;
        }
        match self.by {
            By::Size => Step::Keep,
            By::Checksum => self.by_hash(source, dest, Step::Keep),
            By::Time | By::Nothing => match self.same_time(source, dest) {
                None => Step::NeedTimes,
                Some(true) => Step::Keep,
                Some(false) => self.by_hash(source, dest, if self.touch { Step::Touch } else { Step::Keep }),
            },
        }
    }

    /// `--update`: a destination that is newer is left alone, an older one is compared as without the flag, one of the same
    /// time by size or checksum.
    fn step_update(&self, source: &Facts, dest: &Facts) -> Step {
        if !source.mtime.is_asked() || !dest.mtime.is_asked() {
            return Step::NeedTimes;
        }
        let older = Self { update: false, ..*self };
        let times = source.mtime.value().zip(dest.mtime.value());
        let Some((source_time, dest_time)) = times else { return older.step(source, dest) };
        let window = i128::try_from(self.window.as_nanos()).unwrap_or(i128::MAX);
        match dest_time.as_nanos() - source_time.as_nanos() {
            newer if newer >= window => Step::Keep,
            older_by if older_by <= -window => older.step(source, dest),
            _ => {
                let by = if self.by == By::Checksum { By::Checksum } else { By::Size };
                Self { update: false, by, ..*self }.step(source, dest)
            }
        }
    }

    /// Equal hashes give `equal`. Without hashes on both sides: equal times are the next best, unless they prove nothing
    /// and hashes were to be expected.
    fn by_hash(&self, source: &Facts, dest: &Facts, equal: Step) -> Step {
        if self.hashes && !(source.md5.is_asked() && dest.md5.is_asked()) {
            return Step::NeedHashes;
        }
        match source.md5.value().zip(dest.md5.value()).filter(|_| self.hashes) {
            Some((source, dest)) if source == dest => equal,
            Some(_) => Step::Transfer,
            None if self.by != By::Checksum || (self.hashes && self.time_proves_nothing) => Step::Transfer,
            None => match self.same_time(source, dest) {
                None => Step::NeedTimes,
                Some(true) => Step::Keep,
                Some(false) => Step::Transfer,
            },
        }
    }

    fn same_time(&self, source: &Facts, dest: &Facts) -> Option<bool> {
        if !source.mtime.is_asked() || !dest.mtime.is_asked() {
            return None;
        }
        let Some((source, dest)) = source.mtime.value().zip(dest.mtime.value()) else { return Some(false) };
        let apart = (source.as_nanos() - dest.as_nanos()).unsigned_abs();
        Some(apart < self.window.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        by: By::Time,
        ignore_size: false,
        ignore_existing: false,
        update: false,
        window: Duration::from_nanos(1),
        touch: true,
        hashes: true,
        time_proves_nothing: false,
    };

    const NO: Fact<i64> = Fact::Unasked;
    const NO_SUM: Fact<u8> = Fact::Unasked;

    fn facts(size: u64, mtime: Fact<i64>, md5: Fact<u8>) -> Facts {
        let time = |secs| Timestamp { secs, nanos: 0 };
        let asked = |answer: Fact<i64>| if answer.is_asked() { answer.value().map(time).into() } else { Fact::Unasked };
        let sum = if md5.is_asked() { md5.value().map(|b| [b; 16]).into() } else { Fact::Unasked };
        Facts { size, mtime: asked(mtime), md5: sum, ..Facts::default() }
    }

    #[test]
    fn the_truth_table() {
        let (time, sum, size) = (By::Time, By::Checksum, By::Size);
        let at = Fact::Is;
        let check =
            |rules: Rules, s: Facts, d: Facts, expect| assert_eq!(rules.step(&s, &d), expect, "{rules:?} {s:?} {d:?}");
        let by = |by| Rules { by, ..RULES };

        check(by(time), facts(1, NO, NO_SUM), facts(2, NO, NO_SUM), Step::Transfer);
        check(by(time), facts(1, at(5), NO_SUM), facts(1, NO, NO_SUM), Step::NeedTimes);
        check(by(time), facts(1, at(5), NO_SUM), facts(1, at(5), NO_SUM), Step::Keep);
        check(by(time), facts(1, at(5), NO_SUM), facts(1, at(6), NO_SUM), Step::NeedHashes);
        check(by(time), facts(1, at(5), Fact::Is(1)), facts(1, at(6), Fact::Is(1)), Step::Touch);
        check(by(time), facts(1, at(5), Fact::Is(1)), facts(1, at(6), Fact::Is(2)), Step::Transfer);
        check(by(time), facts(1, at(5), Fact::Is(1)), facts(1, at(6), Fact::Absent), Step::Transfer);
        check(by(time), facts(1, at(5), Fact::Is(1)), facts(1, Fact::Absent, Fact::Is(1)), Step::Touch);
        let changed = Facts { changed: true, ..facts(1, at(5), NO_SUM) };
        check(by(sum), changed, facts(1, NO, Fact::Is(1)), Step::Transfer);
        let keep = Rules { touch: false, ..RULES };
        check(keep, facts(1, at(5), Fact::Is(1)), facts(1, at(6), Fact::Is(1)), Step::Keep);

        check(by(sum), facts(1, at(5), NO_SUM), facts(1, NO, Fact::Is(1)), Step::NeedHashes);
        check(by(sum), facts(1, at(5), Fact::Is(1)), facts(1, NO, Fact::Is(1)), Step::Keep);
        check(by(sum), facts(1, at(5), Fact::Is(1)), facts(1, at(5), Fact::Is(2)), Step::Transfer);
        check(by(sum), facts(1, at(5), Fact::Is(1)), facts(1, NO, Fact::Absent), Step::NeedTimes);
        check(by(sum), facts(1, at(5), Fact::Is(1)), facts(1, at(5), Fact::Absent), Step::Keep);
        check(by(sum), facts(1, at(5), Fact::Is(1)), facts(1, at(6), Fact::Absent), Step::Transfer);
        let restore = Rules { time_proves_nothing: true, ..by(sum) };
        check(restore, facts(1, at(5), Fact::Absent), facts(1, at(5), Fact::Is(1)), Step::Transfer);
        let crypt = Rules { hashes: false, ..restore };
        check(crypt, facts(1, at(5), NO_SUM), facts(1, at(5), NO_SUM), Step::Keep);
        check(crypt, facts(1, at(5), NO_SUM), facts(1, at(6), NO_SUM), Step::Transfer);

        check(by(size), facts(1, NO, NO_SUM), facts(1, NO, NO_SUM), Step::Keep);
        check(by(By::Nothing), facts(1, NO, NO_SUM), facts(1, NO, NO_SUM), Step::Transfer);
        check(Rules { ignore_existing: true, ..RULES }, facts(1, NO, NO_SUM), facts(2, NO, NO_SUM), Step::Keep);
        check(Rules { ignore_size: true, ..by(size) }, facts(1, NO, NO_SUM), facts(2, NO, NO_SUM), Step::Keep);

        let update = Rules { update: true, ..RULES };
        check(update, facts(1, at(5), NO_SUM), facts(2, NO, NO_SUM), Step::NeedTimes);
        check(update, facts(1, at(5), NO_SUM), facts(2, at(6), NO_SUM), Step::Keep);
        check(update, facts(1, at(5), NO_SUM), facts(2, at(4), NO_SUM), Step::Transfer);
        check(update, facts(1, at(5), NO_SUM), facts(2, at(5), NO_SUM), Step::Transfer);
        check(update, facts(1, at(5), NO_SUM), facts(1, at(5), NO_SUM), Step::Keep);
        check(update, facts(1, at(5), Fact::Is(1)), facts(1, at(4), Fact::Is(1)), Step::Touch);
        let by_sum = Rules { by: sum, ..update };
        check(by_sum, facts(1, at(5), Fact::Is(1)), facts(1, at(4), Fact::Is(1)), Step::Keep);
        check(by_sum, facts(1, at(5), Fact::Is(1)), facts(1, at(5), Fact::Is(2)), Step::Transfer);
        check(Rules { by: size, ..update }, facts(1, at(5), NO_SUM), facts(1, at(4), NO_SUM), Step::Keep);
        check(Rules { by: By::Nothing, ..update }, facts(1, NO, NO_SUM), facts(1, NO, NO_SUM), Step::Transfer);
        check(
            Rules { window: Duration::from_secs(2), ..RULES },
            facts(1, at(5), NO_SUM),
            facts(1, at(6), NO_SUM),
            Step::Keep,
        );
    }
}
