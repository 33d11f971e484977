//! Checks pages in versions 0.0.4 and 1.0.0 of Prometheus' text format, as strictly as the description of the format
//! allows. In version 1.0.0, names that are not legal in 0.0.4 are in quotes.
//!
//! It also rejects parts of the format that tallyd never writes: timestamps, comments, unknown types, and values that
//! are not finite. The lines of a summary or a histogram must be in the order in which client libraries write them.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// The first error of a page, with its line.
pub type Error = String;

/// The names and values of labels.
type Labels = Vec<(String, String)>;

/// The names that a version of the format allows.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// Version 0.0.4 allows only letters, digits, `_` and `:`.
    Legal,
    /// Version 1.0.0 allows all other names in quotes.
    Quoted,
}

/// One family of a page.
struct Family<'a> {
    name: Cow<'a, str>,
    type_name: &'a str,
    samples: Vec<Sample<'a>>,
}

/// One line with a value.
struct Sample<'a> {
    line: &'a str,
    name: Cow<'a, str>,
    labels: Labels,
    value: f64,
}

/// Returns the first error of a page in version 0.0.4.
pub fn check(page: &str) -> Result<(), Error> {
    check_version(page, Names::Legal)
}

/// Returns the first error of a page in version 1.0.0.
pub fn check_utf8(page: &str) -> Result<(), Error> {
    check_version(page, Names::Quoted)
}

fn check_version(page: &str, allowed: Names) -> Result<(), Error> {
    if page.is_empty() {
        return Ok(());
    }
    let lines = page.strip_suffix('\n').ok_or("no line feed at the end")?;
    let mut names = BTreeSet::new();
    let mut lines = lines.split('\n').peekable();
    while let Some(line) = lines.next() {
        let of = |why| format!("{why}: {line}");
        let about = line.strip_prefix("# HELP ").ok_or_else(|| of("a family without HELP"))?;
        let (name, help) = name_before(about, &[' '], ":", allowed).map_err(of)?;
        let written = &about[..about.len() - help.len()];
        let help = help.strip_prefix(' ').ok_or_else(|| of("HELP without text"))?;
        unescape(help, &['\\', 'n']).map_err(of)?;
        let type_line = lines.next().unwrap_or_default();
        let type_name = type_line.strip_prefix("# TYPE ").and_then(|line| line.strip_prefix(written));
        let type_name =
            type_name.and_then(|rest| rest.strip_prefix(' ')).ok_or_else(|| of("HELP without TYPE"))?;
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            samples.push(sample(line, allowed).map_err(|why| format!("{why}: {line}"))?);
        }
        let family = Family { name, type_name, samples };
        for name in family.names().map_err(of)? {
            if !names.insert(name) {
                return Err(of("two families whose lines have the same name"));
            }
        }
        family.check()?;
    }
    Ok(())
}

impl<'a> Family<'a> {
    /// Returns all names that the lines of the family may have.
    fn names(&self) -> Result<Vec<String>, &'static str> {
        let suffixes: &[&str] = match self.type_name {
            "counter" | "gauge" => &[""],
            "summary" => &["", "_sum", "_count"],
            "histogram" => &["", "_bucket", "_sum", "_count"],
            _ => return Err("an unknown type"),
        };
        Ok(suffixes.iter().map(|suffix| format!("{}{suffix}", self.name)).collect())
    }

    fn check(&self) -> Result<(), Error> {
        if self.samples.is_empty() {
            return Err(format!("a family without lines: {}", self.name));
        }
        let mut seen = BTreeSet::new();
        let mut rest = &self.samples[..];
        while let Some(first) = rest.first() {
            let taken = match self.type_name {
                "summary" => self.take_distribution(rest, "", "quantile"),
                "histogram" => self.take_distribution(rest, "_bucket", "le"),
                _ => self.take_value(first),
            };
            let (labels, taken) = taken.map_err(|why| format!("{why}: {}", first.line))?;
            if !seen.insert(sorted(labels)) {
                return Err(format!("twice: {}", first.line));
            }
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Checks a counter or a gauge. Returns its labels and its number of lines, which is 1.
    fn take_value(&self, first: &Sample<'a>) -> Result<(Labels, usize), &'static str> {
        if first.name != self.name {
            return Err("a line of another family");
        }
        if self.type_name == "counter" && first.value < 0.0 {
            return Err("a counter below zero");
        }
        Ok((first.labels.clone(), 1))
    }

    /// Checks a summary or a histogram: lines with one extra label, in ascending order of this label, then the sum and
    /// the count. Returns its labels and its number of lines.
    fn take_distribution(
        &self,
        samples: &[Sample<'a>],
        suffix: &str,
        extra: &str,
    ) -> Result<(Labels, usize), &'static str> {
        let has_suffix = |sample: &Sample<'_>, suffix| sample.name.strip_prefix(&*self.name) == Some(suffix);
        let parts = samples.iter().take_while(|sample| has_suffix(sample, suffix)).take_while(|sample| {
            // A line with other labels belongs to the next series.
            without(&sample.labels, extra) == without(&samples[0].labels, extra)
        });
        let parts: Vec<_> = parts.collect();
        let [sum, count, ..] = &samples[parts.len()..] else { return Err("no sum and count") };
        if !has_suffix(sum, "_sum") || !has_suffix(count, "_count") {
            return Err("no sum and count after the other lines");
        }
        let labels = without(&samples[0].labels, extra);
        if sum.labels != labels || count.labels != labels {
            return Err("sum and count have other labels");
        }
        if count.value < 0.0 {
            return Err("a count below zero");
        }
        let mut before: Option<(f64, f64)> = None;
        for part in &parts {
            let mut values = part.labels.iter().filter(|(name, _)| name == extra);
            let (Some((_, text)), None) = (values.next(), values.next()) else {
                return Err("a line without its label");
            };
            let place = match text.as_str() {
                "+Inf" if extra == "le" => f64::INFINITY,
                text => number(text)?,
            };
            if extra == "quantile" && !(0.0..=1.0).contains(&place) {
                return Err("a quantile below 0 or beyond 1");
            }
            if before.is_some_and(|(place_before, _)| place_before >= place) {
                return Err("lines are not in ascending order");
            }
            if before.is_some_and(|(_, value_before)| value_before > part.value) {
                return Err("values fall");
            }
            before = Some((place, part.value));
        }
        if extra == "le" && before != Some((f64::INFINITY, count.value)) {
            return Err("the last bucket does not hold all samples");
        }
        Ok((labels, parts.len() + 2))
    }
}

/// Reads a name that ends before one of these characters, or that is in quotes. Returns it and what follows. An unquoted
/// name is legal with characters in `others`, and a quoted one is not.
fn name_before<'a>(
    text: &'a str,
    ends: &[char],
    others: &str,
    allowed: Names,
) -> Result<(Cow<'a, str>, &'a str), &'static str> {
    if text.starts_with('"') && allowed == Names::Quoted {
        let (name, rest) = quoted(text)?;
        let is_hidden = name.chars().any(char::is_control);
        let is_wrong = name.is_empty() || is_hidden || is_name(&name, others);
        return if is_wrong { Err("a name that must not be in quotes") } else { Ok((name.into(), rest)) };
    }
    let (name, rest) = text.split_at(text.find(ends).ok_or("nothing after a name")?);
    if is_name(name, others) { Ok((name.into(), rest)) } else { Err("an illegal name") }
}

/// Reads text in quotes. Returns it and what follows.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let text = text.strip_prefix('"').ok_or("no quotes")?;
    let mut is_escaped = false;
    let end = text.find(|character| {
        let ends = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends
    });
    let (inner, behind) = text.split_at(end.ok_or("no end of a text in quotes")?);
    Ok((unescape(inner, &['\\', '"', 'n'])?, &behind[1..]))
}

/// Reads `name{label="value",label="value"} value`, or `{"name",label="value"} value`.
fn sample(line: &str, allowed: Names) -> Result<Sample<'_>, &'static str> {
    let (name, labels, rest) = match line.strip_prefix('{') {
        Some(inner) if allowed == Names::Quoted => {
            let (name, rest) = name_before(inner, &[], ":", allowed)?;
            let (labels, rest) = match rest.strip_prefix(',') {
                Some(rest) => labels(rest, allowed)?,
                None => (Labels::new(), rest.strip_prefix('}').ok_or("neither a comma nor a brace")?),
            };
            (name, labels, rest)
        }
        _ => {
            let (name, rest) = name_before(line, &['{', ' '], ":", allowed)?;
            let (labels, rest) = match rest.strip_prefix('{') {
                Some(rest) => labels(rest, allowed)?,
                None => (Labels::new(), rest),
            };
            (name, labels, rest)
        }
    };
    let value = number(rest.strip_prefix(' ').ok_or("no space before the value")?)?;
    Ok(Sample { line, name, labels, value })
}

/// Reads labels up to the closing brace. Returns them and the text after the brace.
fn labels(text: &str, allowed: Names) -> Result<(Labels, &str), &'static str> {
    let mut labels = Labels::new();
    let mut rest = text;
    loop {
        let (name, behind) = name_before(rest, &['=', '"'], "", allowed)?;
        if name.starts_with("__") {
            return Err("a reserved name of a label");
        }
        let (value, behind) = quoted(behind.strip_prefix('=').ok_or("no label")?)?;
        if value.is_empty() {
            return Err("a label without value");
        }
        if labels.iter().any(|(known, _)| *known == name) {
            return Err("a label twice");
        }
        labels.push((name.into_owned(), value));
        if let Some(rest) = behind.strip_prefix('}') {
            return Ok((labels, rest));
        }
        rest = behind.strip_prefix(',').ok_or("neither a comma nor a brace after a label")?;
    }
}

/// Replaces escape sequences. Only the characters in `escaped` may follow a backslash.
fn unescape(text: &str, escaped: &[char]) -> Result<String, &'static str> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some(character) if escaped.contains(&character) => character,
                _ => return Err("a backslash that escapes nothing"),
            },
            _ => character,
        });
    }
    Ok(plain)
}

/// Parses a finite number. Rust's parser also accepts words such as `infinity`, which the format does not allow.
fn number(text: &str) -> Result<f64, &'static str> {
    let is_of_digits = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| is_of_digits && number.is_finite()).ok_or("not a finite number")
}

/// Returns true if a name has only letters, digits, `_` and characters in `others`, and does not begin with a digit.
fn is_name(name: &str, others: &str) -> bool {
    let is_letter =
        |character: char| character.is_ascii_alphabetic() || character == '_' || others.contains(character);
    name.starts_with(is_letter)
        && name.chars().all(|character| is_letter(character) || character.is_ascii_digit())
}

fn without(labels: &Labels, extra: &str) -> Labels {
    labels.iter().filter(|(name, _)| name != extra).cloned().collect()
}

fn sorted(mut labels: Labels) -> Labels {
    labels.sort();
    labels
}
