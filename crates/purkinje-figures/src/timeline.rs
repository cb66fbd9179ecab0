//! A long recording as a model sees it: the stretch that shows a label most on ECG paper, and below it the probability of labels over
//! the whole time.

use purkinje_record::Recording;

use crate::chart::{LineChart, Series};
use crate::paper::{self, Marks, PaperOptions};
use crate::svg::{Element, Svg};

/// Most windows that are drawn one by one; of more, each of this many parts of the time shows its largest probability.
const MOST_STEPS: usize = 300;

/// Room between paper and chart.
const GAP_MM: f64 = 6.0;

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// The label that chose the stretch.
    pub label: String,
    /// Start and end of the stretch in seconds of the whole recording.
    pub stretch_s: (f64, f64),
    /// The labels with their probabilities over time.
    pub labels: Vec<(String, Vec<Window>)>,
}

/// Start and end of a window in seconds, and a probability.
pub type Window = (f64, f64, f64);

/// Draws the timeline of a recording, whose `stretch` holds the samples of [`Timeline::stretch_s`] alone.
pub fn draw(stretch: &Recording, options: &PaperOptions, timeline: &Timeline) -> Svg {
    let (start_s, end_s) = timeline.stretch_s;
    let top = paper::draw(stretch, options, &Marks::default());
    let last_s = timeline.labels.iter().flat_map(|(_, all)| all.iter());
    let last_s = last_s.fold(end_s, |last, window| last.max(window.1));
    // Minutes and hours where seconds would be long numbers.
    let (unit_s, unit) = match last_s {
        s if s > 3.0 * 3600.0 => (3600.0, "h"),
        s if s > 300.0 => (60.0, "min"),
        _ => (1.0, "s"),
    };
    let series = timeline.labels.iter().map(|(name, windows)| Series {
        name: name.clone(),
        points: steps(&largest(windows), unit_s),
    });
    let most = timeline.labels.iter().map(|(_, all)| all.len()).max();
    let y_label = match most.filter(|windows| *windows > MOST_STEPS) {
        Some(windows) => format!(
            "probability, largest of {} windows",
            windows.div_ceil(MOST_STEPS)
        ),
        None => "probability".to_owned(),
    };
    let chart = LineChart {
        title: format!(
            "Probability over time; above: {start_s:.0} to {end_s:.0} s, where {} is most probable",
            timeline.label
        ),
        x_label: format!("time in the recording ({unit})"),
        y_label,
        series: series.collect(),
        marked: Some((start_s / unit_s, end_s / unit_s)),
        ..LineChart::default()
    }
    .draw();
    let width_mm = top.width_mm().max(chart.width_mm());
    let chart_top = top.height_mm() + GAP_MM;
    let height_mm = chart_top + chart.height_mm();
    let mut svg = Svg::new(
        width_mm,
        height_mm,
        &format!("ECG {} over time", stretch.id),
    );
    svg.describe(&format!(
        "The stretch from {start_s:.0} to {end_s:.0} s on ECG paper, and the probability of {} over {last_s:.0} s.",
        timeline.label
    ));
    svg.add(Element::rect(0.0, 0.0, width_mm, height_mm).fill("#ffffff"));
    svg.append(top);
    svg.open(Element::group().attr("transform", &format!("translate(0 {chart_top:.2})")));
    svg.append_plain(chart);
    svg.close();
    svg
}

/// Neighbouring windows as one with the largest of their probabilities, so that at most [`MOST_STEPS`] are left.
fn largest(windows: &[Window]) -> Vec<Window> {
    let parts = windows.chunks(windows.len().div_ceil(MOST_STEPS).max(1));
    let joined = parts.filter_map(|part| {
        let (first, last) = (part.first()?, part.last()?);
        let most = part.iter().map(|window| window.2);
        Some((first.0, last.1, most.fold(f64::NEG_INFINITY, f64::max)))
    });
    joined.collect()
}

/// A level from start to end of each window; windows that do not touch leave a gap.
fn steps(windows: &[Window], unit_s: f64) -> Vec<(f64, f64)> {
    let mut points = Vec::with_capacity(3 * windows.len());
    for (place, &(start, end, probability)) in windows.iter().enumerate() {
        // An overlapping window holds until the next one starts.
        let next = windows.get(place + 1).map_or(f64::INFINITY, |next| next.0);
        points.push((start / unit_s, probability));
        points.push((end.min(next) / unit_s, probability));
        if next > end + 1e-6 && next.is_finite() {
            points.push((end / unit_s, f64::NAN));
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use purkinje_record::LeadSet;

    use super::*;

    #[test]
    fn windows_are_steps_with_gaps_between() {
        let points = steps(
            &[(0.0, 10.0, 0.2), (5.0, 15.0, 0.4), (20.0, 30.0, 0.6)],
            1.0,
        );
        assert_eq!(
            points[..4],
            [(0.0, 0.2), (5.0, 0.2), (5.0, 0.4), (15.0, 0.4)]
        );
        assert!(points[4].1.is_nan());
        assert_eq!(points[5..], [(20.0, 0.6), (30.0, 0.6)]);
    }

    #[test]
    fn many_windows_show_the_largest_of_their_neighbours() {
        let windows: Vec<Window> = (0..1000)
            .map(|k| {
                (
                    f64::from(k),
                    f64::from(k) + 1.0,
                    if k == 501 { 0.9 } else { 0.1 },
                )
            })
            .collect();
        let joined = largest(&windows);
        assert_eq!(
            (joined.len(), joined[0], joined[249].1),
            (250, (0.0, 4.0, 0.1), 1000.0)
        );
        let high: Vec<&Window> = joined.iter().filter(|window| window.2 > 0.5).collect();
        assert_eq!(high, [&(500.0, 504.0, 0.9)]);
        assert_eq!(largest(&windows[..300]), windows[..300]);
    }

    #[test]
    fn the_picture_names_label_and_stretch() {
        let samples = vec![0.1; 12 * 1000];
        let stretch = Recording::new("r", LeadSet::standard_12(), 100.0, samples).unwrap();
        let timeline = Timeline {
            label: "AF & more".to_owned(),
            stretch_s: (4000.0, 4010.0),
            labels: vec![("AF & more".to_owned(), vec![(0.0, 20_000.0, 0.5)])],
        };
        let text = draw(&stretch, &PaperOptions::default(), &timeline).to_string();
        for expected in ["AF &amp; more", "4000 to 4010 s", "recording (h)"] {
            assert!(text.contains(expected), "{expected}");
        }
    }
}
