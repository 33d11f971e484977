//! Puts a timer into the body of a function, and leaves everything else unchanged.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, Ident, LitStr, Stmt, Token, Type, parse_quote};

use crate::arguments::Arguments;
use crate::function::{Function, future_output, returned_async_block};

/// Times a function: its body, or the async block whose future it returns.
pub(crate) fn time_function(arguments: &Arguments, function: &mut Function) {
    let body = Body { arguments, start: start(arguments, function) };
    let returned = function.return_type();
    let Function { signature, block, .. } = function;
    if signature.asyncness.is_some() {
        body.time(block, returned, &Kind::Async { capture: Some(parse_quote!(move)) });
    } else if let Some(future) = returned_async_block(block) {
        let capture = future.capture;
        body.time(&mut future.block, future_output(&returned), &Kind::Async { capture });
    } else {
        body.time(block, returned, &Kind::Sync);
    }
}

/// Returns the expression that starts the timer.
fn start(arguments: &Arguments, function: &Function) -> TokenStream {
    let Arguments { metric_name, component, tags, sample_rate, outcome, crate_path } = arguments;
    let default_name = || {
        let name = &function.signature.ident;
        LitStr::new(&format!("{}.execution_time", name.unraw()), name.span())
    };
    let metric_name = metric_name.clone().unwrap_or_else(default_name);
    let component = component.as_ref().map_or_else(
        || quote!(::core::option::Option::None),
        |component| quote!(::core::option::Option::Some(#component)),
    );
    let type_or_module = if function.belongs_to_a_type() {
        quote!(::core::any::type_name::<Self>())
    } else {
        quote!(::core::module_path!())
    };
    let (keys, values): (Vec<_>, Vec<_>) = tags.iter().map(|(key, value)| (key, value)).unzip();
    quote! {
        #crate_path::__private::TimedCall::start(
            {
                static FUNCTION: #crate_path::__private::TimedFunction = #crate_path::__private::TimedFunction {
                    metric_name: #metric_name,
                    component: #component,
                    tags: &[#((#keys, #values)),*],
                    sample_rate: #sample_rate,
                    has_outcome: #outcome,
                };
                &FUNCTION
            },
            #type_or_module,
        )
    }
}

/// How a timed block runs.
enum Kind {
    Sync,
    Async { capture: Option<Token![move]> },
}

struct Body<'a> {
    arguments: &'a Arguments,
    /// The expression that starts the timer.
    start: TokenStream,
}

impl Body<'_> {
    /// Times a block whose value has the type `returned`.
    fn time(&self, block: &mut Block, returned: Type, kind: &Kind) {
        // A block that never returns can end only by a panic, which the timer notices itself.
        let timed = if self.arguments.outcome && !matches!(returned, Type::Never(_)) {
            self.with_outcome(block, &without_impl_trait(returned), kind)
        } else {
            self.without_outcome(block)
        };
        block.stmts = vec![Stmt::Expr(Expr::Verbatim(timed), None)];
    }

    /// Declares the timer before the statements of the block. So it is dropped last, however the block is left.
    fn without_outcome(&self, Block { stmts: statements, .. }: &Block) -> TokenStream {
        let Self { start, .. } = self;
        let timer = hygienic("timer");
        quote! {
            let #timer = #start;
            #(#statements)*
        }
    }

    /// Wraps the block into one expression. So the timer sees its value, even if `return` or `?` leaves the block.
    fn with_outcome(&self, block: &Block, returned: &Type, kind: &Kind) -> TokenStream {
        let Self { start, arguments: Arguments { crate_path, .. } } = self;
        let Block { stmts: statements, .. } = block;
        let [timer, result] = ["timer", "result"].map(hygienic);
        let value = match kind {
            Kind::Sync => quote!(#crate_path::__private::call(move || -> #returned #block)),
            // An async block has no syntax for its return type. A `return` that never runs fixes the type instead.
            Kind::Async { capture } => quote! {
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
            let #timer = #start;
            let #result: #returned = #value;
            {
                #[allow(unused_imports)]
                use #crate_path::__private::{Fallible as _, Infallible as _};
                #timer.end((&&#crate_path::__private::Returned(&#result)).outcome());
            }
            #result
        }
    }
}

/// Replaces each `impl Trait` with `_`, because a type inside a function cannot contain it.
fn without_impl_trait(mut ty: Type) -> Type {
    struct ImplTraitReplacer;

    impl VisitMut for ImplTraitReplacer {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if matches!(ty, Type::ImplTrait(_)) {
                *ty = parse_quote!(_);
            }
            visit_mut::visit_type_mut(self, ty);
        }
    }

    ImplTraitReplacer.visit_type_mut(&mut ty);
    ty
}

/// Returns a name that cannot clash with a name in the user's code.
fn hygienic(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;

    use super::*;

    #[test]
    fn every_path_begins_with_the_given_crate() {
        let functions =
            ["fn f() {}", "fn f(&self) -> u8 { 5 }", "async fn f() {}", "fn f() -> F { Box::pin(async {}) }"];
        for (function, outcome) in
            functions.iter().flat_map(|function| [(function, ""), (function, ", outcome")])
        {
            let arguments: Arguments = syn::parse_str(&format!("crate = \"home\"{outcome}")).unwrap();
            let mut function: Function = syn::parse_str(function).unwrap();
            time_function(&arguments, &mut function);
            let written = function.into_token_stream().to_string();
            assert!(written.contains("home :: __private") && !written.contains("tallyd"), "{written}");
        }
    }
}
