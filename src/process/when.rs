//! `when`: a chain for the events for which a condition holds, and another for the rest. What they drop is dropped, what fails in
//! them is theirs to say; the block itself can't fail.

use std::sync::Arc;

use super::condition::Condition;
use super::{Chain, Database, Failed, Outcome, Process, Work};
use crate::event::RouteTo;

/// `when: {if, then, else}`.
#[derive(Clone, Debug)]
pub struct When {
    pub condition: Condition,
    pub then: Chain,
    pub otherwise: Chain,
}

impl Process for When {
    fn name(&self) -> &'static str {
        "when"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        // Looked at once: what `then` makes of the event does not lead it into `else`.
        let chain = if self.condition.holds(&work.view()) { &self.then } else { &self.otherwise };
        Ok(chain.run(work))
    }

    fn routes(&self) -> Vec<Arc<RouteTo>> {
        [self.then.routes(), self.otherwise.routes()].concat()
    }

    fn databases(&self) -> Vec<Arc<Database>> {
        [self.then.databases(), self.otherwise.databases()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::Condition;
    use super::super::tests::{common, event, object, path, run, step};
    use super::super::{AddFields, Chain, DropEvent, Outcome, Rename, Step};
    use super::When;
    use crate::event::{EventView, Value};
    use serde_json::json;

    fn when(condition: &str, then: Vec<Step>, otherwise: Vec<Step>) -> Step {
        let condition = Condition::parse(condition).expect("a good condition");
        step(When { condition, then: Chain::new(then), otherwise: Chain::new(otherwise) })
    }

    fn add(n: i64) -> Step {
        step(AddFields::new(None, object(json!({ "n": n }))))
    }

    fn n_of(steps: Vec<Step>) -> (Outcome, Option<Value>, Vec<(&'static str, u64)>) {
        let (common, mut event) = (common(), event());
        let (outcome, tally) = run(steps, &mut event, &common);
        let view = EventView { event: &event, buf: super::super::tests::BUF, common: &common };
        (outcome, view.get(&path("n")).map(crate::event::ValueRef::into_value), tally.failed)
    }

    #[test]
    fn one_of_two_chains_runs() {
        let (yes, no) = ("message == 'hello'", "message == 'other'");
        assert_eq!(n_of(vec![when(yes, vec![add(1)], vec![add(2)])]).1, Some(Value::Int(1)));
        assert_eq!(n_of(vec![when(no, vec![add(1)], vec![add(2)])]).1, Some(Value::Int(2)));
        assert_eq!(n_of(vec![when(no, vec![add(1)], vec![])]).1, None);
        // What the first chain sets does not matter to the choice.
        assert_eq!(n_of(vec![when("not exists(n)", vec![add(1)], vec![add(2)])]).1, Some(Value::Int(1)));
        let nested = when(yes, vec![when(no, vec![add(1)], vec![add(3)])], vec![add(2)]);
        assert_eq!(n_of(vec![nested]).1, Some(Value::Int(3)));
    }

    #[test]
    fn drops_and_failures_pass_through() {
        let yes = "message == 'hello'";
        let (outcome, n, _) = n_of(vec![when(yes, vec![step(DropEvent), add(1)], vec![]), add(2)]);
        assert_eq!((outcome, n), (Outcome::Drop("drop_event"), None));
        let fails = || step(Rename { fields: vec![(path("message"), path("fields.service"))], overwrite: false });
        let (outcome, n, failed) = n_of(vec![when(yes, vec![fails(), add(1)], vec![])]);
        assert_eq!((outcome, n, failed), (Outcome::Keep, Some(Value::Int(1)), vec![("rename", 1)]));
    }
}
