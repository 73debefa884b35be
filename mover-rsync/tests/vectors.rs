//! Every recorded session decodes to its last byte, and the digests in it are those of what was decoded.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use mover_rsync::args::server::{self, ServerArgs};
use mover_rsync::delta::digest::SumKind;
use mover_rsync::delta::rolling::Rolling;
use mover_rsync::options::Options;
use mover_rsync::wire::flist::{Decoder, Entry, FileList, ListOptions};
use mover_rsync::wire::frame::{self, HEADER, Message, Tag};
use mover_rsync::wire::handshake::{self, Compat, Compression, Side};
use mover_rsync::wire::item::{Item, ItemFlags};
use mover_rsync::wire::ndx::{Ndx, NdxState};
use mover_rsync::wire::stats::{Deleted, Totals};
use mover_rsync::wire::sums::SumHead;
use mover_rsync::wire::token::{Token, TokenReader};
use mover_rsync::wire::{Input, WireError, filter, xattr};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// What both sides agreed on.
struct Agreed {
    protocol: i32,
    compat: Compat,
    sum: SumKind,
    compression: Compression,
    seed: i32,
}

struct Session {
    agreed: Agreed,
    list: ListOptions,
    options: Options,
    server_sends: bool,
    /// The streams of data after the handshake, without frames, and the messages among them.
    from_client: (Vec<u8>, Vec<Message>),
    from_server: (Vec<u8>, Vec<Message>),
}

/// What a decoded session held.
#[derive(Default)]
struct Decoded {
    lists: Vec<FileList>,
    /// Digests of whole files: right ones and wrong ones.
    right: usize,
    wrong: usize,
    /// Block sums that were computed again and found right.
    blocks: usize,
    done: (usize, usize),
    io_error: u32,
}

fn open(name: &str) -> Result<Session, WireError> {
    let dir = vectors().join(name);
    let [client, server] = ["c2s.bin", "s2c.bin"].map(|file| fs::read(dir.join(file)).unwrap());
    let (mut client, mut server) = (&client[..], &server[..]);
    let (args, protocol) = match fs::read(dir.join("argv")) {
        Ok(argv) => {
            let argv: Vec<_> = argv.split(|b| *b == b'\n').filter(|arg| !arg.is_empty()).skip(1).collect();
            (
                server::parse(&argv).unwrap(),
                handshake::protocol(client.int()?)?.min(handshake::protocol(server.int()?)?),
            )
        }
        Err(_) => (daemon_start(&mut client, &mut server), 32),
    };
    let compat = Compat(server.varint()?.cast_unsigned());
    let o = &args.options;
    let (sum, compression) = names(o, compat, &mut client, &mut server)?;
    let seed = server.int()?;
    let list_sum = o.checksum_choice.map_or(sum, |(_, list)| list);
    Ok(Session {
        list: o.list(protocol, compat, list_sum.len()),
        agreed: Agreed { protocol, compat, sum, compression, seed },
        options: o.clone(),
        server_sends: args.sender,
        from_client: unframed(client)?,
        from_server: unframed(server)?,
    })
}

/// The greeting and the arguments of a daemon session.
fn daemon_start<'a>(client: &mut &'a [u8], server: &mut &'a [u8]) -> ServerArgs {
    fn line(input: &mut &[u8]) -> Vec<u8> {
        let end = input.iter().position(|b| *b == b'\n').unwrap();
        let (line, rest) = (input[..end].to_vec(), &input[end + 1..]);
        *input = rest;
        line
    }
    for side in [&mut *client, &mut *server] {
        assert!(line(side).starts_with(b"@RSYNCD: 32.0"));
    }
    assert_eq!((line(client), line(server)), (b"data".to_vec(), b"@RSYNCD: OK".to_vec()));
    let end = client.windows(2).position(|two| two == [0, 0]).unwrap();
    let args: Vec<_> = client[..end].split(|b| *b == 0).collect();
    let parsed = server::parse(&args).unwrap();
    *client = &client[end + 2..];
    parsed
}

fn names(
    o: &Options,
    compat: Compat,
    client: &mut &[u8],
    server: &mut &[u8],
) -> Result<(SumKind, Compression), WireError> {
    let negotiated = compat.has(Compat::VARINT_FLIST_FLAGS);
    let sum = match o.checksum_choice {
        Some((transfer, _)) => transfer,
        None if negotiated => {
            let sum = handshake::agree_sum(Side::Server, client)?;
            assert_eq!(handshake::agree_sum(Side::Client, server)?, sum);
            sum
        }
        None if compat.has(Compat::CHKSUM_SEED_FIX) => SumKind::Md5,
        None => SumKind::Md5SeedLast,
    };
    let compression = match o.compress_choice {
        Some(choice) => choice,
        None if !o.compress => Compression::None,
        None if negotiated => {
            let compression = handshake::agree_compression(Side::Server, client)?;
            assert_eq!(handshake::agree_compression(Side::Client, server)?, compression);
            compression
        }
        None => Compression::Zlib,
    };
    Ok((sum, compression))
}

fn unframed(mut bytes: &[u8]) -> Result<(Vec<u8>, Vec<Message>), WireError> {
    let (mut data, mut messages) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        let header: [u8; HEADER] = bytes.array()?;
        let (tag, len) = frame::parse_header(header)?;
        // A session that was cut off may end within a frame.
        let payload = bytes.bytes(len.min(bytes.len()))?;
        if tag == Tag::Data { data.extend(payload) } else { messages.extend(Message::parse(tag, &payload)?) }
    }
    Ok((data, messages))
}

fn decode(session: &Session) -> (Decoded, Result<(), WireError>) {
    let mut decoded = Decoded::default();
    let result = streams(session, &mut decoded);
    (decoded, result)
}

fn streams(session: &Session, decoded: &mut Decoded) -> Result<(), WireError> {
    let (mut client, mut server) = (&session.from_client.0[..], &session.from_server.0[..]);
    if session.server_sends || session.options.deletes() {
        filter::read(&mut client)?;
    }
    let (sender, receiver) = if session.server_sends { (&mut server, &mut client) } else { (&mut client, &mut server) };
    from_sender(session, sender, decoded)?;
    from_receiver(session, receiver, decoded)?;
    if client.is_empty() && server.is_empty() { Ok(()) } else { Err(WireError::bad("something is left")) }
}

/// Whether a list was done with by the number of ends that a stream has: see "Phases" in `docs/compat-rsync.md`.
fn ends(session: &Session, segments: usize, goodbye: usize) -> usize {
    segments + goodbye - usize::from(session.agreed.protocol < 31)
}

fn from_sender(session: &Session, input: &mut &[u8], decoded: &mut Decoded) -> Result<(), WireError> {
    let mut lists = Decoder::new(session.list);
    let segments = session.agreed.compat.has(Compat::INC_RECURSE);
    let (first, end) = lists.read_first(u32::from(segments), input)?;
    decoded.io_error |= end.io_error;
    let mut directories = directories(&first);
    decoded.lists.push(first);
    let (mut ndx, mut tokens) =
        (NdxState::default(), TokenReader::new(session.agreed.compression, session.agreed.protocol)?);
    let mut list_ended = !segments;
    loop {
        match ndx.read(input)? {
            Ndx::Segment(dir) => {
                let start = decoded.lists.last().unwrap().end() + 1;
                let path = directories.get(dir as usize).ok_or_else(|| WireError::bad("no such directory"))?.clone();
                let (list, end) = lists.read_segment(start, &path, input)?;
                decoded.io_error |= end.io_error;
                directories.extend(self::directories(&list));
                decoded.lists.push(list);
            }
            Ndx::ListEnd => list_ended = true,
            Ndx::DeleteStats => drop(Deleted::read(input)?),
            Ndx::File(number) => record(session, number, input, &mut tokens, decoded)?,
            Ndx::Done => {
                decoded.done.0 += 1;
                let all = ends(session, decoded.lists.len(), 3);
                let stats_after = if session.agreed.protocol < 31 { all } else { all - 1 };
                if session.server_sends && decoded.done.0 == stats_after {
                    Totals::read(input)?;
                }
                if list_ended && decoded.done.0 == all {
                    return Ok(());
                }
            }
        }
    }
}

fn directories(list: &FileList) -> Vec<Vec<u8>> {
    list.entries().iter().filter(|entry| entry.is_dir()).map(|entry| list.path(entry).to_vec()).collect()
}

fn find(decoded: &Decoded, number: u32) -> Option<(&FileList, &Entry)> {
    decoded.lists.iter().find_map(|list| list.get(number).map(|entry| (list, entry)))
}

/// Whether attributes are asked for and given with an item.
fn with_xattrs(session: &Session, item: &Item) -> bool {
    session.options.xattrs
        && item.flags.any(ItemFlags::XATTR)
        && (session.agreed.compat.has(Compat::AVOID_XATTR_OPTIM)
            || !item.flags.has(ItemFlags::NAME_FOLLOWS | ItemFlags::LOCAL))
}

fn record(
    session: &Session,
    number: u32,
    input: &mut &[u8],
    tokens: &mut TokenReader,
    decoded: &mut Decoded,
) -> Result<(), WireError> {
    let item = Item::read(input)?;
    if with_xattrs(session, &item) {
        let none = xattr::Xattrs::default();
        let xattrs = find(decoded, number).and_then(|(_, entry)| entry.xattrs.as_deref());
        xattr::read_answer(xattrs.unwrap_or(&none), input)?;
    }
    if !item.flags.any(ItemFlags::TRANSFER) {
        return Ok(());
    }
    let head = SumHead::read(session.agreed.sum.len(), mover_rsync::wire::sums::BLOCK_MAX, input)?;
    let path = find(decoded, number)
        .map(|(list, entry)| list.path(entry).to_vec())
        .ok_or_else(|| WireError::bad("no such file"))?;
    let old = basis(&path, &head);
    let (mut whole, mut data) = (session.agreed.sum.whole(), Vec::new());
    loop {
        match tokens.next(input, &mut data)? {
            Token::Data => whole.update(&data),
            Token::Match(block) => {
                if block >= head.count {
                    return Err(WireError::bad("no such block"));
                }
                let content = block_of(&old, &head, block)?;
                tokens.matched(content)?;
                whole.update(content);
            }
            Token::Hole(_) => return Err(WireError::bad("a hole in a recorded session")),
            Token::End => break,
        }
    }
    let theirs = input.bytes(session.agreed.sum.len())?;
    let right = whole.finish().as_bytes() == theirs;
    *(if right { &mut decoded.right } else { &mut decoded.wrong }) += 1;
    Ok(())
}

/// The receiver's old file; zeros where it is not at hand.
fn basis(path: &[u8], head: &SumHead) -> Vec<u8> {
    let known = fs::read(vectors().join("basis").join(std::str::from_utf8(path).unwrap_or("-")));
    // Only a damaged head is that long.
    let len = usize::try_from(head.len()).unwrap().min(1 << 20);
    known.ok().filter(|content| content.len() == len).unwrap_or_else(|| vec![0; len])
}

fn block_of<'a>(old: &'a [u8], head: &SumHead, block: u32) -> Result<&'a [u8], WireError> {
    let start = usize::try_from(head.offset(block)).unwrap();
    old.get(start..start + head.block_len(block) as usize).ok_or_else(|| WireError::bad("beyond the basis"))
}

fn from_receiver(session: &Session, input: &mut &[u8], decoded: &mut Decoded) -> Result<(), WireError> {
    let mut ndx = NdxState::default();
    let all = ends(session, decoded.lists.len(), 4);
    while decoded.done.1 < all {
        match ndx.read(input)? {
            Ndx::Done => decoded.done.1 += 1,
            Ndx::DeleteStats => drop(Deleted::read(input)?),
            Ndx::File(number) => request(session, number, input, decoded)?,
            _ => return Err(WireError::bad("a list from the receiving side")),
        }
    }
    Ok(())
}

fn request(session: &Session, number: u32, input: &mut &[u8], decoded: &mut Decoded) -> Result<(), WireError> {
    let item = Item::read(input)?;
    if with_xattrs(session, &item) {
        let known = find(decoded, number).and_then(|(_, entry)| entry.xattrs.as_ref());
        xattr::read_request(known.map_or(0, |xattrs| xattrs.0.len()), input)?;
    }
    if !item.flags.any(ItemFlags::TRANSFER) {
        return Ok(());
    }
    let head = SumHead::read(session.agreed.sum.len(), mover_rsync::wire::sums::BLOCK_MAX, input)?;
    let path = find(decoded, number)
        .map(|(list, entry)| list.path(entry).to_vec())
        .ok_or_else(|| WireError::bad("no such file"))?;
    let old = basis(&path, &head);
    for block in 0..head.count {
        let (weak, strong) = (input.int()?.cast_unsigned(), input.bytes(head.strong as usize)?);
        let content = block_of(&old, &head, block)?;
        let sum = session.agreed.sum.block(session.agreed.seed, content);
        let right = Rolling::new(content).value() == weak && sum.as_bytes()[..head.strong as usize] == strong;
        decoded.blocks += usize::from(right);
    }
    Ok(())
}

/// Entries, files whose digests come out right or not, block sums that come out right. What is wrong in 02 is a file
/// whose basis is not kept here, in 14 the damaged one.
#[test]
fn every_session_decodes() {
    let expected: &[(&str, usize, usize, usize, usize)] = &[
        ("01-push-a", 7, 4, 0, 0),
        ("02-push-volsync", 22, 8, 1, 0),
        ("03-delta-xxh128", 9, 6, 0, 181),
        ("04-delta-zstd", 9, 6, 0, 181),
        ("05-delta-zlib", 9, 6, 0, 181),
        ("06-delta-zlibx-md5", 9, 6, 0, 181),
        ("07-delta-lz4-xxh3", 9, 6, 0, 181),
        ("08-push-protocol30", 22, 9, 0, 0),
        ("09-delta-rsync309", 9, 6, 0, 181),
        ("10-push-rsync313", 22, 9, 0, 0),
        ("11-pull-sender", 22, 9, 0, 0),
        ("12-pull-delta-delete", 9, 6, 0, 181),
        ("13-push-no-inc", 22, 9, 0, 0),
        ("14-redo", 9, 6, 1, 210),
        ("15-checksum-c-deleteafter", 7, 4, 0, 0),
        ("17-unreadable", 6, 2, 0, 0),
        ("19-noop", 22, 0, 0, 0),
        ("20-daemon-push", 21, 9, 0, 0),
    ];
    let mut found = Vec::new();
    for (name, ..) in expected {
        let session = open(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (decoded, result) = decode(&session);
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
        let entries = decoded.lists.iter().map(|list| list.entries().len()).sum();
        found.push((*name, entries, decoded.right, decoded.wrong, decoded.blocks));
    }
    assert_eq!(found, expected);
}

#[test]
fn messages_and_errors_are_found() {
    let session = open("17-unreadable").unwrap();
    let (decoded, result) = decode(&session);
    result.unwrap();
    assert_eq!(decoded.io_error, frame::io_error::GENERAL);
    let of = |kind: fn(&Message) -> bool| session.from_client.1.iter().filter(|m| kind(m)).count();
    assert_eq!((of(|m| matches!(m, Message::NoSend(_))), of(|m| matches!(m, Message::IoError(1)))), (1, 1));
    let deleted = |m: &Message| matches!(m, Message::Deleted(_));
    assert!(session.from_server.1.iter().any(deleted));
}

#[test]
fn a_session_that_was_cut_off_says_so() {
    let session = open("18-nospace").unwrap();
    assert!(matches!(decode(&session).1, Err(WireError::Ended)));
    assert!(session.from_server.1.contains(&Message::ErrorExit(Some(11))));
}

#[test]
fn protocol_29_is_refused() {
    assert!(matches!(open("16-push-protocol29"), Err(WireError::Incompatible(_))));
}

/// Cut or changed anywhere, a session ends in an error or in other values, never in a panic.
#[test]
fn damaged_sessions_do_not_panic() {
    let mut word = 88_172_645_463_325_252_u64;
    let mut random = move |below: usize| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        usize::try_from(word % below as u64).unwrap()
    };
    let mut refused = 0;
    for name in ["02-push-volsync", "05-delta-zlib", "11-pull-sender", "13-push-no-inc"] {
        for _ in 0..200 {
            let mut session = open(name).unwrap();
            let sends = if session.server_sends { &mut session.from_server.0 } else { &mut session.from_client.0 };
            let at = random(sends.len());
            sends[at] ^= 1 << random(8);
            refused += usize::from(decode(&session).1.is_err());
        }
    }
    assert!(refused > 30, "{refused}");
}
