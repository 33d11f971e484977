//! Texts with references to what a match captured: `${1}_total`.

/// A reference is `$name` or `${name}`; a name is as long as letters, digits and `_` go, so `$1_foo` means `${1_foo}`. A
/// reference to what was not captured is empty. `$$` is a dollar sign, and so is one that begins no reference. (As Go's
/// `regexp.Expand` has it, which `statsd_exporter` uses.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The number of a capture.
    Capture(usize),
}

impl Template {
    /// `capture` finds the number of a capture by its name.
    pub(super) fn new(text: &str, capture: impl Fn(&str) -> Option<usize>) -> Self {
        let mut pieces = vec![Piece::Text(String::new())];
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            push(&mut pieces, before);
            if let Some(behind) = behind.strip_prefix('$') {
                push(&mut pieces, "$");
                rest = behind;
            } else if let Some((name, behind)) = reference(behind) {
                pieces.extend(capture(name).map(Piece::Capture));
                rest = behind;
            } else {
                push(&mut pieces, "$");
                rest = behind;
            }
        }
        push(&mut pieces, rest);
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Self(pieces)
    }

    /// The text, with `capture` in place of each reference.
    pub(super) fn fill<'a>(&self, capture: impl Fn(usize) -> &'a str) -> String {
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

/// The name of a reference behind its dollar sign, and what follows.
fn reference(behind: &str) -> Option<(&str, &str)> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let (braced, name) = match behind.strip_prefix('{') {
        Some(behind) => (true, behind),
        None => (false, behind),
    };
    let (name, rest) = name.split_at(name.find(|character| !is_part(character)).unwrap_or(name.len()));
    let rest = if braced { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_as_go_has_them() {
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
            let filled = Template::new(text, of_three).fill(|number| ["a", "b", "c"][number - 1]);
            assert_eq!(filled, expected, "{text}");
        }
    }
}
