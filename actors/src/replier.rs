//! The reply travels in the message: a value that must be spent.
//!
//! Owns: `Replier`. Must be true: REP-1 every replier answers exactly once; a dropped one answers `Unanswered::unanswered`. Fails: never.

/// What is answered when nobody answers.
pub trait Unanswered {
    fn unanswered() -> Self;
}

impl<X, E: Unanswered> Unanswered for Result<X, E> {
    fn unanswered() -> Self {
        Err(E::unanswered())
    }
}

/// The right, and the duty, to answer one request.
#[must_use = "a replier that is dropped answers with an error"]
pub struct Replier<T: Unanswered + Send + 'static>(Option<Box<dyn FnOnce(T) + Send>>);

impl<T: Unanswered + Send + 'static> Replier<T> {
    /// A replier that hands its answer to `answer`, on the thread that finishes the request.
    pub fn from_fn(answer: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// Spends it.
    pub fn reply(mut self, value: T) {
        if let Some(answer) = self.0.take() {
            answer(value);
        }
    }
}

impl<T: Unanswered + Send + 'static> Drop for Replier<T> {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(T::unanswered());
        }
    }
}
