//! The order that gives files their indexes.

use std::cmp::Ordering;

/// Compares two paths element by element: at each level first `.`, then everything but directories by bytes, then
/// directories by bytes as if a slash ended their names; a directory right before what it holds. The flags say whether
/// the paths are of directories.
pub fn compare(a: &[u8], a_is_dir: bool, b: &[u8], b_is_dir: bool) -> Ordering {
    if a == b"." || b == b"." {
        return (a != b".").cmp(&(b != b"."));
    }
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a_rest, b_rest) = (&a[common..], &b[common..]);
    match (a_rest.first(), b_rest.first()) {
        (None, None) => return a_is_dir.cmp(&b_is_dir),
        // One is a directory that holds the other, directly or not; its name as something else comes before.
        (None, Some(b'/')) => return Ordering::Less,
        (Some(b'/'), None) => return Ordering::Greater,
        _ => {}
    }
    // Whether the elements in which the paths part are directories.
    let a_dir = a_is_dir || a_rest.contains(&b'/');
    let b_dir = b_is_dir || b_rest.contains(&b'/');
    a_dir.cmp(&b_dir).then_with(|| {
        let next = |rest: &[u8]| rest.first().copied().or(a_dir.then_some(b'/'));
        next(a_rest).cmp(&next(b_rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The order as the documentation puts it: for each element whether it is a directory, and its name, directories
    /// with a slash.
    fn key(path: &[u8], is_dir: bool) -> Vec<(bool, Vec<u8>)> {
        if path == b"." {
            return Vec::new();
        }
        let elements: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        let last = elements.len() - 1;
        let element = |(at, name): (usize, &&[u8])| {
            let dir = at < last || is_dir;
            (dir, if dir { [name, &b"/"[..]].concat() } else { name.to_vec() })
        };
        elements.iter().enumerate().map(element).collect()
    }

    #[test]
    fn a_tree_is_in_the_documented_order() {
        let sorted: &[(&[u8], bool)] = &[
            (b".", true),
            (b"a", false),
            (b"a.txt", false),
            (b"z", false),
            (b"a-b", true),
            (b"a-b/f", false),
            (b"a", true),
            (b"a/z", false),
            (b"a/b", true),
            (b"a/b/c", false),
            (b"ab", true),
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a.0, a.1, b.0, b.1), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }

    fn any_path() -> impl Strategy<Value = (Vec<u8>, bool)> {
        let element = prop::collection::vec(prop::sample::select(&b"-.0ab\xff"[..]), 1..3);
        (prop::collection::vec(element, 1..4), any::<bool>()).prop_map(|(path, dir)| (path.join(&b'/'), dir))
    }

    proptest! {
        #[test]
        fn it_is_the_documented_order((a, a_dir) in any_path(), (b, b_dir) in any_path()) {
            prop_assert_eq!(compare(&a, a_dir, &b, b_dir), key(&a, a_dir).cmp(&key(&b, b_dir)));
        }
    }
}
