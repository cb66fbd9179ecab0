//! Tables in the dialects that programs, spreadsheets and watches write: each has to be the same recording, or to be refused.

// Tables of inputs are long.
#![allow(clippy::too_many_lines, clippy::type_complexity)]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{peak_since, start_measuring, survives};
use proptest::prelude::*;
use purkinje_record::{
    Lead, LeadChoice, OpenOptions, Reader, RecordError, Recording, Unit, find_records, open,
};
use tempfile::TempDir;

/// A folder for one table at a time.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<Recording, RecordError> {
        self.open_with(name, bytes, &OpenOptions::default())
    }

    fn open_with(
        &self,
        name: &str,
        bytes: impl AsRef<[u8]>,
        options: &OpenOptions,
    ) -> Result<Recording, RecordError> {
        fs::write(self.path(name), bytes).unwrap();
        open(self.path(name), options)
    }

    fn refused(&self, text: &str, parts: &[&str]) {
        let error = self.open("t.csv", text).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{error}\n{part}\n{text:.200}");
        }
    }
}

fn told(rate_hz: f64) -> OpenOptions {
    OpenOptions {
        rate_hz: Some(rate_hz),
        ..OpenOptions::default()
    }
}

fn utf16(text: &str, to: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to).collect()
}

fn windows(text: &str) -> Vec<u8> {
    let one = |c: char| u8::try_from(u32::from(c)).unwrap();
    text.chars().map(one).collect()
}

/// Samples of a lead in thousandths of a millivolt.
fn sample(lead: usize, t: usize) -> i32 {
    ((t * (37 + 11 * lead)) % 1999) as i32 - 700
}

/// Rows of 300 samples; `row` writes one from its number and the samples of I and II in millivolts.
fn rows(row: impl Fn(usize, f64, f64) -> String) -> String {
    let mv = |lead, t| f64::from(sample(lead, t)) / 1000.0;
    (0..300).map(|t| row(t, mv(0, t), mv(1, t))).collect()
}

fn comma(text: String) -> String {
    text.replace('.', ",")
}

fn is_the_table(found: &Recording, name: &str) {
    assert_eq!((found.rate_hz, found.len()), (500.0, 300), "{name}");
    for (lead, row) in found.leads.leads().iter().zip(found.rows()) {
        let own = [Lead::I, Lead::II].iter().position(|own| own == lead);
        let lead = own.unwrap_or_else(|| panic!("{name}: {lead}"));
        for (t, &mv) in row.iter().enumerate() {
            assert!(
                (mv * 1000.0 - sample(lead, t) as f32).abs() < 1e-3,
                "{name} {t}"
            );
        }
    }
}

/// The same table as others write it, by name of file.
fn dialects() -> Vec<(&'static str, Vec<u8>)> {
    let s = |t: usize| t as f64 / 500.0;
    let plain = rows(|t, i, ii| format!("{:.3},{i},{ii}\n", s(t)));
    let semicolons = comma(rows(|t, i, ii| format!("{:.3};{i};{ii}\n", s(t))));
    let micro = comma(rows(|t, i, ii| {
        format!("{};{:.1};{:.1}\r\n", 2 * t, 1000.0 * i, 1000.0 * ii)
    }));
    let wide = format!("time (ms);I (\u{b5}V);II (\u{b5}V)\r\n{micro}");
    let blanks = rows(|t, i, ii| format!("  {:.3}   {i:7.3} {ii:7.3}\n", s(t)));
    let quoted = |q: char| {
        rows(|t, i, ii| {
            let [t, i, ii] = [s(t), i, ii].map(|v| format!("{q}{}{q}", comma(format!("{v:.3}"))));
            format!("{t},{i}, {ii}\n")
        })
    };
    let texts: Vec<(&str, String)> = vec![
        ("plain.csv", format!("time,I,II\n{plain}")),
        ("tabs.tsv", format!("time,I,II\n{plain}").replace(',', "\t")),
        (
            "tabs-commas.txt",
            format!("time\tI\tII\n{}", semicolons.replace(';', "\t")),
        ),
        (
            "spaced.csv",
            format!(
                "time (ms), I (uV), II (uV)\n{}",
                rows(|t, i, ii| { format!("{}, {:.0}, {:.0}\n", 2 * t, 1000.0 * i, 1000.0 * ii) })
            ),
        ),
        (
            "pipes.csv",
            format!("time|I|II\n{}", plain.replace(',', "|")),
        ),
        ("semicolons.csv", format!("time;I;II\n{semicolons}")),
        ("sep.csv", format!("sep=;\r\ntime;I;II\r\n{semicolons}")),
        (
            "sep-quoted.csv",
            format!("\"sep=,\"\ntime,\"Lead I\n(mV)\",II\n{plain}"),
        ),
        ("blanks.txt", format!("time(s)  I  II\n{blanks}")),
        (
            "blanks-commas.txt",
            format!("Zeit [s]   Lead I   Lead II\n{}", comma(blanks.clone())),
        ),
        ("numpy.txt", format!("# time I II\n{blanks}")),
        (
            "double.csv",
            format!("\"time\",\"I\",\"II\"\n{}", quoted('"')),
        ),
        ("single.csv", format!("'time','I','II'\n{}", quoted('\''))),
        (
            "joined.csv",
            format!(
                "time,I,II\n{}",
                comma(rows(|t, i, ii| { format!("{:.3},{i:.3},{ii:.3}\n", s(t)) }))
            ),
        ),
        (
            "carriage.csv",
            format!("time,I,II\n{plain}").replace('\n', "\r"),
        ),
        ("units.csv", format!("time,I,II\ns,mV,[mV]\n{plain}")),
        (
            "trailing.csv",
            format!("time,I,II\n{plain}")
                .replace('\n', ",\n")
                .replacen(",\n", "\n", 1),
        ),
        (
            "minus.csv",
            format!("time;I;II\n{semicolons}").replace('-', "\u{2212}"),
        ),
        (
            "text.csv",
            rows(|t, i, ii| {
                let head = if t == 0 { "who,time,I,II,mark\n" } else { "" };
                let mark = if t % 90 == 89 { "N" } else { "" };
                format!("{head}p{},{:.3},{i},{ii},{mark}\n", t / 100, s(t))
            }),
        ),
        (
            "physionet.csv",
            format!(
                "'Elapsed time','I','II'\n'hh:mm:ss.mmm','mV','mV'\n{}",
                rows(|t, i, ii| format!("'0:{:06.3}',{i},{ii}\n", s(t)))
            ),
        ),
        (
            "rdsamp.txt",
            format!(
                "   Elapsed time\t    I\t   II\n   (hh:mm:ss.mmm)\t (mV)\t (mV)\n{}",
                rows(|t, i, ii| format!("   0:{:06.3}\t{i:7.3}\t{ii:7.3}\n", s(t)))
            ),
        ),
        (
            "keys.csv",
            format!(
                "Patient: Jane Doe\nSampling rate: 500 Hz\n\n\
            I;II\nmV;mV\n{}",
                comma(rows(|_, i, ii| format!("{i};{ii}\n")))
            ),
        ),
        (
            "labchart.txt",
            format!(
                "Interval=\t0.002 s\nExcelDateTime=\t4.2144628534722e+04\t5/20/2015 \
            15:05:05.343722\nTimeFormat=\tStartOfBlock\nDateFormat=\t\nChannelTitle=\tLead I\tLead II\n\
            Range=\t10.000 mV\t10.000 mV\n{}",
                rows(|t, i, ii| {
                    let note = if t == 7 { "\t#* moved" } else { "" };
                    format!("{:.3}\t{i}\t{ii}{note}\n", s(t))
                })
            ),
        ),
        (
            "biosppy.txt",
            format!(
                "# Simple Text Format\n# Sampling Rate (Hz):= 500.00\n# Resolution:= 12\n\
            # Labels:= I\tII\n{}",
                rows(|_, i, ii| format!("{i}\t{ii}\n"))
            ),
        ),
    ];
    let mut all: Vec<_> = texts
        .into_iter()
        .map(|(name, text)| (name, text.into_bytes()))
        .collect();
    all.push(("windows-1252.csv", windows(&wide)));
    all.push(("mark.csv", format!("\u{feff}{wide}").into_bytes()));
    all.push((
        "little.csv",
        utf16(&format!("\u{feff}{wide}"), u16::to_le_bytes),
    ));
    all.push((
        "big.csv",
        utf16(&format!("\u{feff}{wide}"), u16::to_be_bytes),
    ));
    all.push(("little-bare.csv", utf16(&wide, u16::to_le_bytes)));
    all.push(("big-bare.csv", utf16(&wide, u16::to_be_bytes)));
    all
}

#[test]
fn one_table_in_every_dialect_is_one_recording() {
    let folder = Folder::new();
    let all = dialects();
    for (name, bytes) in &all {
        let found = folder
            .open(name, bytes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.leads.len(), 2, "{name}: {}", found.leads);
        is_the_table(&found, name);
        // In stretches as well.
        let reader = Reader::beyond(&folder.path(name), &OpenOptions::default(), 0).unwrap();
        assert!(reader.whole().is_none());
        let part = reader.read(&(100..103)).unwrap();
        assert_eq!(
            part.samples_mv()[..3],
            found.samples_mv()[100..103],
            "{name}"
        );
    }
    fs::write(folder.path("notes.txt"), "I, II\nand III\n").unwrap();
    fs::write(folder.path("notes.tsv"), "record\tlabel\n1\tAF\n").unwrap();
    assert_eq!(
        find_records(folder.0.path()).unwrap().records.len(),
        all.len()
    );
}

/// A file of a watch, with the samples of I in microvolts.
fn watch(head: &str, decimal_comma: bool) -> String {
    let body = rows(|_, i, _| format!("{}\n", (1000.0 * i).round() / 1.0));
    let body = body.replace('\n', ".0\n");
    format!("{head}\n{}", if decimal_comma { comma(body) } else { body })
}

const WATCHES: [(&str, bool); 7] = [
    (
        "Name,Jane Doe\nDate of Birth,\"Jan 1, 1970\"\nRecorded Date,2020-02-02 10:00:00 +0100\nClassification,Sinus Rhythm\n\
      Software Version,1.90\nDevice,\"Watch4,2\"\nSample Rate,500 hertz\n\n\nLead,Lead I\nUnit,\u{b5}V\n",
        false,
    ),
    (
        "Naam,Jane Doe\nGeboren,\"1 jan. 1970\"\nMeetfrequentie,500,000 hertz\n\n\nAfleiding,Afleiding I\nEenheid,\u{b5}V\n",
        true,
    ),
    (
        "Eenheid,\u{b5}V\nMeetfrequentie,500 hertz\nAfleiding,Afleiding I",
        true,
    ),
    (
        "Name,Jane Doe\nGeburtsdatum,1970-01-01\nAbtastrate,500 Hertz\nAbleitung,Ableitung I\nEinheit,\u{b5}V\n",
        true,
    ),
    (
        "Nom,Jane Doe\nFr\u{e9}quence d\u{2019}\u{e9}chantillonnage,500,00 hertz\nD\u{e9}rivation,D\u{e9}rivation I\nUnit\u{e9},\u{b5}V\n",
        true,
    ),
    (
        "Nombre,Jane Doe\nFrecuencia de muestreo,500 hercios\nDerivaci\u{f3}n,Derivaci\u{f3}n I\nUnidad,\u{b5}V\n",
        true,
    ),
    // In a language that no list has.
    (
        "N\u{e9}v,Jane Doe\nSz\u{fc}let\u{e9}si d\u{e1}tum,1970-01-01\nMintav\u{e9}tel,500,000 hertz\n\n\nElvezet\u{e9}s,Elvezet\u{e9}s I\n\
      M\u{e9}rt\u{e9}kegys\u{e9}g,\u{b5}V\n",
        true,
    ),
];

#[test]
fn keys_before_the_numbers_count_and_persons_are_not_kept() {
    let folder = Folder::new();
    for (head, decimal_comma) in WATCHES {
        let text = watch(head, decimal_comma);
        let salted = OpenOptions {
            patient_salt: Some("salt".into()),
            ..OpenOptions::default()
        };
        let found = folder.open_with("w.csv", &text, &salted);
        let found = found.unwrap_or_else(|error| panic!("{head}: {error}"));
        assert_eq!(found.leads.leads(), [Lead::I], "{head}");
        is_the_table(&found, head);
        let said = format!("{found:?}");
        assert!(
            !said.contains("Doe") && !said.contains("1970"),
            "{said:.400}"
        );
        // No error shows them either.
        for broken in [&text[..text.len() / 3], &text.replace("-700", "x"), head] {
            if let Err(error) = folder.open("w.csv", broken) {
                let error = error.to_string();
                assert!(!error.contains("Doe") && !error.contains("1970"), "{error}");
            }
        }
    }
    let comments = "# Patient: Jane Doe\n# name Jane Doe\n# born 1970-01-02\n# DOB: 1970-01-02\n# MRN=123456\n\
        # Mrs Doe felt well on 1970-01-02\n# fs = 500\nI,II\n";
    let body = rows(|_, i, ii| format!("{i},{ii}\n"));
    let found = folder.open("c.csv", format!("{comments}{body}")).unwrap();
    is_the_table(&found, "comments");
    assert_eq!(
        found.source.comments,
        ["Mrs [removed] felt well on [removed]", "fs = 500"]
    );
}

#[test]
fn what_could_mean_two_things_is_refused() {
    let folder = Folder::new();
    let body = rows(|_, i, _| format!("{i}\n"));
    for (text, parts) in [
        // Leads in rows, with and without titles, and in lines longer than any that is read.
        (
            "I,0.1,0.2,0.3\nII,0.1,0.2,0.3\n".to_owned(),
            &["a lead in each row (line 1)", "transpose"][..],
        ),
        (
            "lead,0,1,2\nI,0.1,0.2,0.3\nII,0.1,0.2,0.3\n".into(),
            &["a lead in each row (line 2)"],
        ),
        (
            format!("I{}\n", ",0.125".repeat(200_000)),
            &["a lead in each row (line 1)"],
        ),
        (
            format!("time,I\n0,{}1\n", "0".repeat(1 << 20)),
            &["length of a line"],
        ),
        // Numbers beside numbers, or parted numbers.
        (
            "I\n1,995\n2,995\n3,1002\n".into(),
            &["comma between the digits", "title for each column"],
        ),
        (
            "time;I\n0,000;1.5\n0,002;2,5\n".into(),
            &["line 3, column `I` is `2,5`", "both . and ,"],
        ),
        (
            "time;I\n0.000;2,000.50\n0.002;2,001.00\n".into(),
            &["line 2, column `I` is `2,000.50`"],
        ),
        (
            format!(
                "Sample Rate,\"100,000 hertz\"\nLead,Lead I\nUnit,mV\n\n{}",
                "1\n2\n".repeat(9)
            ),
            &["line `sample rate` is 100,000 hertz", "mark of thousands"],
        ),
        // Steps of a converter, and microvolts.
        (
            format!("Sample Rate,360 Hz\nMLII\n{}", "995\n1000\n".repeat(9)),
            &["the unit is absent", "whole numbers up to 1000", "--input-"],
        ),
        (
            format!("Sample Rate,360 Hz\nMLII\n{}", "18995.5\n18000\n".repeat(9)),
            &["the unit is absent", "reach 18995.5"],
        ),
        // Nobody says which lead, or what rate.
        (
            format!("Sample Rate,360 Hz\n{body}"),
            &[
                "the title of a column is -0.7",
                "(`--input-leads`, `--input-rate`)",
            ],
        ),
        (
            format!("I\n{body}"),
            &["sampling rate is absent", "Sample Rate,500 Hz"],
        ),
        (
            format!("Sample Rate,0.002 Hz\nI\n{body}"),
            &[
                "line `sample rate` is 0.002 Hz",
                "the time of a step in seconds",
            ],
        ),
        (
            format!(
                "# fs: 250\ntime,I\n{}",
                rows(|t, i, _| format!("{:.3},{i}\n", t as f64 / 500.0))
            ),
            &["`time` is 500 Hz", "250 Hz, as the line `fs` says"],
        ),
        // Texts among numbers, and in a lead.
        (
            "time,x,I\n0,1,1\n1,no,1\n".into(),
            &["line 3, column `x` is `no`"],
        ),
        (
            "time,x,I\n0,no,1\n1,1,1\n".into(),
            &["line 2, column `x` is `no`"],
        ),
        ("time,I\n0,x\n1,x\n".into(), &["line 2, column `I` is `x`"]),
        (
            "time,x\n0,a\n1,b\n".into(),
            &["no column of numbers that is a lead"],
        ),
        ("time,I\n0,1,7\n1,2\n".into(), &["line 2 is 3 cells long"]),
        (
            "time,I\nms,adu\n0,1.5\n2,2\n".into(),
            &["signal `I` is in `adu`"],
        ),
    ] {
        folder.refused(&text, parts);
    }
    // What the caller says settles most of it.
    let caller = OpenOptions {
        array_leads: Some("I".parse().unwrap()),
        ..told(500.0)
    };
    is_the_table(&folder.open_with("t.csv", &body, &caller).unwrap(), "bare");
    let commas = comma(body.clone());
    is_the_table(&folder.open_with("t.txt", commas, &caller).unwrap(), "bare");
    let micro = OpenOptions {
        unit: Some(Unit::Microvolt),
        ..told(500.0)
    };
    let whole = rows(|_, i, _| format!("{}\n", (1000.0 * i).round()));
    is_the_table(
        &folder
            .open_with("t.csv", format!("I\n{whole}"), &micro)
            .unwrap(),
        "whole",
    );
    let only = OpenOptions {
        leads: LeadChoice::Named("I".parse().unwrap()),
        ..told(500.0)
    };
    // A column that was not asked for is not parsed.
    let beside = rows(|_, i, _| format!("{i},???,2020\n"));
    let found = folder
        .open_with("t.csv", format!("I,II,year\n{beside}"), &only)
        .unwrap();
    is_the_table(&found, "only one");
    assert!(found.source.comments.is_empty());
}

#[test]
fn times_in_any_form_give_the_rate() {
    let folder = Folder::new();
    let s = |t: usize| t as f64 / 500.0;
    // Half a second before midnight.
    let clock = |t: usize| {
        let at = 86399.5 + s(t);
        let (day, at) = (at as u64 / 86400, at % 86400.0);
        let (h, m) = (at as u64 / 3600, at as u64 / 60 % 60);
        (day, format!("{h:02}:{m:02}:{:06.3}", at % 60.0))
    };
    let forms: Vec<(&str, Box<dyn Fn(usize) -> String>)> = vec![
        ("time", Box::new(move |t| format!("{:.3}", s(t)))),
        ("t", Box::new(move |t| format!("{:.4e}", s(t)))),
        ("seconds", Box::new(move |t| format!("{:.9}", s(t) as f32))),
        ("time_ms", Box::new(|t| format!("{}", 2 * t))),
        ("time (us)", Box::new(|t| format!("{}", 2000 * t))),
        ("time [ns]", Box::new(|t| format!("{}", 2_000_000 * t))),
        (
            "elapsed time (min)",
            Box::new(move |t| format!("{:.9}", s(t) / 60.0)),
        ),
        ("milliseconds", Box::new(|t| format!("{}", 5000 + 2 * t))),
        ("time", Box::new(|t| format!("{}", 2 * t))),
        ("time", Box::new(|t| format!("{}", 2000 * t))),
        (
            "timestamp",
            Box::new(move |t| format!("{:.3}", 1.6e9 + s(t))),
        ),
        (
            "timestamp",
            Box::new(move |t| format!("{:.7}", 1.6e9 + s(t))),
        ),
        (
            "timestamp",
            Box::new(|t| format!("{}", 1_600_000_000_000u64 + 2 * t as u64)),
        ),
        (
            "timestamp",
            Box::new(|t| format!("{}", 1_600_000_000_000_000u64 + 2000 * t as u64)),
        ),
        (
            "timestamp",
            Box::new(|t| format!("{}", 1_600_000_000_000_000_000u64 + 2_000_000 * t as u64)),
        ),
        ("Zeit", Box::new(move |t| clock(t).1)),
        ("time (hh:mm:ss.mmm)", Box::new(move |t| clock(t).1)),
        ("time", Box::new(move |t| clock(t).1.replace('.', ":"))),
        (
            "time",
            Box::new(move |t| {
                format!(
                    "{}:{:06.3}",
                    (59.0 + (59.5 + s(t)) / 60.0) as u64 % 60,
                    (59.5 + s(t)) % 60.0
                )
            }),
        ),
        (
            "datetime",
            Box::new(move |t| format!("2020-02-{}T{}Z", 28 + clock(t).0, clock(t).1)),
        ),
        (
            "datetime",
            Box::new(move |t| format!("2020-02-{} {}+01:00", 28 + clock(t).0, clock(t).1)),
        ),
        (
            "date/time",
            Box::new(move |t| format!("[{:02}/02/2020 {}]", 3 + clock(t).0, clock(t).1)),
        ),
        (
            "date/time",
            Box::new(move |t| format!("2/{}/20 {}", 3 + clock(t).0, clock(t).1)),
        ),
        (
            "date/time",
            Box::new(move |t| {
                let at = clock(t).1;
                let hour: u32 = at[..2].parse().unwrap();
                let half = if hour < 12 { "AM" } else { "PM" };
                format!(
                    "{}.12.2020 {:02}{} {half}",
                    30 + clock(t).0,
                    (hour + 11) % 12 + 1,
                    &at[2..]
                )
            }),
        ),
    ];
    for (title, form) in forms {
        let body = rows(|t, i, _| format!("{};{i}\n", form(t)));
        let found = folder.open("t.csv", format!("{title};I\n{body}"));
        let name = format!("{title}: {}", form(1));
        is_the_table(
            &found.unwrap_or_else(|error| panic!("{name}: {error}")),
            &name,
        );
        // A gap of some samples, or of a day, is none of jitter.
        let gap = rows(|t, i, _| format!("{};{i}\n", form(if t > 200 { t + 40 } else { t })));
        folder.refused(
            &format!("{title};I\n{gap}"),
            &["uneven: from row 201 to 202 it rises by"],
        );
    }
    let day = rows(|t, i, _| format!("2020-02-{} 10:00:{:06.3},{i}\n", 10 + t / 150, s(t)));
    folder.refused(&format!("time,I\n{day}"), &["uneven: from row 150 to 151"]);
    // Two columns, of which only the second shows the steps.
    let both = rows(|t, i, _| format!("2020-02-02,10:00:{:06.3},{i}\n", s(t)));
    is_the_table(
        &folder
            .open("t.csv", format!("Date,Time,I\n{both}"))
            .unwrap(),
        "date and time",
    );
    // Digits that leave room for some rates near 512 Hz.
    let some: String = (0..150)
        .map(|t| format!("{:.3},{}\n", t as f64 / 512.0, sample(0, t)))
        .collect();
    let found = folder
        .open("t.csv", format!("time,I (uV)\n{some}"))
        .unwrap();
    assert_eq!(found.rate_hz, 512.0);
}

#[test]
fn a_rate_that_no_ecg_has_is_refused_unless_the_caller_says_so() {
    let folder = Folder::new();
    let table = |title: &str, time: &dyn Fn(usize) -> String| {
        let body = rows(|t, i, _| format!("{};{i}\n", time(t)));
        format!("{title};I\n{body}")
    };
    let counted = table("time", &|t| t.to_string());
    let cases = [
        (
            counted.clone(),
            &[
                "1 Hz if it is in seconds",
                "is the column in milliseconds (1000 Hz)?",
                "`time (ms)`",
            ][..],
        ),
        (
            table("time (s)", &|t| (2 * t).to_string()),
            &["0.5 Hz by its unit", "milliseconds (500 Hz)"],
        ),
        (
            table("time (us)", &|t| (2 * t).to_string()),
            &["500000 Hz by its unit", "milliseconds (500 Hz)"],
        ),
        (
            table("time", &|t| (50 * t).to_string()),
            &["milliseconds (20 Hz)? Or is the column in microseconds (20000 Hz)?"],
        ),
        (
            table("time", &|t| format!("10:00:{:02}", t / 100)),
            &["too coarsely", "--input-rate"],
        ),
    ];
    for (text, parts) in cases {
        folder.refused(&text, parts);
        let found = folder.open_with("t.csv", &text, &told(500.0)).unwrap();
        is_the_table(&found, "told");
    }
    // The caller's rate counts, and what contradicts it is said.
    let timed = table("time", &|t| format!("{:.3}", t as f64 / 250.0));
    let found = folder.open_with("t.csv", &timed, &told(500.0)).unwrap();
    is_the_table(&found, "told");
    assert_eq!(
        found.source.comments,
        ["the time column `time` gives 250 Hz, but the rate was given as 500 Hz"]
    );
    let broken = timed.replace("\n0.004;", "\nsoon;");
    let found = folder.open_with("t.csv", &broken, &told(500.0)).unwrap();
    assert!(found.source.comments[0].contains("line 3, column `time` is `soon`"));
    assert_eq!(
        folder
            .open_with("t.csv", timed, &told(250.0))
            .unwrap()
            .source
            .comments
            .len(),
        0
    );
    // What the caller says is not doubted.
    assert_eq!(
        folder
            .open_with("t.csv", counted, &told(1.0))
            .unwrap()
            .rate_hz,
        1.0
    );
    // The step is stated nowhere.
    let guessed = folder
        .open("t.csv", table("time", &|t| (2 * t).to_string()))
        .unwrap();
    assert!(guessed.source.comments[0].contains("taken to be in milliseconds, which gives 500 Hz"));
    // Where both are right, the line is the more exact one.
    let exact: String = (0..300)
        .map(|t| format!("{:.3},{}\n", t as f64 / 511.844, t % 7))
        .collect();
    let found = folder.open(
        "t.csv",
        format!("Sample Rate,511.844 hertz\ntime,I\n{exact}"),
    );
    assert_eq!(found.unwrap().rate_hz, 511.844);
}

#[test]
fn damaged_tables_of_every_dialect_are_read_or_refused() {
    let mut all = dialects();
    let watches = WATCHES
        .iter()
        .map(|(head, comma)| ("watch.csv", watch(head, *comma).into_bytes()));
    all.extend(watches);
    for (name, bytes) in all {
        // The head, and some rows.
        let bytes = &bytes[..bytes.len().min(400)];
        let extension = name.rsplit('.').next().unwrap();
        survives(name, bytes, extension, |path| {
            if open(path, &OpenOptions::default()).is_err() {
                let caller = OpenOptions {
                    array_leads: Some("I,II".parse().unwrap()),
                    ..told(500.0)
                };
                let _ = open(path, &caller);
            }
        });
    }
}

#[test]
fn long_tables_take_little_memory_in_any_encoding() {
    let folder = Folder::new();
    let body: String = (0..400_000)
        .map(|t| {
            format!(
                "{:.3};{:.3};{:.3}\r\n",
                t as f64 / 500.0,
                f64::from(sample(0, t)) / 1e3,
                0.5
            )
        })
        .collect();
    let bytes = utf16(&format!("time;I;II\r\n{body}"), u16::to_le_bytes);
    let limit = 4 * bytes.len() + (64 << 20);
    fs::write(folder.path("long.csv"), &bytes).unwrap();
    drop((body, bytes));
    let before = start_measuring();
    let found = Reader::beyond(&folder.path("long.csv"), &OpenOptions::default(), 0).unwrap();
    assert_eq!((found.len(), found.about().rate_hz), (400_000, 500.0));
    let peak = peak_since(before);
    assert!(peak < limit && peak < 40 << 20, "{peak}");
    // Quotes that nothing closes are looked for once.
    for line in [
        "'x,".repeat(300_000),
        "\"x,".repeat(300_000),
        "' ".repeat(400_000),
    ] {
        let _ = folder.open("t.csv", format!("time,I\n0,1\n{line}\n"));
    }
}

/// How a table is written.
#[derive(Clone, Debug)]
struct Style {
    separator: char,
    comma: bool,
    quote: Option<char>,
    end: &'static str,
    encoding: u8,
    head: u8,
    units: u8,
    trailing: bool,
    text: bool,
}

prop_compose! {
    fn style()(
        separator in prop::sample::select(vec!['\t', ';', '|', ',', ' ']),
        comma in any::<bool>(),
        quote in prop::sample::select(vec![None, Some('"'), Some('\'')]),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        encoding in 0u8..6,
        head in 0u8..4,
        units in 0u8..3,
        trailing in any::<bool>(),
        text in any::<bool>(),
    ) -> Style {
        Style { separator, comma, quote, end, encoding, head, units, trailing, text }
    }
}

impl Style {
    /// The table of these leads, in whole microvolts at 250 Hz.
    fn write(&self, leads: &[Lead], samples: &[Vec<i32>]) -> Vec<u8> {
        let separator = self.separator.to_string();
        // Decimal commas between commas need quotes.
        let quote = match (self.separator, self.comma) {
            (',', true) => Some(self.quote.unwrap_or('"')),
            _ => self.quote,
        };
        let line = |mut cells: Vec<String>| {
            if let Some(quote) = quote {
                cells
                    .iter_mut()
                    .for_each(|cell| *cell = format!("{quote}{cell}{quote}"));
            }
            if self.trailing {
                cells.push(String::new());
            }
            cells.join(&separator) + self.end
        };
        let (unit, scale) = match self.units {
            0 => ("", 1e-3),
            _ => ("\u{b5}V", 1.0),
        };
        let mut titles = vec!["time".to_owned()];
        titles.extend(leads.iter().map(|lead| match self.units {
            1 => format!("{lead}_{unit}"),
            _ => lead.to_string(),
        }));
        let mut units = vec!["s".to_owned()];
        units.extend(leads.iter().map(|_| unit.to_owned()));
        if self.text {
            titles.push("note".into());
            units.push("-".into());
        }
        let mut out = match self.head {
            0 => String::new(),
            1 => format!("# a comment{0}# Name: Jane Doe{0}", self.end),
            2 => format!("Patient: Jane Doe{0}Sampling rate: 250 Hz{0}{0}", self.end),
            _ if self.separator == ' ' => String::new(),
            _ => format!("sep={}{}", self.separator, self.end),
        };
        out += &line(titles);
        if self.units == 2 {
            out += &line(units);
        }
        for t in 0..samples[0].len() {
            let mut cells = vec![format!("{:.3}", t as f64 / 250.0)];
            cells.extend(
                samples
                    .iter()
                    .map(|row| format!("{:.3}", f64::from(row[t]) * scale)),
            );
            if self.comma {
                cells
                    .iter_mut()
                    .for_each(|cell| *cell = cell.replace('.', ","));
            }
            if self.text {
                cells.push("ok".into());
            }
            out += &line(cells);
        }
        match self.encoding {
            0 => out.into_bytes(),
            1 => format!("\u{feff}{out}").into_bytes(),
            2 => windows(&out),
            3 => utf16(&format!("\u{feff}{out}"), u16::to_le_bytes),
            4 => utf16(&format!("\u{feff}{out}"), u16::to_be_bytes),
            _ => utf16(&out, u16::to_le_bytes),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_table_in_any_dialect_is_the_same_recording(
        style in style(),
        first in 0usize..6,
        count in 1usize..6,
        samples in prop::collection::vec(prop::collection::vec(-30_000i32..30_000, 12..40), 6),
    ) {
        let leads = &Lead::STANDARD_12[first..first + count];
        let len = samples.iter().map(Vec::len).min().unwrap();
        let samples: Vec<Vec<i32>> = samples.iter().take(count).map(|row| row[..len].to_vec()).collect();
        let folder = Folder::new();
        let found = folder.open("t.csv", style.write(leads, &samples));
        let found = found.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(found.rate_hz, 250.0);
        prop_assert_eq!(found.leads.leads(), leads);
        for (row, own) in found.rows().zip(&samples) {
            for (&mv, &uv) in row.iter().zip(own) {
                prop_assert!((mv * 1000.0 - uv as f32).abs() < 0.01, "{} {}", mv, uv);
            }
        }
        let said = format!("{:?}", found.source);
        prop_assert!(!said.contains("Doe"), "{}", said);
    }

    #[test]
    fn no_text_makes_the_reader_panic(
        text in "[\\PC\n\t]{0,200}|([0-9.,;'\" \tIV=:-]{0,30}\n){0,12}|(time|I|mV|0|1|,|;|\n|\"|'|sep=|#|-){0,60}",
        caller in any::<bool>(),
    ) {
        let folder = Folder::new();
        let options = OpenOptions {
            rate_hz: caller.then_some(500.0),
            array_leads: caller.then(|| "I,II".parse().unwrap()),
            ..OpenOptions::default()
        };
        let _ = folder.open_with("t.csv", &text, &options);
        let _ = find_records(folder.0.path());
    }
}
