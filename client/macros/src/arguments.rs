//! The arguments of the attribute.

use std::collections::HashSet;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, Lit, LitStr, Path, Token, parenthesized, parse_quote};

/// The arguments of `#[timed(…)]`. Each is given at most once.
pub(crate) struct Arguments {
    pub(crate) metric_name: Option<LitStr>,
    pub(crate) component: Option<LitStr>,
    pub(crate) tags: Vec<(LitStr, LitStr)>,
    /// Above 0 and at most 1.
    pub(crate) sample_rate: f64,
    pub(crate) outcome: bool,
    /// The path of the crate `tallyd-client`.
    pub(crate) crate_path: Path,
}

const EXPECTED_ARGUMENT: &str = "metric_name = \"…\", component = \"…\", tags(key = \"value\"), sample_rate = 0.1, \
                                 outcome or crate = \"…\"";

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut arguments = Self {
            metric_name: None,
            component: None,
            tags: Vec::new(),
            sample_rate: 1.0,
            outcome: false,
            crate_path: parse_quote!(::tallyd_client),
        };
        let mut names = UniqueNames::default();
        parse_list(input, || {
            let name =
                input.call(Ident::parse_any).map_err(|error| expected(EXPECTED_ARGUMENT, error.span()))?;
            let (name, span) = (name.unraw().to_string(), name.span());
            match name.as_str() {
                "metric_name" => arguments.metric_name = Some(parse_after_equals(input, parse_text)?),
                "component" => arguments.component = Some(parse_after_equals(input, parse_text)?),
                "tags" => arguments.tags = parse_tags(input)?,
                "sample_rate" => arguments.sample_rate = parse_after_equals(input, parse_rate)?,
                "outcome" => arguments.outcome = true,
                "crate" => arguments.crate_path = parse_after_equals(input, parse_path)?,
                _ => {
                    let problem = format!("unknown argument `{name}`; expected {EXPECTED_ARGUMENT}");
                    return Err(Error::new(span, problem));
                }
            }
            names.add(name, span)
        })?;
        // The argument `outcome` adds a tag with this key.
        let outcome_tag = arguments.tags.iter().map(|(key, _)| key).find(|key| key.value() == "outcome");
        match outcome_tag.filter(|_| arguments.outcome) {
            None => Ok(arguments),
            Some(key) => Err(given_twice("outcome", key.span())),
        }
    }
}

/// Refuses duplicate names.
#[derive(Default)]
struct UniqueNames(HashSet<String>);

impl UniqueNames {
    fn add(&mut self, name: String, span: Span) -> syn::Result<()> {
        match self.0.replace(name) {
            None => Ok(()),
            Some(name) => Err(given_twice(&name, span)),
        }
    }
}

fn given_twice(name: &str, span: Span) -> Error {
    Error::new(span, format!("`{name}` is given twice; remove one of the two"))
}

fn parse_list(input: ParseStream<'_>, mut parse_item: impl FnMut() -> syn::Result<()>) -> syn::Result<()> {
    while !input.is_empty() {
        parse_item()?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(())
}

fn parse_after_equals<T>(
    input: ParseStream<'_>,
    parse: impl FnOnce(ParseStream<'_>) -> syn::Result<T>,
) -> syn::Result<T> {
    input.parse::<Token![=]>()?;
    parse(input)
}

fn parse_tags(input: ParseStream<'_>) -> syn::Result<Vec<(LitStr, LitStr)>> {
    let input = &{
        let content;
        parenthesized!(content in input);
        content
    };
    let mut tags = Vec::new();
    let mut keys = UniqueNames::default();
    parse_list(input, || {
        let key = parse_key(input)?;
        keys.add(key.value(), key.span())?;
        tags.push((key, parse_after_equals(input, parse_text)?));
        Ok(())
    })?;
    Ok(tags)
}

/// Parses a key with or without quotes.
fn parse_key(input: ParseStream<'_>) -> syn::Result<LitStr> {
    if input.peek(Lit) {
        return parse_text(input);
    }
    let word = input.call(Ident::parse_any)?;
    Ok(LitStr::new(&word.unraw().to_string(), word.span()))
}

fn parse_text(input: ParseStream<'_>) -> syn::Result<LitStr> {
    parse_literal(input, "non-empty text in quotes", |literal| match literal {
        Lit::Str(text) if !text.value().is_empty() => Some(text),
        _ => None,
    })
}

fn parse_rate(input: ParseStream<'_>) -> syn::Result<f64> {
    parse_literal(input, "a number above 0 and at most 1, such as 0.1", |literal| {
        let rate: f64 = match literal {
            Lit::Float(number) => number.base10_parse().ok()?,
            Lit::Int(number) => number.base10_parse().ok()?,
            _ => return None,
        };
        (rate > 0.0 && rate <= 1.0).then_some(rate)
    })
}

fn parse_path(input: ParseStream<'_>) -> syn::Result<Path> {
    let text = parse_text(input)?;
    text.parse_with(Path::parse_mod_style)
        .map_err(|_| expected("a path, such as \"crate::metrics::tallyd_client\"", text.span()))
}

/// Parses a literal and converts it. Otherwise, the error describes the expected literal.
fn parse_literal<T>(
    input: ParseStream<'_>,
    what: &str,
    convert: impl FnOnce(Lit) -> Option<T>,
) -> syn::Result<T> {
    let literal: Lit = input.parse().map_err(|error: Error| expected(what, error.span()))?;
    let span = literal.span();
    convert(literal).ok_or_else(|| expected(what, span))
}

fn expected(what: &str, span: Span) -> Error {
    Error::new(span, format!("expected {what}"))
}
