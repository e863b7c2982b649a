//! How a transactor is started.

use clap::Parser;
use std::net::SocketAddr;

/// The writer of Diachron's databases: checks transactions, logs them durably, and tells peers.
#[derive(Parser, Debug)]
#[command(name = "diachron-transactor", version)]
pub struct Config {
    /// Where the databases live: `sled:DIR` (made if it is not there) or `memory:` (gone when the process ends).
    #[arg(long, env = "DIACHRON_STORE", value_name = "URL")]
    pub store: String,

    /// The address to listen on; port 0 lets the system choose. There is no authentication yet: other than loopback
    /// addresses open the databases to everyone who reaches them.
    #[arg(long, env = "DIACHRON_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:4334")]
    pub listen: SocketAddr,

    /// Transactions of one database that may wait; more are refused with a hint when to come back.
    #[arg(long, env = "DIACHRON_QUEUE", value_name = "COUNT", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queue: u32,

    /// Facts that are not in an index yet are kept in memory; when those of a database take this many bytes they are
    /// indexed. Up to four times as many may wait for that, and then transactions are refused.
    #[arg(long, env = "DIACHRON_NOVELTY_BYTES", value_name = "BYTES", default_value_t = 32 << 20, value_parser = clap::value_parser!(u64).range(1 << 10..=1 << 40))]
    pub novelty_bytes: u64,

    /// Whether the log leaves the journal's own files when an index holds it: `on`, or `off` to keep all of it there too.
    #[arg(long, env = "DIACHRON_SEAL_LOG", value_name = "on|off", default_value = "on", value_parser = on_or_off)]
    pub seal_log: bool,

    #[command(flatten)]
    pub garbage: crate::garbage::Options,

    #[command(flatten)]
    pub cache: cache::config::Options,

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
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("give on or off".to_owned()),
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
