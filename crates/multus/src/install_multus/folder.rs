//! One directory of CNI plugins, and our programs in it.
//!
//! It is another program's: the distribution's, which may swap it as a whole for its next version's. So it is waited for and never
//! made. One of ours in its place would keep the swap from being done, or be taken for one that is complete (k3s looks only whether
//! it exists); and a shim without the plugins that it calls is no use to a pod.

use std::path::{Path, PathBuf};

use node_config::{Error, Mended, Program, Setting, Turn};
use rustix::fs::{Access, access};

use super::Delivery;
use crate::thin_entrypoint::install::Say;

/// Whose turn it is to keep a directory.
const TURN: &str = ".multus-rs-turn";

/// The directory.
pub(super) struct Folder {
    dir: PathBuf,
    programs: Vec<Program>,
    /// The plugin of the other mode, which the same install may have had before.
    former: Program,
    /// `None` before it was there for the first time.
    turn: Option<Turn>,
    /// Whether the programs are ours, as this process has put or found them there since its turn began.
    begun: bool,
    /// What was last said, so as not to say it each second.
    condition: Option<String>,
}

impl Folder {
    pub(super) fn new(delivery: &Delivery, dir: &Path) -> Self {
        let programs = delivery.programs(dir);
        let former = delivery.former(dir);
        Self { dir: dir.to_owned(), programs, former, turn: None, begun: false, condition: None }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// All that this install may have put there.
    pub(super) fn programs(&mut self) -> impl Iterator<Item = &mut Program> {
        self.programs.iter_mut().chain(std::iter::once(&mut self.former))
    }

    /// Puts right what is wrong, and says what changes.
    pub(super) fn look(&mut self, say: Say<'_>) {
        let condition = self.put_right(say).unwrap_or_else(Some);
        if condition != self.condition {
            match &condition {
                Some(condition) => say(condition),
                None => say(&format!("{} is as it should be again", self.dir.display())),
            }
            self.condition = condition;
        }
    }

    /// What people ought to know about its condition, if anything.
    fn put_right(&mut self, say: Say<'_>) -> Result<Option<String>, String> {
        let shown = self.dir.display().to_string();
        if !self.dir.is_dir() {
            return Err(format!(
                "{shown} is not there; it is waited for and not made here, because it is another program's directory. If it does \
                 not come, the chart's value {} is not the directory of CNI plugins on this node",
                Setting::BinDir.value()
            ));
        }
        if !self.has_turn().map_err(|error| error.to_string())? {
            self.begun = false;
            return Ok(Some(format!(
                "a newer pod of this install keeps {shown} now; nothing is touched here meanwhile"
            )));
        }
        let (mut theirs, mut failed) = (Vec::new(), Vec::new());
        for program in &mut self.programs {
            // At the beginning of a turn what is there is an older pod's, or a newer one's that has ended. Later, another one can only
            // be of a pod that is about to begin.
            let mended = match self.begun {
                false => program.keep().map(|put| if put { Mended::Installed } else { Mended::Ours }),
                true => program.mend(),
            };
            let path = program.path().display();
            match mended {
                Ok(Mended::Ours) => {}
                Ok(Mended::Installed) if !self.begun => say(&format!("{path} is installed")),
                Ok(Mended::Installed) => {
                    say(&format!("{path} was missing or did not work, and is installed again"))
                }
                Ok(Mended::Theirs) => theirs.push(path.to_string()),
                Err(error) => failed.push(error.to_string()),
            }
        }
        if !failed.is_empty() {
            return Err(failed.join("; "));
        }
        self.begun = true;
        Ok((!theirs.is_empty())
            .then(|| format!("{} of another version, in working order: left alone", theirs.join(" and "))))
    }

    /// Whether this process, and no newer one, keeps it.
    pub(super) fn has_turn(&mut self) -> Result<bool, Error> {
        if let Some(turn) = &mut self.turn {
            return turn.is_mine();
        }
        self.turn = Some(Turn::take_beside_programs(self.dir.join(TURN))?);
        Ok(true)
    }

    /// Ends the turn: whoever else is there may have it.
    pub(super) fn end(self) {
        if let Some(turn) = self.turn {
            turn.end();
        }
    }
}

/// What is wrong, found out from the files alone, for a probe; nothing when all is well.
pub(super) fn troubles(delivery: &Delivery) -> Vec<String> {
    delivery.destinations.iter().flat_map(|dir| troubles_in(dir, &delivery.programs(dir))).collect()
}

fn troubles_in(dir: &Path, programs: &[Program]) -> Vec<String> {
    if !dir.is_dir() {
        return vec![format!("{} is not there", dir.display())];
    }
    let mut troubles: Vec<String> = programs.iter().filter_map(Program::trouble).collect();
    // Then the container beside this probe could not put it right, for this reason.
    if let (false, Err(error)) = (troubles.is_empty(), access(dir, Access::WRITE_OK)) {
        let error = error.into();
        troubles.push(format!(
            "cannot write to {}: {error}. {}",
            dir.display(),
            Setting::BinDir.advice(&error)
        ));
    }
    troubles
}
