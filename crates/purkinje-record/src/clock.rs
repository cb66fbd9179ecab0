//! The times of the rows of a table: what they say of the sampling rate, and whether an ECG can have it.

use std::ops::RangeInclusive;
use std::path::Path;

use crate::RecordError;
use crate::error::content;
use crate::mat::Class;
use crate::open::valid_rate;
use crate::values::{Spool, Values};

/// Rates in hertz of which a table is believed. Below 20 Hz the QRS complex, whose energy lies around 10 to 15 Hz, is lost; above 100 kHz
/// is what no amplifier for surface leads delivers. A mistaken unit of time is off by a thousand and leaves this range for the rates
/// that ECGs have (100 Hz to 20 kHz).
const PLAUSIBLE_HZ: RangeInclusive<f64> = 20.0..=100_000.0;

/// Units of time in seconds, with their names.
const UNITS: [(f64, &str, &str); 4] = [
    (1.0, "s", "seconds"),
    (1e-3, "ms", "milliseconds"),
    (1e-6, "us", "microseconds"),
    (1e-9, "ns", "nanoseconds"),
];

/// Rates in hertz that devices have, for times whose digits leave room for several.
const COMMON_HZ: [f64; 20] = [
    50.0, 64.0, 100.0, 125.0, 128.0, 200.0, 240.0, 250.0, 256.0, 300.0, 360.0, 400.0, 500.0, 512.0,
    600.0, 1000.0, 1024.0, 2000.0, 2048.0, 4096.0,
];

/// The share by which a rate may be off without being useless.
const COARSE: f64 = 0.01;

/// Times that are read at once.
const BLOCK: usize = 1 << 16;

const DAY_S: f64 = 86400.0;

/// The unit of a word such as `ms` in seconds; `None` where it is no unit of time.
pub(crate) fn time_unit_s(word: &str) -> Option<f64> {
    match word.trim().to_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" | "sek" | "sekunden" | "seconden"
        | "secondes" | "segundos" | "secondi" => Some(1.0),
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" | "millisekunden" | "millis" => {
            Some(1e-3)
        }
        "us" | "usec" | "\u{b5}s" | "\u{3bc}s" | "microsecond" | "microseconds" | "micros" => {
            Some(1e-6)
        }
        "ns" | "nsec" | "nanosecond" | "nanoseconds" => Some(1e-9),
        "min" | "minute" | "minutes" => Some(60.0),
        "h" | "hour" | "hours" => Some(3600.0),
        // A clock, whatever the order of its parts.
        format if format.contains("mm:ss") => Some(1.0),
        _ => None,
    }
}

/// A rate that a table states in words, in hertz.
///
/// # Errors
/// When no ECG has it.
pub(crate) fn stated_hz(path: &Path, field: &str, hz: f64) -> Result<f64, RecordError> {
    let hz = valid_rate(path, Some(hz), "a number of hertz")?;
    if PLAUSIBLE_HZ.contains(&hz) {
        return Ok(hz);
    }
    let period = UNITS.iter().find(|unit| {
        let other = 1.0 / (hz * unit.0);
        PLAUSIBLE_HZ.contains(&other)
    });
    let likely = match period {
        Some((_, _, name)) if hz < 1e3 => format!("is it the time of a step in {name}? "),
        _ => String::new(),
    };
    Err(content(
        path,
        field,
        &format!("{hz} Hz"),
        &format!(
            "20 Hz to 100 kHz, as ECGs have; {likely}correct it, or give the rate (`--input-rate`)"
        ),
    ))
}

/// A time as a text, in seconds or, of a plain number, in the unit of its column.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    time: f64,
    /// What the last digit is worth.
    digit: f64,
    /// `None`: a plain number. Otherwise the seconds after which the clock starts again.
    turn: Option<f64>,
    /// The number of the day, with day before month and with month before day, where there is a date.
    days: Option<[Option<i64>; 2]>,
}

/// Whether a text is a time of day, with or without a date.
pub(crate) fn is_clock(text: &str) -> bool {
    text.contains(':') && clock(text).is_some()
}

fn stamp(text: &str) -> Option<Stamp> {
    if text.contains(':') {
        return clock(text);
    }
    let plain = text.replace(',', ".");
    let time = plain.parse::<f64>().ok().filter(|time| time.is_finite())?;
    let digit = match plain.rsplit_once('.') {
        // With an exponent the digits say little.
        _ if plain.contains(['e', 'E']) => 0.0,
        Some((_, decimals)) => tenth(decimals.len()),
        None => 1.0,
    };
    Some(Stamp {
        time,
        digit,
        turn: None,
        days: None,
    })
}

fn tenth(decimals: usize) -> f64 {
    0.1f64.powi(decimals.min(300) as i32)
}

/// `0:00.002`, `10:00:00.002`, `10:00:00:002`, `2020-02-02T10:00:00.002+01:00`, `02.02.2020 10:00:00,002`, `2/2/2020 10:00:00.002 PM`.
fn clock(text: &str) -> Option<Stamp> {
    let text = text.trim_matches(['[', ']']);
    let colon = text.find(':')?;
    let start = text[..colon].rfind(|c: char| !c.is_ascii_digit());
    let (date, rest) = match start {
        Some(at) => (text[..at].trim_end_matches([' ', ',']), text.get(at + 1..)?),
        None => ("", text),
    };
    let between = start.and_then(|at| text[at..].chars().next());
    if between.is_some_and(|c| ![' ', 'T', 't', '_'].contains(&c)) {
        return None;
    }
    let end = rest.find(|c: char| !c.is_ascii_digit() && ![':', '.', ','].contains(&c));
    let (time, suffix) = rest.split_at(end.unwrap_or(rest.len()));
    let parts: Vec<&str> = time.split(':').collect();
    let (parts, fraction) = match parts[..] {
        // The thousandths behind a fourth colon.
        [hours, minutes, seconds, part] => (vec![hours, minutes, seconds], part),
        [.., last] => match last.split_once(['.', ',']) {
            Some((whole, part)) => {
                let before = &parts[..parts.len() - 1];
                ([before, &[whole]].concat(), part)
            }
            None => (parts, ""),
        },
        [] => return None,
    };
    let whole = |part: &str| -> Option<f64> {
        let digits = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|_| digits)
    };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut digit = tenth(fraction.len());
    let part = match fraction {
        "" => 0.0,
        digits => format!("0.{digits}").parse().ok()?,
    };
    let (mut time, mut turn) = match parts[..] {
        [hours, minutes, seconds] => {
            let [hours, minutes, seconds] = [whole(hours)?, whole(minutes)?, whole(seconds)?];
            if minutes >= 60.0 || seconds > 60.0 {
                return None;
            }
            (3600.0 * hours + 60.0 * minutes + seconds + part, DAY_S)
        }
        [hours, minutes] if !date.is_empty() => {
            digit = 60.0;
            (3600.0 * whole(hours)? + 60.0 * whole(minutes)?, DAY_S)
        }
        // Minutes and seconds.
        [minutes, seconds] if whole(seconds)? <= 60.0 => {
            (60.0 * whole(minutes)? + whole(seconds)? + part, 3600.0)
        }
        _ => return None,
    };
    match suffix.trim().to_ascii_lowercase().as_str() {
        "" | "z" | "utc" | "gmt" => {}
        "am" | "a.m." => time %= DAY_S / 2.0,
        "pm" | "p.m." => time = time % (DAY_S / 2.0) + DAY_S / 2.0,
        offset => time -= offset_s(offset)?,
    }
    let days = match date {
        "" => None,
        date => {
            turn = DAY_S;
            Some(days(date)?)
        }
    };
    Some(Stamp {
        time,
        digit,
        turn: Some(turn),
        days,
    })
}

/// `+01:00`, `+0100` or `+01` in seconds.
fn offset_s(text: &str) -> Option<f64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1.0,
        b'-' => -1.0,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(|&c| c != ':').collect();
    if !digits.bytes().all(|b| b.is_ascii_digit()) || ![2, 4].contains(&digits.len()) {
        return None;
    }
    let number = |range| digits.get(range).and_then(|part: &str| part.parse().ok());
    let minutes: f64 = number(2..4).unwrap_or(0.0);
    Some(sign * (3600.0 * number(0..2)? + 60.0 * minutes))
}

/// The number of a day, with day before month and with month before day.
fn days(date: &str) -> Option<[Option<i64>; 2]> {
    let mut parts = date.split(['-', '/', '.']).map(|part| {
        let digits = part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i64>().ok().filter(|_| digits)
    });
    let [Some(a), Some(b), Some(c), None] = [
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next().flatten(),
    ] else {
        return None;
    };
    let day = |year: i64, month: i64, day: i64| -> Option<i64> {
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        // Years begin in March, so that the day that a leap year adds is its last one.
        let (year, month) = match month {
            1 | 2 => (year - 1, month + 9),
            _ => (year, month - 3),
        };
        let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        Some(365 * year + leaps + (153 * month + 2) / 5 + day)
    };
    let found = match a > 31 {
        true => [day(a, b, c), None],
        false => [day(c, b, a), day(c, a, b)],
    };
    found.iter().any(Option::is_some).then_some(found)
}

/// The times of the rows, and how finely they are written.
pub(crate) struct Clock {
    times: Spool,
    first: f64,
    last: f64,
    /// What the last digit is worth, of the time with the most of them.
    digit: f64,
    /// Of the first time: whether it is a plain number, and its day.
    form: Option<(bool, Option<[Option<i64>; 2]>)>,
    /// Seconds that were added as the clock started again.
    turns: f64,
}

/// What the times of a table say.
#[derive(Clone, Copy)]
struct Found {
    /// Per second.
    hz: f64,
    /// The share by which it may be off.
    off: f64,
    /// Whether that is too much.
    coarse: bool,
    /// The unit that was taken for that of a column which names none.
    assumed: Option<&'static str>,
}

impl Clock {
    /// Of the table at `path`.
    pub fn new(path: &Path) -> Clock {
        Clock {
            times: Spool::new(path, Class::Double),
            first: f64::NAN,
            last: f64::NAN,
            digit: f64::INFINITY,
            form: None,
            turns: 0.0,
        }
    }

    /// The time of the next row in the unit of the column, of which the last digit is worth so much: 0 where it is held in binary, whose
    /// digits say nothing; such times have to be as even as numbers allow.
    pub fn add(&mut self, time: f64, digit: f64) -> Result<(), RecordError> {
        self.digit = self.digit.min(digit);
        if self.times.len() == 0 {
            self.first = time;
        }
        self.last = time;
        self.times.push(time)
    }

    /// The time of the next row as a text: a number, a time of day or a point in time. `false`: it is none, or of another sort than
    /// those before.
    pub fn add_text(&mut self, text: &str) -> Result<bool, RecordError> {
        let Some(stamp) = stamp(text) else {
            return Ok(false);
        };
        let (plain, base) = *self.form.get_or_insert((stamp.turn.is_none(), stamp.days));
        if plain != stamp.turn.is_none() || base.is_some() != stamp.days.is_some() {
            return Ok(false);
        }
        let mut time = stamp.time;
        match (stamp.turn, base.zip(stamp.days)) {
            (_, Some((base, days))) => {
                // Whether day or month is first shows as the day changes: the next day is the likely one.
                let passed = (0..2).filter_map(|order| Some(days[order]? - base[order]?));
                let times = passed.map(|days| stamp.time + DAY_S * days as f64);
                let far = |time: &f64| (time - self.last).abs();
                let nearest = times.min_by(|a, b| far(a).total_cmp(&far(b)));
                let Some(nearest) = nearest else {
                    return Ok(false);
                };
                time = nearest;
            }
            (Some(turn), None) => {
                time += self.turns;
                if time < self.last - turn / 2.0 {
                    self.turns += turn;
                    time += turn;
                }
            }
            (None, None) => {}
        }
        self.add(time, stamp.digit)?;
        Ok(true)
    }

    /// The rate, provided that the times are evenly spaced as far as their digits tell; `unit_s` is the unit that the table states.
    fn find(self, path: &Path, title: &str, unit_s: Option<f64>) -> Result<Found, RecordError> {
        let Clock { first, last, .. } = self;
        let field = format!("the time column `{title}`");
        let error = |found: String| {
            content(
                path,
                &field,
                &found,
                "times that rise in even steps; resample the recording, or give its rate (`--input-rate`) to override them",
            )
        };
        let count = self.times.len();
        if count < 2 {
            return Err(error("a single time".into()));
        }
        let steps = (count - 1) as f64;
        let span = last - first;
        if !(span > 0.0 && span.is_finite()) {
            return Err(error(format!("from {first} to {last}")));
        }
        let plain = self.form.is_none_or(|(plain, _)| plain);
        // Large numbers, such as seconds since 1970, are held with this much precision.
        let held = 4.0 * f64::EPSILON * first.abs().max(last.abs());
        // Times are rounded to their digits, so each may be off by half of the last one, and a difference by a whole one.
        let digit = self.digit.max(held);
        // Times that went through f32 are off by more than their many digits tell.
        let slack = digit.max((span * 1e-6).min(0.1 * span / steps));
        let times = self.times.finish(1)?;
        let mut block = Vec::new();
        let mut worst = 0f64;
        // The step that differs most from the others, and the row behind it.
        let (mut odd, mut row, mut before) = (span / steps, 0, first);
        for start in (0..count).step_by(BLOCK) {
            block.clear();
            times.read(start..(start + BLOCK).min(count), 0..1, &mut block)?;
            for (i, &time) in (start..).zip(&block) {
                worst = worst.max((time - (first + span * (i as f64 / steps))).abs());
                if i > 0 && (time - before - span / steps).abs() > (odd - span / steps).abs() {
                    (odd, row) = (time - before, i);
                }
                before = time;
            }
        }
        if worst > 2.0 * slack {
            let step = (span / steps) as f32;
            return Err(error(format!(
                "uneven: from row {row} to {} it rises by {}, on average by {step}",
                row + 1,
                odd as f32
            )));
        }
        // Steps that are all alike are no rounded ones.
        let alike = worst <= 2.0 * held + 1e-6 * span / steps;
        let off = slack / span;
        let unit_s = if plain { unit_s } else { Some(1.0) };
        let (unit_s, assumed) = unit(path, title, unit_s, first, span / steps)?;
        // The digits leave room for rates close by; a usual one, or a whole number of hertz, is the likely one.
        let hz = steps / (span * unit_s);
        let fits = |hz: &f64| (span - steps / (hz * unit_s)).abs() <= slack;
        let mut usual = COMMON_HZ.iter().copied().filter(fits);
        let whole = Some(hz.round()).filter(|hz| *hz >= 1.0 && fits(hz));
        let likely = usual.next().filter(|_| usual.next().is_none());
        let likely = if alike { whole } else { likely.or(whole) };
        Ok(Found {
            hz: likely.unwrap_or(hz),
            off,
            coarse: !alike && off > COARSE,
            assumed,
        })
    }
}

/// The unit of times in seconds, which rise by `step` in it, and its name where it was guessed.
///
/// # Errors
/// When no unit gives a rate that an ECG has, or several do, or the one that is stated does not.
fn unit(
    path: &Path,
    title: &str,
    stated: Option<f64>,
    first: f64,
    step: f64,
) -> Result<(f64, Option<&'static str>), RecordError> {
    let hz = |unit_s: f64| 1.0 / (step * unit_s);
    let sound = |unit_s: f64| PLAUSIBLE_HZ.contains(&hz(unit_s));
    if let Some(unit_s) = stated.filter(|&unit_s| sound(unit_s)) {
        return Ok((unit_s, None));
    }
    if stated.is_none() {
        // Since 1970; the years 1988 to 2128.
        let since = |unit_s: f64| (5.7e8..5e9).contains(&(first * unit_s));
        let since = UNITS.iter().find(|unit| since(unit.0) && sound(unit.0));
        if let Some(&(unit_s, ..)) = since {
            return Ok((unit_s, None));
        }
        if sound(1.0) {
            return Ok((1.0, None));
        }
    }
    let likely: Vec<_> = UNITS.iter().filter(|unit| sound(unit.0)).collect();
    // Whole numbers one after another may as well count samples.
    let counts = (step - 1.0).abs() < 1e-9;
    if let ([one], None, false) = (&likely[..], stated, counts) {
        return Ok((one.0, Some(one.2)));
    }
    let units: Vec<String> = likely
        .iter()
        .map(|(unit_s, _, name)| format!("is the column in {name} ({:.6} Hz)?", hz(*unit_s)))
        .map(|text| text.replace(".000000 Hz", " Hz"))
        .collect();
    let write = match likely.first() {
        Some((_, unit, _)) => format!("{} Title it `time ({unit})`", units.join(" Or ")),
        None => "correct the times".to_owned(),
    };
    let found = match stated {
        Some(unit_s) => format!("{} Hz by its unit", hz(unit_s)),
        None => format!("{} Hz if it is in seconds, which it does not say", hz(1.0)),
    };
    Err(content(
        path,
        &format!("the sampling rate of the time column `{title}`"),
        &found,
        &format!("20 Hz to 100 kHz, as ECGs have; {write}, or give the rate (`--input-rate`)"),
    ))
}

/// Where the rate of a table may come from.
pub(crate) struct Rates<'a> {
    pub path: &'a Path,
    /// From the caller: it counts whatever the table says.
    pub given: Option<f64>,
    /// Times with the title of their column and its unit in seconds, where one is stated; an error where the column has none.
    pub clock: Option<(Result<Clock, RecordError>, &'a str, Option<f64>)>,
    /// What the table states in words, and where.
    pub noted: Option<(f64, &'a str)>,
    /// Where a rate may be stated, for the message when there is none.
    pub from: &'a str,
}

impl Rates<'_> {
    /// The rate in hertz; remarks on what was assumed, or contradicts it, go to `remarks`.
    ///
    /// # Errors
    /// When there is none, no ECG has it, the times are uneven, or two of the sources contradict each other.
    pub fn settle(self, remarks: &mut Vec<String>) -> Result<f64, RecordError> {
        let path = self.path;
        let timed = self.clock.map(|(clock, title, unit_s)| {
            let found = clock.and_then(|clock| clock.find(path, title, unit_s));
            (found, title)
        });
        if let Some(given) = self.given {
            let given = valid_rate(path, Some(given), self.from)?;
            match timed {
                Some((Ok(found), title)) if !found.agrees(given) => remarks.push(format!(
                    "the time column `{title}` gives {} Hz, but the rate was given as {given} Hz",
                    found.hz
                )),
                Some((Err(error), title)) => {
                    let why = match error {
                        RecordError::Content { field, found, .. } => format!("{field} is {found}"),
                        _ => format!("the time column `{title}` was not used"),
                    };
                    remarks.push(format!("{why}; the rate was given as {given} Hz"));
                }
                _ => {}
            }
            return Ok(given);
        }
        let noted = match self.noted {
            Some((hz, place)) => {
                Some((stated_hz(path, &format!("the rate in {place}"), hz)?, place))
            }
            None => None,
        };
        let Some((found, title)) = timed else {
            let noted = noted.map(|(hz, _)| hz);
            return valid_rate(path, noted, self.from);
        };
        let found = found?;
        if let Some(unit) = found.assumed {
            remarks.push(format!(
                "the time column `{title}` names no unit: it is taken to be in {unit}, which gives {} Hz",
                found.hz
            ));
        }
        match noted {
            Some((hz, _)) if found.agrees(hz) => Ok(hz),
            Some((hz, place)) => Err(content(
                path,
                &format!("the sampling rate by the time column `{title}`"),
                &format!("{} Hz", found.hz),
                &format!(
                    "{hz} Hz, as {place} says; correct one of them, or give the rate (`--input-rate`)"
                ),
            )),
            None if found.coarse => Err(content(
                path,
                &format!("the time column `{title}`"),
                "written too coarsely to tell the rate",
                "more digits, or the rate (`--input-rate`)",
            )),
            None => Ok(found.hz),
        }
    }
}

impl Found {
    fn agrees(&self, hz: f64) -> bool {
        (self.hz - hz).abs() <= hz * self.off.max(0.002)
    }
}
