//! Which leads of a recording or store a model is given.

use std::str::FromStr;

use purkinje_record::{LeadSet, UnknownLead};

/// Which leads a model is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedLeads {
    /// Those of the recording or store, as far as the model knows them.
    Present,
    /// Just these, in this order.
    Named(LeadSet),
}

impl FromStr for WantedLeads {
    type Err = UnknownLead;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "present" => Ok(WantedLeads::Present),
            names => names.parse().map(WantedLeads::Named),
        }
    }
}

impl WantedLeads {
    /// The leads to take where there are `present` and the contract names `own`; all of its own where nothing is wanted.
    ///
    /// # Errors
    /// A sentence, when one that is needed is not there.
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
            return Err(format!("it has none of the leads {own}: found {present}"));
        }
        match present.rows_of(&leads) {
            Ok(_) => Ok(leads),
            Err(lead) => Err(format!(
                "it has no lead {lead}: found {present}; name the leads to use with `--leads`, or take those there are with `--leads present`"
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
