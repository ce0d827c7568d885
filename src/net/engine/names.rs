//! What the guest asks of names.

use std::time::Instant;

use super::Network;
use crate::net::attempts::Tried;
use crate::net::dns::message::{Failure, Question};
use crate::net::policy::refused;
use crate::spec::Why;

/// What becomes of a query.
pub(super) enum Asked {
    /// It goes to the host's resolver: as it is, or so.
    On(Option<Vec<u8>>),
    /// It is answered here.
    Answered(Vec<u8>),
    /// Nothing: it is none.
    Nothing,
}

impl Network {
    /// Takes a query of the guest's.
    pub(super) fn ask(&mut self, query: &[u8], now: Instant) -> Asked {
        let guards = self.policy.guards_names();
        let Some(question) = Question::asked(query) else {
            return match guards {
                true => Asked::Nothing,
                false => Asked::On(None),
            };
        };
        if let Some(answer) = self.answer_of_members(&question, query) {
            return Asked::Answered(answer);
        }
        let verdict = match self.meter.is_spent() {
            false => self.policy.judge_name(&question.name),
            true => refused(Why::Bytes),
        };
        let tried = Tried::Name(question.name.clone());
        self.attempts.note(tried, verdict, None);
        if !verdict.allows {
            // For who is refused, some resolvers do not look any further: the name may have another end.
            return Asked::Answered(question.fail(query, Failure::NoSuchName));
        }
        let asked = (&question, query);
        match self.names.answer(asked, &mut self.policy, now) {
            Some(answer) => Asked::Answered(answer),
            None => Asked::On(guards.then(|| question.alone(query))),
        }
    }
}
