//! The machine's named behaviours, one at a time. Its random lives are in `tests/model/`.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::machine::{Action, Limits, Machine, Offered, WhenFull};
use super::spill::Trouble;
use super::waiting::Blocker;
use crate::batch::{LaneKey, Place, Settled, Share, SourceKey};
use crate::output::{Fault, Parcel, RecordFault, TopicFault};
use crate::spool::{FrameId, Turn};

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
        append_bytes_max: 0,
        spool_always: false,
        when_full: WhenFull::Block,
    }
}

fn share(place: Place, records: Range<u32>, bytes: u64) -> Share {
    Share { topic: topic(), place, records, payload_bytes: bytes, bytes }
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
    while let Offered::Taken(_) =
        machine.offer(taken, SourceKey(0), &[share(Place::At(0), 0..1, 100)], false, Duration::ZERO)
    {
        taken += 1;
    }
    assert_eq!(taken * 100, WINDOW_BYTES / 2);
    let other = machine.offer(99, SourceKey(0), &[share(Place::At(1), 0..1, 900)], false, Duration::ZERO);
    assert!(matches!(other, Offered::Taken(_)), "{other:?}");
}

/// Scenario: the last record in flight is reported, and nobody has done yet what the machine says. Guarantee: it is not idle
/// before: who stops then and commits would repeat what has just been delivered.
#[test]
fn what_is_delivered_and_not_settled_is_not_idle() {
    let mut machine = known();
    let Offered::Taken(parcels) =
        machine.offer(1, SourceKey(0), &[share(Place::At(0), 0..3, 100)], false, Duration::ZERO)
    else {
        panic!("an empty window takes a batch")
    };
    actions(&mut machine);
    machine.report(0, parcels[0], 0..3, Ok(()), Duration::ZERO);
    assert!(!machine.is_idle());
    let said = actions(&mut machine);
    assert!(said.iter().any(|action| matches!(action, Action::Settle { how: Settled::Delivered, .. })), "{said:?}");
    assert!(machine.is_idle());
}

/// Scenario: a topic that is not authorised, then is. Guarantee: probes come 1, 2, 4 … 60 s apart, one record each, and the
/// rest follows the first that is taken.
#[test]
fn probes_back_off_and_the_lane_goes_on_by_itself() {
    let mut machine = known();
    let Offered::Taken(parcels) =
        machine.offer(1, SourceKey(0), &[share(Place::At(0), 0..10, 100)], false, Duration::ZERO)
    else {
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
    let Offered::Taken(parcels) =
        machine.offer(1, SourceKey(0), &[share(Place::At(2), 0..10, 100)], false, Duration::ZERO)
    else {
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
        if let Offered::Taken(parcels) =
            machine.offer(in_flight.len() as u64, SourceKey(0), &narrow(partition), false, Duration::ZERO)
        {
            in_flight.extend(parcels);
        }
    }
    let wide: Vec<Share> = (0..3).map(|partition| share(Place::At(partition), 0..1, 400)).collect();
    assert!(matches!(machine.offer(100, SourceKey(0), &wide, false, Duration::ZERO), Offered::Held(_)));
    let mut woken = false;
    for parcel in in_flight {
        machine.report(0, parcel, 0..1, Ok(()), Duration::ZERO);
        woken |= actions(&mut machine).contains(&Action::Wake(100));
    }
    assert!(woken, "everything was acknowledged, so there is room");
    assert!(matches!(machine.offer(100, SourceKey(0), &wide, false, Duration::ZERO), Offered::Taken(_)));
}

/// Scenario: one record in 1,000 is too large; the broker refuses its whole batch and accuses nobody. Guarantee: the batch is
/// sent again in halves until it stands alone; it is buried, and the other 999 are acknowledged, once, in order (I5).
#[test]
fn the_one_that_is_too_large_is_found_by_halves() {
    const GUILTY: u32 = 617;
    let mut machine = known();
    let Offered::Taken(parcels) =
        machine.offer(1, SourceKey(0), &[share(Place::At(0), 0..1_000, 1_900)], false, Duration::ZERO)
    else {
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

fn taken(machine: &mut Machine<u64>, who: u64, shares: &[Share], now: Duration) -> Vec<Parcel> {
    match machine.offer(who, SourceKey(0), shares, false, now) {
        Offered::Taken(parcels) => parcels,
        Offered::Held(blocker) => panic!("{who} is held by {blocker:?}"),
    }
}

fn produced(actions: &[Action<u64>]) -> Vec<(Parcel, Range<u32>)> {
    let one = |action: &Action<u64>| match action {
        Action::Produce { parcel, records, .. } => Some((*parcel, records.clone())),
        _ => None,
    };
    actions.iter().filter_map(one).collect()
}

/// Scenario: one partition hangs; a batch over all of them is more than the window has left. Guarantee: it waits for the
/// partition that hangs, and not at the head of those who only want room (I6).
#[test]
fn who_feeds_a_stalled_lane_does_not_wait_for_the_window() {
    let mut machine = known();
    taken(&mut machine, 1, &[share(Place::At(0), 0..1, 1_000)], Duration::ZERO);
    let wide = [share(Place::At(0), 0..1, 400), share(Place::At(1), 1..2, 1_400), share(Place::At(2), 2..3, 1_400)];
    let narrow = [share(Place::At(1), 0..1, 1_000)];
    assert_eq!(machine.offer(2, SourceKey(0), &wide, false, Duration::ZERO), Offered::Held(Blocker::Window));
    assert_eq!(
        machine.offer(3, SourceKey(0), &narrow, false, Duration::ZERO),
        Offered::Held(Blocker::Window),
        "who is later waits behind it"
    );
    actions(&mut machine);
    machine.tick(Duration::from_secs(3));
    assert_eq!(actions(&mut machine), [Action::Wake(3)]);
    machine.report(0, Parcel(0), 0..1, Ok(()), Duration::from_secs(4));
    machine.forget(3);
    assert!(actions(&mut machine).contains(&Action::Wake(2)), "the lane flows again");
}

/// Scenario: the partition that keyless records go to hangs. Guarantee: they go to one that flows.
#[test]
fn keyless_records_avoid_a_stalled_lane() {
    let mut machine = known();
    let keyless = [share(Place::Any, 0..1, 10)];
    taken(&mut machine, 1, &keyless, Duration::ZERO);
    let now = Duration::from_secs(3);
    machine.tick(now);
    actions(&mut machine);
    for who in 0..400 {
        let parcels = taken(&mut machine, who, &keyless, now);
        let to_hanging = |action: &Action<u64>| matches!(action, Action::Produce { partition: 0, .. });
        assert!(!actions(&mut machine).iter().any(to_hanging), "batch {who} goes to the partition that hangs");
        machine.report(0, parcels[0], 0..1, Ok(()), now);
    }
}

/// Scenario: the producer dies with two batches in flight, one acknowledged in part; its reports come late. Guarantee: what
/// is unacknowledged goes to the new one in order, and the late reports change nothing.
#[test]
fn a_rebuild_sends_again_in_order_and_ignores_the_past() {
    let mut machine = known();
    let first = taken(&mut machine, 1, &[share(Place::At(0), 0..10, 100)], Duration::ZERO)[0];
    let second = taken(&mut machine, 1, &[share(Place::At(0), 0..5, 100)], Duration::ZERO)[0];
    machine.report(0, first, 0..4, Ok(()), Duration::ZERO);
    actions(&mut machine);
    machine.lost(Arc::from("fenced"));
    machine.lost(Arc::from("fenced"));
    assert_eq!(actions(&mut machine), [Action::Rebuild { message: Arc::from("fenced") }], "one is enough");
    machine.rebuilt(1, Duration::ZERO);
    assert_eq!(produced(&actions(&mut machine)), [(first, 4..10), (second, 0..5)]);
    machine.report(0, first, 4..10, Ok(()), Duration::ZERO);
    let fault = Fault::Producer { message: Arc::from("purged") };
    machine.report(0, second, 0..5, Err(fault), Duration::ZERO);
    assert_eq!(actions(&mut machine), []);
    machine.report(1, first, 4..10, Ok(()), Duration::ZERO);
    machine.report(1, second, 0..5, Ok(()), Duration::ZERO);
    actions(&mut machine);
    assert!(machine.is_idle());
}

/// Scenario: of two batches of one lane, one is refused with its guilty record named, the other for its size. Guarantee:
/// nobody is buried for being in the lane: who is accused goes alone first (I5).
#[test]
fn who_is_accused_beside_a_named_one_is_not_buried_with_it() {
    let mut machine = known();
    let parcel = taken(&mut machine, 1, &[share(Place::At(0), 0..6, 600)], Duration::ZERO)[0];
    actions(&mut machine);
    let fault = |reason| Err(Fault::Record { reason, message: Arc::from("refused") });
    machine.report(0, parcel, 0..1, Err(Fault::Neighbour), Duration::ZERO);
    machine.report(0, parcel, 1..2, fault(RecordFault::Invalid), Duration::ZERO);
    machine.report(0, parcel, 2..6, fault(RecordFault::TooLarge), Duration::ZERO);
    let mut buried = Vec::new();
    loop {
        let actions = actions(&mut machine);
        if actions.is_empty() {
            break;
        }
        for action in actions {
            match action {
                Action::Produce { records, .. } => {
                    // The broker takes all but 1 and 4, and says of a batch with 4 only that it is too large.
                    for record in records.clone() {
                        let result = match record {
                            _ if records.contains(&4) => fault(RecordFault::TooLarge),
                            1 => fault(RecordFault::Invalid),
                            _ if records.contains(&1) => Err(Fault::Neighbour),
                            _ => Ok(()),
                        };
                        machine.report(0, parcel, record..record + 1, result, Duration::ZERO);
                    }
                }
                Action::Bury { record, .. } => {
                    buried.push(record);
                    machine.buried(parcel, record, true, Duration::ZERO);
                }
                _ => {}
            }
        }
    }
    assert_eq!(buried, [1, 4]);
    assert!(machine.is_idle());
}

/// Scenario: a source waits for a topic that is missing, and goes away. Guarantee: the topic is kept while the source waits, and then
/// forgotten, so that nobody asks for it for ever.
#[test]
fn a_missing_topic_that_nobody_waits_for_is_forgotten() {
    let mut machine = Machine::new(limits());
    let wants = vec![(topic(), Place::Unknown, 10)];
    assert!(machine.would_hold(7, &wants, false, Duration::ZERO).is_some());
    let missing = Fault::Topic { reason: TopicFault::Missing, message: "missing".into() };
    machine.topic(&topic(), Err(missing), Duration::ZERO);
    actions(&mut machine);
    machine.tick(Duration::from_secs(3_600));
    assert!(!actions(&mut machine).contains(&Action::Forget { topic: topic() }), "it is waited for");
    machine.forget(7);
    machine.tick(Duration::from_secs(3_601));
    assert_eq!(actions(&mut machine), [Action::Forget { topic: topic() }]);
}

/// Scenario: a topic is forgotten, then a source looks whether it may feed it. Guarantee: it is looked up again, and the
/// source is woken.
#[test]
fn a_forgotten_topic_is_looked_up_for_who_waits_for_it() {
    let mut machine = known();
    let wants = vec![(topic(), Place::Any, 10)];
    let now = Duration::from_secs(3_600);
    machine.tick(now);
    assert_eq!(actions(&mut machine), [Action::Forget { topic: topic() }]);
    assert_eq!(machine.would_hold(7, &wants, false, now), Some(Blocker::Topic(topic())));
    assert_eq!(actions(&mut machine), [Action::Lookup { topic: topic() }]);
    machine.topic(&topic(), Ok(1), now);
    assert_eq!(actions(&mut machine), [Action::Wake(7)]);
}

/// Scenario: a lane that probes has a record on its way to the dead letter, which becomes durable as the probe is due.
/// Guarantee: the lane still sends one record first.
#[test]
fn a_burial_is_no_answer_to_a_probe() {
    let mut machine = known();
    let first = taken(&mut machine, 1, &[share(Place::At(0), 0..10, 100)], Duration::ZERO)[0];
    machine.report(0, first, 0..9, Ok(()), Duration::ZERO);
    let too_large = Fault::Record { reason: RecordFault::TooLarge, message: Arc::from("too large") };
    machine.report(0, first, 9..10, Err(too_large), Duration::ZERO);
    machine.rebuilt(1, Duration::ZERO);
    let next = taken(&mut machine, 1, &[share(Place::At(0), 0..10, 100)], Duration::ZERO)[0];
    let refused = Fault::Topic { reason: TopicFault::NotAuthorized, message: Arc::from("no") };
    machine.report(1, next, 0..10, Err(refused), Duration::ZERO);
    actions(&mut machine);
    let now = Duration::from_secs(5);
    machine.buried(first, 9, true, now);
    assert_eq!(produced(&actions(&mut machine)), []);
    machine.tick(now);
    assert_eq!(produced(&actions(&mut machine)), [(next, 0..1)]);
}

/// Scenario: sources wait for one lane, in an order; newcomers come meanwhile. Guarantee: first come, first served; who
/// gives up leaves its place to the next.
#[test]
fn first_come_is_first_served() {
    let mut machine = known();
    let all = [share(Place::At(0), 0..1, WINDOW_BYTES / 2)];
    let mut parcel = taken(&mut machine, 0, &all, Duration::ZERO)[0];
    for who in 1..5 {
        assert!(matches!(
            machine.offer(who, SourceKey(0), &all, false, Duration::ZERO),
            Offered::Held(Blocker::Lane(_))
        ));
    }
    actions(&mut machine);
    machine.forget(2);
    for who in [1, 3, 4] {
        machine.report(0, parcel, 0..1, Ok(()), Duration::ZERO);
        let woken: Vec<_> = actions(&mut machine).into_iter().filter(|one| matches!(one, Action::Wake(_))).collect();
        assert_eq!(woken, [Action::Wake(who)]);
        assert!(
            matches!(machine.offer(9, SourceKey(0), &all, false, Duration::ZERO), Offered::Held(_)),
            "a newcomer waits"
        );
        machine.forget(9);
        parcel = taken(&mut machine, who, &all, Duration::ZERO)[0];
    }
}

/// Scenario: a producer takes over while one of two lanes has records in flight. Guarantee: the idle lane goes on at once, on
/// the new one; the busy one is held until its last report, then its source is woken; nothing is sent again.
#[test]
fn a_lane_moves_to_a_new_producer_when_nothing_of_it_is_in_flight() {
    let mut machine = known();
    let busy = [share(Place::At(0), 0..10, 100)];
    let Offered::Taken(parcels) = machine.offer(1, SourceKey(0), &busy, false, Duration::ZERO) else {
        panic!("an empty window takes it")
    };
    machine.replaced(1, Duration::ZERO);
    assert!(machine.is_moving());
    actions(&mut machine);
    assert!(matches!(
        machine.offer(2, SourceKey(0), &[share(Place::At(1), 0..1, 100)], false, Duration::ZERO),
        Offered::Taken(_)
    ));
    assert!(matches!(machine.offer(1, SourceKey(0), &busy, false, Duration::ZERO), Offered::Held(Blocker::Lane(_))));
    machine.report(0, parcels[0], 0..9, Ok(()), Duration::ZERO);
    assert!(machine.is_moving(), "one is left");
    assert!(!actions(&mut machine).contains(&Action::Wake(1)));
    machine.report(0, parcels[0], 9..10, Ok(()), Duration::ZERO);
    assert!(!machine.is_moving());
    let after = actions(&mut machine);
    assert!(after.contains(&Action::Wake(1)), "{after:?}");
    assert!(after.contains(&Action::Settle { parcel: parcels[0], how: Settled::Delivered }), "{after:?}");
    let Offered::Taken(next) = machine.offer(1, SourceKey(0), &busy, false, Duration::ZERO) else {
        panic!("the lane has moved")
    };
    machine.report(0, next[0], 0..10, Ok(()), Duration::ZERO);
    assert_eq!(
        actions(&mut machine).len(),
        1,
        "the old producer has nothing to say of it: only the hand-over is there"
    );
    assert_eq!((machine.rebuilds(), machine.tally().rows()[0].1.records_resent), (1, 0));
}

/// Scenario: a producer that is being replaced reports some of its records, one refused as its own fault, and then nothing
/// more. Guarantee: no third producer is asked for; when patience ends, what is left is sent again on the new one, in order,
/// and what the old one says later is ignored.
#[test]
fn what_a_replaced_producer_does_not_report_is_sent_again() {
    let mut machine = known();
    let offer = |machine: &mut Machine<u64>, partition| match machine.offer(
        1,
        SourceKey(0),
        &[share(Place::At(partition), 0..4, 100)],
        false,
        Duration::ZERO,
    ) {
        Offered::Taken(parcels) => parcels[0],
        held => panic!("{held:?}"),
    };
    let (first, second) = (offer(&mut machine, 0), offer(&mut machine, 0));
    machine.replaced(1, Duration::ZERO);
    machine.report(0, first, 0..2, Ok(()), Duration::ZERO);
    machine.report(0, first, 2..3, Err(Fault::Producer { message: Arc::from("purged") }), Duration::ZERO);
    let so_far = actions(&mut machine);
    assert!(!so_far.iter().any(|action| matches!(action, Action::Rebuild { .. })), "{so_far:?}");
    assert_eq!(machine.hurried(Duration::from_secs(2)), 5, "one of the first and four of the second are unreported");
    assert!(!machine.is_moving());
    let again: Vec<_> = actions(&mut machine)
        .into_iter()
        .filter_map(|action| match action {
            Action::Produce { parcel, records, .. } => Some((parcel, records)),
            _ => None,
        })
        .collect();
    assert_eq!(again, [(first, 2..4), (second, 0..4)]);
    machine.report(0, second, 0..4, Ok(()), Duration::from_secs(2));
    assert!(actions(&mut machine).is_empty(), "the old one is not heard any more");
    machine.report(1, first, 2..4, Ok(()), Duration::from_secs(2));
    machine.report(1, second, 0..4, Ok(()), Duration::from_secs(2));
    actions(&mut machine);
    assert!(machine.is_idle());
}

/// Scenario: of two sources whose records wait for a topic that is not authorised, one is stopped. Guarantee: its records are
/// abandoned, at once and without being sent; the other's stay.
#[test]
fn what_waits_for_a_topic_can_be_given_up_by_parcel() {
    let mut machine = known();
    let mut parcels = Vec::new();
    for who in 0..2 {
        let Offered::Taken(taken) =
            machine.offer(who, SourceKey(0), &[share(Place::At(0), 0..5, 100)], false, Duration::ZERO)
        else {
            panic!("an empty window takes it")
        };
        parcels.extend(taken);
    }
    machine.give_up(&[parcels[0]].into());
    assert!(!actions(&mut machine).iter().any(|action| matches!(action, Action::Settle { .. })), "it is in flight");
    let refused = || Err(Fault::Topic { reason: TopicFault::NotAuthorized, message: Arc::from("no") });
    parcels.iter().for_each(|parcel| machine.report(0, *parcel, 0..5, refused(), Duration::ZERO));
    machine.give_up(&[parcels[0]].into());
    let given_up = actions(&mut machine);
    assert_eq!(given_up, [Action::Settle { parcel: parcels[0], how: Settled::Abandoned }]);
    assert_eq!(machine.bytes_used(), 100);
    machine.give_up(&[parcels[1]].into());
    actions(&mut machine);
    assert!(machine.is_idle() && machine.bytes_used() == 0);
}

/// Scenario: three batches wait for a topic that is not authorised; a record of the second is on its way to the dead letter when
/// all three are given up. Guarantee: the second stays, and the first with it, for it would be read again behind it; the third does
/// not. Once the dead letter has the record, both can be given up.
#[test]
fn what_stands_before_one_that_stays_is_not_given_up() {
    let mut machine = known();
    let parcels: Vec<Parcel> = (0..3)
        .map(|who| {
            let one = share(Place::At(0), 0..3, 100);
            match machine.offer(who, SourceKey(0), &[one], false, Duration::ZERO) {
                Offered::Taken(parcels) => parcels[0],
                held => panic!("an empty window takes it: {held:?}"),
            }
        })
        .collect();
    machine.not_for_its_topic(parcels[1], 1..2, &Arc::from("json failed"));
    let refused = || Err(Fault::Topic { reason: TopicFault::NotAuthorized, message: Arc::from("no") });
    for (parcel, records) in [(0, 0..3), (1, 0..1), (1, 2..3), (2, 0..3)] {
        machine.report(0, parcels[parcel], records, refused(), Duration::ZERO);
    }
    actions(&mut machine);
    let abandoned = |parcel| Action::Settle { parcel, how: Settled::Abandoned };
    let all = parcels.iter().copied().collect();
    machine.give_up(&all);
    assert_eq!(actions(&mut machine), [abandoned(parcels[2])]);
    machine.buried(parcels[1], 1, true, Duration::ZERO);
    machine.give_up(&all);
    assert_eq!(actions(&mut machine), [abandoned(parcels[0]), abandoned(parcels[1])]);
    assert!(machine.is_idle() && machine.bytes_used() == 0);
}

/// Scenario: the spool has two frames of a partition, then one whose partition was not known, then one of the partition again; the
/// topic refuses what is sent of the first. Guarantee: nothing behind a frame that is left for later goes before it, with a
/// partition or without.
#[test]
fn frames_without_a_partition_keep_their_place_in_their_topic() {
    let mut machine = Machine::new(limits());
    let (placed, unplaced) = (lane(0), lane(-1));
    machine.recovered(&[(placed.clone(), 3), (unplaced.clone(), 1)], &[(topic(), 1)]);
    let now = Duration::ZERO;
    assert_eq!(machine.may_read(&placed, FrameId(1), 100, now), Turn::Take);
    let parcels = machine.read(&placed, FrameId(1), SourceKey(1), &[share(Place::At(0), 0..1, 100)], now);
    let fault = Fault::Topic { reason: TopicFault::NotAuthorized, message: "no".into() };
    machine.report(0, parcels[0], 0..1, Err(fault), now);
    assert_eq!(machine.may_read(&placed, FrameId(2), 100, now), Turn::Skip, "its lane is at fault");
    assert_eq!(machine.may_read(&unplaced, FrameId(3), 100, now), Turn::Skip, "an older one of its topic was left");
    assert_eq!(machine.may_read(&placed, FrameId(4), 100, now), Turn::Skip);
    let later = Duration::from_secs(2);
    machine.tick(later);
    machine.report(0, parcels[0], 0..1, Ok(()), later);
    machine.tick(later);
    actions(&mut machine);
    assert_eq!(machine.may_read(&placed, FrameId(2), 100, later), Turn::Take);
    machine.read(&placed, FrameId(2), SourceKey(1), &[share(Place::At(0), 0..1, 100)], later);
    assert_eq!(
        machine.may_read(&unplaced, FrameId(3), WINDOW_BYTES, later),
        Turn::Wait,
        "the window has no room for it"
    );
    assert_eq!(machine.may_read(&unplaced, FrameId(3), 100, later), Turn::Take);
}

/// Scenario: a frame whose partition was not known is left for later, for its topic is not known again yet.
/// Guarantee: a newer frame with a partition does not go before it.
#[test]
fn frames_do_not_overtake_one_without_a_partition() {
    let mut machine = Machine::new(limits());
    let (placed, unplaced) = (lane(0), lane(-1));
    machine.recovered(&[(unplaced.clone(), 1), (placed.clone(), 1)], &[]);
    let now = Duration::ZERO;
    assert_eq!(machine.may_read(&unplaced, FrameId(1), 100, now), Turn::Skip, "nobody knows the topic");
    machine.topic(&topic(), Ok(1), now);
    assert_eq!(machine.may_read(&placed, FrameId(2), 100, now), Turn::Skip, "an older one was left");
    machine.tick(now);
    let again = |action: &Action<u64>| matches!(action, Action::Again { lane } if *lane == unplaced);
    assert!(actions(&mut machine).iter().any(again), "its turn has come");
    assert_eq!(machine.may_read(&unplaced, FrameId(1), 100, now), Turn::Take);
}

/// Scenario: a frame whose partition was not known is read and goes to two partitions; one of them is gone with the topic that was
/// made anew, the other is probed. Guarantee: what was appended behind that frame waits until it is read again.
#[test]
fn what_is_behind_a_frame_that_is_torn_waits() {
    let now = Duration::ZERO;
    let mut machine = known();
    machine.recovered(&[(lane(-1), 2)], &[(topic(), PARTITIONS)]);
    machine.spool(1 << 20, HashSet::new(), None);
    let two = [share(Place::At(0), 0..1, 100), share(Place::At(2), 1..2, 100)];
    assert_eq!(machine.may_read(&lane(-1), FrameId(1), 200, now), Turn::Take);
    let parcels = machine.read(&lane(-1), FrameId(1), SourceKey(1), &two, now);
    let fault = |reason| Err(Fault::Topic { reason, message: Arc::from("no") });
    machine.report(0, parcels[0], 0..1, fault(TopicFault::NotAuthorized), now);
    machine.report(0, parcels[1], 1..2, fault(TopicFault::PartitionGone), now);
    machine.topic(&topic(), Ok(1), now);
    let settled = |action: &Action<u64>| matches!(action, Action::Settle { how: Settled::Spooled, .. });
    assert!(actions(&mut machine).iter().any(settled), "the part for the partition that is gone");
    machine.topic(&topic(), Ok(PARTITIONS), now);
    assert_eq!(machine.may_read(&lane(-1), FrameId(2), 100, now), Turn::Skip);
    let behind = machine.offer(1, SourceKey(2), &[share(Place::At(2), 0..1, 100)], false, now);
    assert!(matches!(behind, Offered::Held(_)), "{behind:?}");
    let now = Duration::from_secs(2);
    machine.tick(now);
    machine.report(0, parcels[0], 0..1, Ok(()), now);
    let said = actions(&mut machine);
    assert!(said.contains(&Action::Unread { lane: lane(-1), frame: FrameId(1) }), "{said:?}");
    assert_eq!(machine.may_read(&lane(-1), FrameId(1), 200, now), Turn::Take);
}

/// Scenario: the reader was told to take a frame and is fetching it; meanwhile the topic refuses what was read before it, and that
/// is given up, to be read again. Guarantee: the frame does not go before it: it is read again too, behind it.
#[test]
fn a_frame_on_its_way_does_not_overtake_what_was_given_up_before_it() {
    let now = Duration::ZERO;
    let mut machine = known();
    machine.recovered(&[(lane(0), 4)], &[(topic(), PARTITIONS)]);
    machine.spool(1 << 20, HashSet::new(), None);
    let one = [share(Place::At(0), 0..1, 100)];
    let mut parcels = Vec::new();
    for frame in 1..=3 {
        assert_eq!(machine.may_read(&lane(0), FrameId(frame), 100, now), Turn::Take);
        parcels.extend(machine.read(&lane(0), FrameId(frame), SourceKey(frame), &one, now));
    }
    assert_eq!(machine.may_read(&lane(0), FrameId(4), 100, now), Turn::Take);
    for parcel in parcels {
        let refused = Fault::Topic { reason: TopicFault::Missing, message: Arc::from("no") };
        machine.report(0, parcel, 0..1, Err(refused), now);
    }
    let unread = |said: Vec<Action<u64>>| -> Vec<u64> {
        let frame = |action| if let Action::Unread { frame, .. } = action { Some(frame.0) } else { None };
        said.into_iter().filter_map(frame).collect()
    };
    assert_eq!(unread(actions(&mut machine)), [2, 3], "all but the first leave memory");
    assert_eq!(machine.read(&lane(0), FrameId(4), SourceKey(4), &one, now), []);
    assert_eq!(unread(actions(&mut machine)), [4]);
    // The topic is well again: the probe, then the others in their order.
    let now = Duration::from_secs(1);
    machine.tick(now);
    let probe = produced(&actions(&mut machine));
    assert_eq!(probe.len(), 1);
    machine.report(0, probe[0].0, 0..1, Ok(()), now);
    actions(&mut machine);
    for frame in 2..=4 {
        assert_eq!(machine.may_read(&lane(0), FrameId(frame), 100, now), Turn::Take);
        assert_eq!(machine.read(&lane(0), FrameId(frame), SourceKey(frame), &one, now).len(), 1);
    }
    assert_eq!(machine.may_read(&lane(0), FrameId(4), 100, now), Turn::Have);
}

fn lane(partition: i32) -> LaneKey {
    LaneKey { topic: topic(), partition }
}

/// Scenario: a pipe brings batches for a partition that has frames in the spool, one after the other. Guarantee: they press once half
/// of what may be on its way to the spool is, so that it is written before the pipe has to wait; written, they don't.
#[test]
fn what_fills_half_of_the_way_to_the_spool_presses() {
    let lane = LaneKey { topic: topic(), partition: 0 };
    let mut machine = Machine::new(Limits { append_bytes_max: 1_000, ..limits() });
    machine.topic(&topic(), Ok(PARTITIONS), Duration::ZERO);
    machine.recovered(&[(lane.clone(), 1)], &[(topic(), PARTITIONS)]);
    machine.spool(1 << 20, HashSet::new(), None);
    let mut offer = |bytes| {
        let offered = machine.offer(1, SourceKey(0), &[share(Place::At(0), 0..1, bytes)], true, Duration::ZERO);
        (offered, machine.presses())
    };
    let (first, presses) = offer(499);
    assert!(!presses, "{first:?}");
    let (second, presses) = offer(1);
    assert!(presses, "{second:?}");
    assert!(matches!(offer(501), (Offered::Held(Blocker::Spool), true)), "there is a limit, too");
    let (Offered::Taken(first), Offered::Taken(second)) = (first, second) else { panic!("there is room") };
    machine.committed(first[0], &lane, FrameId(2));
    assert!(!machine.presses());
    machine.committed(second[0], &lane, FrameId(3));
    assert!(!machine.presses(), "nothing is on its way");
}

/// Scenario: of three lanes two have a replica on broker 3, which hangs; the third is led by the same broker as they and is silent
/// with them. Guarantee: the brokers are asked; the third lane goes on with a new producer, what it had in flight sent again at
/// once; the two stay where they are, and what is new for them goes there; when broker 3 answers, they come too.
#[test]
fn who_needs_a_silent_broker_is_set_aside_and_the_others_go_on() {
    let at = Duration::from_millis;
    let mut machine = known();
    let name = share(Place::At(0), 0..1, 1).topic;
    machine.replicas(&name, [[1, 3].into(), [3].into(), [1, 2].into()].into_iter().collect());
    let offer = |machine: &mut Machine<u64>, partition, ms| match machine.offer(
        u64::try_from(partition).expect("small"),
        SourceKey(0),
        &[share(Place::At(partition), 0..4, 100)],
        false,
        at(ms),
    ) {
        Offered::Taken(parcels) => parcels[0],
        held => panic!("{held:?}"),
    };
    let produced = |machine: &mut Machine<u64>| -> Vec<(Parcel, u64)> {
        let epoch = |action| match action {
            Action::Produce { parcel, epoch, .. } => Some((parcel, epoch)),
            _ => None,
        };
        actions(machine).into_iter().filter_map(epoch).collect()
    };
    let parcels: Vec<Parcel> = (0..3).map(|partition| offer(&mut machine, partition, 0)).collect();
    actions(&mut machine);
    machine.tick(at(250));
    assert_eq!(actions(&mut machine), [], "they may only be slow");
    machine.tick(at(350));
    assert_eq!(actions(&mut machine), [Action::Knock { brokers: vec![1, 2, 3] }]);
    machine.tick(at(400));
    assert_eq!(actions(&mut machine), [], "they are being asked");
    machine.knocked(Some(vec![3]), at(700));
    let asked = actions(&mut machine);
    assert!(matches!(&asked[..], [Action::SetAside { brokers, .. }] if brokers[..] == [3]), "{asked:?}");
    machine.set_aside(1, &[3], at(750));
    assert_eq!(produced(&mut machine), [(parcels[2], 1)], "what it had in flight is sent again");
    assert!(machine.uses(0) && !machine.is_moving());
    machine.report(0, parcels[2], 0..4, Ok(()), at(800));
    assert_eq!(produced(&mut machine), [], "the one beside has no say in it any more");
    machine.report(1, parcels[2], 0..4, Ok(()), at(800));
    machine.report(0, parcels[0], 0..4, Ok(()), at(30_000));
    let (beside, newest) = (offer(&mut machine, 0, 30_000), offer(&mut machine, 2, 30_000));
    assert_eq!(produced(&mut machine), [(beside, 0), (newest, 1)]);
    machine.tick(at(30_000));
    assert_eq!(actions(&mut machine).last(), Some(&Action::Knock { brokers: vec![3] }), "whether it answers again");
    machine.knocked(Some(Vec::new()), at(30_100));
    assert!(machine.is_moving(), "two have records in flight on the old one");
    machine.report(0, beside, 0..4, Ok(()), at(30_200));
    machine.report(0, parcels[1], 0..4, Ok(()), at(30_200));
    assert!(!machine.uses(0), "it can go");
    let last = offer(&mut machine, 1, 30_300);
    assert_eq!(produced(&mut machine), [(last, 1)]);
}

/// Scenario: all lanes are silent, and no broker answers; then one whose lanes are silent, and every broker answers.
/// Guarantee: nothing is done in either case, and it is asked less and less often.
#[test]
fn an_outage_sets_nobody_aside() {
    let mut machine = known();
    let name = share(Place::At(0), 0..1, 1).topic;
    machine.replicas(&name, [[1].into(), [2].into(), [3].into()].into_iter().collect());
    for partition in 0..2 {
        let offered = machine.offer(1, SourceKey(0), &[share(Place::At(partition), 0..4, 100)], false, Duration::ZERO);
        assert!(matches!(offered, Offered::Taken(_)));
    }
    actions(&mut machine);
    let mut asked_ms = Vec::new();
    for ms in (50..60_000).step_by(50) {
        machine.tick(Duration::from_millis(ms));
        for action in actions(&mut machine) {
            match action {
                Action::Knock { .. } => asked_ms.push(ms),
                other => panic!("{other:?} after {ms} ms"),
            }
            let answer = if asked_ms.len() < 3 { None } else { Some(Vec::new()) };
            machine.knocked(answer, Duration::from_millis(ms));
        }
    }
    assert_eq!(asked_ms, [350, 1_350, 3_350, 7_350, 15_350, 31_350]);
}

/// Scenario: a processor failed for two records of a batch; the dead letter takes one of them, and is full for the other until
/// later. Guarantee: the lane flows on until the dead letter refuses, and again once it has both; neither of the two is sent, the
/// others are acknowledged, and the batch settles with the last; they are counted by their reason.
#[test]
fn what_a_processor_failed_for_is_buried_beside_a_lane_that_flows() {
    let mut machine = known();
    let offer = |machine: &mut Machine<u64>, who, count, now| {
        machine.offer(who, SourceKey(0), &[share(Place::At(0), 0..count, 100)], false, now)
    };
    let take = |machine: &mut Machine<u64>, who, count, now| match offer(machine, who, count, now) {
        Offered::Taken(parcels) => parcels[0],
        held => panic!("it flows: {held:?}"),
    };
    let mut now = Duration::ZERO;
    let first = take(&mut machine, 1, 5, now);
    assert!(matches!(actions(&mut machine)[..], [Action::Produce { .. }]));
    let message = Arc::from("json failed");
    machine.not_for_its_topic(first, 1..3, &message);
    let bury = |record| {
        let (reason, message) = (RecordFault::Processor, Arc::clone(&message));
        Action::Bury { parcel: first, record, reason, message }
    };
    assert_eq!(actions(&mut machine), [bury(1), bury(2)]);
    let second = take(&mut machine, 2, 1, now);
    assert!(matches!(actions(&mut machine)[..], [Action::Produce { parcel, .. }] if parcel == second));

    machine.report(0, first, 0..1, Ok(()), now);
    machine.report(0, first, 3..5, Ok(()), now);
    machine.report(0, second, 0..1, Ok(()), now);
    machine.buried(first, 1, true, now);
    assert_eq!(actions(&mut machine), [Action::Settle { parcel: second, how: Settled::Delivered }]);
    machine.buried(first, 2, false, now);
    assert!(matches!(offer(&mut machine, 3, 1, now), Offered::Held(_)), "what is not kept holds its lane");
    let again = loop {
        now += Duration::from_secs(1);
        machine.tick(now);
        let said = actions(&mut machine);
        if !said.is_empty() {
            break said;
        }
    };
    assert_eq!(again, [bury(2)]);
    machine.buried(first, 2, true, now);
    assert!(actions(&mut machine).contains(&Action::Settle { parcel: first, how: Settled::DeadLettered }));
    let third = take(&mut machine, 3, 1, now);
    machine.report(0, third, 0..1, Ok(()), now);
    actions(&mut machine);
    assert!(machine.is_idle());
    let (_, counts) = &machine.tally().rows()[0];
    assert_eq!((counts.records_acked, &counts.records_buried[..]), (5, &[(RecordFault::Processor, 2)][..]));
}

/// Scenario: a producer dies with a batch of which a processor failed for the second record, which is still on its way to the dead
/// letter. Guarantee: the new producer has the others again, and not that one.
#[test]
fn a_rebuild_does_not_send_what_a_processor_failed_for() {
    let mut machine = known();
    let offered = machine.offer(1, SourceKey(0), &[share(Place::At(0), 0..3, 100)], false, Duration::ZERO);
    let Offered::Taken(parcels) = offered else { panic!("an empty window takes a batch") };
    actions(&mut machine);
    machine.not_for_its_topic(parcels[0], 1..2, &Arc::from("json failed"));
    machine.lost("fenced".into());
    actions(&mut machine);
    machine.rebuilt(1, Duration::ZERO);
    let mut sent = Vec::new();
    for action in actions(&mut machine) {
        match action {
            Action::Produce { records, epoch: 1, .. } => sent.extend(records),
            Action::Lookup { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sent, [0, 2]);
}

/// Scenario: arrivals wait behind a frame of the spool to be written there, and the disk takes nothing; the partition flows again.
/// Guarantee: once the frame was read they are sent, in order, and what arrives then too: nothing waits for the disk. What was
/// acknowledged need not be copied; what is in flight when the disk is well again is, and is not read a second time.
#[test]
fn what_the_disk_does_not_take_goes_to_a_partition_that_flows() {
    let lane = LaneKey { topic: topic(), partition: 0 };
    let mut machine = Machine::new(Limits { append_bytes_max: 1_000, ..limits() });
    machine.topic(&topic(), Ok(PARTITIONS), Duration::ZERO);
    machine.recovered(&[(lane.clone(), 1)], &[(topic(), PARTITIONS)]);
    machine.spool(1 << 20, HashSet::new(), None);
    let one = || [share(Place::At(0), 0..1, 100)];
    let mut offered = Vec::new();
    for source in [1, 2, 3] {
        let Offered::Taken(parcels) = machine.offer(source, SourceKey(source), &one(), true, Duration::ZERO) else {
            panic!("there is room")
        };
        offered.extend(parcels);
    }
    let trouble = Trouble { is_full: false, message: "read-only".into() };
    machine.spool(1 << 20, HashSet::new(), Some(trouble));
    let sent = |machine: &mut Machine<u64>| {
        machine.tick(Duration::from_secs(1));
        let (mut sent, mut numbers) = (Vec::new(), Vec::new());
        for action in actions(machine) {
            match action {
                Action::Produce { parcel, .. } => sent.push(parcel),
                Action::Renumber { parcel, to } => numbers.push((parcel, to)),
                _ => {}
            }
        }
        (sent, numbers)
    };
    assert_eq!(sent(&mut machine).0, [], "the frame goes first");
    assert!(matches!(machine.offer(4, SourceKey(4), &one(), true, Duration::ZERO), Offered::Held(_)));
    assert_eq!(machine.may_read(&lane, FrameId(1), 100, Duration::ZERO), Turn::Take);
    let read = machine.read(&lane, FrameId(1), SourceKey(9), &one(), Duration::ZERO);
    let (sent, numbers) = sent(&mut machine);
    let (were, are): (Vec<Parcel>, Vec<Parcel>) = numbers.into_iter().unzip();
    assert_eq!((were, sent), (offered.clone(), [&read[..], &are].concat()));
    assert!(are.is_sorted() && are[0] > read[0], "{are:?} come behind {read:?}");
    assert!(machine.lanes(Duration::from_secs(1)).iter().all(|lane| lane.state == "direct"));
    assert!(matches!(machine.offer(4, SourceKey(4), &one(), true, Duration::ZERO), Offered::Taken(_)));
    machine.report(0, are[0], 0..1, Ok(()), Duration::from_secs(1));
    let said = actions(&mut machine);
    assert!(said.contains(&Action::Settle { parcel: are[0], how: Settled::Delivered }), "{said:?}");
    assert_eq!([0, 1, 2].map(|at| machine.wants_copy(offered[at])), [false, true, true]);
    machine.spool(1 << 20, HashSet::new(), None);
    machine.committed(offered[1], &lane, FrameId(2));
    assert_eq!(machine.may_read(&lane, FrameId(2), 100, Duration::from_secs(1)), Turn::Have);
    machine.report(0, are[1], 0..1, Ok(()), Duration::from_secs(1));
    machine.report(0, are[2], 0..1, Ok(()), Duration::from_secs(1));
    machine.committed(offered[2], &lane, FrameId(3));
    let said = actions(&mut machine);
    for frame in [2, 3] {
        assert!(said.contains(&Action::Done { lane: lane.clone(), frame: FrameId(frame) }), "{said:?}");
    }
}

/// Scenario: records without a key wait behind a frame to be written to a disk that takes nothing; the topic is known. Guarantee: they
/// are sent behind it, to whatever partition flows.
#[test]
fn what_has_no_key_goes_to_any_partition_when_the_disk_takes_nothing() {
    let (now, unplaced) = (Duration::from_secs(3), LaneKey { topic: topic(), partition: -1 });
    let sent = |machine: &mut Machine<u64>| {
        machine.spool(1 << 20, HashSet::new(), Some(Trouble { is_full: true, message: "full".into() }));
        machine.tick(now);
        actions(machine).iter().filter(|action| matches!(action, Action::Produce { .. })).count()
    };
    let offer = |machine: &mut Machine<u64>, place| {
        machine.spool(1 << 20, HashSet::new(), None);
        for source in [1, 2] {
            let offered = machine.offer(source, SourceKey(source), &[share(place, 0..1, 100)], true, now);
            assert!(matches!(offered, Offered::Taken(_)), "{offered:?}");
        }
    };
    let mut machine = Machine::new(Limits { append_bytes_max: 1_000, ..limits() });
    machine.recovered(&[(unplaced.clone(), 1)], &[(topic(), PARTITIONS)]);
    offer(&mut machine, Place::Any);
    assert_eq!(sent(&mut machine), 0, "the frame goes first");
    assert_eq!(machine.lanes(now)[0].state, "logged", "its topic is known");
    assert_eq!(machine.may_read(&unplaced, FrameId(1), 100, now), Turn::Take);
    assert_eq!(machine.read(&unplaced, FrameId(1), SourceKey(9), &[share(Place::At(0), 0..1, 100)], now).len(), 1);
    actions(&mut machine);
    assert_eq!(sent(&mut machine), 2);
}

/// Scenario: records with keys are taken for a topic that nobody has told of, and are to be written to a disk that takes nothing; then
/// a broker tells. Guarantee: each batch is taken apart by the partitions of its keys in its turn, and its parts are sent, the
/// second's behind the first's; what arrives then goes behind both. A copy of a batch is one frame, done with the last of its parts; one
/// of which all is acknowledged need not be copied.
#[test]
fn what_has_a_key_is_placed_when_the_disk_takes_nothing() {
    let (now, unplaced) = (Duration::from_secs(3), LaneKey { topic: topic(), partition: -1 });
    let mut machine = Machine::new(Limits { append_bytes_max: 1_000, ..limits() });
    machine.spool(1 << 20, HashSet::new(), None);
    let offer = |machine: &mut Machine<u64>, source, place, now| {
        machine.offer(source, SourceKey(source), &[share(place, 0..4, 100)], true, now)
    };
    // Asked for, and nobody has answered for long.
    assert!(matches!(offer(&mut machine, 1, Place::Unknown, Duration::ZERO), Offered::Held(_)));
    machine.tick(now);
    let mut taken = Vec::new();
    for source in [1, 2] {
        let Offered::Taken(parcels) = offer(&mut machine, source, Place::Unknown, now) else { panic!("it is spooled") };
        taken.extend(parcels);
    }
    machine.spool(1 << 20, HashSet::new(), Some(Trouble { is_full: false, message: "read-only".into() }));
    assert_eq!(machine.next_to_place(now), None, "nobody knows where they go");
    machine.topic(&topic(), Ok(PARTITIONS), now);
    machine.tick(now);
    assert!(!actions(&mut machine).iter().any(|action| matches!(action, Action::Produce { .. })));
    assert!(matches!(offer(&mut machine, 3, Place::At(0), now), Offered::Held(_)), "it would overtake them");
    let apart = [share(Place::At(0), 0..3, 75), share(Place::At(1), 3..4, 25)];
    assert_eq!(machine.placed(taken[1], &apart, now), [], "the first goes first");
    let mut parts = Vec::new();
    for parcel in &taken {
        assert_eq!(machine.next_to_place(now), Some((*parcel, PARTITIONS)));
        parts.extend(machine.placed(*parcel, &apart, now));
    }
    assert_eq!(machine.next_to_place(now), None);
    let sent = |machine: &mut Machine<u64>| {
        let sent = |action| match action {
            Action::Produce { parcel, partition, records, .. } => Some((parcel, partition, records)),
            _ => None,
        };
        actions(machine).into_iter().filter_map(sent).collect::<Vec<_>>()
    };
    assert_eq!(
        sent(&mut machine),
        [(parts[0], 0, 0..3), (parts[1], 1, 3..4), (parts[2], 0, 0..3), (parts[3], 1, 3..4)]
    );
    assert!(matches!(offer(&mut machine, 3, Place::At(0), now), Offered::Taken(_)), "it comes behind them");
    actions(&mut machine);
    machine.report(0, parts[0], 0..3, Ok(()), now);
    assert!([0, 1].iter().all(|at| machine.wants_copy(taken[*at])), "not all of them is acknowledged");
    machine.report(0, parts[2], 0..3, Ok(()), now);
    machine.report(0, parts[3], 3..4, Ok(()), now);
    assert!(!machine.wants_copy(taken[1]));
    machine.spool(1 << 20, HashSet::new(), None);
    machine.committed(taken[0], &unplaced, FrameId(1));
    let said = actions(&mut machine);
    assert!(said.contains(&Action::Spooled { parcel: parts[1] }), "{said:?}");
    assert_eq!(machine.may_read(&unplaced, FrameId(1), 100, now), Turn::Have);
    machine.report(0, parts[1], 3..4, Ok(()), now);
    let said = actions(&mut machine);
    assert!(said.contains(&Action::Done { lane: unplaced, frame: FrameId(1) }), "{said:?}");
}

/// Scenario: a pipe brings batches for a partition that is spooled, until there is no room for more but what is kept back for what is
/// in flight; then there is room. Guarantee: it is told that the spool is full, and how many wait for it, as long as that is so.
#[test]
fn a_spool_without_room_is_called_full() {
    let mut machine = Machine::new(limits());
    machine.topic(&topic(), Ok(PARTITIONS), Duration::ZERO);
    machine.recovered(&[(lane(0), 1)], &[(topic(), PARTITIONS)]);
    let offer = |machine: &mut Machine<u64>| {
        machine.offer(1, SourceKey(0), &[share(Place::At(0), 0..1, 10)], true, Duration::ZERO)
    };
    machine.spool(1 << 30, HashSet::new(), None);
    assert_eq!(machine.held_by_spool(), (false, 0));
    machine.spool(limits().window_bytes_max, HashSet::new(), None);
    assert!(matches!(offer(&mut machine), Offered::Held(Blocker::Spool)));
    assert_eq!(machine.held_by_spool(), (true, 1));
    machine.spool(1 << 30, [lane(0)].into(), None);
    assert!(matches!(offer(&mut machine), Offered::Held(Blocker::Spool)));
    assert_eq!(machine.held_by_spool(), (true, 1), "this lane has its share");
    machine.spool(1 << 30, HashSet::new(), None);
    assert!(matches!(offer(&mut machine), Offered::Taken(_)));
    assert_eq!(machine.held_by_spool(), (false, 0));
}

/// Scenario: the reader has passed over a frame whose topic nobody knew, and over later ones; the topic is known, and it is told to come
/// back, while it is about to read a later one of a partition; or the other way round. Guarantee: the later frame waits until the
/// reader has been back.
#[test]
fn nothing_goes_before_a_frame_that_the_reader_is_coming_back_to() {
    let (now, unplaced) = (Duration::from_secs(1), LaneKey { topic: topic(), partition: -1 });
    let told_again = |machine: &mut Machine<u64>| {
        machine.tick(now);
        let lane = |action| if let Action::Again { lane } = action { Some(lane) } else { None };
        actions(machine).into_iter().filter_map(lane).collect::<Vec<_>>()
    };
    let read = |machine: &mut Machine<u64>, lane: &LaneKey, frame| {
        let turn = machine.may_read(lane, FrameId(frame), 10, now);
        if turn == Turn::Take {
            machine.read(lane, FrameId(frame), SourceKey(1), &[share(Place::At(0), 0..1, 10)], now);
        }
        turn
    };
    for (first, second) in [(&unplaced, &lane(0)), (&lane(0), &unplaced)] {
        let mut machine = Machine::new(limits());
        machine.spool(1 << 20, HashSet::new(), None);
        machine.recovered(&[(first.clone(), 1), (second.clone(), 1)], &[]);
        assert_eq!(read(&mut machine, first, 1), Turn::Skip, "nobody knows the topic");
        machine.topic(&topic(), Ok(PARTITIONS), now);
        assert_eq!(told_again(&mut machine), std::slice::from_ref(first));
        assert_eq!(read(&mut machine, second, 2), Turn::Skip, "the reader has not been back");
        assert_eq!(told_again(&mut machine), []);
        assert_eq!(read(&mut machine, first, 1), Turn::Take);
        assert_eq!(told_again(&mut machine), std::slice::from_ref(second));
        assert_eq!(read(&mut machine, second, 2), Turn::Take);
    }
}

/// Scenario: a batch is larger than its topic takes, and its halves are not. Guarantee: they are sent one after the other, and count as
/// sent again.
#[test]
fn the_halves_of_a_refused_batch_count_as_sent_again() {
    let mut machine = Machine::<u64>::new(limits());
    machine.topic(&topic(), Ok(PARTITIONS), Duration::ZERO);
    let Offered::Taken(parcels) =
        machine.offer(1, SourceKey(1), &[share(Place::At(0), 0..4, 40)], false, Duration::ZERO)
    else {
        panic!("there is room")
    };
    let too_large = || Fault::Record { reason: RecordFault::TooLarge, message: "too large".into() };
    machine.report(0, parcels[0], 0..4, Err(too_large()), Duration::ZERO);
    machine.report(0, parcels[0], 0..2, Ok(()), Duration::ZERO);
    machine.report(0, parcels[0], 2..4, Ok(()), Duration::ZERO);
    let sent = |action| if let Action::Produce { records, .. } = action { Some(records) } else { None };
    let sent: Vec<_> = actions(&mut machine).into_iter().filter_map(sent).collect();
    assert_eq!(sent, [0..4, 0..2, 2..4]);
    assert_eq!(machine.tally().rows()[0].1.records_resent, 4);
}

/// What a topic does that takes so many bytes a batch, of records of ten bytes: the producer makes one batch of all that is on its
/// way. The records that arrive, in order; the most that were on their way at once.
fn deliver_to_a_narrow_topic(machine: &mut Machine<u64>, batch_bytes_max: u64) -> (Vec<(Parcel, u32)>, u64) {
    let (mut arrived, mut most) = (Vec::new(), 0);
    loop {
        let mut batch: Vec<(Parcel, Range<u32>)> = Vec::new();
        for action in actions(machine) {
            if let Action::Produce { parcel, records, .. } = action {
                batch.push((parcel, records));
            }
        }
        let bytes = batch.iter().map(|(_, records)| records.len() as u64 * 10).sum::<u64>();
        most = most.max(bytes);
        if batch.is_empty() {
            return (arrived, most);
        }
        for (parcel, records) in batch {
            let too_large = || Fault::Record { reason: RecordFault::TooLarge, message: "too large".into() };
            if bytes <= batch_bytes_max {
                arrived.extend(records.clone().map(|record| (parcel, record)));
            }
            let result = if bytes <= batch_bytes_max { Ok(()) } else { Err(too_large()) };
            machine.report(0, parcel, records, result, Duration::ZERO);
        }
    }
}

/// Scenario: a topic takes smaller batches than the producer makes, of records that all pass alone; more comes, for another partition
/// too, and while some is on its way. Guarantee: once it has refused one, nothing that it would refuse is on its way, all of it
/// arrives in order, and nothing counts as sent again but what was.
#[test]
fn what_a_topic_takes_is_remembered() {
    const TAKES: u64 = 40_000;
    let mut machine = Machine::<u64>::new(Limits { window_bytes_max: 1 << 20, ..limits() });
    machine.topic(&topic(), Ok(PARTITIONS), Duration::ZERO);
    let offer = |machine: &mut Machine<u64>, partition, records: u32| {
        let share = share(Place::At(partition), 0..records, u64::from(records) * 10);
        match machine.offer(1, SourceKey(1), &[share], false, Duration::ZERO) {
            Offered::Taken(parcels) => parcels[0],
            Offered::Held(blocker) => panic!("there is room: {blocker:?}"),
        }
    };
    offer(&mut machine, 0, 10_000);
    let (arrived, most) = deliver_to_a_narrow_topic(&mut machine, TAKES);
    assert_eq!((arrived.len(), most), (10_000, 100_000));
    let resent = machine.tally().rows()[0].1.records_resent;
    for partition in [0, 1] {
        let first = offer(&mut machine, partition, 10_000);
        let second = offer(&mut machine, partition, 10);
        assert_eq!(machine.lanes(Duration::ZERO)[0].state, "split");
        let (arrived, most) = deliver_to_a_narrow_topic(&mut machine, TAKES);
        let expected = (0..10_000).map(|record| (first, record)).chain((0..10).map(|record| (second, record)));
        assert!(arrived.into_iter().eq(expected), "everything arrives, in order");
        assert!((TAKES / 2..=TAKES).contains(&most), "{most}");
    }
    assert_eq!(machine.tally().rows()[0].1.records_resent, resent);
    assert!(machine.is_idle());
}

/// Scenario: a batch is refused since one of its records is too large. Guarantee: that says nothing of how large a batch may be.
#[test]
fn a_guilty_record_says_nothing_of_batches() {
    let mut machine = known();
    let offer = |machine: &mut Machine<u64>| {
        let share = share(Place::At(0), 0..100, 1_000);
        assert!(matches!(machine.offer(1, SourceKey(1), &[share], false, Duration::ZERO), Offered::Taken(_)));
    };
    offer(&mut machine);
    let mut todo = actions(&mut machine);
    while let Some(action) = todo.pop() {
        match action {
            Action::Produce { parcel, records, .. } => {
                let too_large = Fault::Record { reason: RecordFault::TooLarge, message: "too large".into() };
                let result = if records.contains(&7) { Err(too_large) } else { Ok(()) };
                machine.report(0, parcel, records, result, Duration::ZERO);
            }
            Action::Bury { parcel, record, .. } => machine.buried(parcel, record, true, Duration::ZERO),
            _ => {}
        }
        todo.extend(actions(&mut machine));
    }
    offer(&mut machine);
    let sent: Vec<Action<u64>> = actions(&mut machine);
    assert!(matches!(&sent[..], [Action::Produce { records: Range { start: 0, end: 100 }, .. }]), "{sent:?}");
}
