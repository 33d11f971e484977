//! Functions that are not `async` but return what an async block comes to, as `async-trait` writes them.

use syn::visit::Visit;
use syn::{AssocType, Block, Expr, ExprAsync, ExprPath, Path, Stmt, Type, parse_quote};

/// The block whose future a function returns: its last expression is `async move { … }` or `Box::pin(async move { … })`.
pub(crate) fn returned_by(body: &mut Block) -> Option<&mut ExprAsync> {
    let Some(Stmt::Expr(last, None)) = body.stmts.last_mut() else { return None };
    match last {
        Expr::Async(future) => Some(future),
        Expr::Call(call) if is_box_pin(&call.func) => match call.args.first_mut() {
            Some(Expr::Async(future)) => Some(future),
            _ => None,
        },
        _ => None,
    }
}

/// By whichever path: `::std::boxed::Box::pin`.
fn is_box_pin(function: &Expr) -> bool {
    let Expr::Path(ExprPath { path: Path { segments, .. }, .. }) = function else { return false };
    let mut from_the_end = segments.iter().rev().map(|segment| &segment.ident);
    from_the_end.next().is_some_and(|name| name == "pin")
        && from_the_end.next().is_some_and(|name| name == "Box")
}

/// `T` of `Pin<Box<dyn Future<Output = T> + Send>>`, or `_` of a type that hides it.
pub(crate) fn output_of(future: &Type) -> Type {
    let mut search = Search(None);
    search.visit_type(future);
    search.0.unwrap_or_else(|| parse_quote!(_))
}

/// The outermost output.
struct Search(Option<Type>);

impl Visit<'_> for Search {
    fn visit_assoc_type(&mut self, associated: &AssocType) {
        if self.0.is_none() && associated.ident == "Output" {
            self.0 = Some(associated.ty.clone());
        }
    }
}
