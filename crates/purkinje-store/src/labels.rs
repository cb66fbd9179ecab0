//! Labels of one task as a matrix.

/// The labels of the records that are part of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Names of the classes: the columns.
    pub classes: Vec<String>,
    /// Indices into the store of the records: the rows, increasing.
    pub rows: Vec<usize>,
    /// 1 where a record has a class, row-major `[rows, classes]`.
    pub multi_hot: Vec<u8>,
}

impl Labels {
    /// An empty matrix.
    pub fn new(classes: Vec<String>) -> Self {
        Labels {
            classes,
            rows: Vec::new(),
            multi_hot: Vec::new(),
        }
    }

    /// Adds the record at `index` of the store; `present` are indices of classes.
    pub(crate) fn push(&mut self, index: usize, present: &[i16]) {
        let start = self.multi_hot.len();
        self.rows.push(index);
        self.multi_hot.resize(start + self.classes.len(), 0);
        for &class in present {
            // Checked against the label set when the shard was opened.
            self.multi_hot[start + class as usize] = 1;
        }
    }

    /// The labels of the record at `row` of the matrix: 0 or 1 for each class.
    pub fn row(&self, row: usize) -> &[u8] {
        let classes = self.classes.len();
        &self.multi_hot[row * classes..(row + 1) * classes]
    }

    /// Keeps the records for which `kept` is true; it is given their index in the store.
    pub fn retain(&mut self, kept: impl Fn(usize) -> bool) {
        let classes = self.classes.len();
        let keep: Vec<bool> = self.rows.iter().map(|&row| kept(row)).collect();
        let mut at = 0..;
        self.rows
            .retain(|_| at.next().is_some_and(|at: usize| keep[at]));
        let mut at = 0..;
        self.multi_hot
            .retain(|_| at.next().is_some_and(|at: usize| keep[at / classes]));
    }

    /// The number of records with each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for row in 0..self.rows.len() {
            for (count, &present) in counts.iter_mut().zip(self.row(row)) {
                *count += usize::from(present);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted() {
        let mut labels = Labels::new(vec!["a".into(), "b".into(), "c".into()]);
        labels.push(4, &[0, 2]);
        labels.push(7, &[]);
        labels.push(9, &[2]);
        assert_eq!(labels.rows, [4, 7, 9]);
        assert_eq!(labels.row(0), [1, 0, 1]);
        assert_eq!(labels.counts(), [1, 0, 2]);
        labels.retain(|row| row != 7);
        assert_eq!(labels.rows, [4, 9]);
        assert_eq!(labels.multi_hot, [1, 0, 1, 0, 0, 1]);
    }
}
