//! The table of flags is exactly what the real rclone prints.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

use std::collections::BTreeSet;
use std::process::Command;

use mover_rclone::flags::table;

/// The long names of `rclone help flags`.
fn names_of_rclone() -> BTreeSet<String> {
    let out = Command::new(volsync_tests::peers::rclone()).args(["help", "flags", "--config="]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let groups = text.lines().skip_while(|line| !line.contains("(flag group ")).filter(|line| line.starts_with(' '));
    groups
        .filter_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix("--")))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_table_has_every_flag_of_rclone_and_no_other() {
    let rclone = names_of_rclone();
    assert!(rclone.len() > 1000, "{}", rclone.len());
    let global = table::all().iter().filter(|flag| flag.commands.is_empty() && flag.group != "VolSync");
    let ours: BTreeSet<String> = global.map(|flag| flag.name.to_owned()).collect();
    let missing: Vec<_> = rclone.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&rclone).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, not in rclone {extra:?}");
}

#[test]
fn subcommand_flags_are_those_of_rclone() {
    for command in ["sync", "copy", "check", "listremotes"] {
        let out = Command::new(volsync_tests::peers::rclone()).args([command, "--help"]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let own = text.lines().skip_while(|line| *line != "Flags:").skip(1).take_while(|line| !line.is_empty());
        for line in own {
            let name = line.split_whitespace().find_map(|word| word.strip_prefix("--")).unwrap();
            assert!(name == "help" || table::find(name, command).is_some(), "{command} --{name}");
        }
    }
}
