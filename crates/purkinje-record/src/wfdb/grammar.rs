//! The grammar of header files, read and written.

use std::borrow::Cow;
use std::fmt;

use super::Format;
use super::header::{
    Date, Header, HeaderError, MAX_SAMPLES_PER_FRAME, MAX_SEGMENTS, MAX_SIGNALS, SegmentSpec,
    SignalSpec, Time,
};

/// Frames per second when the header does not say.
const DEFAULT_RATE_HZ: f64 = 250.0;
/// Digital units per physical unit when the header does not say (or says 0).
const DEFAULT_GAIN: f64 = 200.0;

impl Header {
    /// Parses the text of a header.
    ///
    /// # Errors
    /// With line and field, when the text breaks the grammar or names more than the limits allow.
    pub fn parse(text: &str) -> Result<Header, HeaderError> {
        let mut comments = Vec::new();
        let mut header: Option<(Header, usize)> = None;
        let mut last_line = 1;
        // Lines may end as on any system.
        let text = if text.contains('\r') {
            Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
        } else {
            Cow::Borrowed(text)
        };
        let lines: Vec<&str> = text.split('\n').collect();
        for (index, line) in lines.iter().enumerate() {
            let line = line.trim_matches(BLANKS);
            if line.is_empty() {
                continue;
            }
            let here = index + 1;
            last_line = here;
            if let Some(comment) = line.strip_prefix('#') {
                comments.push(comment.trim_matches(['#', ' ', '\t']).to_owned());
                continue;
            }
            match &mut header {
                None => {
                    let after = lines[here..].iter().map(|line| line.trim_matches(BLANKS));
                    let mut body = after.filter(|line| !line.is_empty() && !line.starts_with('#'));
                    header = Some(record_line(here, line, body.next().unwrap_or(""))?);
                }
                Some((header, segments)) => body_line(header, *segments, here, line)?,
            }
        }
        let Some((mut header, segments)) = header else {
            return Err(HeaderError {
                line: last_line,
                field: "record line",
                found: "nothing".into(),
                expected: "a record line such as `100 2 360 650000`".into(),
            });
        };
        let (found, expected, field) = if segments > 0 {
            (header.segments.len(), segments, "segment lines")
        } else {
            (header.signals.len(), header.signal_count, "signal lines")
        };
        if found != expected {
            return Err(HeaderError {
                line: last_line,
                field,
                found: format!("{found} lines"),
                expected: format!("{expected}, the number on the record line"),
            });
        }
        header.comments = comments;
        Ok(header)
    }
}

/// Writes the header in the grammar that [`Header::parse`] reads (all fields given).
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.is_multi_segment() {
            write!(f, "/{}", self.segments.len())?;
        }
        write!(f, " {} {}", self.signal_count, self.rate_hz)?;
        if let Some(counter_hz) = self.counter_hz {
            write!(f, "/{counter_hz}")?;
            if let Some(base) = self.base_counter {
                write!(f, "({base})")?;
            }
        }
        write!(f, " {}", self.frames.unwrap_or(0))?;
        if let Some(Time {
            hour,
            minute,
            second,
        }) = self.start_time
        {
            write!(f, " {hour:02}:{minute:02}:{second:02}")?;
        }
        if let Some(Date { year, month, day }) = self.start_date {
            write!(f, " {day:02}/{month:02}/{year:04}")?;
        }
        writeln!(f)?;
        for signal in &self.signals {
            writeln!(f, "{signal}")?;
        }
        for segment in &self.segments {
            writeln!(f, "{} {}", segment.name, segment.frames)?;
        }
        for comment in &self.comments {
            writeln!(f, "# {comment}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SignalSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file, self.format.code())?;
        if self.samples_per_frame != 1 {
            write!(f, "x{}", self.samples_per_frame)?;
        }
        if self.skew_frames != 0 {
            write!(f, ":{}", self.skew_frames)?;
        }
        if self.byte_offset != 0 {
            write!(f, "+{}", self.byte_offset)?;
        }
        write!(f, " {}({})/{}", self.gain, self.baseline, self.unit)?;
        // Later fields need the earlier ones, so the line ends at the first that is absent.
        write!(
            f,
            " {} {}",
            self.adc_resolution_bits.unwrap_or(0),
            self.adc_zero
        )?;
        let Some(initial) = self.initial_value else {
            return Ok(());
        };
        write!(f, " {initial}")?;
        let Some(checksum) = self.checksum else {
            return Ok(());
        };
        write!(f, " {checksum}")?;
        let Some(block) = self.block_size else {
            return Ok(());
        };
        write!(f, " {block} {}", self.description)
    }
}

/// Blanks between fields; a byte-order mark counts as one.
const BLANKS: [char; 4] = [' ', '\t', '\u{feff}', '\u{1a}'];

/// Names a field for errors.
#[derive(Clone, Copy)]
struct Field {
    line: usize,
    name: &'static str,
}

impl Field {
    fn error(self, found: &str, expected: impl Into<String>) -> HeaderError {
        let mut shown: String = found.chars().take(60).collect();
        if shown.len() < found.len() {
            shown.push('…');
        }
        HeaderError {
            line: self.line,
            field: self.name,
            found: if found.is_empty() {
                "nothing".into()
            } else {
                format!("`{shown}`")
            },
            expected: expected.into(),
        }
    }

    fn whole<T: TryFrom<i64>>(self, text: &str, expected: &str) -> Result<T, HeaderError> {
        text.parse::<i64>()
            .ok()
            .or_else(|| whole_float(text))
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| self.error(text, expected))
    }

    fn number(self, text: &str, expected: &str) -> Result<f64, HeaderError> {
        text.parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
            .ok_or_else(|| self.error(text, expected))
    }
}

/// Some writers put `16.0` where a whole number belongs.
fn whole_float(text: &str) -> Option<i64> {
    let value: f64 = text.parse().ok()?;
    (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
}

/// `name[/segments] signals [rate[/counter[(base)]] [frames [time] [date]]]`; gives the number of segments, 0 for none. What looks
/// like such a number is the end of a path where the `next` line is not that of a segment, which has two fields and no name of a file.
fn record_line(line: usize, text: &str, next: &str) -> Result<(Header, usize), HeaderError> {
    let field = |name| Field { line, name };
    let mut tokens = text.split_ascii_whitespace();
    let first = tokens.next().unwrap_or("");
    let mut fields = next.split_ascii_whitespace();
    let named = fields.next().is_some_and(|name| name.contains('.'));
    let of_segments = !named && fields.count() <= 1;
    let (name, segments) = match first.rsplit_once('/') {
        Some((name, count)) if of_segments && count.bytes().all(|b| b.is_ascii_digit()) => {
            let count: usize = field("number of segments").whole(count, "a whole number")?;
            if count == 0 || count > MAX_SEGMENTS {
                return Err(field("number of segments")
                    .error(first, format!("between 1 and {MAX_SEGMENTS} after the `/`")));
            }
            (name, count)
        }
        _ => (first, 0),
    };
    let signals = tokens.next().unwrap_or("");
    let expected = format!("a whole number from 0 to {MAX_SIGNALS}");
    let signal_count: usize = field("number of signals").whole(signals, &expected)?;
    if signal_count > MAX_SIGNALS {
        return Err(field("number of signals").error(signals, expected));
    }
    let mut header = Header {
        name: name.to_owned(),
        rate_hz: DEFAULT_RATE_HZ,
        counter_hz: None,
        base_counter: None,
        frames: None,
        start_time: None,
        start_date: None,
        signals: Vec::new(),
        signal_count,
        segments: Vec::new(),
        comments: Vec::new(),
    };
    if let Some(rate) = tokens.next() {
        let (rate, counter) = match rate.split_once('/') {
            Some((rate, counter)) => (rate, Some(counter)),
            None => (rate, None),
        };
        let expected = "a number of frames per second above 0";
        header.rate_hz = field("sampling rate").number(rate, expected)?;
        if header.rate_hz <= 0.0 {
            return Err(field("sampling rate").error(rate, expected));
        }
        if let Some(counter) = counter {
            let (hz, base) = match counter.split_once('(') {
                Some((hz, base)) => (hz, base.strip_suffix(')').or(Some(base))),
                None => (counter, None),
            };
            header.counter_hz = Some(field("counter frequency").number(hz, "a number")?);
            header.base_counter = base
                .map(|base| field("base counter value").number(base, "a number in `()`"))
                .transpose()?;
        }
    }
    if let Some(frames) = tokens.next() {
        let expected = "a number of samples, 0 or more";
        let frames: u64 = field("number of samples").whole(frames, expected)?;
        header.frames = (frames > 0 || segments > 0).then_some(frames);
    }
    // Standard order is time, date (`10:44:18.529 04/05/2704`); the Challenge sets write date, time (`05-May-2020 14:50:55`).
    // Neither is needed to read samples, so an unknown form is no error.
    for token in tokens {
        if token.contains(':') {
            header.start_time = header.start_time.or_else(|| parse_time(token));
        } else {
            header.start_date = header.start_date.or_else(|| parse_date(token));
        }
    }
    Ok((header, segments))
}

fn body_line(
    header: &mut Header,
    segments: usize,
    line: usize,
    text: &str,
) -> Result<(), HeaderError> {
    let field = |name| Field { line, name };
    if segments > 0 {
        if header.segments.len() == segments {
            return Err(field("segment lines").error(
                text,
                format!("no line after the {segments} segments of the record line"),
            ));
        }
        let (name, frames) = text.split_once(BLANKS).unwrap_or((text, ""));
        let frames = frames.trim_matches(BLANKS);
        header.segments.push(SegmentSpec {
            name: name.to_owned(),
            frames: field("number of samples in the segment")
                .whole(frames, "a number of samples, 0 or more")?,
        });
    } else {
        if header.signals.len() == header.signal_count {
            return Err(field("signal lines").error(
                text,
                format!(
                    "no line after the {} signals of the record line",
                    header.signal_count
                ),
            ));
        }
        header.signals.push(signal_line(line, text)?);
    }
    Ok(())
}

/// `file format[xN][:skew][+offset] [gain[(baseline)][/unit] [bits [zero [first [checksum [block [description]]]]]]]`
fn signal_line(line: usize, text: &str) -> Result<SignalSpec, HeaderError> {
    let field = |name| Field { line, name };
    let mut rest = text;
    let file = next_token(&mut rest);
    let format = next_token(&mut rest);
    let (format, samples_per_frame, skew_frames, byte_offset) = format_field(line, format)?;
    let mut spec = SignalSpec {
        file: file.to_owned(),
        format,
        samples_per_frame,
        skew_frames,
        byte_offset,
        gain: DEFAULT_GAIN,
        baseline: 0,
        unit: "mV".to_owned(),
        adc_resolution_bits: None,
        adc_zero: 0,
        initial_value: None,
        checksum: None,
        block_size: None,
        description: String::new(),
    };
    let gain = next_token(&mut rest);
    let mut baseline = None;
    if !gain.is_empty() {
        let (scale, unit) = match gain.split_once('/') {
            Some((scale, unit)) => (scale, unit),
            None => (gain, ""),
        };
        if !unit.is_empty() {
            spec.unit = unit.to_owned();
        }
        let (value, base) = match scale.split_once('(') {
            Some((value, base)) => (value, Some(base.strip_suffix(')').unwrap_or(base))),
            None => (scale, None),
        };
        let value = field("gain").number(value, "a number such as `200` or `1000(0)/mV`")?;
        // 0 means "not calibrated" in the standard, to be read as the default.
        spec.gain = if value == 0.0 { DEFAULT_GAIN } else { value };
        baseline = base
            .map(|base| field("baseline").whole(base, "a whole number in `()` after the gain"))
            .transpose()?;
    }
    let mut optional = |name, expected| -> Result<Option<i64>, HeaderError> {
        match next_token(&mut rest) {
            "" => Ok(None),
            token => field(name).whole::<i64>(token, expected).map(Some),
        }
    };
    let bits = optional("ADC resolution", "a number of bits")?;
    let zero = optional("ADC zero", "a whole number")?;
    let initial = optional("initial value", "a whole number")?;
    let checksum = optional("checksum", "a whole number")?;
    spec.block_size = optional("block size", "a whole number")?;
    let narrow = |name, value: i64| {
        i32::try_from(value)
            .map_err(|_| field(name).error(&value.to_string(), "a 32-bit whole number"))
    };
    spec.adc_resolution_bits = bits.and_then(|bits| u32::try_from(bits).ok());
    spec.adc_zero = zero.map_or(Ok(0), |value| narrow("ADC zero", value))?;
    spec.initial_value = initial
        .map(|value| narrow("initial value", value))
        .transpose()?;
    // Written signed by some and unsigned by others: only the low 16 bits count.
    spec.checksum = checksum.map(|value| value as i16);
    spec.baseline = baseline.unwrap_or(spec.adc_zero);
    spec.description = rest.trim_matches(BLANKS).to_owned();
    Ok(spec)
}

/// `format[xN][:skew][+offset]`, the parts after the format in any order.
fn format_field(line: usize, text: &str) -> Result<(Format, u32, u32, u64), HeaderError> {
    let field = |name| Field { line, name };
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let format = Format::from_code(&text[..end]).ok_or_else(|| {
        field("format").error(
            text,
            "one of 0, 8, 16, 24, 32, 61, 80, 160, 212, 310, 311, 508, 516, 524",
        )
    })?;
    let (mut per_frame, mut skew, mut offset) = (1, 0, 0);
    let mut rest = &text[end..];
    while let Some(kind) = rest.chars().next() {
        let digits = &rest[kind.len_utf8()..];
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let value = &digits[..end];
        match kind {
            'x' => {
                let expected = format!("between 1 and {MAX_SAMPLES_PER_FRAME} after the `x`");
                per_frame = field("samples per frame").whole(value, &expected)?;
                if per_frame == 0 || per_frame > MAX_SAMPLES_PER_FRAME {
                    return Err(field("samples per frame").error(text, expected));
                }
            }
            ':' => skew = field("skew").whole(value, "a number of frames after the `:`")?,
            '+' => {
                offset = field("byte offset").whole(value, "a number of bytes after the `+`")?;
            }
            _ => {
                return Err(field("format")
                    .error(text, "a format such as `16`, `212x4`, `16:3` or `16+24`"));
            }
        }
        rest = &digits[end..];
    }
    Ok((format, per_frame, skew, offset))
}

fn next_token<'a>(rest: &mut &'a str) -> &'a str {
    let trimmed = rest.trim_start_matches(BLANKS);
    let end = trimmed.find(BLANKS).unwrap_or(trimmed.len());
    let (token, after) = trimmed.split_at(end);
    *rest = after;
    token
}

/// `[[hours:]minutes:]seconds[.fraction]`
fn parse_time(text: &str) -> Option<Time> {
    let mut parts = text.rsplit(':');
    let second: f64 = parts.next()?.parse().ok()?;
    let minute: u8 = parts.next().map_or(Some(0), |part| part.parse().ok())?;
    let hour: u8 = parts.next().map_or(Some(0), |part| part.parse().ok())?;
    (parts.next().is_none() && hour < 24 && minute < 60 && (0.0..60.0).contains(&second)).then_some(
        Time {
            hour,
            minute,
            second,
        },
    )
}

/// `26/10/1994`, `05-May-2020`, `2020-05-05`
fn parse_date(text: &str) -> Option<Date> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let parts: Vec<&str> = text.split(['/', '-']).collect();
    let [a, b, c] = parts[..] else { return None };
    let (year, month, day) = if a.len() == 4 { (a, b, c) } else { (c, b, a) };
    let month = month.parse().ok().or_else(|| {
        let short = month.get(..3)?.to_ascii_lowercase();
        MONTHS
            .iter()
            .position(|name| *name == short)
            .map(|i| i as u8 + 1)
    })?;
    let (year, day) = (year.parse().ok()?, day.parse().ok()?);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some(Date { year, month, day })
}
