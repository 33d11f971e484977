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
/// ```
/// use std::num::ParseIntError;
/// use tallyd_client::timed;
///
/// struct Parser;
///
/// impl Parser {
///     /// Its time is `Parser.parse.execution_time`.
///     #[timed]
///     fn parse(&self, text: &str) -> usize {
///         text.lines().count()
///     }
/// }
///
/// /// Its time is `Resume.extract.time`.
/// #[timed(component = "Resume", metric_name = "extract.time", tags(source = "upload", "http.method" = "POST"))]
/// fn extract(text: &str) -> Option<&str> {
///     text.lines().next()
/// }
///
/// /// One call in ten is sent, with the tag `outcome:ok` or `outcome:error`, or how else it ended.
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
/// | argument | default | |
/// |---|---|---|
/// | `metric_name = "…"` | `{function}.execution_time` | the name of the timing |
/// | `component = "…"` | the type of a method, the module of another function | what stands before that name |
/// | `tags(key = "value", …)` | none | its tags; a key may be in quotes: `"http.method" = "GET"` |
/// | `sample_rate = 0.1` | 1 | the share of calls that are sent, of which each then stands for several |
/// | `outcome` | | adds the tag `outcome`: `ok`, `error` (an `Err` was returned), `panic`, or `dropped` (a future, before its end) |
/// | `crate = "…"` | `::tallyd_client` | the path of this crate where it has another name, or a library exports it: `"my_lib::tallyd_client"` |
///
/// A function of a type without `self` is known to be one only if `Self` stands in its signature, or in its body outside
/// macros; otherwise give its `component`.
///
/// An `async` function is timed from the first time it is polled. So is a function whose last expression is an async block,
/// alone or in `Box::pin`, as `#[async_trait]` writes methods. Another function that returns a future is timed only until it
/// has returned that.
///
/// # With `outcome`
///
/// The body becomes a closure or an async block, so that what it returns can be looked at. All else stays as it is, but for
/// these:
///
/// - A type parameter hides what it stands for: of `fn call<T>() -> T` the outcome is `ok` even where `T` is a `Result`, and
///   that is an `Err`.
/// - In a function with `#[track_caller]`, `Location::caller()` is a place in the function itself: no closure can have that
///   attribute.
/// - A future that is dropped because its thread panics ends by `panic`, not by `dropped`.
/// - A closure that is returned as `impl Fn(&str)` must say the types of its parameters: `|text: &str| …`.
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
