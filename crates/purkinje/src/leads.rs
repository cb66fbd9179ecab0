//! Which leads of a recording or store a model is given.

use std::str::FromStr;

use purkinje_record::{LeadSet, NoLead};

/// Which leads a model is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedLeads {
    /// Those of the model's leads that the recording or store has.
    Present,
    /// Exactly these, in this order.
    Named(LeadSet),
}

impl FromStr for WantedLeads {
    type Err = NoLead;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "present" => Ok(WantedLeads::Present),
            names => names.parse().map(WantedLeads::Named),
        }
    }
}

impl WantedLeads {
    /// The leads to use of a recording or store with the leads `present`, for a contract with the leads `own`; all of
    /// `own` if `wanted` is absent.
    ///
    /// # Errors
    /// A message, when a required lead is not present.
    pub fn choose(
        wanted: Option<&WantedLeads>,
        own: &LeadSet,
        present: &LeadSet,
    ) -> Result<LeadSet, String> {
        let leads = match wanted {
            None => own.clone(),
            Some(WantedLeads::Named(leads)) => leads.clone(),
            Some(WantedLeads::Present) => LeadSet::new(
                own.leads()
                    .iter()
                    .filter(|lead| present.position(lead).is_some())
                    .cloned()
                    .collect(),
            ),
        };
        if leads.is_empty() {
            return Err(format!(
                "found the leads {present}, expected at least one of {own}"
            ));
        }
        match present.rows_of(&leads) {
            Ok(_) => Ok(leads),
            Err(lead) => Err(format!(
                "it has no lead {lead}: found {present}; name the leads to use with `--leads`, or use those present with `--leads present`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_are_those_of_the_model_unless_others_are_wanted() {
        let twelve = LeadSet::standard_12();
        let present: LeadSet = "II,I,V2".parse().unwrap();
        assert!(WantedLeads::choose(None, &twelve, &present).is_err());
        let choose = |text: &str| {
            let wanted = text.parse().unwrap();
            WantedLeads::choose(Some(&wanted), &twelve, &present)
        };
        assert_eq!(choose("present").unwrap().to_string(), "I II V2");
        assert_eq!(choose("V2,I").unwrap().to_string(), "V2 I");
        assert!(choose("V1").unwrap_err().contains("no lead V1"));
    }
}
