//! The marker that keeps a container with `DEBUG_MOVER` until somebody removes it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The marker where the operator's containers have it, as in upstream's images.
pub const MARKER: &str = "/tmp/exit-debug-if-removed";

/// What it is called in its directory.
pub const MARKER_NAME: &str = "exit-debug-if-removed";

/// What `rm` of an image does: removes the marker, as people do it in upstream's images, and nothing else. The error is
/// a sentence for people.
pub fn remove(args: &[OsString]) -> Result<(), String> {
    let words: Vec<&OsString> = args.iter().filter(|arg| !arg.as_bytes().starts_with(b"-")).collect();
    match words.as_slice() {
        [path] if Path::new(path) == Path::new(MARKER) => {
            std::fs::remove_file(path).map_err(|error| format!("rm: {MARKER}: {error}"))
        }
        _ => Err(format!("rm of this image only removes {MARKER}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_is_removed() {
        for line in ["", "/etc/passwd", "-rf /", "/tmp/exit-debug-if-removed /etc/passwd"] {
            let args: Vec<_> = line.split(' ').map(OsString::from).collect();
            assert!(remove(&args).unwrap_err().contains("only removes"), "{line}");
        }
        assert!(MARKER.ends_with(MARKER_NAME));
    }
}
