//! Serves the console with a scripted engine, to look at the page and to try the command line:
//! `cargo run -p console --example demo-engine -- 127.0.0.1:8080`.
#![allow(clippy::print_stdout)]

#[path = "../tests/http/engine/mod.rs"]
mod engine;

use console::{Engine, Secret, serve};
use engine::{Pace, Scripted, TOKEN, points};
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(address).await?;
    let engine = Arc::new(Scripted::new(Pace::Time, points::all(4)));
    let vms = ["web01", "db01", "legacy"].map(String::from).to_vec();
    engine.start_runs(api::RunRequest { vms, ..Default::default() }).await?;
    println!("http://{}/#token={TOKEN}", listener.local_addr()?);
    serve(listener, Secret::new(TOKEN)?, engine, tokio::signal::ctrl_c()).await?;
    Ok(())
}
