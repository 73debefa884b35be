//! What `config dump`, `config show`, `listremotes` and `config check` print.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use volsync_common::path::Shown;

use super::env::Environment;
use super::ini::names_secret;
use super::options::{OptionSpec, nearest, table};
use super::resolve::{BackendFlags, config_variable};
use super::value::Kind;
use super::{Config, RemoteString};

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

/// One remote, or all sections, as lines of the file. Values that are secret are `XXX`: rclone prints most of them, but
/// what a mover prints ends up in logs.
pub fn show(config: &Config, env: &dyn Environment, remote: Option<&[u8]>) -> String {
    match remote {
        Some(name) => section(config, env, name.strip_suffix(b":").unwrap_or(name)),
        None if config.sections().is_empty() => "; empty config\n".to_owned(),
        None => config.sections().iter().map(|name| section(config, env, name)).collect::<Vec<_>>().join("\n"),
    }
}

fn section(config: &Config, env: &dyn Environment, name: &[u8]) -> String {
    let mut out = format!("[{}]\n", Shown(name));
    let kind = config.get(name, b"type", env).unwrap_or_default();
    let options = table(&String::from_utf8_lossy(&kind)).unwrap_or_default();
    for key in config.keys(name) {
        let value = config.get(name, key, env).unwrap_or_default();
        let spec = options.iter().find(|o| o.name.as_bytes() == key);
        let hidden = !value.is_empty() && spec.map_or_else(|| names_secret(key), |o| o.secret);
        let shown = if hidden { "XXX".to_owned() } else { Shown(&value).to_string() };
        let _ = writeln!(out, "{} = {shown}", Shown(key));
    }
    if !config.has_section(name) {
        let _ = writeln!(out, "# couldn't find type of fs for {}", super::text::quoted(name));
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

/// What `config check` says of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The section or remote, safe to print.
    pub name: String,
    /// Its type, safe to print; empty if it has none.
    pub kind: String,
    /// Why it cannot be used; `None` if it can.
    pub problem: Option<String>,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

/// Looks at every section and every remote of the environment without connecting anywhere.
pub fn check(config: &Config, env: &dyn Environment, flags: &dyn BackendFlags) -> Vec<Verdict> {
    let mut names: Vec<Vec<u8>> = config.sections().into_iter().map(<[u8]>::to_vec).collect();
    names.extend(remotes(config, env).into_iter().map(|(name, _)| name));
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names.iter().filter(|name| !Config::is_default(name)).map(|name| verdict(config, env, flags, name)).collect()
}

fn verdict(config: &Config, env: &dyn Environment, flags: &dyn BackendFlags, name: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(name);
    let from_env = env.non_empty(&config_variable(&text, "type"));
    let kind = from_env.or_else(|| config.stored(name, b"type")).unwrap_or_default();
    let kind = String::from_utf8_lossy(&kind).into_owned();
    let problem = if kind.is_empty() {
        Some("it has no type, so it is no remote".to_owned())
    } else {
        RemoteString::parse(&[name, b":"].concat())
            .map_err(|e| e.to_string())
            .and_then(|what| config.open(&what, env, flags).map_err(|e| e.to_string()))
            .err()
    };
    let warnings = table(&kind).map(|options| unknown_keys(config, name, options)).unwrap_or_default();
    Verdict { name: Shown(name).to_string(), kind: Shown(kind.as_bytes()).to_string(), problem, warnings }
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
        for warning in &v.warnings {
            let _ = writeln!(out, "    {warning}");
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
    fn showing_hides_secrets() {
        let config = Config::parse(b"[r]\ntype=s3\nsecret_access_key=HUSH\nmy_token=HUSH\nregion=eu\n").unwrap();
        let shown = show(&config, &MapEnv::default(), Some(b"r:"));
        assert_eq!(shown, "[r]\ntype = s3\nsecret_access_key = XXX\nmy_token = XXX\nregion = eu\n");
    }

    #[test]
    fn checking_names_what_is_wrong() {
        let file = b"[ok]\ntype=s3\nacess_key_id=x\n[bad]\ntype=s3\nchunk_size=1x\n[g]\ntype=b2\n[n]\na=b\n[a b-]\ntype=local\n[x-]\ntype=local\n";
        let verdicts = check(&Config::parse(file).unwrap(), &MapEnv::default(), &NoFlags);
        let (report, fine) = check_report(&verdicts);
        assert!(!fine);
        for line in [
            "[ok] (s3) ok\n    unknown key acess_key_id is ignored; did you mean access_key_id?\n",
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
