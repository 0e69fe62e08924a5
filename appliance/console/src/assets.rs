//! The web page, built into the binary. It holds no secret: it needs no token to be loaded.

use axum::Router;
use axum::http::header;
use axum::routing::get;

/// Path, media type, content.
const ASSETS: [(&str, &str, &[u8]); 4] = [
    ("/", "text/html; charset=utf-8", include_bytes!("../../../web/index.html")),
    ("/app.js", "text/javascript; charset=utf-8", include_bytes!("../../../web/app.js")),
    ("/style.css", "text/css; charset=utf-8", include_bytes!("../../../web/style.css")),
    ("/icon.svg", "image/svg+xml", include_bytes!("../../../web/icon.svg")),
];

/// One route for each asset.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.into_iter().fold(Router::new(), |router, (path, media, content)| {
        router.route(path, get(move || async move { ([(header::CONTENT_TYPE, media)], content) }))
    })
}
