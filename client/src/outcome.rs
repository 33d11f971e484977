//! The ways in which a call of a timed function can end, for `#[timed(outcome)]`.

/// The way in which a call ended. It is the value of the `outcome` tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The function returned a value other than `Err`.
    Ok,
    /// The function returned `Err`, for example through `?`.
    Error,
    /// The function panicked.
    Panic,
    /// The future was dropped before it was ready.
    Dropped,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::Panic => "panic",
            Outcome::Dropped => "dropped",
        }
    }
}

/// Calls the body of a function, which is a closure. The bound `FnOnce` lets the body move values out of its arguments
/// and return references to them.
#[inline(always)]
pub fn call<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// A returned value whose type the attribute cannot know.
///
/// For a `Result`, `(&&Returned(&value)).outcome()` calls the method of [`Fallible`], which method lookup finds first.
/// No other type has this method. So method lookup removes one reference and finds the method of [`Infallible`].
#[derive(Debug)]
pub struct Returned<'a, T: ?Sized>(pub &'a T);

/// Determines the outcome of a `Result`.
pub trait Fallible {
    /// Returns [`Outcome::Error`] for an `Err`.
    fn outcome(&self) -> Outcome;
}

impl<T, E> Fallible for &Returned<'_, Result<T, E>> {
    fn outcome(&self) -> Outcome {
        if self.0.is_ok() { Outcome::Ok } else { Outcome::Error }
    }
}

/// Determines the outcome of any other value.
pub trait Infallible {
    /// Returns [`Outcome::Ok`].
    fn outcome(&self) -> Outcome;
}

impl<T: ?Sized> Infallible for Returned<'_, T> {
    fn outcome(&self) -> Outcome {
        Outcome::Ok
    }
}
