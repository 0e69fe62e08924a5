//! HTTP server of the API and of the web assets.
