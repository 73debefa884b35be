//! The environment behind a trait: nothing else in the program asks the process for a variable, so every rule about
//! variables can be tested with a map.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt};

/// Environment variables as bytes: values of Secret keys need not be UTF-8.
pub trait Environment {
    /// The value of one variable; `None` if it is not set, an empty value if it is set and empty.
    fn var(&self, name: &[u8]) -> Option<Vec<u8>>;

    /// All variables in the order of the process environment.
    fn vars(&self) -> Vec<(Vec<u8>, Vec<u8>)>;

    /// The value of one variable unless it is unset or empty.
    fn non_empty(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.var(name).filter(|value| !value.is_empty())
    }
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Environment for ProcessEnv {
    fn var(&self, name: &[u8]) -> Option<Vec<u8>> {
        // The standard library looks names with `=` or NUL up as not set.
        std::env::var_os(OsStr::from_bytes(name)).map(OsStringExt::into_vec)
    }

    fn vars(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect()
    }
}

/// A fixed environment, for tests and for embedding.
#[derive(Clone, Default)]
pub struct MapEnv(Vec<(Vec<u8>, Vec<u8>)>);

impl MapEnv {
    /// An environment of these variables, in this order; of variables with one name the first counts.
    pub fn new<N: AsRef<[u8]>, V: AsRef<[u8]>>(vars: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(vars.into_iter().map(|(n, v)| (n.as_ref().to_vec(), v.as_ref().to_vec())).collect())
    }
}

impl Environment for MapEnv {
    fn var(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }

    fn vars(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.clone()
    }
}
