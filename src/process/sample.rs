//! `sample`: keeps a part of the events and drops the others, decided by a hash: of the event's id, or of a field's value, so that
//! all events with the same value stay or go together. The same event is decided alike each time it is read, on any host that
//! has it. What a condition excludes always stays.
//!
//! Not here: a random choice, which would be another one after a rewind or a restart.

use xxhash_rust::xxh3::xxh3_64;

use super::condition::Condition;
use super::{Failed, Outcome, Process, Work};
use crate::event::FieldPath;

/// `sample: {rate, key, exclude}`.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Hashes below it stay: the rate, in parts of 2^64.
    below: u128,
    key: Option<FieldPath>,
    /// Events for which it holds stay, with or without a key.
    exclude: Option<Condition>,
}

impl Sample {
    /// Why events are dropped, as it is counted.
    pub const REASON: &'static str = "sampled";

    /// Keeps `rate`, between 0 and 1, of the events, or of the values of `key`, and all for which `exclude` holds.
    pub fn new(rate: f64, key: Option<FieldPath>, exclude: Option<Condition>) -> Self {
        // A float times 2^64 is exact, and `as` keeps it within what the type holds.
        Self { below: (rate.clamp(0.0, 1.0) * 2f64.powi(64)) as u128, key, exclude }
    }
}

impl Process for Sample {
    fn name(&self) -> &'static str {
        "sample"
    }

    /// # Errors
    /// If the event has no key: it stays.
    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        if self.exclude.as_ref().is_some_and(|exclude| exclude.holds(&work.view())) {
            return Ok(Outcome::Keep);
        }
        let hash = match &self.key {
            None => xxh3_64(&work.view().id().to_be_bytes()),
            Some(key) => {
                let value = work.get(key).ok_or(Failed)?;
                match value.into_value() {
                    crate::event::Value::String(text) => xxh3_64(text.as_bytes()),
                    // As JSON writes it, so that no type is refused.
                    other => xxh3_64(other.to_json().to_string().as_bytes()),
                }
            }
        };
        Ok(if u128::from(hash) < self.below { Outcome::Keep } else { Outcome::Drop(Self::REASON) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BUF, common, path, run, step};
    use super::*;
    use crate::event::{Event, EventView, Flags, Timestamp, Value};

    fn kept(rate: f64, key: Option<&str>, set: impl Fn(u64) -> Option<Value>) -> Vec<u64> {
        let common = common();
        let stays = |number: &u64| {
            let mut event = Event::line(0..5, *number, 6, 1, Timestamp(0), Flags::NONE);
            if let Some(value) = set(*number) {
                event.set(&path("trace.id"), value, BUF, &common).expect("sets");
            }
            let (outcome, tally) = run(vec![step(Sample::new(rate, key.map(path), None))], &mut event, &common);
            let tags = EventView { event: &event, buf: BUF, common: &common }.get(&path("tags"));
            let is_tagged = format!("{tags:?}").contains("_sample_failed");
            assert_eq!((tally.failed.is_empty(), is_tagged), (!is_tagged, key.is_some() && set(*number).is_none()));
            assert!(matches!(outcome, Outcome::Keep | Outcome::Drop("sampled")));
            outcome == Outcome::Keep
        };
        (0..10_000).filter(stays).collect()
    }

    /// Guarantee: about the rate stays, always the same events, and those of a lower rate are among those of a higher one.
    #[test]
    fn keeps_its_part_by_the_id() {
        let (all, none) = (kept(1.0, None, |_| None), kept(0.0, None, |_| None));
        assert_eq!((all.len(), none.len()), (10_000, 0));
        let (tenth, half) = (kept(0.1, None, |_| None), kept(0.5, None, |_| None));
        assert!((900..1_100).contains(&tenth.len()), "{}", tenth.len());
        assert!((4_800..5_200).contains(&half.len()), "{}", half.len());
        assert_eq!(kept(0.1, None, |_| None), tenth);
        assert!(tenth.iter().all(|number| half.contains(number)));
    }

    /// Guarantee: the events of one value stay or go together; one without the field stays and is tagged.
    #[test]
    fn keeps_its_part_by_a_key() {
        let value = |number| Some(Value::Int((number / 10) as i64));
        let tenth = kept(0.1, Some("trace.id"), value);
        assert!((700..1_300).contains(&tenth.len()), "{}", tenth.len());
        assert!(tenth.chunks(10).all(|ten| ten.iter().all(|number| number / 10 == ten[0] / 10)));
        assert_eq!(kept(0.1, Some("trace.id"), |_| None).len(), 10_000);
    }
    /// Guarantee: what is excluded stays, also without the field that decides; the rest is decided as without it.
    #[test]
    fn what_is_excluded_stays() {
        let exclude = Condition::parse("[log.level] == 'error'").expect("a condition");
        let common = common();
        let outcome = |level: &str| {
            let mut event = Event::line(0..5, 1, 6, 1, Timestamp(0), Flags::NONE);
            event.set(&path("log.level"), level.into(), BUF, &common).expect("sets");
            let processor = Sample::new(0.0, Some(path("log.level")), Some(exclude.clone()));
            run(vec![step(processor)], &mut event, &common)
        };
        assert_eq!(outcome("info").0, Outcome::Drop("sampled"));
        assert_eq!(outcome("error").0, Outcome::Keep);
        let processor =
            Sample::new(0.0, Some(path("trace.id")), Some(Condition::parse("message exists").expect("a condition")));
        let mut event = Event::line(0..5, 1, 6, 1, Timestamp(0), Flags::NONE);
        let (outcome, tally) = run(vec![step(processor)], &mut event, &common);
        assert_eq!((outcome, tally.failed.len()), (Outcome::Keep, 0));
    }
}
