//! `GET /v1/links/{code}/qr`: the short URL as a QR code (ISO/IEC 18004), as SVG or PNG.

use std::fmt::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use fast_qr::{ECL, QRBuilder, QRCode};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use linklog::entity::Scopes;

use super::links::{CodeInPath, code_text, known};
use super::openapi::{CodeParam, NotFound, QrParams};
use super::query::{Query, key_in};
use super::{Api, answer};
use crate::problem::Problem;

/// Sides of a picture, in pixels.
const SIZES: std::ops::RangeInclusive<usize> = 64..=2048;
const SIZE_DEFAULT: usize = 300;
/// The white margin that readers need, in modules.
const QUIET: usize = 4;

#[derive(Clone, Copy)]
enum Format {
    Svg,
    Png,
}

/// The short URL as a QR code
///
/// As SVG or PNG, with the white margin that readers need.
#[utoipa::path(get, path = "/v1/links/{code}/qr", operation_id = "get_qr", tag = "links", params(CodeParam, QrParams), responses(
    (status = 200, description = "The picture", content((String = "image/svg+xml"), (Vec<u8> = "image/png"))),
    (status = 404, response = NotFound),
))]
pub(super) async fn of_link(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_of_link(&api, code, request.into_parts().0).await)
}

async fn try_of_link(api: &Api, code: CodeInPath, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit(&head.headers, Scopes::LINKS_READ)?;
    let query = Query::read(&head.uri, &["domain", "format", "size", "error_correction"])?;
    let domains = api.links.domains.table();
    let key = api.links.key_as_kept(key_in(&code_text(code)?, &query, &domains)?).await?;
    let format = match query.get("format") {
        None | Some("svg") => Format::Svg,
        Some("png") => Format::Png,
        Some(_) => {
            return Err(Problem::parameter("format", "format_not_allowed", "the format is svg or png"));
        }
    };
    let size = query.get("size").map_or(Some(SIZE_DEFAULT), |text| text.parse().ok());
    let size = size.filter(|size| SIZES.contains(size)).ok_or_else(|| {
        let expected = format!("a number of pixels from {} to {}", SIZES.start(), SIZES.end());
        Problem::parameter("size", "size_out_of_range", expected)
    })?;
    let level = match query.get("error_correction") {
        Some("low") => ECL::L,
        None | Some("medium") => ECL::M,
        Some("quartile") => ECL::Q,
        Some("high") => ECL::H,
        Some(_) => {
            let expected = "the error correction is low, medium, quartile or high";
            return Err(Problem::parameter("error_correction", "error_correction_not_allowed", expected));
        }
    };
    api.links.get(caller, key).await?;
    let url = known(&domains, key.domain)?.base.short_url(&key.code);
    // A code holds 1,273 bytes at the highest correction; a short URL has less than half.
    let code = QRBuilder::new(url).ecl(level).build().map_err(|_| Problem::no_picture())?;
    let side = code.size + 2 * QUIET;
    if matches!(format, Format::Png) && size < side {
        let detail = format!(
            "this code has {side} modules a side, its margin included: ask for as many pixels or more"
        );
        return Err(Problem::parameter("size", "size_too_small", detail));
    }
    let (kind, bytes) = match format {
        Format::Svg => ("image/svg+xml", svg(&code, size).into_bytes()),
        Format::Png => ("image/png", png(&code, size).map_err(|error| Problem::of_failure(&error))?),
    };
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // It says nothing but the short URL, which never changes.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400"));
    Ok(response)
}

fn is_dark(code: &QRCode, x: usize, y: usize) -> bool {
    code[y][x].value()
}

/// One path of rectangles, a run of dark modules each.
fn svg(code: &QRCode, size: usize) -> String {
    let side = code.size + 2 * QUIET;
    let mut path = String::new();
    for y in 0..code.size {
        let mut x = 0;
        while x < code.size {
            let run = (x..code.size).take_while(|x| is_dark(code, *x, y)).count();
            if run > 0 {
                write!(path, "M{} {}h{run}v1h-{run}z", x + QUIET, y + QUIET)
                    .expect("strings take everything");
            }
            x += run.max(1);
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size}\" height=\"{size}\" viewBox=\"0 0 {side} {side}\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/><path d=\"{path}\"/></svg>\n"
    )
}

/// One bit a pixel. Modules are whole pixels wide, and what is left over is margin; the caller has made sure that there is a pixel for each.
fn png(code: &QRCode, size: usize) -> Result<Vec<u8>, png::EncodingError> {
    let scale = size / (code.size + 2 * QUIET);
    let margin = (size - code.size * scale) / 2;
    let row_bytes = size.div_ceil(8);
    // White is 1.
    let mut pixels = vec![0xff_u8; row_bytes * size];
    for y in 0..code.size * scale {
        for x in (0..code.size * scale).filter(|x| is_dark(code, x / scale, y / scale)) {
            let (x, y) = (x + margin, y + margin);
            pixels[y * row_bytes + x / 8] &= !(0x80 >> (x % 8));
        }
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, size as u32, size as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_pictures_show_the_same_modules_inside_of_a_white_margin() {
        let code = QRBuilder::new("https://sho.rt/Ab3xY9z").ecl(ECL::M).build().unwrap();
        let decoder = png::Decoder::new(std::io::Cursor::new(png(&code, 300).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (300, 300));
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let dark = |x: usize, y: usize| pixels[y * 38 + x / 8] & (0x80 >> (x % 8)) == 0;
        let scale = 300 / (code.size + 2 * QUIET);
        let margin = (300 - code.size * scale) / 2;
        assert!(margin >= QUIET * scale);
        let svg = svg(&code, 300);
        for y in 0..code.size {
            for x in 0..code.size {
                assert_eq!(
                    dark(margin + x * scale + scale / 2, margin + y * scale + scale / 2),
                    is_dark(&code, x, y)
                );
            }
        }
        assert!((0..margin).all(|n| !dark(n, 150) && !dark(150, n) && !dark(299 - n, 150)));
        // Its upper left corner: seven dark modules.
        assert!(svg.contains("M4 4h7v1h-7z") && svg.starts_with("<svg "), "{svg}");
    }
}
