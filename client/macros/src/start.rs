//! Starts a timer, with what the attribute says of its function.

use proc_macro2::TokenStream;
use quote::quote;
use syn::LitStr;
use syn::ext::IdentExt;

use crate::arguments::Arguments;
use crate::component;
use crate::function::Function;

/// An expression that comes to a timer.
pub(crate) fn expression(arguments: &Arguments, function: &Function) -> TokenStream {
    let Arguments { metric_name, component, tags, sample_rate, outcome, home } = arguments;
    let own_name = || {
        let name = &function.signature.ident;
        LitStr::new(&format!("{}.execution_time", name.unraw()), name.span())
    };
    let name = metric_name.clone().unwrap_or_else(own_name);
    let component = component.as_ref().map_or_else(
        || quote!(::core::option::Option::None),
        |component| quote!(::core::option::Option::Some(#component)),
    );
    let place = component::of(function);
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
