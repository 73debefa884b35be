//! The beginning of a session, on either side.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use crate::args::server::ServerArgs;
use crate::delta::digest::SumKind;
use crate::exit::Fatal;
use crate::filter::Filter;
use crate::options::{Items, Options};
use crate::report::Screen;
use crate::stream::{Demux, Mux};
use crate::wire::flist::ListOptions;
use crate::wire::frame::Message;
use crate::wire::handshake::{self, Compat, Compression, Side};
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
}

impl Terms {
    /// Who we are.
    pub fn side(&self) -> Side {
        if self.screen.is_some() { Side::Client } else { Side::Server }
    }

    /// The form of the file list.
    pub fn list(&self) -> ListOptions {
        self.agreed.list(&self.options)
    }

    /// Whether the user sees what is transferred.
    pub fn shows_names(&self) -> bool {
        match &self.screen {
            Some(screen) => screen.show.items || screen.show.names,
            None => self.options.items != Items::None || self.options.verbose > 0,
        }
    }
}

impl Agreed {
    /// The form of the file list.
    pub fn list(&self, options: &Options) -> ListOptions {
        options.list(self.protocol, self.compat, self.list_sum.len())
    }
}

/// Tells the peer why nothing more will come, if it can still hear and understand that.
pub fn give_up<W: Write>(agreed: Agreed, fatal: &Fatal, out: &mut Mux<W>) {
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

/// Begins as a server. Everything that does not depend on the client goes out at once.
pub fn serve(
    args: &ServerArgs,
    segments: bool,
    seed: i32,
    input: &mut Demux<impl Read>,
    out: &mut Mux<impl Write>,
) -> Result<Agreed, Fatal> {
    let options = &args.options;
    let compat = Compat::granted(&args.capabilities, segments);
    let seed = options.seed.unwrap_or(seed);
    let data = out.data();
    data.int(handshake::NEWEST);
    data.varint(compat.0.cast_signed());
    offer(options, compat, data);
    data.int(seed);
    out.flush()?;
    out.framed();
    let protocol = handshake::protocol(input.int()?)?;
    let agreed = agree(options, protocol, compat, Side::Server, input)?;
    Ok(Agreed { seed, ..agreed })
}

/// Begins as a client.
pub fn begin(options: &Options, input: &mut Demux<impl Read>, out: &mut Mux<impl Write>) -> Result<Agreed, Fatal> {
    out.data().int(handshake::NEWEST);
    out.flush()?;
    let protocol = handshake::protocol(input.int()?)?;
    let compat = Compat(input.varint()?.cast_unsigned());
    offer(options, compat, out.data());
    out.flush()?;
    out.framed();
    let agreed = agree(options, protocol, compat, Side::Client, input)?;
    Ok(Agreed { seed: input.int()?, ..agreed })
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
    let (sum, list_sum) = match options.checksum_choice {
        Some(chosen) => chosen,
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
    Ok(Agreed { protocol, compat, sum, list_sum, compression, seed: 0 })
}
