//! Both ends in one process, and peers that stop, or say what they should not.

use std::fs::{self, File};
use std::io::Read;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::stream::{Answer, Run, header};
use super::*;

fn file(bytes: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file
}

/// A stream that ends, or breaks, after so many bytes.
struct Cut<S>(S, usize);

impl<S: Read> Read for Cut<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf.len().min(self.1);
        let read = self.0.read(&mut buf[..room])?;
        self.1 -= read;
        Ok(read)
    }
}

/// Runs both ends; the target hears no more than `heard` bytes.
fn copy(from: &NamedTempFile, to: &NamedTempFile, heard: usize) -> (Result<Copied, Fatal>, Result<Copied, Fatal>) {
    let (question, ask) = io::pipe().unwrap();
    let (answer, say) = io::pipe().unwrap();
    let (from, to) = (from.path().to_owned(), to.path().to_owned());
    let sending = std::thread::spawn(move || source(&Device::source(&from).unwrap(), false, question, say));
    let received = target(&Device::target(&to, false).unwrap(), Cut(answer, heard), ask);
    (sending.join().unwrap(), received)
}

/// Data with zeros in between, by leaves and across them.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = (0_u8..4, prop_oneof![0_usize..3000, 100_000_usize..300_000]);
    vec(piece, 0..8).prop_map(|pieces| pieces.into_iter().flat_map(|(byte, len)| vec![byte; len]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_file_becomes_any_other(one in content(), other in content()) {
        let (from, to) = (file(&one), file(&other));
        let (sent, received) = copy(&from, &to, usize::MAX);
        let (sent, received) = (sent.unwrap(), received.unwrap());
        prop_assert!(fs::read(to.path()).unwrap() == one);
        prop_assert_eq!((sent.sent, sent.received), (received.received, received.sent));
        // The second time it takes the headers and one digest.
        let (_, again) = copy(&from, &to, usize::MAX);
        prop_assert!(again.unwrap().received <= 17);
    }

    #[test]
    fn whatever_a_source_says_a_target_ends(kib: u8, size in 0_u64..1 << 20, rest: Vec<u8>) {
        target::fuzz(&[&[kib][..], &header(size), &rest].concat());
    }
}

#[test]
fn what_was_cut_off_is_an_error_and_the_next_run_makes_it_good() {
    // Data, zeros and what is equal in the common part, and a tail.
    let wanted = [vec![1; 300_000], vec![0; 300_000], vec![2; 300_000], vec![0; 200_000], vec![3; 99]].concat();
    let before = [vec![9; 600_000], vec![2; 300_000]].concat();
    let from = file(&wanted);
    let whole = copy(&from, &file(&before), usize::MAX).1.unwrap().received;
    let whole = usize::try_from(whole).unwrap();
    for heard in (0..30).chain((30..whole).step_by(whole / 40)).chain([whole - 1]) {
        let to = file(&before);
        let (_, received) = copy(&from, &to, heard);
        assert_eq!(received.unwrap_err().code(), ExitCode::StreamIo as u8, "{heard} of {whole}");
        copy(&from, &to, usize::MAX).1.unwrap();
        assert!(fs::read(to.path()).unwrap() == wanted, "{heard} of {whole}");
    }
}

#[test]
fn a_target_refuses_what_does_not_belong_there() {
    let zeros = Run::Zeros(1 << 20).to_wire();
    for (size, said) in [
        // Zeros for an inner node, an item of the tail for a node, and a number that means nothing.
        (1 << 20, &[Answer::Hole as u8][..]),
        (1 << 20, &[Answer::Data as u8]),
        (1 << 20, &[77]),
        // A tail longer than the volume, and an answer in it.
        ((1 << 20) + 5, &[&[Answer::Equal as u8][..], &zeros].concat()),
        ((1 << 20) + 5, &[Answer::Equal as u8, Answer::Equal as u8]),
        (u64::MAX, &[]),
    ] {
        let to = file(&vec![7; 1 << 20]);
        let stream = [&header(size)[..], said].concat();
        let refused = target(&Device::target(to.path(), false).unwrap(), &stream[..], io::sink());
        assert_eq!(refused.unwrap_err().code(), ExitCode::StreamIo as u8, "{size} {said:?}");
        assert!(fs::read(to.path()).unwrap() == vec![7; 1 << 20]);
    }
}

#[test]
fn a_source_refuses_a_smaller_device_before_it_says_anything_else() {
    let from = file(&[1; 1000]);
    let device = Device::source(from.path()).unwrap();
    let mut said = Vec::new();
    let refused = source(&device, true, &header(999)[..], &mut said).unwrap_err();
    assert_eq!((refused.code(), &said[..]), (ExitCode::FileSelect as u8, &header(1000)[..]));
    assert!(refused.to_string().contains("fewer than the 1000 of the source; nothing was written"), "{refused}");
    // To a file, which grows, the rest is sent.
    assert_eq!(source(&device, false, &header(0)[..], &mut said).unwrap().size, 1000);
}

#[test]
fn a_full_disk_is_an_error() {
    struct Stock;
    impl Read for Stock {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            buf.fill(1);
            Ok(buf.len())
        }
    }
    let to = file(b"");
    // A file that was opened for reading alone stands for a disk that takes nothing.
    let device = Device::of(File::open(to.path()).unwrap()).unwrap();
    let refused = target(&device, (&header(1 << 20)[..]).chain(Stock), io::sink()).unwrap_err();
    assert_eq!(refused.code(), ExitCode::FileIo as u8, "{refused}");
}
