//! Every kernel, every shape of work, against the `md-5` crate.

use md5::Digest as _;
use proptest::collection::vec;
use proptest::prelude::*;
use volsync_md5::{Digest, Kernel, Md5, Parts, md5, md5_many, md5_many_with, update_many_with};

fn reference(data: &[u8]) -> Digest {
    md5::Md5::digest(data).into()
}

fn hex(digest: Digest) -> String {
    digest.map(|byte| format!("{byte:02x}")).concat()
}

/// Bytes that differ from place to place and from seed to seed.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn vectors_of_rfc_1321() {
    let digits = "12345678901234567890123456789012345678901234567890123456789012345678901234567890";
    let check = |text: &str, expect: &str| {
        assert_eq!(hex(md5(text.as_bytes())), expect, "{text:?}");
        assert_eq!(hex(md5_many(&[text.as_bytes()])[0]), expect, "{text:?} in lanes");
    };
    check("", "d41d8cd98f00b204e9800998ecf8427e");
    check("a", "0cc175b9c0f1b6a831c399e269772661");
    check("abc", "900150983cd24fb0d6963f7d28e17f72");
    check("message digest", "f96b697d7cb7938d525a2f31aaf161d0");
    check("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b");
    check("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f");
    check(digits, "57edf4a22be3c955ac49da2e2107b67a");
}

#[test]
fn every_length_up_to_three_blocks_in_every_shape() {
    let all: Vec<Vec<u8>> = (0..=192).map(|len| bytes(len, len as u64)).collect();
    let slices: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let expect: Vec<Digest> = slices.iter().map(|data| reference(data)).collect();
    assert_eq!(slices.iter().map(|data| md5(data)).collect::<Vec<_>>(), expect);
    for kernel in Kernel::available() {
        assert_eq!(md5_many_with(kernel, &slices), expect, "{kernel:?}");
    }
    for (data, expect) in slices.iter().zip(&expect) {
        let mut one = Md5::new();
        one.update(data);
        assert_eq!(one.finalize(), *expect, "{} bytes", data.len());
    }
}

#[test]
fn every_number_of_lanes() {
    for kernel in Kernel::available() {
        for count in 0..=70 {
            let all: Vec<Vec<u8>> = (0..count).map(|n| bytes(1000 + n, n as u64)).collect();
            let slices: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
            let expect: Vec<Digest> = slices.iter().map(|data| reference(data)).collect();
            assert_eq!(md5_many_with(kernel, &slices), expect, "{kernel:?}, {count} messages");
        }
    }
}

proptest! {
    #[test]
    fn pieces_do_not_matter(lens in vec(0_usize..300, 0..20), seed: u64) {
        let data = bytes(lens.iter().sum(), seed);
        let mut sum = Md5::new();
        let mut rest = data.as_slice();
        for len in &lens {
            let (piece, left) = rest.split_at(*len);
            sum.update(piece);
            rest = left;
        }
        prop_assert_eq!(sum.finalize(), reference(&data));
    }

    #[test]
    fn a_whole_and_its_parts(pieces in vec(0_usize..3000, 0..12), len in 1_usize..1500, even: bool, seed: u64) {
        let len = if even { len.next_multiple_of(64) } else { len };
        let data = bytes(pieces.iter().sum::<usize>(), seed);
        let (mut sums, mut rest) = (Parts::new(len as u64), &data[..]);
        for piece in pieces {
            let (now, later) = rest.split_at(piece);
            sums.update(now);
            rest = later;
        }
        let parts: Vec<Digest> = data.chunks(len).map(reference).collect();
        prop_assert_eq!(sums.finalize(), (reference(&data), parts));
    }

    #[test]
    fn messages_of_any_lengths_side_by_side(lens in vec(0_usize..5000, 0..50), seed: u64) {
        let all: Vec<Vec<u8>> = lens.iter().zip(seed..).map(|(len, seed)| bytes(*len, seed)).collect();
        let slices: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let expect: Vec<Digest> = slices.iter().map(|data| reference(data)).collect();
        for kernel in Kernel::available() {
            prop_assert_eq!(&md5_many_with(kernel, &slices), &expect, "{:?}", kernel);
        }
    }

    #[test]
    fn streams_in_pieces_side_by_side(streams in vec(vec(vec(0_usize..300, 0..6), 2), 0..40), seed: u64) {
        let lens = |rounds: &[Vec<usize>]| rounds.iter().flatten().sum();
        let all: Vec<Vec<u8>> = streams.iter().zip(seed..).map(|(rounds, seed)| bytes(lens(rounds), seed)).collect();
        let expect: Vec<Digest> = all.iter().map(|data| reference(data)).collect();
        for kernel in Kernel::available() {
            let mut sums = vec![Md5::new(); streams.len()];
            let mut rests: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
            for round in 0..2 {
                let mut cut = |(rest, rounds): (&mut &[u8], &Vec<Vec<usize>>)| -> Vec<Vec<u8>> {
                    rounds[round].iter().map(|len| rest.split_off(..*len).unwrap_or_default().to_vec()).collect()
                };
                let pieces: Vec<_> = rests.iter_mut().zip(&streams).map(&mut cut).collect();
                let mut work: Vec<_> = sums.iter_mut().zip(&pieces).map(|(sum, pieces)| (sum, &pieces[..])).collect();
                update_many_with(kernel, &mut work);
            }
            let digests: Vec<Digest> = sums.into_iter().map(Md5::finalize).collect();
            prop_assert_eq!(&digests, &expect, "{:?}", kernel);
        }
    }
}
