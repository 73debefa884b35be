//! What CVS ignores, as rsync's manual lists it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// By default, everywhere.
const PATTERNS: &str = "RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ #* .#* ,* _$* *$ \
                        *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj *.so *.exe *.Z *.elc *.ln core .svn/ \
                        .git/ .hg/ .bzr/";

/// The file in each directory that names more.
pub(super) const FILE: &[u8] = b".cvsignore";

/// The patterns of this user: the defaults, those of `~/.cvsignore`, and those of `$CVSIGNORE`.
pub(super) fn patterns() -> Vec<Vec<u8>> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cvsignore"));
    let own = home.and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
    let named = std::env::var_os("CVSIGNORE").map(OsString::into_vec).unwrap_or_default();
    let all = [PATTERNS.as_bytes(), &own, &named].join(&b' ');
    let words = all.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut patterns: Vec<Vec<u8>> = Vec::new();
    for word in words {
        // As in CVS, that forgets what came before.
        if word == b"!" { patterns.clear() } else { patterns.push(word.to_vec()) }
    }
    patterns
}
