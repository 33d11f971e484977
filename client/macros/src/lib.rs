//! The attribute `#[timed]` of `tallyd-client`, which re-exports it.

mod arguments; // parses the arguments of the attribute
mod expand; // puts the timer into the function
mod function; // parses functions, and refuses all other items

use proc_macro::TokenStream;
use quote::ToTokens;
use syn::parse_macro_input;

use arguments::Arguments;
use function::Function;

/// Records how long each call of a function takes, in milliseconds, however the call ends.
///
/// ```
/// use std::num::ParseIntError;
/// use tallyd_client::timed;
///
/// struct Parser;
///
/// impl Parser {
///     /// The attribute records `Parser.parse.execution_time`.
///     #[timed]
///     fn parse(&self, text: &str) -> usize {
///         text.lines().count()
///     }
/// }
///
/// /// The attribute records `Resume.extract.time`, with two tags.
/// #[timed(component = "Resume", metric_name = "extract.time", tags(source = "upload", "http.method" = "POST"))]
/// fn extract(text: &str) -> Option<&str> {
///     text.lines().next()
/// }
///
/// /// The client sends one call in ten, with a tag such as `outcome:ok` or `outcome:error`.
/// #[timed(component = "Resume", sample_rate = 0.1, outcome)]
/// async fn years(text: &str) -> Result<u8, ParseIntError> {
///     let years = text.trim().parse()?;
///     Ok(years)
/// }
/// # assert_eq!(Parser.parse("a\nb"), 2);
/// # assert_eq!(extract("a\nb"), Some("a"));
/// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert_eq!(std::pin::pin!(years(" 5")).poll(&mut context), std::task::Poll::Ready(Ok(5)));
/// ```
///
/// | argument | default | meaning |
/// |---|---|---|
/// | `metric_name = "…"` | `{function}.execution_time` | the name of the timing |
/// | `component = "…"` | the type of a method, the module of another function | the first part of the full name |
/// | `tags(key = "value", …)` | none | the tags of the timing; a key can be in quotes: `"http.method" = "GET"` |
/// | `sample_rate = 0.1` | 1 | the share of calls that are sent, above 0 and at most 1; servers scale them up |
/// | `outcome` | | adds the tag `outcome`: `ok`, `error` (the function returned `Err`), `panic`, or `dropped` (a future that did not end) |
/// | `crate = "…"` | `::tallyd_client` | the path of this crate, if it has another name or a library re-exports it: `"my_lib::tallyd_client"` |
///
/// The attribute cannot see the type around a function without `self`. It finds the type only if `Self` occurs in the
/// signature, or in the body outside macros. Otherwise name the `component`.
///
/// An `async` function is timed from its first poll. The same holds for a function whose last expression is an async
/// block or `Box::pin` of an async block. `#[async_trait]` writes methods in this way. Any other function that returns
/// a future is timed only until it returns the future.
///
/// # With `outcome`
///
/// The body becomes a closure or an async block, so that the timer can see the returned value. This has four limits:
///
/// - The attribute cannot look behind a type parameter. The outcome of `fn call<T>() -> T` is `ok` even if the value is
///   an `Err`.
/// - In a function with `#[track_caller]`, `Location::caller()` is a place in the function itself, because a closure
///   cannot have that attribute.
/// - A future that is dropped because its thread panics has the outcome `panic`, not `dropped`.
/// - A closure that is returned as `impl Fn(&str)` must name the types of its parameters: `|text: &str| …`.
#[proc_macro_attribute]
pub fn timed(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as Arguments);
    match syn::parse::<Function>(item.clone()) {
        Ok(mut function) => {
            expand::time_function(&arguments, &mut function);
            function.into_token_stream().into()
        }
        // The item is kept, so that its uses cause no further errors.
        Err(error) => [TokenStream::from(error.into_compile_error()), item].into_iter().collect(),
    }
}
