use super::*;
use jiff::civil::date;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn next(spec: &str, base: &str) -> Option<String> {
    parse(spec, &TimeZone::UTC).unwrap().next(at(base), &TimeZone::UTC).map(|next| next.to_string())
}

#[test]
fn fires_when_the_fields_agree() {
    for (spec, base, expect) in [
        ("0 3 * * *", "2026-11-25T03:00:00Z", "2026-11-26T03:00:00Z"),
        ("0 3 * * *", "2026-11-25T02:59:59.5Z", "2026-11-25T03:00:00Z"),
        ("5/15 * * * *", "2026-11-25T21:40:00Z", "2026-11-25T21:50:00Z"),
        ("*/6 * * * *", "2026-11-25T21:59:00Z", "2026-11-25T22:00:00Z"),
        ("0 9-17/2 * * *", "2026-11-25T17:00:00Z", "2026-11-26T09:00:00Z"),
        ("0 0 ? * MON", "2026-11-25T00:00:00Z", "2026-11-30T00:00:00Z"),
        ("0 0 29 2 *", "2025-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("@every 1h", "2026-11-25T21:40:07.9Z", "2026-11-25T22:40:07Z"),
        ("@every 1ms", "2026-11-25T21:40:07Z", "2026-11-25T21:40:08Z"),
        ("@weekly", "2026-11-25T00:00:00Z", "2026-11-29T00:00:00Z"),
        ("@yearly", "2026-11-25T00:00:00Z", "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!(next(spec, base).as_deref(), Some(expect), "{spec} after {base}");
    }
}

#[test]
fn day_fields_add_up_only_when_both_are_restricted() {
    // 25 November 2026 is a Wednesday.
    let base = "2026-11-25T12:00:00Z";
    for (spec, expect) in [
        ("0 0 13 * 5", "2026-11-27T00:00:00Z"),
        ("0 0 */1 * 5", "2026-11-27T00:00:00Z"),
        ("0 0 */2 * 5", "2026-11-27T00:00:00Z"),
        ("0 0 13 * *", "2026-12-13T00:00:00Z"),
        ("0 0 13 * 0-6", "2026-11-26T00:00:00Z"),
        ("0 0 13 * */2", "2026-11-26T00:00:00Z"),
    ] {
        assert_eq!(next(spec, base).as_deref(), Some(expect), "{spec}");
    }
}

#[test]
fn what_cannot_happen_has_no_next_time() {
    for spec in ["0 0 31 2 *", "0 0 30 2 *", ", * * * *", "* , * * *", "0 0 31 4,6,9,11 *"] {
        assert_eq!(next(spec, "2026-11-25T00:00:00Z"), None, "{spec}");
    }
    let end = Timestamp::MAX;
    assert_eq!(parse("0 0 1 1 *", &TimeZone::UTC).unwrap().next(end, &TimeZone::UTC), None);
    assert_eq!(parse("@every 1h", &TimeZone::UTC).unwrap().next(end, &TimeZone::UTC), None);
}

#[test]
fn a_zone_in_front_is_the_schedules_own() {
    for spec in ["TZ=Europe/Prague 30 2 * * *", "CRON_TZ=Europe/Prague   30 2 * * *"] {
        assert_eq!(next(spec, "2026-11-25T00:00:00Z").as_deref(), Some("2026-11-25T01:30:00Z"));
        // 02:30 does not exist on 28 March 2027: that day is left out.
        assert_eq!(next(spec, "2027-03-27T01:30:00Z").as_deref(), Some("2027-03-29T00:30:00Z"));
    }
    let tokyo = zone("Asia/Tokyo", &TimeZone::UTC).unwrap();
    let base = at("2026-11-25T00:00:00Z");
    for (spec, expect) in [
        ("0 3 * * *", "2026-11-25T18:00:00Z"),
        ("TZ=Local 0 3 * * *", "2026-11-25T18:00:00Z"),
        ("TZ= 0 3 * * *", "2026-11-25T03:00:00Z"),
    ] {
        let schedule = parse(spec, &tokyo).unwrap();
        assert_eq!(schedule.next(base, &tokyo), Some(at(expect)), "{spec}");
    }
}

#[test]
fn a_day_that_a_zone_left_out_ends_the_search() {
    let apia = zone("Pacific/Apia", &TimeZone::UTC).unwrap();
    let schedule = parse("0 0 5 * *", &apia).unwrap();
    assert_eq!(schedule.next(at("2011-12-29T12:00:00Z"), &apia), None);
}

#[test]
fn refuses_in_the_words_of_the_original() {
    for (spec, error) in [
        ("", "empty spec string"),
        ("12345", "expected exactly 5 fields, found 1: [12345]"),
        ("0 0 1 1 * *", "expected exactly 5 fields, found 6: [0 0 1 1 * *]"),
        ("@dailyx", "unrecognized descriptor: @dailyx"),
        ("0 0 * * 7", "end of range (7) above maximum (6): 7"),
        ("0 0 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("*/-2 * * * *", "negative number (-2) not allowed: -2"),
        ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
        ("TZ=UTC", "expected a schedule after the time zone: TZ=UTC"),
        ("@every 1x", "failed to parse duration @every 1x: time: unknown unit \"x\" in duration \"1x\""),
    ] {
        assert_eq!(parse(spec, &TimeZone::UTC).unwrap_err().to_string(), error, "{spec}");
    }
}

/// A field as users write it, and the values that it means.
fn any_field(min: i8, max: i8) -> impl Strategy<Value = (String, Vec<i8>)> {
    prop_oneof![
        2 => Just(("*".to_owned(), (min..=max).collect())),
        2 => (min..=max).prop_map(|value| (value.to_string(), vec![value])),
        1 => (min..=max, 1..20_usize).prop_map(move |(start, step)| {
            (format!("{start}/{step}"), (start..=max).step_by(step).collect())
        }),
        1 => (min..=max, min..=max).prop_map(|(a, b)| {
            (format!("{}-{}", a.min(b), a.max(b)), (a.min(b)..=a.max(b)).collect())
        }),
        1 => proptest::collection::vec(min..=max, 1..4).prop_map(|values| {
            (values.iter().map(i8::to_string).collect::<Vec<_>>().join(","), values)
        }),
    ]
}

proptest! {
    #[test]
    fn the_next_time_is_later_and_fits_every_field(
        minute in any_field(0, 59),
        hour in any_field(0, 23),
        month in any_field(1, 12),
        days in 0..20_000_i64,
        seconds in 0..86_400_i64,
    ) {
        let base = Timestamp::from_second(days * 86_400 + seconds).unwrap();
        let spec = format!("{} {} * {} *", minute.0, hour.0, month.0);
        let next = parse(&spec, &TimeZone::UTC).unwrap().next(base, &TimeZone::UTC).unwrap();
        let local = TimeZone::UTC.to_datetime(next);
        prop_assert!(next > base);
        prop_assert_eq!(local.second(), 0);
        prop_assert!(minute.1.contains(&local.minute()) && hour.1.contains(&local.hour()) && month.1.contains(&local.month()));
    }

    #[test]
    fn no_earlier_minute_fits(minute in any_field(0, 59), hour in any_field(0, 23), day in any_field(1, 31), start in 0..40_000_i64) {
        let spec = format!("{} {} {} * *", minute.0, hour.0, day.0);
        let epoch = date(2026, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let base = epoch + SignedDuration::from_mins(start);
        let next = parse(&spec, &TimeZone::UTC).unwrap().next(base, &TimeZone::UTC).unwrap();
        let mut slow = base + SignedDuration::from_mins(1);
        loop {
            let local = TimeZone::UTC.to_datetime(slow);
            if minute.1.contains(&local.minute()) && hour.1.contains(&local.hour()) && day.1.contains(&local.day()) {
                break;
            }
            slow += SignedDuration::from_mins(1);
        }
        prop_assert_eq!(next, slow);
    }

    #[test]
    fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..60)) {
        fuzz(&data);
    }

    #[test]
    fn texts_that_look_like_schedules_are_read_or_refused(text in "(TZ=[A-Za-z/]{0,12} )?(@every [0-9.hms]{0,8}|[0-9*?/,a-z-]{1,6}( [0-9*?/,a-z-]{1,6}){3,5})") {
        fuzz(text.as_bytes());
    }
}
