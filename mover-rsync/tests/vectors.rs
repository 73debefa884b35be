//! Every recorded session decodes to its last byte, and the digests in it are those of what was decoded.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use mover_rsync::accounts::IdMap;
use mover_rsync::args::server::{self, ServerArgs};
use mover_rsync::delta::digest::SumKind;
use mover_rsync::delta::rolling::Rolling;
use mover_rsync::exit::ExitCode;
use mover_rsync::filter::Filter;
use mover_rsync::options::Options;
use mover_rsync::receiver::{self, Target, Wanted};
use mover_rsync::report::Screen;
use mover_rsync::session::{self, Terms};
use mover_rsync::stream::{Demux, Mux};
use mover_rsync::wire::flist::{Decoder, Entry, FileList, ListOptions};
use mover_rsync::wire::frame::{self, HEADER, Message, Tag};
use mover_rsync::wire::handshake::{self, Compat, Compression, Side};
use mover_rsync::wire::item::{Item, ItemFlags};
use mover_rsync::wire::ndx::{Ndx, NdxState};
use mover_rsync::wire::stats::{Deleted, Totals};
use mover_rsync::wire::sums::SumHead;
use mover_rsync::wire::token::{Token, TokenReader};
use mover_rsync::wire::{Input, WireError, filter, xattr};
use volsync_common::walk::Kind;

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
    /// What the sender said after the first list, piece by piece.
    said: Vec<Piece>,
    /// Files as they are at the sender.
    contents: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A number and what belongs to it: where they begin from the end, and what has to be heard before.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: usize,
    ndx: Ndx,
    then: usize,
    after: After,
}

/// What a sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Nothing.
    Nothing,
    /// A request for a file.
    Request(u32),
    /// So many ends of phases.
    Ends(usize),
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
        let at = input.len();
        let next = ndx.read(input)?;
        decoded.said.push(Piece { at, ndx: next, then: input.len(), after: After::Nothing });
        match next {
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
                if let Some(piece) = decoded.said.last_mut() {
                    piece.after = After::Ends(decoded.done.0);
                }
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
    if let Some(piece) = decoded.said.last_mut() {
        piece.after = After::Request(number);
    }
    let head = SumHead::read(session.agreed.sum.len(), mover_rsync::wire::sums::BLOCK_MAX, input)?;
    let path = find(decoded, number)
        .map(|(list, entry)| list.path(entry).to_vec())
        .ok_or_else(|| WireError::bad("no such file"))?;
    let old = basis(&path, &head);
    let (mut whole, mut data, mut content) = (session.agreed.sum.whole(), Vec::new(), Vec::new());
    loop {
        match tokens.next(input, &mut data)? {
            Token::Data => {
                whole.update(&data);
                content.extend_from_slice(&data);
            }
            Token::Match(block) => {
                if block >= head.count {
                    return Err(WireError::bad("no such block"));
                }
                let same = block_of(&old, &head, block)?;
                tokens.matched(same)?;
                whole.update(same);
                content.extend_from_slice(same);
            }
            Token::Hole(_) => return Err(WireError::bad("a hole in a recorded session")),
            Token::End => break,
        }
    }
    let theirs = input.bytes(session.agreed.sum.len())?;
    let right = whole.finish().as_bytes() == theirs;
    *(if right { &mut decoded.right } else { &mut decoded.wrong }) += 1;
    decoded.contents.insert(path, content);
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

/// A sender of the past: it says what it said then, each answer when it is asked for it.
struct Replay {
    name: String,
    session: Session,
    decoded: Decoded,
    /// Pieces of what it says, as frames.
    pieces: Vec<(Vec<u8>, After)>,
    /// What the receiving side said; the lock is held while it is looked at.
    heard: Mutex<Heard>,
    more: Condvar,
}

#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    asked: HashSet<u32>,
    ends: usize,
    closed: bool,
}

impl Replay {
    fn new(name: &str) -> Self {
        let session = open(name).unwrap();
        let mut decoded = Decoded::default();
        streams(&session, &mut decoded).unwrap();
        let all = if session.server_sends { &session.from_server.0 } else { &session.from_client.0 };
        // The rules went before the list.
        let mut rest = &all[..];
        if !session.server_sends && session.options.deletes() {
            filter::read(&mut rest).unwrap();
        }
        let end = |left: usize| all.len() - left;
        let first = decoded.said.first().map_or(0, |piece| piece.at);
        let mut pieces = vec![(framed(&all[end(rest.len())..end(first)]), After::Nothing)];
        let (swapped, mut ndx) = (swapped(&decoded), NdxState::default());
        let other = |number: u32| swapped.get(&number).copied().unwrap_or(number);
        for (at, piece) in decoded.said.iter().enumerate() {
            let next = decoded.said.get(at + 1).map_or(0, |next| next.at);
            let mut data = Vec::new();
            let number = match piece.ndx {
                Ndx::File(number) => Ndx::File(other(number)),
                number => number,
            };
            ndx.write(number, &mut data);
            data.extend_from_slice(&all[end(piece.then)..end(next)]);
            let after = match piece.after {
                After::Request(number) => After::Request(other(number)),
                after => after,
            };
            pieces.push((framed(&data), after));
        }
        Self { name: name.into(), session, decoded, pieces, heard: Mutex::default(), more: Condvar::new() }
    }

    fn entries(&self) -> impl Iterator<Item = (&FileList, &Entry)> {
        self.decoded.lists.iter().flat_map(|list| list.entries().iter().map(move |entry| (list, entry)))
    }

    /// Takes what the receiving side says.
    fn hear(&self, bytes: &[u8]) {
        let mut heard = self.heard.lock().unwrap();
        heard.bytes.extend_from_slice(bytes);
        // Looked at from the start: there is little of it, and it may end anywhere.
        let (data, _) = unframed_whole(&heard.bytes);
        let (mut input, mut ndx) = (&data[..], NdxState::default());
        let mut ends = 0;
        loop {
            match ndx.read(&mut input) {
                Ok(Ndx::Done) => ends += 1,
                Ok(Ndx::DeleteStats) if Deleted::read(&mut input).is_ok() => {}
                Ok(Ndx::File(number)) => {
                    let mut unused = Decoded { lists: self.decoded.lists.clone(), ..Decoded::default() };
                    let mut ahead = input;
                    let wants = Item::read(&mut ahead).is_ok_and(|item| item.flags.any(ItemFlags::TRANSFER));
                    if request(&self.session, number, &mut input, &mut unused).is_err() {
                        break;
                    }
                    if wants {
                        heard.asked.insert(number);
                    }
                }
                _ => break,
            }
        }
        heard.ends = ends;
        self.more.notify_all();
    }
}

/// Stock transfers the last one of a group of hard links, and ours asks for the first: they change places.
fn swapped(decoded: &Decoded) -> BTreeMap<u32, u32> {
    let mut swapped = BTreeMap::new();
    for piece in &decoded.said {
        let After::Request(number) = piece.after else { continue };
        let Some(group) = find(decoded, number).and_then(|(_, entry)| entry.group) else { continue };
        let members = decoded.lists.iter().flat_map(|list| (list.start..).zip(list.entries()));
        let first = members.filter(|(_, entry)| entry.group == Some(group)).map(|(number, _)| number).next();
        let first = first.unwrap_or(number);
        swapped.extend([(first, number), (number, first)]);
    }
    swapped
}

fn framed(data: &[u8]) -> Vec<u8> {
    data.chunks(30_000).flat_map(|part| [&frame::header(Tag::Data, part.len())[..], part].concat()).collect()
}

/// Whole frames only.
fn unframed_whole(bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut data, mut at) = (Vec::new(), 0);
    while let Some(header) = bytes.get(at..at + HEADER) {
        let (tag, len) = frame::parse_header(header.try_into().unwrap()).unwrap();
        let Some(payload) = bytes.get(at + HEADER..at + HEADER + len) else { break };
        if tag == Tag::Data {
            data.extend_from_slice(payload);
        }
        at += HEADER + len;
    }
    (data, at)
}

/// The way from it.
struct Saying {
    replay: Arc<Replay>,
    piece: usize,
    at: usize,
}

impl io::Read for Saying {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some((bytes, after)) = self.replay.pieces.get(self.piece) else { return Ok(0) };
        if self.at == 0 {
            let heard = self.replay.heard.lock().unwrap();
            let waits = |heard: &mut Heard| {
                !heard.closed
                    && match after {
                        After::Nothing => false,
                        After::Request(number) => !heard.asked.contains(number),
                        After::Ends(ends) => heard.ends < *ends,
                    }
            };
            let limit = Duration::from_mins(1);
            let (_heard, waited) = self.replay.more.wait_timeout_while(heard, limit, waits).unwrap();
            assert!(!waited.timed_out(), "{}: nobody says {after:?}", self.replay.name);
        }
        let len = buf.len().min(bytes.len() - self.at);
        buf[..len].copy_from_slice(&bytes[self.at..self.at + len]);
        self.at += len;
        if self.at == bytes.len() {
            (self.piece, self.at) = (self.piece + 1, 0);
        }
        Ok(len)
    }
}

/// The way to it.
struct Hearing(Arc<Replay>);

impl io::Write for Hearing {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.hear(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Receives a session once more, over what stood there then.
fn received(replay: &Arc<Replay>, destination: &Path) {
    let Session { agreed, options, server_sends, .. } = &replay.session;
    let list_sum = options.checksum_choice.map_or(agreed.sum, |(_, list)| list);
    let terms = Terms {
        options: options.clone(),
        agreed: session::Agreed {
            protocol: agreed.protocol,
            compat: agreed.compat,
            sum: agreed.sum,
            list_sum,
            compression: agreed.compression,
            seed: agreed.seed,
            stores: false,
            meeting: None,
        },
        filter: Filter::default(),
        screen: server_sends.then(Screen::default),
        made_links: None,
    };
    let input = Demux::new(Saying { replay: replay.clone(), piece: 0, at: 0 });
    let mut out = Mux::new(Hearing(replay.clone()));
    out.framed();
    let target = Target::new(destination.as_os_str().as_bytes());
    let outcome = receiver::run(&target, terms, Wanted::default(), IdMap::numeric(), input, &mut out);
    replay.heard.lock().unwrap().closed = true;
    replay.more.notify_all();
    assert_eq!(outcome.unwrap().code(), ExitCode::Success);
}

/// What the lists say, as it stands there.
fn assert_received(replay: &Replay, destination: &Path) {
    let root = rustix::process::geteuid().is_root();
    let mut names = HashSet::new();
    for (list, entry) in replay.entries() {
        let path = list.path(entry);
        let place = destination.join(std::ffi::OsStr::from_bytes(path));
        names.insert(if path == b"." { destination.to_owned() } else { place.clone() });
        if entry.kind() == Kind::Other && !root {
            continue;
        }
        let meta = fs::symlink_metadata(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        assert_eq!(meta.permissions().mode(), entry.mode, "{}", place.display());
        let secs = if entry.mtime.secs == 0 { meta.mtime() } else { entry.mtime.secs };
        assert_eq!(meta.mtime(), secs, "{}", place.display());
        if root {
            assert_eq!((meta.uid(), meta.gid()), (entry.uid, entry.gid), "{}", place.display());
        }
        match entry.kind() {
            Kind::File => assert_eq!(meta.size(), entry.size, "{}", place.display()),
            Kind::Symlink => assert_eq!(fs::read_link(&place).unwrap().as_os_str().as_bytes(), list.target(entry)),
            _ => {}
        }
    }
    for (path, content) in &replay.decoded.contents {
        let place = destination.join(std::ffi::OsStr::from_bytes(path));
        assert!(fs::read(&place).unwrap() == *content, "{}", place.display());
    }
    if replay.session.options.deletes() {
        let mut dirs = vec![destination.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                assert!(names.contains(&entry.path()), "{} is left", entry.path().display());
                dirs.extend(entry.file_type().unwrap().is_dir().then(|| entry.path()));
            }
        }
    }
}

/// rsync 3.0.9 (09) and 3.1.3 (10), 3.4.1 at protocol 30 (08) and 32, pushing and as the server of a pull, from nothing
/// and by differences, with each compression and digest.
#[test]
fn senders_of_the_past_are_understood() {
    for (name, over_old) in [
        ("01-push-a", false),
        ("03-delta-xxh128", true),
        ("04-delta-zstd", true),
        ("05-delta-zlib", true),
        ("06-delta-zlibx-md5", true),
        ("07-delta-lz4-xxh3", true),
        ("08-push-protocol30", false),
        ("09-delta-rsync309", true),
        ("10-push-rsync313", false),
        ("11-pull-sender", false),
        ("12-pull-delta-delete", true),
        ("13-push-no-inc", false),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let destination = temp.path().join("d");
        if over_old {
            let copied = Command::new("cp").arg("-a").arg(vectors().join("basis")).arg(&destination).status().unwrap();
            assert!(copied.success());
        } else {
            fs::create_dir(&destination).unwrap();
        }
        let replay = Arc::new(Replay::new(name));
        for (list, entry) in replay.entries().filter(|(_, entry)| entry.kind() == Kind::File) {
            // What was not asked for had its time, too.
            let place = destination.join(std::ffi::OsStr::from_bytes(list.path(entry)));
            if over_old && !replay.decoded.contents.contains_key(list.path(entry)) {
                let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(entry.mtime.secs).unwrap());
                fs::File::options().write(true).open(place).unwrap().set_modified(time).unwrap();
            }
        }
        received(&replay, &destination);
        assert_received(&replay, &destination);
    }
}
