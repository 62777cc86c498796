//! An application of its own with a dbd-server in it, under `/sync`.
//!
//! It takes the flags of dbd-server: `cargo run --example mounted -- --source-databases shop`.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use clap::Parser;
use common::logs::start_log;
use dbd_server::Args;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    start_log(args.debug, args.log_format);
    let application = Router::new()
        .route(
            "/",
            get(async || "My own page. The source's rows are at /sync/\n"),
        )
        // As a service it answers at /sync/ too; nest() would answer at /sync alone.
        .nest_service("/sync", dbd_server::router(dbd_server::settings(&args)?));
    let host = args.listen_address.as_deref().unwrap_or("127.0.0.1");
    let listener = TcpListener::bind((host, args.listen_port)).await?;
    tracing::info!("listening on http://{}/", listener.local_addr()?);
    // With it the log of requests knows who asks.
    let service = application.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    Ok(())
}
