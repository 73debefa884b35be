//! `%(name)s` inside values (goconfig `GetValue`): a feature nobody asks for that changes any secret which happens to
//! contain the pattern, so it has to be the same.

use super::ini::{DEFAULT_SECTION, Ini};
use super::text::find;

/// Rounds of substitution per value (goconfig `_DEPTH_VALUES`).
const ROUNDS: usize = 200;

/// A value may not grow beyond this through substitution. Without a limit (the reference has none) two references a
/// round double the value two hundred times.
const MAX_LEN: usize = 1 << 16;

/// References in `DEFAULT` are resolved inside `DEFAULT` first, which the reference does by recursion, without end on a
/// loop there: this many nested ones are resolved, and this many look-ups are made for one value in all.
const MAX_DEPTH: usize = 16;
const MAX_LOOK_UPS: usize = 1000;

/// The value of a key as the backends see it, with parents of dotted sections; `None` if it is not there.
///
/// A key missing in `[a.b]` is read from `[a]`, but only if the section asked for exists.
pub fn value(ini: &Ini, section: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let mut name = section;
    loop {
        if let Some(raw) = ini.section(name)?.get(key) {
            return Some(substitute(ini, name, raw.to_vec(), &mut Budget { depth: 0, look_ups: 0 }));
        }
        name = name.get(..name.iter().rposition(|b| *b == b'.')?)?;
    }
}

/// What resolving one value has used up.
struct Budget {
    depth: usize,
    look_ups: usize,
}

fn substitute(ini: &Ini, section: &[u8], mut value: Vec<u8>, budget: &mut Budget) -> Vec<u8> {
    for _ in 0..ROUNDS {
        let Some(pattern) = first_reference(&value) else { break };
        if budget.look_ups >= MAX_LOOK_UPS {
            break;
        }
        let pattern = pattern.to_vec();
        let put = look_up(ini, section, variable(&pattern), budget);
        if value.len().saturating_add(put.len().saturating_mul(value.len() / pattern.len())) > MAX_LEN {
            break;
        }
        value = replace_all(&value, &pattern, &put);
    }
    value
}

/// The first `%(NAME)s` with at least one byte of name, from the leftmost `%(` that has one.
fn first_reference(value: &[u8]) -> Option<&[u8]> {
    let mut from = 0;
    while let Some(open) = find(value.get(from..)?, b"%(").map(|at| from + at) {
        let name = value.get(open + 2..)?;
        match name.iter().position(|b| *b == b')') {
            None => return None,
            Some(len) if len > 0 && name.get(len + 1) == Some(&b's') => return value.get(open..open + 2 + len + 2),
            Some(_) => from = open + 1,
        }
    }
    None
}

/// The name in a reference: its ends are cut as sets of bytes, so `%(keys)s` asks for `key`.
fn variable(pattern: &[u8]) -> &[u8] {
    let start = pattern.iter().position(|b| !matches!(b, b'%' | b'(')).unwrap_or(pattern.len());
    let rest = pattern.get(start..).unwrap_or_default();
    let end = rest.iter().rposition(|b| !matches!(b, b')' | b's')).map_or(0, |at| at + 1);
    rest.get(..end).unwrap_or_default()
}

fn look_up(ini: &Ini, section: &[u8], name: &[u8], budget: &mut Budget) -> Vec<u8> {
    budget.look_ups += 1;
    let of = |section: &[u8]| ini.section(section).and_then(|s| s.get(name)).map(<[u8]>::to_vec);
    match of(DEFAULT_SECTION) {
        Some(raw) if budget.depth < MAX_DEPTH && budget.look_ups < MAX_LOOK_UPS => {
            budget.depth += 1;
            let value = substitute(ini, DEFAULT_SECTION, raw, budget);
            budget.depth -= 1;
            value
        }
        Some(raw) => raw,
        None => of(section).unwrap_or_default(),
    }
}

fn replace_all(value: &[u8], pattern: &[u8], put: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = find(rest, pattern) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.extend_from_slice(put);
        rest = rest.get(at + pattern.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_as_in_the_reference() {
        let ini = Ini::parse(
            b"[DEFAULT]\na=%(x)s\nd=D\nl=%(l)s%(l)s\n[r]\nx=1\ny=%(a)s\nw=%(%(x)s\nv=%()s\nz=%(d)s%(d)s\n\
              g=%(g)s%(g)s\nh=%(l)s\n[r.s]\nk=%(x)s\n[t.u.v]\nq=1\n[t]\ntype=s3",
        )
        .unwrap();
        let cases = [
            ("r", "y", Some("")),
            ("r", "w", Some("1")),
            ("r", "v", Some("%()s")),
            ("r", "z", Some("DD")),
            ("r.s", "k", Some("")),
            ("r.s", "x", Some("1")),
            ("t.u.v", "q", Some("1")),
            ("t.u.v", "type", None),
            ("none", "type", None),
        ];
        for (section, key, expect) in cases {
            let got = value(&ini, section.as_bytes(), key.as_bytes());
            assert_eq!(got.as_deref(), expect.map(str::as_bytes), "{section:?} {key:?}");
        }
        assert!(value(&ini, b"r", b"g").unwrap().len() <= MAX_LEN);
        assert!(value(&ini, b"r", b"h").unwrap().len() <= MAX_LEN);
    }
}
