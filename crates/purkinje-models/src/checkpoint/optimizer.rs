//! The state of Adam and AdamW in a PyTorch checkpoint.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::pickle::Pickle;
use super::tensors::Tensors;
use super::{CheckpointError, NamedTensor, StateDict};

const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];
const STEP: &str = "step";

/// The state of Adam or AdamW.
///
/// Parameters are identified by index: first those of the first group, then those of the second, in the order in which
/// they were given to the optimizer. The names are not in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptimizerState {
    /// The moments of each parameter, by index; parameters without a gradient so far have no entry.
    pub parameters: BTreeMap<usize, Moments>,
    /// The groups with their settings.
    pub groups: Vec<ParamGroup>,
}

/// Adam's moments of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Steps taken.
    pub step: u64,
    /// Mean of the gradients; the shape of the parameter.
    pub exp_avg: NamedTensor,
    /// Mean of the squared gradients; the shape of the parameter.
    pub exp_avg_sq: NamedTensor,
}

/// A group of parameters with common settings.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamGroup {
    /// Indices of its parameters.
    pub params: Vec<usize>,
    /// Learning rate at the time of saving.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Decay rates of the two means.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// All other settings (`lr_scale`, `amsgrad` and so on), in their order.
    pub others: Map<String, Value>,
}

/// Reads the state under `key` of the file's dictionary.
pub(super) fn read(
    file: &Tensors<'_>,
    pickle: &Pickle,
    key: &str,
) -> Result<OptimizerState, CheckpointError> {
    let problem = |entry: String, problem: &str| CheckpointError::Optimizer {
        path: file.path.to_path_buf(),
        entry,
        problem: problem.to_owned(),
    };
    let groups = match pickle.value(&[key, "param_groups"]) {
        Some(Value::Array(groups)) => groups,
        _ => {
            return Err(problem(
                format!("{key}.param_groups"),
                "it is missing or not a list",
            ));
        }
    };
    let groups = groups
        .into_iter()
        .enumerate()
        .map(|(i, group)| {
            let entry = format!("{key}.param_groups[{i}]");
            match group {
                Value::Object(group) => self::group(group)
                    .map_err(|(field, what)| problem(format!("{entry}.{field}"), what)),
                _ => Err(problem(entry, "it is not a dictionary")),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;

    let prefix = format!("{key}.state.");
    let ours = file.described.iter().filter_map(|(full, tensor)| {
        let name = full.strip_prefix(&prefix)?;
        Some((full.as_str(), tensor, name))
    });
    let (tensors, _) = file.read(ours)?;
    // Before PyTorch 1.12 the step is a whole number beside the tensors.
    let numbers = match pickle.value(&[key, "state"]) {
        Some(Value::Object(state)) => state,
        _ => Map::new(),
    };
    let parameters = gather(tensors, &numbers)
        .map_err(|(entry, what)| problem(format!("{prefix}{entry}"), what))?;
    Ok(OptimizerState { parameters, groups })
}

/// What is wrong and where.
type Problem<T> = Result<T, (String, &'static str)>;

fn gather(tensors: StateDict, numbers: &Map<String, Value>) -> Problem<BTreeMap<usize, Moments>> {
    let mut parts: BTreeMap<usize, BTreeMap<String, NamedTensor>> = BTreeMap::new();
    for (name, tensor) in tensors {
        let Some((index, part)) = name.split_once('.') else {
            return Err((name, "it is a tensor, expected the entries of a parameter"));
        };
        let Ok(index) = index.parse() else {
            return Err((name, "its parameter is not identified by a whole number"));
        };
        if !MOMENTS.contains(&part) && part != STEP {
            return Err((name, "it is not part of the state of Adam"));
        }
        parts
            .entry(index)
            .or_default()
            .insert(part.to_owned(), tensor);
    }
    parts
        .into_iter()
        .map(|(index, mut parts)| {
            let steps = match parts.remove(STEP) {
                Some(tensor) => tensor.data.first().copied().map(f64::from),
                None => numbers
                    .get(&index.to_string())
                    .and_then(|of| of.get(STEP)?.as_f64()),
            };
            let step = steps.filter(|n| *n >= 0.0 && n.fract() == 0.0);
            // Whole and not negative; the cast saturates.
            let step = step.ok_or((
                format!("{index}.{STEP}"),
                "it is missing or not a whole number",
            ))? as u64;
            let [exp_avg, exp_avg_sq] = MOMENTS.map(|part| {
                parts
                    .remove(part)
                    .ok_or((format!("{index}.{part}"), "it is missing"))
            });
            let (exp_avg, exp_avg_sq) = (exp_avg?, exp_avg_sq?);
            if exp_avg.shape != exp_avg_sq.shape {
                return Err((index.to_string(), "its two means have different shapes"));
            }
            let moments = Moments {
                step,
                exp_avg,
                exp_avg_sq,
            };
            Ok((index, moments))
        })
        .collect()
}

fn group(mut group: Map<String, Value>) -> Problem<ParamGroup> {
    let mut take = |field: &str| group.shift_remove(field).unwrap_or(Value::Null);
    let odd = |field: &str| (field.to_owned(), "it is missing or has an unexpected value");
    let number = |value: Value, field: &str| value.as_f64().ok_or_else(|| odd(field));
    let params = take("params");
    let params = params
        .as_array()
        .and_then(|all| {
            all.iter()
                .map(|index| usize::try_from(index.as_u64()?).ok())
                .collect()
        })
        .ok_or_else(|| odd("params"))?;
    let betas = take("betas");
    let betas = match betas.as_array().map(Vec::as_slice) {
        Some([one, two]) => [number(one.clone(), "betas")?, number(two.clone(), "betas")?],
        _ => return Err(odd("betas")),
    };
    Ok(ParamGroup {
        params,
        lr: number(take("lr"), "lr")?,
        weight_decay: number(take("weight_decay"), "weight_decay")?,
        betas,
        eps: number(take("eps"), "eps")?,
        others: group,
    })
}
