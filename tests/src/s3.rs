//! A server of objects as small as the stories need: one bucket in memory, reached as S3 is. It lists in small pages, and
//! takes signed requests of one key alone; it does not look at the signatures.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, LAST_MODIFIED};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// Ends when dropped.
pub struct S3 {
    endpoint: String,
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    serving: tokio::task::JoinHandle<()>,
}

/// Keys in one answer.
const PAGE: usize = 7;

impl S3 {
    /// With one bucket; the key of whoever may use it is `key`.
    pub async fn start(bucket: &str) -> S3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let objects = Arc::<Mutex<BTreeMap<String, Bytes>>>::default();
        let (bucket, held) = (format!("/{bucket}"), objects.clone());
        let serving = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (bucket, objects) = (bucket.clone(), held.clone());
                let service = service_fn(move |request| answer(request, bucket.clone(), objects.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
            }
        });
        S3 { endpoint, objects, serving }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().expect("nobody panics with it").keys().cloned().collect()
    }

    /// Changes an object behind everybody's back.
    pub fn change(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.objects.lock().expect("nobody panics with it");
        let mut bytes = objects[key].to_vec();
        change(&mut bytes);
        objects.insert(key.to_owned(), bytes.into());
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    bucket: String,
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let signed = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !signed.starts_with("AWS4-HMAC-SHA256 Credential=key/") {
        return Ok(refusal(StatusCode::FORBIDDEN, "AccessDenied"));
    }
    let (parts, body) = request.into_parts();
    let Some(path) = parts.uri.path().strip_prefix(&bucket) else {
        return Ok(refusal(StatusCode::NOT_FOUND, "NoSuchBucket"));
    };
    let key = path.trim_start_matches('/').to_owned();
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(refusal(StatusCode::BAD_REQUEST, "IncompleteBody")),
    };
    let mut objects = objects.lock().expect("nobody panics with it");
    Ok(match (parts.method, key.is_empty()) {
        (Method::PUT, false) => {
            objects.insert(key, bytes);
            whole(Response::builder().header(ETAG, "\"1\""), Bytes::new())
        }
        (Method::GET | Method::HEAD, false) => match objects.get(&key) {
            None => refusal(StatusCode::NOT_FOUND, "NoSuchKey"),
            Some(bytes) => {
                let head = Response::builder().header(ETAG, "\"1\"").header(LAST_MODIFIED, MODIFIED_HTTP);
                whole(head.header(CONTENT_LENGTH, bytes.len()), bytes.clone())
            }
        },
        (Method::GET, true) => whole(Response::builder(), list(&objects, parts.uri.query().unwrap_or_default()).into()),
        _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    })
}

const MODIFIED_HTTP: &str = "Fri, 20 Nov 2026 12:00:00 GMT";
const MODIFIED: &str = "2026-11-20T12:00:00.000Z";

fn list(objects: &BTreeMap<String, Bytes>, query: &str) -> String {
    let argument = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().replace("%2F", "/")
    };
    let (prefix, after) = (argument("prefix"), argument("continuation-token"));
    let mut found = objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let page: Vec<_> = found.by_ref().take(PAGE).collect();
    let more = found.next().is_some();
    let mut text = format!("<ListBucketResult><Name>bucket</Name><Prefix>{prefix}</Prefix>");
    for (key, bytes) in &page {
        let _ = write!(
            text,
            "<Contents><Key>{key}</Key><LastModified>{MODIFIED}</LastModified><ETag>\"1\"</ETag><Size>{}</Size></Contents>",
            bytes.len()
        );
    }
    if let Some((last, _)) = page.last().filter(|_| more) {
        let _ = write!(text, "<NextContinuationToken>{last}</NextContinuationToken>");
    }
    let _ = write!(text, "<KeyCount>{}</KeyCount><IsTruncated>{more}</IsTruncated></ListBucketResult>", page.len());
    text
}

fn whole(head: hyper::http::response::Builder, bytes: Bytes) -> Response<Full<Bytes>> {
    head.body(Full::new(bytes)).expect("its headers are ours")
}

fn refusal(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    let text = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    whole(Response::builder().status(status), text.into())
}
