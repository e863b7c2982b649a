use super::*;

#[derive(Parser, Debug, PartialEq)]
#[command(name = "sample")]
struct Sample {
    #[arg(long)]
    store: String,
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    queue: u32,
    #[arg(long)]
    metrics_listen: Option<String>,
    #[arg(long)]
    quiet: bool,
    // Set by whoever runs the tests, if by anybody.
    #[arg(long, env = "PATH")]
    search: Option<String>,
    #[command(flatten)]
    options: OptionsOfSample,
}

#[derive(clap::Args, Debug, PartialEq)]
struct OptionsOfSample {
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long)]
    print_config: bool,
}

struct File(tempfile::TempDir);

impl File {
    fn new(text: &str) -> File {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sample.toml"), text).unwrap();
        File(dir)
    }

    fn read(&self, args: &[&str]) -> Result<Read<Sample>, clap::Error> {
        let file = self.0.path().join("sample.toml");
        let given = ["sample", "--config", file.to_str().unwrap()];
        let args = given.iter().chain(args);
        read(args.map(OsString::from).collect())
    }

    fn config(&self, args: &[&str]) -> Sample {
        match self.read(args) {
            Ok(Read::Config(config)) => config,
            Ok(Read::Print(text)) => panic!("it was printed:\n{text}"),
            Err(error) => panic!("{error}"),
        }
    }

    fn error(&self, args: &[&str]) -> String {
        match self.read(args) {
            Ok(_) => panic!("there is no error"),
            Err(error) => error.to_string().replace(self.0.path().to_str().unwrap(), "DIR"),
        }
    }
}

#[test]
fn a_flag_goes_before_the_environment_the_environment_before_the_file_and_the_file_before_the_default() {
    let file = File::new("store = \"memory:\"\nqueue = 7\nquiet = true\nsearch = \"nowhere\"\n");
    let config = file.config(&["--queue", "9"]);
    assert_eq!((&*config.store, config.queue, config.quiet), ("memory:", 9, true));
    assert_eq!(config.search, std::env::var("PATH").ok());
    assert_eq!(file.config(&[]).queue, 7);
    assert_eq!(File::new("store = \"memory:\"\nquiet = false\n").config(&[]).queue, 4096);
    assert!(!File::new("store = \"memory:\"\nquiet = false\n").config(&[]).quiet);
}

#[test]
fn keys_that_are_no_settings_are_all_named_with_what_is_near() {
    let file = File::new("stor = \"memory:\"\nmetrics_listen = \"x\"\nlist = 1\nconfig = \"other\"\n");
    let error = file.error(&[]);
    for part in [
        "error: DIR/sample.toml: ",
        "`stor` is no setting of sample; near it are `store`",
        "`metrics_listen` is no setting of sample; near it are `metrics-listen`",
        "`list` is no setting of sample; --help lists them",
        "`config` is no setting of sample",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn what_is_wrong_in_the_file_is_told_with_the_file() {
    let file = File::new("store = \"memory:\"\nqueue = 0\n");
    let error = file.error(&[]);
    assert!(error.contains("DIR/sample.toml: ") && error.contains("'--queue <QUEUE>'"), "{error}");
    // A flag that goes before it mends it; one that is wrong itself is told as usual.
    assert_eq!(file.config(&["--queue", "3"]).queue, 3);
    assert!(!file.error(&["--queue", "x"]).contains("sample.toml"));
    assert!(File::new("queue = [1]").error(&[]).contains("`queue` takes a string, a number, true or false"));
    assert!(File::new("queue = ").error(&[]).contains("DIR/sample.toml: "));
    assert!(File::new("").error(&[]).contains("--store <STORE>"));
    assert!(read::<Sample>(vec!["sample".into(), "--config=/no/such".into()]).is_err());
}

#[test]
fn what_is_printed_has_its_source_and_is_a_file_itself_and_no_password_is_in_it() {
    let file = File::new("store = \"postgres://me:secret@host:1/db?x=\\\"\"\nqueue = 7\n");
    let Ok(Read::Print(text)) = file.read(&["--quiet", "--print-config"]) else { panic!("it was not printed") };
    let text = text.replace(file.0.path().to_str().unwrap(), "DIR");
    assert!(!text.contains("secret"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("search")).collect();
    assert_eq!(
        lines,
        [
            "store = \"postgres://me:***@host:1/db?x=\\\"\"  # DIR/sample.toml",
            "queue = 7  # DIR/sample.toml",
            "# metrics-listen is not set",
            "quiet = true  # the command line",
        ]
    );
    let again = File::new(&text).config(&[]);
    assert_eq!((again.queue, again.quiet), (7, true));
}

#[test]
fn a_setting_has_the_environment_name_of_its_flag() {
    assert_eq!(env_name("metrics-listen"), "DIACHRON_METRICS_LISTEN");
    assert_eq!([edit_distance("", "abc"), edit_distance("queue", "queue"), edit_distance("stor", "store")], [3, 0, 1]);
    assert_eq!(without_password("http://user@host/"), "http://user@host/");
}
