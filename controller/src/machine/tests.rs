//! Every transition under a given clock.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use proptest::prelude::*;

/// A Wednesday.
const NOW: &str = "2026-11-25T21:40:30Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn time(text: &str) -> Time {
    Time(at(text))
}

fn schedule(text: &str) -> Result<Trigger, cron::Error> {
    cron::parse(text, &TimeZone::UTC).map(Trigger::Schedule)
}

fn manual(tag: &str) -> Trigger {
    Trigger::Manual(tag.into())
}

/// Started a minute before [`NOW`], after an earlier sync.
fn running() -> SyncStatus {
    SyncStatus { last_sync_start_time: Some(time("2026-11-25T21:39:30Z")), ..idle("2026-11-25T20:10:00Z") }
}

fn idle(last: &str) -> SyncStatus {
    SyncStatus { last_sync_time: Some(time(last)), ..SyncStatus::default() }
}

fn step(trigger: &Result<Trigger, cron::Error>, status: &SyncStatus, work: &Work) -> Decision {
    step_at(trigger, status, work, NOW)
}

fn step_at(trigger: &Result<Trigger, cron::Error>, status: &SyncStatus, work: &Work, now: &str) -> Decision {
    decide(&Situation { trigger, status, work, admitted: true, now: at(now), local: &TimeZone::UTC })
}

fn condition(status: &SyncStatus) -> (&str, &str, &str) {
    let [condition] = &status.conditions.as_ref().unwrap()[..] else { panic!("{:?}", status.conditions) };
    assert_eq!((condition.type_.as_str(), condition.observed_generation), ("Synchronizing", None));
    (&condition.status, &condition.reason, &condition.message)
}

const IN_PROGRESS: (&str, &str, &str) = ("True", "SyncInProgress", "Synchronization in-progress");
const CLEANING_UP: (&str, &str, &str) = ("False", "CleaningUp", "Cleaning up");
const FOR_SCHEDULE: (&str, &str, &str) = ("False", "WaitingForSchedule", "Waiting for next scheduled synchronization");
const FOR_MANUAL: (&str, &str, &str) = ("False", "WaitingForManual", "Waiting for manual trigger");
const QUEUED: (&str, &str, &str) = ("False", "Queued", "Waiting for other synchronizations to end");

#[test]
fn the_phase_is_in_the_times() {
    assert_eq!(phase(&SyncStatus::default()), Phase::Initial);
    assert_eq!(
        phase(&SyncStatus { last_sync_start_time: Some(time(NOW)), ..SyncStatus::default() }),
        Phase::Synchronizing
    );
    assert_eq!(phase(&running()), Phase::Synchronizing);
    assert_eq!(phase(&idle(NOW)), Phase::Idle);
}

#[test]
fn the_first_sync_starts_at_once_whatever_the_trigger() {
    for trigger in [schedule("0 0 1 1 *"), Ok(manual("once")), Ok(Trigger::Continuous)] {
        for work in [Work::Pending, Work::Finished, Work::Failed("x".into())] {
            let decision = step(&trigger, &SyncStatus::default(), &work);
            assert_eq!(decision.status.last_sync_start_time, Some(time(NOW)));
            assert_eq!(decision.status.last_sync_time, None);
            assert_eq!(condition(&decision.status), IN_PROGRESS);
            assert_eq!(decision.started, Some(Reason::First));
            assert_eq!(decision.measurements, [Measurement::OutOfSync(true)]);
            assert_eq!(decision.requeue, Requeue::After(LOOK_AGAIN));
        }
    }
}

#[test]
fn a_schedule_that_cannot_be_read_starts_nothing() {
    let trigger = schedule("0 0 * * 7");
    for status in [SyncStatus::default(), idle("2026-11-25T20:10:00Z")] {
        let decision = step(&trigger, &status, &Work::Finished);
        assert_eq!(condition(&decision.status), ("False", "Error", "end of range (7) above maximum (6): 7"));
        assert_eq!(decision.status.last_sync_start_time, None);
        assert_eq!((decision.requeue, decision.started), (Requeue::OnChange, None));
    }
}

#[test]
fn a_sync_that_runs_is_ended_even_if_the_schedule_became_unreadable() {
    let decision = step(&schedule("garbage"), &running(), &Work::Finished);
    assert_eq!(decision.status.last_sync_time, Some(time(NOW)));
    assert_eq!(decision.status.next_sync_time, None);
    assert_eq!(condition(&decision.status), CLEANING_UP);
}

#[test]
fn a_sync_goes_on_until_it_is_done() {
    let decision = step(&schedule("@hourly"), &running(), &Work::Pending);
    let mut expect = running();
    expect.conditions.clone_from(&decision.status.conditions);
    assert_eq!(decision.status, expect);
    assert_eq!(condition(&decision.status), IN_PROGRESS);
    assert_eq!(decision.requeue, Requeue::After(Duration::from_mins(1)));
    assert_eq!(decision.measurements, []);
}

#[test]
fn a_sync_that_waits_is_looked_at_when_it_asks() {
    for (wait, expect) in [(Duration::from_secs(10), Duration::from_secs(10)), (Duration::ZERO, SHORTEST_WAIT)] {
        let decision = step(&schedule("@hourly"), &running(), &Work::Waiting(wait));
        assert_eq!((condition(&decision.status), decision.requeue), (IN_PROGRESS, Requeue::After(expect)));
        let decision = step(&schedule("@hourly"), &idle("2026-11-25T21:30:00Z"), &Work::Waiting(wait));
        assert_eq!((condition(&decision.status), decision.requeue), (CLEANING_UP, Requeue::After(expect)));
    }
}

#[test]
fn an_error_is_shown_and_changes_no_phase() {
    for status in [running(), idle("2026-11-25T21:30:00Z")] {
        let decision = step(&Ok(Trigger::Continuous), &status, &Work::Failed("no such secret: x".into()));
        assert_eq!(phase(&decision.status), phase(&status));
        assert_eq!(condition(&decision.status), ("False", "Error", "no such secret: x"));
        assert_eq!((decision.requeue, decision.started), (Requeue::BackOff, None));
    }
    let failed = step(&schedule("@hourly"), &running(), &Work::Failed("x".into()));
    assert_eq!(condition(&step(&schedule("@hourly"), &failed.status, &Work::Pending).status), IN_PROGRESS);
}

#[test]
fn the_end_of_a_sync_is_written_down() {
    for (trigger, next, tag) in [
        (schedule("0 * * * *"), Some(time("2026-11-25T22:00:00Z")), None),
        (Ok(manual("b")), None, Some("b".to_owned())),
        (Ok(Trigger::Continuous), None, None),
        (schedule("0 0 31 2 *"), None, None),
    ] {
        let status = SyncStatus { last_manual_sync: Some("a".into()), next_sync_time: Some(time(NOW)), ..running() };
        let decision = step_at(&trigger, &status, &Work::Finished, "2026-11-25T21:40:30.25Z");
        let expect = SyncStatus {
            last_sync_start_time: None,
            last_sync_time: Some(time(NOW)),
            last_sync_duration: Some("1m0.25s".into()),
            next_sync_time: next,
            last_manual_sync: tag,
            conditions: decision.status.conditions.clone(),
            ..status
        };
        assert_eq!(decision.status, expect, "{trigger:?}");
        assert_eq!(condition(&decision.status), CLEANING_UP);
        assert_eq!(decision.requeue, Requeue::After(LOOK_AGAIN));
        let took = Measurement::SyncDuration(Duration::from_millis(60_250));
        assert_eq!(decision.measurements, [Measurement::OutOfSync(false), took]);
    }
}

#[test]
fn a_clock_that_goes_back_gives_no_negative_duration() {
    let decision = step_at(&Ok(Trigger::Continuous), &running(), &Work::Finished, "2026-11-25T21:00:00Z");
    assert_eq!(decision.status.last_sync_duration.as_deref(), Some("0s"));
}

#[test]
fn cleaning_up_comes_before_the_next_sync() {
    let decision = step(&Ok(Trigger::Continuous), &idle("2026-11-25T21:30:00Z"), &Work::Pending);
    assert_eq!(condition(&decision.status), CLEANING_UP);
    assert_eq!((decision.requeue, decision.started), (Requeue::After(LOOK_AGAIN), None));
    let decision = step(&Ok(Trigger::Continuous), &idle("2026-11-25T21:30:00Z"), &Work::Finished);
    assert_eq!(decision.status.last_sync_start_time, Some(time(NOW)));
    assert_eq!(decision.started, Some(Reason::Continuous));
}

#[test]
fn a_schedule_is_waited_for() {
    for (last, now, expect) in [
        ("21:30:00", "21:40:30", Err(1170)),
        ("21:30:00", "22:00:00", Err(0)),
        ("21:30:00", "22:00:00.000000001", Ok("22:00:00")),
        ("20:30:00", "22:10:00", Ok("21:00:00")),
        // The last sync ended on the hour: that hour is over.
        ("21:00:00", "21:00:01", Err(3599)),
    ] {
        let day = |time: &str| format!("2026-11-25T{time}Z");
        let decision = step_at(&schedule("0 * * * *"), &idle(&day(last)), &Work::Finished, &day(now));
        match expect {
            Ok(due) => {
                assert_eq!(decision.started, Some(Reason::Schedule(at(&day(due)))), "{last} {now}");
                assert_eq!(condition(&decision.status), IN_PROGRESS);
            }
            Err(seconds) => {
                let wait = Duration::from_secs(seconds).max(SHORTEST_WAIT);
                assert_eq!((decision.started, decision.requeue), (None, Requeue::After(wait)), "{last} {now}");
                assert_eq!(condition(&decision.status), FOR_SCHEDULE);
                assert!(decision.status.next_sync_time.is_some());
            }
        }
    }
}

#[test]
fn an_edited_schedule_takes_effect_while_idle() {
    let status = SyncStatus { next_sync_time: Some(time("2027-01-01T00:00:00Z")), ..idle("2026-11-25T21:30:00Z") };
    let decision = step(&schedule("45 * * * *"), &status, &Work::Finished);
    assert_eq!(decision.status.next_sync_time, Some(time("2026-11-25T21:45:00Z")));
    assert_eq!(
        step(&schedule("35 * * * *"), &status, &Work::Finished).started,
        Some(Reason::Schedule(at("2026-11-25T21:35:00Z")))
    );
    assert_eq!(step(&Ok(manual("x")), &status, &Work::Finished).status.next_sync_time, None);
}

#[test]
fn the_schedule_is_in_the_zone_of_the_controller() {
    let tokyo = cron::zone("Asia/Tokyo", &TimeZone::UTC).unwrap();
    let situation = Situation {
        trigger: &schedule("0 3 * * *"),
        status: &idle("2026-11-25T21:30:00Z"),
        work: &Work::Finished,
        admitted: true,
        now: at(NOW),
        local: &tokyo,
    };
    assert_eq!(decide(&situation).status.next_sync_time, Some(time("2026-11-26T18:00:00Z")));
}

#[test]
fn a_schedule_that_never_fires_is_an_error_and_no_loop() {
    let decision = step(&schedule("0 0 31 2 *"), &idle("2026-11-25T21:30:00Z"), &Work::Finished);
    let expect = ("False", "Error", "the schedule never fires: change spec.trigger.schedule");
    assert_eq!(condition(&decision.status), expect);
    assert_eq!((decision.requeue, decision.started), (Requeue::OnChange, None));
}

#[test]
fn each_tag_starts_one_sync() {
    for (last, starts) in [(None, true), (Some(""), true), (Some("a"), true), (Some("b"), false)] {
        let status = SyncStatus { last_manual_sync: last.map(str::to_owned), ..idle("2026-11-25T21:30:00Z") };
        let decision = step(&Ok(manual("b")), &status, &Work::Finished);
        if starts {
            assert_eq!(decision.started, Some(Reason::Manual("b".into())));
        } else {
            assert_eq!((decision.started, decision.requeue), (None, Requeue::OnChange));
            assert_eq!(condition(&decision.status), FOR_MANUAL);
        }
    }
}

#[test]
fn the_tag_that_counts_is_the_one_at_the_end() {
    let started = step(&Ok(manual("a")), &SyncStatus::default(), &Work::Pending).status;
    let ended = step(&Ok(manual("b")), &started, &Work::Finished).status;
    assert_eq!(ended.last_manual_sync.as_deref(), Some("b"));
    assert_eq!(step(&Ok(manual("b")), &ended, &Work::Finished).started, None);
}

#[test]
fn what_is_not_admitted_waits_without_a_start() {
    for status in [SyncStatus::default(), idle("2026-11-25T20:30:00Z")] {
        let situation = Situation {
            trigger: &schedule("@hourly"),
            status: &status,
            work: &Work::Finished,
            admitted: false,
            now: at(NOW),
            local: &TimeZone::UTC,
        };
        let decision = decide(&situation);
        assert_eq!(condition(&decision.status), QUEUED);
        assert_eq!((decision.status.last_sync_start_time, decision.started), (None, None));
        let running = Situation { status: &running(), work: &Work::Pending, ..situation };
        assert_eq!(condition(&decide(&running).status), IN_PROGRESS);
    }
}

#[test]
fn a_deadline_is_missed_when_the_schedule_fired_twice() {
    // The last sync ended at 20:10: 21:00 was due, 22:00 is the deadline.
    for (now, missed) in
        [("2026-11-25T21:59:59Z", false), ("2026-11-25T22:00:00Z", false), ("2026-11-25T22:00:01Z", true)]
    {
        let going_on = step_at(&schedule("0 * * * *"), &running(), &Work::Pending, now);
        assert_eq!(going_on.measurements.contains(&Measurement::OutOfSync(true)), missed, "{now}");
        let ended = step_at(&schedule("0 * * * *"), &running(), &Work::Finished, now);
        assert_eq!(ended.measurements.contains(&Measurement::MissedInterval), missed, "{now}");
        assert!(ended.measurements.contains(&Measurement::OutOfSync(false)));
        for other in [Ok(manual("x")), Ok(Trigger::Continuous), schedule("garbage"), schedule("0 0 31 2 *")] {
            assert_eq!(step_at(&other, &running(), &Work::Pending, now).measurements, []);
        }
    }
}

#[test]
fn a_condition_keeps_its_time_until_its_status_turns() {
    let transition = |status: &SyncStatus| status.conditions.as_ref().unwrap()[0].last_transition_time.clone();
    let first = step_at(&Ok(manual("a")), &SyncStatus::default(), &Work::Pending, "2026-11-25T10:00:00.7Z").status;
    assert_eq!(transition(&first), Time(at("2026-11-25T10:00:00Z")));
    let second = step_at(&Ok(manual("a")), &first, &Work::Pending, "2026-11-25T10:01:00Z").status;
    assert_eq!(transition(&second), Time(at("2026-11-25T10:00:00Z")));
    let third = step_at(&Ok(manual("a")), &second, &Work::Finished, "2026-11-25T10:02:00Z").status;
    assert_eq!(transition(&third), Time(at("2026-11-25T10:02:00Z")));
    let fourth = step_at(&Ok(manual("a")), &third, &Work::Finished, "2026-11-25T10:03:00Z").status;
    assert_eq!((condition(&fourth), transition(&fourth)), (FOR_MANUAL, Time(at("2026-11-25T10:02:00Z"))));
}

#[test]
fn conditions_of_other_types_stay() {
    let reconciled = Condition { type_: "Reconciled".into(), ..test_condition() };
    let status = SyncStatus { conditions: Some(vec![reconciled.clone()]), ..SyncStatus::default() };
    let conditions = refuse(&status, "none", at(NOW)).conditions.unwrap();
    assert_eq!(conditions[0], reconciled);
    assert_eq!(conditions[1].message, "none");
}

#[test]
fn a_message_fits_into_a_condition() {
    let refused = refuse(&SyncStatus::default(), &"\u{e9}".repeat(40_000), at(NOW));
    assert_eq!(condition(&refused).2.chars().count(), 32_768);
}

fn test_condition() -> Condition {
    Condition {
        last_transition_time: Time(at(NOW)),
        message: "m".into(),
        observed_generation: None,
        reason: "ReconcileComplete".into(),
        status: "True".into(),
        type_: "x".into(),
    }
}

fn any_trigger() -> impl Strategy<Value = Result<Trigger, cron::Error>> {
    prop_oneof![
        "[ab]?".prop_map(|tag| if tag.is_empty() { Ok(Trigger::Continuous) } else { Ok(manual(&tag)) }),
        prop_oneof![Just("@hourly"), Just("*/5 * * * *"), Just("0 0 31 2 *"), Just("broken"), Just("@every 90s")]
            .prop_map(schedule),
    ]
}

fn any_work() -> impl Strategy<Value = Work> {
    prop_oneof![Just(Work::Pending), Just(Work::Finished), "[a-z]{1,5}".prop_map(Work::Failed)]
}

proptest! {
    /// Any story of reconciles: a sync starts only when none runs, ends only when its work has, and deciding again about
    /// what was decided changes nothing while nothing else does.
    #[test]
    fn every_story_is_orderly(steps in proptest::collection::vec((any_trigger(), any_work(), any::<bool>(), 0..4000_i64), 1..40)) {
        let mut status = SyncStatus::default();
        let mut now = at(NOW);
        for (trigger, work, admitted, pause) in steps {
            now += SignedDuration::from_secs(pause);
            let situation = Situation { trigger: &trigger, status: &status, work: &work, admitted, now, local: &TimeZone::UTC };
            let decision = decide(&situation);
            let (before, after) = (phase(&status), phase(&decision.status));
            prop_assert_eq!(decision.started.is_some(), before != Phase::Synchronizing && after == Phase::Synchronizing);
            prop_assert!(decision.started.is_none() || admitted && trigger.is_ok());
            if before == Phase::Synchronizing && after != before {
                prop_assert_eq!(&work, &Work::Finished);
                prop_assert_eq!(after, Phase::Idle);
            }
            if before == Phase::Idle && after == Phase::Synchronizing {
                prop_assert_eq!(&work, &Work::Finished);
            }
            prop_assert_eq!(decision.status.conditions.as_ref().map(Vec::len), Some(1));
            if before == after {
                let again = decide(&Situation { status: &decision.status, ..situation });
                prop_assert_eq!(&again.status, &decision.status);
            }
            status = decision.status;
        }
    }
}
