//! Puts a timer into a function, and leaves all else as it is.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Block, Error, Ident, LitStr, Path, PathSegment, ReturnType, Safety, Signature, Token, Type,
    Visibility,
};

use crate::arguments::Arguments;

/// A function, wherever it stands: alone, in an implementation, or in a trait.
struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    block: Block,
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
        Ok(Self { attributes, visibility, signature, block: input.parse()? })
    }
}

/// The function with a timer in it.
pub(crate) fn timed(arguments: &Arguments, item: TokenStream) -> syn::Result<TokenStream> {
    let Function { attributes, visibility, signature, block } = syn::parse2(item)?;
    let home = &arguments.home;
    let span = Ident::new("span", Span::mixed_site());
    let start = start(arguments, &signature);
    let statements = &block.stmts;
    let body = if arguments.outcome {
        let whole = whole(home, &signature, &block);
        let result = Ident::new("result", Span::mixed_site());
        quote! {
            let #span = #start;
            let #result = #whole;
            {
                #[allow(unused_imports)]
                use #home::__private::{Fallible as _, Returned as _};
                #span.end((&&#home::__private::Subject(&#result)).outcome());
            }
            #result
        }
    } else {
        // Dropped last, however the function is left.
        quote! {
            let #span = #start;
            #(#statements)*
        }
    };
    Ok(quote! {
        #(#attributes)*
        #visibility #signature {
            #body
        }
    })
}

/// An expression that starts the timer.
fn start(arguments: &Arguments, signature: &Signature) -> TokenStream {
    let Arguments { metric_name, component, tags, sample_rate, outcome, home } = arguments;
    let own_name = || {
        let function = signature.ident.to_string();
        let function = function.strip_prefix("r#").unwrap_or(&function).to_owned();
        LitStr::new(&format!("{function}.execution_time"), signature.ident.span())
    };
    let name = metric_name.clone().unwrap_or_else(own_name);
    let component = component.as_ref().map_or_else(
        || quote!(::core::option::Option::None),
        |component| quote!(::core::option::Option::Some(#component)),
    );
    let place = if is_of_type(signature) {
        quote!(::core::any::type_name::<Self>())
    } else {
        quote!(::core::module_path!())
    };
    let (keys, values): (Vec<_>, Vec<_>) = tags.iter().map(|(key, value)| (key, value)).unzip();
    quote! {
        #home::__private::Span::start(
            {
                static SITE: #home::__private::Site = #home::__private::Site {
                    name: #name,
                    component: #component,
                    tags: &[#((#keys, #values)),*],
                    sample_rate: #sample_rate,
                    tells_outcome: #outcome,
                };
                &SITE
            },
            #place,
        )
    }
}

/// The body as one expression, that comes to what the function returns by whichever way.
fn whole(home: &Path, signature: &Signature, block: &Block) -> TokenStream {
    let block = if matches!(signature.safety, Safety::Unsafe(_)) {
        quote!({ #[allow(unused_unsafe)] unsafe #block })
    } else {
        block.to_token_stream()
    };
    let returned = match &signature.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, returned) => {
            let mut returned = returned.clone();
            Nameless.visit_type_mut(&mut returned);
            returned.to_token_stream()
        }
    };
    if signature.asyncness.is_some() {
        let result = Ident::new("result", Span::mixed_site());
        quote!({ let #result: #returned = async move #block.await; #result })
    } else {
        quote!(#home::__private::call(move || -> #returned #block))
    }
}

/// Puts `_` in place of `impl Trait`, which has no name that could be written within a function.
struct Nameless;

impl VisitMut for Nameless {
    fn visit_type_mut(&mut self, of: &mut Type) {
        if matches!(of, Type::ImplTrait(_)) {
            *of = syn::parse_quote!(_);
        }
        visit_mut::visit_type_mut(self, of);
    }
}

/// Whether a function belongs to a type, as far as that shows.
fn is_of_type(signature: &Signature) -> bool {
    struct Search(bool);
    impl Visit<'_> for Search {
        fn visit_path_segment(&mut self, segment: &PathSegment) {
            self.0 |= segment.ident == "Self";
            visit::visit_path_segment(self, segment);
        }
    }
    let mut search = Search(signature.receiver().is_some());
    search.visit_signature(signature);
    search.0
}
