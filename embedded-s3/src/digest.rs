//! The one MD5 the server needs: streaming, one message at a time.

use md5::{Digest as _, Md5};

/// An MD5 sum.
pub(crate) type Md5Sum = [u8; 16];

/// MD5 over bytes that arrive in pieces.
#[derive(Default)]
pub(crate) struct Md5Stream(Md5);

impl Md5Stream {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(crate) fn finish(self) -> Md5Sum {
        self.0.finalize().into()
    }
}

/// MD5 of one piece.
pub(crate) fn md5_of(data: &[u8]) -> Md5Sum {
    Md5::digest(data).into()
}
