//! What the pages say is so: links lead somewhere, and tables that people rely on are those of the program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mover_rclone::cli::help;
use mover_rclone::flags::{switches, table, variable};
use volsync_tests::mover::repository;
use walkdir::WalkDir;

/// All pages of the repository.
fn pages() -> Vec<PathBuf> {
    let wanted =
        |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    let all =
        WalkDir::new(repository()).into_iter().filter_entry(|entry| wanted(entry) && entry.file_name() != "target");
    let files = all.map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Targets of `[text](target)`, code left out.
fn links(text: &str) -> Vec<String> {
    let mut code = false;
    let prose = text.lines().filter(|line| {
        code ^= line.starts_with("```");
        !code
    });
    let prose: Vec<&str> = prose.collect();
    let ends = prose.join("\n");
    let starts = ends.match_indices("](").map(|(at, _)| at + 2);
    starts.filter_map(|at| Some(ends[at..].split_once(')')?.0.to_owned())).collect()
}

/// The anchors that headings get.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#').trim());
    let kept =
        |c: char| (c.is_alphanumeric() || matches!(c, '-' | '_' | ' ')).then_some(if c == ' ' { '-' } else { c });
    headings.map(|heading| heading.to_lowercase().chars().filter_map(kept).collect()).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() > 8, "{pages:?}");
    let mut broken = Vec::new();
    for page in &pages {
        for link in links(&read(page)).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let there = target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor));
            if !there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What sources say about pages: `docs/x.md`, "Section".
#[test]
fn pages_have_the_sections_that_the_code_names() {
    let sources = ["common/src", "mover-rclone/src", "mover-rsync/src", "embedded-s3/src", "controller"];
    let files = sources.iter().flat_map(|dir| WalkDir::new(repository().join(dir)));
    let mut missing = Vec::new();
    for file in files.map(|entry| entry.unwrap().into_path()).filter(|path| path.extension().is_some_and(|e| e == "rs"))
    {
        // A reference may be broken over lines of a comment.
        let lines = read(&file).replace('`', "");
        let text: Vec<&str> =
            lines.lines().map(|line| line.trim_start().trim_start_matches(['/', '!']).trim()).collect();
        let text = text.join(" ");
        for (at, _) in text.match_indices("docs/") {
            let Some((page, rest)) = text[at..].split_once(".md") else { continue };
            let path = repository().join(format!("{page}.md"));
            if page.contains([' ', ')']) || page.starts_with("docs/content") {
                continue;
            }
            let quoted = rest.strip_prefix(", section ").or_else(|| rest.strip_prefix(", ")).unwrap_or("");
            let section = quoted.strip_prefix('"').and_then(|rest| Some(rest.split_once('"')?.0));
            let has = |section: &str| {
                anchors(&read(&path)).contains(&section.to_lowercase().replace('\'', "").replace(' ', "-"))
            };
            if !path.exists() || section.is_some_and(|section| !has(section)) {
                missing.push(format!("{}: {page}.md {section:?}", file.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn exit_codes_are_those_that_help_prints() {
    let contract = read(&repository().join("docs/contract.md"));
    let (_, section) = contract.split_once("## Exit codes").unwrap();
    let rows = section.split("\n## ").next().unwrap().lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter_map(|row| row.strip_suffix(" |")?.split_once(" | "));
    let told: Vec<(&str, &str)> = rows.filter(|(code, _)| code.parse::<u8>().is_ok()).collect();
    let help = help::topic(&["exit-codes".to_owned()]).unwrap();
    let printed: Vec<(&str, &str)> = help.lines().filter_map(|line| line.trim().split_once("  ")).collect();
    assert_eq!(told, printed);
}

#[test]
fn switches_are_those_of_the_program() {
    let contract = read(&repository().join("docs/contract.md"));
    let names: Vec<&str> =
        table::all().iter().map(|flag| flag.name).filter(|name| name.starts_with(switches::PREFIX)).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in &names {
        assert!(contract.contains(&format!("| `--{name}`, `{}` |", variable(name))), "{name}");
    }
    assert_eq!(contract.matches("| `--volsync-").count(), names.len());
}
