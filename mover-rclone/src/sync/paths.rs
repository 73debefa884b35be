//! Many paths in little memory: one arena, eight bytes of place each.

use volsync_common::path::RelPath;

/// Paths with a number each, in the order in which they were pushed.
#[derive(Debug, Default)]
pub(super) struct Paths {
    arena: Vec<u8>,
    /// Where each path ends.
    ends: Vec<(u64, u64)>,
}

impl Paths {
    /// Adds a path and its number (a size, say).
    pub(super) fn push(&mut self, path: &RelPath, number: u64) {
        self.arena.extend_from_slice(path);
        self.ends.push((self.arena.len() as u64, number));
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Path and number at `index`.
    pub(super) fn get(&self, index: usize) -> Option<(RelPath, u64)> {
        let (end, number) = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(end, _)| *end);
        let bytes = self.arena.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
        Some((RelPath::new(bytes).ok()?, number))
    }

    /// In order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (RelPath, u64)> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_back_in_both_directions() {
        let mut paths = Paths::default();
        assert_eq!(paths.len(), 0);
        for (n, path) in ["a", "b/c", "d"].iter().enumerate() {
            paths.push(&RelPath::new(path.as_bytes()).unwrap(), n as u64);
        }
        let shown = |(path, n): (RelPath, u64)| format!("{path}{n}");
        assert_eq!(paths.iter().map(shown).collect::<Vec<_>>(), ["a0", "b/c1", "d2"]);
        assert_eq!(paths.iter().rev().map(shown).collect::<Vec<_>>(), ["d2", "b/c1", "a0"]);
        assert_eq!(paths.get(3), None);
    }
}
