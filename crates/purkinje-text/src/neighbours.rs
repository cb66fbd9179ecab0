//! Exact search among vectors of texts.

use rayon::prelude::*;

/// Queries that one pass over the rows serves.
const QUERIES: usize = 32;

/// A row and its product with the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The row.
    pub row: usize,
    /// The product; of unit vectors the cosine.
    pub product: f32,
}

/// Vectors divided by their length, as the original does it.
pub fn normalise(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width.max(1)) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt() + 1e-10;
        row.iter_mut().for_each(|x| *x /= length);
    }
}

/// The `k` rows with the smallest products with each query, from the smallest on; fewer where there are fewer rows. Rows of one
/// product come in their order.
pub fn least_similar(rows: &[f32], queries: &[f32], width: usize, k: usize) -> Vec<Vec<Found>> {
    queries
        .par_chunks(QUERIES * width)
        .flat_map_iter(|queries| {
            let mut best: Vec<Least> = queries.chunks_exact(width).map(|_| Least::new(k)).collect();
            for (row, vector) in rows.chunks_exact(width).enumerate() {
                for (query, best) in queries.chunks_exact(width).zip(&mut best) {
                    let product = query.iter().zip(vector).map(|(a, b)| a * b).sum();
                    best.offer(Found { row, product });
                }
            }
            best.into_iter().map(|best| best.sorted)
        })
        .collect()
}

/// The `k` rows with the largest products with each query, from the largest on.
pub fn most_similar(rows: &[f32], queries: &[f32], width: usize, k: usize) -> Vec<Vec<Found>> {
    let opposite: Vec<f32> = queries.iter().map(|x| -x).collect();
    let mut found = least_similar(rows, &opposite, width, k);
    for found in found.iter_mut().flatten() {
        found.product = -found.product;
    }
    found
}

/// The smallest of what is offered.
struct Least {
    k: usize,
    sorted: Vec<Found>,
}

impl Least {
    fn new(k: usize) -> Self {
        Least {
            k,
            sorted: Vec::with_capacity(k + 1),
        }
    }

    fn offer(&mut self, found: Found) {
        if self.sorted.len() == self.k
            && self
                .sorted
                .last()
                .is_none_or(|last| found.product >= last.product)
        {
            return;
        }
        let at = self
            .sorted
            .partition_point(|own| own.product <= found.product);
        self.sorted.insert(at, found);
        self.sorted.truncate(self.k);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn search_is_exact(
            rows in prop::collection::vec(-9i8..9, 3..240),
            queries in prop::collection::vec(-9i8..9, 3..120),
            k in 0usize..20,
        ) {
            let width = 3;
            let of = |v: &[i8]| v[..v.len() / width * width].iter().map(|&x| f32::from(x)).collect::<Vec<f32>>();
            let (rows, queries) = (of(&rows), of(&queries));
            let found = least_similar(&rows, &queries, width, k);
            prop_assert_eq!(found.len(), queries.len() / width);
            for (query, found) in queries.chunks_exact(width).zip(found) {
                let product = |row: &[f32]| row.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
                let mut all: Vec<(f32, usize)> = rows.chunks_exact(width).map(product).zip(0..).collect();
                all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                all.truncate(k);
                // A product of 0 and one of -0 are equal.
                let found: Vec<f32> = found.iter().map(|f| f.product).collect();
                let all: Vec<f32> = all.iter().map(|f| f.0).collect();
                prop_assert_eq!(found, all);
            }
        }
    }
}
