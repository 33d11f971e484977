//! The attribute `#[timed]` of `tallyd-client`, which documents it.

mod arguments;
mod body;
mod component;
mod function;
mod future;
mod start;

use proc_macro::TokenStream;
use quote::ToTokens;
use syn::parse_macro_input;

use arguments::Arguments;
use function::Function;

/// Records how long each call of a function takes, in milliseconds, whichever way it ends.
///
/// ```ignore
/// #[timed]
/// #[timed(metric_name = "extract_candidate_data.time", tags(source = "resume"))]
/// #[timed(component = "Parser", sample_rate = 0.1, outcome)]
/// ```
///
/// | argument | default | |
/// |---|---|---|
/// | `metric_name = "…"` | `{function}.execution_time` | the name of the timing |
/// | `component = "…"` | the type of a method, the module of another function | what stands before that name |
/// | `tags(key = "value", …)` | none | its tags |
/// | `sample_rate = 0.1` | 1 | the share of calls that are taken, of which each then stands for several |
/// | `outcome` | | adds the tag `outcome`: `ok`, `error` (an `Err` was returned), `panic`, or `dropped` (a future, before its end) |
///
/// A function of a type without `self` is known to be one only if `Self` stands in its signature, or in its body outside
/// macros; otherwise give its `component`.
///
/// An `async` function is timed from the first time it is polled. So is a function whose last expression is an async block,
/// alone or in `Box::pin`, as `#[async_trait]` writes methods. Another function that returns a future is timed only until it
/// has returned that.
#[proc_macro_attribute]
pub fn timed(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as Arguments);
    match syn::parse::<Function>(item.clone()) {
        Ok(mut function) => {
            body::put_timer(&arguments, &mut function);
            function.into_token_stream().into()
        }
        // The function stays, so that nothing else is wrong where it is called.
        Err(error) => [TokenStream::from(error.into_compile_error()), item].into_iter().collect(),
    }
}
