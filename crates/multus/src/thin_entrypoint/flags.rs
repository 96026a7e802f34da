//! Command line flags in pflag's forms: `--x=v`, `--x v`, `-x v`, `-xv`, `--switch`, `--switch=false`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// A flag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Without the dashes.
    pub(crate) name: &'static str,
    /// One-letter form.
    pub(crate) short: Option<char>,
    /// What it takes, and what it is when it is not given.
    pub(crate) kind: Kind,
    /// One line; empty hides the flag from the list.
    pub(crate) help: &'static str,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A text, with its default.
    Text(&'static str),
    /// Any number of texts, each by its own `--name`.
    List,
    /// On or off, with its default.
    Switch(bool),
}

/// A flag that takes a text.
pub(crate) const fn text(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, kind: Kind::Text(default), help }
}

/// A flag that may be given several times.
pub(crate) const fn list(name: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, kind: Kind::List, help }
}

/// A flag that is on or off.
pub(crate) const fn switch(name: &'static str, default: bool, help: &'static str) -> Flag {
    Flag { name, short: None, kind: Kind::Switch(default), help }
}

/// The list of flags in every program that reads them.
pub(crate) const HELP: Flag =
    Flag { name: "help", short: Some('h'), kind: Kind::Switch(false), help: "show this list" };

/// Values of all flags.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    texts: BTreeMap<&'static str, String>,
    lists: BTreeMap<&'static str, Vec<String>>,
    switches: BTreeMap<&'static str, bool>,
}

impl Values {
    /// The value of a text flag.
    pub(crate) fn text(&self, name: &str) -> String {
        self.texts.get(name).cloned().unwrap_or_default()
    }

    /// The values of a flag that may be given several times, in their order.
    pub(crate) fn list(&self, name: &str) -> &[String] {
        self.lists.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.switches.get(name).copied().unwrap_or_default()
    }
}

/// Reads `arguments`. What is no flag is passed over, as pflag does.
pub(crate) fn parse(flags: &[Flag], arguments: &[String]) -> Result<Values, String> {
    let mut values = Values { texts: BTreeMap::new(), lists: BTreeMap::new(), switches: BTreeMap::new() };
    for flag in flags {
        match flag.kind {
            Kind::Text(default) => drop(values.texts.insert(flag.name, default.to_owned())),
            Kind::List => {}
            Kind::Switch(default) => drop(values.switches.insert(flag.name, default)),
        }
    }
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            break;
        }
        if let Some(long) = argument.strip_prefix("--") {
            let (name, value) = split(long);
            let flag = flags.iter().find(|flag| flag.name == name);
            let flag = flag.ok_or_else(|| format!("unknown flag: --{name}"))?;
            values.set(flag, value, &mut rest)?;
        } else if let Some(short) = argument.strip_prefix('-').filter(|short| !short.is_empty()) {
            values.set_short(flags, short, &mut rest)?;
        }
    }
    Ok(values)
}

impl Values {
    fn set_short(
        &mut self,
        flags: &[Flag],
        mut letters: &str,
        rest: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), String> {
        while let Some(letter) = letters.chars().next() {
            let flag = flags.iter().find(|flag| flag.short == Some(letter));
            let flag = flag.ok_or_else(|| format!("unknown shorthand flag: {letter:?} in -{letters}"))?;
            letters = &letters[letter.len_utf8()..];
            if let Some(value) = letters.strip_prefix('=') {
                return self.set(flag, Some(value), rest);
            }
            if !matches!(flag.kind, Kind::Switch(_)) {
                let value = Some(letters).filter(|letters| !letters.is_empty());
                return self.set(flag, value, rest);
            }
            self.set(flag, None, rest)?;
        }
        Ok(())
    }

    fn set(
        &mut self,
        flag: &Flag,
        value: Option<&str>,
        rest: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), String> {
        match flag.kind {
            Kind::Text(_) | Kind::List => {
                let value = value.or_else(|| rest.next().map(String::as_str));
                let value = value.ok_or_else(|| format!("flag needs an argument: --{}", flag.name))?;
                if matches!(flag.kind, Kind::List) {
                    self.lists.entry(flag.name).or_default().push(value.to_owned());
                } else {
                    self.texts.insert(flag.name, value.to_owned());
                }
            }
            Kind::Switch(_) => {
                let on = match value {
                    None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
                    Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
                    Some(other) => {
                        return Err(format!("invalid argument {other:?} for \"--{}\" flag", flag.name));
                    }
                };
                self.switches.insert(flag.name, on);
            }
        }
        Ok(())
    }
}

/// Ends a program that was called with what it does not know; pflag's code.
pub(crate) fn unknown(error: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}; --help shows what there is");
    ExitCode::from(2)
}

/// The list of flags for a person.
pub(crate) fn usage(program: &str, flags: &[Flag]) -> String {
    let mut text = format!("Usage of {program}:\n");
    for flag in flags.iter().filter(|flag| !flag.help.is_empty()) {
        let short = flag.short.map(|short| format!("-{short}, ")).unwrap_or_else(|| "    ".to_owned());
        let default = match flag.kind {
            Kind::List => " (may be repeated)".to_owned(),
            Kind::Text("") | Kind::Switch(false) => String::new(),
            Kind::Text(default) => format!(" (default {default:?})"),
            Kind::Switch(true) => " (default true)".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {short}--{:<32} {}{default}", flag.name, flag.help);
    }
    text
}

fn split(argument: &str) -> (&str, Option<&str>) {
    argument.split_once('=').map_or((argument, None), |(name, value)| (name, Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: [Flag; 5] = [
        Flag { name: "type", short: Some('t'), kind: Kind::Text(""), help: "a type" },
        text("dir", "/d", "a directory"),
        switch("watch", true, "watch"),
        list("also", "another directory"),
        HELP,
    ];

    fn read(arguments: &[&str]) -> Result<Values, String> {
        parse(&FLAGS, &arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn all_forms_of_pflag_are_read() {
        for arguments in
            [&["--type", "thin"][..], &["--type=thin"], &["-t", "thin"], &["-tthin"], &["-t=thin"]]
        {
            assert_eq!(read(arguments).unwrap().text("type"), "thin", "{arguments:?}");
        }
        assert_eq!(read(&[]).unwrap().text("dir"), "/d");
        assert!(read(&[]).unwrap().is_on("watch"));
        assert!(!read(&["--watch=false"]).unwrap().is_on("watch"));
        assert!(read(&["-h"]).unwrap().is_on("help"));
        assert_eq!(read(&["--type="]).unwrap().text("type"), "");
    }

    #[test]
    fn a_switch_takes_no_following_argument() {
        assert!(read(&["--watch", "false"]).unwrap().is_on("watch"));
    }

    #[test]
    fn a_list_keeps_all_its_values_in_order() {
        assert_eq!(read(&["--also=/a", "--also", "/b"]).unwrap().list("also"), ["/a", "/b"]);
        assert!(read(&[]).unwrap().list("also").is_empty());
        assert!(read(&["--also"]).is_err());
    }

    #[test]
    fn after_two_dashes_nothing_is_a_flag() {
        assert_eq!(read(&["--", "--type=thin"]).unwrap().text("type"), "");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(read(&["--what"]).unwrap_err(), "unknown flag: --what");
        assert_eq!(read(&["--type"]).unwrap_err(), "flag needs an argument: --type");
        assert!(read(&["--watch=maybe"]).unwrap_err().contains("maybe"));
        assert!(read(&["-x"]).unwrap_err().contains("unknown shorthand"));
    }

    #[test]
    fn a_flag_without_help_is_not_listed() {
        let hidden = [text("secret", "", ""), HELP];
        assert!(!usage("x", &hidden).contains("secret"));
    }
}
