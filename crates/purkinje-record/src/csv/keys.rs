//! Lines of a key and a value before or in the comments of a table: `Sample Rate,512 hertz`, `# Labels:= ECG`, `Eenheid,µV`.
//!
//! Watches write them in the language of the telephone (English, German, Dutch, French, Spanish, Italian, Portuguese, the Nordic
//! languages, Polish, Russian, Chinese, Japanese, Korean here); LabChart writes `Interval=` and `ChannelTitle=`.

use std::path::Path;

use super::lines::Separator;
use crate::RecordError;
use crate::clock::{stated_hz, time_unit_s};
use crate::error::content;
use crate::privacy::Identifiers;
use crate::table;
use crate::{Lead, Unit};

const RATES: &[&str] = &[
    "sample rate",
    "samplerate",
    "sampling rate",
    "samplingrate",
    "sampling frequency",
    "sample frequency",
    "samples per second",
    "fs",
    "rate",
    "rate hz",
    "sampling",
    "abtastrate",
    "abtastfrequenz",
    "messfrequenz",
    "messrate",
    "aufzeichnungsrate",
    "meetfrequentie",
    "bemonsteringsfrequentie",
    "samplefrequentie",
    "fréquence d'échantillonnage",
    "taux d'échantillonnage",
    "fréquence de mesure",
    "frecuencia de muestreo",
    "tasa de muestreo",
    "velocidad de muestreo",
    "frequenza di campionamento",
    "velocità di campionamento",
    "frequência de amostragem",
    "taxa de amostragem",
    "samplingsfrekvens",
    "samplingfrekvens",
    "målefrekvens",
    "mätfrekvens",
    "częstotliwość próbkowania",
    "частота дискретизации",
    "采样率",
    "采样频率",
    "取樣率",
    "サンプルレート",
    "サンプリングレート",
    "샘플링 속도",
];
const STEPS: &[&str] = &[
    "interval",
    "sampling interval",
    "sample interval",
    "sampling period",
    "sample period",
];
const LEADS: &[&str] = &[
    "lead",
    "leads",
    "lead name",
    "lead names",
    "label",
    "labels",
    "channel",
    "channels",
    "channel name",
    "channel names",
    "channeltitle",
    "afleiding",
    "ableitung",
    "dérivation",
    "derivación",
    "derivazione",
    "derivação",
    "avledning",
    "afledning",
    "odprowadzenie",
    "отведение",
    "导联",
    "導程",
    "誘導",
    "유도",
];
const UNITS: &[&str] = &[
    "unit",
    "units",
    "unitname",
    "einheit",
    "eenheid",
    "unité",
    "unités",
    "unidad",
    "unidades",
    "unità",
    "unidade",
    "enhet",
    "enhed",
    "yksikkö",
    "jednostka",
    "единица",
    "единицы",
    "单位",
    "單位",
    "単位",
    "단위",
];
/// Of LabChart: the range of each channel, in its unit.
const RANGES: &[&str] = &["range"];
const NAMES: &[&str] = &[
    "name",
    "names",
    "patient",
    "patient name",
    "patientname",
    "subject",
    "subject name",
    "full name",
    "first name",
    "given name",
    "last name",
    "family name",
    "surname",
    "vorname",
    "nachname",
    "familienname",
    "patientenname",
    "naam",
    "voornaam",
    "achternaam",
    "nom",
    "prénom",
    "nombre",
    "apellido",
    "apellidos",
    "nome",
    "cognome",
    "sobrenome",
    "namn",
    "navn",
    "nimi",
    "imię",
    "nazwisko",
    "имя",
    "фамилия",
    "фио",
    "пациент",
    "姓名",
    "名前",
    "氏名",
    "이름",
];
const BIRTHS: &[&str] = &[
    "date of birth",
    "birth date",
    "birthdate",
    "birthday",
    "birth",
    "born",
    "dob",
    "geburtsdatum",
    "geburtstag",
    "geboren",
    "geboortedatum",
    "date de naissance",
    "né(e) le",
    "né le",
    "née le",
    "naissance",
    "fecha de nacimiento",
    "nacimiento",
    "data di nascita",
    "data de nascimento",
    "födelsedatum",
    "fødselsdato",
    "fødselsdag",
    "syntymäaika",
    "data urodzenia",
    "дата рождения",
    "出生日期",
    "生年月日",
    "생년월일",
];
const NUMBERS: &[&str] = &[
    "id",
    "patient id",
    "patientid",
    "patient number",
    "subject id",
    "mrn",
    "ssn",
    "medical record number",
    "patientennummer",
    "patientnummer",
    "bsn",
];
/// Hertz as a word, as it stands beside a rate.
const HERTZ: &[&str] = &[
    "hertz",
    "hercios",
    "hertzios",
    "hertsi",
    "hertsiä",
    "herce",
    "herců",
    "герц",
    "赫兹",
    "赫茲",
    "ヘルツ",
    "헤르츠",
];
/// Lowest rate in hertz that is believed where no known word says that it is one: mains and filters lie below.
const UNNAMED_HZ: f64 = 100.0;

/// What the lines of keys say.
#[derive(Default)]
pub(super) struct Keys {
    /// The text of the rate, its unit of time in seconds where it is a step, and the key.
    rate: Option<(String, Option<f64>, String)>,
    /// The same of values with the word hertz whose key no list has.
    hertz: Vec<(String, String)>,
    pub leads: Vec<String>,
    pub units: Vec<String>,
    ranges: Vec<String>,
    pub persons: Identifiers,
}

/// What a key is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Rate,
    Step,
    Lead,
    Unit,
    Range,
    Name,
    Birth,
    Number,
}

impl Key {
    /// Whether the line is about a person.
    pub fn personal(self) -> bool {
        matches!(self, Key::Name | Key::Birth | Key::Number)
    }
}

/// A line of a key and its value.
pub(super) struct Pair<'l> {
    /// In lower case, without its unit in brackets.
    key: String,
    unit: Option<String>,
    value: &'l str,
    separator: Separator,
}

/// The key of a comment that begins with a word for a name or a day of birth, with nothing that divides behind it.
pub(super) fn personal(comment: &str) -> Option<(Key, &str)> {
    let start = comment.to_lowercase();
    let own = |list: &[&str]| {
        let word = list.iter().find(|word| {
            let rest = start.strip_prefix(**word);
            rest.is_some_and(|rest| rest.starts_with(|c: char| !c.is_alphanumeric()))
        })?;
        let words = word.split_whitespace().count();
        let value = comment.splitn(words + 1, char::is_whitespace).last();
        Some(value.unwrap_or(""))
    };
    let name = own(NAMES).map(|value| (Key::Name, value));
    name.or_else(|| own(BIRTHS).map(|value| (Key::Birth, value)))
}

impl<'l> Pair<'l> {
    /// The key and the value of a line, if it has these.
    pub fn of(line: &'l str, separator: Separator) -> Option<Pair<'l>> {
        let between = |c: char| match separator {
            Separator::Mark(mark) => c == char::from(mark),
            Separator::Blank => c == '\t',
        };
        let at = line.find(|c: char| between(c) || c == ':' || c == '=' || c == '\u{ff1a}')?;
        let (key, value) = line.split_at(at);
        let around = |c: char| between(c) || c.is_whitespace() || "\"':=\u{ff1a}".contains(c);
        let key = key.trim_matches(around).to_lowercase();
        let key = key.replace('\u{2019}', "'").replace(['_', '-'], " ");
        let (key, unit) = match key.strip_suffix([')', ']']) {
            Some(rest) if !BIRTHS.contains(&key.as_str()) => match rest.rsplit_once(['(', '[']) {
                Some((key, unit)) => (key.trim().to_owned(), Some(unit.trim().to_owned())),
                None => (key, None),
            },
            _ => (key, None),
        };
        Some(Pair {
            key,
            unit,
            value: value.trim_matches(around),
            separator,
        })
    }

    /// What the key is known to be about.
    pub fn known(&self) -> Option<Key> {
        let lists = [
            (RATES, Key::Rate),
            (STEPS, Key::Step),
            (LEADS, Key::Lead),
            (UNITS, Key::Unit),
            (RANGES, Key::Range),
            (NAMES, Key::Name),
            (BIRTHS, Key::Birth),
            (NUMBERS, Key::Number),
        ];
        let own = lists
            .iter()
            .find(|(list, _)| list.contains(&self.key.as_str()));
        own.map(|(_, key)| *key)
    }

    /// The values, where there are several.
    fn values(&self) -> Vec<String> {
        let parts: Vec<&str> = match self.separator {
            Separator::Mark(mark) if self.value.contains(char::from(mark)) => {
                self.value.split(char::from(mark)).collect()
            }
            _ => self.value.split(['\t', ',', ';']).collect(),
        };
        let blanks: Vec<&str> = self.value.split_whitespace().collect();
        let parts = match parts.len() == 1 && blanks.iter().all(|name| table::is_lead(name)) {
            true => blanks,
            false => parts,
        };
        let parts = parts.iter().map(|part| part.trim_matches(['"', '\'', ' ']));
        parts
            .map(str::to_owned)
            .filter(|part| !part.is_empty())
            .collect()
    }
}

impl Keys {
    /// Takes what a line of a known key says.
    pub fn take(&mut self, key: Key, pair: &Pair<'_>) {
        match key {
            Key::Rate => {
                let value = match &pair.unit {
                    Some(unit) if number_and_word(pair.value).1.is_empty() => {
                        format!("{} {unit}", pair.value)
                    }
                    _ => pair.value.to_owned(),
                };
                self.rate.get_or_insert((value, None, pair.key.clone()));
            }
            Key::Step => {
                let (_, word) = number_and_word(pair.value);
                let unit = time_unit_s(word).or_else(|| time_unit_s(pair.unit.as_deref()?));
                if let Some(unit_s) = unit {
                    let step = (pair.value.to_owned(), Some(unit_s), pair.key.clone());
                    self.rate.get_or_insert(step);
                }
            }
            Key::Lead if self.leads.is_empty() => {
                self.leads = pair.values();
                if let [one] = &mut self.leads[..]
                    && let Some(own) = behind(one, &pair.key)
                {
                    *one = own;
                }
            }
            Key::Unit if self.units.is_empty() => self.units = pair.values(),
            Key::Range if self.ranges.is_empty() => self.ranges = pair.values(),
            Key::Name | Key::Birth | Key::Number => self.person(key, pair.value),
            _ => {}
        }
    }

    /// Takes what identifies a person, so that it can be removed elsewhere.
    pub fn person(&mut self, key: Key, value: &str) {
        match key {
            Key::Name => self.persons.name(value),
            Key::Birth => self.persons.born(value),
            _ => self.persons.number(value),
        }
    }

    /// Takes what a line of an unknown language says by its value: a rate in hertz, a unit, or a lead behind the word of the key.
    pub fn guess(&mut self, pair: &Pair<'_>) -> bool {
        let (_, word) = number_and_word(pair.value);
        if HERTZ.contains(&word.to_lowercase().as_str()) {
            self.hertz.push((pair.value.to_owned(), pair.key.clone()));
            return true;
        }
        if pair.value.chars().count() > 1 && pair.value.parse::<Unit>().is_ok() {
            if self.units.is_empty() {
                self.units = vec![pair.value.to_owned()];
            }
            return true;
        }
        let lead = behind(pair.value, &pair.key);
        let lead = lead.filter(|lead| Lead::parse(lead).standard_index().is_some());
        if let Some(lead) = lead {
            if self.leads.is_empty() {
                self.leads = vec![lead];
            }
            return true;
        }
        false
    }

    /// The unit of each of the leads, or of all.
    pub fn unit_of(&self, leads: usize) -> Vec<String> {
        let ranges = self.ranges.iter().map(|range| {
            let word = range.split_whitespace().next_back().unwrap_or("");
            word.to_owned()
        });
        match &self.units[..] {
            [] if self.ranges.len() == leads => ranges.collect(),
            [one] => vec![one.clone(); leads],
            many => many.to_vec(),
        }
    }

    /// The rate in hertz, and the key that says it; `comma` says whether the decimal mark of the table is a comma, where that shows.
    ///
    /// # Errors
    /// When no ECG has it, or the text may mean two numbers.
    pub fn rate(
        &self,
        path: &Path,
        comma: Option<bool>,
    ) -> Result<Option<(f64, String)>, RecordError> {
        let (text, step, key) = match (&self.rate, &self.hertz[..]) {
            (Some(rate), _) => (&rate.0, rate.1, &rate.2),
            (None, [(text, key)]) => (text, None, key),
            _ => return Ok(None),
        };
        let (number, word) = number_and_word(text);
        let scale = match (step, word.to_lowercase().as_str()) {
            (Some(_), _) | (None, "" | "hz" | "sps" | "samples/s" | "1/s") => 1.0,
            (None, "khz") => 1e3,
            (None, word) if HERTZ.contains(&word) || word.starts_with("samples per s") => 1.0,
            _ => return Ok(None),
        };
        let place = format!("the line `{key}`");
        let hz = |number: f64| match step {
            Some(unit_s) => 1.0 / (number * unit_s),
            None => number * scale,
        };
        let sound = |number: &f64| stated_hz(path, &place, hz(*number)).is_ok();
        let meant = meanings(number, comma);
        let Some(&first) = meant.first() else {
            return Ok(None);
        };
        let mut likely = meant.iter().filter(|number| sound(number));
        let found = match (likely.next(), likely.next()) {
            (Some(_), Some(_)) if comma.is_none() => {
                return Err(content(
                    path,
                    &place,
                    text,
                    "a number without a mark of thousands, or the rate (`--input-rate`)",
                ));
            }
            (Some(&likely), _) => likely,
            (None, _) => first,
        };
        // A rate that nobody called so has to be one that is used for nothing else.
        if self.rate.is_none() && hz(found) < UNNAMED_HZ {
            return Ok(None);
        }
        stated_hz(path, &place, hz(found)).map(|hz| Some((hz, place)))
    }
}

/// What stands behind the word of the key at the start of a value: `Derivazione I`.
fn behind(value: &str, key: &str) -> Option<String> {
    let letters = key.chars().count();
    let start: String = value.chars().take(letters).collect();
    let rest: String = value.chars().skip(letters).collect();
    let apart = rest.starts_with(char::is_whitespace) || letters == 2 && !key.is_ascii();
    (start.to_lowercase() == key && apart).then(|| rest.trim().to_owned())
}

/// `511,844 hertz` as number and word.
fn number_and_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let blank = |c: char| c == ' ' || c == '\u{a0}' || c == '\u{202f}';
    let end = text.find(|c: char| !c.is_ascii_digit() && !".,".contains(c) && !blank(c));
    let (number, word) = text.split_at(end.unwrap_or(text.len()));
    (number.trim(), word.trim())
}

/// What a number may mean: the likely one first, by the decimal mark that the table has.
fn meanings(text: &str, comma: Option<bool>) -> Vec<f64> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let as_decimal = |mark: char| {
        let other = if mark == ',' { '.' } else { ',' };
        text.replace(other, "").replace(mark, ".").parse().ok()
    };
    let last = text
        .rfind(['.', ','])
        .map(|at| (&text[at..=at], text.len() - at - 1));
    let found: Vec<Option<f64>> = match last {
        None => vec![text.parse().ok()],
        Some((mark, digits)) => {
            let mark = if mark == "," { ',' } else { '.' };
            let both = text.contains('.') && text.contains(',');
            let once = text.matches(mark).count() == 1;
            let whole = text.replace(['.', ','], "").parse().ok();
            match (both, once, digits) {
                (true, _, _) => vec![as_decimal(mark)],
                (false, false, _) => vec![whole],
                (false, true, 3) => match comma {
                    Some(comma) if comma != (mark == ',') => vec![whole, as_decimal(mark)],
                    // Programs write a point whatever the language.
                    None if mark == '.' => vec![as_decimal(mark)],
                    _ => vec![as_decimal(mark), whole],
                },
                (false, true, _) => vec![as_decimal(mark)],
            }
        }
    };
    found.into_iter().flatten().collect()
}
