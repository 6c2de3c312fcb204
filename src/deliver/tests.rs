//! The machine's named behaviours, one at a time. Its random lives are in `tests/model/`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::machine::{Action, Limits, Machine, Offered};
use crate::batch::{Place, Settled, Share};
use crate::output::{Fault, RecordFault, TopicFault};

const WINDOW_BYTES: u64 = 4_000;
const PARTITIONS: u32 = 3;

fn topic() -> Arc<str> {
    Arc::from("t")
}

fn limits() -> Limits {
    Limits {
        window_bytes_max: WINDOW_BYTES,
        sticky_bytes: 1_000,
        stalled_after: Duration::from_secs(2),
        probe_first: Duration::from_secs(1),
        probe_longest: Duration::from_secs(60),
        topic_kept: Duration::from_secs(600),
    }
}

fn share(place: Place, records: Range<u32>, bytes: u64) -> Share {
    Share { topic: topic(), place, records, bytes }
}

fn known() -> Machine<u64> {
    let mut machine = Machine::new(limits());
    machine.topic(&topic(), Ok(PARTITIONS), Duration::ZERO);
    machine
}

fn actions(machine: &mut Machine<u64>) -> Vec<Action<u64>> {
    std::iter::from_fn(|| machine.action()).collect()
}

/// Scenario: one lane takes all it can get. Guarantee: it gets half of the window, and another lane still has room.
#[test]
fn a_lane_takes_half_of_what_the_others_leave() {
    let mut machine = known();
    let mut taken = 0;
    while let Offered::Taken(_) = machine.offer(taken, &[share(Place::At(0), 0..1, 100)], Duration::ZERO) {
        taken += 1;
    }
    assert_eq!(taken * 100, WINDOW_BYTES / 2);
    let other = machine.offer(99, &[share(Place::At(1), 0..1, 900)], Duration::ZERO);
    assert!(matches!(other, Offered::Taken(_)), "{other:?}");
}

/// Scenario: a topic that is not authorised, then is. Guarantee: probes come 1, 2, 4 … 60 s apart, one record each, and the
/// rest follows the first that is taken.
#[test]
fn probes_back_off_and_the_lane_goes_on_by_itself() {
    let mut machine = known();
    let Offered::Taken(parcels) = machine.offer(1, &[share(Place::At(0), 0..10, 100)], Duration::ZERO) else {
        panic!("an empty window takes a batch")
    };
    let refused = || Err(Fault::Topic { reason: TopicFault::NotAuthorized, message: Arc::from("no") });
    machine.report(0, parcels[0], 0..10, refused(), Duration::ZERO);
    actions(&mut machine);
    let mut now = Duration::ZERO;
    let mut waits = Vec::new();
    while waits.len() < 8 {
        let since = now;
        loop {
            now += Duration::from_millis(100);
            machine.tick(now);
            let probes = actions(&mut machine);
            if let Some(Action::Produce { records, .. }) = probes.first() {
                assert_eq!(*records, 0..1);
                break;
            }
        }
        waits.push((now - since).as_secs_f64().round() as u64);
        machine.report(0, parcels[0], 0..1, refused(), now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    now += Duration::from_secs(60);
    machine.tick(now);
    machine.report(0, parcels[0], 0..1, Ok(()), now);
    let rest = actions(&mut machine);
    assert!(
        rest.iter().any(|action| matches!(action, Action::Produce { records, .. } if *records == (1..10))),
        "{rest:?}"
    );
}

/// Scenario: a topic is created anew with fewer partitions. Guarantee: what waits for a partition that is gone is read again
/// from its source.
#[test]
fn records_of_a_partition_that_is_gone_are_abandoned() {
    let mut machine = known();
    let Offered::Taken(parcels) = machine.offer(1, &[share(Place::At(2), 0..10, 100)], Duration::ZERO) else {
        panic!("an empty window takes a batch")
    };
    let gone = Err(Fault::Topic { reason: TopicFault::PartitionGone, message: Arc::from("gone") });
    machine.report(0, parcels[0], 0..10, gone, Duration::ZERO);
    machine.topic(&topic(), Ok(2), Duration::ZERO);
    let settled = actions(&mut machine);
    assert!(settled.contains(&Action::Settle { parcel: parcels[0], how: Settled::Abandoned }), "{settled:?}");
    assert!(machine.is_idle());
}

/// Scenario: many narrow batches and one over all lanes wait for the window. Guarantee: who came first is woken first, and
/// the credit that it waits for is not given to those behind it.
#[test]
fn a_wide_batch_does_not_starve() {
    let mut machine = known();
    let narrow = |partition| [share(Place::At(partition), 0..1, 500)];
    let mut in_flight = Vec::new();
    for partition in (0..3).cycle().take(12) {
        if let Offered::Taken(parcels) = machine.offer(in_flight.len() as u64, &narrow(partition), Duration::ZERO) {
            in_flight.extend(parcels);
        }
    }
    let wide: Vec<Share> = (0..3).map(|partition| share(Place::At(partition), 0..1, 400)).collect();
    assert!(matches!(machine.offer(100, &wide, Duration::ZERO), Offered::Held(_)));
    let mut woken = false;
    for parcel in in_flight {
        machine.report(0, parcel, 0..1, Ok(()), Duration::ZERO);
        woken |= actions(&mut machine).contains(&Action::Wake(100));
    }
    assert!(woken, "everything was acknowledged, so there is room");
    assert!(matches!(machine.offer(100, &wide, Duration::ZERO), Offered::Taken(_)));
}

/// Scenario: one record in 1,000 is too large; the broker refuses its whole batch and accuses nobody. Guarantee: the batch is
/// sent again in halves until it stands alone; it is buried, and the other 999 are acknowledged, once, in order (I5).
#[test]
fn the_one_that_is_too_large_is_found_by_halves() {
    const GUILTY: u32 = 617;
    let mut machine = known();
    let Offered::Taken(parcels) = machine.offer(1, &[share(Place::At(0), 0..1_000, 1_900)], Duration::ZERO) else {
        panic!("an empty window takes a batch")
    };
    let (mut acknowledged, mut buried, mut sends) = (Vec::new(), Vec::new(), 0);
    let mut todo = actions(&mut machine);
    while let Some(action) = todo.first().cloned() {
        todo.remove(0);
        match action {
            Action::Produce { parcel, records, .. } => {
                sends += 1;
                let message = Arc::from("too large");
                let refusal = Fault::Record { reason: RecordFault::TooLarge, message };
                let result = if records.contains(&GUILTY) { Err(refusal) } else { Ok(()) };
                acknowledged.extend(records.clone().filter(|_| result.is_ok()));
                machine.report(0, parcel, records, result, Duration::ZERO);
            }
            Action::Bury { parcel, record, .. } => {
                buried.push(record);
                machine.buried(parcel, record, true, Duration::ZERO);
            }
            Action::Settle { parcel, how } => assert_eq!((parcel, how), (parcels[0], Settled::DeadLettered)),
            _ => {}
        }
        todo.extend(actions(&mut machine));
    }
    assert_eq!(buried, [GUILTY]);
    assert_eq!(acknowledged, (0..1_000).filter(|record| *record != GUILTY).collect::<Vec<_>>());
    assert!(sends <= 21, "two halves a step: {sends}");
    assert!(machine.is_idle());
}
