//! Checks the rules for the rooms of `src`: their imports, and the paths that pure rooms must not use. Also checks the
//! files of the client for circles.

mod source;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;

use source::{CLIENT, Import, SRC, Sources};
use tallyd_harness::Document;

/// Each room, from the highest to the lowest, with the rooms that it may import.
const ROOMS: [(&str, &[&str]); 15] = [
    (
        "app",
        &[
            "export",
            "state",
            "deliver",
            "http",
            "listen",
            "relay",
            "net",
            "flush",
            "aggregate",
            "resolve",
            "mapping",
            "protocol",
            "model",
            "text",
        ],
    ),
    ("export", &["deliver", "state", "http", "net", "model", "text"]),
    ("state", &["net", "model"]),
    ("deliver", &["http", "net", "model", "text"]),
    ("http", &["net", "model", "text"]),
    ("listen", &["relay", "net", "aggregate", "protocol", "model"]),
    ("relay", &["net", "model"]),
    ("net", &["model"]),
    ("flush", &["aggregate", "resolve", "mapping", "protocol", "model", "text"]),
    ("aggregate", &["resolve", "mapping", "protocol", "model"]),
    ("resolve", &["mapping", "protocol", "model"]),
    ("mapping", &["model", "text"]),
    ("protocol", &["model"]),
    ("model", &["text"]),
    ("text", &[]),
];

/// The rooms without sockets, files, clocks and logs. They have no configuration types either, because they cannot
/// import `app`.
const PURE: [&str; 6] = ["aggregate", "resolve", "mapping", "protocol", "model", "text"];

/// The parts of the standard library that a pure room must not name, each with advice for the error.
const IMPURE: [(&[&str], &str); 9] = [
    (&["std", "env"], "take the values as arguments"),
    (&["std", "fs"], "take the content as an argument"),
    (&["std", "io"], "take bytes as arguments, and return text"),
    (&["std", "net"], "take bytes and numbers as arguments"),
    (&["std", "os"], "take bytes and numbers as arguments"),
    (&["std", "process"], "return an error"),
    (&["std", "thread"], "let a room above start threads"),
    (&["std", "time", "Instant"], "take the time as an argument"),
    (&["std", "time", "SystemTime"], "take the time as an argument"),
];

/// The crates that pure rooms may use. They compute, and use no socket, file, clock or log.
const PURE_CRATES: [&str; 20] = [
    "cardinality_estimator",
    "enum_map",
    "fastrand",
    "foldhash",
    "hashbrown",
    "humantime",
    "itoa",
    "memchr",
    "nom",
    "parking_lot",
    "postcard",
    "regex_automata",
    "regex_syntax",
    "schemars",
    "serde",
    "serde_saphyr",
    "strsim",
    "strum",
    "wide",
    "zmij",
];

/// The only file of a pure room that may hold a `SystemTime`. It must not read the clock.
const HOLDS_TIMES: &str = "model/snapshot.rs";

fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn each_room_imports_only_the_rooms_below_it() {
    let mut violations = Vec::new();
    for (file, imports) in Sources::read(SRC).imports {
        let room = file.split('/').next().unwrap();
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else { continue };
        for Import { line, target, .. } in imports {
            let other = target.split('/').next().unwrap();
            if other != room && !allowed.contains(&other) {
                violations.push(format!(
                    "src/{file}:{line}: `{room}` must not import `{other}` (src/{target}), only {allowed:?}; move what it \
                     needs to a lower room, or take it as an argument"
                ));
            }
        }
    }
    assert_none(&violations);
}

/// `app` may import all rooms, so it is not checked.
#[test]
fn each_permission_is_used() {
    let sources = Sources::read(SRC);
    let used: BTreeSet<_> = sources
        .imports
        .iter()
        .flat_map(|(file, imports)| {
            imports.iter().map(move |import| (room_of(file), room_of(&import.target)))
        })
        .collect();
    let permitted =
        ROOMS[1..].iter().flat_map(|(room, allowed)| allowed.iter().map(move |other| (*room, *other)));
    let unused = permitted.filter(|permission| !used.contains(permission));
    let unused: Vec<_> = unused
        .map(|(room, other)| format!("`{room}` imports nothing from `{other}`; drop the permission"))
        .collect();
    assert_none(&unused);
}

/// Returns the first directory of a path from `src`.
fn room_of(file: &str) -> &str {
    file.split('/').next().unwrap()
}

#[test]
fn architecture_lists_the_rooms_with_their_imports() {
    let rows = Document::read("ARCHITECTURE.md").table("| room |");
    assert_eq!(rows.len(), ROOMS.len());
    for (row, (room, allowed)) in rows.iter().zip(ROOMS) {
        let imports = match allowed {
            [] => "nothing".to_owned(),
            _ if allowed.len() == ROOMS.len() - 1 => "all rooms".to_owned(),
            _ => allowed.join(", "),
        };
        assert_eq!((&*row[0], &row[2]), (&*format!("`{room}`"), &imports));
    }
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let mut violations = Vec::new();
    for (directory, name) in [(SRC, "src"), (CLIENT, "client/src")] {
        push_circles(&Sources::read(directory), name, &mut violations);
    }
    assert_none(&violations);
}

fn push_circles(sources: &Sources, directory: &str, violations: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for file in sources.imports.keys() {
        let Some(circle) = shortest_circle(sources, file) else { continue };
        let mut files: Vec<_> = circle.iter().map(|(file, _)| file.clone()).collect();
        files.sort();
        if seen.insert(files) {
            let steps: Vec<_> =
                circle.iter().map(|(file, line)| format!("{directory}/{file}:{line} ->")).collect();
            violations.push(format!(
                "{} {directory}/{file}; move what both need to a file of its own, below both",
                steps.join(" ")
            ));
        }
    }
}

/// Returns the files of the shortest circle through a file, each with the line that imports the next one.
fn shortest_circle(sources: &Sources, start: &str) -> Option<Vec<(String, usize)>> {
    let mut came_from: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for Import { line, target, .. } in sources.imports.get(file).into_iter().flatten() {
            if target == start {
                let mut circle = vec![(file.to_owned(), *line)];
                let mut file = file;
                while let Some((before, line)) = came_from.get(file) {
                    circle.push(((*before).to_owned(), *line));
                    file = before;
                }
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(target.as_str()) {
                came_from.insert(target, (file, *line));
                queue.push_back(target);
            }
        }
    }
    None
}

#[test]
fn pure_rooms_use_no_socket_file_clock_or_log() {
    let sources = Sources::read(SRC);
    let mut violations = Vec::new();
    for (file, names) in &sources.foreign {
        let room = file.split('/').next().unwrap();
        if !PURE.contains(&room) {
            continue;
        }
        for (line, path) in names {
            let is_std = ["std", "core", "alloc"].contains(&&*path[0]);
            let impure = IMPURE.iter().find(|(prefix, _)| {
                path.iter().zip(*prefix).all(|(a, b)| a == b) && path.len() >= prefix.len()
            });
            let instead = match impure {
                Some((_, instead)) => instead,
                None if is_std || PURE_CRATES.contains(&&*path[0]) => continue,
                None => "let a room above use it, or add it to the crates that only compute",
            };
            let is_time = path.last().is_some_and(|name| name == "SystemTime");
            if !(file == HOLDS_TIMES && is_time) {
                violations.push(format!(
                    "src/{file}:{line}: `{room}` is pure and must not use `{}`; {instead}",
                    path.join("::")
                ));
            }
        }
    }
    for (file, code) in &sources.code {
        let room = file.split('/').next().unwrap();
        for (index, _) in code.match_indices("::now()").filter(|_| PURE.contains(&room)) {
            let line = code[..index].matches('\n').count() + 1;
            violations.push(format!(
                "src/{file}:{line}: `{room}` is pure and must not read a clock; take the time as an argument"
            ));
        }
    }
    assert_none(&violations);
}

#[test]
fn top_of_src_has_only_rooms() {
    let mut violations = Vec::new();
    for entry in fs::read_dir(SRC).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !["lib.rs", "Cargo.toml"].contains(&name.as_str()) && !ROOMS.iter().any(|(room, _)| *room == name)
        {
            let rooms = ROOMS.map(|(room, _)| room);
            violations.push(format!("src/{name} is not a room; move it into one of {rooms:?}"));
        }
    }
    assert_none(&violations);
}
