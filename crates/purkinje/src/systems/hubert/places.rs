//! Where the tokens lie.

use purkinje_models::hubert::HubertConfig;
use purkinje_signal::Preprocess;

/// Where a token lies in a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenPlace {
    /// The lead its middle lies in.
    pub lead: usize,
    /// Where it begins and ends, in seconds of the crop of that lead; what lies in a neighbour is left out.
    pub time_s: (f64, f64),
}

/// The places of all tokens of `leads` leads.
pub fn of_tokens(config: &HubertConfig, leads: usize) -> Vec<TokenPlace> {
    let (samples, decimation) = super::crop(config);
    let rate_hz = Preprocess::hubert().rate_hz;
    let factor = decimation.unwrap_or(1);
    let flat = (samples * leads).div_ceil(factor);
    let per_lead = flat as f64 / leads as f64;
    let (reach, step) = config.reach();
    (0..config.tokens(flat))
        .map(|token| {
            let start = (token * step) as f64;
            let end = start + reach as f64;
            let lead = ((0.5 * (start + end) / per_lead) as usize).min(leads.saturating_sub(1));
            let seconds = |at: f64| {
                let own = at - lead as f64 * per_lead;
                own.clamp(0.0, per_lead) * factor as f64 / rate_hz
            };
            TokenPlace {
                lead,
                time_s: (seconds(start), seconds(end)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_lie_where_their_middle_is() {
        let places = of_tokens(&HubertConfig::base(), 12);
        assert_eq!(places.len(), 93);
        assert_eq!((places[0].lead, places[0].time_s), (0, (0.0, 0.82)));
        assert_eq!((places[1].lead, places[1].time_s), (0, (0.64, 1.46)));
        // 448..530: 52 samples in the first lead.
        assert_eq!((places[7].lead, places[7].time_s), (0, (4.48, 5.0)));
        assert_eq!((places[8].lead, places[8].time_s), (1, (0.12, 0.94)));
        assert_eq!((places[92].lead, places[92].time_s.1), (11, 4.70));
        for lead in 0..12 {
            let own = places.iter().filter(|place| place.lead == lead).count();
            assert!((7..=8).contains(&own), "{lead}: {own}");
        }
    }
}
