//! A CNI plugin that writes down how it was called and does what its configuration says.
//!
//! It is copied under any type name into a folder and appends one JSON line per call to `calls.jsonl` beside itself.
//! These keys of the plugin's configuration steer it; `x-on` lists the verbs that they apply to (default: `["ADD"]`):
//!
//! | key | effect |
//! |---|---|
//! | `x-result` | printed on ADD; `$IFNAME`, `$NETNS` and `$CONTAINERID` are replaced |
//! | `x-stdout`, `x-stderr` | printed as they are, the former instead of a result |
//! | `x-error` | `{"code":…,"msg":…,"details":…,"on":["ADD"],"times":2}`: printed with exit code 1, for the first `times` calls only |
//! | `x-exit` | exit code |
//! | `x-sleep` | milliseconds to wait first |
//! | `x-hang` | wait for two minutes |
//! | `x-kill-self` | end by SIGKILL |
//! | `x-links` | names of veth links to make in the namespace on ADD and to delete on DEL; `$IFNAME` is replaced |
//! | `x-run` | commands (arrays of words) run in the namespace on ADD after that |
//!
//! It needs no crate, so that `rustc` alone builds it in a second for the tests of every crate.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, exit};
use std::time::Duration;

fn main() {
    let own = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let log = own.parent().map_or_else(|| PathBuf::from("calls.jsonl"), |dir| dir.join("calls.jsonl"));
    let plugin_type = own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let verb = std::env::var("CNI_COMMAND").unwrap_or_default();
    let mut stdin = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut stdin);
    let stdin = String::from_utf8_lossy(&stdin).into_owned();
    let earlier = fs::read_to_string(&log).unwrap_or_default();
    record(&log, &plugin_type, &stdin);
    if verb == "VERSION" {
        print!(
            r#"{{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}}"#
        );
        return;
    }
    let config = json::members(&stdin);
    misbehave(&config, &verb);
    fail(&config, &verb, earlier.matches(&marker(&plugin_type, &verb)).count());
    if verb == "ADD" {
        add(&config);
    }
    if verb == "DEL" {
        for link in links(&config) {
            inside(&["ip", "link", "delete", &link]);
        }
    }
}

/// One line per call; the reader parses it. The marker comes first so that earlier calls can be counted as text.
fn record(log: &std::path::Path, plugin_type: &str, stdin: &str) {
    let verb = std::env::var("CNI_COMMAND").unwrap_or_default();
    let mut line = format!("{{{},\"pid\":{},\"env\":{{", marker(plugin_type, &verb), std::process::id());
    for (number, (key, value)) in std::env::vars_os().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            line,
            "{comma}{}:{}",
            json::quote(&key.to_string_lossy()),
            json::quote(&value.to_string_lossy())
        );
    }
    let _ = writeln!(line, "}},\"stdin\":{}}}", json::quote(stdin));
    // One write to a file opened for appending is one line, also when several plugins run at once.
    let written = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        eprintln!("recording plugin: write {}: {error}", log.display());
    }
}

fn marker(plugin_type: &str, verb: &str) -> String {
    format!("\"type\":{},\"verb\":{}", json::quote(plugin_type), json::quote(verb))
}

type Members = Vec<(String, String)>;

fn get<'a>(members: &'a Members, key: &str) -> Option<&'a str> {
    members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn applies(on: Option<&str>, verb: &str) -> bool {
    on.map_or(verb == "ADD", |on| json::elements(on).iter().any(|element| json::text(element) == verb))
}

/// Waits, dies or prints as told, before anything else.
#[allow(clippy::disallowed_methods)] // Slowness is the fault that is asked for.
fn misbehave(config: &Members, verb: &str) {
    if !applies(get(config, "x-on"), verb) {
        return;
    }
    if let Some(text) = get(config, "x-stderr") {
        eprint!("{}", json::text(text));
    }
    if let Some(milliseconds) = get(config, "x-sleep").and_then(|text| text.parse().ok()) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    if get(config, "x-hang") == Some("true") {
        std::thread::sleep(Duration::from_secs(120));
    }
    if get(config, "x-kill-self") == Some("true") {
        let _ = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
    }
    if let Some(text) = get(config, "x-stdout") {
        print!("{}", json::text(text));
    }
    if let Some(code) = get(config, "x-exit").and_then(|text| text.parse().ok()) {
        exit(code);
    }
    if get(config, "x-stdout").is_some() {
        exit(0);
    }
}

fn fail(config: &Members, verb: &str, earlier: usize) {
    let Some(error) = get(config, "x-error") else { return };
    let error = json::members(error);
    let times = get(&error, "times").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
    if !applies(get(&error, "on"), verb) || earlier >= times {
        return;
    }
    let version = get(config, "cniVersion").unwrap_or("\"0.1.0\"");
    let mut text = format!("{{\"cniVersion\":{version},\"code\":{}", get(&error, "code").unwrap_or("100"));
    for key in ["msg", "details"] {
        if let Some(value) = get(&error, key) {
            let _ = write!(text, ",\"{key}\":{value}");
        }
    }
    print!("{text}}}");
    exit(1);
}

fn add(config: &Members) {
    for link in links(config) {
        let mut peer = format!("p{link}");
        peer.truncate(15);
        inside(&["ip", "link", "add", &link, "type", "veth", "peer", "name", &peer]);
        inside(&["ip", "link", "set", &link, "up"]);
        inside(&["ip", "link", "set", &peer, "up"]);
    }
    for command in get(config, "x-run").map(json::elements).unwrap_or_default() {
        let words: Vec<_> = json::elements(&command).iter().map(|word| replaced(&json::text(word))).collect();
        inside(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let version = get(config, "cniVersion").unwrap_or("\"0.1.0\"");
    let result = get(config, "x-result").or_else(|| get(config, "prevResult"));
    print!("{}", result.map_or_else(|| format!("{{\"cniVersion\":{version}}}"), replaced));
}

fn links(config: &Members) -> Vec<String> {
    let links = get(config, "x-links").map(json::elements).unwrap_or_default();
    links.iter().map(|link| replaced(&json::text(link))).collect()
}

fn replaced(text: &str) -> String {
    ["IFNAME", "NETNS", "CONTAINERID"].iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("${name}"), &std::env::var(format!("CNI_{name}")).unwrap_or_default())
    })
}

/// Runs a command in the namespace; what goes wrong is on stderr, as with every plugin.
fn inside(words: &[&str]) {
    let netns = std::env::var("CNI_NETNS").unwrap_or_default();
    if !netns.is_empty() {
        let _ = Command::new("nsenter")
            .arg(format!("--net={netns}"))
            .arg("--")
            .args(words)
            .stdout(std::process::Stdio::null())
            .status();
    }
}

/// As much JSON as this plugin needs: the raw members of an object, the raw elements of an array, strings.
mod json {
    /// Members of the object, values as raw text; empty when it is none.
    pub(crate) fn members(text: &str) -> Vec<(String, String)> {
        parts(text, b'{')
            .into_iter()
            .filter_map(|part| {
                let end = string_end(part.as_bytes(), 0)?;
                let value = part[end..].trim_start().strip_prefix(':')?;
                Some((self::text(&part[..end]), value.trim().to_owned()))
            })
            .collect()
    }

    /// Elements of the array as raw text; empty when it is none.
    pub(crate) fn elements(text: &str) -> Vec<String> {
        parts(text, b'[')
    }

    /// The content between the outer brackets, cut at commas outside strings and inner brackets.
    fn parts(text: &str, open: u8) -> Vec<String> {
        let text = text.trim();
        let bytes = text.as_bytes();
        if bytes.first() != Some(&open) {
            return Vec::new();
        }
        let (mut found, mut depth, mut start, mut at) = (Vec::new(), 0_usize, 1, 0);
        while at < bytes.len() {
            match bytes[at] {
                b'"' => {
                    let Some(end) = string_end(bytes, at) else { return found };
                    at = end;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            let closes = depth == 0;
            if closes || (depth == 1 && bytes[at] == b',') {
                let part = text[start.min(at)..at].trim();
                if !part.is_empty() {
                    found.push(part.to_owned());
                }
                start = at + 1;
            }
            if closes {
                break;
            }
            at += 1;
        }
        found
    }

    /// Index after the closing quote of the string that starts at `start`.
    fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
        if bytes.get(start) != Some(&b'"') {
            return None;
        }
        let mut at = start + 1;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' => at += 1,
                b'"' => return Some(at + 1),
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// The text of a raw string; anything else as it is.
    pub(crate) fn text(raw: &str) -> String {
        let raw = raw.trim();
        let Some(inner) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) else {
            return raw.to_owned();
        };
        let mut found = String::new();
        let mut letters = inner.chars();
        while let Some(letter) = letters.next() {
            if letter != '\\' {
                found.push(letter);
                continue;
            }
            match letters.next() {
                Some('n') => found.push('\n'),
                Some('t') => found.push('\t'),
                Some('r') => found.push('\r'),
                Some('u') => {
                    let digits: String = letters.by_ref().take(4).collect();
                    found.push(
                        u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'),
                    );
                }
                Some(other) => found.push(other),
                None => {}
            }
        }
        found
    }

    pub(crate) fn quote(text: &str) -> String {
        let mut quoted = String::from("\"");
        for letter in text.chars() {
            match letter {
                '"' | '\\' => quoted.extend(['\\', letter]),
                letter if u32::from(letter) < 0x20 => {
                    quoted.push_str(&format!("\\u{:04x}", u32::from(letter)))
                }
                letter => quoted.push(letter),
            }
        }
        quoted.push('"');
        quoted
    }
}
