//! Many questions to the tables, whose nodes are brought side by side.
//!
//! Owns: `Look`. Must be true: LOOK-1 each question is answered once, by the tree that is published when it is looked at; LOOK-2 a question waits
//! for the disk once for each level of the tree, with all that ask for nodes of that level, and not once for each node: one after the other
//! they would wait for a batch's nodes in turn, because whoever asks first reads, and the others behind it want the same. Fails: each question
//! for itself; questions that a dying reader held are dropped with all that `answer` and `then` hold.

use super::FILES_A_MESSAGE;
use super::join::Join;
use crate::api::Answer;
use crate::pixel_reader::ReadMessage;
use crate::shared::Shared;
use crate::volume::Front;
use infmap_storage::state::{StateError, View};
use infmap_storage::vat::{Node, NodePtr};
use std::collections::HashSet;
use std::sync::Arc;

/// Levels that are brought side by side. Who then misses a node still, because the nodes of a batch do not fit into memory together, waits for
/// each.
const ROUNDS_MAX: usize = 8;

/// A question, its number among all, and what is wanted of the tables.
pub(super) struct Look<Q, T> {
    pub(super) front: Arc<Front>,
    pub(super) ask: fn(&Shared, View<'_>, &Q) -> Result<T, StateError>,
    #[expect(clippy::type_complexity, reason = "a function of a question and what was found")]
    pub(super) answer: Box<dyn Fn(&Shared, Q, Result<T, StateError>) + Send + Sync>,
    /// Done when every question is answered.
    pub(super) then: Box<dyn Fn() + Send + Sync>,
}

/// What was missed: questions, and the nodes that they want.
struct Missed<Q> {
    questions: Vec<Q>,
    nodes: HashSet<NodePtr>,
}

impl<Q: Send + 'static, T: 'static> Look<Q, T> {
    /// Answers all of these questions: those of resident nodes here, the others on the readers' threads.
    pub(super) fn at(self: &Arc<Self>, questions: Vec<Q>) {
        let missed = self.try_all(&self.front.shared, questions);
        self.bring(missed, 0);
    }

    fn try_all(&self, shared: &Shared, questions: Vec<Q>) -> Missed<Q> {
        let mut missed = Missed { questions: Vec::new(), nodes: HashSet::new() };
        for question in questions {
            match shared.query(|view| (self.ask)(shared, view, &question)) {
                Err(StateError::Miss(node)) => {
                    missed.nodes.insert(node);
                    missed.questions.push(question);
                }
                seen => (self.answer)(shared, question, seen),
            }
        }
        missed
    }

    /// Has nodes read by all readers, then looks again.
    fn bring(self: &Arc<Self>, missed: Missed<Q>, round: usize) {
        if missed.questions.is_empty() {
            return (self.then)();
        }
        let look = self.clone();
        let questions = missed.questions;
        // A node that cannot be read is missed again, and in the end asked for by somebody who hears why.
        let join = Join::<Answer<Arc<Node>>>::new(missed.nodes.len(), move |_| look.again(questions, round + 1));
        for (number, ptr) in missed.nodes.into_iter().enumerate() {
            let reader = ptr.address.cluster.number() % self.front.readers.len();
            if let Some(reader) = self.front.readers.get(reader) {
                reader.post(ReadMessage::Fetch { ptr, then: join.replier(number) });
            }
        }
    }

    /// Looks again, in messages of a bounded size.
    fn again(self: &Arc<Self>, questions: Vec<Q>, round: usize) {
        let mut rest = questions.into_iter().peekable();
        let mut chunks: Vec<Vec<Q>> = Vec::new();
        while rest.peek().is_some() {
            chunks.push(rest.by_ref().take(FILES_A_MESSAGE).collect());
        }
        let look = self.clone();
        let join =
            Join::<Missed<Q>>::new(chunks.len(), move |missed| look.bring(missed.into_iter().fold(Missed::none(), Missed::and), round));
        for (message, chunk) in chunks.into_iter().enumerate() {
            let (look, join) = (self.clone(), join.clone());
            self.front.on_reader(message, move |shared| {
                let missed = if round < ROUNDS_MAX { look.try_all(shared, chunk) } else { look.wait_for_all(shared, chunk) };
                join.put(message, missed);
            });
        }
    }

    fn wait_for_all(&self, shared: &Shared, questions: Vec<Q>) -> Missed<Q> {
        for question in questions {
            let seen = shared.query_waiting(|view| (self.ask)(shared, view, &question));
            (self.answer)(shared, question, seen);
        }
        Missed::none()
    }
}

impl<Q> Missed<Q> {
    fn none() -> Self {
        Self { questions: Vec::new(), nodes: HashSet::new() }
    }

    fn and(mut self, other: Self) -> Self {
        self.questions.extend(other.questions);
        self.nodes.extend(other.nodes);
        self
    }
}
