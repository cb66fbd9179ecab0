//! Texts: cleaning, word pieces, batches, similar reports.

use burn::tensor::Device;
use purkinje::reporter::Silent;
use purkinje::text_encoder::TextEncoder;
use purkinje_models::layers::{Context, Trace};
use purkinje_models::text::{TextConfig, TextIds};
use purkinje_text::batch::negatives;
use purkinje_text::masking::MaskDraws;
use purkinje_text::neighbours::{least_similar, normalise};
use purkinje_text::{TextBatch, Tokenizer, clean};
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance, close};
use crate::d_beta::{host, weights};
use crate::entry::{index, number, text};
use crate::walk::{Case, Tensors};

/// The kinds of D-BETA that are checked here.
pub const D_BETA: &[(&str, Check)] = &[
    ("text_norm", text_norm),
    ("tokenize", tokenize),
    ("tokenizer_tiny", tokenizer_tiny),
    ("collate", collate),
    ("n3s", n3s),
    ("n3s_build", n3s_build),
];
/// Those of published encoders.
pub const PUBLISHED: &[(&str, Check)] = &[("real_text", real_text)];

const EXACT: Tolerance = Tolerance::absolute(0.0);
const VECTORS: Tolerance = Tolerance::absolute(2e-6);
/// The folder with the published encoders.
const TEXT_MODELS: &str = "PURKINJE_TEXT_MODELS";

/// The tokenizer of a neighbouring case.
pub fn tiny_tokenizer(case: &Case) -> Result<Tokenizer, String> {
    let path = case.dir.join("../tokenizer_tiny/tokenizer.json");
    Tokenizer::read(&path).map_err(|e| e.to_string())
}

fn own_tokenizer(case: &Case) -> Result<Tokenizer, String> {
    Tokenizer::read(&case.path("tokenizer.json")).map_err(|e| e.to_string())
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, String> {
    tokenizer.ids(text).map_err(|e| e.to_string())
}

fn cut(tokenizer: &Tokenizer, length: usize) -> Result<Tokenizer, String> {
    tokenizer.cut_to(length).map_err(|e| e.to_string())
}

fn numbers(value: &Value) -> Vec<u32> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|id| Some(id.as_u64()? as u32))
        .collect()
}

fn strings(value: &Value, key: &str) -> Result<Vec<String>, String> {
    let list = value[key]
        .as_array()
        .ok_or_else(|| format!("no list `{key}`"))?;
    list.iter()
        .map(|text| {
            text.as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("`{key}`: no text"))
        })
        .collect()
}

/// The entries that state word pieces of a text: without a limit, and cut to the lengths that the names of fields state.
fn pieces(findings: &mut Findings, tokenizer: &Tokenizer, entries: &[Value]) -> Result<(), String> {
    for entry in entries {
        let own = text(entry, "text")?;
        let found = ids(tokenizer, own)?;
        findings.exact_all(&format!("ids of `{own}`"), &found, &numbers(&entry["ids"]));
        let added = tokenizer.added(own).map_err(|e| e.to_string())?;
        let special: Vec<u32> = added.into_iter().map(u32::from).collect();
        let stated = numbers(&entry["special_tokens_mask"]);
        findings.exact_all(&format!("special ids of `{own}`"), &special, &stated);
        for (key, expected) in entry.as_object().into_iter().flatten() {
            let length = ["ids_max", "ids_truncated_to_"]
                .iter()
                .find_map(|prefix| key.strip_prefix(prefix)?.parse::<usize>().ok());
            if let Some(length) = length {
                let found = ids(&cut(tokenizer, length)?, own)?;
                findings.exact_all(&format!("{key} of `{own}`"), &found, &numbers(expected));
            }
        }
    }
    Ok(())
}

fn text_norm(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let cases = case.json("cases.json")?;
    for entry in cases.as_array().ok_or("cases.json: no list")? {
        let (from, to) = (text(entry, "in")?, text(entry, "out")?);
        findings.exact(
            &format!("cleaned `{from}`"),
            clean::d_beta(from).as_str(),
            to,
        );
    }
    let tokenizer = tiny_tokenizer(case)?;
    let entries = case.json("tokenize.json")?;
    let entries = entries.as_array().ok_or("tokenize.json: no list")?;
    pieces(findings, &tokenizer, entries)?;
    let io = case.tensors("io.safetensors")?;
    let size = io.shape("batch_ids")?[0];
    let texts = entries.iter().take(size);
    let texts = texts.map(|entry| ids(&tokenizer, text(entry, "text")?));
    let batch = TextBatch::new(&texts.collect::<Result<Vec<_>, _>>()?, tokenizer.pad());
    same(findings, &io, ("batch_ids", "batch_attention_mask"), &batch)
}

fn same(
    findings: &mut Findings,
    io: &Tensors,
    (names, mask): (&str, &str),
    batch: &TextBatch,
) -> Result<(), String> {
    let found: Vec<i64> = batch.ids.iter().map(|&id| i64::from(id)).collect();
    findings.exact_all(names, &found, &io.i64(names)?);
    let found: Vec<i64> = batch.real.iter().map(|&real| i64::from(real)).collect();
    findings.exact_all(mask, &found, &io.i64(mask)?);
    Ok(())
}

fn tokenize(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let tokenizer = own_tokenizer(case)?;
    let stated = case.json("tokenize.json")?;
    pieces(
        findings,
        &tokenizer,
        stated["cases"].as_array().ok_or("no cases")?,
    )?;
    findings.exact(
        "vocab_size",
        tokenizer.size(),
        index(&stated, "vocab_size")?,
    );
    let mask = tokenizer.mask().map_or(0, |id| id as usize);
    findings.exact("mask_token_id", mask, index(&stated, "mask_token_id")?);
    for (key, expected) in stated.as_object().into_iter().flatten() {
        let Some((_, length)) = key.split_once("_truncated_to_") else {
            continue;
        };
        let length = length
            .parse()
            .map_err(|_| format!("`{key}` states no length"))?;
        let rows = |key: &str| -> Vec<u32> {
            let rows = expected[key]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            rows.iter().flat_map(numbers).collect()
        };
        let size = expected["ids"].as_array().map_or(0, Vec::len);
        let cutting = cut(&tokenizer, length)?;
        let cases = stated["cases"].as_array().ok_or("no cases")?;
        let texts = cases.iter().take(size);
        let texts = texts.map(|entry| ids(&cutting, text(entry, "text")?));
        let found = TextBatch::new(&texts.collect::<Result<Vec<_>, _>>()?, tokenizer.pad());
        findings.exact_all(key, &found.ids, &rows("ids"));
        let real: Vec<u32> = found.real.iter().map(|&real| u32::from(real)).collect();
        findings.exact_all(&format!("{key}, mask"), &real, &rows("attention_mask"));
    }
    Ok(())
}

fn tokenizer_tiny(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let tokenizer = own_tokenizer(case)?;
    let stated = case.json("tokenizer.json")?;
    let words = stated["model"]["vocab"].as_array().map_or(0, Vec::len);
    findings.exact("word pieces", tokenizer.size() >= words, true);
    for (name, id) in [
        ("<pad>", Some(tokenizer.pad())),
        ("</s>", Some(tokenizer.end())),
    ] {
        findings.exact(
            name,
            id.and_then(|id| tokenizer.piece(id)).as_deref(),
            Some(name),
        );
    }
    let mask = tokenizer.mask().and_then(|id| tokenizer.piece(id));
    findings.exact("mask", mask.as_deref(), Some("<extra_id_0>"));
    Ok(())
}

fn collate(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let (settings, stated) = (case.json("config.json")?, case.json("texts.json")?);
    let tokenizer = tiny_tokenizer(case)?;
    let mask = tokenizer.mask().ok_or("no mask")?;
    findings.exact(
        "mask_token_id",
        mask as usize,
        index(&settings, "mask_token_id")?,
    );
    findings.exact(
        "len_tokenizer",
        tokenizer.size(),
        index(&settings, "len_tokenizer")?,
    );
    let cutting = cut(&tokenizer, index(&settings, "truncate_to")?)?;
    let (raw, normalised) = (strings(&stated, "raw")?, strings(&stated, "normalised")?);
    let cleaned: Vec<String> = raw.iter().map(|text| clean::d_beta(text)).collect();
    findings.exact_all("cleaned", &cleaned, &normalised);
    let unpadded = stated["token_ids_unpadded"].as_array().ok_or("no ids")?;
    let mut texts = Vec::new();
    for (text, expected) in cleaned.iter().zip(unpadded) {
        let found = ids(&cutting, text)?;
        findings.exact_all(&format!("ids of `{text}`"), &found, &numbers(expected));
        texts.push(found);
    }
    let pad = tokenizer.pad();
    let originals = TextBatch::new(&texts, pad);
    let rows: Vec<usize> = io
        .i64("neg_idcs")?
        .iter()
        .map(|&row| row as usize)
        .collect();
    let u = io.f64("u_rounding")?[0];
    findings.exact("negatives", negatives(texts.len(), 0.5, u), rows.len());
    let others = strings(&stated, "negative_texts")?;
    let drawn = io.i64("neg_index_rows")?;
    findings.exact("neg_index_rows", drawn.len(), others.len());
    let others = others.iter().map(|text| ids(&cutting, text));
    let others: Vec<Vec<u32>> = others.collect::<Result<_, _>>()?;
    let replaced = originals.clone().with_rows(&rows, &others, pad);
    same(
        findings,
        &io,
        ("nomlm_text_ids", "nomlm_attention_mask"),
        &replaced,
    )?;
    let aligned: Vec<f32> = (0..texts.len())
        .map(|row| if rows.contains(&row) { 0.0 } else { 1.0 })
        .collect();
    close(findings, &io, "is_aligned", &aligned, EXACT)?;
    let flags = |name: &str| -> Result<Vec<bool>, String> {
        Ok(io.f64(name)?.iter().map(|&x| x > 0.5).collect())
    };
    let draws = MaskDraws {
        hidden: flags("bernoulli_select")?,
        masked: flags("bernoulli_replace_with_mask")?,
        random: flags("bernoulli_replace_with_random")?,
        words: io
            .i64("random_words")?
            .iter()
            .map(|&word| word as u32)
            .collect(),
    };
    let special = |id: u32| id == pad || id == tokenizer.end();
    for (name, batch) in [("released", &originals), ("intended", &replaced)] {
        let (stored, labels) = (format!("{name}_text_ids"), format!("{name}_mlm_labels"));
        if !io.has(&stored) {
            continue;
        }
        let mut batch = batch.clone();
        let asked = draws.hide(&mut batch, mask, special);
        let found: Vec<i64> = batch.ids.iter().map(|&id| i64::from(id)).collect();
        findings.exact_all(&stored, &found, &io.i64(&stored)?);
        let found: Vec<i64> = asked
            .iter()
            .map(|word| word.map_or(-100, i64::from))
            .collect();
        findings.exact_all(&labels, &found, &io.i64(&labels)?);
    }
    // As released, the mask is the negatives' although the ids are not.
    let found: Vec<i64> = replaced.real.iter().map(|&real| i64::from(real)).collect();
    findings.exact_all(
        "released_attention_mask",
        &found,
        &io.i64("released_attention_mask")?,
    );
    // Recordings of equal length pass through as they are, none of it padding.
    let ecg: Vec<f64> = io.f64("ecg")?;
    findings.close_all("ecg_out", &ecg, &io.f64("ecg_out")?, EXACT);
    let padding = io
        .i64("ecg_padding_mask")?
        .iter()
        .any(|&padding| padding != 0);
    findings.exact("ecg_padding_mask", padding, false);
    Ok(())
}

/// A small encoder of reports.
struct Embedder {
    config: TextConfig,
    weights: purkinje_models::layers::Weights,
}

impl Embedder {
    fn of(case: &Case) -> Result<Self, String> {
        Ok(Embedder {
            config: TextConfig::from_published(&case.json("config.json")?["embedder"])?,
            weights: weights(case)?,
        })
    }

    /// Unit vectors: the mean over all positions, padding included.
    fn vectors(&self, batch: &TextBatch) -> Result<Vec<f32>, String> {
        let texts = TextIds {
            ids: batch.ids.clone(),
            real: batch.real.clone(),
            length: batch.length,
        };
        let ctx = Context::inference(&Device::flex());
        let states = self
            .config
            .states(&self.weights, "embedder.", &texts, true, &ctx);
        let mut vectors = host(states.mean_dim(1))?;
        normalise(&mut vectors, self.config.width());
        Ok(vectors)
    }

    /// Each text alone, without padding.
    fn alone(&self, texts: &[Vec<u32>], pad: u32) -> Result<Vec<f32>, String> {
        let each = texts
            .iter()
            .map(|text| self.vectors(&TextBatch::new(std::slice::from_ref(text), pad)));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// Squared distances of the nearest rows to the opposite of each query; rows where distances around them differ.
fn search(
    findings: &mut Findings,
    io: &Tensors,
    (rows, queries, width): (&[f32], &[f32], usize),
    (indices, distances): (&str, &str),
) -> Result<(), String> {
    let k = io.shape(indices)?[1];
    let found = least_similar(rows, queries, width, k);
    let all = found.iter().flatten();
    let squares: Vec<f64> = all
        .clone()
        .map(|f| 2.0 + 2.0 * f64::from(f.product))
        .collect();
    let expected = io.f64(distances)?;
    findings.close_all(distances, &squares, &expected, Tolerance::absolute(2e-5));
    let stored = io.i64(indices)?;
    let apart = |a: usize, b: usize| (expected[a] - expected[b]).abs() > 1e-5;
    let clear = |at: usize| {
        (at.is_multiple_of(k) || apart(at - 1, at))
            && ((at + 1).is_multiple_of(k) || apart(at, at + 1))
    };
    let (mine, theirs): (Vec<i64>, Vec<i64>) = all
        .zip(&stored)
        .enumerate()
        .filter(|(at, _)| clear(*at))
        .map(|(_, (found, stored))| (found.row as i64, *stored))
        .unzip();
    findings.exact_all(indices, &mine, &theirs);
    Ok(())
}

fn picked(findings: &mut Findings, io: &Tensors) -> Result<(), String> {
    let k = io.shape("top_indices")?[1];
    let top = io.i64("top_indices")?;
    let places = io.i64("pick_position")?;
    let found = places.iter().enumerate();
    let found: Vec<i64> = found
        .map(|(query, &place)| top[query * k + place as usize])
        .collect();
    findings.exact_all("picked_index", &found, &io.i64("picked_index")?);
    Ok(())
}

fn n3s(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let (stated, settings) = (case.json("texts.json")?, case.json("config.json")?);
    let (tokenizer, embedder) = (tiny_tokenizer(case)?, Embedder::of(case)?);
    let own = strings(&stated, "index_texts_in_index_order")?;
    let mut cleaned: Vec<String> = strings(&stated, "raw_file_texts")?
        .iter()
        .map(|text| clean::d_beta(text))
        .filter(|text| !text.is_empty())
        .collect();
    let mut expected = own.clone();
    cleaned.sort();
    cleaned.dedup();
    expected.sort();
    findings.exact_all("distinct texts", &cleaned, &expected);
    let pieces = stated["token_ids_per_index_text"]
        .as_array()
        .ok_or("no ids")?;
    let mut texts = Vec::new();
    for (text, expected) in own.iter().zip(pieces) {
        let found = ids(&tokenizer, text)?;
        findings.exact_all(&format!("ids of `{text}`"), &found, &numbers(expected));
        texts.push(found);
    }
    let vectors = embedder.vectors(&TextBatch::new(&texts, tokenizer.pad()))?;
    close(findings, &io, "index_embeddings", &vectors, VECTORS)?;
    let rows = numbers(&stated["query_rows"]);
    let queries: Vec<Vec<u32>> = rows
        .iter()
        .map(|&row| texts[row as usize].clone())
        .collect();
    let queries = embedder.alone(&queries, tokenizer.pad())?;
    close(findings, &io, "query_embeddings", &queries, VECTORS)?;
    let width = embedder.config.width();
    let stored = io.f32("index_embeddings")?.to_vec();
    let of = (&stored[..], &queries[..], width);
    search(findings, &io, of, ("top_indices", "top_sq_l2"))?;
    findings.exact("k", io.shape("top_indices")?[1], index(&settings, "k")?);
    let found = least_similar(&stored, &queries, width, index(&settings, "k")?);
    let cosines: Vec<f32> = found.iter().flatten().map(|f| f.product).collect();
    close(
        findings,
        &io,
        "cosine_top",
        &cosines,
        Tolerance::absolute(2e-5),
    )?;
    picked(findings, &io)?;
    let width = io.shape("random_raw")?[1];
    let mut random = io.f32("random_raw")?.to_vec();
    normalise(&mut random, width);
    close(findings, &io, "random_normalised", &random, VECTORS)?;
    let rows = io.i64("random_query_rows")?;
    let queries = rows.iter().flat_map(|&row| {
        let start = row as usize * width;
        random[start..start + width].to_vec()
    });
    let queries: Vec<f32> = queries.collect();
    findings.exact(
        "k_random",
        io.shape("random_top64")?[1],
        index(&settings, "k_random")?,
    );
    search(
        findings,
        &io,
        (&random, &queries, width),
        ("random_top64", "random_top64_sq_l2"),
    )
}

fn n3s_build(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let (stated, settings) = (case.json("texts.json")?, case.json("config.json")?);
    let (tokenizer, embedder) = (tiny_tokenizer(case)?, Embedder::of(case)?);
    let cleaned: Vec<String> = strings(&stated, "raw_file_texts")?
        .iter()
        .map(|text| clean::d_beta(text))
        .collect();
    findings.exact_all("cleaned", &cleaned, &strings(&stated, "cleaned")?);
    let own = strings(&stated, "index_texts_in_index_order")?;
    let mut distinct: Vec<&String> = Vec::new();
    for text in cleaned.iter().filter(|text| !text.is_empty()) {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    let found: Vec<String> = distinct.into_iter().cloned().collect();
    findings.exact_all("distinct texts", &found, &own);
    let whole: Vec<Vec<u32>> = own
        .iter()
        .map(|text| ids(&tokenizer, text))
        .collect::<Result<_, _>>()?;
    let counts: Vec<u32> = whole.iter().map(|ids| ids.len() as u32).collect();
    findings.exact_all("token_counts", &counts, &numbers(&stated["token_counts"]));
    let cutting = cut(&tokenizer, index(&settings, "max_tokens")?)?;
    let texts: Vec<Vec<u32>> = own
        .iter()
        .map(|text| ids(&cutting, text))
        .collect::<Result<_, _>>()?;
    let pad = tokenizer.pad();
    let batches = texts.chunks(index(&settings, "batch")?);
    let vectors = batches.map(|texts| embedder.vectors(&TextBatch::new(texts, pad)));
    let vectors = vectors.collect::<Result<Vec<_>, _>>()?.concat();
    close(findings, &io, "index_embeddings", &vectors, VECTORS)?;
    let alone = embedder.alone(&texts, pad)?;
    close(findings, &io, "index_embeddings_unpadded", &alone, VECTORS)?;
    let folder = embedder_folder(case, &settings)?;
    let encoder =
        TextEncoder::open(folder.path(), &purkinje::Device::cpu()).map_err(|e| e.to_string())?;
    let texts: Vec<&str> = own.iter().map(String::as_str).collect();
    let found = encoder
        .vectors(&texts, &Silent)
        .map_err(|e| e.to_string())?;
    close(findings, &io, "index_embeddings_unpadded", &found, VECTORS)?;
    let (found, _) = encoder
        .batched(&texts, index(&settings, "batch")?, |_| Ok(()))
        .map_err(|e| e.to_string())?;
    close(findings, &io, "index_embeddings", &found, VECTORS)?;
    let rows = io.i64("query_rows")?;
    let queries: Vec<Vec<u32>> = rows
        .iter()
        .map(|&row| whole[row as usize].clone())
        .collect();
    let queries = embedder.alone(&queries, pad)?;
    close(findings, &io, "query_embeddings", &queries, VECTORS)?;
    let of = (&vectors[..], &queries[..], embedder.config.width());
    search(findings, &io, of, ("top_indices", "top_sq_l2"))?;
    findings.exact("k", io.shape("top_indices")?[1], index(&settings, "k")?);
    picked(findings, &io)
}

/// The encoder of the case as Hugging Face lays it out.
fn embedder_folder(case: &Case, settings: &Value) -> Result<tempfile::TempDir, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("config.json"), settings["embedder"].to_string())
        .and_then(|()| std::fs::copy(case.path("weights.safetensors"), at("model.safetensors")))
        .map_err(|e| e.to_string())?;
    std::fs::write(at("tokenizer.json"), tiny_tokenizer(case)?.json())
        .map_err(|e| e.to_string())?;
    Ok(folder)
}

#[expect(clippy::too_many_lines, reason = "one case, tensor by tensor")]
fn real_text(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let settings = case.json("config.json")?;
    let Some(folder) = std::env::var_os(TEXT_MODELS).map(std::path::PathBuf::from) else {
        findings.skip(&format!("{TEXT_MODELS} names no folder"));
        return Ok(());
    };
    for (file, expected) in settings["files"].as_object().ok_or("no files")? {
        let path = folder.join(file);
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let words = bytes.as_chunks::<4>().0;
        // Files of a length that is no multiple of four are small, and their contents are compared by what they give.
        if words.len() * 4 == bytes.len() {
            let values: Vec<i32> = words.iter().map(|b| i32::from_le_bytes(*b)).collect();
            findings.sha256_i32(file, &values, expected.as_str().unwrap_or_default());
        }
    }
    let read = |name: &str| -> Result<Value, String> {
        let bytes = std::fs::read(folder.join(name)).map_err(|e| e.to_string())?;
        serde_json::from_slice(&bytes).map_err(|e| e.to_string())
    };
    let config = TextConfig::from_published(&read("config.json")?)?;
    findings.exact("hidden", config.width(), index(&settings, "hidden")?);
    let stored = purkinje_models::checkpoint::read_safetensors(&folder.join("model.safetensors"));
    let mut weights = purkinje_models::layers::Weights::default();
    for (name, tensor) in stored.map_err(|e| e.to_string())?.0 {
        weights.insert(name, &tensor.shape, tensor.data, &Device::flex());
    }
    weights
        .require(&config.parameters(""))
        .map_err(|e| e.to_string())?;
    let tokenizer = Tokenizer::read(&folder.join("tokenizer.json")).map_err(|e| e.to_string())?;
    let cutting = cut(&tokenizer, index(&settings, "max_length")?)?;
    let stated = case.json("texts.json")?;
    let listed = stated
        .as_array()
        .cloned()
        .or_else(|| stated["texts"].as_array().cloned());
    let texts = listed.ok_or("texts.json: no texts")?;
    let texts = texts
        .iter()
        .map(|text| ids(&cutting, text.as_str().unwrap_or_default()));
    let batch = TextBatch::new(&texts.collect::<Result<Vec<_>, _>>()?, tokenizer.pad());
    let io = case.tensors("io.safetensors")?;
    same(findings, &io, ("input_ids", "attention_mask"), &batch)?;
    let texts = TextIds {
        ids: batch.ids.clone(),
        real: batch.real.clone(),
        length: batch.length,
    };
    let tolerance = Tolerance::absolute(number(&settings, "tolerance").unwrap_or(2e-5));
    let trace = Trace::default();
    let ctx = Context::inference(&Device::flex()).traced(&trace);
    let states = config.states(&weights, "", &texts, true, &ctx);
    let width = config.width();
    let states = host(states)?;
    // Of the first texts everything is stored.
    let whole = |findings: &mut Findings, name: &str, values: &[f32]| -> Result<(), String> {
        if !io.has(name) {
            return Ok(());
        }
        let count = io.shape(name)?.iter().product::<usize>();
        close(findings, &io, name, &values[..count], tolerance)
    };
    whole(findings, "last_hidden_state", &states)?;
    for (name, (_, values)) in trace.take() {
        whole(findings, &name, &values)?;
    }
    let mut means = Vec::new();
    for (text, states) in batch
        .real
        .chunks_exact(batch.length)
        .zip(states.chunks_exact(batch.length * width))
    {
        let mut mean = vec![0f32; width];
        let real = text.iter().filter(|real| **real).count() as f32;
        for (state, _) in states
            .chunks_exact(width)
            .zip(text)
            .filter(|(_, real)| **real)
        {
            mean.iter_mut().zip(state).for_each(|(m, x)| *m += x / real);
        }
        means.extend(mean);
    }
    close(findings, &io, "mean_vectors", &means, tolerance)?;
    normalise(&mut means, width);
    close(findings, &io, "unit_vectors", &means, tolerance)?;
    let weights = |name: &str| {
        weights
            .parameter(name)
            .map(|p| host(p.value.clone()))
            .transpose()
    };
    if let (Some(w), Some(b)) = (
        weights("pooler.dense.weight")?,
        weights("pooler.dense.bias")?,
    ) {
        let count = io.shape("pooler_output")?[0];
        let pooled = (0..count).flat_map(|text| {
            let first = &states[text * batch.length * width..][..width];
            let rows = w.chunks_exact(width).zip(&b);
            let dot = |row: &[f32]| row.iter().zip(first).map(|(a, b)| a * b).sum::<f32>();
            rows.map(|(row, b)| (dot(row) + b).tanh())
                .collect::<Vec<f32>>()
        });
        close(
            findings,
            &io,
            "pooler_output",
            &pooled.collect::<Vec<f32>>(),
            tolerance,
        )?;
    }
    Ok(())
}
