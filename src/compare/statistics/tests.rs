//! Samples with known answers.

use super::*;

fn sample(values: &[f64]) -> Sample {
    Sample::of(values.iter().copied())
}

/// Times with a tail to the right, around `median`.
fn lognormal(random: &mut SplitMix64, n: usize, median: f64, spread: f64) -> Sample {
    Sample::of((0..n).map(|_| median * (spread * random.normal()).exp()))
}

#[test]
fn percentiles_are_those_of_numpy() {
    // numpy.percentile([15, 20, 35, 40, 50], [0, 5, 25, 30, 40, 50, 75, 95, 99, 100])
    let five = sample(&[40.0, 15.0, 50.0, 20.0, 35.0]);
    let known = [
        (0.0, 15.0),
        (5.0, 16.0),
        (25.0, 20.0),
        (30.0, 23.0),
        (40.0, 29.0),
        (50.0, 35.0),
        (75.0, 40.0),
        (95.0, 48.0),
        (99.0, 49.6),
        (100.0, 50.0),
    ];
    for (percent, expected) in known {
        let got = five.percentile(percent).unwrap();
        assert!((got - expected).abs() < 1e-9, "p{percent}: {got}");
    }
    // numpy.percentile(range(1, 101), [50, 95, 99])
    let hundred = Sample::of((1..=100).map(f64::from));
    let got = [50.0, 95.0, 99.0].map(|p| hundred.percentile(p).unwrap());
    for (got, expected) in got.into_iter().zip([50.5, 95.05, 99.01]) {
        assert!((got - expected).abs() < 1e-9, "{got}");
    }
}

#[test]
fn few_samples_say_little() {
    let none = sample(&[]);
    assert_eq!((none.median(), none.mean(), none.max()), (None, None, None));
    let one = sample(&[7.0]);
    assert_eq!((one.median(), one.percentile(99.0)), (Some(7.0), Some(7.0)));
    for n in 0..FEWEST {
        let few = Sample::of((0..n).map(|v| v as f64 + 1.0));
        assert_eq!(ratio_of_medians(&few, &sample(&[1.0; 30])), None);
        assert_eq!(ratio_of_medians(&sample(&[1.0; 30]), &few), None);
    }
}

#[test]
fn what_is_no_number_is_left_out() {
    let odd = sample(&[f64::NAN, 2.0, f64::INFINITY, 1.0, 3.0]);
    assert_eq!((odd.len(), odd.median()), (3, Some(2.0)));
}

#[test]
fn constant_samples_have_an_interval_without_width() {
    let (two, three) = (sample(&[2.0; 9]), sample(&[3.0; 9]));
    let ratio = ratio_of_medians(&three, &two).unwrap();
    assert_eq!((ratio.low, ratio.value, ratio.high), (1.5, 1.5, 1.5));
    assert_eq!(ratio.verdict(), Verdict::Larger);
    assert_eq!(ratio.inverse().verdict(), Verdict::Smaller);
    let same = ratio_of_medians(&two, &two).unwrap();
    assert_eq!(same.verdict(), Verdict::NoDifference);
}

#[test]
fn nothing_is_divided_by_zero() {
    let (zero, one) = (sample(&[0.0; 9]), sample(&[1.0; 9]));
    assert_eq!(ratio_of_medians(&zero, &zero).unwrap().value, 1.0);
    assert_eq!(ratio_of_medians(&zero, &one).unwrap().value, 0.0);
    assert_eq!(ratio_of_medians(&one, &zero), None);
    let mixed = sample(&[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let ratio = ratio_of_medians(&one, &mixed).unwrap();
    assert_eq!((ratio.value, ratio.low), (1.0, 1.0));
    assert!(ratio.high.is_infinite());
    assert_eq!(ratio_of_medians(&sample(&[-1.0; 9]), &one), None);
}

#[test]
fn an_interval_is_the_same_each_time() {
    let mut random = SplitMix64::new(3);
    let a = lognormal(&mut random, 31, 10.0, 0.2);
    let b = lognormal(&mut random, 30, 10.0, 0.2);
    assert_eq!(ratio_of_medians(&a, &b), ratio_of_medians(&a, &b));
}

#[test]
fn a_difference_too_small_to_matter_is_none() {
    let (a, b) = (sample(&[1000.0; 30]), sample(&[1005.0; 30]));
    let ratio = ratio_of_medians(&b, &a).unwrap();
    assert!(ratio.low > 1.0);
    assert_eq!(ratio.verdict(), Verdict::NoDifference);
    assert_eq!(ratio.inverse().verdict(), Verdict::NoDifference);
}

#[test]
fn outliers_do_not_move_the_ratio() {
    let mut random = SplitMix64::new(5);
    let spoil = |sample: Sample| {
        let spoiled = sample.sorted().iter().enumerate();
        Sample::of(spoiled.map(|(at, v)| if at % 12 == 11 { v * 1000.0 } else { *v }))
    };
    let fast = spoil(lognormal(&mut random, 60, 10.0, 0.05));
    let slow = spoil(lognormal(&mut random, 60, 20.0, 0.05));
    let ratio = ratio_of_medians(&slow, &fast).unwrap();
    assert!((1.9..2.1).contains(&ratio.value), "{ratio:?}");
    assert!(ratio.low > 1.85 && ratio.high < 2.15, "{ratio:?}");
}

/// How many of `experiments` intervals hold the true ratio.
fn coverage(n: (usize, usize), truth: f64, spread: f64, experiments: u32) -> f64 {
    let mut random = SplitMix64::new(11);
    let held = (0..experiments).filter(|_| {
        let first = lognormal(&mut random, n.0, 40.0 * truth, spread);
        let second = lognormal(&mut random, n.1, 40.0, spread);
        let ratio = ratio_of_medians(&first, &second).unwrap();
        ratio.low <= truth && truth <= ratio.high
    });
    held.count() as f64 / f64::from(experiments)
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    for (n, truth, spread) in [
        ((30, 30), 1.0, 0.1),
        ((30, 30), 1.7, 0.3),
        ((31, 100), 0.4, 1.0),
        ((12, 12), 3.0, 0.1),
        ((FEWEST, FEWEST), 1.2, 0.1),
    ] {
        let held = coverage(n, truth, spread, 300);
        assert!(
            (0.90..=0.985).contains(&held),
            "n {n:?}, ratio {truth}: {held}"
        );
    }
}

#[test]
fn a_wall_compared_with_itself_shows_no_difference() {
    for n in [FEWEST, 10, 30] {
        let mut random = SplitMix64::new(17);
        let none = (0..400).filter(|_| {
            let first = lognormal(&mut random, n, 40.0, 0.15);
            let second = lognormal(&mut random, n, 40.0, 0.15);
            let ratio = ratio_of_medians(&first, &second).unwrap();
            ratio.verdict() == Verdict::NoDifference
        });
        let part = none.count() as f64 / 400.0;
        assert!(part >= 0.93, "n {n}: {part}");
    }
}

#[test]
fn a_difference_is_found_when_there_is_one() {
    let mut random = SplitMix64::new(23);
    let found = (0..100).filter(|_| {
        let first = lognormal(&mut random, 30, 44.0, 0.1);
        let second = lognormal(&mut random, 30, 40.0, 0.1);
        ratio_of_medians(&first, &second).unwrap().verdict() == Verdict::Larger
    });
    assert!(found.count() >= 80);
}
