//! A plain parser of the protocol, which is the specification for the fast parser.
//!
//! It splits and copies, and shares nothing with tallyd. Its rules are in the order of docs/protocol.md. Its results
//! have the form of `tallyd explain --format json`.

use serde_json::{Value as Json, json};

/// The tag dialects that the parser reads in addition to DogStatsD's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each dialect has its switch")]
pub(crate) struct Dialects {
    /// `name,k=v:1|c`
    pub(crate) influxdb: bool,
    /// `name#k=v:1|c`
    pub(crate) librato: bool,
    /// `name[k=v]:1|c`
    pub(crate) signalfx: bool,
    /// `name;k=v:1|c`
    pub(crate) graphite: bool,
}

impl Default for Dialects {
    fn default() -> Self {
        Self { influxdb: true, librato: true, signalfx: true, graphite: true }
    }
}

impl Dialects {
    /// Returns the bytes that begin tags in a name, except brackets.
    fn delimiters(self) -> Vec<u8> {
        let all = [(b',', self.influxdb), (b'#', self.librato), (b';', self.graphite)];
        all.into_iter().filter(|(_, is_on)| *is_on).map(|(byte, _)| byte).collect()
    }
}

/// Returns the meaning of a line without LF and CR: `{"ok":true,..}`, or `{"ok":false,"reason":..}` without a column.
pub(crate) fn meaning(line: &[u8], dialects: Dialects) -> Json {
    match read(line, dialects) {
        Ok(meaning) => meaning,
        Err(wrong) => json!({"ok": false, "reason": wrong.reason}),
    }
}

/// Returns the column of the error in an invalid line, counted in bytes from 1, if the protocol defines it.
pub(crate) fn column(line: &[u8], dialects: Dialects) -> Option<usize> {
    read(line, dialects).err()?.column
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    reason: &'static str,
    column: Option<usize>,
}

fn wrong(reason: &'static str) -> Wrong {
    Wrong { reason, column: None }
}

fn wrong_at(reason: &'static str, column: usize) -> Wrong {
    Wrong { reason, column: Some(column) }
}

fn read(line: &[u8], dialects: Dialects) -> Result<Json, Wrong> {
    let (mut samples, mut events, mut service_checks) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(rest) = line.strip_prefix(b"_e{") {
        events.push(event(rest).ok_or(wrong("bad_event"))?);
    } else if let Some(rest) = line.strip_prefix(b"_sc|") {
        service_checks.push(service_check(rest).ok_or(wrong("bad_service_check"))?);
    } else {
        samples = metric(line, dialects)?;
    }
    Ok(json!({"ok": true, "samples": samples, "events": events, "service_checks": service_checks}))
}

// ---- Metrics

type Tag = (String, String);

/// A sample without its name.
#[derive(Debug, Clone)]
struct Sample {
    kind: &'static str,
    value: Json,
    delta: bool,
    rate: f64,
    /// The tags of the `#` sections.
    tags: Vec<Tag>,
    timestamp: Option<u64>,
    container_id: Option<String>,
    external_data: Option<String>,
    cardinality: Option<String>,
}

fn metric(line: &[u8], dialects: Dialects) -> Result<Vec<Json>, Wrong> {
    let end = end_of_name(line, dialects);
    let name = name_and_tags(&line[..end], dialects);
    if name.pieces.concat().is_empty() {
        return Err(wrong_at("empty_name", 1));
    }
    let mut text = String::new();
    for piece in &name.pieces {
        text += &clean(piece).ok_or(wrong("bad_name"))?;
    }

    let samples = match packed(&line[end..], end) {
        // The rate of a gauge or a set is not read, so it may hide fields of the legacy syntax. They count only if all
        // their rates are valid.
        Ok(samples) if matches!(samples[0].kind, "g" | "s") => legacy(&line[end..], true).unwrap_or(samples),
        Ok(samples) => samples,
        Err(wrong) => legacy(&line[end..], false).ok_or(wrong)?,
    };
    let has_section_tags = samples.iter().any(|sample| !sample.tags.is_empty());
    if name.is_mixed || (has_section_tags && !name.tags.is_empty()) {
        return Err(wrong("mixed_tags"));
    }
    Ok(samples.into_iter().map(|sample| describe(&text, &name.tags, sample)).collect())
}

fn describe(name: &str, name_tags: &[Tag], sample: Sample) -> Json {
    let mut tags = name_tags.to_vec();
    tags.extend(sample.tags);
    tags.sort();
    let mut json = json!({
        "name": name,
        "type": sample.kind,
        "value": sample.value,
        "delta": sample.delta,
        "rate": sample.rate,
        "tags": tags,
        "timestamp": sample.timestamp,
    });
    let optional = [
        ("container_id", sample.container_id),
        ("external_data", sample.external_data),
        ("cardinality", sample.cardinality),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            json[key] = json!(value);
        }
    }
    json
}

/// Returns the position of the first `:` or `|` outside brackets.
fn end_of_name(line: &[u8], dialects: Dialects) -> usize {
    let before_bar = split(line, b'|')[0].clone();
    let pair = if dialects.signalfx { brackets(&before_bar) } else { None };
    for (at, byte) in line.iter().enumerate() {
        let is_between = pair.is_some_and(|(open, close)| open < at && at < close);
        if !is_between && (*byte == b':' || *byte == b'|') {
            return at;
        }
    }
    line.len()
}

/// Returns the positions of the first `[` and of the first `]` after it.
fn brackets(text: &[u8]) -> Option<(usize, usize)> {
    let open = text.iter().position(|byte| *byte == b'[')?;
    let close = text[open..].iter().position(|byte| *byte == b']')?;
    Some((open, open + close))
}

struct Name {
    /// The name without tags: the pieces before and after brackets. Each piece must be valid UTF-8 by itself.
    pieces: Vec<Vec<u8>>,
    tags: Vec<Tag>,
    /// True if the name has tags of two dialects.
    is_mixed: bool,
}

fn name_and_tags(name: &[u8], dialects: Dialects) -> Name {
    let delimiters = dialects.delimiters();
    if dialects.signalfx
        && let Some((open, close)) = brackets(name)
    {
        let pieces = vec![name[..open].to_vec(), name[close + 1..].to_vec()];
        let is_mixed = pieces.concat().iter().any(|byte| delimiters.contains(byte));
        return Name { pieces, tags: tags(&name[open + 1..close], b',', b'='), is_mixed };
    }
    match name.iter().position(|byte| delimiters.contains(byte)) {
        None => Name { pieces: vec![name.to_vec()], tags: Vec::new(), is_mixed: false },
        Some(at) => {
            let separator = if name[at] == b';' { b';' } else { b',' };
            let tags = tags(&name[at + 1..], separator, b'=');
            Name { pieces: vec![name[..at].to_vec()], tags, is_mixed: false }
        }
    }
}

/// Reads `:value:value|type|section|section`, which begins `start` bytes after the start of the line.
fn packed(rest: &[u8], start: usize) -> Result<Vec<Sample>, Wrong> {
    if rest.is_empty() {
        return Err(wrong("missing_type"));
    }
    let Some(rest) = rest.strip_prefix(b":") else {
        return Err(wrong("bad_value"));
    };
    let Some((values, rest)) = split_once(rest, b'|') else {
        return Err(wrong("missing_type"));
    };
    let column_of_values = start + 2;
    let column_of_type = column_of_values + values.len() + 1;

    // The type ends at `|`, or at the `@` of a rate that lacks its `|`.
    let end = rest.iter().position(|byte| *byte == b'|' || *byte == b'@').unwrap_or(rest.len());
    let kind = rest[..end].to_vec();
    if kind.is_empty() {
        return Err(wrong("missing_type"));
    }
    let Some(counts_as) = counts_as(&kind) else {
        return Err(wrong_at("unknown_type", column_of_type));
    };
    let mut sections = split(&rest[end..], b'|');
    if sections[0].is_empty() {
        sections.remove(0);
    }

    let mut samples = Vec::new();
    let mut column = column_of_values;
    let texts = if counts_as == "s" { vec![values] } else { split(&values, b':') };
    for text in texts {
        if !text.is_empty() {
            samples.push(sample(&kind, &text).ok_or(wrong_at("bad_value", column))?);
        }
        column += text.len() + 1;
    }
    if samples.is_empty() {
        return Err(wrong("bad_value"));
    }
    for section in sections {
        for sample in &mut samples {
            add(sample, &section)?;
        }
    }
    for sample in &mut samples {
        sample.container_id = sample.container_id.take().filter(|id| !id.is_empty());
        sample.external_data = sample.external_data.take().filter(|data| !data.is_empty());
    }
    Ok(samples)
}

/// Reads the legacy syntax `:value|type|@rate:value|type`, with at least two fields.
fn legacy(rest: &[u8], all_rates_are_read: bool) -> Option<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut rest = rest.to_vec();
    while !rest.is_empty() {
        // The value ends at its `|`, so that a member of a set may contain colons. The rest of a field contains none.
        let (value, after) = split_once(rest.strip_prefix(b":")?, b'|')?;
        let end = after.iter().position(|byte| *byte == b':').unwrap_or(after.len());
        let parts = split(&after[..end], b'|');
        let mut sample = sample(&parts[0], &value)?;
        match &parts[1..] {
            [] => {}
            [rate] if rate.starts_with(b"@") => {
                if all_rates_are_read {
                    self::rate(&rate[1..])?;
                }
                add(&mut sample, rate).ok()?;
            }
            _ => return None,
        }
        samples.push(sample);
        rest = after[end..].to_vec();
    }
    if samples.len() < 2 { None } else { Some(samples) }
}

/// Returns the type that tallyd gives to samples of a wire type.
fn counts_as(kind: &[u8]) -> Option<&'static str> {
    match kind {
        b"c" | b"m" => Some("c"),
        b"g" | b"kv" => Some("g"),
        b"ms" => Some("ms"),
        b"h" => Some("h"),
        b"d" => Some("d"),
        b"s" => Some("s"),
        _ => None,
    }
}

/// Returns the sample of a value and its wire type, or `None` if either is invalid.
fn sample(kind: &[u8], value: &[u8]) -> Option<Sample> {
    let counts_as = counts_as(kind)?;
    let json = match counts_as {
        "s" if value.is_empty() => return None,
        "s" => json!(lossy(value)),
        _ => json!(number(value)?),
    };
    Some(Sample {
        kind: counts_as,
        value: json,
        delta: kind == b"g" && (value.starts_with(b"+") || value.starts_with(b"-")),
        rate: 1.0,
        tags: Vec::new(),
        timestamp: None,
        container_id: None,
        external_data: None,
        cardinality: None,
    })
}

/// Applies a section to a sample.
fn add(sample: &mut Sample, section: &[u8]) -> Result<(), Wrong> {
    if let Some(text) = section.strip_prefix(b"@") {
        if sample.kind != "g" && sample.kind != "s" {
            sample.rate = rate(text).ok_or(wrong("bad_rate"))?;
        }
    } else if let Some(text) = section.strip_prefix(b"#") {
        sample.tags.extend(dogstatsd_tags(text));
    } else if let Some(text) = section.strip_prefix(b"T") {
        if sample.kind == "c" || sample.kind == "g" {
            sample.timestamp = seconds(text).or(sample.timestamp);
        }
    } else if let Some(text) = section.strip_prefix(b"c:") {
        sample.container_id = Some(lossy(text));
    } else if let Some(text) = section.strip_prefix(b"e:") {
        sample.external_data = Some(lossy(text));
    } else if let Some(text) = section.strip_prefix(b"card:")
        && [&b"none"[..], b"low", b"orchestrator", b"high"].contains(&text)
    {
        sample.cardinality = Some(lossy(text));
    }
    Ok(())
}

// ---- Events and service checks

/// Reads `title-length,text-length}:title|text|field|field`.
fn event(rest: &[u8]) -> Option<Json> {
    let (lengths, rest) = split_once(rest, b'}')?;
    let rest = rest.strip_prefix(b":")?.to_vec();
    let (title_length, text_length) = split_once(&lengths, b',')?;
    let lengths = (digits(&title_length)?, digits(&text_length)?);
    if lengths.0 == 0 {
        return None;
    }
    let in_bytes = split_event(&rest, lengths, |text| Some(text.len()));
    let (title, text, fields) = if let Some(parts) = in_bytes {
        parts
    } else {
        let in_characters =
            split_event(&rest, lengths, |text| Some(std::str::from_utf8(text).ok()?.chars().count()));
        let in_utf16 =
            split_event(&rest, lengths, |text| Some(std::str::from_utf8(text).ok()?.encode_utf16().count()));
        in_characters.or(in_utf16)?
    };

    let mut event = json!({
        "title": unescape(&title),
        "text": unescape(&text),
        "timestamp": null,
        "hostname": null,
        "priority": "normal",
        "alert_type": "info",
        "aggregation_key": null,
        "source_type": null,
    });
    let mut all_tags = Vec::new();
    for field in fields {
        if let Some(text) = field.strip_prefix(b"d:") {
            if let Some(seconds) = seconds(text) {
                event["timestamp"] = json!(seconds);
            }
        } else if let Some(text) = field.strip_prefix(b"h:") {
            event["hostname"] = json!(lossy(text));
        } else if let Some(text) = field.strip_prefix(b"k:") {
            event["aggregation_key"] = json!(lossy(text));
        } else if let Some(text) = field.strip_prefix(b"s:") {
            event["source_type"] = json!(lossy(text));
        } else if let Some(text) = field.strip_prefix(b"p:") {
            if [&b"normal"[..], b"low"].contains(&text) {
                event["priority"] = json!(lossy(text));
            }
        } else if let Some(text) = field.strip_prefix(b"t:") {
            if [&b"error"[..], b"warning", b"info", b"success"].contains(&text) {
                event["alert_type"] = json!(lossy(text));
            }
        } else if let Some(text) = field.strip_prefix(b"#") {
            all_tags.extend(dogstatsd_tags(text));
        }
    }
    all_tags.sort();
    event["tags"] = json!(all_tags);
    Some(event)
}

/// Splits `title|text|field|field` at the first bars that give the title and the text these lengths, as `measure`
/// counts them.
fn split_event(
    rest: &[u8],
    lengths: (u64, u64),
    measure: impl Fn(&[u8]) -> Option<usize>,
) -> Option<(Vec<u8>, Vec<u8>, Vec<Vec<u8>>)> {
    let is_long = |text: &[u8], length: u64| measure(text).is_some_and(|measured| measured as u64 == length);
    for title_end in places(rest, b'|') {
        let (title, after) = (&rest[..title_end], &rest[title_end + 1..]);
        if !is_long(title, lengths.0) {
            continue;
        }
        for text_end in places(after, b'|') {
            if is_long(&after[..text_end], lengths.1) {
                let fields = split(&after[text_end + 1..], b'|');
                return Some((title.to_vec(), after[..text_end].to_vec(), fields));
            }
        }
        if is_long(after, lengths.1) {
            return Some((title.to_vec(), after.to_vec(), Vec::new()));
        }
    }
    None
}

/// Reads `name|status|field|field`.
fn service_check(rest: &[u8]) -> Option<Json> {
    let parts = split(rest, b'|');
    let name = clean(&parts[0]).filter(|name| !name.is_empty())?;
    let status = match &parts.get(1)?[..] {
        b"0" => 0,
        b"1" => 1,
        b"2" => 2,
        b"3" => 3,
        _ => return None,
    };
    let mut check =
        json!({"name": name, "status": status, "timestamp": null, "hostname": null, "message": null});
    let mut all_tags = Vec::new();
    for field in &parts[2..] {
        if let Some(text) = field.strip_prefix(b"d:") {
            if let Some(seconds) = seconds(text) {
                check["timestamp"] = json!(seconds);
            }
        } else if let Some(text) = field.strip_prefix(b"h:") {
            check["hostname"] = json!(lossy(text));
        } else if let Some(text) = field.strip_prefix(b"m:") {
            check["message"] = json!(unescape(text));
        } else if let Some(text) = field.strip_prefix(b"#") {
            all_tags.extend(dogstatsd_tags(text));
        }
    }
    all_tags.sort();
    check["tags"] = json!(all_tags);
    Some(check)
}

// ---- Tags, numbers and text

/// Reads the tags of a `#` section. Some clients write a `#` before each tag.
fn dogstatsd_tags(text: &[u8]) -> Vec<Tag> {
    let without: Vec<_> = split(text, b',')
        .into_iter()
        .map(|tag| tag.strip_prefix(b"#").map(<[u8]>::to_vec).unwrap_or(tag))
        .collect();
    tags(&without.join(&b','), b',', b':')
}

fn tags(text: &[u8], separator: u8, equals: u8) -> Vec<Tag> {
    let mut tags = Vec::new();
    for tag in split(text, separator) {
        if tag.is_empty() {
            continue;
        }
        let (key, value) = split_once(&tag, equals).unwrap_or((tag, Vec::new()));
        if !key.is_empty() {
            tags.push((lossy(&key), lossy(&value)));
        }
    }
    tags
}

/// Reads a finite number: an optional sign, digits with at most one point, and an optional exponent.
fn number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (unsigned, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || !all_digits(exponent) {
        return None;
    }
    if (whole.is_empty() && fraction.is_empty()) || exponent.is_empty() {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Reads a number from 1e-9 to 1.
fn rate(text: &[u8]) -> Option<f64> {
    number(text).filter(|rate| *rate >= 1e-9 && *rate <= 1.0)
}

/// Reads digits that fit into a `u64`.
fn digits(text: &[u8]) -> Option<u64> {
    if text.iter().all(u8::is_ascii_digit) { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// Reads Unix seconds above 0.
fn seconds(text: &[u8]) -> Option<u64> {
    digits(text).filter(|seconds| *seconds > 0)
}

/// Returns the text if it is UTF-8 without control bytes.
fn clean(text: &[u8]) -> Option<String> {
    let has_control = text.iter().any(|byte| *byte < 0x20 || *byte == 0x7f);
    if has_control { None } else { String::from_utf8(text.to_vec()).ok() }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Replaces a backslash and an `n` with a line feed, as titles, texts and messages need.
fn unescape(text: &[u8]) -> String {
    lossy(text).replace("\\n", "\n")
}

fn places(text: &[u8], of: u8) -> Vec<usize> {
    (0..text.len()).filter(|at| text[*at] == of).collect()
}

/// Splits a text into at least one part. Parts may be empty.
fn split(text: &[u8], separator: u8) -> Vec<Vec<u8>> {
    text.split(|byte| *byte == separator).map(<[u8]>::to_vec).collect()
}

fn split_once(text: &[u8], separator: u8) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((text[..at].to_vec(), text[at + 1..].to_vec()))
}
