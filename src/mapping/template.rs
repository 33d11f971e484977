//! Texts with references to the captures of a match: `${1}_total`.

/// A text with references, which are `$name` or `${name}`. A name extends over letters, digits and `_`, so `$1_foo`
/// means `${1_foo}`. A reference to an unknown capture is empty. `$$` means a dollar sign, and a `$` that begins no
/// reference stays one. These are the rules of Go's `regexp.Expand`, which `statsd_exporter` uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The number of a capture.
    Capture(usize),
}

impl Template {
    /// Parses a text. `capture` returns the number of the capture with a name, if it exists. The names of other
    /// references are appended to `unknown`.
    pub(super) fn new(
        text: &str,
        capture: impl Fn(&str) -> Option<usize>,
        unknown: &mut Vec<String>,
    ) -> Self {
        let mut pieces = vec![Piece::Text(String::new())];
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            push(&mut pieces, before);
            if let Some(after) = after.strip_prefix('$') {
                push(&mut pieces, "$");
                rest = after;
            } else if let Some((name, after)) = reference(after) {
                match capture(name) {
                    Some(number) => pieces.push(Piece::Capture(number)),
                    None => unknown.push(name.to_owned()),
                }
                rest = after;
            } else {
                push(&mut pieces, "$");
                rest = after;
            }
        }
        push(&mut pieces, rest);
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Self(pieces)
    }

    /// Returns the text with references replaced. `capture` returns the text of a capture by its number.
    pub(super) fn expand<'a>(&self, capture: impl Fn(usize) -> &'a str) -> String {
        let texts = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Capture(number) => capture(*number),
        });
        texts.collect()
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// Parses a reference after its dollar sign. Returns its name and the text after it.
fn reference(after_dollar: &str) -> Option<(&str, &str)> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let (braced, name) = match after_dollar.strip_prefix('{') {
        Some(name) => (true, name),
        None => (false, after_dollar),
    };
    let (name, rest) = name.split_at(name.find(|character| !is_part(character)).unwrap_or(name.len()));
    let rest = if braced { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand_as_in_go() {
        let of_three = |name: &str| name.parse().ok().filter(|number| (1..=3).contains(number));
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("$1", "a"),
            ("${1}_foo", "a_foo"),
            ("$1_foo", ""),
            ("x$2y", "x"),
            ("$1-$2-$3", "a-b-c"),
            ("$1$1", "aa"),
            ("$4|${9}", "|"),
            ("$$1", "$1"),
            ("a$", "a$"),
            ("${1", "${1"),
            ("$-$1", "$-a"),
            ("$10", ""),
        ];
        for (text, expected) in cases {
            let template = Template::new(text, of_three, &mut Vec::new());
            let expanded = template.expand(|number| ["a", "b", "c"][number - 1]);
            assert_eq!(expanded, expected, "{text}");
        }
    }

    #[test]
    fn references_to_unknown_captures_are_reported() {
        let mut unknown = Vec::new();
        Template::new("$1 ${9} $$2 $1_total $", |name| name.parse().ok().filter(|&n| n == 1), &mut unknown);
        assert_eq!(unknown, ["9", "1_total"]);
    }
}
