//! What comes out for a recording depends neither on the others of its batch nor on the number of threads.

use crate::compare::Findings;

/// Recordings of a batch.
const BATCHES: [usize; 4] = [1, 2, 7, 32];
const THREADS: [usize; 2] = [1, 2];

/// Holds the bits of every recording in batches of several sizes against those it gives alone, on one thread and two.
/// `run` makes a batch of the case's recordings (of which there are `recordings`) with these places, in their order, and
/// gives as many numbers for each.
pub fn agree(
    findings: &mut Findings,
    label: &str,
    recordings: usize,
    run: impl Fn(&[usize]) -> Result<Vec<f32>, String> + Sync,
) -> Result<(), String> {
    let bits = |batch: &[usize]| -> Result<Vec<Vec<u32>>, String> {
        let all = run(batch)?;
        let each = all.chunks(all.len() / batch.len());
        let bits = |one: &[f32]| one.iter().map(|v| v.to_bits()).collect();
        Ok(each.map(bits).collect())
    };
    let mut alone: Option<Vec<Vec<u32>>> = None;
    for threads in THREADS {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().map_err(|e| e.to_string())?;
        for size in BATCHES {
            // Every recording comes first once, and has others around it.
            let batches: Vec<Vec<usize>> = (0..recordings)
                .map(|first| (0..size).map(|i| (first + i) % recordings).collect())
                .collect();
            let found = pool.install(|| {
                let found = batches.iter().map(|batch| bits(batch));
                found.collect::<Result<Vec<_>, String>>()
            })?;
            let alone = alone.get_or_insert_with(|| {
                let each = found.iter().map(|batch| batch[0].clone());
                each.collect()
            });
            for (batch, found) in batches.iter().zip(&found) {
                for (recording, found) in batch.iter().zip(found) {
                    let label = format!(
                        "{label} of recording {recording} in a batch of {size}, {threads} threads, as bits"
                    );
                    findings.exact_all(&label, found, &alone[*recording]);
                }
            }
        }
    }
    Ok(())
}
