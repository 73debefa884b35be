//! What `config dump`, `config show`, `listremotes` and `config check` print.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use volsync_common::path::Shown;

use super::Config;
use super::env::Environment;
use super::ini::{Section, names_secret};
use super::options::{OptionSpec, UNSUPPORTED, nearest, table};
use super::resolve::config_variable;
use super::value::Kind;

/// All sections as JSON, byte for byte as `rclone config dump` prints it: keys sorted, four blanks, no final newline.
pub fn dump(config: &Config, env: &dyn Environment) -> String {
    let mut sections: BTreeMap<&[u8], BTreeMap<&[u8], Vec<u8>>> = BTreeMap::new();
    for section in config.sections() {
        let keys = sections.entry(section).or_default();
        for key in config.keys(section) {
            keys.insert(key, config.get(section, key, env).unwrap_or_default());
        }
    }
    object(&sections, 0, |keys| object(keys, 1, |value| json_string(value)))
}

fn object<V>(entries: &BTreeMap<&[u8], V>, depth: usize, show: impl Fn(&V) -> String) -> String {
    if entries.is_empty() {
        return "{}".to_owned();
    }
    let (inner, outer) = ("    ".repeat(depth + 1), "    ".repeat(depth));
    let lines: Vec<String> =
        entries.iter().map(|(key, value)| format!("{inner}{}: {}", json_string(key), show(value))).collect();
    format!("{{\n{}\n{outer}}}", lines.join(",\n"))
}

/// A JSON string with the escapes of Go's encoder: also `<`, `>`, `&` and the two line separators; U+FFFD for bytes that
/// are not UTF-8.
fn json_string(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                c if u32::from(c) < 0x20 || matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for _ in chunk.invalid() {
            out.push_str("\\ufffd");
        }
    }
    out.push('"');
    out
}

/// The whole file as rclone writes it.
pub fn show(config: &Config) -> Vec<u8> {
    if config.sections().is_empty() {
        return b"; empty config\n".to_vec();
    }
    let mut out = Vec::new();
    for name in config.sections() {
        let section = config.section(name);
        out.extend(section.map(Section::comment).unwrap_or_default());
        if !Config::is_default(name) {
            out.extend([b"[", name, b"]\n"].concat());
        }
        for key in config.keys(name) {
            let value = config.raw(name, key).unwrap_or_default();
            out.extend(section.map(|section| section.comment_of(key)).unwrap_or_default());
            out.extend([&written_key(key)[..], b" = ", &written_value(value), b"\n"].concat());
        }
        out.push(b'\n');
    }
    out
}

/// A key as `unknwon/goconfig` writes it: numbered ones as `-`, those with a separator in quotes.
fn written_key(key: &[u8]) -> Vec<u8> {
    let has = |byte: u8| key.contains(&byte);
    match () {
        () if key.starts_with(b"#") => b"-".to_vec(),
        () if !has(b'=') && !has(b':') => key.to_vec(),
        () if !has(b'`') => in_quotes(b"`", key),
        () if !has(b'"') => in_quotes(b"\"", key),
        () => in_quotes(b"\"\"\"", key),
    }
}

/// A value as it writes it: with a backquote in it, in quotes.
fn written_value(value: &[u8]) -> Vec<u8> {
    match (value.contains(&b'`'), value.contains(&b'"')) {
        (false, _) => value.to_vec(),
        (true, false) => in_quotes(b"\"", value),
        (true, true) => in_quotes(b"\"\"\"", value),
    }
}

fn in_quotes(quote: &[u8], text: &[u8]) -> Vec<u8> {
    [quote, text, quote].concat()
}

/// One remote, values as they are used.
pub fn show_remote(config: &Config, env: &dyn Environment, name: &[u8]) -> Vec<u8> {
    section(config, env, name.strip_suffix(b":").unwrap_or(name), false)
}

/// One remote, or all in the order of their names, with `XXX` for values that are secret.
pub fn redacted(config: &Config, env: &dyn Environment, remote: Option<&[u8]>) -> Vec<u8> {
    let mut names = match remote {
        Some(name) => vec![name.strip_suffix(b":").unwrap_or(name)],
        None => config.sections(),
    };
    names.sort_unstable();
    let sections: Vec<_> = names.iter().map(|name| section(config, env, name, true)).collect();
    let mut out = sections.join(&b'\n');
    out.extend(b"### Double check the config for sensitive info before posting publicly\n");
    out
}

fn section(config: &Config, env: &dyn Environment, name: &[u8], redact: bool) -> Vec<u8> {
    let mut out = [b"[", name, b"]\n"].concat();
    let kind = config.get(name, b"type", env).unwrap_or_default();
    let kind = String::from_utf8_lossy(&kind);
    let options = table(&kind).unwrap_or_default();
    if kind.is_empty() {
        out.extend(format!("# couldn't find type of fs for {}\n", super::text::quoted(name)).bytes());
    } else if options.is_empty() && !UNSUPPORTED.contains(&&*kind) {
        out.extend(format!("# didn't find backend called {}\n", super::text::quoted(kind.as_bytes())).bytes());
    }
    for key in config.keys(name) {
        let value = config.get(name, key, env).unwrap_or_default();
        let spec = options.iter().find(|o| o.name.as_bytes() == key);
        let hidden = redact && !value.is_empty() && spec.map_or_else(|| names_secret(key), |o| o.secret);
        let value: &[u8] = if hidden { b"XXX" } else { &value };
        out.extend([key, b" = ", value, b"\n"].concat());
    }
    out
}

/// The remotes: those of the environment in its order, then those of the file. A section is one if it has a type.
pub fn remotes(config: &Config, env: &dyn Environment) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = BTreeSet::new();
    let mut remotes = Vec::new();
    for (name, value) in env.vars() {
        let middle = name.strip_prefix(b"RCLONE_CONFIG_").and_then(|n| n.strip_suffix(b"_TYPE"));
        if let Some(name) = middle.filter(|n| !n.is_empty() && !value.is_empty())
            && seen.insert(name.to_ascii_lowercase())
        {
            remotes.push((name.to_ascii_lowercase(), value));
        }
    }
    for name in config.sections() {
        match config.get(name, b"type", env) {
            Some(kind) if !kind.is_empty() && seen.insert(name.to_vec()) => remotes.push((name.to_vec(), kind)),
            _ => {}
        }
    }
    remotes
}

/// The output of `listremotes`, bytes as rclone prints them.
pub fn list_remotes(config: &Config, env: &dyn Environment) -> Vec<u8> {
    remotes(config, env).into_iter().flat_map(|(name, _)| [name, b":\n".to_vec()].concat()).collect()
}

/// The output of `listremotes --long`: names and types in columns, then a description.
pub fn list_remotes_long(config: &Config, env: &dyn Environment) -> Vec<u8> {
    let remotes = remotes(config, env);
    let name_width = remotes.iter().map(|(name, _)| width(name) + 1).max().unwrap_or(0);
    let kind_width = remotes.iter().map(|(_, kind)| width(kind)).max().unwrap_or(0);
    let mut out = Vec::new();
    for (name, kind) in &remotes {
        let described = config.get(name, b"description", env).unwrap_or_default();
        let pad = |used: usize, wanted: usize| vec![b' '; wanted.saturating_sub(used) + 1];
        let (after_name, after_kind) = (pad(width(name) + 1, name_width), pad(width(kind), kind_width));
        out.extend([name, &b":"[..], &after_name, kind, &after_kind, &described, b"\n"].concat());
    }
    out
}

fn width(text: &[u8]) -> usize {
    String::from_utf8_lossy(text).chars().count()
}

/// The output of `listremotes --json`.
pub fn list_remotes_json(config: &Config, env: &dyn Environment) -> String {
    let lines = remotes(config, env).into_iter().map(|(name, kind)| {
        let source = if config.has_section(&name) { "file" } else { "environment" };
        let described = config.get(&name, b"description", env).unwrap_or_default();
        format!(
            "{{\"name\":{},\"type\":{},\"source\":\"{source}\",\"description\":{}}}",
            json_string(&name),
            json_string(&kind),
            json_string(&described)
        )
    });
    let lines: Vec<_> = lines.collect();
    format!("[\n{}{}]\n", lines.join(",\n"), if lines.is_empty() { "" } else { "\n" })
}

/// What `config check` says of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The section or remote, safe to print.
    pub name: String,
    /// Its type, safe to print; empty if it has none.
    pub kind: String,
    /// Why it cannot be used; `None` if it can.
    pub problem: Option<String>,
    /// What would be used.
    pub facts: Vec<String>,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

/// Opens a remote, connecting nowhere: what would be used, or why it cannot be.
pub type Examine<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<String>, String>;

/// Looks at every section and every remote of the environment, or at one.
pub fn check(config: &Config, env: &dyn Environment, only: Option<&[u8]>, examine: Examine<'_>) -> Vec<Verdict> {
    let mut names: Vec<Vec<u8>> = config.sections().into_iter().map(<[u8]>::to_vec).collect();
    names.extend(remotes(config, env).into_iter().map(|(name, _)| name));
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()) && only.is_none_or(|only| only == name));
    names.iter().filter(|name| !Config::is_default(name)).map(|name| verdict(config, env, examine, name)).collect()
}

fn verdict(config: &Config, env: &dyn Environment, examine: Examine<'_>, name: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(name);
    let from_env = env.non_empty(&config_variable(&text, "type"));
    let kind = from_env.or_else(|| config.stored(name, b"type")).unwrap_or_default();
    let kind = String::from_utf8_lossy(&kind).into_owned();
    let found = match kind.as_str() {
        "" => Err("it has no type, so it is no remote".to_owned()),
        _ => examine(&[name, b":"].concat()),
    };
    let (facts, problem) = found.map_or_else(|problem| (Vec::new(), Some(problem)), |facts| (facts, None));
    let warnings = table(&kind).map(|options| unknown_keys(config, name, options)).unwrap_or_default();
    Verdict { name: Shown(name).to_string(), kind: Shown(kind.as_bytes()).to_string(), problem, facts, warnings }
}

fn unknown_keys(config: &Config, section: &[u8], options: &'static [OptionSpec]) -> Vec<String> {
    let known = |key: &[u8]| {
        key == b"type"
            || key.starts_with(b"global.")
            || key.starts_with(b"override.")
            || options.iter().any(|o| o.name.as_bytes() == key)
    };
    let unknown = config.keys(section).into_iter().filter(|key| !known(key));
    unknown
        .map(|key| match nearest(options, &String::from_utf8_lossy(key)) {
            Some(name) => format!("unknown key {} is ignored; did you mean {name}?", Shown(key)),
            None => format!("unknown key {} is ignored", Shown(key)),
        })
        .collect()
}

/// The lines of `config check`, and whether every section can be used.
pub fn check_report(verdicts: &[Verdict]) -> (String, bool) {
    let mut out = String::new();
    for v in verdicts {
        let state = match &v.problem {
            None => "ok".to_owned(),
            Some(problem) => format!("cannot be used: {problem}"),
        };
        let kind = if v.kind.is_empty() { String::new() } else { format!(" ({})", v.kind) };
        let _ = writeln!(out, "[{}]{kind} {state}", v.name);
        for line in v.facts.iter().chain(&v.warnings) {
            let _ = writeln!(out, "    {line}");
        }
    }
    (out, verdicts.iter().all(|v| v.problem.is_none()))
}

/// The table of a backend's options as lines for `config help`-like output: name, type, default, what it does.
pub fn describe_options(options: &[OptionSpec]) -> String {
    options.iter().fold(String::new(), |mut out, o| {
        let default = if o.default.is_empty() { String::new() } else { format!(" [{}]", o.default) };
        let kind = if o.kind == Kind::Password { "obscured" } else { o.kind.name() };
        let refused = o.refused.map(|why| format!(" Refused: {why}.")).unwrap_or_default();
        let _ = writeln!(out, "{} ({kind}){default}: {}{refused}", o.name, o.help);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::super::RemoteString;
    use super::super::env::MapEnv;
    use super::super::resolve::NoFlags;
    use super::*;

    #[test]
    fn the_dump_is_rclones_byte_for_byte() {
        let file = b"[r]\ntype=s3\nregion=\xffa\x01\x7f\xe2\x80\xa8\"\\<>&\t.\x0c.\n[a]\n";
        let config = Config::parse(file).unwrap();
        let expect = "{\n    \"a\": {},\n    \"r\": {\n        \"region\": \
            \"\\ufffda\\u0001\u{7f}\\u2028\\\"\\\\\\u003c\\u003e\\u0026\\t.\\f.\",\n        \"type\": \"s3\"\n    }\n}";
        assert_eq!(dump(&config, &MapEnv::default()), expect);
        assert_eq!(dump(&Config::default(), &MapEnv::default()), "{}");
    }

    #[test]
    fn remotes_of_the_environment_come_first() {
        let config = Config::parse(b"[z]\ntype=local\n[n]\na=b\n[r]\ntype=s3\n").unwrap();
        let env = MapEnv::new([
            ("RCLONE_CONFIG_R_TYPE", "xx"),
            ("RCLONE_CONFIG_EMPTY_TYPE", ""),
            ("RCLONE_CONFIG_A_B_TYPE", "s3"),
        ]);
        assert_eq!(list_remotes(&config, &env), b"r:\na_b:\nz:\n");
    }

    #[test]
    fn secrets_are_hidden_on_request() {
        let config = Config::parse(b"[r]\ntype=s3\nsecret_access_key=HUSH\nmy_token=HUSH\nregion=eu\n").unwrap();
        let shown = show_remote(&config, &MapEnv::default(), b"r:");
        assert_eq!(shown, b"[r]\ntype = s3\nsecret_access_key = HUSH\nmy_token = HUSH\nregion = eu\n");
        let shown = String::from_utf8(redacted(&config, &MapEnv::default(), Some(b"r"))).unwrap();
        assert!(
            shown.starts_with("[r]\ntype = s3\nsecret_access_key = XXX\nmy_token = XXX\nregion = eu\n###"),
            "{shown}"
        );
    }

    #[test]
    fn the_file_is_shown_as_it_would_be_written() {
        let config = Config::parse(b"x=1\n[a]\n`k=y`=v`x\n\"k:z\"=v\"`w\n-=auto\nq=%(x)s\n").unwrap();
        let expect = "x = 1\n\n[a]\n`k=y` = \"v`x\"\n`k:z` = \"\"\"v\"`w\"\"\"\n- = auto\nq = %(x)s\n\n";
        assert_eq!(String::from_utf8(show(&config)).unwrap(), expect);
    }

    #[test]
    fn checking_names_what_is_wrong() {
        let file = b"[ok]\ntype=s3\nacess_key_id=x\n[bad]\ntype=s3\nchunk_size=1x\n[g]\ntype=b2\n[n]\na=b\n[a b-]\ntype=local\n[x-]\ntype=local\n";
        let config = Config::parse(file).unwrap();
        let examine = |name: &[u8]| {
            let what = RemoteString::parse(name).map_err(|e| e.to_string())?;
            let remote = config.open(&what, &MapEnv::default(), &NoFlags).map_err(|e| e.to_string())?;
            Ok(vec![format!("it is {}", remote.name)])
        };
        let verdicts = check(&config, &MapEnv::default(), None, &examine);
        let (report, fine) = check_report(&verdicts);
        assert!(!fine);
        for line in [
            "[ok] (s3) ok\n    it is ok\n    unknown key acess_key_id is ignored; did you mean access_key_id?\n",
            "[bad] (s3) cannot be used: couldn't parse config item \"chunk_size\" = \"1x\" as fs.SizeSuffix",
            "[g] (b2) cannot be used: type = b2 is not supported by this mover; it supports s3, local, alias, crypt.",
            "[n] cannot be used: it has no type",
            "[a b-] (local) ok\n",
            "[x-] (local) cannot be used: config name contains invalid characters",
        ] {
            assert!(report.contains(line), "{line:?} not in\n{report}");
        }
    }
}
