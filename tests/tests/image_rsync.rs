//! The image of `mover-rsync`: what is in it, and a volume that goes from one container to another as the operator starts
//! them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use volsync_tests::container::{Container, Image, Network, Pod};
use volsync_tests::peers;
use volsync_tests::process::{LIMIT, run};
use volsync_tests::rsync::{NO_XATTRS, assert_same};
use volsync_tests::tree::{Kind, Tree};
use volsync_tests::volume::{Names, awkward, plain, shell};

/// What VolSync's operator adds to a container that may do nothing.
const GRANTED: [&str; 7] =
    ["CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"];

#[test]
fn it_holds_the_binary_openssh_and_their_libraries() {
    let image = Image::load("mover-rsync");
    let tree = Tree::of(image.root());
    let described = tree.0.iter().filter_map(|(path, entry)| match &entry.kind {
        Kind::Directory => None,
        Kind::Symlink(target) => Some([path, &b" -> "[..], target].concat()),
        _ => Some(path.clone()),
    });
    let described: Vec<_> = described.map(|line| String::from_utf8(line).unwrap()).collect();
    let others: Vec<_> = described.iter().filter(|path| !path.starts_with("lib")).map(String::as_str).collect();
    let expected = [
        "bin/bash -> /usr/bin/mover-rsync",
        "bin/rm -> /usr/bin/mover-rsync",
        "bin/sh -> /usr/bin/mover-rsync",
        "etc/group",
        "etc/passwd",
        "mover-rsync-tls/client.sh -> /usr/bin/mover-rsync",
        "mover-rsync-tls/server.sh -> /usr/bin/mover-rsync",
        "mover-rsync/destination.sh -> /usr/bin/mover-rsync",
        "mover-rsync/source.sh -> /usr/bin/mover-rsync",
        "usr/bin/mover-rsync",
        "usr/bin/ssh",
        "usr/sbin/sshd",
    ];
    // Newer releases of OpenSSH come in several programs.
    let others: Vec<_> = others.into_iter().filter(|path| !path.starts_with("usr/lib/openssh/sshd-")).collect();
    assert_eq!(others, expected);
    let bytes: u64 =
        described.iter().filter_map(|path| fs::symlink_metadata(image.root().join(path)).ok()).map(|m| m.size()).sum();
    assert!(bytes < 30 << 20, "{bytes} bytes");
    assert_eq!(image.config["Entrypoint"], json!(["/usr/bin/mover-rsync"]));
}

#[test]
fn owners_are_mapped_by_no_names_but_those_of_upstreams_image() {
    let image = Image::load("mover-rsync");
    for file in ["etc/passwd", "etc/group"] {
        let text = fs::read_to_string(image.root().join(file)).unwrap();
        let names: Vec<_> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(names, ["root", "sshd"], "{text}");
    }
}

#[test]
fn who_wants_a_shell_is_told_what_there_is_instead() {
    let image = Image::load("mover-rsync");
    let outcome = image.run(0, &["/bin/sh", "-c", "ls"], &[], &[]).exits(127);
    assert!(outcome.text().contains("There is no shell in this image"), "{outcome}");
    let outcome = image.run(0, &["/bin/rm", "/etc/passwd"], &[], &[]).exits(1);
    assert!(outcome.text().contains("only removes /tmp/exit-debug-if-removed"), "{outcome}");
}

/// A mover as the operator starts it.
fn mover(image: &Image, role: &str, network: Network<'_>, env: &[(&str, &str)], keys: &Path, data: &Path) -> Container {
    let script = format!("/mover-rsync/{role}.sh");
    image.start(&Pod {
        user: 0,
        capabilities: &GRANTED,
        args: &["/bin/bash", "-c", &script],
        env,
        mounts: &[(data, "/data"), (keys, "/keys")],
        scratch: &["/root/.ssh"],
        network,
    })
}

#[test]
fn a_volume_goes_from_container_to_container() {
    let image = Image::load("mover-rsync");
    let [keys, source, destination] = [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()];
    for key in ["source", "destination"] {
        let mut keygen = Command::new(peers::tool("ssh-keygen"));
        let args = ["-q", "-t", "rsa", "-b", "4096", "-C", "", "-N", "", "-f"];
        run(keygen.args(args).arg(keys.path().join(key))).success();
    }
    awkward(source.path(), 31, Names::All);
    // Without CAP_FSETID, which the operator does not grant, the kernel takes this bit from directories of other groups,
    // from upstream's rsync as well.
    // Between ours it stays where it is.
    shell(source.path(), "chmod g-s shared; rm -r lost+found");
    let to = mover(&image, "destination", Network::Own, &[], keys.path(), destination.path());
    let env = [("DESTINATION_ADDRESS", "127.0.0.1"), ("DESTINATION_PORT", "8022")];
    let from = mover(&image, "source", Network::Of(&to), &env, keys.path(), source.path());
    let from = from.running.wait(LIMIT).success();
    let to = to.running.wait(LIMIT).success();
    assert_same(source.path(), destination.path(), NO_XATTRS);
    assert!(from.text().contains("Synchronization completed successfully."), "{from}");
    assert!(to.text().contains("Exiting... Exit code: 0"), "{to}");
}

/// What the operator grants to rsync-TLS in a namespace with privileges.
const GRANTED_TLS: [&str; 4] = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID"];

/// A mover of rsync-TLS as the operator starts it.
fn tls_mover<'a>(
    image: &Image,
    script: &str,
    (user, capabilities): (u32, &'a [&'a str]),
    (network, env): (Network<'a>, &'a [(&'a str, &'a str)]),
    [keys, data]: [&'a Path; 2],
) -> Container {
    image.start(&Pod {
        user,
        capabilities,
        args: &["/bin/bash", "-c", script],
        env,
        mounts: &[(data, "/data"), (keys, "/keys")],
        scratch: &[],
        network,
    })
}

#[test]
fn a_volume_goes_over_tls_from_container_to_container() {
    let image = Image::load("mover-rsync");
    for (user, capabilities, privileged) in [(0, &GRANTED_TLS[..], "1"), (1234, &[], "0")] {
        let [keys, source, destination] = [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()];
        fs::write(keys.path().join("psk.txt"), format!("volsync:{}", "0123456789abcdef".repeat(8))).unwrap();
        if user == 0 {
            awkward(source.path(), 31, Names::All);
            shell(source.path(), "chmod g-s shared; rm -r lost+found nested/lost+found");
        } else {
            plain(source.path(), 3, 50, 4, 0..20_000);
            for dir in [&keys, &source, &destination] {
                shell(dir.path(), "chown -R 1234:1234 .");
            }
        }
        let (own, env) = ([("PRIVILEGED_MOVER", privileged)], ("DESTINATION_ADDRESS", "127.0.0.1"));
        let mover = |script: &str, network, env: &[(&str, &str)], data: &Path| {
            tls_mover(&image, script, (user, capabilities), (network, env), [keys.path(), data])
        };
        let to = mover("/mover-rsync-tls/server.sh", Network::Own, &own, destination.path());
        let env = [env, own[0]];
        let from = mover("/mover-rsync-tls/client.sh", Network::Of(&to), &env, source.path());
        let from = from.running.wait(LIMIT).success();
        let to = to.running.wait(LIMIT).success();
        for volume in [&source, &destination] {
            shell(volume.path(), "chmod 755 .; touch -d @7 .");
        }
        assert_same(source.path(), destination.path(), NO_XATTRS);
        assert!(from.text().contains("rsync completed in "), "{from}");
        assert!(to.text().contains("Sync complete, exiting."), "{to}");
    }
}
