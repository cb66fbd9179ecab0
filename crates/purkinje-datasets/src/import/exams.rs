//! `exams.csv` of CODE-15% and SaMi-Trop.

use super::ImportError;
use super::Item;
use super::table::{Table, TableRow, identifier};

/// Names of the numbers about an exam.
pub(super) const VALUES: [&str; 3] = ["death", "follow_up_years", "predicted_age"];

/// The columns by meaning.
pub(super) struct ExamColumns {
    id: usize,
    age: usize,
    is_male: usize,
    normal: usize,
    death: usize,
    years: usize,
    predicted_age: Option<usize>,
}

impl ExamColumns {
    pub(super) fn find(table: &Table, advice: &'static str) -> Result<Self, ImportError> {
        Ok(ExamColumns {
            id: table.column("exam_id", advice)?,
            age: table.column("age", advice)?,
            is_male: table.column("is_male", advice)?,
            normal: table.column("normal_ecg", advice)?,
            death: table.column("death", advice)?,
            years: table.column("timey", advice)?,
            predicted_age: table.find(&["nn_predicted_age"]),
        })
    }

    /// The number of the exam.
    pub(super) fn exam(&self, table: &Table, row: &TableRow) -> Result<i64, ImportError> {
        let cell = row.cell(self.id);
        identifier(cell)
            .parse()
            .map_err(|_| table.error(row, format!("exam_id is `{cell}`, expected a whole number")))
    }

    /// Id, age, sex and numbers of an exam.
    pub(super) fn item(&self, table: &Table, row: &TableRow) -> Result<Item, ImportError> {
        let death = flag(table, row, self.death)?;
        let male = flag(table, row, self.is_male)?;
        Ok(Item {
            id: self.exam(table, row)?.to_string(),
            age: number(table, row, Some(self.age))?,
            sex: male.map(|male| if male { "male" } else { "female" }.to_owned()),
            values: vec![
                death.map(|dead| f32::from(u8::from(dead))),
                number(table, row, Some(self.years))?,
                number(table, row, self.predicted_age)?,
            ],
            ..Item::default()
        })
    }

    /// The classes of these columns.
    pub(super) fn abnormalities(
        &self,
        table: &Table,
        row: &TableRow,
        classes: &[&str],
    ) -> Result<Option<Vec<i16>>, ImportError> {
        let columns = classes
            .iter()
            .map(|name| table.column(name, "Use the exams.csv that Zenodo publishes."))
            .collect::<Result<Vec<_>, _>>()?;
        flagged(table, row, &columns)
    }

    /// Whether the ECG was classified as normal, as the single class of a label set.
    pub(super) fn normal(
        &self,
        table: &Table,
        row: &TableRow,
    ) -> Result<Option<Vec<i16>>, ImportError> {
        flagged(table, row, &[self.normal])
    }

    /// Whether the patient died, as the single class of a label set.
    pub(super) fn death(
        &self,
        table: &Table,
        row: &TableRow,
    ) -> Result<Option<Vec<i16>>, ImportError> {
        flagged(table, row, &[self.death])
    }
}

/// The positions of the columns that are true; `None` if all are blank.
pub(super) fn flagged(
    table: &Table,
    row: &TableRow,
    columns: &[usize],
) -> Result<Option<Vec<i16>>, ImportError> {
    let mut labelled = false;
    let mut classes = Vec::new();
    for (class, &column) in (0..).zip(columns) {
        let flag = flag(table, row, column)?;
        labelled |= flag.is_some();
        if flag == Some(true) {
            classes.push(class);
        }
    }
    Ok(labelled.then_some(classes))
}

/// True, false, or `None` for a blank.
fn flag(table: &Table, row: &TableRow, column: usize) -> Result<Option<bool>, ImportError> {
    let cell = row.cell(column);
    match cell.to_ascii_lowercase().as_str() {
        "" | "nan" => Ok(None),
        "true" | "1" | "1.0" => Ok(Some(true)),
        "false" | "0" | "0.0" => Ok(Some(false)),
        _ => Err(table.error(
            row,
            format!(
                "`{}` is `{cell}`, expected True, False, 1, 0 or blank",
                table.columns[column]
            ),
        )),
    }
}

fn number(
    table: &Table,
    row: &TableRow,
    column: Option<usize>,
) -> Result<Option<f32>, ImportError> {
    let Some((column, cell)) = column.zip(row.value(column)) else {
        return Ok(None);
    };
    if cell.eq_ignore_ascii_case("nan") {
        return Ok(None);
    }
    match cell.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(Some(value)),
        _ => Err(table.error(
            row,
            format!(
                "`{}` is `{cell}`, expected a number or blank",
                table.columns[column]
            ),
        )),
    }
}
