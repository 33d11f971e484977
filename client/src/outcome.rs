//! How functions end, for `#[timed(outcome)]`.

/// How a function that was timed ended: the value of the tag `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It returned, and if that was a `Result`, then `Ok`.
    Ok,
    /// It returned `Err`, by `?` or otherwise.
    Error,
    /// It panicked.
    Panic,
    /// Its future was dropped before it was done.
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

/// Does the work of a function, which is told by the bound that it is done once: so what it moves out or lends is its own.
#[inline(always)]
pub fn call<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// What a function returned. `(&&Subject(&it)).outcome()` finds the method of [`Fallible`] first, which only a `Result` has,
/// and else that of [`Returned`], one reference further off: so the attribute need not know what the type is.
#[derive(Debug)]
pub struct Subject<'a, T: ?Sized>(pub &'a T);

/// Of a `Result`.
pub trait Fallible {
    /// Whether it is an error.
    fn outcome(&self) -> Outcome;
}

impl<T, E> Fallible for &Subject<'_, Result<T, E>> {
    fn outcome(&self) -> Outcome {
        if self.0.is_ok() { Outcome::Ok } else { Outcome::Error }
    }
}

/// Of anything.
pub trait Returned {
    /// It is right.
    fn outcome(&self) -> Outcome;
}

impl<T: ?Sized> Returned for Subject<'_, T> {
    fn outcome(&self) -> Outcome {
        Outcome::Ok
    }
}
