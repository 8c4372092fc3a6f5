//! The layout of help texts, `sff completions` and `sff man`.

use std::path::{Path, PathBuf};

use crate::base::files::write_whole;
use crate::{Error, Result};
use clap::builder::StyledStr;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

/// The layout of a help text: what the command does, an example, and its options.
const TEMPLATE: &str = "\
{about-with-newline}
{before-help}{usage-heading} {usage}

{all-args}{after-help}";

/// A command and its subcommands with help that begins with an example.
pub fn with_layout(command: Command) -> Command {
    command.help_template(TEMPLATE).mut_subcommands(with_layout)
}

#[derive(Args)]
#[command(before_help = "Examples:
  sff completions bash > ~/.local/share/bash-completion/completions/sff
  sff completions fish > ~/.config/fish/completions/sff.fish")]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub fn run(self, mut command: Command) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "sff", &mut script);
        super::print(String::from_utf8_lossy(&script).trim_end())
    }
}

#[derive(Args)]
#[command(before_help = "Example: sff man ~/.local/share/man/man1")]
pub struct Manual {
    /// Folder to write to, one file for each command
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Manual {
    pub fn run(self, command: Command) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        let mut command = paged(command.disable_help_subcommand(true));
        // Gives subcommands their full names, such as `sff data list`.
        command.build();
        let pages = write(&self.folder, &command)?;
        super::print(&format!("{pages} pages are in {}", self.folder.display()))
    }
}

/// A command and its subcommands with their examples after the help, where manual pages show them.
fn paged(command: Command) -> Command {
    let shown = |help: Option<&StyledStr>| help.map(|help| format!("{help}\n\n"));
    let parts = [shown(command.get_before_help()), shown(command.get_after_help())];
    let text: String = parts.into_iter().flatten().collect();
    command.after_help(text.trim_end().to_owned()).mut_subcommands(paged)
}

/// Writes the pages of a command and its subcommands, and returns their number.
fn write(folder: &Path, command: &Command) -> Result<usize> {
    let page = Man::new(command.clone());
    write_whole(&folder.join(page.get_filename()), |mut file| page.render(&mut file))?;
    command.get_subcommands().try_fold(1, |pages, below| Ok(pages + write(folder, below)?))
}
