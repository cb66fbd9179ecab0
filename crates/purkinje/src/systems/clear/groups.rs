//! Names of lead groups.

use purkinje_models::hug::{GROUP_NAMES, GROUPS};

/// The groups that remain with these leads (standard positions), in the order of [`purkinje_models::hug::Head::groups`]:
/// a group without a lead is left out, and so is a pair without a group.
pub fn present(leads: &[usize]) -> Vec<&'static str> {
    let present = GROUPS.map(|group| leads.iter().any(|lead| group.contains(lead)));
    let singles = GROUP_NAMES[..3].iter().zip(present);
    let pairs = GROUP_NAMES[3..6].iter().map(|&name| {
        let any = name.split('+').any(|part| {
            let at = GROUP_NAMES[..3].iter().position(|&single| single == part);
            at.is_some_and(|at| present[at])
        });
        (name, any)
    });
    singles
        .map(|(&name, present)| (name, present))
        .chain(pairs)
        .filter_map(|(name, present)| present.then_some(name))
        .chain([GROUP_NAMES[6]])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_without_leads_are_left_out() {
        assert_eq!(present(&(0..12).collect::<Vec<_>>()), GROUP_NAMES);
        assert_eq!(
            present(&[0, 1]),
            ["limb", "limb+augmented", "limb+chest", "all"]
        );
    }
}
