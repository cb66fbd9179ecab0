//! A small SVG writer: one unit is one millimetre.
//!
//! A picture states its size in millimetres (`width="282mm"`) and uses the same numbers in its view
//! box, so a length in the file is the length on paper. Every text and attribute value is escaped,
//! and characters that XML does not allow are replaced, so names taken from files cannot break out.

use std::fmt::{self, Write};

/// Font families tried in order by viewers; PNG output has the first one embedded.
pub const FONT_FAMILY: &str =
    "Roboto, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif";

/// Placeholder for the id prefix until the picture is written. It is not an XML character, so [`escape`]
/// removes it from everything a caller passes in and it cannot be forged.
const ID_PREFIX: char = '\u{1}';

/// A picture under construction, and its text when written with `to_string()`.
#[derive(Clone, Debug)]
pub struct Svg {
    width_mm: f64,
    height_mm: f64,
    title: String,
    description: String,
    definitions: String,
    body: String,
    open: Vec<&'static str>,
    clips: usize,
}

/// Reference to a rectangle that drawing can be clipped to.
#[derive(Clone, Copy, Debug)]
pub struct Clip(usize);

/// One element with its attributes.
#[derive(Clone, Debug)]
pub struct Element {
    name: &'static str,
    attributes: String,
    content: Option<String>,
}

/// Position of text relative to its point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// The point is at the left end.
    #[default]
    Start,
    /// The point is in the middle.
    Middle,
    /// The point is at the right end.
    End,
}

impl Svg {
    /// An empty picture of a size in millimetres. The title is for screen readers and tooltips.
    pub fn new(width_mm: f64, height_mm: f64, title: &str) -> Self {
        Svg {
            width_mm,
            height_mm,
            title: escape(title),
            description: String::new(),
            definitions: String::new(),
            body: String::new(),
            open: Vec::new(),
            clips: 0,
        }
    }

    /// Sets a longer description for readers who cannot see the picture.
    pub fn describe(&mut self, text: &str) {
        self.description = escape(text);
    }

    /// Width in millimetres.
    pub fn width_mm(&self) -> f64 {
        self.width_mm
    }

    /// Height in millimetres.
    pub fn height_mm(&self) -> f64 {
        self.height_mm
    }

    /// Adds an element.
    pub fn add(&mut self, element: Element) {
        element.write(&mut self.body);
    }

    /// Opens an element (a group) that the following ones belong to.
    pub fn open(&mut self, element: Element) {
        let _ = write!(self.body, "<{}{}>", element.name, element.attributes);
        self.open.push(element.name);
    }

    /// Closes the element opened last; does nothing when none is open.
    pub fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            let _ = writeln!(self.body, "</{name}>");
        }
    }

    /// Adds everything drawn in another picture, in place. The other picture's clips are included, so this must be
    /// called before this picture defines its own.
    pub(crate) fn append(&mut self, other: Svg) {
        debug_assert!(self.clips == 0 && other.open.is_empty());
        self.clips = other.clips;
        self.definitions.push_str(&other.definitions);
        self.body.push_str(&other.body);
    }

    /// Adds everything drawn in another picture without clips, where this one stands.
    pub(crate) fn append_plain(&mut self, other: Svg) {
        debug_assert!(other.clips == 0 && other.open.is_empty());
        self.body.push_str(&other.body);
    }

    /// Defines a clipping rectangle in millimetres.
    pub fn clip_rect(&mut self, x: f64, y: f64, width: f64, height: f64) -> Clip {
        let clip = Clip(self.clips);
        self.clips += 1;
        let _ = write!(
            self.definitions,
            "<clipPath id=\"{ID_PREFIX}clip{}\">",
            clip.0
        );
        Element::rect(x, y, width, height).write(&mut self.definitions);
        self.definitions.push_str("</clipPath>\n");
        clip
    }

    /// The picture with every id starting with `prefix`, so that several fit into one HTML page.
    /// Only letters, digits, `-` and `_` of the prefix are kept.
    pub fn to_string_with_prefix(&self, prefix: &str) -> String {
        let prefix: String = prefix
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            .collect();
        let mut out = String::with_capacity(self.body.len() + self.definitions.len() + 512);
        let (width, height) = (Mm(self.width_mm), Mm(self.height_mm));
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}mm\" height=\"{height}mm\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{FONT_FAMILY}\">",
        );
        let _ = writeln!(out, "<title>{}</title>", self.title);
        if !self.description.is_empty() {
            let _ = writeln!(out, "<desc>{}</desc>", self.description);
        }
        if !self.definitions.is_empty() {
            out.push_str("<defs>\n");
            push_with_prefix(&mut out, &self.definitions, &prefix);
            out.push_str("</defs>\n");
        }
        push_with_prefix(&mut out, &self.body, &prefix);
        for name in self.open.iter().rev() {
            let _ = write!(out, "</{name}>");
        }
        out.push_str("</svg>\n");
        out
    }
}

/// A whole SVG file.
impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_with_prefix(""))
    }
}

impl Element {
    /// An element without attributes.
    pub fn new(name: &'static str) -> Self {
        Element {
            name,
            attributes: String::new(),
            content: None,
        }
    }

    /// A group.
    pub fn group() -> Self {
        Element::new("g")
    }

    /// A rectangle in millimetres. Negative sizes become 0.
    pub fn rect(x: f64, y: f64, width: f64, height: f64) -> Self {
        Element::new("rect")
            .mm("x", x)
            .mm("y", y)
            .mm("width", width.max(0.0))
            .mm("height", height.max(0.0))
    }

    /// A straight line in millimetres.
    pub fn line(x1: f64, y1: f64, x2: f64, y2: f64) -> Self {
        Element::new("line")
            .mm("x1", x1)
            .mm("y1", y1)
            .mm("x2", x2)
            .mm("y2", y2)
    }

    /// A circle in millimetres.
    pub fn circle(x: f64, y: f64, radius: f64) -> Self {
        Element::new("circle")
            .mm("cx", x)
            .mm("cy", y)
            .mm("r", radius.max(0.0))
    }

    /// A path from finished path data.
    pub fn path(data: &str) -> Self {
        Element::new("path").attr("d", data)
    }

    /// A line of text with its baseline at a point in millimetres, of a size in millimetres.
    pub fn text(x: f64, y: f64, size_mm: f64, anchor: Anchor, text: &str) -> Self {
        let mut element = Element::new("text")
            .mm("x", x)
            .mm("y", y)
            .mm("font-size", size_mm);
        element = match anchor {
            Anchor::Start => element,
            Anchor::Middle => element.attr("text-anchor", "middle"),
            Anchor::End => element.attr("text-anchor", "end"),
        };
        element.content = Some(escape(text));
        element
    }

    /// Adds an attribute with a text value.
    pub fn attr(mut self, name: &'static str, value: &str) -> Self {
        let _ = write!(self.attributes, " {name}=\"{}\"", escape(value));
        self
    }

    /// Adds an attribute with a number, rounded to 0.01.
    pub fn mm(mut self, name: &'static str, value: f64) -> Self {
        let _ = write!(self.attributes, " {name}=\"{}\"", Mm(value));
        self
    }

    /// Adds the fill colour.
    pub fn fill(self, color: &str) -> Self {
        self.attr("fill", color)
    }

    /// Adds an unfilled outline of a colour and a width in millimetres.
    pub fn stroke(self, color: &str, width_mm: f64) -> Self {
        self.attr("fill", "none")
            .attr("stroke", color)
            .mm("stroke-width", width_mm)
    }

    /// Adds an outline of a colour and a width in millimetres to what has a fill.
    pub fn outline(self, color: &str, width_mm: f64) -> Self {
        self.attr("stroke", color).mm("stroke-width", width_mm)
    }

    /// Makes text bold.
    pub fn bold(self) -> Self {
        self.attr("font-weight", "bold")
    }

    /// Puts a soft outline in `color` behind text so that it can be read on a grid or over a trace.
    pub fn halo(self, color: &str, width_mm: f64) -> Self {
        self.attr("paint-order", "stroke")
            .attr("stroke", color)
            .mm("stroke-width", width_mm)
            .attr("stroke-linejoin", "round")
    }

    /// Clips the element to a rectangle.
    pub fn clip(mut self, clip: Clip) -> Self {
        let _ = write!(
            self.attributes,
            " clip-path=\"url(#{ID_PREFIX}clip{})\"",
            clip.0
        );
        self
    }

    fn write(&self, out: &mut String) {
        let _ = match &self.content {
            Some(content) => writeln!(
                out,
                "<{}{}>{content}</{}>",
                self.name, self.attributes, self.name
            ),
            None => writeln!(out, "<{}{}/>", self.name, self.attributes),
        };
    }
}

/// A number of millimetres in SVG: rounded to 0.01, without trailing zeros; 0 when not finite.
#[derive(Clone, Copy, Debug)]
pub struct Mm(pub f64);

impl fmt::Display for Mm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Beyond ten kilometres a picture is meaningless; the bound keeps the cast exact.
        let hundredths = if self.0.is_finite() {
            (self.0.clamp(-1e7, 1e7) * 100.0).round() as i64
        } else {
            0
        };
        let sign = if hundredths < 0 { "-" } else { "" };
        let (whole, rest) = (hundredths.abs() / 100, hundredths.abs() % 100);
        match (rest, rest % 10) {
            (0, _) => write!(f, "{sign}{whole}"),
            (_, 0) => write!(f, "{sign}{whole}.{}", rest / 10),
            _ => write!(f, "{sign}{whole}.{rest:02}"),
        }
    }
}

/// Text for use inside XML or HTML, in content and in double-quoted attributes alike.
/// Characters XML 1.0 does not allow become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// Path data of open lines: `M` starts a line, further points follow.
#[derive(Clone, Debug, Default)]
pub struct Path {
    data: String,
}

impl Path {
    /// Empty path data.
    pub fn new() -> Self {
        Path::default()
    }

    /// Starts a new line at a point in millimetres.
    pub fn move_to(&mut self, x: f64, y: f64) {
        let _ = write!(self.data, "M{} {}", Mm(x), Mm(y));
    }

    /// Continues the line to a point in millimetres.
    pub fn line_to(&mut self, x: f64, y: f64) {
        let _ = write!(self.data, "L{} {}", Mm(x), Mm(y));
    }

    /// Continues the line by a distance in millimetres.
    pub fn line_by(&mut self, dx: f64, dy: f64) {
        // A minus sign separates numbers as well as a blank does.
        let (dx, dy) = (Mm(dx).to_string(), Mm(dy).to_string());
        let blank = if dy.starts_with('-') { "" } else { " " };
        let _ = write!(self.data, "l{dx}{blank}{dy}");
    }

    /// Continues the line horizontally.
    pub fn horizontal_to(&mut self, x: f64) {
        let _ = write!(self.data, "H{}", Mm(x));
    }

    /// Continues the line vertically.
    pub fn vertical_to(&mut self, y: f64) {
        let _ = write!(self.data, "V{}", Mm(y));
    }

    /// Closes the line to its start.
    pub fn close(&mut self) {
        self.data.push('Z');
    }

    /// Whether nothing was drawn.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The path data.
    pub fn data(&self) -> &str {
        &self.data
    }
}

fn push_with_prefix(out: &mut String, text: &str, prefix: &str) {
    for (i, piece) in text.split(ID_PREFIX).enumerate() {
        if i > 0 {
            out.push_str(prefix);
        }
        out.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact_to_a_hundredth() {
        let shown = |v: f64| Mm(v).to_string();
        assert_eq!(shown(10.0), "10");
        assert_eq!(shown(-0.004), "0");
        assert_eq!(shown(-0.05), "-0.05");
        assert_eq!(shown(2.5), "2.5");
        assert_eq!(shown(1.0 / 3.0), "0.33");
        assert_eq!(shown(f64::NAN), "0");
        assert_eq!(shown(f64::INFINITY), "0");
    }

    #[test]
    fn nothing_a_caller_says_becomes_markup_or_a_forged_id() {
        let hostile = "<script>alert('x')</script>\" onload=\"y\u{1}\u{0}&";
        let mut svg = Svg::new(10.0, 5.0, hostile);
        svg.describe(hostile);
        svg.add(
            Element::text(0.0, 0.0, 3.0, Anchor::End, hostile)
                .bold()
                .fill(hostile),
        );
        let text = svg.to_string_with_prefix("a\"><b>");
        assert!(!text.contains("<script"), "{text}");
        assert!(!text.contains("onload=\""), "{text}");
        assert!(!text.contains("<b>"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
    }

    #[test]
    fn size_is_in_millimetres_and_ids_carry_the_prefix() {
        let mut svg = Svg::new(282.0, 180.5, "t");
        let clip = svg.clip_rect(0.0, 0.0, 1.0, 1.0);
        svg.open(Element::group().clip(clip));
        let text = svg.to_string_with_prefix("f3-");
        assert!(text.contains("width=\"282mm\" height=\"180.5mm\" viewBox=\"0 0 282 180.5\""));
        assert!(text.contains("id=\"f3-clip0\"") && text.contains("url(#f3-clip0)"));
        assert!(text.ends_with("</g></svg>\n"), "open groups are closed");
    }
}
