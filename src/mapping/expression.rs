//! Compiles the regular expressions of rules. Their syntax is Go's, because `statsd_exporter` is written in Go.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex_automata::PatternID;
use regex_automata::meta::Regex;

use super::pattern_error;

/// The most memory that the lazy automaton of one expression may take while it searches, in bytes. With the default of
/// 2 MiB, many expressions could take gigabytes.
const CACHE: usize = 128 << 10;

/// A compiled regular expression. It matches anywhere in a name.
#[derive(Debug)]
pub(super) struct Expression(Regex);

/// The reason why an expression was not compiled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CompileError {
    /// The pattern is wrong. The text says why.
    Syntax(String),
    /// The expression would take more memory than its limit.
    TooLarge,
}

impl Expression {
    /// Compiles a pattern that may take `memory` bytes.
    pub(super) fn compile(pattern: &str, memory: usize) -> Result<Self, CompileError> {
        let translated = translate(pattern).map_err(CompileError::Syntax)?;
        let config = Regex::config().nfa_size_limit(Some(memory)).hybrid_cache_capacity(CACHE);
        let compiled = Regex::builder().configure(config).build(&translated);
        let expression = Self(compiled.map_err(|error| match error.size_limit() {
            Some(_) => CompileError::TooLarge,
            None => CompileError::Syntax(pattern_error::problem(pattern, &error)),
        })?);
        if expression.memory() > memory { Err(CompileError::TooLarge) } else { Ok(expression) }
    }

    /// Returns the memory that the expression takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.0.memory_usage()
    }

    /// Returns the number of the group that `name` refers to by number or by name.
    pub(super) fn group_number(&self, name: &str) -> Option<usize> {
        match name.parse() {
            Ok(number) => (number < self.0.captures_len()).then_some(number),
            Err(_) => self.0.group_info().to_index(PatternID::ZERO, name),
        }
    }

    /// Returns the texts of all groups by number, if the expression matches. The first is the whole match. A group that
    /// takes no part in the match is empty.
    pub(super) fn captures<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let mut captures = self.0.create_captures();
        self.0.captures(name, &mut captures);
        let texts = captures.iter().map(|group| group.map_or("", |group| &name[group.range()]));
        captures.is_match().then(|| texts.collect())
    }
}

/// Translates a pattern from Go's syntax to that of the crate regex. They differ in these points:
///
/// | Go | crate regex |
/// |---|---|
/// | `\w`, `\d`, `\s`, `\b` and their opposites are ASCII | they are Unicode, which takes a hundred times the memory |
/// | `{` is literal unless it begins a repetition, such as `{2}`, `{2,}` or `{2,3}` | it is an error |
/// | `\Q...\E` is literal text | it is an error |
/// | in brackets, `[` is literal, as are `&&`, `--`, `~~`, and a `-` after a class | they are operators or errors |
/// | a backslash before any punctuation makes it literal | `\<` and `\>` are boundaries of words |
/// | `\123` is an octal code | it is an error |
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => push_escape(&mut out, &mut rest),
            '[' => push_class(&mut out, &mut rest)?,
            '{' if !is_repetition(&rest) => out.push_str("\\{"),
            '{' => {
                out.push('{');
                out.extend(rest.by_ref().take_while(|&character| character != '}'));
                out.push('}');
            }
            '}' | ']' => push_literal(&mut out, character),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Returns true if the text after `{` is `n}`, `n,}` or `n,m}`.
fn is_repetition(rest: &Peekable<Chars<'_>>) -> bool {
    let bounds: String = rest.clone().take_while(|&character| character != '}').collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|character| character.is_ascii_digit());
    let (least, most) = bounds.split_once(',').unwrap_or((&bounds, ""));
    is_number(least) && (most.is_empty() || is_number(most)) && rest.clone().any(|character| character == '}')
}

/// Appends a character that stands for itself. Punctuation becomes a code, so it has no other meaning.
fn push_literal(out: &mut String, character: char) {
    if character.is_ascii() && !character.is_ascii_alphanumeric() {
        // Writing to a string cannot fail.
        _ = write!(out, "\\x{:02X}", u32::from(character));
    } else {
        out.push(character);
    }
}

/// Returns the content of the brackets of an ASCII class, and whether the class is negated.
fn ascii_class(letter: char) -> Option<(&'static str, bool)> {
    let class = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        's' => r"\t\n\f\r\x20",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((class, letter.is_ascii_uppercase()))
}

fn push_ascii_class(out: &mut String, (class, is_negated): (&str, bool)) {
    out.push_str(if is_negated { "[^" } else { "[" });
    out.push_str(class);
    out.push(']');
}

/// Appends an escape outside of brackets. Its backslash has been read.
fn push_escape(out: &mut String, rest: &mut Peekable<Chars<'_>>) {
    match rest.peek().copied() {
        Some('Q') => {
            rest.next();
            while let Some(character) = rest.next() {
                if character == '\\' && rest.peek() == Some(&'E') {
                    rest.next();
                    return;
                }
                push_literal(out, character);
            }
        }
        Some(letter @ ('b' | 'B')) => {
            rest.next();
            _ = write!(out, "(?-u:\\{letter})");
        }
        Some(letter) if ascii_class(letter).is_some() => {
            rest.next();
            ascii_class(letter).into_iter().for_each(|class| push_ascii_class(out, class));
        }
        _ => push_character(out, rest),
    }
}

/// Appends an escape that stands for one character, or for a Unicode class. Its backslash has been read.
fn push_character(out: &mut String, rest: &mut Peekable<Chars<'_>>) {
    match rest.next() {
        Some(digit @ '0'..='7') => {
            let mut code = digit.to_digit(8).unwrap_or_default();
            let mut digits = 1;
            while let Some(next) = rest.peek().and_then(|next| next.to_digit(8)).filter(|_| digits < 3) {
                code = code * 8 + next;
                digits += 1;
                rest.next();
            }
            if digits == 1 && code > 0 {
                // This is a reference to an earlier group, which neither Go nor tallyd has. The parser refuses it.
                _ = write!(out, "\\{code}");
            } else {
                _ = write!(out, "\\x{{{code:X}}}");
            }
        }
        Some(letter @ ('p' | 'P' | 'x')) => {
            out.push('\\');
            out.push(letter);
            if rest.peek() == Some(&'{') {
                let mut is_open = true;
                while let Some(character) = rest.next_if(|_| is_open) {
                    out.push(character);
                    is_open = character != '}';
                }
            }
        }
        Some(letter) if letter.is_ascii_alphanumeric() => out.extend(['\\', letter]),
        Some(other) => push_literal(out, other),
        None => out.push('\\'),
    }
}

/// Appends a class in brackets. Its opening bracket has been read.
fn push_class(out: &mut String, rest: &mut Peekable<Chars<'_>>) -> Result<(), String> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut is_first = true;
    loop {
        match rest.next() {
            None => return Err("a \"[\" has no closing \"]\"; write \\[ for the character itself".to_owned()),
            Some(']') if !is_first => {
                out.push(']');
                return Ok(());
            }
            Some('[') if rest.peek() == Some(&':') && has_name(rest.clone()) => {
                out.push('[');
                out.extend(rest.by_ref().take_while(|&character| character != ']'));
                out.push(']');
            }
            Some('\\') if rest.peek().is_some_and(|&letter| ascii_class(letter).is_some()) => {
                let class = rest.next().and_then(ascii_class);
                class.into_iter().for_each(|class| push_ascii_class(out, class));
            }
            Some('\\') if rest.peek().is_some_and(|letter| matches!(letter, 'p' | 'P')) => {
                push_character(out, rest);
            }
            Some(character) => {
                push_class_character(out, character, rest);
                let mut ahead = rest.clone();
                // A "-" is a range only between two characters.
                if ahead.next() == Some('-')
                    && let Some(&end) = ahead.peek()
                    && end != ']'
                {
                    rest.next();
                    rest.next();
                    out.push('-');
                    push_class_character(out, end, rest);
                }
            }
        }
        is_first = false;
    }
}

/// Appends one character of a class, which may be an escape. Its first character has been read.
fn push_class_character(out: &mut String, character: char, rest: &mut Peekable<Chars<'_>>) {
    if character == '\\' { push_character(out, rest) } else { push_literal(out, character) }
}

/// Returns true if the text after `[` is the name of an ASCII class: `:alpha:]`.
fn has_name(rest: Peekable<Chars<'_>>) -> bool {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    let name: String = rest.take_while(|&character| character != ']').collect();
    let name = name.strip_prefix(':').and_then(|name| name.strip_suffix(':'));
    name.is_some_and(|name| NAMES.contains(&name.strip_prefix('^').unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the text that the whole pattern matches, or the error.
    fn matched<'a>(pattern: &str, name: &'a str) -> Result<Option<&'a str>, CompileError> {
        let expression = Expression::compile(pattern, 64 << 20)?;
        Ok(expression.captures(name).map(|groups| groups[0]))
    }

    /// Go's own regexp gave these results.
    #[test]
    fn patterns_mean_the_same_as_in_go() {
        #[rustfmt::skip]
        let cases = [
            (r"^(\w{1,255})\.count$", "api_1.count", Some("api_1.count")),
            (r"^([\w.-]{1,250})\.x$", "a-b.c.x", Some("a-b.c.x")),
            (r"[\w-.]+", "/a-b.c/", Some("a-b.c")),
            (r"[\w-]+", "/a-b.c/", Some("a-b")),
            (r"[a-c-e]+", "xb-e", Some("b-e")),
            (r"[--/]+", "a-./", Some("-./")),
            (r"foo{bar}", "foo{bar}", Some("foo{bar}")),
            (r"fo{2}", "foo", Some("foo")),
            (r"fo{1,}", "foo", Some("foo")),
            (r"fo{,2}", "fo{,2}", Some("fo{,2}")),
            (r"fo{", "fo{", Some("fo{")),
            (r"\Qa.b\E.", "a.bc", Some("a.bc")),
            (r"\Qa.b\E.", "axbc", None),
            (r"\Qa+", "a+", Some("a+")),
            (r"[^[]+", "[ab[", Some("ab")),
            (r"[]a]+", "x]a", Some("]a")),
            (r"[^]a]+", "]xa", Some("x")),
            (r"[a&&b]+", "&b", Some("&b")),
            (r"[a~~b]+", "~b", Some("~b")),
            (r"[[:alpha:].]+", "1a.b", Some("a.b")),
            (r"[[:^alpha:]]+", "a12", Some("12")),
            (r"[\W]+", "a.-b", Some(".-")),
            (r"[^\W]+", ".ab", Some("ab")),
            (r"\w+", "é", None),
            (r"\d", "٣", None),
            (r"\s", "\u{a0}", None),
            (r"é\b", "é", None),
            (r"a\b", "aé", Some("a")),
            (r"[\d\-]+", "x1-2", Some("1-2")),
            (r"\<a\>", "<a>", Some("<a>")),
            (r"\_\-\/", "_-/", Some("_-/")),
            (r"\101\x42\x{43}", "ABC", Some("ABC")),
            (r"[\101-\103]+", "xABCD", Some("ABC")),
            (r"\pL\p{Greek}", "aλ", Some("aλ")),
            (r"[\p{Greek}\pN]+", "λ1", Some("λ1")),
            (r"(?i)AbC", "abc", Some("abc")),
            (r"(?P<x>a)|(?P<y>b)", "b", Some("b")),
            (r"a]b}", "a]b}", Some("a]b}")),
            (r".", "é", Some("é")),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matched(pattern, name), Ok(expected), "{pattern} {name}");
        }
    }

    /// Each row holds a pattern and the error.
    #[test]
    fn errors_use_the_words_of_the_pattern_and_show_the_part() {
        #[rustfmt::skip]
        let cases = [
            (r"(\w+", r#"a "(" has no closing ")"; write \( for the character itself, at "(""#),
            (r"a)", r#"a ")" has no opening "("; write \) for the character itself, at ")""#),
            (r"*a", "nothing stands before a repetition; write a backslash before the character itself"),
            (r"a{3,2}", r#"the first number of a repetition exceeds the second, at "{3,2}""#),
            (r"a(?=b)", r#"Go and tallyd have no look-around; leave it out, at "(?=""#),
            (r"(a)\1", r#"Go and tallyd have no references to earlier groups; leave it out, at "\1""#),
            (r"[a", r#"a "[" has no closing "]"; write \[ for the character itself"#),
            (r"[b-a]", r#"the end of a range precedes its start, at "b-a""#),
            (r"[a-\d]", r#"a range must begin and end with a character; write \- for the character itself, at "\d""#),
            (r"a\", r#"the pattern ends in a backslash; write \\ for the character itself, at "\""#),
            (r"\8", r#"Go and tallyd have no references to earlier groups; leave it out, at "\8""#),
            (r"\y", r#"there is no such escape; leave the backslash out, at "\y""#),
            (r"\x{}", r#"not the code of a character; write one such as \x41 or \x{1F600}, at "{}""#),
            (r"(?x-)", r#"wrong flags; write some such as (?i), (?s) or (?i:...), at "-""#),
            (r"(?P<a>.)(?P<a>.)", r#"two groups have the same name; rename one of them, at "a""#),
            (r"(?P<a b>.)", r#"wrong name of a group; write one such as (?P<name>...), with letters, digits and "_", at " ""#),
            (r"\p{None}", r#"there is no such class of characters; write one such as \pL or \p{Greek}, at "\p{None}""#),
            // The braces are legal in Go, so they are not what is wrong.
            (r"fo{ (", r#"a "(" has no closing ")"; write \( for the character itself"#),
        ];
        let failures = cases.into_iter().filter_map(|(pattern, expected)| {
            let error = Expression::compile(pattern, 64 << 20).expect_err(pattern);
            (error != CompileError::Syntax(expected.to_owned()))
                .then(|| format!("{pattern} gives {error:?}\nnot {expected}"))
        });
        let failures: Vec<_> = failures.collect();
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    }

    #[test]
    fn ascii_classes_take_little_memory() {
        let memory = |pattern| Expression::compile(pattern, 64 << 20).unwrap().memory();
        let large = memory(r"^(\w{1,255})\.count$");
        assert!(large < 200_000, "{large}");
        let small = memory(r"^app\.(\w+)\.(\w+)\.count$");
        assert!(small < 30_000, "{small}");
        assert_eq!(Expression::compile(r"\p{L}{1,1000}", 1 << 20).unwrap_err(), CompileError::TooLarge);
    }

    #[test]
    fn a_group_without_part_in_the_match_is_empty() {
        let expression = Expression::compile("(a)|(?P<other>b)", 1 << 20).unwrap();
        assert_eq!(expression.captures("b"), Some(vec!["b", "", "b"]));
        assert_eq!(expression.captures("c"), None);
        let numbers = ["0", "2", "3", "other", "x"].map(|name| expression.group_number(name));
        assert_eq!(numbers, [Some(0), Some(2), None, Some(2), None]);
    }
}
