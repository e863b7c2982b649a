//! How a peer is started.

use clap::Parser;
use std::net::SocketAddr;

/// A reader of Diachron's databases: follows the transactor, answers queries now and as of the past.
#[derive(Parser, Debug)]
#[command(name = "diachron-peer", version)]
pub struct Config {
    /// The transactor to follow, or several with commas between them: each database is looked for at the next one when
    /// its transactor has lost it or is gone.
    #[arg(long, env = "DIACHRON_TRANSACTOR", value_name = "URL", default_value = "http://127.0.0.1:4334")]
    pub transactor: String,

    /// The storage process that the databases are read from, or several of one store with commas between them; without
    /// it the transactor shows its store. With it a peer starts, and keeps up with what is durable, while no transactor is
    /// there.
    #[arg(long, env = "DIACHRON_STORAGE", value_name = "URL")]
    pub storage: Option<String>,

    /// The address to listen on; port 0 lets the system choose. There is no authentication yet: other than loopback
    /// addresses open the databases to everyone who reaches them.
    #[arg(long, env = "DIACHRON_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:4335")]
    pub listen: SocketAddr,

    /// Queries run on this many threads; 0 stands for one a core.
    #[arg(long, env = "DIACHRON_THREADS", value_name = "COUNT", default_value_t = 0)]
    pub threads: usize,

    /// Queries that may wait for a thread; more are refused with a hint when to come back.
    #[arg(long, env = "DIACHRON_QUEUE", value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queue: u32,

    /// The longest a query may take, whatever deadline its caller gives.
    #[arg(long, env = "DIACHRON_QUERY_SECONDS", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub query_seconds: u64,

    /// The most rows a query may make, intermediate ones included.
    #[arg(long, env = "DIACHRON_QUERY_ROWS", value_name = "COUNT", default_value_t = 50_000_000)]
    pub query_rows: u64,

    /// The most bytes a query may hold at once.
    #[arg(long, env = "DIACHRON_QUERY_BYTES", value_name = "BYTES", default_value_t = 1 << 30)]
    pub query_bytes: u64,

    #[command(flatten)]
    pub cache: cache::config::Options,

    #[command(flatten)]
    pub cache_disk: cache::config::DiskOptions,

    #[command(flatten)]
    pub restarts: process::supervisor::RestartOptions,

    #[command(flatten)]
    pub source: process::config::Options,

    #[command(flatten)]
    pub limits: process::limits::Limits,

    #[command(flatten)]
    pub metrics: process::metrics::Options,

    #[command(flatten)]
    pub log: process::log::Options,

    /// Health says NOT_SERVING until every database that the transactor has at the start is read to so many percent of
    /// its transactions.
    #[arg(long, env = "DIACHRON_READY_PERCENT", value_name = "PERCENT", default_value_t = 99.5, value_parser = percent)]
    pub ready_percent: f64,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("give a number from 0 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_setting_can_be_given_in_the_environment() {
        let command = Config::command();
        command.clone().debug_assert();
        for arg in command.get_arguments().filter(|arg| !["config", "print_config"].contains(&arg.get_id().as_str())) {
            let long = arg.get_long().expect("every setting is a flag");
            assert_eq!(arg.get_env().and_then(std::ffi::OsStr::to_str), Some(&*process::config::env_name(long)));
        }
    }
}
