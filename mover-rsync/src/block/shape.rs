//! How diskrsync divides a volume: a tree whose form follows from the size alone, equal at both ends.

use std::ops::Range;

/// The block length that the tree aims at.
const BLOCK: u64 = 128 << 10;

/// More blocks than this are made larger instead.
const MOST_BLOCKS: u64 = 1 << 20;

/// Levels of a tree, where there is enough to divide.
const LEVELS: u32 = 8;

/// The largest volume that can be told: products of lengths and orders must fit into 64 bits.
pub const LARGEST: u64 = 1 << 60;

/// The form of the tree over a volume (diskrsync 1.3.0, `tree.calc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    size: u64,
    order: u64,
    levels: u32,
}

/// A node of the tree: the `index`-th of its level, the root being level 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// How far below the root.
    pub level: u32,
    /// From the left, within the level.
    pub index: u64,
    /// The bytes that it stands for.
    pub range: Range<u64>,
}

impl Shape {
    /// Of a volume of `size` bytes, at least 1 and at most [`LARGEST`].
    pub fn of(size: u64) -> Self {
        let mut block = BLOCK;
        while size / block > MOST_BLOCKS {
            block *= 2;
        }
        let blocks = size / block;
        if blocks == 0 {
            return Self { size, order: 1, levels: 1 };
        }
        match order(size, block) {
            1 => Self { size, order: 2, levels: blocks.ilog2() + 1 },
            order => Self { size, order, levels: LEVELS },
        }
    }

    /// Children of an inner node.
    pub fn order(&self) -> usize {
        usize::try_from(self.order).unwrap_or(1)
    }

    /// Levels, the root's included.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> u64 {
        self.order.pow(self.levels - 1)
    }

    /// The root.
    pub fn root(&self) -> Node {
        Node { level: 0, index: 0, range: 0..self.size }
    }

    /// Whether a node is a leaf: it has bytes instead of children.
    pub fn is_leaf(&self, node: &Node) -> bool {
        node.level + 1 == self.levels
    }

    /// The `nth` child of an inner node.
    pub fn child(&self, node: &Node, nth: u64) -> Node {
        let Range { start, end } = node.range;
        let cut = |nth: u64| start + (end - start) * nth / self.order;
        Node { level: node.level + 1, index: node.index * self.order + nth, range: cut(nth)..cut(nth + 1) }
    }

    /// The `index`-th leaf.
    pub fn leaf(&self, index: u64) -> Node {
        let mut node = self.root();
        for level in (0..self.levels - 1).rev() {
            node = self.child(&node, index / self.order.pow(level) % self.order);
        }
        node
    }

    /// Walks the tree in the order in which both ends talk about it.
    pub fn walk(self) -> Walk {
        Walk { shape: self, ahead: vec![self.root()] }
    }
}

/// The order with the leaves nearest to `block` in a tree of eight levels; 1 if it has too little to divide.
fn order(size: u64, block: u64) -> u64 {
    let (mut order, mut distance) = (1_u64, u64::MAX);
    loop {
        let leaf = size / (order + 1).pow(LEVELS - 1);
        if leaf < block / 2 || block.abs_diff(leaf) > distance {
            return order;
        }
        distance = block.abs_diff(leaf);
        order += 1;
    }
}

/// A way through the tree that leaves out what is equal.
#[derive(Clone, Debug)]
pub struct Walk {
    shape: Shape,
    /// The next node last.
    ahead: Vec<Node>,
}

impl Walk {
    /// The next node; what is below it is left out unless it is entered.
    pub fn next_node(&mut self) -> Option<Node> {
        self.ahead.pop()
    }

    /// Goes on with the children of `node`.
    pub fn enter(&mut self, node: &Node) {
        self.ahead.extend((0..self.shape.order).rev().map(|nth| self.shape.child(node, nth)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_are_diskrsyncs() {
        const MIB: u64 = 1 << 20;
        // What `diskrsync --verbose` prints as levels, order and block size.
        for (size, levels, order, block) in [
            (1, 1, 1, 1),
            ((128 << 10) - 1, 1, 1, 131_071),
            (128 << 10, 1, 2, 131_072),
            (MIB, 4, 2, 131_072),
            (3_000_000, 5, 2, 187_500),
            (100 * MIB, 8, 2, 819_200),
            (1024 * MIB, 8, 4, 65_536),
            (10 << 30, 8, 5, 137_438),
            (100 << 30, 8, 7, 130_380),
            (1 << 40, 8, 7, 1_335_099),
        ] {
            let shape = Shape::of(size);
            let leaf = shape.leaf(0).range;
            assert_eq!((shape.levels, shape.order, leaf.end - leaf.start), (levels, order, block), "{size}");
        }
    }

    #[test]
    fn a_walk_visits_what_it_enters_from_the_left() {
        let shape = Shape::of(1 << 20);
        let (mut walk, mut leaves) = (shape.walk(), Vec::new());
        while let Some(node) = walk.next_node() {
            match shape.is_leaf(&node) {
                true => leaves.push(node),
                // Of the right half only the root's child is seen.
                false if node.level == 1 && node.index == 1 => {}
                false => walk.enter(&node),
            }
        }
        assert_eq!(leaves, (0..4).map(|index| shape.leaf(index)).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn leaves_cover_the_volume(size in prop_oneof![1_u64..1 << 22, 1_u64..1 << 34, 1_u64..=LARGEST], at in 0.0..1.0) {
            let shape = Shape::of(size);
            prop_assert!(shape.leaves() <= 2 * MOST_BLOCKS);
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any leaf")]
            let index = (shape.leaves() as f64 * at) as u64;
            let leaf = shape.leaf(index);
            prop_assert!(leaf.range.start < leaf.range.end);
            prop_assert_eq!(leaf.index, index);
            let next = if index + 1 == shape.leaves() { size } else { shape.leaf(index + 1).range.start };
            prop_assert_eq!(leaf.range.end, next);
            prop_assert_eq!(shape.leaf(0).range.start, 0);
        }
    }
}
