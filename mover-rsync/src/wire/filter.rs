//! Filter rules as a client sends them: one text a rule, an empty one ends.

use super::{Input, Output, WireError, bad};

/// The longest rule (the reference's buffers have 5,120 bytes), and how many are believed.
const RULE_MAX: usize = 5119;
const RULES_MAX: usize = 100_000;

/// Takes the rules.
pub fn read(input: &mut impl Input) -> Result<Vec<Vec<u8>>, WireError> {
    let mut rules = Vec::new();
    loop {
        match usize::try_from(input.int()?) {
            Ok(0) => return Ok(rules),
            Ok(len) if len <= RULE_MAX && rules.len() < RULES_MAX => rules.push(input.bytes(len)?),
            _ => return bad("a filter rule of an impossible length"),
        }
    }
}

/// Appends the rules.
pub fn write<'a>(rules: impl IntoIterator<Item = &'a [u8]>, out: &mut impl Output) {
    for rule in rules.into_iter().filter(|rule| (1..=RULE_MAX).contains(&rule.len())) {
        out.int(i32::try_from(rule.len()).unwrap_or(0));
        out.raw(rule);
    }
    out.int(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_look_as_recorded() {
        let rules: [&[u8]; 4] = [b"- *.o", b"+ /keep/", b"-r save", b":- .rsyncignore"];
        let mut out = Vec::new();
        write(rules, &mut out);
        let recorded = b"\x05\0\0\0- *.o\x08\0\0\0+ /keep/\x07\0\0\0-r save\x0f\0\0\0:- .rsyncignore\0\0\0\0";
        assert_eq!(out, recorded);
        assert_eq!(read(&mut &out[..]).unwrap(), rules);
    }

    #[test]
    fn hostile_lengths_are_refused() {
        for len in [-1, 5120, i32::MAX] {
            assert!(read(&mut &len.to_le_bytes()[..]).is_err());
        }
    }
}
