//! Content that is decrypted as it arrives: a block is given out only after its tag was checked.

use bytes::Bytes;
use volsync_common::path::Shown;

use super::content::{BlockCipher, ContentError, HEADER, SEALED, nonce_of};
use crate::store::{Body, BoxFuture, StoreError, StoreErrorKind};

/// The error for content that is not what was encrypted.
pub(super) fn corrupt(path: &[u8], why: &ContentError) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "decrypt", Shown(path).to_string(), why.to_string())
}

/// All of a short body.
pub(super) async fn collect(mut body: Box<dyn Body>, most: u64) -> Result<Vec<u8>, StoreError> {
    let mut all = Vec::new();
    while let Some(bytes) = body.next().await? {
        let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(all.len());
        all.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
    }
    Ok(all)
}

enum Key {
    /// The header with the nonce is still to come.
    Data([u8; 32]),
    Ready(BlockCipher),
}

/// The content of an encrypted body.
pub(super) struct OpenBody {
    inner: Option<Box<dyn Body>>,
    key: Key,
    shown: Vec<u8>,
    held: Vec<u8>,
    block: u64,
    /// Bytes of the first block before the part asked for.
    skip: usize,
    /// Bytes still to give out.
    left: u64,
}

impl OpenBody {
    /// A whole object, header first.
    pub(super) fn whole(inner: Box<dyn Body>, key: [u8; 32], path: &[u8], len: u64) -> Self {
        let key = Key::Data(key);
        Self { inner: Some(inner), key, shown: path.to_vec(), held: Vec::new(), block: 0, skip: 0, left: len }
    }

    /// `len` bytes from `skip` bytes into block number `block`, with which the body begins.
    pub(super) fn part(
        inner: Box<dyn Body>,
        cipher: BlockCipher,
        path: &[u8],
        block: u64,
        skip: u64,
        len: u64,
    ) -> Self {
        let (key, skip) = (Key::Ready(cipher), usize::try_from(skip).unwrap_or(usize::MAX));
        Self { inner: Some(inner), key, shown: path.to_vec(), held: Vec::new(), block, skip, left: len }
    }

    /// No bytes.
    pub(super) fn nothing(cipher: BlockCipher, path: &[u8]) -> Self {
        let key = Key::Ready(cipher);
        Self { inner: None, key, shown: path.to_vec(), held: Vec::new(), block: 0, skip: 0, left: 0 }
    }

    fn corrupt(&self, why: &ContentError) -> StoreError {
        corrupt(&self.shown, why)
    }

    /// Reads until `want` bytes are held or the body ends.
    async fn hold(&mut self, want: u64) -> Result<(), StoreError> {
        while (self.held.len() as u64) < want {
            let Some(inner) = self.inner.as_mut() else { break };
            match inner.next().await? {
                Some(bytes) => self.held.extend_from_slice(&bytes),
                None => self.inner = None,
            }
        }
        Ok(())
    }

    async fn cipher(&mut self) -> Result<BlockCipher, StoreError> {
        let key = match &self.key {
            Key::Ready(cipher) => return Ok(cipher.clone()),
            Key::Data(key) => *key,
        };
        self.hold(HEADER).await?;
        let nonce = nonce_of(&self.held).map_err(|why| self.corrupt(&why))?;
        self.held.drain(..self.held.len().min(usize::try_from(HEADER).unwrap_or(32)));
        let cipher = BlockCipher::new(&key, nonce);
        self.key = Key::Ready(cipher.clone());
        Ok(cipher)
    }

    async fn step(&mut self) -> Result<Option<Bytes>, StoreError> {
        let cipher = self.cipher().await?;
        self.hold(SEALED).await?;
        if self.held.is_empty() {
            return if self.left == 0 { Ok(None) } else { Err(self.corrupt(&ContentError::Short)) };
        }
        let len = self.held.len().min(usize::try_from(SEALED).unwrap_or(usize::MAX));
        let mut sealed: Vec<u8> = self.held.drain(..len).collect();
        let clear = cipher.open(self.block, &mut sealed).map_err(|why| self.corrupt(&why))?;
        self.block += 1;
        let skip = std::mem::take(&mut self.skip).min(clear.len());
        let rest = (clear.len() - skip).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= rest as u64;
        let start = sealed.len() - (len - usize::try_from(super::content::TAG).unwrap_or(16)) + skip;
        Ok(Some(Bytes::from(sealed).slice(start..start + rest)))
    }
}

impl Body for OpenBody {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(self.step())
    }
}
