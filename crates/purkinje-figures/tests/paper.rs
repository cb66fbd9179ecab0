//! The picture measured with a ruler, and whatever recording comes.

use proptest::prelude::*;
use purkinje_figures::paper::{self, Layout, Marks, PaperOptions};
use purkinje_figures::{Svg, explain, raster, terminal};
use purkinje_record::{Lead, LeadSet, Recording};
use resvg::usvg::roxmltree::Document;

/// Absolute points of path data made of `M`, `l` and `H`, as traces are written.
fn points(data: &str) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut rest = data;
    while let Some(command) = rest.chars().next() {
        let end = rest[1..]
            .find(char::is_alphabetic)
            .map_or(rest.len(), |at| at + 1);
        let body = rest[1..end].replace('-', " -");
        let numbers: Vec<f64> = body
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        let (x, y) = points.last().copied().unwrap_or_default();
        points.push(match command {
            'M' => (numbers[0], numbers[1]),
            'l' => (x + numbers[0], y + numbers[1]),
            'H' => (numbers[0], y),
            other => panic!("traces hold no `{other}`"),
        });
        rest = &rest[end..];
    }
    points
}

/// The paths of a class, with the value of one more attribute.
fn paths(svg: &Svg, class: &str, attribute: &str) -> Vec<(String, String)> {
    let text = svg.to_string();
    let document = Document::parse(&text).unwrap();
    document
        .descendants()
        .filter(|node| node.attribute("class") == Some(class))
        .map(|node| {
            let value = node.attribute(attribute).unwrap_or_default();
            (
                value.to_owned(),
                node.attribute("d").unwrap_or_default().to_owned(),
            )
        })
        .collect()
}

/// Twelve leads, 10 s: 1 mV from second 3 to second 4 in every lead, else 0.
fn step(rate_hz: f64) -> Recording {
    let lead: Vec<f32> = (0..(10.0 * rate_hz) as usize)
        .map(|i| {
            if (3.0..4.0).contains(&(i as f64 / rate_hz)) {
                1.0
            } else {
                0.0
            }
        })
        .collect();
    Recording::new("step", LeadSet::standard_12(), rate_hz, lead.repeat(12)).unwrap()
}

#[test]
fn one_millivolt_is_ten_millimetres_and_one_second_is_twenty_five() {
    for rate_hz in [100.0, 500.0, 1000.0] {
        let svg = paper::draw(&step(rate_hz), &PaperOptions::default(), &Marks::default());
        let traces = paths(&svg, "trace", "data-lead");
        let order: Vec<&str> = traces.iter().map(|(lead, _)| lead.as_str()).collect();
        assert_eq!(
            order,
            [
                "I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6", "II"
            ]
        );
        let rhythm = points(&traces[12].1);
        let (first, last) = (rhythm[0], rhythm[rhythm.len() - 1]);
        let sample_mm = 25.0 / rate_hz;
        assert!((last.0 - first.0 - (250.0 - sample_mm)).abs() < 0.011);
        let baseline = first.1;
        let high: Vec<f64> = rhythm
            .iter()
            .filter(|p| p.1 < baseline - 5.0)
            .map(|p| p.0)
            .collect();
        assert!(
            rhythm.iter().all(|p| {
                (p.1 - baseline).abs() < 0.006 || (p.1 - baseline + 10.0).abs() < 0.006
            })
        );
        assert!(
            (high[0] - first.0 - 75.0).abs() < 0.011,
            "the step starts at 3 s"
        );
        assert!((high[high.len() - 1] - high[0] - (25.0 - sample_mm)).abs() < 0.011);
        // The second column starts 62.5 mm right of the first.
        let (one, two) = (points(&traces[0].1), points(&traces[1].1));
        assert!((two[0].0 - one[0].0 - 62.5).abs() < 0.011);
    }
}

#[test]
fn traces_start_and_rest_on_strong_lines() {
    let svg = paper::draw(&step(500.0), &PaperOptions::default(), &Marks::default());
    let strong = &paths(&svg, "grid-5mm", "d")[0].1;
    let trace = points(&paths(&svg, "trace", "data-lead")[0].1);
    assert!(
        strong.contains(&format!("M{} ", trace[0].0)),
        "{:?}",
        trace[0]
    );
    assert!(
        strong.contains(&format!(" {}H", trace[0].1)),
        "{:?}",
        trace[0]
    );
}

#[test]
fn the_page_fits_landscape_a4_and_states_its_millimetres() {
    let svg = paper::draw(&step(500.0), &PaperOptions::default(), &Marks::default());
    assert!(svg.width_mm() <= 297.0 && svg.height_mm() <= 210.0);
    let text = svg.to_string();
    assert!(text.contains("width=\"282mm\""));
    assert!(text.contains("viewBox=\"0 0 282 "));
    assert!(text.contains("25 mm/s  \u{b7}  10 mm/mV"));
    assert!(text.contains("500 Hz  \u{b7}  10.0 s  \u{b7}  12 leads  \u{b7}  as recorded"));
}

#[test]
fn calibration_is_one_millivolt_high_at_every_gain() {
    for gain in [5.0, 10.0, 20.0] {
        let options = PaperOptions {
            gain_mm_per_mv: Some(gain),
            ..PaperOptions::default()
        };
        let svg = paper::draw(&step(100.0), &options, &Marks::default());
        let data = &paths(&svg, "calibration", "d")[0].1;
        let levels: Vec<f64> = data
            .split('V')
            .skip(1)
            .map(|piece| piece.split(['H', 'M']).next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(levels[1] - levels[0], gain);
    }
}

#[test]
fn large_traces_get_half_the_gain_and_the_caption_says_so() {
    let mut large = step(500.0);
    let samples = large.samples_mv().iter().map(|v| v * 4.0).collect();
    large = Recording::new("large", large.leads, 500.0, samples).unwrap();
    let text = paper::draw(&large, &PaperOptions::default(), &Marks::default()).to_string();
    assert!(text.contains("25 mm/s  \u{b7}  5 mm/mV"));
    assert!(text.contains("Drawn at 5 mm/mV because the traces do not fit at 10 mm/mV."));
    assert!(!text.contains("Clipped"));
}

#[test]
fn what_does_not_fit_at_all_is_clipped_and_named() {
    let leads: LeadSet = "I,V2".parse().unwrap();
    let mut samples = vec![0.1f32; 2000];
    for (i, sample) in samples[1000..].iter_mut().enumerate() {
        *sample = if i % 2 == 0 { 90.0 } else { -90.0 };
    }
    let recording = Recording::new("r", leads, 100.0, samples).unwrap();
    let svg = paper::draw(&recording, &PaperOptions::default(), &Marks::default());
    assert!(
        svg.to_string()
            .contains("Clipped at the edge of the band: V2.")
    );
    assert!(svg.to_string().matches("clip-path=").count() == 2);
}

#[test]
fn gaps_stay_open() {
    let mut recording = step(100.0);
    let mut samples = recording.samples_mv().to_vec();
    samples[150..170].fill(f32::NAN);
    recording = Recording::new("gap", recording.leads, 100.0, samples).unwrap();
    let svg = paper::draw(&recording, &PaperOptions::default(), &Marks::default());
    let data = &paths(&svg, "trace", "data-lead")[0].1;
    assert_eq!(data.matches('M').count(), 2);
    let restart = points(data.split_at(data.rfind('M').unwrap()).1)[0].0;
    assert!((restart - (21.0 + 1.7 * 25.0)).abs() < 0.011, "{restart}");
    assert!(svg.to_string().contains("Gaps: missing samples."));
}

#[test]
fn peaks_and_token_borders_stand_at_their_samples() {
    let marks = Marks {
        r_peaks: &[350],
        tokens: &[(300, 350, 400), (380, 430, 9999)],
    };
    let svg = paper::draw(&step(100.0), &PaperOptions::default(), &marks);
    let x = |sample: f64| 21.0 + sample / 100.0 * 25.0;
    let triangles = &paths(&svg, "r-peaks", "d")[0].1;
    // Two peaks, each in three rows and in the rhythm strip.
    assert_eq!(triangles.matches('Z').count(), 8);
    assert!(triangles.contains(&format!("L{} ", x(350.0))));
    let borders = &paths(&svg, "token-borders", "d")[0].1;
    for sample in [300.0, 400.0, 380.0] {
        assert!(borders.contains(&format!("M{} ", x(sample))), "{sample}");
    }
    // The last token ends beyond the record: it has no right border anywhere.
    assert_eq!(borders.matches('M').count(), 12);
}

#[test]
fn layouts_follow_the_leads_and_the_time_there_is() {
    let twelve = step(100.0);
    let count = |recording: &Recording, options: &PaperOptions| {
        let svg = paper::draw(recording, options, &Marks::default());
        paths(&svg, "trace", "data-lead").len()
    };
    let auto = PaperOptions::default();
    assert_eq!(count(&twelve, &auto), 13);
    let rows = PaperOptions {
        layout: Layout::Rows,
        ..auto.clone()
    };
    assert_eq!(count(&twelve, &rows), 12);
    let late = PaperOptions {
        start_s: 5.0,
        ..auto.clone()
    };
    assert_eq!(count(&twelve, &late), 12, "too short for four columns");
    let limb = twelve.select(&"limb".parse().unwrap()).unwrap();
    assert_eq!(count(&limb, &auto), 6);
    // Order in the file does not matter for the standard layout.
    let reversed: Vec<Lead> = Lead::STANDARD_12.into_iter().rev().collect();
    let reversed = twelve.select(&LeadSet::new(reversed)).unwrap();
    assert_eq!(
        paper::draw(&reversed, &auto, &Marks::default()).to_string(),
        paper::draw(&twelve, &auto, &Marks::default())
            .to_string()
            .replace(&twelve.leads.to_string(), &reversed.leads.to_string())
    );
    let mut names = Lead::STANDARD_12.to_vec();
    names.extend(["vx", "vy", "vz"].map(|name| Lead::Other(name.into())));
    let frank = Recording::new("frank", LeadSet::new(names), 100.0, vec![0.5; 15_000]).unwrap();
    assert_eq!(count(&frank, &auto), 15);
    let standard = PaperOptions {
        layout: Layout::Standard,
        ..auto
    };
    assert_eq!(count(&frank, &standard), 13);
    let text = paper::draw(&frank, &standard, &Marks::default()).to_string();
    assert!(text.contains("Not shown: vx, vy, vz."));
}

#[test]
fn a_picture_small_enough_to_read_is_as_it_was() {
    // Written anew with PURKINJE_BLESS=1, to be looked at before it is committed.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/one-lead.svg");
    let samples = (0..40)
        .map(|i| if i % 20 == 10 { 1.0 } else { 0.0 })
        .collect();
    let recording =
        Recording::new("golden <&>", LeadSet::new(vec![Lead::II]), 20.0, samples).unwrap();
    let marks = Marks {
        r_peaks: &[10, 30],
        tokens: &[(5, 10, 15)],
    };
    let drawn = paper::draw(&recording, &PaperOptions::default(), &marks).to_string();
    if std::env::var_os("PURKINJE_BLESS").is_some() {
        std::fs::write(path, &drawn).unwrap();
    }
    assert_eq!(drawn, std::fs::read_to_string(path).unwrap());
}

/// Any sample a file may hold.
fn any_sample() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -3.0f32..3.0,
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
        1 => Just(f32::MAX),
        1 => Just(f32::MIN_POSITIVE),
    ]
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0f64..30.0,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-1.0),
        1 => Just(1e300),
        1 => Just(1e-300),
    ]
}

fn any_recording() -> impl Strategy<Value = Recording> {
    let leads = proptest::collection::vec(
        prop_oneof![
            3 => (0..12usize).prop_map(|i| Lead::STANDARD_12[i].clone()),
            1 => any::<String>().prop_map(Lead::Other),
        ],
        1..16,
    );
    let rate = prop_oneof![
        4 => prop_oneof![Just(100.0), Just(500.0), Just(257.3)],
        1 => any_number(),
    ];
    (leads, rate, 0..300usize, any::<String>()).prop_flat_map(|(leads, rate_hz, len, id)| {
        let count = leads.len() * len;
        proptest::collection::vec(any_sample(), count).prop_map(move |samples| {
            Recording::new(id.clone(), LeadSet::new(leads.clone()), rate_hz, samples).unwrap()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_recording_gives_a_well_formed_picture(
        recording in any_recording(),
        start_s in any_number(),
        window_s in any_number(),
        gain in proptest::option::of(any_number()),
        speed in any_number(),
        layout in prop_oneof![Just(Layout::Auto), Just(Layout::Standard), Just(Layout::Rows)],
        peaks in proptest::collection::vec(any::<usize>().prop_map(|p| if p % 2 == 0 { p % 300 } else { p }), 0..4),
        words in proptest::option::of(any::<String>()),
    ) {
        let options = PaperOptions {
            start_s,
            window_s,
            layout,
            gain_mm_per_mv: gain,
            speed_mm_per_s: speed,
            filter: words.clone(),
            note: words.clone(),
            ..PaperOptions::default()
        };
        let tokens: Vec<(usize, usize, usize)> =
            peaks.iter().map(|&p| (p.saturating_sub(20), p, p.saturating_add(20))).collect();
        let marks = Marks { r_peaks: &peaks, tokens: &tokens };
        let explanation = explain::Explanation {
            class: words.unwrap_or_default(),
            probability: start_s,
            base: window_s,
            reference: explain::Reference::Zero,
            contributions: recording.leads.leads().iter().map(|l| (l.clone(), speed)).collect(),
            attention: tokens
                .iter()
                .map(|&(start, _, end)| explain::BeatAttention {
                    lead: recording.leads.leads()[0].clone(), start, end, shares: speed,
                })
                .collect(),
            beats: None,
        };
        for svg in [
            paper::draw(&recording, &options, &marks),
            explain::draw(&recording, &options, &explanation),
        ] {
            let text = svg.to_string();
            prop_assert!(Document::parse(&text).is_ok());
            prop_assert!(!text.contains("NaN\"") && !text.contains("\"inf"));
            prop_assert!(svg.width_mm() >= 100.0 && svg.height_mm() >= 20.0);
            // Coarse, and only where the page is not metres long.
            if svg.width_mm() < 1000.0 {
                prop_assert!(raster::png(&svg, 20.0).is_ok());
            }
        }
        let shown = terminal::draw(
            &recording,
            &terminal::TerminalOptions { start_s, window_s, all_leads: true, ..Default::default() },
            &peaks,
        );
        prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
    }
}

/// The bold texts that name leads: name, x and y.
fn names(svg: &Svg, leads: &LeadSet) -> Vec<(String, f64, f64)> {
    let text = svg.to_string();
    let document = Document::parse(&text).unwrap();
    document
        .descendants()
        .filter(|node| node.tag_name().name() == "text")
        .filter_map(|node| {
            let name = node.text()?.to_owned();
            let named = leads.leads().iter().any(|lead| lead.name() == name);
            let number = |key| node.attribute(key).and_then(|v| v.parse::<f64>().ok());
            named.then_some((name, number("x")?, number("y")?))
        })
        .collect()
}

#[test]
fn no_trace_crosses_the_name_of_its_lead() {
    for (rate_hz, height_mv) in [(100.0, 1.2), (500.0, 2.4), (250.0, 4.0)] {
        for shift in 0..12 {
            // Complexes up and down, wherever they begin.
            let lead: Vec<f32> = (0..(10.0 * rate_hz) as usize)
                .map(|at| {
                    let phase = (at as f64 / rate_hz + f64::from(shift) * 0.07) % 0.8;
                    let height = match phase {
                        0.0..0.04 => height_mv,
                        0.04..0.08 => -0.7 * height_mv,
                        0.25..0.45 => 0.3 * height_mv,
                        _ => 0.0,
                    };
                    height as f32
                })
                .collect();
            let recording =
                Recording::new("r", LeadSet::standard_12(), rate_hz, lead.repeat(12)).unwrap();
            let svg = paper::draw(&recording, &PaperOptions::default(), &Marks::default());
            let names = names(&svg, &recording.leads);
            let traces = paths(&svg, "trace", "data-lead");
            assert_eq!(names.len(), traces.len());
            for ((name, x, y), (lead, data)) in names.iter().zip(&traces) {
                assert_eq!(name, lead);
                // Wide letters of a bold face, and the narrow I.
                let wide = |c: char| if c == 'I' { 0.95 } else { 2.2 };
                let width: f64 = name.chars().map(wide).sum();
                for pair in points(data).windows(2) {
                    let (from, to) = (pair[0], pair[1]);
                    if to.0 < *x || from.0 > x + width {
                        continue;
                    }
                    let (high, low) = (from.1.min(to.1), from.1.max(to.1));
                    assert!(low < y - 2.6 || high > *y, "{name} at {x} {y}: {pair:?}");
                }
            }
        }
    }
}

#[test]
fn the_header_says_heart_rate_age_sex_and_filter() {
    let mut recording = step(500.0);
    (recording.age, recording.sex) = (Some(74.0), Some("female".to_owned()));
    let options = PaperOptions {
        heart_rate_bpm: Some(90.6),
        filter: Some("0.67-40 Hz band-pass".to_owned()),
        ..PaperOptions::default()
    };
    let text = paper::draw(&recording, &options, &Marks::default()).to_string();
    let facts = "91/min  \u{b7}  74 years  \u{b7}  female  \u{b7}  500 Hz  \u{b7}  10.0 s  \u{b7}  12 leads  \u{b7}  0.67-40 Hz band-pass";
    assert!(text.contains(facts), "{text}");
    assert!(!text.contains("Triangles"));
}
