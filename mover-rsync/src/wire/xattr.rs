//! Extended attributes as they travel: short values in the list, long ones as digests and on request.

use std::sync::Arc;

use super::acl::{Received, Sent};
use super::{Input, Output, WireError, bad};

/// Values up to this length travel in the list.
pub const INLINE_MAX: usize = 32;

/// Limits of rsync 3.5.0: attributes of a file, bytes of a name, of a value, and of all values of a file.
const COUNT_MAX: usize = 65_536;
const NAME_MAX: usize = 4096;
const VALUE_MAX: usize = 128 << 20;
const TOTAL_MAX: usize = 512 << 20;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// In full; at most [`INLINE_MAX`] bytes in a list.
    Full(Vec<u8>),
    /// Length and MD5 of a longer one.
    Digest(usize, [u8; 16]),
}

impl Value {
    /// As it stands in a list.
    pub fn of(value: Vec<u8>) -> Self {
        if value.len() <= INLINE_MAX { Self::Full(value) } else { Self::Digest(value.len(), volsync_md5::md5(&value)) }
    }
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Xattr {
    /// Its name, without NUL.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Value,
}

/// The attributes of a file. They are numbered from 1 on in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Xattrs(pub Vec<Xattr>);

impl Xattrs {
    fn write(&self, out: &mut impl Output) {
        out.count(self.0.len());
        for xattr in &self.0 {
            out.count(xattr.name.len() + 1);
            let (len, bytes) = match &xattr.value {
                Value::Full(bytes) => (bytes.len(), &bytes[..]),
                Value::Digest(len, digest) => (*len, &digest[..]),
            };
            out.count(len);
            out.raw(&xattr.name);
            out.byte(0);
            out.raw(bytes);
        }
    }

    fn read(input: &mut impl Input) -> Result<Self, WireError> {
        let count = input.count(COUNT_MAX, "a number of attributes")?;
        let mut xattrs = Vec::with_capacity(count.min(16));
        let mut total = 0;
        for _ in 0..count {
            let name_len = input.count(NAME_MAX, "the length of an attribute's name")?;
            let len = input.count(VALUE_MAX, "the length of an attribute")?;
            total += len;
            if total > TOTAL_MAX {
                return bad("attributes of more than 512 MiB");
            }
            let mut name = input.bytes(name_len)?;
            if name.pop() != Some(0) || name.is_empty() || name.contains(&0) {
                return bad("an attribute without a proper name");
            }
            let value =
                if len <= INLINE_MAX { Value::Full(input.bytes(len)?) } else { Value::Digest(len, input.array()?) };
            xattrs.push(Xattr { name, value });
        }
        Ok(Self(xattrs))
    }
}

/// Appends the attributes of a file.
pub fn write(sent: &mut Sent<Xattrs>, xattrs: &Xattrs, out: &mut impl Output) {
    if let Some(number) = sent.number(xattrs) {
        return out.varint(number);
    }
    out.varint(0);
    xattrs.write(out);
    sent.add(xattrs.clone());
}

/// Takes the attributes of a file.
pub fn read(received: &mut Received<Xattrs>, input: &mut impl Input) -> Result<Arc<Xattrs>, WireError> {
    let number = input.varint()?;
    match received.find(number, "set of attributes")? {
        Some(xattrs) => Ok(xattrs),
        None => Ok(received.add(Xattrs::read(input)?)),
    }
}

/// Appends a request for the attributes with these ascending numbers (from 1 on).
pub fn write_request(numbers: &[usize], out: &mut impl Output) {
    let mut previous = 0;
    for number in numbers {
        out.count(number - previous);
        previous = *number;
    }
    out.varint(0);
}

/// Takes a request for some of `count` attributes.
pub fn read_request(count: usize, input: &mut impl Input) -> Result<Vec<usize>, WireError> {
    let mut numbers = Vec::new();
    while let Some(number) = next(numbers.last().copied().unwrap_or(0), count, input)? {
        numbers.push(number);
    }
    Ok(numbers)
}

fn next(previous: usize, count: usize, input: &mut impl Input) -> Result<Option<usize>, WireError> {
    match input.count(COUNT_MAX, "the number of an attribute")? {
        0 => Ok(None),
        step if previous + step <= count => Ok(Some(previous + step)),
        _ => bad("the number of an attribute that does not exist"),
    }
}

/// Appends the answer to a request: values by number, ascending.
pub fn write_answer<'a>(values: impl Iterator<Item = (usize, &'a [u8])>, out: &mut impl Output) {
    let mut previous = 0;
    for (number, value) in values {
        out.count(number - previous);
        previous = number;
        out.count(value.len());
        out.raw(value);
    }
    out.varint(0);
}

/// Takes the answer to a request for attributes of `xattrs`: the same set with these values in full.
pub fn read_answer(xattrs: &Xattrs, input: &mut impl Input) -> Result<Xattrs, WireError> {
    let mut full = xattrs.clone();
    let (mut previous, mut total) = (0, 0);
    while let Some(number) = next(previous, full.0.len(), input)? {
        previous = number;
        let len = input.count(VALUE_MAX, "the length of an attribute")?;
        total += len;
        if total > TOTAL_MAX {
            return bad("attributes of more than 512 MiB");
        }
        full.0[number - 1].value = Value::Full(input.bytes(len)?);
    }
    Ok(full)
}

/// For the fuzzer: any bytes are refused or come back as they mean.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let (mut input, mut received) = (data, Received::default());
    while let Ok(xattrs) = read(&mut received, &mut input) {
        let mut out = Vec::new();
        xattrs.write(&mut out);
        assert_eq!(Xattrs::read(&mut &out[..]).ok().as_ref(), Some(&*xattrs));
        let _ = read_answer(&xattrs, &mut input.get(..input.len() / 2).unwrap_or(&[]));
        let _ = read_request(xattrs.0.len(), &mut input.get(..input.len() / 2).unwrap_or(&[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(pairs: &[(&str, &[u8])]) -> Xattrs {
        let xattr =
            |(name, value): &(&str, &[u8])| Xattr { name: name.as_bytes().to_vec(), value: Value::of(value.to_vec()) };
        Xattrs(pairs.iter().map(xattr).collect())
    }

    #[test]
    fn sets_and_answers_look_as_recorded() {
        let xattrs = set(&[("user.long", &[b'x'; 100]), ("user.short", b"v1")]);
        let (mut out, mut sent) = (Vec::new(), Sent::default());
        write(&mut sent, &xattrs, &mut out);
        write(&mut sent, &xattrs, &mut out);
        let digest = volsync_md5::md5(&[b'x'; 100]);
        assert_eq!(out, [b"\0\x02\x0a\x64user.long\0", &digest[..], b"\x0b\x02user.short\0v1\x01"].concat());
        out.clear();
        write_request(&[1], &mut out);
        assert_eq!((&out[..], read_request(2, &mut &out[..]).unwrap()), (&[1, 0][..], vec![1]));
        out.clear();
        write_answer([(1, &[b'x'; 100][..])].into_iter(), &mut out);
        assert_eq!(out, [&[1, 100][..], &[b'x'; 100], &[0]].concat());
        let full = read_answer(&xattrs, &mut &out[..]).unwrap();
        assert_eq!(full.0[0].value, Value::Full(vec![b'x'; 100]));
        assert_eq!(full.0[1], xattrs.0[1]);
    }

    #[test]
    fn hostile_sets_are_refused() {
        for bytes in
            [&b"\0\x01\x02\x01aa\x01"[..], b"\0\x01\x01\x01\0\x01", b"\x01", b"\0\x01\x02\xf0\xff\xff\xff\xffa\0"]
        {
            assert!(read(&mut Received::default(), &mut &bytes[..]).is_err(), "{bytes:x?}");
        }
        assert!(read_request(1, &mut &[2, 0][..]).is_err());
        assert!(read_answer(&set(&[("a", b"")]), &mut &[1, 0, 1, 0, 0][..]).is_err());
    }

    proptest! {
        #[test]
        fn every_request_comes_back(numbers in prop::collection::btree_set(1usize..500, 0..20)) {
            let numbers: Vec<_> = numbers.into_iter().collect();
            let mut out = Vec::new();
            write_request(&numbers, &mut out);
            prop_assert_eq!(read_request(500, &mut &out[..]).unwrap(), numbers);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            fuzz(&bytes);
        }
    }
}
