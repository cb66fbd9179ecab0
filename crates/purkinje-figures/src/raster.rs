//! SVG to PNG, with an embedded font, so that text appears on machines without fonts.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{self, fontdb};

use crate::svg::Svg;

/// Ten pixels per millimetre: the lines of the ECG grid fall on whole pixels.
pub const CRISP_DPI: f64 = 254.0;

/// Largest number of pixels of a picture (400 MB of memory while drawing).
pub const MAX_PIXELS: u64 = 100_000_000;

const REGULAR: &[u8] = include_bytes!("../assets/Roboto-Regular-subset.ttf");
const BOLD: &[u8] = include_bytes!("../assets/Roboto-Bold-subset.ttf");

/// Why a picture could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RasterError {
    /// The resolution gives no picture, or one larger than [`MAX_PIXELS`].
    #[error(
        "{width_mm} mm x {height_mm} mm at {dpi} dpi is not a picture of 1 to {MAX_PIXELS} pixels; \
         choose another resolution ({CRISP_DPI} dpi draws ten pixels per millimetre)"
    )]
    Size {
        /// Width of the picture in millimetres.
        width_mm: f64,
        /// Height of the picture in millimetres.
        height_mm: f64,
        /// The requested resolution.
        dpi: f64,
    },
    /// The SVG could not be read back.
    #[error("the picture could not be read for drawing: {0}")]
    Read(#[from] usvg::Error),
    /// The PNG could not be written.
    #[error("the picture could not be encoded as PNG: {0}")]
    Encode(String),
}

/// Draws a picture on white at a resolution in dots per inch and encodes it as PNG.
///
/// The picture has `round(mm / 25.4 * dpi)` pixels each way, and the file states its resolution, so
/// that it prints at its true size. Text uses the embedded Roboto subset (Latin, Greek, Cyrillic);
/// letters of other scripts are blank, while the SVG shows them where a font has them.
///
/// # Errors
/// When the size in pixels is zero or above [`MAX_PIXELS`], or encoding fails.
pub fn png(svg: &Svg, dpi: f64) -> Result<Vec<u8>, RasterError> {
    let bad_size = || RasterError::Size {
        width_mm: svg.width_mm(),
        height_mm: svg.height_mm(),
        dpi,
    };
    let pixels = |mm: f64| (mm / 25.4 * dpi).round();
    let (width, height) = (pixels(svg.width_mm()), pixels(svg.height_mm()));
    // Written so that NaN fails too.
    if !(width >= 1.0 && height >= 1.0 && width * height <= MAX_PIXELS as f64) {
        return Err(bad_size());
    }
    let options = usvg::Options {
        fontdb: fonts(),
        font_family: "Roboto".to_owned(),
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(&svg.to_string(), &options)?;
    let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or_else(bad_size)?;
    pixmap.fill(Color::WHITE);
    let scale = Transform::from_scale(
        width as f32 / tree.size().width(),
        height as f32 / tree.size().height(),
    );
    resvg::render(&tree, scale, &mut pixmap.as_mut());
    let bytes = pixmap
        .encode_png()
        .map_err(|error| RasterError::Encode(error.to_string()))?;
    Ok(with_resolution(bytes, dpi))
}

fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    FONTS
        .get_or_init(|| {
            let mut database = fontdb::Database::new();
            database.load_font_data(REGULAR.to_vec());
            database.load_font_data(BOLD.to_vec());
            database.set_sans_serif_family("Roboto");
            Arc::new(database)
        })
        .clone()
}

/// Inserts the `pHYs` chunk (pixels per metre) after the header, which has a fixed length of 25 bytes.
fn with_resolution(png: Vec<u8>, dpi: f64) -> Vec<u8> {
    const HEADER_END: usize = 8 + 25;
    if png.len() < HEADER_END {
        return png;
    }
    let per_metre = ((dpi / 0.0254).round() as u32).to_be_bytes();
    let mut chunk = Vec::with_capacity(21);
    chunk.extend_from_slice(&9u32.to_be_bytes());
    chunk.extend_from_slice(b"pHYs");
    chunk.extend_from_slice(&per_metre);
    chunk.extend_from_slice(&per_metre);
    chunk.push(1);
    let checksum = crc32(&chunk[4..]);
    chunk.extend_from_slice(&checksum.to_be_bytes());
    let mut out = Vec::with_capacity(png.len() + chunk.len());
    out.extend_from_slice(&png[..HEADER_END]);
    out.extend_from_slice(&chunk);
    out.extend_from_slice(&png[HEADER_END..]);
    out
}

/// The checksum of PNG chunks (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |mut crc, &byte| {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svg::{Anchor, Element};

    fn ink(png: &[u8]) -> (u32, u32, usize) {
        let pixmap = Pixmap::decode_png(png).expect("a PNG this crate wrote");
        let dark = pixmap.pixels().iter().filter(|p| p.red() < 128).count();
        (pixmap.width(), pixmap.height(), dark)
    }

    #[test]
    fn pixels_are_millimetres_times_resolution() {
        let svg = Svg::new(25.4, 50.8, "t");
        let (width, height, dark) = ink(&png(&svg, 100.0).unwrap());
        assert_eq!((width, height, dark), (100, 200, 0));
        let (width, height, _) = ink(&png(&Svg::new(282.0, 190.0, "t"), CRISP_DPI).unwrap());
        assert_eq!((width, height), (2820, 1900));
    }

    #[test]
    fn text_is_drawn_without_any_font_of_the_machine() {
        let mut svg = Svg::new(40.0, 10.0, "t");
        svg.add(Element::text(
            2.0,
            7.0,
            6.0,
            Anchor::Start,
            "Purkinje µV ≤ −1",
        ));
        let (_, _, dark) = ink(&png(&svg, 254.0).unwrap());
        assert!(dark > 500, "{dark} dark pixels");
    }

    #[test]
    fn the_file_states_its_resolution() {
        let bytes = png(&Svg::new(10.0, 10.0, "t"), 254.0).unwrap();
        let at = bytes.windows(4).position(|w| w == b"pHYs").unwrap();
        assert_eq!(bytes[at + 4..at + 8], 10_000u32.to_be_bytes());
        assert_eq!(
            crc32(b"IEND"),
            0xae42_6082,
            "the checksum every PNG ends with"
        );
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let svg = Svg::new(100.0, 100.0, "t");
        for dpi in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e6] {
            assert!(
                matches!(png(&svg, dpi), Err(RasterError::Size { .. })),
                "{dpi}"
            );
        }
    }
}
