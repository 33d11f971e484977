//! Puts a timer into a function, and leaves all else as it is.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, Ident, Stmt, Token, Type, parse_quote};

use crate::arguments::Arguments;
use crate::function::Function;
use crate::{future, start};

/// Has a function timed: its body, or the async block whose future it returns.
pub(crate) fn put_timer(arguments: &Arguments, function: &mut Function) {
    let timer = Timer { arguments, start: start::expression(arguments, function) };
    let returned = function.returned();
    let Function { signature, block, .. } = function;
    if signature.asyncness.is_some() {
        timer.put(block, returned, &Work::Future { capture: Some(parse_quote!(move)) });
    } else if let Some(future) = future::returned_by(block) {
        let capture = future.capture;
        timer.put(&mut future.block, future::output_of(&returned), &Work::Future { capture });
    } else {
        timer.put(block, returned, &Work::Call);
    }
}

/// Who does what stands in a block.
enum Work {
    Call,
    Future { capture: Option<Token![move]> },
}

struct Timer<'a> {
    arguments: &'a Arguments,
    /// An expression.
    start: TokenStream,
}

impl Timer<'_> {
    /// Has a block timed that comes to what is `returned`.
    fn put(&self, block: &mut Block, returned: Type, work: &Work) {
        // What never returns panics if it ends at all, which the timer sees by itself.
        let timed = if self.arguments.outcome && !matches!(returned, Type::Never(_)) {
            self.with_outcome(block, &nameable(returned), work)
        } else {
            self.plain(block)
        };
        block.stmts = vec![Stmt::Expr(Expr::Verbatim(timed), None)];
    }

    /// The timer is dropped last, however the block is left.
    fn plain(&self, Block { stmts: statements, .. }: &Block) -> TokenStream {
        let Self { start, .. } = self;
        let span = internal("span");
        quote! {
            let #span = #start;
            #(#statements)*
        }
    }

    /// The block becomes one expression, so that what it comes to can be looked at, by whichever way it does.
    fn with_outcome(&self, block: &Block, returned: &Type, work: &Work) -> TokenStream {
        let Self { start, arguments: Arguments { home, .. } } = self;
        let Block { stmts: statements, .. } = block;
        let [span, result] = ["span", "result"].map(internal);
        let whole = match work {
            Work::Call => quote!(#home::__private::call(move || -> #returned #block)),
            // An async block has no place for its type but a `return`.
            Work::Future { capture } => quote! {
                async #capture {
                    if let ::core::option::Option::Some(#result) = ::core::option::Option::None::<#returned> {
                        return #result;
                    }
                    #(#statements)*
                }
                .await
            },
        };
        quote! {
            let #span = #start;
            let #result: #returned = #whole;
            {
                #[allow(unused_imports)]
                use #home::__private::{Fallible as _, Returned as _};
                #span.end((&&#home::__private::Subject(&#result)).outcome());
            }
            #result
        }
    }
}

/// A type as it is written within a function, where `impl Trait` has no name.
fn nameable(mut of: Type) -> Type {
    Nameable.visit_type_mut(&mut of);
    of
}

struct Nameable;

impl VisitMut for Nameable {
    fn visit_type_mut(&mut self, of: &mut Type) {
        if matches!(of, Type::ImplTrait(_)) {
            *of = parse_quote!(_);
        }
        visit_mut::visit_type_mut(self, of);
    }
}

/// A name that no name of the user's is mistaken for.
fn internal(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;

    use super::*;

    #[test]
    fn everything_is_found_by_the_path_of_the_crate_that_is_given() {
        let functions =
            ["fn f() {}", "fn f(&self) -> u8 { 5 }", "async fn f() {}", "fn f() -> F { Box::pin(async {}) }"];
        for (function, outcome) in
            functions.iter().flat_map(|function| [(function, ""), (function, ", outcome")])
        {
            let arguments: Arguments = syn::parse_str(&format!("crate = \"home\"{outcome}")).unwrap();
            let mut function: Function = syn::parse_str(function).unwrap();
            put_timer(&arguments, &mut function);
            let written = function.into_token_stream().to_string();
            assert!(written.contains("home :: __private") && !written.contains("tallyd"), "{written}");
        }
    }
}
