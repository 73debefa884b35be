use super::*;
use crate::wire::WireError;
use crate::wire::handshake::Compression;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(Vec<u8>),
    Match(u32),
    Hole(u64),
}

const KINDS: [Compression; 5] =
    [Compression::None, Compression::Zlib, Compression::Zlibx, Compression::Lz4, Compression::Zstd];

fn content(block: u32) -> Vec<u8> {
    block.to_le_bytes().repeat(40)
}

fn write(kind: Compression, protocol: i32, files: &[Vec<Piece>]) -> Vec<u8> {
    write_with(TokenWriter::new(kind, protocol, None).unwrap(), files)
}

fn write_with(mut writer: TokenWriter, files: &[Vec<Piece>]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in files.iter().flat_map(|file| file.iter().map(Some).chain([None])) {
        match piece {
            Some(Piece::Literal(data)) => writer.literal(data, &mut out).unwrap(),
            Some(Piece::Match(block)) => writer.matched(*block, &content(*block), &mut out).unwrap(),
            Some(Piece::Hole(len)) => writer.hole(*len, &mut out).unwrap(),
            None => writer.end(&mut out).unwrap(),
        }
    }
    out
}

/// Literal bytes in one piece, as far as they follow each other.
fn joined(pieces: impl IntoIterator<Item = Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (all.last_mut(), piece) {
            (Some(Piece::Literal(before)), Piece::Literal(data)) => before.extend(data),
            (_, Piece::Literal(data)) if data.is_empty() => {}
            (_, piece) => all.push(piece),
        }
    }
    all
}

fn read(kind: Compression, protocol: i32, mut bytes: &[u8], files: usize) -> Result<Vec<Vec<Piece>>, WireError> {
    let (mut reader, mut data) = (TokenReader::new(kind, protocol)?.with_holes(true).with_stored(true), Vec::new());
    let mut all = Vec::new();
    for _ in 0..files {
        let mut pieces = Vec::new();
        loop {
            match reader.next(&mut bytes, &mut data)? {
                Token::Data => pieces.push(Piece::Literal(data.clone())),
                Token::Match(block) => {
                    reader.matched(&content(block))?;
                    pieces.push(Piece::Match(block));
                }
                Token::Hole(len) => pieces.push(Piece::Hole(len)),
                Token::End => break,
            }
        }
        all.push(joined(pieces));
    }
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    Ok(all)
}

#[test]
fn runs_look_as_recorded() {
    let matches = |range: std::ops::RangeInclusive<u32>| range.map(Piece::Match);
    // Of vector 04: blocks 0 to 17; and 7 to 26 after a run that ended at 6.
    assert_eq!(write(Compression::Zstd, 32, &[matches(0..=17).collect()]), [0xc0, 0x11, 0, 0]);
    let two: Vec<_> = matches(0..=6).chain([Piece::Literal(vec![1])]).chain(matches(7..=26)).collect();
    let bytes = write(Compression::Zlibx, 32, &[two]);
    assert_eq!((&bytes[..3], &bytes[bytes.len() - 4..]), (&[0xc0, 6, 0][..], &[0xc1, 0x13, 0, 0][..]));
    assert_eq!(write(Compression::Lz4, 32, &[vec![Piece::Match(5), Piece::Match(3)]]), [0x85, 0x20, 3, 0, 0, 0, 0]);
    assert_eq!(write(Compression::Lz4, 32, &[vec![Piece::Match(100)]]), [0x20, 100, 0, 0, 0, 0]);
}

#[test]
fn long_runs_of_literals_are_cut_for_old_peers() {
    let bytes = write(Compression::None, 32, &[vec![Piece::Literal(vec![7; 40_000])]]);
    assert_eq!((&bytes[..4], bytes.len()), (&[0, 0x80, 0, 0][..], 40_000 + 12));
}

#[test]
fn holes_are_for_those_who_expect_them() {
    for kind in KINDS {
        let bytes = write(kind, 32, &[vec![Piece::Hole(1 << 40)]]);
        let mut reader = TokenReader::new(kind, 32).unwrap();
        let next = reader.next(&mut &bytes[..], &mut Vec::new());
        assert!(!matches!(next, Ok(Token::Hole(_) | Token::End)), "{kind:?}: {next:?}");
        for len in [0, u64::MAX] {
            assert!(read(kind, 32, &write(kind, 32, &[vec![Piece::Hole(len)]]), 1).is_err(), "{kind:?} {len}");
        }
    }
}

#[test]
fn hostile_tokens_are_refused() {
    for kind in &KINDS[1..] {
        for bytes in [&[0x01][..], &[0x22], &[0x20, 0xff, 0xff, 0xff, 0xff], &[0x41, 0xff], &[0x40, 2, 7, 7, 0x00]] {
            assert!(read(*kind, 32, bytes, 1).is_err(), "{kind:?} {bytes:x?}");
        }
        let run = [0x21, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xc1, 0xff, 0xff];
        let _ = read(*kind, 32, &run, 1).unwrap_err();
    }
}

/// Bytes that do not compress.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut word = seed | 1;
    let mut next = || {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        word.to_le_bytes()[7]
    };
    (0..len).map(|_| next()).collect()
}

/// A block of the compressor fills up at 31,745 bytes: a flush that stopped there lost what came after.
#[test]
fn a_flush_leaves_nothing_behind() {
    for kind in [Compression::Zlib, Compression::Zlibx] {
        for len in (31_700..32_100).step_by(9).chain([31_744, 31_745, 31_746, 32_001, 32_002, 63_490, 63_491, 95_236]) {
            let first = vec![Piece::Literal(noise(len, 7)), Piece::Match(3), Piece::Literal(noise(99, 8))];
            let files = [first, vec![Piece::Literal(noise(len + 1, 9))]];
            let bytes = write(kind, 30, &files);
            assert!(read(kind, 30, &bytes, 2).unwrap() == files, "{kind:?} {len}");
        }
    }
}

#[test]
fn what_does_not_pack_goes_as_it_is_to_those_who_expect_it() {
    let (len, text) = (8 << 20, b"the quick brown fox ".repeat(50_000));
    for kind in &KINDS[3..] {
        let files = [vec![Piece::Literal(noise(len, 7))], vec![Piece::Literal(text.clone())]];
        let mut writer = TokenWriter::new(*kind, 32, None).unwrap().with_stored(true);
        let mut bytes = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let [Piece::Literal(data)] = &file[..] else { unreachable!() };
            data.chunks(LITERAL_MAX).for_each(|piece| writer.literal(piece, &mut bytes).unwrap());
            writer.end(&mut bytes).unwrap();
            if number == 0 {
                // Four bytes for each piece, and what the tries cost.
                assert!(bytes.len() < len + len / 1000, "{kind:?}: {}", bytes.len());
            }
        }
        assert!(read(*kind, 32, &bytes, 2).unwrap() == files, "{kind:?}");
        let mut reader = TokenReader::new(*kind, 32).unwrap();
        let next = reader.next(&mut &[flag::STORED, 1, 0, 0, 7][..], &mut Vec::new());
        assert!(next.is_err(), "{kind:?}: {next:?}");
        for len in [[0, 0, 0], [1, 0, 2], [0xff; 3]] {
            assert!(read(*kind, 32, &[&[flag::STORED][..], &len, &noise(1 << 18, 1)].concat(), 1).is_err(), "{kind:?}");
        }
    }
}

fn any_piece() -> impl Strategy<Value = Piece> {
    let noise = (0usize..70_000, any::<u64>()).prop_map(|(len, seed)| noise(len, seed));
    let text = (0usize..200_000).prop_map(|len| b"the quick brown fox ".iter().copied().cycle().take(len).collect());
    prop_oneof![
        prop_oneof![noise, text].prop_map(Piece::Literal),
        (0u32..200).prop_map(Piece::Match),
        prop_oneof![(1u32..4), Just(70_000)].prop_map(Piece::Match),
        (1u64..1 << 50).prop_map(Piece::Hole),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_file_comes_back(
        files in prop::collection::vec(prop::collection::vec(any_piece(), 0..8), 1..4),
        kind in prop::sample::select(KINDS.to_vec()),
        protocol in 30i32..32,
    ) {
        let expect: Vec<_> = files.iter().cloned().map(joined).collect();
        for stored in [false, true] {
            let writer = TokenWriter::new(kind, protocol, None).unwrap().with_stored(stored);
            let bytes = write_with(writer, &files);
            prop_assert_eq!(&read(kind, protocol, &bytes, files.len()).unwrap(), &expect);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&bytes);
    }
}
