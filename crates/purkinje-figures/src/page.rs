//! HTML reports: one file that contains its style and pictures, without scripts.

use std::fmt::Write;

use crate::svg::{Svg, escape};

/// An HTML report under construction.
///
/// All arguments are text, not markup, and are escaped. The file is self-contained, and its content security policy
/// forbids browsers to load anything.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
    /// Headings of the sections, escaped.
    sections: Vec<String>,
    /// Where the first section begins in the body.
    first_section: usize,
    figures: usize,
    tables: usize,
}

/// A page with this many sections has a table of contents.
const SECTIONS_WITH_CONTENTS: usize = 4;

/// A table of text and numbers.
///
/// A column whose cells are all numbers (or empty, or a dash) is right-aligned with digits of equal width. Rows shorter
/// than the header are filled with empty cells, longer ones are cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    caption: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    strong: Vec<usize>,
}

impl Table {
    /// A table with named columns.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Table {
            columns: columns.into_iter().map(Into::into).collect(),
            ..Table::default()
        }
    }

    /// Sets the caption.
    pub fn caption(mut self, caption: &str) -> Self {
        self.caption = caption.to_owned();
        self
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(mut self, cells: impl IntoIterator<Item = S>) -> Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a row set in bold, such as a mean over the rows above.
    pub fn strong_row<S: Into<String>>(mut self, cells: impl IntoIterator<Item = S>) -> Self {
        self.strong.push(self.rows.len());
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.clone().any(|cell| reads_as_number(cell)) && cells.all(|cell| says_number(cell))
    }
}

impl Page {
    /// An empty page.
    pub fn new(title: &str) -> Self {
        Page {
            title: escape(title),
            body: String::new(),
            sections: Vec::new(),
            first_section: 0,
            figures: 0,
            tables: 0,
        }
    }

    /// Adds the summary. Empty lines separate paragraphs.
    pub fn summary(mut self, text: &str) -> Self {
        self.paragraphs("<section class=\"summary\">", text, "</section>");
        self
    }

    /// Starts a section. A page with several has a table of contents before the first.
    pub fn section(mut self, heading: &str) -> Self {
        if self.sections.is_empty() {
            self.first_section = self.body.len();
        }
        self.sections.push(escape(heading));
        let number = self.sections.len();
        let _ = writeln!(
            self.body,
            "<h2 id=\"section-{number}\">{}</h2>",
            escape(heading)
        );
        self
    }

    fn contents(&self) -> String {
        if self.sections.len() < SECTIONS_WITH_CONTENTS {
            return String::new();
        }
        let mut list = "<nav aria-label=\"Contents\"><ol>\n".to_owned();
        for (number, heading) in (1..).zip(&self.sections) {
            let _ = writeln!(list, "<li><a href=\"#section-{number}\">{heading}</a></li>");
        }
        list + "</ol></nav>\n"
    }

    /// Adds text. Empty lines separate paragraphs.
    pub fn text(mut self, text: &str) -> Self {
        self.paragraphs("", text, "");
        self
    }

    /// Adds a named line of words of which some are marked, such as those that two texts have in common.
    pub fn words<'w>(
        mut self,
        name: &str,
        words: impl IntoIterator<Item = (&'w str, bool)>,
    ) -> Self {
        let _ = write!(self.body, "<p class=\"words\"><b>{}</b>", escape(name));
        for (word, marked) in words {
            let word = escape(word);
            let _ = match marked {
                true => write!(self.body, " <mark>{word}</mark>"),
                false => write!(self.body, " {word}"),
            };
        }
        self.body.push_str("</p>\n");
        self
    }

    /// Adds a note: a limitation, a warning, an explanation.
    pub fn note(mut self, text: &str) -> Self {
        self.paragraphs("<aside>", text, "</aside>");
        self
    }

    /// Adds a list of names and values: model, data set, settings.
    pub fn facts<K: AsRef<str>, V: AsRef<str>>(
        mut self,
        facts: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.body.push_str("<dl>\n");
        for (name, value) in facts {
            let _ = writeln!(
                self.body,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escape(name.as_ref()),
                escape(value.as_ref())
            );
        }
        self.body.push_str("</dl>\n");
        self
    }

    /// Adds a table.
    pub fn table(mut self, table: &Table) -> Self {
        self.tables += 1;
        self.body.push_str("<div class=\"scroll\"><table>\n");
        if !table.caption.is_empty() {
            let _ = writeln!(
                self.body,
                "<caption><b>Table {}.</b> {}</caption>",
                self.tables,
                escape(&table.caption)
            );
        }
        let classes: Vec<&str> = (0..table.columns.len())
            .map(|column| {
                if table.is_numeric(column) {
                    " class=\"number\""
                } else {
                    ""
                }
            })
            .collect();
        self.body.push_str("<thead><tr>");
        for (name, class) in table.columns.iter().zip(&classes) {
            let _ = write!(self.body, "<th scope=\"col\"{class}>{}</th>", escape(name));
        }
        self.body.push_str("</tr></thead>\n<tbody>\n");
        for (i, row) in table.rows.iter().enumerate() {
            let strong = if table.strong.contains(&i) {
                " class=\"strong\""
            } else {
                ""
            };
            let _ = write!(self.body, "<tr{strong}>");
            for (column, class) in classes.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                let _ = write!(self.body, "<td{class}>{}</td>", escape(cell));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody></table></div>\n");
        self
    }

    /// Adds a picture with its caption.
    pub fn figure(mut self, svg: &Svg, caption: &str) -> Self {
        self.figures += 1;
        let _ = write!(
            self.body,
            "<figure><div class=\"sheet\">{}</div>",
            svg.to_string_with_prefix(&format!("f{}-", self.figures))
        );
        let _ = writeln!(
            self.body,
            "<figcaption><b>Figure {}.</b> {}</figcaption></figure>",
            self.figures,
            escape(caption)
        );
        self
    }

    /// Adds a block of code or of a program's output.
    pub fn code(mut self, code: &str) -> Self {
        let _ = writeln!(self.body, "<pre><code>{}</code></pre>", escape(code));
        self
    }

    /// The HTML file.
    pub fn finish(self) -> String {
        let (before, sections) = self.body.split_at(self.first_section);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n{before}{contents}{sections}</main>\n\
             <footer>Research use only, not a medical device. Made with Purkinje {version}.</footer>\n\
             </body>\n</html>\n",
            title = self.title,
            contents = self.contents(),
            version = env!("CARGO_PKG_VERSION"),
        )
    }

    fn paragraphs(&mut self, before: &str, text: &str, after: &str) {
        self.body.push_str(before);
        for paragraph in text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
            let _ = writeln!(self.body, "<p>{}</p>", escape(paragraph));
        }
        self.body.push_str(after);
        self.body.push('\n');
    }
}

/// Whether a cell starts like a number: `0.91`, `−3`, `12 %`, `0.9 (0.8–1.0)`, `1,234`.
fn reads_as_number(cell: &str) -> bool {
    let cell = cell
        .trim()
        .trim_start_matches(['+', '-', '\u{2212}', '\u{b1}', '<', '>', '\u{2248}']);
    let digits = |c: char| {
        c.is_ascii_digit() || " .,;:()[]+-%e\u{2212}\u{2013}\u{b1}\u{d7}\u{a0}".contains(c)
    };
    cell.trim_start().starts_with(|c: char| c.is_ascii_digit()) && cell.chars().all(digits)
}

/// Whether a cell is a number or marks a missing one.
fn says_number(cell: &str) -> bool {
    matches!(cell.trim(), "" | "-" | "\u{2013}" | "\u{2014}" | "n/a") || reads_as_number(cell)
}

const STYLE: &str = r#":root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5c5c5c; --ground: #ffffff;
  --raised: #f6f6f4; --line: #dcdcd8; --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e9e6; --soft: #a5a5a0; --ground: #161618; --raised: #222225; --line: #3a3a3e; --mark: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, footer { max-width: 1080px; margin: 0 auto; padding: 0 24px; }
h1 { font-size: 30px; line-height: 1.2; margin: 44px 0 20px; letter-spacing: -0.01em; }
h2 { font-size: 21px; line-height: 1.3; margin: 44px 0 12px; padding-top: 12px; border-top: 1px solid var(--line); }
p { margin: 0 0 12px; max-width: 46em; overflow-wrap: anywhere; }
.words b { display: inline-block; min-width: 7em; font-weight: 600; }
mark { background: none; color: var(--mark); font-weight: 600; }
.summary { background: var(--raised); border-left: 4px solid var(--mark); padding: 16px 20px 6px; border-radius: 0 6px 6px 0; font-size: 17px; }
aside { border-left: 4px solid var(--line); padding: 2px 0 2px 18px; color: var(--soft); margin: 16px 0; }
aside p { margin: 6px 0; }
nav ol { columns: 2 260px; margin: 20px 0; padding-left: 1.6em; }
nav a { color: var(--mark); text-decoration: none; }
nav a:hover, nav a:focus { text-decoration: underline; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 12px 24px; margin: 20px 0; }
dt { color: var(--soft); font-size: 13px; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 20px 0; }
table { border-collapse: collapse; font-size: 15px; min-width: 50%; }
caption { text-align: left; color: var(--soft); font-size: 14px; padding: 0 0 8px; }
th, td { text-align: left; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
th { font-weight: 600; border-bottom: 2px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-left: 14px; }
.strong td { font-weight: 650; }
figure { margin: 24px 0 28px; }
.sheet { background: #ffffff; border: 1px solid var(--line); border-radius: 6px; padding: 8px; overflow-x: auto; color-scheme: light; }
.sheet svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--soft); font-size: 14px; margin-top: 8px; max-width: 60em; }
figcaption b, caption b { color: var(--ink); font-weight: 600; }
pre { background: var(--raised); border: 1px solid var(--line); border-radius: 6px; padding: 12px 16px; overflow-x: auto; margin: 16px 0;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
footer { color: var(--soft); font-size: 13px; padding-top: 16px; padding-bottom: 40px; margin-top: 48px; }
@media (max-width: 760px) {
  main, footer { padding: 0 14px; }
  h1 { font-size: 24px; margin-top: 24px; overflow-wrap: anywhere; }
  /* Pictures keep a size at which they can be read, and scroll. */
  .sheet svg { width: 760px; max-width: none; }
}
@page { margin: 14mm; }
@media print {
  :root { --ink: #000; --soft: #444; --ground: #fff; --raised: #fff; --line: #bbb; }
  body { font-size: 11pt; }
  main, footer { max-width: none; padding: 0; }
  h1 { margin-top: 0; }
  h2 { break-after: avoid; }
  figure, tr, aside, .summary { break-inside: avoid; }
  .sheet { border: 0; padding: 0; }
  .sheet svg { width: auto; max-width: 100%; }
  pre { white-space: pre-wrap; }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_becomes_markup() {
        let hostile = "</style><script>x</script>\"'&";
        let mut svg = Svg::new(10.0, 10.0, hostile);
        svg.clip_rect(0.0, 0.0, 1.0, 1.0);
        let html = Page::new(hostile)
            .summary(hostile)
            .section(hostile)
            .text(hostile)
            .note(hostile)
            .words(hostile, [(hostile, true), (hostile, false)])
            .code(hostile)
            .facts([(hostile, hostile)])
            .table(&Table::new([hostile]).caption(hostile).row([hostile]))
            .figure(&svg, hostile)
            .figure(&svg, hostile)
            .finish();
        assert!(!html.contains("<script"));
        assert_eq!(html.matches("</style>").count(), 1);
        assert!(html.contains("id=\"f1-clip0\"") && html.contains("id=\"f2-clip0\""));
        assert!(html.contains("Research use only, not a medical device."));
    }

    #[test]
    fn the_file_needs_nothing_from_elsewhere() {
        let page = Page::new("t").text("x");
        let html = (0..5).fold(page, |page, _| page.section("s")).finish();
        assert_eq!(
            html.matches("href").count(),
            html.matches("href=\"#section-").count()
        );
        for outside in ["<script", "<link", "src=", "url(", "@import", "://"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_page_of_several_sections_has_a_table_of_contents() {
        let page = |sections: &[&str]| {
            let page = Page::new("t").summary("first");
            let page = sections.iter().fold(page, |page, name| page.section(name));
            page.finish()
        };
        let html = page(&["A & B", "C", "D", "E"]);
        let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text}: {html}"));
        assert!(place("first") < place("<nav"));
        assert!(place("<a href=\"#section-1\">A &amp; B</a>") < place("<h2 id=\"section-1\">"));
        assert!(!page(&["A", "B", "C"]).contains("<nav"));
        // On a narrow screen pictures keep their size and scroll.
        assert!(html.contains("@media (max-width: 760px)") && html.contains("overflow-x: auto"));
    }

    #[test]
    fn columns_of_numbers_are_aligned_as_numbers() {
        let table = Table::new(["model", "AUROC", "note"])
            .row(["CLEAR", "0.912 (0.900\u{2013}0.920)", "3 seeds"])
            .row(["random", "\u{2013}"])
            .strong_row(["mean", "\u{2212}0.5 %", "x", "cut"]);
        let html = Page::new("t").table(&table).finish();
        assert_eq!(html.matches("<td class=\"number\">").count(), 3);
        assert_eq!(html.matches("<td>").count(), 6);
        assert!(!html.contains("cut"));
        assert!(html.contains("<tr class=\"strong\"><td>mean</td>"));
    }

    #[test]
    fn labels_that_only_start_like_numbers_stay_text() {
        for text in ["1AVB", "12-lead", "", "-", "V1"] {
            assert!(!reads_as_number(text), "{text}");
        }
        for number in ["0", "+1.5", "\u{2212}3", "12 %", "1e-5", "1,234"] {
            assert!(reads_as_number(number), "{number}");
        }
    }
}
