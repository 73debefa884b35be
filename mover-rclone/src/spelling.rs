//! How far a misspelt word is from the right one.

/// The longest word that is looked at; nobody mistypes more.
const LONGEST: usize = 100;

/// Letters to insert, delete or replace (Levenshtein).
pub(crate) fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len().max(b.len()) > LONGEST {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substitute = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn letters_count() {
        let cases = [("", "", 0), ("", "ab", 2), ("sync", "snyc", 2), ("copy", "copi", 1), ("ls", "pull", 3)];
        for (a, b, expect) in cases {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expect, "{a} {b}");
        }
        assert_eq!(distance(&[0; 101], b""), usize::MAX);
    }
}
