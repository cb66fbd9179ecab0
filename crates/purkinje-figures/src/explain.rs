//! Explanations of predictions, drawn on ECG paper.
//!
//! Where the head of a model is affine in the features of the leads (the mean of seven affine group vectors followed by
//! a linear layer, for instance), a logit is that of a reference recording plus one term per lead, exactly. The picture
//! shows those terms as bars beside the leads, their sums over the lead groups (limb I-III, augmented aVR-aVF, chest
//! V1-V6), and, as shading, the beats with more than average attention.
//!
//! Of any other score the picture shows by how much it falls where a lead or a stretch of all leads is silenced.

use purkinje_record::{Lead, Recording};

use crate::color;
use crate::paper::{self, PaperOptions, Plan, Sheet, View, caption};
use crate::svg::{Anchor, Element, Svg};
use crate::text;

/// The explanation of one logit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// The name of the class, for display.
    pub class: String,
    /// Its probability.
    pub probability: f64,
    /// The logit of the reference recording.
    pub base: f64,
    /// The reference recording.
    pub reference: Reference,
    /// The contribution of each lead. The logit is the base plus all contributions.
    pub contributions: Vec<(Lead, f64)>,
    /// Attention of beats, per lead.
    pub attention: Vec<BeatAttention>,
    /// A note on how the beats were found.
    pub beats: Option<String>,
}

/// The reference of an explanation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Reference {
    /// A recording whose features are all zero, which does not exist: contributions are hard to interpret.
    #[default]
    Zero,
    /// The mean of a number of training records: contributions are differences of this recording from it.
    MeanRecording {
        /// Number of records.
        records: usize,
    },
    /// The recording without a lead, or without a stretch of all leads: contributions are by how much the score falls, and have no sum.
    Silenced {
        /// The score of the whole recording.
        score: f64,
        /// What the score is called.
        name: &'static str,
        /// Seconds of a stretch.
        stretch_s: f64,
        /// By how much the score falls at most without a stretch.
        most: f64,
    },
}

/// The attention to one beat of one lead.
#[derive(Clone, Debug, PartialEq)]
pub struct BeatAttention {
    /// The lead.
    pub lead: Lead,
    /// First sample of the beat.
    pub start: usize,
    /// One past the last sample of the beat.
    pub end: usize,
    /// Its attention as a multiple of uniform attention, at least 0: 1 if all beats were attended to alike. Beats up to
    /// 1 are not shaded.
    pub shares: f64,
}

/// A lead group and its contribution to a logit.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupContribution {
    /// `limb I-III`, `augmented aVR-aVF`, `chest V1-V6` or `other`.
    pub name: &'static str,
    /// Sum of the contributions of its leads.
    pub value: f64,
}

impl Explanation {
    /// The logit: the base plus every contribution.
    pub fn logit(&self) -> f64 {
        self.base
            + self
                .contributions
                .iter()
                .map(|(_, value)| value)
                .sum::<f64>()
    }

    /// The contributions summed by lead group, in the order limb, augmented, chest, other; groups
    /// without a lead are left out. None where contributions have no sum.
    pub fn groups(&self) -> Vec<GroupContribution> {
        const NAMES: [&str; 4] = [
            "limb I\u{2013}III",
            "augmented aVR\u{2013}aVF",
            "chest V1\u{2013}V6",
            "other",
        ];
        if matches!(self.reference, Reference::Silenced { .. }) {
            return Vec::new();
        }
        let group_of = |lead: &Lead| match lead.standard_index() {
            Some(0..3) => 0,
            Some(3..6) => 1,
            Some(_) => 2,
            None => 3,
        };
        NAMES
            .into_iter()
            .enumerate()
            .filter_map(|(group, name)| {
                let mut members = self
                    .contributions
                    .iter()
                    .filter(|(lead, _)| group_of(lead) == group)
                    .peekable();
                members.peek()?;
                Some(GroupContribution {
                    name,
                    value: members.map(|(_, value)| value).sum(),
                })
            })
            .collect()
    }
}

const BORDER_MM: f64 = 6.0;
const HEADER_MM: f64 = 40.0;
/// Lead name, value and bar, left of the paper.
const GUTTER_MM: f64 = 50.0;
const BAR_MIDDLE_MM: f64 = BORDER_MM + 36.0;
const BAR_HALF_MM: f64 = 11.0;
/// Opacity of the darkest beat: visible, but the trace can be seen through it.
const DARKEST: f64 = 0.5;
/// Multiple of uniform attention of the darkest beat, unless one has more: nearly uniform attention is hardly visible.
const DARKEST_SHARES: f64 = 3.0;

/// Draws the explanation of one prediction: one row per lead, as `options` says for the window,
/// speed, gain and filter; its layout is not used.
///
/// Contributions of leads the recording does not have count in the sums and are named in the notes.
pub fn draw(recording: &Recording, options: &PaperOptions, explanation: &Explanation) -> Svg {
    let options = PaperOptions {
        layout: paper::Layout::Rows,
        ..options.clone()
    };
    let view = View::new(recording, &options);
    let (rows, trace_mm) = view.lead_rows(recording);
    let mut plan = Plan::new(BORDER_MM + GUTTER_MM, HEADER_MM, rows.len() as f64 * 30.0);
    plan.speed_mm_per_s = view.speed_mm_per_s;
    plan.gain_mm_per_mv = options
        .gain_mm_per_mv
        .filter(|gain| gain.is_finite() && *gain > 0.0);
    plan.centred = options.centred;
    let sheet = Sheet::new(recording, rows, trace_mm.max(125.0), &plan);

    let width_mm = sheet.right + BORDER_MM;
    let most_shares = largest(explanation.attention.iter().map(|beat| beat.shares));
    let mut body = Svg::new(width_mm, sheet.bottom, "");
    sheet.draw_grid(&mut body);
    draw_attention(&mut body, recording, &sheet, explanation, most_shares);
    sheet.draw_calibration(&mut body);
    let clipped = sheet.draw_traces(&mut body);
    draw_contributions(&mut body, recording, &sheet, explanation);

    let mut notes = vec![match explanation.reference {
        Reference::MeanRecording { records } => format!(
            "Bars: contribution of each lead to the logit, relative to the mean of {records} training records."
        ),
        Reference::Zero => "Bars: what a lead adds to the logit of an all-zero input, as no mean recording is stored \
                            with this model; they do not say what sets this recording apart."
            .to_owned(),
        Reference::Silenced { name, .. } => format!(
            "Bars: by how much the {name} falls where the lead is silenced (set to zero). They have no sum: leads say much the same."
        ),
    }];
    if let Reference::Silenced {
        stretch_s, most, ..
    } = explanation.reference
    {
        notes.push(format!(
            "Shading: stretches of {} s without which, in all leads, the score falls, at most by {}.",
            text::plain(stretch_s, 2),
            text::plain(most, 3)
        ));
    } else {
        notes.push("Groups: sums over their leads.".to_owned());
    }
    notes.extend(explanation.beats.clone());
    let attention = !matches!(explanation.reference, Reference::Silenced { .. });
    if most_shares > 0.0 && attention {
        notes.push(format!(
            "Shading: beats with more than uniform attention, at most {} times as much.",
            text::plain(most_shares, 2)
        ));
    }
    let absent: Vec<String> = explanation
        .contributions
        .iter()
        .filter(|(lead, _)| recording.leads.position(lead).is_none())
        .map(|(lead, value)| {
            format!(
                "{} {}",
                text::fit(lead.name(), 2.7, 24.0),
                text::signed(*value, 3)
            )
        })
        .collect();
    if !absent.is_empty() {
        notes.push(format!("Not in the recording: {}.", absent.join(", ")));
    }
    notes.extend(caption::scale_notes(recording, &sheet, &options, &clipped));
    notes.extend(view.nothing_because.map(str::to_owned));
    notes.push(caption::DISCLAIMER.to_owned());
    let lines = caption::wrap(&notes, 2.7, width_mm - 2.0 * BORDER_MM);
    let height_mm = sheet.bottom + 5.0 + lines.len() as f64 * 4.0;

    let mut svg = Svg::new(
        width_mm,
        height_mm,
        &format!("{} in {}", explanation.class, recording.id),
    );
    svg.describe(&match explanation.reference {
        Reference::Silenced { score, name, .. } => format!(
            "{name} {}, and by how much it falls without each lead.",
            text::number(score, 3)
        ),
        _ => format!(
            "Probability {}, logit {}: {} {} and lead contributions.",
            text::number(explanation.probability, 3),
            text::number(explanation.logit(), 3),
            base_name(explanation.reference),
            text::number(explanation.base, 3)
        ),
    });
    svg.add(Element::rect(0.0, 0.0, width_mm, height_mm).fill("#ffffff"));
    draw_title(&mut svg, recording, &sheet, &view, &options, explanation);
    draw_groups(&mut svg, &sheet, explanation, most_shares);
    svg.append(body);
    for (i, line) in lines.iter().enumerate() {
        let y = sheet.bottom + 5.0 + i as f64 * 4.0;
        svg.add(Element::text(BORDER_MM, y, 2.7, Anchor::Start, line).fill(color::MUTED));
    }
    svg
}

/// Shades the beats of every lead. Overlapping spans end in the middle of the overlap, so that nothing is shaded twice.
fn draw_attention(
    svg: &mut Svg,
    recording: &Recording,
    sheet: &Sheet<'_>,
    explanation: &Explanation,
    most_shares: f64,
) {
    if most_shares <= 1.0 {
        return;
    }
    svg.open(
        Element::group()
            .fill(color::ATTENTION)
            .attr("class", "attention"),
    );
    for band in &sheet.bands {
        for strip in &band.strips {
            let lead = &recording.leads.leads()[strip.row];
            let mut beats: Vec<&BeatAttention> = explanation
                .attention
                .iter()
                .filter(|beat| beat.lead == *lead)
                .collect();
            beats.sort_by_key(|beat| (beat.start, beat.end));
            for (i, beat) in beats.iter().enumerate() {
                let meet = |a: &BeatAttention, b: &BeatAttention| {
                    (b.start < a.end).then(|| b.start.midpoint(a.end))
                };
                let start = i
                    .checked_sub(1)
                    .and_then(|before| meet(beats[before], beat))
                    .unwrap_or(beat.start);
                let end = beats
                    .get(i + 1)
                    .and_then(|after| meet(beat, after))
                    .unwrap_or(beat.end);
                let opacity =
                    DARKEST * (beat.shares - 1.0) / (most_shares.max(DARKEST_SHARES) - 1.0);
                if opacity.is_nan() || opacity < 0.005 {
                    continue;
                }
                if let Some((left, right)) = sheet.x_of_span(strip, start, end) {
                    svg.add(
                        Element::rect(left, band.top, right - left, band.bottom - band.top)
                            .mm("fill-opacity", opacity.min(DARKEST)),
                    );
                }
            }
        }
    }
    svg.close();
}

/// Name, value and bar of every lead, left of the paper.
fn draw_contributions(
    svg: &mut Svg,
    recording: &Recording,
    sheet: &Sheet<'_>,
    explanation: &Explanation,
) {
    let largest = largest(
        explanation
            .contributions
            .iter()
            .map(|(_, value)| value.abs()),
    );
    svg.add(
        Element::line(BAR_MIDDLE_MM, sheet.top, BAR_MIDDLE_MM, sheet.bottom)
            .stroke("#9a9a9a", 0.15),
    );
    for band in &sheet.bands {
        for strip in &band.strips {
            let lead = &recording.leads.leads()[strip.row];
            let y = band.baseline;
            let name = text::fit(lead.name(), 3.6, 10.0);
            svg.add(
                Element::text(BORDER_MM, y + 1.3, 3.6, Anchor::Start, &name)
                    .bold()
                    .fill(color::INK),
            );
            let value = explanation
                .contributions
                .iter()
                .find(|(own, _)| own == lead)
                .map(|(_, value)| *value);
            let shown = value.map_or("\u{2013}".to_owned(), |v| text::signed(v, 3));
            let ink = value.map_or(color::MUTED, color::diverging);
            svg.add(
                Element::text(
                    BAR_MIDDLE_MM - BAR_HALF_MM - 1.5,
                    y + 1.1,
                    3.0,
                    Anchor::End,
                    &shown,
                )
                .fill(ink),
            );
            if let Some(value) = value {
                draw_bar(
                    svg,
                    BAR_MIDDLE_MM,
                    y - 2.0,
                    4.0,
                    BAR_HALF_MM,
                    value,
                    largest,
                );
            }
        }
    }
}

fn draw_bar(
    svg: &mut Svg,
    middle: f64,
    top: f64,
    height: f64,
    half: f64,
    value: f64,
    largest: f64,
) {
    if !value.is_finite() || largest <= 0.0 {
        return;
    }
    let length = value / largest * half;
    svg.add(
        Element::rect(middle.min(middle + length), top, length.abs(), height)
            .fill(color::diverging(value))
            .attr("class", "contribution"),
    );
}

fn draw_title(
    svg: &mut Svg,
    recording: &Recording,
    sheet: &Sheet<'_>,
    view: &View,
    options: &PaperOptions,
    explanation: &Explanation,
) {
    let room = sheet.right - BORDER_MM;
    let probability = match explanation.reference {
        Reference::Silenced { score, name, .. } => format!("{name} {}", text::number(score, 3)),
        _ => format!("probability {}", text::number(explanation.probability, 3)),
    };
    let probability_room = text::width(&probability, 5.0) * 1.1;
    let class = text::fit(
        &explanation.class,
        5.0,
        (room - probability_room - 6.0) / 1.06,
    );
    svg.add(
        Element::text(BORDER_MM, 10.0, 5.0, Anchor::Start, &class)
            .bold()
            .fill(color::INK),
    );
    svg.add(
        Element::text(sheet.right, 10.0, 5.0, Anchor::End, &probability)
            .bold()
            .fill(color::INK),
    );
    let from_leads: f64 = explanation
        .contributions
        .iter()
        .map(|(_, value)| value)
        .sum();
    let sum = match explanation.reference {
        Reference::Silenced { name, .. } => {
            format!("what the {name} loses without a lead, or without a stretch of all leads")
        }
        _ => format!(
            "logit {} = {} {} {} leads {}",
            text::number(explanation.logit(), 3),
            base_name(explanation.reference),
            text::number(explanation.base, 3),
            if from_leads < 0.0 { "\u{2212}" } else { "+" },
            text::number(from_leads.abs(), 3),
        ),
    };
    let sum = text::fit(&sum, 3.6, room * 0.6);
    svg.add(Element::text(BORDER_MM, 16.4, 3.6, Anchor::Start, &sum).fill(color::INK));
    let scale = format!(
        "{} mm/s  \u{b7}  {} mm/mV",
        text::plain(sheet.speed_mm_per_s, 2),
        text::plain(sheet.gain_mm_per_mv, 2)
    );
    let scale_room = text::width(&scale, 3.2);
    svg.add(Element::text(sheet.right, 21.8, 3.2, Anchor::End, &scale).fill(color::MUTED));
    let facts = format!(
        "{}  \u{b7}  {}",
        recording.id,
        caption::facts(recording, view, options)
    );
    let facts = text::fit(&facts, 3.2, room - scale_room - 6.0);
    svg.add(Element::text(BORDER_MM, 21.8, 3.2, Anchor::Start, &facts).fill(color::MUTED));
}

/// The lead groups side by side, and the key to the colours.
fn draw_groups(svg: &mut Svg, sheet: &Sheet<'_>, explanation: &Explanation, most_shares: f64) {
    let groups = explanation.groups();
    let largest = largest(groups.iter().map(|group| group.value.abs()));
    const KEY_MM: f64 = 62.0;
    let cell = ((sheet.right - BORDER_MM - KEY_MM) / groups.len().max(1) as f64).min(68.0);
    for (i, group) in groups.iter().enumerate() {
        let left = BORDER_MM + i as f64 * cell;
        let middle = left + cell * 0.42;
        let half = cell * 0.42 - 1.0;
        let value = text::signed(group.value, 3);
        let name = text::fit(group.name, 2.9, cell - text::width(&value, 2.9) - 4.0);
        svg.add(Element::text(left, 29.0, 2.9, Anchor::Start, &name).fill(color::INK));
        svg.add(
            Element::text(middle + half, 29.0, 2.9, Anchor::End, &value)
                .bold()
                .fill(color::diverging(group.value)),
        );
        draw_bar(svg, middle, 30.6, 3.4, half, group.value, largest);
        svg.add(Element::line(middle, 30.2, middle, 34.4).stroke("#9a9a9a", 0.15));
    }
    let mut left = sheet.right - KEY_MM + 4.0;
    for (name, ink) in [("raises", color::POSITIVE), ("lowers", color::NEGATIVE)] {
        svg.add(Element::rect(left, 30.8, 3.0, 3.0).fill(ink));
        svg.add(Element::text(left + 4.0, 33.3, 2.8, Anchor::Start, name).fill(color::INK));
        left += 16.0;
    }
    let shading = match explanation.reference {
        Reference::Silenced { .. } => "falls without",
        _ => "attention",
    };
    if most_shares > 1.0 {
        for step in 1..=4 {
            svg.add(
                Element::rect(left + (step - 1) as f64 * 2.5, 30.8, 2.5, 3.0)
                    .fill(color::ATTENTION)
                    .mm("fill-opacity", DARKEST * f64::from(step) / 4.0),
            );
        }
        svg.add(Element::text(left + 11.0, 33.3, 2.8, Anchor::Start, shading).fill(color::INK));
    }
}

fn base_name(reference: Reference) -> &'static str {
    match reference {
        Reference::Zero => "zero input",
        Reference::MeanRecording { .. } => "mean recording",
        Reference::Silenced { .. } => "whole recording",
    }
}

/// The largest finite value, at least 0.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.filter(|v| v.is_finite()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_record::LeadSet;

    fn example() -> (Recording, Explanation) {
        let recording =
            Recording::new("r", LeadSet::standard_12(), 100.0, vec![0.0; 12 * 1000]).unwrap();
        let contributions = Lead::STANDARD_12
            .into_iter()
            .enumerate()
            .map(|(i, lead)| (lead, i as f64 * 0.25 - 1.0))
            .collect();
        let attention = (0..4)
            .map(|beat| BeatAttention {
                lead: Lead::V2,
                start: beat * 100,
                end: beat * 100 + 120,
                shares: 1.0 + beat as f64,
            })
            .collect();
        let explanation = Explanation {
            class: "atrial <fibrillation>".into(),
            probability: 0.93,
            base: -0.5,
            reference: Reference::MeanRecording { records: 313 },
            contributions,
            attention,
            beats: None,
        };
        (recording, explanation)
    }

    #[test]
    fn groups_and_base_sum_to_the_logit() {
        let (_, explanation) = example();
        let groups = explanation.groups();
        assert_eq!(groups.len(), 3);
        let sum: f64 = groups.iter().map(|group| group.value).sum();
        assert!((explanation.base + sum - explanation.logit()).abs() < 1e-12);
        assert!((explanation.logit() - 4.0).abs() < 1e-12);
    }

    #[test]
    fn the_sum_is_stated_and_every_lead_has_its_bar() {
        let (recording, explanation) = example();
        let text = draw(&recording, &PaperOptions::default(), &explanation).to_string();
        assert!(text.contains("logit 4.000 = mean recording \u{2212}0.500 + leads 4.500"));
        assert!(text.contains("atrial &lt;fibrillation&gt;"));
        // Twelve leads and three groups.
        assert_eq!(text.matches("class=\"contribution\"").count(), 15);
    }

    #[test]
    fn nearly_even_attention_is_nearly_invisible() {
        let (recording, mut explanation) = example();
        let most = |explanation: &Explanation| {
            let text = draw(&recording, &PaperOptions::default(), explanation).to_string();
            let group = text
                .split("class=\"attention\">")
                .nth(1)
                .unwrap_or_default();
            let group = group.split("</g>").next().unwrap_or_default();
            let opacities = group.split("fill-opacity=\"").skip(1);
            let number = |rest: &str| rest.split('"').next()?.parse::<f64>().ok();
            opacities.filter_map(number).fold(0.0, f64::max)
        };
        explanation
            .attention
            .iter_mut()
            .for_each(|beat| beat.shares = 1.0);
        assert_eq!(most(&explanation), 0.0);
        explanation.attention[1].shares = 1.1;
        assert!(most(&explanation) <= 0.03, "{}", most(&explanation));
    }

    #[test]
    fn what_it_is_compared_with_is_said() {
        let (recording, mut explanation) = example();
        let draw = |e: &Explanation| draw(&recording, &PaperOptions::default(), e).to_string();
        assert!(draw(&explanation).contains("mean of 313 training"));
        explanation.reference = Reference::Zero;
        let text = draw(&explanation);
        assert!(text.contains("= zero input \u{2212}0.500") && text.contains("no mean recording"));
    }

    #[test]
    fn what_has_no_sum_is_not_summed_up() {
        let (recording, mut explanation) = example();
        explanation.reference = Reference::Silenced {
            score: 0.25,
            name: "similarity",
            stretch_s: 0.2,
            most: 0.125,
        };
        let text = draw(&recording, &PaperOptions::default(), &explanation).to_string();
        assert!(text.contains("similarity 0.250") && text.contains("at most by 0.125"));
        assert!(!text.contains("logit") && !text.contains("probability"));
        assert_eq!(text.matches("class=\"contribution\"").count(), 12);
    }

    #[test]
    fn shading_follows_the_shares_and_never_overlaps() {
        let (recording, explanation) = example();
        let text = draw(&recording, &PaperOptions::default(), &explanation).to_string();
        let group = text.split("class=\"attention\">").nth(1).unwrap();
        let group = group.split("</g>").next().unwrap();
        let number = |rect: &str, name: &str| -> f64 {
            let value = rect.split(&format!(" {name}=\"")).nth(1).unwrap();
            value.split('"').next().unwrap().parse().unwrap()
        };
        // The beat of an equal share is not drawn.
        let rects: Vec<&str> = group.lines().filter(|l| l.contains("<rect")).collect();
        assert_eq!(rects.len(), 3);
        let opacities: Vec<f64> = rects.iter().map(|r| number(r, "fill-opacity")).collect();
        assert_eq!(opacities, [0.17, 0.33, 0.5]);
        // Samples 100 to 120 belong to the beats of both sides: the shading changes at 110.
        assert_eq!(
            number(rects[0], "x"),
            BORDER_MM + GUTTER_MM + 15.0 + 1.1 * 25.0
        );
        for pair in rects.windows(2) {
            let end = number(pair[0], "x") + number(pair[0], "width");
            assert!((end - number(pair[1], "x")).abs() < 0.011, "{pair:?}");
        }
    }

    #[test]
    fn absent_leads_and_numbers_that_are_none_are_said_not_drawn() {
        let (recording, mut explanation) = example();
        let limb = recording.select(&"limb".parse().unwrap()).unwrap();
        explanation.contributions[0].1 = f64::NAN;
        explanation.attention[0].shares = f64::NAN;
        let text = draw(&limb, &PaperOptions::default(), &explanation).to_string();
        assert!(text.contains("Not in the recording: V1 +0.500"));
        assert!(!text.contains("NaN"));
    }
}
