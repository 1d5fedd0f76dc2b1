//! Several answers that become one.
//!
//! Must be true: JOIN-1 what follows is done once, when the last part is there, on the thread that brings it. Fails: never; a part that nobody
//! answers comes as its replier's `unanswered` (REP-1).

use crate::replier::{Replier, Unanswered};
use parking_lot::Mutex;
use std::sync::Arc;

type Then<T> = Box<dyn FnOnce(Vec<T>) + Send>;

/// Parts by their number, and what is done with all of them.
pub(super) struct Join<T>(Mutex<Waiting<T>>);

struct Waiting<T> {
    parts: Vec<Option<T>>,
    left: usize,
    then: Option<Then<T>>,
}

impl<T: Send + 'static> Join<T> {
    /// Waits for so many parts. For none, `then` is done at once.
    pub(super) fn new(count: usize, then: impl FnOnce(Vec<T>) + Send + 'static) -> Arc<Self> {
        let parts = std::iter::repeat_with(|| None).take(count).collect();
        let join = Arc::new(Self(Mutex::new(Waiting { parts, left: count, then: Some(Box::new(then)) })));
        if count == 0 {
            join.end();
        }
        join
    }

    /// A part is there.
    pub(super) fn put(&self, number: usize, part: T) {
        let mut waiting = self.0.lock();
        let Some(place @ None) = waiting.parts.get_mut(number) else { return };
        *place = Some(part);
        waiting.left -= 1;
        let is_last = waiting.left == 0;
        drop(waiting);
        if is_last {
            self.end();
        }
    }

    /// A replier whose answer is the part.
    pub(super) fn replier(self: &Arc<Self>, number: usize) -> Replier<T>
    where
        T: Unanswered,
    {
        let join = self.clone();
        Replier::from_fn(move |part| join.put(number, part))
    }

    fn end(&self) {
        let (then, parts) = {
            let mut waiting = self.0.lock();
            (waiting.then.take(), std::mem::take(&mut waiting.parts))
        };
        if let Some(then) = then {
            then(parts.into_iter().flatten().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Answer, Refusal};
    use std::sync::mpsc;

    #[test]
    fn what_follows_is_done_once_with_all_parts_in_their_order() {
        let (told, hears) = mpsc::channel();
        let join = Join::<Answer<u32>>::new(3, move |parts| told.send(parts).unwrap());
        join.put(2, Ok(7));
        join.put(2, Ok(8));
        join.replier(0).reply(Ok(5));
        assert!(hears.try_recv().is_err());
        drop(join.replier(1));
        assert_eq!(hears.try_recv(), Ok(vec![Ok(5), Err(Refusal::Gone), Ok(7)]));
        join.put(1, Ok(9));
        assert!(hears.try_recv().is_err());
        let (told, hears) = mpsc::channel();
        Join::<u32>::new(0, move |parts| told.send(parts).unwrap());
        assert_eq!(hears.try_recv(), Ok(vec![]));
    }
}
