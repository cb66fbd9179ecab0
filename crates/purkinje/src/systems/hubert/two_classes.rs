//! Two classes that exclude each other as one label.

use burn::tensor::Device;
use purkinje_models::layers::Weights;
use purkinje_train::TrainError;

/// The weights of a classifier of two classes that exclude each other as those of one with a single label, of the
/// same probability.
///
/// # Errors
/// When its head is not linear in the end.
pub fn one_of_two(weights: &Weights, device: &Device) -> Result<Weights, TrainError> {
    let mut out = Weights::default();
    let last = ["classifier.2.", "classifier."]
        .into_iter()
        .find(|prefix| weights.parameter(&format!("{prefix}weight")).is_some());
    let last = last.ok_or_else(|| {
        TrainError::Data(
            "two classes that exclude each other need a linear head or one of two layers".into(),
        )
    })?;
    for parameter in weights.iter() {
        if !parameter.name.starts_with(last) {
            out.put(parameter.clone());
            continue;
        }
        let values = parameter.value.to_data().try_to_vec::<f32>();
        let values = values.map_err(|e| TrainError::Data(format!("{}: {e:?}", parameter.name)))?;
        let (no, yes) = values.split_at(values.len() / 2);
        let difference = yes.iter().zip(no).map(|(yes, no)| yes - no).collect();
        let mut shape = parameter.shape.clone();
        shape[0] = 1;
        out.insert(parameter.name.clone(), &shape, difference, device);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_label_has_the_probability_of_the_second_class() {
        let device = Device::flex();
        let mut weights = Weights::default();
        weights.insert("encoder.x", &[1], vec![7.0], &device);
        weights.insert(
            "classifier.weight",
            &[2, 2],
            vec![1.0, 2.0, 4.0, 8.0],
            &device,
        );
        weights.insert("classifier.bias", &[2], vec![0.5, 0.25], &device);
        let one = one_of_two(&weights, &device).unwrap().to_host();
        assert_eq!(one[0].2, [7.0]);
        assert_eq!(
            (&one[1].1[..], &one[1].2[..]),
            (&[1, 2][..], &[3.0, 6.0][..])
        );
        assert_eq!((&one[2].1[..], &one[2].2[..]), (&[1][..], &[-0.25][..]));
        assert!(one_of_two(&Weights::default(), &device).is_err());
    }
}
