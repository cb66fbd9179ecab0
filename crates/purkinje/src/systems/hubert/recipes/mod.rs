//! The published fine-tuning and from-scratch runs of HuBERT-ECG, as data.
//!
//! Source: the published program of HuBERT-ECG, and its tables, which are carried as they are: `runs.tsv`,
//! `evaluation.tsv` (checkpoint and crops of every published test) and `labels.tsv` (order of labels).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::finetune::{Start, ValidatedOn};

/// Size of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// 8 blocks of 512.
    Small,
    /// 12 blocks of 768.
    Base,
    /// 16 blocks of 960.
    Large,
}

/// What outputs mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// Labels that may occur together.
    MultiLabel,
    /// Classes that exclude each other.
    MultiClass,
}

/// Which blocks of the transformer are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trained {
    /// Everything, convolutions included.
    All,
    /// So many last blocks, feature projection and head; convolutions are frozen.
    Blocks(usize),
}

/// A label in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Positives in the published test part, if they were counted.
    pub test_positives: Option<usize>,
}

/// How a published test was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// The table of the test records.
    pub file: String,
    /// The fold, if the data set has several.
    pub fold: Option<usize>,
    /// Step of the checkpoint that was chosen.
    pub checkpoint_step: usize,
    /// Random crops of a recording; 1 is the first five seconds.
    pub crops: usize,
    /// How their scores became one, if there are several: `mean` or `max`.
    pub aggregation: Option<String>,
}

/// A published run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Name of its data set, as in [`names`].
    pub name: String,
    /// Size of the network.
    pub size: Size,
    /// Where it starts.
    pub start: Start,
    /// Folds that were run.
    pub runs: usize,
    /// Outputs of the network.
    pub outputs: usize,
    /// What they mean.
    pub task: TaskType,
    /// First column of labels in the published tables, from 0.
    pub first_label_column: usize,
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Share of the steps that warm up.
    pub warmup_share: f64,
    /// Recordings of a batch.
    pub batch_size: usize,
    /// Updates.
    pub max_steps: usize,
    /// Batches between validations.
    pub validation_interval: usize,
    /// Validations without improvement before the run stops.
    pub patience: usize,
    /// What early stopping looks at.
    pub validated_on: ValidatedOn,
    /// The metric it looks at beside the loss, as a macro mean.
    pub target_metric: String,
    /// Probability of leaving out a block.
    pub layerdrop: f64,
    /// Dropout is max(0, 0.1 + 0.05 k).
    pub dropout_multiplier: i32,
    /// What is trained.
    pub trained: Trained,
    /// Whether crops are random.
    pub random_crop: bool,
    /// Whether penalties change weight decay and dropout.
    pub dynamic_regularisation: bool,
    /// Whether the loss weighs classes.
    pub class_weights: bool,
    /// Labels in the order of the outputs; empty where they were not published.
    pub labels: Vec<Label>,
    /// The published tests.
    pub tests: Vec<Test>,
}

impl Recipe {
    /// Dropout of the network's blocks.
    pub fn dropout(&self) -> f64 {
        (0.1 + 0.05 * f64::from(self.dropout_multiplier)).max(0.0)
    }
}

/// Why there is no recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// No recipe of this name.
    #[error("there is no recipe `{name}`; there are: {}", .known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The data set was not run so.
    #[error("`{name}` was not published for {size:?}, {start:?}; choose another size or start")]
    NotRun {
        /// The data set.
        name: String,
        /// The size asked for.
        size: Size,
        /// The start asked for.
        start: Start,
    },
    /// What the outputs of the published models mean is not known.
    #[error(
        "the order of the {outputs} outputs of `{name}` was not published{}; name them yourself, in the order of the head",
        .orders.map(|orders| format!(", and its data are published in two orders: {orders}")).unwrap_or_default()
    )]
    NoOrder {
        /// The data set.
        name: String,
        /// Outputs of its models.
        outputs: usize,
        /// The orders that would be possible, if there are several.
        orders: Option<&'static str>,
    },
    /// A table that cannot be read.
    #[error("{table}, line {line}: {problem}")]
    Table {
        /// Which of the three.
        table: &'static str,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// The published run on a data set; names as in [`names`], or as in the tables (`ptbxl_diag_superclass`).
///
/// # Errors
/// See [`RecipeError`].
pub fn recipe(name: &str, size: Size, start: Start) -> Result<&'static Recipe, RecipeError> {
    let recipes = all()?;
    let wanted = short_name(name);
    let named: Vec<&Recipe> = recipes.iter().filter(|r| r.name == wanted).collect();
    if named.is_empty() {
        return Err(RecipeError::Unknown {
            name: name.to_owned(),
            known: names()?,
        });
    }
    let found = named
        .into_iter()
        .find(|r| r.size == size && r.start == start);
    found.ok_or(RecipeError::NotRun {
        name: wanted,
        size,
        start,
    })
}

/// The names of all recipes, sorted.
///
/// # Errors
/// [`RecipeError::Table`], which no carried table gives.
pub fn names() -> Result<Vec<String>, RecipeError> {
    let mut names: Vec<String> = all()?.iter().map(|r| r.name.clone()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// What the outputs of the published models of a data set mean, in their order, whatever size and start; names as in [`recipe`].
///
/// Two classes that exclude each other are published under the name of the second: `death` is the outputs `no death`, `death`.
///
/// # Errors
/// [`RecipeError::Unknown`]; [`RecipeError::NoOrder`] for the two data sets whose tables were not published.
pub fn output_names(name: &str) -> Result<Vec<String>, RecipeError> {
    let wanted = short_name(name);
    let Some(recipe) = all()?.iter().find(|recipe| recipe.name == wanted) else {
        return Err(RecipeError::Unknown {
            name: name.to_owned(),
            known: names()?,
        });
    };
    let names: Vec<String> = recipe.labels.iter().map(|l| l.name.clone()).collect();
    match (recipe.task, names.as_slice()) {
        (TaskType::MultiClass, [second]) if recipe.outputs == 2 => {
            Ok(vec![format!("no {second}"), second.clone()])
        }
        _ if names.len() == recipe.outputs => Ok(names),
        _ => Err(RecipeError::NoOrder {
            outputs: recipe.outputs,
            orders: (wanted == "ribeiro").then_some(RIBEIRO_ORDERS),
            name: wanted,
        }),
    }
}

/// Whether the published models of a data set have two outputs that exclude each other, which together say one label.
pub fn says_one_of_two(name: &str) -> bool {
    let wanted = short_name(name);
    let two = |recipe: &Recipe| recipe.task == TaskType::MultiClass && recipe.outputs == 2;
    all().is_ok_and(|all| all.iter().any(|r| r.name == wanted && two(r)))
}

/// All published runs, in the order of the table.
///
/// # Errors
/// [`RecipeError::Table`], which no carried table gives.
pub fn all() -> Result<&'static [Recipe], RecipeError> {
    static ALL: OnceLock<Result<Vec<Recipe>, RecipeError>> = OnceLock::new();
    let parsed = ALL.get_or_init(|| {
        parse(
            include_str!("runs.tsv"),
            include_str!("evaluation.tsv"),
            include_str!("labels.tsv"),
        )
    });
    parsed.as_deref().map_err(Clone::clone)
}

/// Learning rate of every published run.
const LR: f64 = 1e-5;
/// Share of their steps that warm up.
const WARMUP_SHARE: f64 = 0.08;

/// The abnormalities of Ribeiro as its data are published.
const RIBEIRO_ORDERS: &str = "1dAVb, RBBB, LBBB, SB, ST, AF (exams of CODE-15 %) and 1dAVb, RBBB, LBBB, SB, AF, ST (CODE test set)";

/// `ptbxl_diag_superclass` is `ptbxl-super`.
fn short_name(name: &str) -> String {
    match name {
        "ptbxl_diag_superclass" => "ptbxl-super".to_owned(),
        "ptbxl_diag_subclass" => "ptbxl-sub".to_owned(),
        "cardiolearning" | "cardio_learning" => "cardio-learning".to_owned(),
        "samitrop" => "sami-trop".to_owned(),
        name => name.replace('_', "-"),
    }
}

/// The data set of a test's table; `super_test_set_prova.csv` is one of Cardio-Learning's.
fn tested_set(file: &str) -> String {
    let stem = file.split("_test").next().unwrap_or(file);
    let name = match stem {
        "ptb_all" | "ptb_diag" | "ptb_form" | "ptb_rhythm" => stem.replace("ptb_", "ptbxl_"),
        "ptb_diag_superclass" | "ptb_diag_subclass" => stem.replace("ptb_", "ptbxl_"),
        "super" => "cardiolearning".to_owned(),
        stem => stem.to_owned(),
    };
    short_name(&name)
}

fn parse(runs: &str, tests: &str, labels: &str) -> Result<Vec<Recipe>, RecipeError> {
    let mut orders: BTreeMap<String, Vec<Label>> = BTreeMap::new();
    for row in rows("labels.tsv", labels) {
        let order = orders.entry(short_name(row.text("dataset")?)).or_default();
        let index: usize = row.number("index")?;
        if index != order.len() {
            return Err(row.problem(format!("label {index}, expected {}", order.len())));
        }
        let positives = row.text("test_positives")?;
        order.push(Label {
            name: row.text("label")?.to_owned(),
            test_positives: match positives {
                "" | "-" => None,
                _ => Some(row.number("test_positives")?),
            },
        });
    }
    let mut published: BTreeMap<(Start, Size, String), Vec<Test>> = BTreeMap::new();
    for row in rows("evaluation.tsv", tests) {
        let file = row.text("test_file")?;
        let key = (row.start()?, row.size()?, tested_set(file));
        let aggregation = row.text("aggregation")?;
        // The folds of some tables are in their names.
        let fold = match row.text("fold")? {
            "-" => file
                .trim_end_matches(".csv")
                .chars()
                .last()
                .and_then(|digit| digit.to_digit(10))
                .map(|digit| digit as usize),
            _ => Some(row.number("fold")?),
        };
        published.entry(key).or_default().push(Test {
            file: file.to_owned(),
            fold,
            checkpoint_step: row.number("checkpoint_step")?,
            crops: row.number("crops")?,
            aggregation: match aggregation {
                "-" => None,
                "mean" | "max" => Some(aggregation.to_owned()),
                other => return Err(row.problem(format!("aggregation `{other}`"))),
            },
        });
    }
    rows("runs.tsv", runs)
        .map(|row| {
            let name = short_name(row.text("dataset")?);
            let (start, size) = (row.start()?, row.size()?);
            let blocks = row.text("trainable_blocks")?;
            Ok(Recipe {
                start,
                size,
                runs: row.number("runs")?,
                outputs: row.number("outputs")?,
                task: row.one_of(
                    "task",
                    &[
                        ("multi_label", TaskType::MultiLabel),
                        ("multi_class", TaskType::MultiClass),
                    ],
                )?,
                first_label_column: row.number("first_label_column")?,
                lr: LR,
                warmup_share: WARMUP_SHARE,
                batch_size: row.number("batch_size")?,
                max_steps: row.number("max_steps")?,
                validation_interval: row.number("validation_interval")?,
                patience: row.number("patience")?,
                validated_on: row.one_of(
                    "validated_on",
                    &[
                        ("validation split", ValidatedOn::Validation),
                        ("training split", ValidatedOn::Training),
                    ],
                )?,
                target_metric: "auroc".to_owned(),
                layerdrop: row.number("layerdrop")?,
                dropout_multiplier: row.number("dropout_multiplier")?,
                trained: match blocks.starts_with("all") {
                    true => Trained::All,
                    false => Trained::Blocks(row.number("trainable_blocks")?),
                },
                random_crop: row.yes("random_crop")?,
                dynamic_regularisation: row.yes("dynamic_regularisation")?,
                class_weights: row.yes("class_weights")?,
                labels: orders.get(&name).cloned().unwrap_or_default(),
                tests: published
                    .get(&(start, size, name.clone()))
                    .cloned()
                    .unwrap_or_default(),
                name,
            })
        })
        .collect()
}

/// A row of a table with the names of its columns.
struct Row<'a> {
    table: &'static str,
    line: usize,
    header: Vec<&'a str>,
    cells: Vec<&'a str>,
}

fn rows<'a>(table: &'static str, text: &'a str) -> impl Iterator<Item = Row<'a>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or("").split('\t').collect();
    (2..)
        .zip(lines)
        .filter(|(_, text)| !text.is_empty())
        .map(move |(line, text)| Row {
            table,
            line,
            header: header.clone(),
            cells: text.split('\t').collect(),
        })
}

impl<'a> Row<'a> {
    fn problem(&self, problem: String) -> RecipeError {
        RecipeError::Table {
            table: self.table,
            line: self.line,
            problem,
        }
    }

    fn text(&self, column: &str) -> Result<&'a str, RecipeError> {
        let place = self.header.iter().position(|name| *name == column);
        place
            .and_then(|place| self.cells.get(place))
            .copied()
            .ok_or_else(|| self.problem(format!("there is no `{column}`")))
    }

    fn number<T: std::str::FromStr>(&self, column: &str) -> Result<T, RecipeError> {
        let text = self.text(column)?;
        text.parse()
            .map_err(|_| self.problem(format!("`{column}` is `{text}`, expected a number")))
    }

    fn one_of<T: Copy>(&self, column: &str, values: &[(&str, T)]) -> Result<T, RecipeError> {
        let text = self.text(column)?;
        let found = values.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| self.problem(format!("`{column}` is `{text}`")))
    }

    fn yes(&self, column: &str) -> Result<bool, RecipeError> {
        self.one_of(column, &[("yes", true), ("no", false)])
    }

    fn size(&self) -> Result<Size, RecipeError> {
        let sizes = [
            ("small", Size::Small),
            ("base", Size::Base),
            ("large", Size::Large),
        ];
        self.one_of("size", &sizes)
    }

    fn start(&self) -> Result<Start, RecipeError> {
        let starts = [("finetune", Start::Finetune), ("scratch", Start::Scratch)];
        self.one_of("mode", &starts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_tables_is_there() {
        let rows = |text: &str| text.lines().filter(|line| !line.is_empty()).count() - 1;
        let recipes = all().unwrap();
        assert_eq!(recipes.len(), rows(include_str!("runs.tsv")));
        let tests: usize = recipes.iter().map(|r| r.tests.len()).sum();
        assert_eq!(tests, rows(include_str!("evaluation.tsv")));
        let mut sets = BTreeMap::new();
        for recipe in recipes {
            sets.insert(&recipe.name, recipe.labels.len());
            let unknown = ["ribeiro", "clinical-dataset"].contains(&recipe.name.as_str());
            let single = recipe.task == TaskType::MultiClass;
            let expected = if single { 1 } else { recipe.outputs };
            assert_eq!(recipe.labels.is_empty(), unknown, "{}", recipe.name);
            assert!(
                unknown || recipe.labels.len() == expected,
                "{}",
                recipe.name
            );
        }
        assert_eq!(
            sets.values().sum::<usize>(),
            rows(include_str!("labels.tsv"))
        );
    }

    #[test]
    fn recipes_are_the_published_ones() {
        let found = recipe("ptbxl-super", Size::Base, Start::Finetune).unwrap();
        assert_eq!((found.outputs, found.labels.len()), (5, 5));
        assert_eq!(
            (found.max_steps, found.batch_size, found.lr),
            (70_000, 64, 1e-5)
        );
        assert_eq!((found.validation_interval, found.patience), (500, 8));
        assert_eq!((found.layerdrop, found.dropout()), (0.1, 0.0));
        assert_eq!(found.trained, Trained::Blocks(12));
        assert!(!found.dynamic_regularisation && found.random_crop && found.class_weights);
        let georgia = recipe("georgia", Size::Base, Start::Finetune).unwrap();
        assert_eq!((georgia.max_steps, georgia.layerdrop), (100_000, 0.2));
        assert!(georgia.dynamic_regularisation);
        let death = recipe("samitrop", Size::Small, Start::Scratch).unwrap();
        assert_eq!(
            (death.task, death.trained),
            (TaskType::MultiClass, Trained::All)
        );
        assert_eq!(
            (death.validated_on, death.patience),
            (ValidatedOn::Training, 20)
        );
        let joint = recipe("cardio_learning", Size::Large, Start::Finetune).unwrap();
        assert_eq!((joint.labels.len(), joint.dropout()), (164, 0.1));
        let same = recipe("ptbxl_diag_superclass", Size::Base, Start::Finetune).unwrap();
        assert_eq!(same, found);
        // One published command misspells the metric.
        assert!(all().unwrap().iter().all(|r| r.target_metric == "auroc"));
        // The published commands of the four folds of this run all name fold 0.
        let joint = recipe("cardio_learning", Size::Large, Start::Scratch).unwrap();
        let folds: Vec<Option<usize>> = joint.tests.iter().map(|test| test.fold).collect();
        assert_eq!(joint.runs, 4);
        assert_eq!(folds[1..], [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn outputs_have_the_published_names_or_say_why_not() {
        let found = output_names("ptbxl_diag_superclass").unwrap();
        assert_eq!(found, ["NORM", "HYP", "STTC", "CD", "MI"]);
        assert_eq!(output_names("samitrop").unwrap(), ["no death", "death"]);
        assert!(says_one_of_two("sami-trop") && !says_one_of_two("ptbxl-super"));
        assert_eq!(output_names("cardio-learning").unwrap().len(), 164);
        let mut without = Vec::new();
        for name in names().unwrap() {
            let outputs = |recipe: &&Recipe| recipe.name == name;
            let outputs = all().unwrap().iter().find(outputs).unwrap().outputs;
            match output_names(&name) {
                Ok(found) => assert_eq!(found.len(), outputs, "{name}"),
                Err(error) => without.push(error.to_string()),
            }
        }
        let [clinical, ribeiro] = without.as_slice() else {
            panic!("{without:?}");
        };
        assert!(
            clinical.contains("7 outputs of `clinical-dataset` was not published;"),
            "{clinical}"
        );
        assert!(
            ribeiro.contains("two orders: 1dAVb, RBBB, LBBB, SB, ST, AF"),
            "{ribeiro}"
        );
        assert!(matches!(
            output_names("ptbxl"),
            Err(RecipeError::Unknown { .. })
        ));
    }

    #[test]
    fn unknown_names_are_told_what_there_is() {
        let message = recipe("ptbxl", Size::Base, Start::Finetune)
            .unwrap_err()
            .to_string();
        assert!(message.contains("ptbxl-super, "), "{message}");
        assert!(message.contains("sami-trop, "), "{message}");
        assert_eq!(names().unwrap().len(), 18);
        let scratch = recipe("clinical-dataset", Size::Base, Start::Scratch);
        assert!(matches!(scratch, Err(RecipeError::NotRun { .. })));
        for (runs, labels) in [
            (
                "mode\tsize\nfinetune\tsmall",
                "dataset\tindex\tlabel\ttest_positives",
            ),
            (
                "mode\n",
                "dataset\tindex\tlabel\ttest_positives\na\t1\tx\t-",
            ),
            ("mode\n", "dataset\na"),
        ] {
            assert!(matches!(
                parse(runs, "mode", labels),
                Err(RecipeError::Table { .. })
            ));
        }
    }
}
