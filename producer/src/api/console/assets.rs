//! The static files of the console. They are included in the program, and their address contains a hash of
//! the content, so that browsers cache them permanently. A request with another hash, such as that of another
//! version, is not cached.

use std::sync::LazyLock;

use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use muster_domain::fault::{Mutant, mutant};
use sha2::{Digest, Sha256};

/// A file.
#[derive(Debug)]
pub(super) struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
    address: String,
}

impl Asset {
    fn new(name: &'static str, media_type: &'static str, text: &'static str) -> Self {
        let digest = hex::encode(Sha256::digest(text.as_bytes()));
        let address = format!("/console/assets/{name}?v={}", digest.get(..16).unwrap_or_default());
        Self { name, media_type, text, address }
    }

    /// Its address, which changes with it.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

/// How everything looks.
pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console.css", "text/css; charset=utf-8", include_str!("assets/console.css"))
});
/// What renews pages.
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console.js", "text/javascript; charset=utf-8", include_str!("assets/console.js"))
});
/// What a new import is made with.
pub(super) static UPLOAD: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("upload.js", "text/javascript; charset=utf-8", include_str!("assets/upload.js"))
});
/// The picture in a browser's tab.
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")));

/// The file of a name, as an answer to a request for this address.
pub(super) fn answer(name: &str, uri: &Uri) -> Option<Response> {
    let asset = [&STYLE, &SCRIPT, &UPLOAD, &ICON].into_iter().find(|asset| asset.name == name)?;
    let own = uri.path_and_query().is_some_and(|address| address.as_str() == asset.address());
    let kept = if own || mutant(Mutant::AnyAddressForGood) {
        "public, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    let headers = [(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, kept)];
    Some((headers, asset.text).into_response())
}
