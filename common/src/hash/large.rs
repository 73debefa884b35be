//! A large file by itself: read ahead of its hash, so that neither waits for the other.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use volsync_md5::Md5;

use super::FileDigest;
use super::lane::read;
use crate::ahead::read_ahead;

/// From this length on a file is worth two threads: they cost less than a hundredth of its hash.
pub(super) const LARGE: u64 = 64 << 20;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// What reading ahead takes, in bytes.
pub(super) const MEMORY: usize = 2 * PIECE;

/// Says that nobody waits any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// As [`FileHasher::hash_file`](super::FileHasher::hash_file).
pub(super) async fn hash(file: Arc<File>, len: u64) -> io::Result<FileDigest> {
    let given_up = Arc::new(AtomicBool::new(false));
    let _waiting = GiveUp(Arc::clone(&given_up));
    let work = move || {
        let (mut sum, mut at) = (Md5::new(), 0);
        let fill = |buffer: &mut [u8]| {
            if given_up.load(Ordering::Relaxed) || at > len {
                return Ok(0);
            }
            let got = read(&file, buffer, at)?;
            at += got as u64;
            Ok(got)
        };
        let bytes = read_ahead(len, PIECE, fill, |piece| sum.update(piece))?;
        Ok(FileDigest { md5: sum.finalize(), bytes })
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
