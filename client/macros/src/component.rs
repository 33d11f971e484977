//! What a function belongs to, under which it is timed if its attribute does not say otherwise.

use proc_macro2::TokenStream;
use quote::quote;
use syn::visit::{self, Visit};
use syn::{Item, PathSegment};

use crate::function::Function;

/// An expression: the name of its type if it has one, and else that of its module.
pub(crate) fn of(function: &Function) -> TokenStream {
    if is_of_type(function) {
        quote!(::core::any::type_name::<Self>())
    } else {
        quote!(::core::module_path!())
    }
}

/// Whether a function is of a type, as far as that shows: by `self`, or by `Self` outside macros, whose words may mean anything.
fn is_of_type(function: &Function) -> bool {
    let mut search = Search(function.signature.receiver().is_some());
    search.visit_signature(&function.signature);
    search.visit_block(&function.block);
    search.0
}

/// Whether `Self` was found.
struct Search(bool);

impl Visit<'_> for Search {
    fn visit_path_segment(&mut self, segment: &PathSegment) {
        self.0 |= segment.ident == "Self";
        visit::visit_path_segment(self, segment);
    }

    /// An item in the body has a `Self` of its own.
    fn visit_item(&mut self, _: &Item) {}
}
