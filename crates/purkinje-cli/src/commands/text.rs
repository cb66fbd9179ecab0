//! `purkinje text`: an index of reports, texts that say something else, and word pieces.

use std::path::PathBuf;

use clap::Subcommand;
use miette::miette;
use purkinje::models::compat::Compat;
use purkinje::store::{Split, Store};
use purkinje::text_encoder::TextEncoder;
use purkinje::text_index::{IndexOptions, TextIndex, build};
use purkinje::texts::{StoreText, read_texts, word_pieces};
use purkinje::{Device, Registry};

use crate::output::{self, Show as _, Table, count, printable};
use crate::progress::Bars;

/// Options of `text`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an index of the distinct reports of a store or a file: a vector for each, and which are least similar to it. Pre-training draws
    /// reports that say something else from it; an interrupted call is continued by the same command
    Index(IndexArgs),
    /// Show the reports of an index that are least or most similar to a text, with their cosines
    Neighbours(NeighboursArgs),
    /// Show the word pieces of a text and their ids
    Tokens(TokensArgs),
}

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["data", "texts"])))]
struct IndexArgs {
    /// Prepared store
    #[arg(long, value_name = "STORE")]
    data: Option<PathBuf>,
    /// Text of the store [default: the report]
    #[arg(long, value_name = "NAME", requires = "data")]
    text: Option<String>,
    /// Split of the store whose texts are taken: train, val, test, or none of them
    #[arg(long, default_value = "train", value_parser = super::by_name::<Split>)]
    split: Split,
    /// A .csv, .tsv or .parquet table, or a file with a text in each line, instead of a store
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Column of the table
    #[arg(long, value_name = "NAME", requires = "texts")]
    column: Option<String>,
    /// Folder of a T5 (of version 1.1) or a BERT as Hugging Face lays it out: config.json, model.safetensors, tokenizer.json
    #[arg(long, value_name = "DIR")]
    embedder: PathBuf,
    /// Folder to write
    #[arg(short, long, value_name = "INDEX")]
    out: PathBuf,
    /// Least similar texts to store for each
    #[arg(long, default_value_t = 64, value_name = "N")]
    neighbours: usize,
    /// paper: a vector is the mean over the word pieces of a text; released: over padding too, in batches of 128
    #[arg(long, default_value = "paper", value_parser = super::by_name::<Compat>)]
    compat: Compat,
    /// Memory for vectors while texts are compared, such as 512MB
    #[arg(long, default_value = "512MB", value_name = "BYTES", value_parser = bytes)]
    max_memory: usize,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in
    #[arg(long, default_value = "cpu")]
    device: Device,
}

#[derive(clap::Args, Debug)]
struct NeighboursArgs {
    /// The index
    index: PathBuf,
    /// The text
    text: String,
    /// Show the most similar ones instead of the least similar ones
    #[arg(long)]
    most: bool,
    /// How many
    #[arg(short, default_value_t = 8)]
    k: usize,
    /// Folder of the encoder that the index was made with, if it is not where it was
    #[arg(long, value_name = "DIR")]
    embedder: Option<PathBuf>,
    /// Device: cpu, or cuda, cuda:1, vulkan, metal, webgpu or rocm if built in
    #[arg(long, default_value = "cpu")]
    device: Device,
}

#[derive(clap::Args, Debug)]
struct TokensArgs {
    /// The texts
    #[arg(required = true)]
    texts: Vec<String>,
    /// A model of recordings and texts, the run that made it, a folder of a text encoder, or a tokenizer.json
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
}

/// A number of bytes: `512MB`, `2 GiB`, `100000`.
fn bytes(text: &str) -> Result<usize, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = trimmed.split_at(digits.unwrap_or(trimmed.len()));
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1_000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("expected a number of bytes such as 512MB".to_owned()),
    };
    let number: usize = number
        .parse()
        .map_err(|_| "expected a number of bytes such as 512MB".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|&bytes| bytes >= 1_000_000)
        .ok_or_else(|| "expected at least 1MB".to_owned())
}

/// Runs the command.
pub fn run(args: Args, registry: &Registry) -> miette::Result<()> {
    match args.action {
        Action::Index(args) => index(&args),
        Action::Neighbours(args) => neighbours(&args),
        Action::Tokens(args) => tokens(&args, registry),
    }
}

fn index(args: &IndexArgs) -> miette::Result<()> {
    let embedder = TextEncoder::open(&args.embedder, &args.device).shown()?;
    let options = |source: String| IndexOptions {
        out: args.out.clone(),
        neighbours: args.neighbours,
        compat: args.compat,
        memory: args.max_memory,
        source,
    };
    let indexed = match (&args.data, &args.texts) {
        (Some(data), _) => {
            let store = Store::open(data).shown()?;
            let name = args.text.as_deref().unwrap_or_default();
            let column = StoreText::named(&store, name).shown()?;
            let rows = store.indices(args.split);
            let texts = rows.iter().map(|&row| {
                let row = store.row(row)?;
                Ok(column.of(&row))
            });
            let name = if name.is_empty() { "report" } else { name };
            let source = format!("{} {} of {}", args.split.name(), name, store.info().name);
            build(texts, &embedder, &options(source), &Bars)
        }
        (None, Some(path)) => {
            let texts = read_texts(path, args.column.as_deref()).shown()?;
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let texts = texts.iter().map(|text| Ok(text.text.as_deref()));
            build(texts, &embedder, &options(file.into_owned()), &Bars)
        }
        (None, None) => return Err(miette!("expected `--data STORE` or `--texts FILE`")),
    };
    let indexed = indexed.shown()?;
    let mut text = format!(
        "{}: {} distinct texts of {}, the {} least similar ones of each\n",
        args.out.display(),
        indexed.distinct,
        count(indexed.records, "record"),
        indexed.neighbours
    );
    if indexed.without > 0 {
        text.push_str(&format!(
            "{} have no text and were left out\n",
            indexed.without
        ));
    }
    if indexed.cut > 0 {
        text.push_str(&format!("{} were cut to 256 word pieces\n", indexed.cut));
    }
    output::print(&text)
}

fn neighbours(args: &NeighboursArgs) -> miette::Result<()> {
    let index = TextIndex::open(&args.index).shown()?;
    let embedder = index
        .embedder(args.embedder.as_deref(), &args.device)
        .shown()?;
    let found = index
        .similar(&embedder, &args.text, args.k, !args.most)
        .shown()?;
    let mut table = Table::new(0, ["cosine ", "text"]).text_last();
    for found in &found {
        let text = printable(&index.texts[found.row]);
        table.row([format!("{:.3} ", found.product), text]);
    }
    let of = count(index.texts.len(), "text");
    let which = if args.most { "most" } else { "least" };
    output::print(&format!("{which} similar of {of}\n{table}"))
}

fn tokens(args: &TokensArgs, registry: &Registry) -> miette::Result<()> {
    let mut table = Table::new(1, ["piece ", "id"]);
    for text in &args.texts {
        for (piece, id) in word_pieces(&args.model, text, registry).shown()? {
            table.row([format!("{} ", printable(&piece)), id.to_string()]);
        }
    }
    output::print(&table.to_string())
}
