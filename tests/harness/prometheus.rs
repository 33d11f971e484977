//! Prometheus' own programs, what is sent to please or to spite them, and pages read without any of tallyd's code.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// What a well-behaved shop sends; one line a datagram would do as well.
pub const SHOP: [&str; 4] = [
    "orders:5|c|#region:eu\norders:7|c|#region:us\norders:1|c|@0.1|#region:us\nitems.sold:2.5|c",
    "stock.level:40|g\nstock.level:-15|g\ntemperature:-7.25|kv\ncustomers:ann|s\ncustomers:bob|s\ncustomers:ann|s",
    "checkout:20:30:400|ms|#region:eu\ncheckout:1500|ms|#region:us\ncheckout:1500|ms|@0.5|#region:us",
    "basket.size:1:2:3:4|h\nlatency:0.25|d|#url:http://h:80/\"a\\b\"\nlatency:0.75|d",
];

/// Lines that would make a page invalid if they were taken as they are, in the order in which they would do harm.
pub const HOSTILE: [&[&[u8]]; 2] = [
    &[
        // Illegal names and label names.
        b"9lives:1|g\n\xc3\xbcmlaut.\xe2\x82\xac:1|g\na b/c-d{e}\"f\\g#h:1|g\n-:1|c\n.:1|ms",
        b"labels:1|c|#9:1,a.b:1,a_b:2,\xc3\xa9:1,:1,__name__:x,__:1,le:1,quantile:1,a b:1,exported_le:3",
        b"labels.timed:1|ms|#le:1,quantile:1,exported_le:3,exported_quantile:3,__name__:x,name:",
        b"labels.sized:1|h|#le:1,quantile:1\nlabels.level:1|g|#le:+Inf,quantile:0.5",
        // Label values.
        b"values:1|g|#a:\",b:\\,c:\\n,d:a\\\",e:},f:{x=\"y\"}",
        b"values:1|g|#a:\x00\x01\x1b\x7f\t,b:x\ry,c:\xff\xfe,d:\xe2\x80\xa8,e:\xef\xbb\xbf,f:\xf0\x9f\xa6\x80",
        // Names that a timing takes for itself later, and one that it finds taken.
        b"x_seconds_count:1|g\nx_seconds_sum:1|c\nx_seconds_bucket:1|s\nx_count:1|g\nx_sum:1|c\nx_bucket:1|s",
        b"y_sum:1|ms\ny_seconds_sum:1|h\nz:1|h\nz_count:1|h\nz_count_sum:1|h",
        // One name, several types; different names, one family.
        b"same:1|c\nsame:2|g\nsame:3|ms\nsame:4|h\nsame:5|s\nsame:6|d\nsame_total:7|g\nsame_seconds:8|g",
        b"twin.a:1|c\ntwin-a:2|c\ntwin_a:3|c\ntwin.b:1|g\ntwin_b:2|g\ntwin.c:1|ms\ntwin/c:2|ms\ntwin:1|c\ntwin--a:4|c",
        // Numbers at their limits.
        b"least:-3|c\nhuge:1e300|c\nhuge:1e300|c\nhuge.gauge:-1e308|g\ntiny:1e-308|g\nhuge.timing:1e300:-1e300|ms",
        // Names of tallyd's own.
        b"tallyd_lines_total:1|g\ntallyd-lines:1|c\ntallyd_textfile_timestamp_seconds:1|g\ntallyd.lines:1|c\ntallyd:1|h",
        b"first.part:1|g",
    ],
    &[
        b"x:1|ms\nx:1|h\ny:1|ms\ny_seconds:1|h\nz_count_count:1|g\nx_count:2|g\nx_seconds_sum:2|c",
        b"same_total:1|c\nsame_seconds:1|ms\nsame.total:1|g\ntwin.a:1|c\nleast:4|c\nhuge:1e300|c",
        b"second.part:1|g",
    ],
];

pub const TYPES: [&str; 6] = ["c", "g", "ms", "h", "d", "s"];

/// How many of the combinations have a name without a character, and are no lines: one of each type.
pub const NAMELESS: usize = TYPES.len();

/// Combinations of names, types and tags that clash in every way that there is.
pub fn combinations() -> Vec<Vec<u8>> {
    // Each pair is a name, of every type: among them are `a` and `a_count`, `a.` and `a_`, `_total_total`.
    const PARTS: [&str; 17] = [
        "", "a", "_", ".", "-", "7", "\u{e9}", "\"", "\\", "{", "_count", "_sum", "_bucket", "_total",
        "_seconds", "le", "tallyd",
    ];
    const KEYS: [&str; 12] =
        ["", "a", "le", "quantile", "exported_le", "__name__", "_", "9", "\u{e9}", "a.b", "a_b", "{}"];
    const VALUES: [&[u8]; 10] =
        [b"", b"1", b"\"", b"\\", b"\\n", b"}", b"\r", b"\0", b"\xff", b"\xf0\x9f\xa6\x80"];
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for kind in TYPES {
        for (first, second) in PARTS.iter().flat_map(|first| PARTS.map(|second| (first, second))) {
            lines.push(format!("{first}{second}:1|{kind}").into());
        }
        for (first, second) in KEYS.iter().flat_map(|first| KEYS.map(|second| (first, second))) {
            // Every pair of keys meets every value sooner or later.
            let value = VALUES[lines.len() % VALUES.len()];
            let tags = [first.as_bytes(), b":", value, b",", second.as_bytes(), b":", value].concat();
            lines.push([format!("tagged:1|{kind}|#").as_bytes(), &tags].concat());
        }
    }
    lines
}

/// Waits until there is something to return.
pub fn wait_for<T>(mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(Instant::now() < deadline, "not so in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A program of which nothing is left when this is dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// promtool's exit code and remarks for a page.
pub fn promtool(page: &Path) -> (Option<i32>, String) {
    let mut command = Command::new("promtool");
    command
        .args(["check", "metrics"])
        .stdin(File::open(page).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = spawn(&mut command).wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

pub fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}; run make install-test-tools"))
}

/// The name and the labels of a line of a page.
pub type Name = (String, BTreeMap<String, String>);

/// The values of a page in the text format, read without any of tallyd's code.
#[derive(Debug)]
pub struct Page(pub BTreeMap<Name, f64>);

impl Page {
    pub fn parse(text: &str) -> Self {
        let mut page = BTreeMap::new();
        for line in text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let twin = page.insert(parse_name(name), value.parse().unwrap());
            assert_eq!(twin, None, "twice: {line}");
        }
        Self(page)
    }

    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        self.0.get(&(name.to_owned(), labels.collect())).copied()
    }

    pub fn assert_shows(&self, values: &[(&str, &[(&str, &str)], f64)]) {
        for &(name, labels, value) in values {
            assert_eq!(self.value(name, labels), Some(value), "{name} {labels:?} in {self:#?}");
        }
    }

    pub fn assert_holds(&self, other: &Self) {
        for (name, value) in &other.0 {
            assert_eq!(self.0.get(name), Some(value), "{name:?}");
        }
    }
}

/// Reads `name{label="value",label="value"}`.
fn parse_name(text: &str) -> Name {
    let mut labels = BTreeMap::new();
    let (name, mut rest) = text.split_once('{').unwrap_or((text, "}"));
    while rest != "}" {
        let (label, quoted) = rest.trim_start_matches(',').split_once("=\"").unwrap();
        let mut value = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next().unwrap() {
                '"' => break,
                '\\' => value.push(match characters.next().unwrap() {
                    'n' => '\n',
                    other => other,
                }),
                other => value.push(other),
            }
        }
        // An empty label is no label: node_exporter gives one to each member of a family that lacks a label of another.
        if !value.is_empty() {
            let twin = labels.insert(label.to_owned(), value);
            assert_eq!(twin, None, "twice: {label} in {text}");
        }
        rest = characters.as_str();
    }
    (name.to_owned(), labels)
}
