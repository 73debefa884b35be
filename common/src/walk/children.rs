//! One directory by itself, for callers that walk in an order of their own.

use std::io;
use std::os::fd::AsFd;

use super::names::Names;
use super::stat::Stat;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name.
    pub name: Box<[u8]>,
    /// Its attributes; of a link itself.
    pub stat: Stat,
}

/// What the directory `dir` (open for reading) holds, without `.` and `..`. What vanishes meanwhile is left out.
pub fn children(dir: impl AsFd) -> io::Result<Vec<Child>> {
    let names = Names::read(dir.as_fd(), false)?;
    let mut children = Vec::with_capacity(names.len());
    for at in 0..names.len() {
        let (name, _) = names.get(at);
        match Stat::at(dir.as_fd(), name) {
            Ok(stat) => children.push(Child { name: name.into(), stat }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}
