//! The beginning of a session, on either side.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use crate::args::server::ServerArgs;
use crate::delta::digest::SumKind;
use crate::exit::Fatal;
use crate::filter::Filter;
use crate::native;
use crate::options::{Items, Options};
use crate::report::Screen;
use crate::stream::{Demux, Mux};
use crate::streams::Token;
use crate::wire::flist::ListOptions;
use crate::wire::frame::{Message, Tag};
use crate::wire::handshake::{self, Compat, Compression, Side};
use crate::wire::item::{Item, ItemFlags};
use crate::wire::sums::{BLOCK_MAX, FINE_MAX};
use crate::wire::{Input, Output, WireError};

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// 30 to 32.
    pub protocol: i32,
    /// Bits of the server.
    pub compat: Compat,
    /// Digest of blocks and files.
    pub sum: SumKind,
    /// Digest of `--checksum`.
    pub list_sum: SumKind,
    /// How contents are compressed.
    pub compression: Compression,
    /// Seed of block sums.
    pub seed: i32,
    /// Packed literal bytes may go as they are.
    pub stores: bool,
    /// Where further streams of the session meet, if the server has such a place.
    pub meeting: Option<Token>,
}

/// Where the number of the protocol comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Both sides say theirs.
    Exchange,
    /// The greetings of a daemon and its client said it.
    Known(i32),
}

impl Start {
    fn say(self, out: &mut Vec<u8>) {
        if self == Self::Exchange {
            out.int(handshake::NEWEST);
        }
    }

    fn hear(self, input: &mut impl Input) -> Result<i32, WireError> {
        match self {
            Self::Exchange => handshake::protocol(input.int()?),
            Self::Known(protocol) => Ok(protocol),
        }
    }
}

/// What a session is about.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What was asked for.
    pub options: Options,
    /// How the two sides talk.
    pub agreed: Agreed,
    /// What does not take part.
    pub filter: Filter,
    /// Where a client shows what happens; a server's standard output is the connection.
    pub screen: Option<Screen>,
    /// Where a client that sends keeps in mind which links the receiving side made.
    pub made_links: Option<MadeLinks>,
}

/// Paths of symbolic links that the receiving side made anew: a daemon may have disguised them (`munge symlinks`).
#[derive(Clone, Debug, Default)]
pub struct MadeLinks(Arc<Mutex<Vec<Vec<u8>>>>);

impl MadeLinks {
    /// Keeps an item in mind, if it is such a link.
    pub fn note(&self, item: &Item, mode: u32, path: &[u8]) {
        let link = mode & 0o170_000 == 0o120_000;
        if link && item.flags.any(ItemFlags::LOCAL) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_vec());
        }
    }

    /// All of them so far.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Terms {
    /// Who we are.
    pub fn side(&self) -> Side {
        if self.screen.is_some() { Side::Client } else { Side::Server }
    }

    /// Whether the sender tells holes instead of reading zeros: where they become holes, and where nothing old stands.
    pub fn tells_holes(&self) -> bool {
        let Options { sparse, inplace, .. } = self.options;
        self.agreed.native() && self.agreed.sum == SumKind::Blake3 && sparse && !inplace
    }

    /// The form of the file list.
    pub fn list(&self) -> ListOptions {
        self.agreed.list(&self.options)
    }

    /// Whether the user sees what is transferred.
    pub fn shows_names(&self) -> bool {
        match &self.screen {
            Some(screen) => screen.format.is_some(),
            None => self.options.items > Items::Operations || self.options.verbose > 0,
        }
    }
}

impl Agreed {
    /// Whether both ends are ours.
    pub fn native(&self) -> bool {
        self.compat.has(Compat::NATIVE)
    }

    /// The largest block of a basis.
    pub fn largest_block(&self) -> u32 {
        if self.native() { FINE_MAX } else { BLOCK_MAX }
    }

    /// The form of the file list.
    pub fn list(&self, options: &Options) -> ListOptions {
        options.list(self.protocol, self.compat, self.list_sum.len())
    }
}

/// Tells the peer why nothing more will come, if it can still hear and understand that.
pub fn give_up<W: Write>(agreed: Agreed, fatal: &Fatal, out: &mut Mux<W>) {
    if fatal.is_told() && out.carries_errors() {
        out.message(&Message::Text { tag: Tag::Error, text: format!("rsync: {fatal}\n").into_bytes() });
    }
    if fatal.is_told() && agreed.protocol >= 31 {
        out.message(&Message::ErrorExit(Some(fatal.code().into())));
    }
    // A peer that is gone knows already.
    let _gone = out.flush();
}

/// How long a peer is given to hear why we end.
pub const FAREWELL: Duration = Duration::from_secs(5);

/// Reads until the peer, which was told that we end, ends itself: it would take a connection that breaks while it writes
/// for another failure.
pub fn farewell<R: Read + Send + 'static>(mut input: Demux<R>) {
    let (ended, end) = mpsc::channel::<()>();
    let drained = std::thread::Builder::new().name("farewell".into()).spawn(move || {
        let _ended = input.drain();
        drop(ended);
    });
    if drained.is_ok() {
        let _ended_or_too_slow = end.recv_timeout(FAREWELL);
    }
}

/// Answers a client whose arguments cannot be obeyed: a handshake that agrees on nothing, and why no session follows.
pub fn refuse(protocol: i32, fatal: &Fatal, out: &mut Mux<impl Write>) {
    let agreed = Agreed {
        protocol,
        compat: Compat::default(),
        sum: SumKind::Md5,
        list_sum: SumKind::Md5,
        compression: Compression::None,
        seed: 0,
        stores: false,
        meeting: None,
    };
    let data = out.data();
    data.varint(agreed.compat.0.cast_signed());
    data.int(agreed.seed);
    // A client that is gone needs no answer.
    let _gone = out.flush();
    out.framed();
    give_up(agreed, fatal, out);
}

/// Begins as a server. Everything that does not depend on the client goes out at once. Further streams of the session can
/// meet at `meeting`.
pub fn serve(
    args: &ServerArgs,
    start: Start,
    segments: bool,
    seed: i32,
    meeting: Option<Token>,
    input: &mut Demux<impl Read>,
    out: &mut Mux<impl Write>,
) -> Result<Agreed, Fatal> {
    let options = &args.options;
    let compat = Compat::granted(&args.capabilities, segments);
    let seed = options.seed.unwrap_or(seed);
    let data = out.data();
    start.say(data);
    data.varint(compat.0.cast_signed());
    offer(options, compat, data);
    data.int(seed);
    let version = native::marked(&args.capabilities).map(|theirs| theirs.min(native::VERSION));
    data.extend(version);
    let meeting = meeting.filter(|_| version >= Some(native::STREAMS));
    if version >= Some(native::STREAMS) {
        Token::write(meeting, data);
    }
    out.flush()?;
    out.framed();
    if version.is_some() {
        out.widen();
    }
    let protocol = start.hear(input)?;
    let agreed = agree(options, protocol, compat, Side::Server, input)?;
    Ok(Agreed { seed, meeting, stores: version >= Some(native::STORES), ..agreed })
}

/// Begins as a client.
pub fn begin(
    options: &Options,
    start: Start,
    input: &mut Demux<impl Read>,
    out: &mut Mux<impl Write>,
) -> Result<Agreed, Fatal> {
    start.say(out.data());
    out.flush()?;
    let protocol = start.hear(input)?;
    let compat = Compat(input.varint()?.cast_unsigned());
    offer(options, compat, out.data());
    out.flush()?;
    out.framed();
    let agreed = agree(options, protocol, compat, Side::Client, input)?;
    let seed = input.int()?;
    if compat.has(Compat::NATIVE) {
        out.widen();
    }
    let version = if compat.has(Compat::NATIVE) { Some(input.byte()?) } else { None };
    if version.is_some_and(|version| !(native::OLDEST..=native::VERSION).contains(&version)) {
        return Err(WireError::bad("a native session that was not offered").into());
    }
    let meeting = if version >= Some(native::STREAMS) { Token::read(input)? } else { None };
    Ok(Agreed { seed, meeting, stores: version >= Some(native::STORES), ..agreed })
}

fn offer(options: &Options, compat: Compat, out: &mut Vec<u8>) {
    if !compat.has(Compat::VARINT_FLIST_FLAGS) {
        return;
    }
    if options.checksum_choice.is_none() {
        handshake::offer_sums(out);
    }
    if options.compress && options.compress_choice.is_none() {
        handshake::offer_compressions(out);
    }
}

fn agree(
    options: &Options,
    protocol: i32,
    compat: Compat,
    side: Side,
    input: &mut impl Input,
) -> Result<Agreed, WireError> {
    let negotiated = compat.has(Compat::VARINT_FLIST_FLAGS);
    // MD5 by itself is seeded in front only where both sides know that (since 3.1).
    let seeded = |kind| match kind {
        SumKind::Md5 if !negotiated && !compat.has(Compat::CHKSUM_SEED_FIX) => SumKind::Md5SeedLast,
        kind => kind,
    };
    let native = compat.has(Compat::NATIVE);
    let (sum, list_sum) = match options.checksum_choice {
        Some(chosen) => chosen,
        None if negotiated && native => (SumKind::Blake3, handshake::agree_sum(side, input)?),
        None if negotiated => {
            let sum = handshake::agree_sum(side, input)?;
            (sum, sum)
        }
        None => (seeded(SumKind::Md5), SumKind::Md5),
    };
    let compression = match options.compress_choice {
        _ if !options.compress => Compression::None,
        Some(choice) => choice,
        None if negotiated => handshake::agree_compression(side, input)?,
        None => Compression::Zlib,
    };
    Ok(Agreed { protocol, compat, sum, list_sum, compression, seed: 0, stores: false, meeting: None })
}
