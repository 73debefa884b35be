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

/// An environment with values for variables that are unset or empty.
pub struct WithDefaults<E> {
    inner: E,
    defaults: Vec<(&'static str, &'static str)>,
}

impl<E> WithDefaults<E> {
    /// Each default is a name and a value.
    pub fn new(inner: E, defaults: Vec<(&'static str, &'static str)>) -> Self {
        Self { inner, defaults }
    }
}

impl<E: Environment> Environment for WithDefaults<E> {
    fn var(&self, name: &[u8]) -> Option<Vec<u8>> {
        let default = self.defaults.iter().find(|(n, _)| n.as_bytes() == name);
        self.inner.non_empty(name).or_else(|| match default {
            Some((_, value)) => Some(value.as_bytes().to_vec()),
            None => self.inner.var(name),
        })
    }

    fn vars(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = self.inner.vars();
        for (name, value) in &self.defaults {
            let (name, value) = (name.as_bytes(), value.as_bytes().to_vec());
            match all.iter_mut().find(|(n, _)| n == name) {
                Some((_, old)) if old.is_empty() => *old = value,
                Some(_) => {}
                None => all.push((name.to_vec(), value)),
            }
        }
        all
    }
}

impl<T: Environment + ?Sized> Environment for std::sync::Arc<T> {
    fn var(&self, name: &[u8]) -> Option<Vec<u8>> {
        (**self).var(name)
    }

    fn vars(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        (**self).vars()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_stands_in_for_what_is_unset_or_empty() {
        let inner = MapEnv::new([("A", "1"), ("B", ""), ("C", "")]);
        let env = WithDefaults::new(inner, vec![("A", "9"), ("B", "9"), ("D", "9")]);
        let get = |name: &str| env.var(name.as_bytes()).map(|value| String::from_utf8(value).unwrap());
        assert_eq!(
            ["A", "B", "C", "D", "E"].map(get),
            [Some("1"), Some("9"), Some(""), Some("9"), None].map(|v| v.map(str::to_owned))
        );
        let vars = env
            .vars()
            .into_iter()
            .map(|(n, v)| format!("{}={}", String::from_utf8_lossy(&n), String::from_utf8_lossy(&v)));
        assert_eq!(vars.collect::<Vec<_>>(), ["A=1", "B=9", "C=", "D=9"]);
    }
}
