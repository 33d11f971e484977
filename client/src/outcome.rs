//! How a call of a timed function ended, for `#[timed(outcome)]`.

/// How a call ended: the value of the tag `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The function returned, and not an `Err`.
    Ok,
    /// The function returned `Err`, by `?` or otherwise.
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

/// Calls the body of a function as a closure. The bound `FnOnce` lets the body move values out of its arguments and return
/// references to them.
#[inline(always)]
pub fn call<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// A returned value whose type the attribute cannot know.
///
/// `(&&Returned(&value)).outcome()` finds the method of [`Fallible`] first, which only a `Result` has. For any other type, method
/// lookup takes one reference off and finds the method of [`Infallible`].
#[derive(Debug)]
pub struct Returned<'a, T: ?Sized>(pub &'a T);

/// Tells the outcome of a `Result`.
pub trait Fallible {
    /// Returns [`Outcome::Error`] for an `Err`.
    fn outcome(&self) -> Outcome;
}

impl<T, E> Fallible for &Returned<'_, Result<T, E>> {
    fn outcome(&self) -> Outcome {
        if self.0.is_ok() { Outcome::Ok } else { Outcome::Error }
    }
}

/// Tells the outcome of any other value.
pub trait Infallible {
    /// Returns [`Outcome::Ok`].
    fn outcome(&self) -> Outcome;
}

impl<T: ?Sized> Infallible for Returned<'_, T> {
    fn outcome(&self) -> Outcome {
        Outcome::Ok
    }
}
