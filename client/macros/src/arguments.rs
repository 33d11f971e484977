//! What stands in the parentheses of the attribute.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Lit, LitStr, Meta, MetaNameValue, Path, Token};

/// What was said, and nothing twice.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) metric_name: Option<LitStr>,
    pub(crate) component: Option<LitStr>,
    pub(crate) tags: Vec<(String, LitStr)>,
    /// Above 0 and up to 1.
    pub(crate) sample_rate: Option<f64>,
    pub(crate) outcome: bool,
}

const KNOWN: &str = "#[timed] knows metric_name = \"…\", component = \"…\", tags(key = \"value\"), sample_rate = 0.1 and outcome";

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut arguments = Self::default();
        for meta in Punctuated::<Meta, Token![,]>::parse_terminated(input)? {
            let span = meta.span();
            match (name_of(meta.path()).as_str(), meta) {
                ("metric_name", Meta::NameValue(meta)) => {
                    once(&mut arguments.metric_name, text(meta)?, span)?;
                }
                ("component", Meta::NameValue(meta)) => once(&mut arguments.component, text(meta)?, span)?,
                ("sample_rate", Meta::NameValue(meta)) => {
                    once(&mut arguments.sample_rate, rate(&meta)?, span)?;
                }
                ("outcome", Meta::Path(_)) => arguments.outcome = true,
                ("tags", Meta::List(list)) => {
                    let tags =
                        list.parse_args_with(Punctuated::<MetaNameValue, Token![,]>::parse_terminated)?;
                    for tag in tags {
                        arguments.tags.push((name_of(&tag.path), text(tag)?));
                    }
                }
                _ => return Err(Error::new(span, KNOWN)),
            }
        }
        Ok(arguments)
    }
}

fn once<T>(place: &mut Option<T>, value: T, span: Span) -> syn::Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(span, "it was said already")),
    }
}

/// `a` of `a`, `a.b` of `a::b`: keys of tags may have dots.
fn name_of(path: &Path) -> String {
    let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    parts.join(".")
}

fn text(meta: MetaNameValue) -> syn::Result<LitStr> {
    match meta.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if !text.value().is_empty() => Ok(text),
        other => Err(Error::new(other.span(), "a text in quotes is needed here, which is not empty")),
    }
}

fn rate(meta: &MetaNameValue) -> syn::Result<f64> {
    let rate = match &meta.value {
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => number.base10_parse().ok(),
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
        _ => None,
    };
    rate.filter(|rate| *rate > 0.0 && *rate <= 1.0).ok_or_else(|| {
        Error::new(meta.value.span(), "a number above 0 and up to 1 is needed here, such as 0.1")
    })
}
