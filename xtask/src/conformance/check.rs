//! The expectations of a step, each by its name.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use testbed::apiserver::{Event, Request};
use testbed::plugin::Call;

use super::matching::{mismatch, mismatch_exact};
use super::process::Ended;
use super::world::World;

/// What a step left behind.
pub(super) struct Seen<'a> {
    pub(super) world: &'a World,
    pub(super) ended: Option<Ended>,
    pub(super) calls: &'a [Call],
    pub(super) events: &'a [Event],
    pub(super) requests: &'a [Request],
}

/// All that is not as expected.
pub(super) fn differences(expected: &Map<String, Value>, seen: &Seen<'_>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if let Some(ended) = &seen.ended {
        if ended.late {
            found.push("exit: killed after a minute".to_owned());
        }
        if !expected.contains_key("exit") {
            let wanted = i32::from(expected.contains_key("error"));
            if ended.exit != wanted {
                found.push(format!("exit: expected {wanted}, seen {} {}", ended.exit, excerpt(ended)));
            }
        }
    }
    for (key, expected) in expected {
        let why = one(key, expected, seen).with_context(|| format!("look at {key}"))?;
        found.extend(
            why.into_iter()
                .map(|why| format!("{key}{}{why}", if why.starts_with(['.', '[']) { "" } else { ": " })),
        );
    }
    Ok(found)
}

fn one(key: &str, expected: &Value, seen: &Seen<'_>) -> Result<Option<String>> {
    let world = seen.world;
    Ok(match key {
        "exit" | "stdout" | "stdout_exactly" | "result" | "stdout_text" | "stderr_text" | "error"
        | "max_ms" => output(key, expected, seen.ended.as_ref().context("this step runs nothing")?, world),
        "calls" => calls(expected, seen.calls, world),
        "status" => {
            let status = world.status();
            let parsed = status.and_then(|text| serde_json::from_str::<Value>(&world.normal(&text)).ok());
            maybe(expected, parsed.as_ref())
        }
        "status_text" => maybe(expected, world.status().map(|text| world.normal(&text).into()).as_ref()),
        "events" => {
            let mut events: Vec<_> = seen.events.iter().map(|event| event_text(event, world)).collect();
            events.sort();
            let mut expected = expected.clone();
            if let Some(expected) = expected.as_array_mut() {
                expected.sort_by_key(|value| value.as_str().map(str::to_owned));
            }
            mismatch(&expected, &events.into())
        }
        "requests" => {
            let mut requests: Vec<String> = seen
                .requests
                .iter()
                .filter(|request| !request.path.ends_with("/events") && !request.path.contains("/events/"))
                .map(|request| {
                    format!("{} {}", request.method, request.path.rsplit("/namespaces/").next().unwrap_or(""))
                })
                .collect();
            requests.sort();
            mismatch(expected, &requests.into())
        }
        "files" => files(expected, world)?,
        "links" => {
            mismatch(expected, &world.netns.as_ref().context("the namespace is gone")?.link_names()?.into())
        }
        "addresses" => {
            let addresses = world.netns.as_ref().context("the namespace is gone")?.addresses()?;
            mismatch(expected, &serde_json::to_value(addresses)?)
        }
        "default_routes" => mismatch(expected, &default_routes(world)?.into()),
        other => bail!("there is no expectation called {other:?}"),
    })
}

fn output(key: &str, expected: &Value, ended: &Ended, world: &World) -> Option<String> {
    let stdout = world.normal(&ended.stdout);
    let parsed = || serde_json::from_str::<Value>(&stdout).unwrap_or_else(|_| stdout.clone().into());
    match key {
        "exit" => mismatch(expected, &ended.exit.into()).map(|why| format!("{why} {}", excerpt(ended))),
        // An empty text stands for empty output.
        "stdout" => mismatch_exact(expected, &parsed()).map(|why| format!("{why} {}", excerpt(ended))),
        "result" => mismatch(expected, &parsed()).map(|why| format!("{why} {}", excerpt(ended))),
        "error" => mismatch(expected, &parsed()).map(|why| format!("{why} {}", excerpt(ended))),
        "stdout_exactly" => mismatch(expected, &stdout.into()),
        "stdout_text" => texts(expected, &stdout),
        "stderr_text" => texts(expected, &world.normal(&ended.stderr)),
        _ => {
            let limit = expected.as_u64().unwrap_or_default();
            let took = ended.took.as_millis();
            (took > u128::from(limit)).then(|| format!("took {took} ms"))
        }
    }
}

/// One text or several that all have to fit.
fn texts(expected: &Value, seen: &str) -> Option<String> {
    let seen = seen.into();
    match expected {
        Value::Array(all) => all.iter().find_map(|expected| mismatch(expected, &seen)),
        one => mismatch(one, &seen),
    }
}

fn excerpt(ended: &Ended) -> String {
    let short = |text: &str| text.trim().chars().take(400).collect::<String>().replace('\n', " ");
    format!("[stdout {:?}, stderr {:?}]", short(&ended.stdout), short(&ended.stderr))
}

/// `<absent>` for something that may not be there.
fn maybe(expected: &Value, seen: Option<&Value>) -> Option<String> {
    match seen {
        None if expected == "<absent>" => None,
        None => Some("missing".to_owned()),
        Some(seen) if expected == "<absent>" => Some(format!("must not be there, is {seen}")),
        Some(seen) => mismatch(expected, seen),
    }
}

/// Each call is `VERB type ifname`, or an object with that as `is` and more to compare.
fn calls(expected: &Value, seen: &[Call], world: &World) -> Option<String> {
    let shown: Vec<_> = seen
        .iter()
        .filter(|call| call.verb != "VERSION")
        .map(|call| {
            (format!("{} {} {}", call.verb, call.plugin_type, call.env("CNI_IFNAME")).trim().to_owned(), call)
        })
        .collect();
    let expected = expected.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value.get("is").unwrap_or(value).as_str().unwrap_or_default().to_owned();
    let wanted: Vec<_> = expected.iter().map(name).collect();
    let names: Vec<_> = shown.iter().map(|(name, _)| name.clone()).collect();
    if wanted != names {
        return Some(format!("expected {wanted:?}, seen {names:?}"));
    }
    expected.iter().zip(shown).find_map(|(expected, (name, call))| {
        let stdin = world.normal(&call.stdin);
        let config: Value = serde_json::from_str(&stdin).unwrap_or(Value::Null);
        let environment: Map<String, Value> =
            call.env.iter().map(|(key, value)| (key.clone(), world.normal(value).into())).collect();
        let checks = [
            ("stdin", expected.get("stdin").and_then(|expected| mismatch(expected, &config))),
            (
                "stdin_exactly",
                expected.get("stdin_exactly").and_then(|expected| mismatch_exact(expected, &config)),
            ),
            ("stdin_text", expected.get("stdin_text").and_then(|expected| texts(expected, &stdin))),
            ("env", expected.get("env").and_then(|expected| mismatch(expected, &environment.clone().into()))),
        ];
        checks.into_iter().find_map(|(what, why)| why.map(|why| format!("{name}: {what}{why}")))
    })
}

fn event_text(event: &Event, world: &World) -> String {
    world.normal(&format!(
        "{} {} {} ({}, {})",
        event.event_type, event.reason, event.message, event.about, event.component
    ))
}

/// Path → what it holds: JSON, text, `<any>`, `<absent>`; `mode:0600` for permissions; an array for what a `*` finds.
fn files(expected: &Value, world: &World) -> Result<Option<String>> {
    for (path, expected) in expected.as_object().into_iter().flatten() {
        let found = world.glob(path)?;
        if path.ends_with('*') {
            let names: Vec<_> = found
                .iter()
                .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
                .collect();
            if let Some(why) = mismatch(expected, &names.into()) {
                return Ok(Some(format!("{path}{why}")));
            }
            continue;
        }
        let content = found.first().map(|file| content(file, expected, world)).transpose()?;
        if let Some(why) = maybe(expected, content.as_ref()) {
            return Ok(Some(format!("{path}: {why}")));
        }
    }
    Ok(None)
}

fn content(file: &Path, expected: &Value, world: &World) -> Result<Value> {
    if expected.as_str().is_some_and(|text| text.starts_with("mode:")) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file)?.permissions()) & 0o7777;
        return Ok(format!("mode:{mode:04o}").into());
    }
    if file.is_dir() {
        return Ok("a folder".into());
    }
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let text = world.normal(&String::from_utf8_lossy(&text));
    if expected.is_string() {
        return Ok(text.into());
    }
    Ok(serde_json::from_str(&text).unwrap_or_else(|_| text.into()))
}

fn default_routes(world: &World) -> Result<Vec<String>> {
    let routes = world.netns.as_ref().context("the namespace is gone")?.routes()?;
    let mut found: Vec<_> = routes
        .iter()
        .filter(|route| route["dst"] == "default")
        .map(|route| {
            format!(
                "{} dev {}",
                route["gateway"].as_str().unwrap_or("-"),
                route["dev"].as_str().unwrap_or_default()
            )
        })
        .collect();
    found.sort();
    Ok(found)
}
