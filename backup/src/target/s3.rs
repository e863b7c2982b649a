//! Backups in S3-compatible storage. A put is whole and durable when it is answered.

use super::{S3Options, Target};
use db::{Category, Error, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use std::net::IpAddr;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::StreamExt;

pub(super) struct S3 {
    url: String,
    store: AmazonS3,
    prefix: String,
    /// None when it is being dropped.
    runtime: Option<Runtime>,
}

/// One request: 64 MiB over a slow line.
const REQUEST_MAX: Duration = Duration::from_secs(300);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A request that failed is made again for so long.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRIES_MAX: usize = 8;

impl S3 {
    /// `place` is `BUCKET` or `BUCKET/PREFIX`.
    pub(super) fn new(url: &str, place: &str, options: &S3Options) -> Result<S3> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_matches('/').to_owned();
        let invalid = |why: String| Error::incorrect("db.error/backup-url", format!("{url:?}: {why}"));
        if bucket.is_empty() || bucket.contains('@') {
            return Err(invalid("give s3://BUCKET/PREFIX; credentials come from AWS_ACCESS_KEY_ID".to_owned()));
        }
        if Path::parse(&prefix).is_err() {
            return Err(invalid("the prefix has a part that is empty, `.` or `..`".to_owned()));
        }
        // Set by somebody else before, it is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        let mut client = ClientOptions::new().with_timeout(REQUEST_MAX).with_connect_timeout(CONNECT_MAX);
        if let Some(endpoint) = builder.get_config_value(&AmazonS3ConfigKey::Endpoint)
            && let Some(rest) = endpoint.strip_prefix("http://")
        {
            if !options.allow_http && !is_loopback(rest) {
                let message = format!(
                    "{endpoint} is another machine, to which http would show the backup and not protect it; use https, \
                     or say --s3-allow-http"
                );
                return Err(Error::incorrect("db.error/backup-url", message));
            }
            client = client.with_allow_http(true);
        }
        let retry =
            RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES_MAX, retry_timeout: PATIENCE };
        let store = builder.with_client_options(client).with_retry(retry).build();
        let store = store.map_err(|error| invalid(error.to_string()))?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("backup-s3").enable_all().build();
        let runtime = runtime.map_err(|error| Error::fault(format!("cannot start a thread for S3: {error}")))?;
        Ok(S3 { url: url.trim_end_matches('/').to_owned(), store, prefix, runtime: Some(runtime) })
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(runtime) = &self.runtime else { unreachable!("only a drop takes it") };
        runtime.block_on(work)
    }

    fn path(&self, file: &str) -> Result<Path> {
        let whole = if self.prefix.is_empty() { file.to_owned() } else { format!("{}/{file}", self.prefix) };
        Path::parse(whole.trim_end_matches('/')).map_err(|error| Error::fault(format!("{file:?}: {error}")))
    }

    fn failed(&self, what: &str, file: &str, error: &object_store::Error) -> Error {
        use object_store::Error as E;
        let (category, remedy) = match error {
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                (Category::Forbidden, "; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's rules decide")
            }
            E::NotFound { .. } => (Category::NotFound, "; make the bucket first"),
            _ => (Category::Unavailable, ""),
        };
        let message = format!("cannot {what} {}/{file}: {error}{remedy}", self.url);
        Error::new(category, "db.error/backup-target", message)
    }
}

impl Target for S3 {
    fn url(&self) -> &str {
        &self.url
    }

    fn put(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(file)?;
        let payload = PutPayload::from(bytes.to_vec());
        self.wait(self.store.put(&path, payload)).map(drop).map_err(|error| self.failed("write", file, &error))
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn get(&self, file: &str, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let path = self.path(file)?;
        let got = self.wait(async {
            let got = self.store.get(&path).await?;
            if got.meta.size > bytes_max {
                return Ok(Err(got.meta.size));
            }
            got.bytes().await.map(Ok)
        });
        match got {
            Ok(Ok(bytes)) => Ok(Some(bytes.into())),
            Ok(Err(length)) => {
                let message = format!("{}/{file} has {length} bytes; it may have {bytes_max}", self.url);
                Err(Error::corrupt("db.error/backup-damaged", message))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", file, &error)),
        }
    }

    fn list(&self, folder: &str, each: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        let path = self.path(folder)?;
        let within = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let mut listed = self.store.list(Some(&path));
        while let Some(found) = self.wait(listed.next()) {
            let found = found.map_err(|error| self.failed("list", folder, &error))?;
            if let Some(file) = found.location.as_ref().strip_prefix(&within) {
                each(file, found.size)?;
            }
        }
        Ok(())
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Not waited for: the last one who holds it may be a task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether `HOST:PORT/…` is this machine.
fn is_loopback(authority: &str) -> bool {
    let authority = authority.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_spoken_to_this_machine_or_where_it_is_asked_for() {
        let options = |endpoint: &str, allow_http| S3Options {
            endpoint: Some(endpoint.to_owned()),
            region: Some("eu-central-1".to_owned()),
            allow_http,
        };
        let open = |endpoint: &str, allow_http| S3::new("s3://b/p", "b/p", &options(endpoint, allow_http)).map(drop);
        for endpoint in ["http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:9000/", "https://s3.example.com"]
        {
            open(endpoint, false).unwrap();
        }
        for endpoint in ["http://s3.example.com", "http://10.0.0.1:9000", "http://127.0.0.1.example.com:80"] {
            assert!(open(endpoint, false).unwrap_err().message().contains("use https"), "{endpoint}");
            open(endpoint, true).unwrap();
        }
    }

    #[test]
    fn credentials_have_no_place_in_a_url() {
        for place in ["", "/p", "key@b/p", "b//p/../q"] {
            let error = S3::new(&format!("s3://{place}"), place, &S3Options::default()).map(drop).unwrap_err();
            assert_eq!(error.code(), "db.error/backup-url", "{place:?}");
        }
    }
}
