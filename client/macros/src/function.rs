//! The function that the attribute reads: a free function, or a method of an implementation or a trait.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    AssocType, Attribute, Block, Error, Expr, ExprAsync, ExprPath, Item, Path, PathSegment, ReturnType,
    Signature, Stmt, Token, Type, Visibility, braced, parse_quote,
};

/// A function that can be timed.
pub(crate) struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    pub(crate) signature: Signature,
    /// The attributes at the beginning of the body, such as `#![allow(…)]`.
    inner_attributes: Vec<Attribute>,
    pub(crate) block: Block,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let not_a_function = |error: Error| {
            Error::new(error.span(), "#[timed] times only functions and methods; move it to one")
        };
        let signature: Signature = input.parse().map_err(not_a_function)?;
        if let Some(constness) = &signature.constness {
            return Err(Error::new(
                constness.span(),
                "#[timed] cannot time a const fn, which cannot read a clock; remove one of the two",
            ));
        }
        if input.peek(Token![;]) {
            return Err(Error::new(
                signature.span(),
                "#[timed] needs a body to time; move it to the implementations of this method",
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

impl Function {
    /// Returns the type after the arrow.
    pub(crate) fn return_type(&self) -> Type {
        match &self.signature.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, output) => (**output).clone(),
        }
    }

    /// Returns true if the function takes `self`, or uses `Self` outside macros. A macro may give `Self` another
    /// meaning.
    pub(crate) fn belongs_to_a_type(&self) -> bool {
        struct SelfFinder(bool);

        impl Visit<'_> for SelfFinder {
            fn visit_path_segment(&mut self, segment: &PathSegment) {
                self.0 |= segment.ident == "Self";
                visit::visit_path_segment(self, segment);
            }

            /// Skips an item in the body, because its `Self` is another type.
            fn visit_item(&mut self, _: &Item) {}
        }

        let mut search = SelfFinder(self.signature.receiver().is_some());
        search.visit_signature(&self.signature);
        search.visit_block(&self.block);
        search.0
    }
}

/// Returns the async block whose future a body returns. `#[async_trait]` writes such methods: their last expression is
/// `async move { … }` or `Box::pin(async move { … })`.
pub(crate) fn returned_async_block(body: &mut Block) -> Option<&mut ExprAsync> {
    let Some(Stmt::Expr(last, None)) = body.stmts.last_mut() else { return None };
    match last {
        Expr::Async(block) => Some(block),
        Expr::Call(call) if is_box_pin(&call.func) => match call.args.first_mut() {
            Some(Expr::Async(block)) => Some(block),
            _ => None,
        },
        _ => None,
    }
}

/// Returns true for `Box::pin` by any path, such as `::std::boxed::Box::pin`.
fn is_box_pin(function: &Expr) -> bool {
    let Expr::Path(ExprPath { path: Path { segments, .. }, .. }) = function else { return false };
    let mut from_the_end = segments.iter().rev().map(|segment| &segment.ident);
    from_the_end.next().is_some_and(|name| name == "pin")
        && from_the_end.next().is_some_and(|name| name == "Box")
}

/// Returns `T` for `Pin<Box<dyn Future<Output = T> + Send>>`, and `_` for a type that does not name its output.
pub(crate) fn future_output(future: &Type) -> Type {
    /// Finds the outermost output.
    struct OutputFinder(Option<Type>);

    impl Visit<'_> for OutputFinder {
        fn visit_assoc_type(&mut self, associated: &AssocType) {
            if self.0.is_none() && associated.ident == "Output" {
                self.0 = Some(associated.ty.clone());
            }
        }
    }

    let mut search = OutputFinder(None);
    search.visit_type(future);
    search.0.unwrap_or_else(|| parse_quote!(_))
}
