//! What stands in the parentheses of the attribute.

use std::collections::HashSet;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, Lit, LitStr, Path, Token, parenthesized, parse_quote};

/// What was said, and nothing twice.
pub(crate) struct Arguments {
    pub(crate) metric_name: Option<LitStr>,
    pub(crate) component: Option<LitStr>,
    pub(crate) tags: Vec<(LitStr, LitStr)>,
    /// Above 0 and up to 1.
    pub(crate) sample_rate: f64,
    pub(crate) outcome: bool,
    /// Where the crate `tallyd-client` is.
    pub(crate) home: Path,
}

const KNOWN: &str = "metric_name = \"…\", component = \"…\", tags(key = \"value\"), sample_rate = 0.1, outcome or crate = \"…\"";

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut arguments = Self {
            metric_name: None,
            component: None,
            tags: Vec::new(),
            sample_rate: 1.0,
            outcome: false,
            home: parse_quote!(::tallyd_client),
        };
        let mut names = Once::default();
        between_commas(input, || {
            let name = input.call(Ident::parse_any).map_err(|error| expected(KNOWN, error.span()))?;
            let (name, span) = (name.unraw().to_string(), name.span());
            match name.as_str() {
                "metric_name" => arguments.metric_name = Some(equal(input, text)?),
                "component" => arguments.component = Some(equal(input, text)?),
                "tags" => arguments.tags = tags(input)?,
                "sample_rate" => arguments.sample_rate = equal(input, rate)?,
                "outcome" => arguments.outcome = true,
                "crate" => arguments.home = equal(input, path)?,
                _ => return Err(Error::new(span, format!("unknown argument `{name}`; expected {KNOWN}"))),
            }
            names.add(name, span)
        })?;
        // The argument adds a tag with this key.
        let outcome = arguments.tags.iter().map(|(key, _)| key).find(|key| key.value() == "outcome");
        match outcome.filter(|_| arguments.outcome) {
            None => Ok(arguments),
            Some(key) => Err(twice("outcome", key.span())),
        }
    }
}

/// Names of which each may come once.
#[derive(Default)]
struct Once(HashSet<String>);

impl Once {
    fn add(&mut self, name: String, span: Span) -> syn::Result<()> {
        match self.0.replace(name) {
            None => Ok(()),
            Some(name) => Err(twice(&name, span)),
        }
    }
}

fn twice(name: &str, span: Span) -> Error {
    Error::new(span, format!("`{name}` is given twice"))
}

fn between_commas(input: ParseStream<'_>, mut item: impl FnMut() -> syn::Result<()>) -> syn::Result<()> {
    while !input.is_empty() {
        item()?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(())
}

fn equal<T>(input: ParseStream<'_>, value: impl FnOnce(ParseStream<'_>) -> syn::Result<T>) -> syn::Result<T> {
    input.parse::<Token![=]>()?;
    value(input)
}

fn tags(input: ParseStream<'_>) -> syn::Result<Vec<(LitStr, LitStr)>> {
    let input = &{
        let within;
        parenthesized!(within in input);
        within
    };
    let mut tags = Vec::new();
    let mut keys = Once::default();
    between_commas(input, || {
        let key = key(input)?;
        keys.add(key.value(), key.span())?;
        tags.push((key, equal(input, text)?));
        Ok(())
    })?;
    Ok(tags)
}

/// `"http.method"`, or a word.
fn key(input: ParseStream<'_>) -> syn::Result<LitStr> {
    if input.peek(Lit) {
        return text(input);
    }
    let word = input.call(Ident::parse_any)?;
    Ok(LitStr::new(&word.unraw().to_string(), word.span()))
}

fn text(input: ParseStream<'_>) -> syn::Result<LitStr> {
    literal(input, "a non-empty string literal", |literal| match literal {
        Lit::Str(text) if !text.value().is_empty() => Some(text),
        _ => None,
    })
}

fn rate(input: ParseStream<'_>) -> syn::Result<f64> {
    literal(input, "a number above 0 and up to 1, such as 0.1", |literal| {
        let rate: f64 = match literal {
            Lit::Float(number) => number.base10_parse().ok()?,
            Lit::Int(number) => number.base10_parse().ok()?,
            _ => return None,
        };
        (rate > 0.0 && rate <= 1.0).then_some(rate)
    })
}

fn path(input: ParseStream<'_>) -> syn::Result<Path> {
    let text = text(input)?;
    text.parse_with(Path::parse_mod_style)
        .map_err(|_| expected("a path, such as \"crate::metrics::tallyd_client\"", text.span()))
}

/// What a literal says, or else what was wanted in its place.
fn literal<T>(input: ParseStream<'_>, wanted: &str, said: impl FnOnce(Lit) -> Option<T>) -> syn::Result<T> {
    let literal: Lit = input.parse().map_err(|error: Error| expected(wanted, error.span()))?;
    let span = literal.span();
    said(literal).ok_or_else(|| expected(wanted, span))
}

fn expected(wanted: &str, span: Span) -> Error {
    Error::new(span, format!("expected {wanted}"))
}
