//! Proxies from the environment, in the meaning that Go gives the variables.
//!
//! `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, upper case before lower case, are read as Go's
//! `golang.org/x/net/http/httpproxy` reads them, because rclone does and existing Jobs rely on it. Nothing here opens
//! a connection: [`Proxies::from`] reads the variables once and [`Proxies::for_url`] decides.

use std::fmt;
use std::net::IpAddr;

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// Plain HTTP: `CONNECT` for https targets, absolute-form requests for http targets.
    Http,
    /// The same inside TLS.
    Https,
    /// SOCKS version 5 (RFC 1928); the proxy resolves the names, for `socks5` as for `socks5h`, as in Go.
    Socks5,
}

/// A user name and password for a proxy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProxyLogin {
    /// The user name, percent-decoded.
    pub user: Vec<u8>,
    /// The password, percent-decoded; empty if the URL has none.
    pub password: Vec<u8>,
}

impl fmt::Debug for ProxyLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyLogin(***)")
    }
}

/// A proxy to connect to instead of the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyTarget {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Name or address, without brackets.
    pub host: String,
    /// Port; 80, 443 or 1080 where the URL has none.
    pub port: u16,
    /// Credentials from the URL.
    pub login: Option<ProxyLogin>,
}

impl fmt::Display for ProxyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Https => "https",
            ProxyKind::Socks5 => "socks5",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A proxy setting that cannot be used. The value is not shown: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The scheme is none of http, https, socks5, socks5h.
    #[error("{origin}: the proxy scheme {scheme:?} is not supported; use http://, https:// or socks5://")]
    Scheme {
        /// The variable or flag.
        origin: String,
        /// What stands before `://`.
        scheme: String,
    },
    /// Not an address.
    #[error("{origin}: not a proxy address of the form [http://][user:password@]host[:port]: {why}")]
    Address {
        /// The variable or flag.
        origin: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A CGI program would take a client's `Proxy:` header for the variable (httpoxy, CVE-2016-5386).
    #[error(
        "HTTP_PROXY is set beside REQUEST_METHOD, as in a CGI program, where any client could have set it; use http_proxy or unset REQUEST_METHOD"
    )]
    Cgi,
}

/// Which proxy serves which target.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    every: Option<ProxyTarget>,
    http: Option<Result<ProxyTarget, ProxyError>>,
    https: Option<Result<ProxyTarget, ProxyError>>,
    except: Exceptions,
}

impl Proxies {
    /// No proxy for anything.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads the variables through `var`, which gives the value of a name if it is set.
    ///
    /// A value that is no address does not fail here but where it would be used, so that a broken `HTTP_PROXY` does not
    /// stop a run that speaks https only.
    pub fn from(var: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| var(name).filter(|value| !value.is_empty()).map(|value| (name, value)))
        };
        let cgi = var("REQUEST_METHOD").is_some_and(|method| !method.is_empty());
        let http = first(["HTTP_PROXY", "http_proxy"])
            .map(|(name, value)| if cgi { Err(ProxyError::Cgi) } else { parse_proxy(name, &value) });
        let https = first(["HTTPS_PROXY", "https_proxy"]).map(|(name, value)| parse_proxy(name, &value));
        let except = first(["NO_PROXY", "no_proxy"]).map(|(_, list)| Exceptions::parse(&list)).unwrap_or_default();
        Self { every: None, http, https, except }
    }

    /// The proxies of this process's environment.
    pub fn from_env() -> Self {
        Self::from(|name| std::env::var(name).ok())
    }

    /// `--http-proxy`: one proxy for every target; variables and `NO_PROXY` no longer count (rclone 1.75,
    /// `fs/fshttp`).
    pub fn with_override(self, url: &str) -> Result<Self, ProxyError> {
        Ok(Self { every: Some(parse_proxy("--http-proxy", url)?), ..self })
    }

    /// The proxy for a connection to `host` and `port` of an URL with `scheme`; `None` is a direct connection.
    pub fn for_url(&self, scheme: &str, host: &str, port: u16) -> Result<Option<ProxyTarget>, ProxyError> {
        if let Some(every) = &self.every {
            return Ok(Some(every.clone()));
        }
        let chosen = match scheme {
            "https" => &self.https,
            "http" => &self.http,
            _ => &None,
        };
        match chosen {
            Some(proxy) if self.except.wants_proxy(host, port) => proxy.clone().map(Some),
            _ => Ok(None),
        }
    }
}

/// `NO_PROXY`, parsed.
#[derive(Clone, Debug, Default)]
struct Exceptions {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Everything,
    Network {
        base: IpAddr,
        bits: u8,
    },
    Address {
        ip: IpAddr,
        port: Option<String>,
    },
    /// `suffix` begins with a dot; `itself` says that the name without the dot matches too.
    Domain {
        suffix: String,
        itself: bool,
        port: Option<String>,
    },
}

impl Exceptions {
    fn parse(list: &str) -> Self {
        let mut rules = Vec::new();
        for entry in list.split(',').map(|entry| entry.trim().to_lowercase()) {
            if entry == "*" {
                return Self { rules: vec![Rule::Everything] };
            }
            rules.extend(parse_rule(&entry));
        }
        Self { rules }
    }

    /// Loopback and `localhost` are never sent to a proxy.
    fn wants_proxy(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']);
        let ip: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || ip.is_some_and(|ip| ip.to_canonical().is_loopback()) {
            return false;
        }
        let host = host.trim().to_lowercase();
        let port = port.to_string();
        !self.rules.iter().any(|rule| rule.matches(&host, ip, &port))
    }
}

impl Rule {
    fn matches(&self, host: &str, ip: Option<IpAddr>, port: &str) -> bool {
        let same_port = |wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| wanted == port);
        match self {
            Self::Everything => true,
            Self::Network { base, bits } => ip.is_some_and(|ip| in_network(ip, *base, *bits)),
            Self::Address { ip: wanted, port } => {
                ip.is_some_and(|ip| ip.to_canonical() == wanted.to_canonical()) && same_port(port)
            }
            Self::Domain { suffix, itself, port } => {
                (host.ends_with(suffix.as_str()) || (*itself && host == &suffix[1..])) && same_port(port)
            }
        }
    }
}

fn parse_rule(entry: &str) -> Option<Rule> {
    if let Some((base, bits)) = parse_network(entry) {
        return Some(Rule::Network { base, bits });
    }
    let (host, port) = split_port(entry);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.filter(|port| !port.is_empty()).map(str::to_owned);
    if let Ok(ip) = host.parse() {
        return Some(Rule::Address { ip, port });
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    match host {
        "" => None,
        _ if host.starts_with('.') => Some(Rule::Domain { suffix: host.to_owned(), itself: false, port }),
        _ => Some(Rule::Domain { suffix: format!(".{host}"), itself: true, port }),
    }
}

fn parse_network(entry: &str) -> Option<(IpAddr, u8)> {
    let (base, bits) = entry.split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    let longest = if base.is_ipv4() { 32 } else { 128 };
    (bits <= longest).then_some((base, bits))
}

/// Splits `host:port`; a bare IPv6 address has no port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port)),
        _ => (entry, None),
    }
}

fn in_network(ip: IpAddr, base: IpAddr, bits: u8) -> bool {
    match (ip.to_canonical(), base) {
        (IpAddr::V4(ip), IpAddr::V4(base)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            u32::from(ip) & mask == u32::from(base) & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(base)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            u128::from(ip) & mask == u128::from(base) & mask
        }
        _ => false,
    }
}

fn parse_proxy(origin: &str, value: &str) -> Result<ProxyTarget, ProxyError> {
    let wrong = |why| ProxyError::Address { origin: origin.to_owned(), why };
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let (kind, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (ProxyKind::Http, 80),
        "https" => (ProxyKind::Https, 443),
        "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
        other => return Err(ProxyError::Scheme { origin: origin.to_owned(), scheme: other.to_owned() }),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, address) = match authority.rsplit_once('@') {
        Some((login, address)) => {
            (Some(parse_login(login).ok_or_else(|| wrong("bad percent sign in the login"))?), address)
        }
        None => (None, authority),
    };
    let (host, port) = split_port(address);
    let host = host.trim_matches(['[', ']']);
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(wrong("the host is missing or has spaces"));
    }
    let port = match port {
        None | Some("") => default_port,
        Some(port) => port.parse().map_err(|_| wrong("the port is not a number up to 65535"))?,
    };
    Ok(ProxyTarget { kind, host: host.to_owned(), port, login })
}

fn parse_login(text: &str) -> Option<ProxyLogin> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Some(ProxyLogin { user: percent_decode(user)?, password: percent_decode(password)? })
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => out.push(hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?),
            _ => out.push(byte),
        }
    }
    Some(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(vars: &[(&str, &str)]) -> Proxies {
        Proxies::from(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn shown(vars: &[(&str, &str)], scheme: &str, host: &str, port: u16) -> String {
        match proxies(vars).for_url(scheme, host, port) {
            Ok(None) => "direct".into(),
            Ok(Some(target)) => target.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn the_scheme_chooses_the_variable() {
        let both = [("HTTP_PROXY", "http://a:1"), ("https_proxy", "b:2")];
        let check = |scheme, expect| assert_eq!(shown(&both, scheme, "s3.example", 443), expect);
        check("http", "http://a:1");
        check("https", "http://b:2");
        check("ftp", "direct");
        assert_eq!(shown(&[("HTTP_PROXY", "x"), ("http_proxy", "y")], "http", "h", 80), "http://x:80");
        assert_eq!(shown(&[("HTTP_PROXY", ""), ("http_proxy", "y")], "http", "h", 80), "http://y:80");
        assert_eq!(shown(&[("HTTP_PROXY", "http://a:1")], "https", "h", 443), "direct");
    }

    #[test]
    fn values_are_read_with_and_without_a_scheme() {
        let check =
            |value, expect: &str| assert_eq!(shown(&[("HTTPS_PROXY", value)], "https", "h", 443), expect, "{value}");
        check("proxy:3128", "http://proxy:3128");
        check("proxy", "http://proxy:80");
        check("https://proxy", "https://proxy:443");
        check("socks5://proxy", "socks5://proxy:1080");
        check("socks5h://proxy:9/", "socks5://proxy:9");
        check("http://[::1]:8080/", "http://[::1]:8080");
        check("http://u:p%40ss@proxy:1", "http://proxy:1");
        check(
            "gopher://x",
            "error: HTTPS_PROXY: the proxy scheme \"gopher\" is not supported; use http://, https:// or socks5://",
        );
        check(
            "http://x:99999",
            "error: HTTPS_PROXY: not a proxy address of the form [http://][user:password@]host[:port]: the port is not a number up to 65535",
        );
        check(
            "http://:80",
            "error: HTTPS_PROXY: not a proxy address of the form [http://][user:password@]host[:port]: the host is missing or has spaces",
        );
    }

    #[test]
    fn logins_are_decoded_and_never_printed() {
        let target = parse_proxy("x", "http://us%3Aer:p%40ss@proxy:1").expect("a proxy");
        let login = target.login.clone().expect("a login");
        assert_eq!((login.user.as_slice(), login.password.as_slice()), (&b"us:er"[..], &b"p@ss"[..]));
        assert!(!format!("{target:?} {target}").contains("p@ss"));
        assert!(matches!(parse_proxy("x", "http://a%zz@p"), Err(ProxyError::Address { .. })));
    }

    #[test]
    fn no_proxy_as_go_reads_it() {
        let check = |list: &str, host: &str, port: u16, direct: bool| {
            let vars = [("HTTP_PROXY", "p:1"), ("NO_PROXY", list)];
            assert_eq!(shown(&vars, "http", host, port) == "direct", direct, "{list:?} {host}:{port}");
        };
        check("", "example.com", 80, false);
        check("", "localhost", 80, true);
        check("", "localhost.localdomain", 80, false);
        check("", "127.0.0.1", 80, true);
        check("", "127.3.2.1", 80, true);
        check("", "[::1]", 80, true);
        check("*", "example.com", 80, true);
        check("foo.com, *", "example.com", 80, true);
        check("example.com", "example.com", 80, true);
        check("example.com", "EXAMPLE.com", 80, true);
        check("example.com", "s3.example.com", 80, true);
        check("example.com", "notexample.com", 80, false);
        check(".example.com", "example.com", 80, false);
        check(".example.com", "s3.example.com", 80, true);
        check("*.example.com", "s3.example.com", 80, true);
        check("*.example.com", "example.com", 80, false);
        check(" foo.com , example.com:9000 ", "s3.example.com", 9000, true);
        check("example.com:9000", "example.com", 80, false);
        check(":9000", "example.com", 9000, false);
        check("10.0.0.0/8", "10.1.2.3", 80, true);
        check("10.0.0.0/8", "11.1.2.3", 80, false);
        check("10.0.0.0/8", "example.com", 80, false);
        check("0.0.0.0/0", "8.8.8.8", 80, true);
        check("10.0.0.1", "10.0.0.1", 80, true);
        check("10.0.0.1:81", "10.0.0.1", 80, false);
        check("10.0.0.1:80", "10.0.0.1", 80, true);
        check("2001:db8::/32", "[2001:db8::5]", 80, true);
        check("2001:db8::1", "[2001:db8::1]", 80, true);
        check("[2001:db8::1]:80", "[2001:db8::1]", 80, true);
        check("[2001:db8::1]:80", "[2001:db8::1]", 81, false);
        check("10.0.0.0/99", "10.0.0.1", 80, false);
    }

    #[test]
    fn a_cgi_program_refuses_the_variable_that_a_client_can_set() {
        let vars = [("HTTP_PROXY", "p:1"), ("HTTPS_PROXY", "q:2"), ("REQUEST_METHOD", "GET")];
        assert_eq!(proxies(&vars).for_url("http", "h", 80), Err(ProxyError::Cgi));
        assert_eq!(shown(&vars, "https", "h", 443), "http://q:2");
        assert_eq!(shown(&vars, "http", "localhost", 80), "direct");
    }

    #[test]
    fn the_flag_overrides_everything() {
        let proxies =
            proxies(&[("HTTP_PROXY", "p:1"), ("NO_PROXY", "*")]).with_override("http://flag:8").expect("an address");
        for host in ["example.com", "localhost"] {
            let target = proxies.for_url("http", host, 80).expect("usable").expect("a proxy");
            assert_eq!(target.to_string(), "http://flag:8");
        }
        assert!(Proxies::none().with_override("ftp://x").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_value_panics(value in ".{0,40}", list in ".{0,40}", host in ".{0,20}") {
            let vars = [("HTTP_PROXY", value.as_str()), ("NO_PROXY", list.as_str())];
            let _ = proxies(&vars).for_url("http", &host, 80);
        }
    }
}
