//! A whole worker without a gateway: what its operator sees.

use cocoon_runtime::SystemClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::evidence::software::{InitOptions, init};

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the port is open");
    let request = format!("GET {path} HTTP/1.1\r\nhost: worker\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer, then the end");
    answer
}

#[tokio::test]
async fn metrics_and_liveness_are_shown_where_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), InitOptions { gpus: 0, has_snp: false }).unwrap();
    let text = format!(
        "mode = 'development'\ndata_dir = '{dir}'\ngateway = '127.0.0.1:1'\n\
         gateway_spki_sha256 = '{key}'\npayee = '0:{key}'\n\
         [engine]\nkind = 'scripted'\n[admin]\nlisten = '127.0.0.1:0'\n\
         [evidence]\nkind = 'software'\nsoftware_tee = '{dir}'\n",
        dir = folder.path().display(),
        key = "ab".repeat(32),
    );
    let config = Config::parse(&text).unwrap();
    let lifecycle = Lifecycle::new();
    let worker = start(config, lifecycle.clone(), Arc::new(SystemClock)).await.unwrap();
    let admin = worker.admin.expect("an address");
    let health = get(admin, "/health").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with(r#"{"status":"ok"}"#));
    metrics::counter!("cocoon_engine_restarts_total").increment(1);
    let metrics = get(admin, "/metrics").await;
    assert!(metrics.contains("cocoon_engine_restarts_total 1"), "{metrics}");
    assert!(get(admin, "/").await.starts_with("HTTP/1.1 404"));
    lifecycle.drain(std::time::Duration::from_secs(5)).await;
    assert!(TcpStream::connect(admin).await.is_err(), "it goes with the worker");
}
