//! Exact search among vectors of texts.

use purkinje_compute::matmul::{View, product_over};
use rayon::prelude::*;

/// Queries of a task.
const QUERIES: usize = 512;
/// Rows whose products with the queries of a task are held at once: 2 MiB.
const ROWS: usize = 1024;

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

/// A search for the rows with the smallest products with each of some queries, which rows are added to block by block.
#[derive(Debug)]
pub struct Search<'q> {
    queries: &'q [f32],
    width: usize,
    best: Vec<Least>,
    /// Rows added so far.
    rows: usize,
}

impl<'q> Search<'q> {
    /// For queries `[queries, width]` and `k` rows for each.
    pub fn new(queries: &'q [f32], width: usize, k: usize) -> Self {
        let width = width.max(1);
        Search {
            queries,
            width,
            best: queries.chunks_exact(width).map(|_| Least::new(k)).collect(),
            rows: 0,
        }
    }

    /// Compares the queries with further rows `[rows, width]`, which are numbered on from those before.
    pub fn add(&mut self, rows: &[f32]) {
        let (width, first) = (self.width, self.rows);
        let blocks = self.queries.par_chunks(QUERIES * width);
        blocks.zip(self.best.par_chunks_mut(QUERIES)).for_each_init(
            Vec::new,
            |products, (queries, best)| {
                for (number, rows) in rows.chunks(ROWS * width).enumerate() {
                    let shape = [best.len(), rows.len() / width, width];
                    products.resize(shape[0] * shape[1], 0.0f32);
                    product_over(
                        products,
                        shape,
                        View::rows(queries, width),
                        View::rows(rows, width).t(),
                        1.0,
                    );
                    let first = first + number * ROWS;
                    for (products, best) in products.chunks_exact(shape[1]).zip(best.iter_mut()) {
                        best.offer_all(first, products);
                    }
                }
            },
        );
        self.rows += rows.len() / width;
    }

    /// The rows found for each query, from the smallest product on; fewer than `k` where there are fewer. Rows of one product come in their
    /// order.
    pub fn finish(self) -> Vec<Vec<Found>> {
        self.best.into_iter().map(|best| best.sorted).collect()
    }
}

/// The `k` rows with the smallest products with each query, from the smallest on; fewer where there are fewer rows. Rows of one
/// product come in their order.
pub fn least_similar(rows: &[f32], queries: &[f32], width: usize, k: usize) -> Vec<Vec<Found>> {
    let mut search = Search::new(queries, width, k);
    search.add(rows);
    search.finish()
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
#[derive(Debug)]
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

    /// Offers rows from `first` on by their products.
    fn offer_all(&mut self, first: usize, products: &[f32]) {
        // Most rows are no nearer than the last one kept: a block is looked through at once.
        const BLOCK: usize = 32;
        for (number, block) in products.chunks(BLOCK).enumerate() {
            let limit = self.limit();
            if block
                .iter()
                .fold(false, |any, &product| any | (product < limit))
            {
                for (row, &product) in (first + number * BLOCK..).zip(block) {
                    self.offer(Found { row, product });
                }
            }
        }
    }

    /// What a product must be below to be kept.
    fn limit(&self) -> f32 {
        match self.sorted.last() {
            Some(last) if self.sorted.len() == self.k => last.product,
            _ if self.k == 0 => f32::NEG_INFINITY,
            _ => f32::INFINITY,
        }
    }

    fn offer(&mut self, found: Found) {
        if found.product < self.limit() {
            let own = |own: &Found| own.product <= found.product;
            self.sorted.insert(self.sorted.partition_point(own), found);
            self.sorted.truncate(self.k);
        }
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
