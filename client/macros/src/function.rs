//! A function as it is read, wherever it stands: alone, in an implementation, or in a trait.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Block, Error, ReturnType, Signature, Token, Type, Visibility, braced, parse_quote};

/// A function that can be timed.
pub(crate) struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    pub(crate) signature: Signature,
    /// Those at the beginning of its body: `#![allow(…)]`.
    inner_attributes: Vec<Attribute>,
    pub(crate) block: Block,
}

impl Function {
    /// What stands behind its arrow.
    pub(crate) fn returned(&self) -> Type {
        match &self.signature.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, returned) => (**returned).clone(),
        }
    }
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let no_function = |error: Error| Error::new(error.span(), "#[timed] times functions and methods");
        let signature: Signature = input.parse().map_err(no_function)?;
        if let Some(constness) = &signature.constness {
            return Err(Error::new(constness.span(), "a const fn has no clock; #[timed] cannot time it"));
        }
        if input.peek(Token![;]) {
            return Err(Error::new(
                signature.span(),
                "there is no body to time; give #[timed] to what implements it",
            ));
        }
        let body;
        let brace_token = braced!(body in input);
        let inner_attributes = body.call(Attribute::parse_inner)?;
        let block = Block { brace_token, stmts: body.call(Block::parse_within)? };
        Ok(Self { attributes, visibility, signature, inner_attributes, block })
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attributes, visibility, signature, inner_attributes, block } = self;
        let statements = &block.stmts;
        tokens.extend(quote! {
            #(#attributes)*
            #visibility #signature {
                #(#inner_attributes)*
                #(#statements)*
            }
        });
    }
}
