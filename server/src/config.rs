//! How a storage process is started.

use clap::Parser;
use std::net::SocketAddr;

/// Serves one store to transactors (`--store net:http://HOST:PORT`) and to peers (`--storage http://HOST:PORT`).
#[derive(Parser, Debug)]
#[command(name = "diachron-storage", version)]
pub struct Config {
    /// The store that is served: `sled:DIR` (made if it is not there) or `memory:` (gone when the process ends).
    #[arg(long, env = "DIACHRON_STORE", value_name = "URL")]
    pub store: String,

    /// The address to listen on; port 0 lets the system choose. There is no authentication yet: other than loopback
    /// addresses open the store to everyone who reaches them.
    #[arg(long, env = "DIACHRON_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:4336")]
    pub listen: SocketAddr,

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
