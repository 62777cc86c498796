//! What is kept of a run that went wrong.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::pair::Pair;
use crate::soak::Settings;
use crate::soak::report::Log;

/// The folder that everything is kept in.
pub(crate) struct Kept<'a> {
    folder: PathBuf,
    settings: &'a Settings,
    log: &'a Log,
}

impl<'a> Kept<'a> {
    pub(crate) fn new(settings: &'a Settings, log: &'a Log) -> Self {
        let name = format!("dbd-soak.{}.{}", settings.seed, std::process::id());
        let folder = std::env::temp_dir().join(name);
        match fs::create_dir_all(&folder) {
            Ok(()) => log.say(&format!("kept in {}", folder.display())),
            Err(error) => log.say(&format!("nothing is kept: {error}")),
        }
        Self {
            folder,
            settings,
            log,
        }
    }

    /// Keeps what everybody said.
    pub(crate) fn texts(&self, said: &[(&str, String)]) {
        for (name, text) in said {
            if let Err(error) = fs::write(self.folder.join(name), text) {
                self.log.say(&format!("{name} is not kept: {error}"));
            }
        }
    }

    /// Ends both databases and keeps their data and their logs.
    pub(crate) fn data(&self, pair: &mut Pair) {
        for (name, side) in [
            ("source", &mut pair.source),
            ("destination", &mut pair.dest),
        ] {
            side.server.kill();
            let copied = Command::new("cp")
                .args(["-r", "--reflink=auto"])
                .arg(side.server.directory())
                .arg(self.folder.join(name))
                .status();
            if !copied.is_ok_and(|status| status.success()) {
                self.log
                    .say(&format!("the data of the {name} is not kept whole"));
            }
        }
    }

    pub(crate) fn say_how_to_run_again(&self) {
        let settings = self.settings;
        self.log.say(&format!(
            "again: cargo run -p dbd-tests --release --bin soak -- --seed {} --minutes {:.1} \
             --round {} --source {} --dest {}",
            settings.seed,
            settings.lasts.as_secs_f64() / 60.0,
            settings.round.as_secs(),
            settings.source.name(),
            settings.dest.name()
        ));
    }
}
