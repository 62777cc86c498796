//! Throwaway database servers.
//!
//! Each runs below a small shell that kills it and removes its directory as soon as this process
//! is gone, however it went: the shell reads orders from a pipe that this process holds open.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use mysql_async::{Conn, Opts, OptsBuilder, prelude::Queryable};

use crate::wait::within;

/// Whose server it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavour {
    /// MySQL.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// How a server differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More flags for the server.
    pub flags: Vec<String>,
    /// The server's own time zone, as a POSIX `TZ`, so that no zone tables are needed.
    pub time_zone: Option<String>,
    /// Its clock can be set.
    pub own_clock: bool,
}

/// A database server of its own directory and port.
#[derive(Debug)]
pub struct Server {
    flavour: Flavour,
    port: u16,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _watchdog: Child,
    directory: PathBuf,
    pid: Option<u32>,
}

/// Starts and kills the server on request, and at the end of its input kills and cleans up.
const WATCHDOG: &str = r#"
directory=$1
shift
pid=
stop() {
  [ -z "$pid" ] && return
  kill -9 "$pid"
  wait "$pid"
  pid=
} 2>/dev/null
while read -r order; do
  stop
  if [ "$order" = start ]; then
    "$@" >>"$directory/log" 2>&1 &
    pid=$!
  fi
  echo "$pid"
done
stop
rm -rf "$directory"
"#;

/// Copying a fresh data directory is several times faster than making one.
static MYSQL_TEMPLATE: OnceLock<Server> = OnceLock::new();
static MARIADB_TEMPLATE: OnceLock<Server> = OnceLock::new();
static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

/// How many lines of a server's log are shown when a test has failed.
const LAST_WORDS: usize = 30;

/// The file, in a server's directory, that says by how many nanoseconds its clock is off.
const CLOCK: &str = "clock";

/// How often another port is tried when somebody else took the one the kernel had offered.
const PORT_ATTEMPTS: u32 = 5;

impl Flavour {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::MySql => Self::MariaDb,
            Self::MariaDb => Self::MySql,
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::MySql => mysql_program("mysqld"),
            Self::MariaDb => ["/usr/sbin/mariadbd", "/usr/local/sbin/mariadbd"]
                .into_iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
                .expect("mariadbd is installed; run `tests/databases mariadb` first"),
        }
    }

    fn flags(self, directory: &Path) -> Vec<String> {
        let mut flags = vec![
            "--no-defaults".to_owned(),
            format!("--datadir={}/data", directory.display()),
            // A MariaDB that starts removes what it takes for leftovers from its temporary directory.
            format!("--tmpdir={}", directory.display()),
            "--innodb-buffer-pool-size=64M".to_owned(),
            "--innodb-flush-log-at-trx-commit=2".to_owned(),
        ];
        if fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
            flags.push("--user=root".to_owned());
        }
        if self == Self::MySql {
            let usr = mysql_program("usr");
            flags.extend([
                format!("--basedir={}", usr.display()),
                format!("--lc-messages-dir={}/share/mysql", usr.display()),
                "--innodb-redo-log-capacity=32M".to_owned(),
            ]);
        } else {
            flags.push("--innodb-log-file-size=32M".to_owned());
        }
        flags
    }

    /// A directory with a fresh data directory in it, made once.
    fn template(self) -> &'static Path {
        let template = match self {
            Self::MySql => &MYSQL_TEMPLATE,
            Self::MariaDb => &MARIADB_TEMPLATE,
        };
        &template
            .get_or_init(|| {
                let directory = new_directory();
                // Watched from the start, so that the directory goes when this process goes.
                let server = Server::watch(self, directory, 0, &Options::default());
                self.make_data(&server.directory);
                server
            })
            .directory
    }

    fn make_data(self, directory: &Path) {
        let mut command = match self {
            Self::MySql => {
                let accounts = directory.join("accounts.sql");
                fs::write(
                    &accounts,
                    "CREATE USER root@'127.0.0.1' IDENTIFIED BY '';\n\
                     GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n",
                )
                .expect("the directory can be written to");
                let mut command = Command::new(self.program());
                command
                    .args(self.flags(directory))
                    .arg("--initialize-insecure")
                    .arg(format!("--init-file={}", accounts.display()));
                command
            }
            Self::MariaDb => {
                let mut command = Command::new("mariadb-install-db");
                command
                    .args(self.flags(directory))
                    .args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                command
            }
        };
        let output = command.output().expect("the database can be initialised");
        assert!(
            output.status.success(),
            "no data directory for {self:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A program of the unpacked MySQL, or its `usr` folder.
///
/// # Panics
/// When MySQL is not unpacked.
#[must_use]
pub fn mysql_program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/databases");
        let output = Command::new(script)
            .arg("mysql-dir")
            .output()
            .expect("tests/databases can be run");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    });
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing; run `tests/databases mysql` first",
        path.display()
    );
    path
}

/// The library that gives a program a clock of its own, made once.
fn clock_library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = std::env::current_exe().expect("this program has a path");
        // Another process may make the same just now.
        let made = folder.with_file_name(format!("clock.{}.so", std::process::id()));
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&made)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clock.c"))
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "no clock; is there a C compiler?"
        );
        let library = folder.with_file_name("clock.so");
        fs::rename(&made, &library).expect("the folder can be written to");
        library
    })
}

/// Short, since the path of a socket has at most 107 bytes.
fn new_directory() -> PathBuf {
    let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("dbd.{}.{number}", std::process::id()));
    fs::create_dir_all(&directory).expect("the temporary directory can be written to");
    directory
}

impl Server {
    /// A server that answers.
    ///
    /// # Panics
    /// When none can be started.
    pub async fn start(flavour: Flavour, options: &Options) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let directory = new_directory();
            let copied = Command::new("cp")
                .args(["-r", "--reflink=auto"])
                .arg(flavour.template().join("data"))
                .arg(&directory)
                .status();
            assert!(
                copied.is_ok_and(|status| status.success()),
                "no copy of the data directory; is the disk full?"
            );
            // Each MySQL makes up an identity of its own when it finds none.
            let _ = fs::remove_file(directory.join("data/auto.cnf"));
            let port = TcpListener::bind(("127.0.0.1", 0))
                .and_then(|listener| listener.local_addr())
                .expect("the kernel has a free port")
                .port();
            let mut server = Self::watch(flavour, directory, port, options);
            server.order("start");
            if server.answers().await {
                return server;
            }
            let log = fs::read_to_string(server.directory.join("log")).unwrap_or_default();
            assert!(
                log.to_lowercase().contains("already in use"),
                "{flavour:?} does not start:\n{log}"
            );
        }
        panic!("no port was free {PORT_ATTEMPTS} times");
    }

    fn watch(flavour: Flavour, directory: PathBuf, port: u16, options: &Options) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&directory)
            .arg(flavour.program())
            .args(flavour.flags(&directory))
            .args([
                format!("--port={port}"),
                format!("--socket={}/socket", directory.display()),
                format!("--pid-file={}/pid", directory.display()),
                "--bind-address=127.0.0.1".to_owned(),
                "--skip-log-bin".to_owned(),
                "--event-scheduler=ON".to_owned(),
            ])
            // An interrupt from the keyboard must not reach the watchdog before it has cleaned up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if flavour == Flavour::MySql {
            command.args(["--secure-file-priv=", "--mysqlx=0"]);
        }
        if let Some(zone) = &options.time_zone {
            command.env("TZ", zone);
        }
        if options.own_clock {
            let file = directory.join(CLOCK);
            fs::write(&file, 0_i64.to_ne_bytes()).expect("the directory can be written to");
            command
                .env("LD_PRELOAD", clock_library())
                .env("DBD_CLOCK", file);
        }
        let mut watchdog = command
            .args(&options.flags)
            .spawn()
            .expect("sh can be started");
        Self {
            flavour,
            port,
            orders: watchdog.stdin.take().expect("stdin is piped"),
            answers: BufReader::new(watchdog.stdout.take().expect("stdout is piped")),
            _watchdog: watchdog,
            directory,
            pid: None,
        }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the watchdog reads its orders");
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .expect("the watchdog answers");
        self.pid = answer.trim().parse().ok();
    }

    /// Waits until the server answers; false when it ended instead.
    async fn answers(&self) -> bool {
        within(crate::DEADLINE, "the database answers", async || {
            match self.connect(None).await {
                Ok(mut conn) => {
                    // Another program may have taken the port meanwhile.
                    let data: Option<String> = conn.query_first("SELECT @@datadir").await.ok()?;
                    Some(data.is_some_and(|data| Path::new(&data).starts_with(&self.directory)))
                }
                Err(_) if self.is_running() => None,
                Err(_) => Some(false),
            }
        })
        .await
    }

    fn is_running(&self) -> bool {
        let Some(pid) = self.pid else { return false };
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
    }

    /// Kills the server as kill -9 does; its directory stays.
    pub fn kill(&mut self) {
        self.order("stop");
    }

    /// Starts the server again, on the same directory and port, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn restart(&mut self) {
        self.order("start");
        assert!(self.answers().await, "{:?} does not restart", self.flavour);
    }

    /// Sets its clock so many seconds after the machine's, or before it.
    ///
    /// # Panics
    /// When it has no clock of its own.
    pub fn set_clock(&self, seconds: f64) {
        let nanos = (seconds * 1e9) as i64;
        // In place and at once: the server has the file mapped.
        let file = fs::OpenOptions::new()
            .write(true)
            .open(self.directory.join(CLOCK));
        file.and_then(|mut file| file.write_all(&nanos.to_ne_bytes()))
            .expect("Options::own_clock is set");
    }

    /// The end of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }

    /// Whose server it is.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The list of its connections. MySQL's older list fails while a statement runs that holds a
    /// character of four bytes.
    #[must_use]
    pub fn processlist(&self) -> &'static str {
        match self.flavour {
            Flavour::MySql => "performance_schema.processlist",
            Flavour::MariaDb => "information_schema.PROCESSLIST",
        }
    }

    /// Its TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its data and its log are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// A connection as root, in UTC and utf8mb4, strict but taking zero dates.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub async fn connect(&self, database: Option<&str>) -> Result<Conn, mysql_async::Error> {
        Self::connect_to(self.port, database).await
    }

    /// The same for whatever listens on that port of 127.0.0.1.
    pub(crate) async fn connect_to(
        port: u16,
        database: Option<&str>,
    ) -> Result<Conn, mysql_async::Error> {
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(port)
            .prefer_socket(false)
            .user(Some("root"))
            .db_name(database)
            .setup(vec![
                "SET NAMES utf8mb4, time_zone='+00:00', \
                 sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'",
            ]);
        Conn::new(Opts::from(options)).await
    }
}
